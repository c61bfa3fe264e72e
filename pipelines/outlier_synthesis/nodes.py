"""Nodes of the outlier_synthesis pipeline."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from daf_pipelines.parameters import DatasetParams, SynthesisParams
from daf_pipelines.reporting import figures, plots
from daf_pipelines.sources.image_set import ImageSet, check_dataset
from daf_pipelines.sources.images import Box, contents
from daf_pipelines.synthesis.configured import configured_strategy
from daf_pipelines.synthesis.foreground import foreground_of
from daf_pipelines.synthesis.statistics import position_map, summarise
from daf_pipelines.synthesis.textures import load_textures
from daf_pipelines.synthesis.validation import (
    masks_of,
    set_statistics,
    sources_of,
    synthesise_set,
    validation_rows,
)

FOREGROUND_EXAMPLES = 12


def load_texture_bank(synthesis: SynthesisParams, dataset: DatasetParams) -> NDArray[np.uint8]:
    """Texture photographs at working size, ``(T, 3, h, w)``; T is 0 without a folder."""
    return load_textures(synthesis.texture_root, dataset.image_size)


def find_objects(
    train_images: ImageSet,
    calibration_images: ImageSet,
    dataset: DatasetParams,
    synthesis: SynthesisParams,
    seed: int,
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], Figure]:
    """Where the object is in each image, and a picture to check it.

    Both arrays are empty where the strategy puts outliers everywhere.
    """
    check_dataset(train_images, dataset, seed)
    check_dataset(calibration_images, dataset, seed)
    images, boxes = train_images.images, train_images.boxes
    if configured_strategy(synthesis).needs_object:
        objects = foreground_of(images, boxes)
        held_out = foreground_of(calibration_images.images, calibration_images.boxes)
        return objects, held_out, _draw_objects(images, objects, boxes)
    examples = np.linspace(0, len(images) - 1, min(FOREGROUND_EXAMPLES, len(images))).astype(int)
    images, boxes = images[examples], [boxes[row] for row in examples]
    nowhere = np.empty((0, *images.shape[1:3]), bool)
    return nowhere, nowhere, _draw_objects(images, foreground_of(images, boxes), boxes)


def _draw_objects(
    images: NDArray[np.uint8], objects: NDArray[np.bool_], boxes: Sequence[Box]
) -> Figure:
    return figures.foreground_figure(contents(images, boxes), contents(objects, boxes))


def synthesise_validation(
    calibration_images: ImageSet,
    train_images: ImageSet,
    textures: NDArray[np.uint8],
    train_foregrounds: NDArray[np.bool_],
    calibration_foregrounds: NDArray[np.bool_],
    synthesis: SynthesisParams,
    seed: int,
) -> ImageSet:
    """The fixed synthetic validation set: outliers on the held-out normals."""
    sources = sources_of(train_images, textures, train_foregrounds)
    return synthesise_set(calibration_images, calibration_foregrounds, sources, synthesis, seed)


def describe_outliers(
    synthetic_validation: ImageSet, calibration_images: ImageSet, synthesis: SynthesisParams
) -> tuple[pd.DataFrame, Figure, Figure, dict[str, Any]]:
    """Mask statistics, their picture, the preview and the record of what was synthesised."""
    table = set_statistics(synthetic_validation, calibration_images, synthesis)
    sources = validation_rows(len(calibration_images), synthesis)
    _, first = np.unique(sources, return_index=True)
    shown = first[: synthesis.preview_rows]
    boxes = [synthetic_validation.boxes[row] for row in shown]
    preview = figures.synthesis_preview(
        contents(calibration_images.images[sources[shown]], boxes),
        contents(synthetic_validation.images[shown], boxes),
        contents(masks_of(synthetic_validation)[shown], boxes),
        f"Synthetic outliers: {synthesis.strategy}",
    )
    positions = position_map(contents(masks_of(synthetic_validation), synthetic_validation.boxes))
    record = {"dataset": synthetic_validation.dataset, "masks": summarise(table)}
    return table, plots.mask_statistics_figure(table, positions), preview, record
