"""Nodes of the data_ingestion pipeline."""

import logging
from typing import Any

import pandas as pd

from daf_pipelines.parameters import DatasetParams
from daf_pipelines.sources import image_set
from daf_pipelines.sources.image_set import ImageSet
from daf_pipelines.sources.manifest import build_manifest, data_hash
from daf_pipelines.sources.registry import unpack

LOG = logging.getLogger(__name__)
SPLITS = ("train", "calibration", "test")


def make_manifest(dataset: DatasetParams, seed: int) -> pd.DataFrame:
    """The validated table of all images of the dataset."""
    unpack(dataset)
    return build_manifest(dataset, seed)


def prepare_images(
    manifest: pd.DataFrame, dataset: DatasetParams, seed: int
) -> tuple[ImageSet, ImageSet, ImageSet]:
    """Images at working size: for training, for calibration and for the test."""
    train, calibration, test = (
        image_set.prepare(manifest, dataset, seed, split) for split in SPLITS
    )
    return train, calibration, test


def summarise(manifest: pd.DataFrame, dataset: DatasetParams) -> dict[str, Any]:
    """Counts by split and defect type; images that are neither trained on nor tested too."""
    counts = manifest.groupby(["split", "defect_type"]).size()
    summary = {
        "source": dataset.source,
        "category": str(manifest["category"].iloc[0]) if len(manifest) else None,
        "data_hash": data_hash(manifest),
        "images": {
            split: {str(k): int(v) for k, v in counts[split].items()}
            for split in counts.index.unique("split")
        },
    }
    LOG.info("Images: %s", summary["images"])
    return summary
