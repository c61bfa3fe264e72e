"""A dataset read and prepared in one call."""

from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd

from daf_pipelines.parameters import DatasetParams
from daf_pipelines.sources import image_set
from daf_pipelines.sources.image_set import ImageSet
from daf_pipelines.sources.manifest import make_manifest, read_dataset


def build_manifest(params: DatasetParams, seed: int = 0) -> pd.DataFrame:
    """The manifest of a dataset."""
    with TemporaryDirectory() as folder:
        return make_manifest(read_dataset(params, seed, Path(folder)), params)


def prepare(params: DatasetParams, seed: int, split: str) -> ImageSet:
    """The prepared images of one split."""
    with TemporaryDirectory() as folder:
        reading = read_dataset(params, seed, Path(folder) / "decoded")
        manifest = make_manifest(reading, params)
        stream = image_set.prepare(manifest, reading, params, seed, split)
        image_set.save(stream, Path(folder) / "set")
        return image_set.load(Path(folder) / "set")
