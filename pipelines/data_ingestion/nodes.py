"""Nodes of the data_ingestion pipeline."""

import logging
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from daf_pipelines.parameters import DatasetParams
from daf_pipelines.reporting.dataset_card import dataset_card
from daf_pipelines.reporting.dataset_overview import Sample, choose_samples, describe_findings
from daf_pipelines.reporting.dataset_page import dataset_page
from daf_pipelines.sources import image_set, manifest
from daf_pipelines.sources.checks import findings_table
from daf_pipelines.sources.image_set import ImageStream
from daf_pipelines.sources.manifest import data_hash
from daf_pipelines.sources.reading import Reading
from daf_pipelines.sources.registry import find_source
from daf_pipelines.sources.splits import describe_split

LOG = logging.getLogger(__name__)
SPLITS = ("train", "calibration", "test")


def read_images(dataset: DatasetParams, seed: int, folder: Path) -> tuple[Reading, pd.DataFrame]:
    """Every image, read once, and all findings of the checks."""
    reading = manifest.read_dataset(dataset, seed, folder)
    table = findings_table(reading.findings)
    listed = "." if table.empty else ": data_checks.csv has them."
    LOG.info("%s%s", describe_findings(table).capitalize(), listed)
    return reading, table


def make_manifest(reading: Reading, dataset: DatasetParams) -> pd.DataFrame:
    """The validated table of all images of the dataset; errors in the data end here."""
    return manifest.make_manifest(reading, dataset)


def prepare_images(
    manifest: pd.DataFrame, reading: Reading, dataset: DatasetParams, seed: int
) -> tuple[ImageStream, ImageStream, ImageStream]:
    """Images at working size: for training, for calibration and for the test."""
    train, calibration, test = (
        image_set.prepare(manifest, reading, dataset, seed, split) for split in SPLITS
    )
    return train, calibration, test


def summarise(
    manifest: pd.DataFrame,
    reading: Reading,
    findings: pd.DataFrame,
    dataset: DatasetParams,
    seed: int,
) -> dict[str, Any]:
    """Counts by split and defect type, and where the test split comes from."""
    counts = manifest.groupby(["split", "defect_type"]).size()
    source = find_source(dataset)
    table = reading.table[reading.table["path"].isin(manifest["path"])]
    share = dataset.test_fraction or source.test_share
    images = {
        split: {str(k): int(v) for k, v in counts[split].items()}
        for split in counts.index.unique("split")
    }
    for split, types in images.items():
        LOG.info("%s: %s", split, ", ".join(f"{n:,} {kind}" for kind, n in types.items()))
    return {
        "source": source.name,
        "category": dataset.category or str(manifest["category"].iloc[0]),
        "coarse_masks": source.coarse_masks,
        "data_hash": data_hash(manifest),
        "images": images,
        "split": describe_split(table, findings, share, seed),
    }


def describe(
    manifest: pd.DataFrame,
    reading: Reading,
    findings: pd.DataFrame,
    summary: dict[str, Any],
    dataset: DatasetParams,
    seed: int,
) -> tuple[Figure, str]:
    """The dataset card, as a picture and as a page: what a person should see before training."""
    samples = _load(reading, manifest.iloc[choose_samples(manifest)])
    title = f"{summary['source']}: {summary['category']}"
    facts = {
        "source": summary["source"],
        "root": str(dataset.root) if dataset.root else "the source's package",
        "category": summary["category"],
        "working size": f"{dataset.image_size} x {dataset.image_size}, {dataset.resize}",
        "seed": seed,
        "data hash": summary["data_hash"],
    }
    return (
        dataset_card(manifest, samples, findings, title),
        dataset_page(manifest, samples, findings, title, facts),
    )


def _load(reading: Reading, chosen: pd.DataFrame) -> list[Sample]:
    """The chosen images with their masks, as training sees them."""
    parts = reading.pixels(reading.rows(chosen["path"]))
    pixels = [pair for part in parts for pair in zip(*part, strict=True)]
    columns = (chosen[name].tolist() for name in ("path", "split", "defect_type"))
    masked = chosen["mask_path"].notna().tolist()
    return [
        Sample(path, split, kind, image, mask if has_mask else None)
        for path, split, kind, has_mask, (image, mask) in zip(*columns, masked, pixels, strict=True)
    ]
