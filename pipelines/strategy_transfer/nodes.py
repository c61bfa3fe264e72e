"""Nodes of the strategy_transfer pipeline."""

import pandas as pd

from daf_pipelines.parameters import DatasetParams, SynthesisParams, TransferParams
from daf_pipelines.scoring.detector import Detector
from daf_pipelines.scoring.transfer import other_strategies, transfer
from daf_pipelines.sources.image_set import ImageSet, check_dataset
from daf_pipelines.training.experiment import check_model


def try_strategies(
    detector: Detector,
    calibration_images: ImageSet,
    train_images: ImageSet,
    synthesis: SynthesisParams,
    params: TransferParams,
    dataset: DatasetParams,
    seed: int,
) -> pd.DataFrame:
    """How well the detector finds outliers of each strategy on held-out normals."""
    for images in (calibration_images, train_images):
        check_dataset(images, dataset, seed)
    check_model(detector.metadata["identity"], calibration_images)
    strategies = other_strategies(synthesis, params.strategies, params.repeats)
    return transfer(detector, calibration_images, train_images, strategies, seed)
