"""A detector with random weights: what counts here is what happens around the networks."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from daf_pipelines.models import DAF
from daf_pipelines.parameters import ModelParams, ScoringParams
from daf_pipelines.scoring.detector import Detector


@pytest.fixture
def make_detector() -> Callable[..., Detector]:
    """Makes an untrained detector for images of 96 pixels a side."""

    def make(scoring: dict[str, float] | None = None, **options: object) -> Detector:
        params = ModelParams.model_validate(
            {
                "teacher": {"backbone": "test_byobnet", "weights": "nowhere.pth"},
                "student": {"backbone": "test_resnet", "weights": "nowhere.pth"},
                "decoder": {"width": 16},
            }
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = DAF(params)
        return Detector(model, ScoringParams.model_validate(scoring or {}), 96, **options)

    return make


@pytest.fixture
def images() -> NDArray[np.uint8]:
    """Five random images (5, 96, 96, 3), coarse enough to differ in their features."""
    coarse = np.random.default_rng(0).integers(0, 256, (5, 12, 12, 3), dtype=np.uint8)
    return coarse.repeat(8, axis=1).repeat(8, axis=2)
