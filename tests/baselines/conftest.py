"""Real images, and methods trained on them for a few steps."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from daf_pipelines.baselines.parameters import BaselineParams
from daf_pipelines.models.network import Baseline
from daf_pipelines.parameters import DatasetParams, SynthesisParams, TeacherParams
from daf_pipelines.sources.image_set import ImageSet
from ingested import prepare

SIZE = 64
TINY: dict[str, Any] = {
    "patchcore": {"coreset": 0.1, "most_patches": 400},
    "stfpm": {"steps": 3, "batch_size": 4},
    "draem": {"steps": 2, "batch_size": 2},
    "device": "cpu",
}
Train = Callable[..., tuple[Baseline, pd.DataFrame]]


@pytest.fixture(scope="session")
def cells(elpv_cells: Path) -> ImageSet:
    """Functional cells to train on."""
    params = DatasetParams(source="elpv", root=elpv_cells, image_size=SIZE)
    return prepare(params, 0, "train")


@pytest.fixture(scope="session")
def train(cells: ImageSet) -> Train:
    """Trains a method on the cells."""
    from daf_pipelines.baselines.training import train_baseline

    def trained(method: str, seed: int = 0) -> tuple[Baseline, pd.DataFrame]:
        return train_baseline(
            cells,
            np.empty((0, 3, SIZE, SIZE), np.uint8),
            np.empty((0, SIZE, SIZE), bool),
            SynthesisParams(),
            TeacherParams(),
            BaselineParams(method=method, **TINY),
            seed,
        )

    return trained


@pytest.fixture(scope="session")
def networks(train: Train) -> dict[str, Baseline]:
    """Each method, trained."""
    return {method: train(method)[0] for method in ("patchcore", "stfpm", "draem")}
