"""A dataset from its files to prepared images, in one call."""

from pathlib import Path

from daf_pipelines.parameters import DatasetParams
from daf_pipelines.sources import image_set
from daf_pipelines.sources.image_set import ImageSet
from daf_pipelines.sources.manifest import make_manifest, read_dataset


def ingest(params: DatasetParams, seed: int, folder: Path) -> dict[str, ImageSet]:
    """Reads, checks and prepares a dataset, as the pipeline data_ingestion does.

    Args:
        params: Which dataset, and how it is prepared.
        seed: Of the splits that are drawn.
        folder: Gets `manifest.parquet`, and a folder for each split.

    Returns:
        The sets "train", "calibration" and "test".

    Raises:
        DataError: The data have errors.
        ParameterError: Unknown source or category.
    """
    reading = read_dataset(params, seed, folder / "decoded")
    manifest = make_manifest(reading, params)
    manifest.to_parquet(folder / "manifest.parquet", index=False)
    sets = {}
    for split in ("train", "calibration", "test"):
        stream = image_set.prepare(manifest, reading, params, seed, split)
        image_set.save(stream, folder / split)
        sets[split] = image_set.load(folder / split)
    return sets
