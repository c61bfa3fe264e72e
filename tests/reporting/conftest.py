"""Manifests and samples of made-up datasets."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from daf_pipelines.reporting.dataset_overview import Sample, Samples
from daf_pipelines.sources.manifest import MANIFEST

FINDING_COLUMNS = ["severity", "check", "file", "finding", "remedy"]


@pytest.fixture
def no_findings() -> pd.DataFrame:
    return pd.DataFrame(columns=FINDING_COLUMNS)


@pytest.fixture
def make_manifest() -> Callable[..., pd.DataFrame]:
    """A valid manifest of so many images of each (defect type, split).

    Images in the split "excluded" have no label. `coverage` holds the masks' areas of each defect
    type, for its first images; `size` is (width, height) or one for each image.
    """

    def make(counts, coverage=None, size=(30, 20), mode="RGB"):
        kinds = [key for key, count in counts.items() for _ in range(count)]
        areas = {name: list(values) for name, values in (coverage or {}).items()}
        rows = []
        for index, (defect_type, split) in enumerate(kinds):
            area = areas[defect_type].pop(0) if areas.get(defect_type) else None
            width, height = size if isinstance(size, tuple) else size[index]
            undecided = split == "excluded"
            rows.append(
                {
                    "path": f"{index:05}.png",
                    "mask_path": None if area is None else f"{index:05}_mask.png",
                    "split": split,
                    "label": None if undecided else int(defect_type != "good"),
                    "defect_type": defect_type,
                    "category": "bolt",
                    "group": None,
                    "width": width,
                    "height": height,
                    "mode": mode,
                    "content_hash": "0" * 64,
                    "mask_hash": None if area is None else "1" * 64,
                    "mask_coverage": area,
                }
            )
        return MANIFEST.validate(pd.DataFrame(rows, columns=list(MANIFEST.columns)))

    return make


@pytest.fixture
def make_samples() -> Callable[..., Samples]:
    """Samples of rows of a manifest: noise, with a mask in the middle where the row has one."""

    def make(manifest, rows, size=(20, 30)):
        rng = np.random.default_rng(0)
        samples = []
        for row in manifest.iloc[rows].itertuples():
            picture = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
            mask = np.zeros(size, dtype=np.uint8)
            mask[5:10, 8:14] = 1
            masked = not pd.isna(row.mask_path)
            samples.append(
                Sample(row.path, row.split, row.defect_type, picture, mask if masked else None)
            )
        return samples

    return make
