"""Nodes of the baseline_training pipeline."""

import time
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from daf_pipelines.baselines.parameters import BaselineParams
from daf_pipelines.methods import OF_OUTLIERS
from daf_pipelines.models.network import Baseline
from daf_pipelines.models.trained import TrainedModel
from daf_pipelines.parameters import DatasetParams, ModelParams, SynthesisParams
from daf_pipelines.resources import peak_rss_mib
from daf_pipelines.sources.image_set import ImageSet, check_dataset
from daf_pipelines.training.experiment import baseline_identity, check_inputs


def train(
    train_images: ImageSet,
    textures: NDArray[np.uint8],
    train_foregrounds: NDArray[np.bool_],
    synthesis_record: dict[str, Any],
    dataset: DatasetParams,
    synthesis: SynthesisParams,
    model: ModelParams,
    baseline: BaselineParams,
    seed: int,
) -> tuple[TrainedModel[Baseline], pd.DataFrame]:
    """Train the method that ``baseline`` names; only DRAEM takes outliers."""
    from daf_pipelines.baselines.training import train_baseline  # imports anomalib: ten seconds

    check_dataset(train_images, dataset, seed)
    if baseline.method in OF_OUTLIERS:
        check_inputs(train_images, synthesis_record, dataset, synthesis, seed)
    identity = baseline_identity(train_images, synthesis, model.teacher, baseline)
    began = time.monotonic()
    network, history = train_baseline(
        train_images, textures, train_foregrounds, synthesis, model.teacher, baseline, seed
    )
    seconds = time.monotonic() - began
    return TrainedModel(network, identity, seconds, peak_rss_mib()), history
