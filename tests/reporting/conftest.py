"""Manifests, samples and galleries of made-up datasets."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from daf_pipelines.reporting.dataset_overview import Sample, Samples
from daf_pipelines.sources.manifest import MANIFEST
from daf_pipelines.synthesis import Operator, Strategy
from daf_pipelines.synthesis.blending import hard_paste
from daf_pipelines.synthesis.contents import own_patch
from daf_pipelines.synthesis.gallery import Exhibit, Gallery
from daf_pipelines.synthesis.masks import rectangle_mask

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


@pytest.fixture
def make_gallery() -> Callable[..., Gallery]:
    """A gallery of noise: outliers are inverted inside of a mask that moves to the right.

    `strategies` are names, or strategies by name; `names` those of the normal images.
    """

    def make(strategies=("first", "second"), names=("a.png", "b.png", "c.png"), size=(20, 30)):
        if not isinstance(strategies, dict):
            operators = map(Operator, (rectangle_mask, own_patch, hard_paste))
            strategies = dict.fromkeys(strategies, Strategy(*operators, "What it is."))
        rng = np.random.default_rng(0)
        originals = list(rng.integers(0, 256, (len(names), *size, 3), dtype=np.uint8))
        exhibits, rows = {}, []
        for k, name in enumerate(strategies):
            mask = np.zeros(size, dtype=np.uint8)
            mask[5:10, 4 + k : 9 + k] = 1
            outliers = [np.where(mask[..., None], 255 - image, image) for image in originals]
            positions = np.full((4, 4), 0.01)
            positions[0, 1] = 0.2
            exhibits[name] = Exhibit(outliers, [mask] * len(names), positions)
            areas = {"q05": 0.002, "q25": 0.01, "q50": 0.0512, "q75": 0.1, "q95": 0.1333}
            row = {f"area_{quantile}": area * (k + 1) for quantile, area in areas.items()}
            others = {"regions": 3.25, "contrast": 0.125, "seconds": 0.0123}
            rows.append({"strategy": name, "draws": 64, **row, **others})
        return Gallery(list(names), originals, strategies, exhibits, pd.DataFrame(rows))

    return make
