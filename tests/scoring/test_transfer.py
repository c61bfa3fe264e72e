"""A detector tried on synthetic outliers of several strategies."""

import numpy as np
import pandas as pd
import pytest

from daf_pipelines.errors import ParameterError
from daf_pipelines.parameters import SynthesisParams
from daf_pipelines.scoring.detector import Prediction
from daf_pipelines.scoring.transfer import PRESETS, other_strategies, transfer
from daf_pipelines.sources.image_set import ImageSet

SIZE = 64


def image_set(count: int, level: int) -> ImageSet:
    """Plain grey pictures."""
    table = pd.DataFrame({"path": [f"{k}.png" for k in range(count)], "width": 9, "height": 9})
    images = np.full((count, SIZE, SIZE, 3), level, np.uint8)
    return ImageSet(table, images, None, {"resize": "square"})


class Differences:
    """Scores how far pixels are from a level."""

    def __init__(self, level: int, sign: int = 1) -> None:
        self.level, self.sign = level, sign

    def score(self, images, boxes):
        maps = self.sign * np.abs(images.astype(np.float32) - self.level).max(axis=3)
        return Prediction(maps.mean(axis=(1, 2)), maps)


STRATEGIES = {"simple_texture": {}, "dark": {"strategy": "simple_shape", "match_grey": False}}


def tried(detector, repeats: int = 3) -> pd.DataFrame:
    strategies = other_strategies(SynthesisParams(), STRATEGIES, repeats)
    return transfer(detector, image_set(4, 120), image_set(6, 120), strategies, seed=0)


class TestTransfer:
    def test_outliers_that_are_all_found(self) -> None:
        table = tried(Differences(120))
        assert table["strategy"].tolist() == list(STRATEGIES)
        assert table[["n_normal", "n_outliers"]].to_numpy().tolist() == [[4, 12], [4, 12]]
        assert table["image_auroc"].tolist() == [1, 1]
        assert table["image_ap"].tolist() == pytest.approx([1, 1])
        # What changes by nothing visible is masked, too.
        assert (table["pixel_ap"] > 0.9).all()

    def test_a_detector_that_has_it_the_wrong_way_round(self) -> None:
        table = tried(Differences(120, sign=-1))
        assert table["image_auroc"].tolist() == [0, 0]
        assert (table["pixel_ap"] < 0.5).all()

    def test_the_same_seed_gives_the_same_outliers(self) -> None:
        pd.testing.assert_frame_equal(tried(Differences(100)), tried(Differences(100)))


class TestStrategies:
    def test_none_named_are_those_of_the_paper(self) -> None:
        found = other_strategies(SynthesisParams(match_grey=False), {}, 2)
        assert [params.strategy for params in found.values()] == list(PRESETS)
        assert {params.validation_repeats for params in found.values()} == {2}
        assert not any(params.match_grey for params in found.values())

    def test_an_entry_may_be_another_strategy_with_changes(self) -> None:
        (params,) = other_strategies(
            SynthesisParams(), {"mine": {"strategy": "nsa", "foreground": "none"}}, 1
        ).values()
        assert (params.strategy, params.foreground) == ("nsa", "none")

    def test_unknown(self) -> None:
        with pytest.raises(ParameterError, match=r"drem.*draem"):
            other_strategies(SynthesisParams(), {"drem": {}}, 1)
