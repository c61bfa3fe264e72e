"""Nodes of the outlier_synthesis pipeline."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from daf_pipelines.parameters import DatasetParams, SynthesisParams
from daf_pipelines.reporting import figures, plots
from daf_pipelines.sources.image_set import ImageSet, check_dataset
from daf_pipelines.sources.images import contents
from daf_pipelines.synthesis.statistics import summarise
from daf_pipelines.synthesis.textures import load_textures
from daf_pipelines.synthesis.validation import masks_of, set_statistics, synthesise_set


def load_texture_bank(synthesis: SynthesisParams, dataset: DatasetParams) -> NDArray[np.uint8]:
    """Texture photographs at working size, ``(T, 3, h, w)``; T is 0 without a folder."""
    bank = load_textures(synthesis.texture_root, dataset.image_size)
    if bank is None:
        return np.empty((0, 3, dataset.image_size, dataset.image_size), dtype=np.uint8)
    return bank


def synthesise_validation(
    calibration_images: ImageSet,
    textures: NDArray[np.uint8],
    dataset: DatasetParams,
    synthesis: SynthesisParams,
    seed: int,
) -> ImageSet:
    """The fixed synthetic validation set: outliers on the held-out normals."""
    check_dataset(calibration_images, dataset, seed)
    return synthesise_set(calibration_images, textures, synthesis, seed)


def describe_outliers(
    synthetic_validation: ImageSet, calibration_images: ImageSet, synthesis: SynthesisParams
) -> tuple[pd.DataFrame, Figure, Figure, dict[str, Any]]:
    """Mask statistics, their picture, the preview and the record of what was synthesised."""
    table = set_statistics(synthetic_validation, calibration_images)
    boxes = calibration_images.boxes[: synthesis.preview_rows]
    rows = np.arange(len(boxes)) * synthesis.validation_repeats
    preview = figures.synthesis_preview(
        contents(calibration_images.images[: len(boxes)], boxes),
        contents(synthetic_validation.images[rows], boxes),
        contents(masks_of(synthetic_validation)[rows], boxes),
    )
    record = {"dataset": synthetic_validation.dataset, "masks": summarise(table)}
    return table, plots.mask_statistics_figure(table), preview, record
