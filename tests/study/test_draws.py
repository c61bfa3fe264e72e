"""Resamples that all detectors of a test set have in common, and what a cell keeps of them."""

import numpy as np
import pytest

from daf_pipelines.metrics import count_pixels, pixel_replicates
from daf_pipelines.study.draws import KEPT, PIXEL_DRAWS, draws, kept_replicates
from daf_pipelines.study.results import Cell
from daf_pipelines.study.robustness import Measured, comparisons_table, robustness_table
from made_up_study import made_cell

LABELS = np.array([0, 0, 0, 1, 1, 0, 1, 1, 0])
DATA = ("tiles", "tile")


class TestDraws:
    def test_equal_test_sets_get_equal_draws(self) -> None:
        first = draws(DATA, "hash", LABELS, (), 20)
        np.testing.assert_array_equal(first, draws(DATA, "hash", LABELS, (), 20))

    def test_seeds_have_their_anomalous_images_in_common(self) -> None:
        one, other = (draws(DATA, name, LABELS, (), 20) for name in ("split 0", "split 1"))
        np.testing.assert_array_equal(one[:, LABELS == 1], other[:, LABELS == 1])
        assert (one[:, LABELS == 0] != other[:, LABELS == 0]).any()

    def test_groups_go_together(self) -> None:
        groups = (0, 0, 1, 2, 2, 1, 3, 4, 5)
        weights = draws(DATA, "hash", LABELS, groups, 50)
        assert (weights[:, 0] == weights[:, 1]).all()
        assert (weights[:, 3] == weights[:, 4]).all()
        assert (weights[:, 0] != weights[:, 2]).any()


class TestKept:
    @pytest.fixture
    def pixels(self) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng(0)
        masks = np.zeros((len(LABELS), 12, 12), np.uint8)
        masks[LABELS == 1, 3:7, 4:9] = 1
        return rng.random(masks.shape, dtype=np.float32) + masks / 2, masks

    def test_are_those_of_the_draws(self, pixels: tuple[np.ndarray, np.ndarray]) -> None:
        counts = count_pixels(*pixels)
        weights = draws(DATA, "hash", LABELS, (), 30)
        found = kept_replicates(counts, weights)
        assert set(found) == set(KEPT)
        expected = pixel_replicates(counts, weights)
        for name, values in found.items():
            assert values == pytest.approx(expected[name], abs=1e-6)

    def test_what_is_undefined_in_a_draw_is_left_out(
        self, pixels: tuple[np.ndarray, np.ndarray]
    ) -> None:
        """Half of the defective images have an empty mask, and a draw may have only these."""
        maps, masks = pixels
        masks[[3, 4, 6]] = 0
        assert kept_replicates(count_pixels(maps, masks), draws(DATA, "h", LABELS, (), 200)) == {}


class TestPixelMetrics:
    """Values of which only resamples are known."""

    def cells(self, spread: float, **changes: object) -> list[Cell]:
        rng = np.random.default_rng(0)
        hard = rng.normal(scale=0.01, size=PIXEL_DRAWS)  # of the images, for all detectors alike
        found = []
        for method, width in (("daf", 0.0), ("daf_without_cue", spread)):
            for strategy, side in (("draem", -1), ("nsa", 0), ("cutpaste", 1)):
                value = 0.5 + side * width
                drawn = value + hard + rng.normal(scale=0.005, size=PIXEL_DRAWS)
                facts = made_cell(strategy=strategy, method=method, pixel_ap=value)
                facts["pixel_replicates"] = {"pixel_ap": drawn.tolist()}
                found.append(Cell.model_validate(facts | changes))
        return found

    def row(self, cells: list[Cell], statistic: str) -> dict[str, float]:
        table = comparisons_table(Measured(cells, 100))
        kind = table["metric"].eq("pixel_ap") & table["statistic"].eq(statistic)
        (row,) = table[kind].to_dict(orient="records")
        return row

    def test_a_difference_of_spreads_is_tested(self) -> None:
        row = self.row(self.cells(0.1), "sd")
        assert row["delta"] == pytest.approx(-0.1)
        assert row["low"] < -0.1 < row["high"] < -0.08
        assert row["p_value"] == pytest.approx(2 / (PIXEL_DRAWS + 1))
        assert self.row(self.cells(0.0), "sd")["p_value"] > 0.05

    def test_where_one_cell_has_none(self) -> None:
        cells = self.cells(0.1)
        cells[1] = cells[1].model_copy(update={"pixel_replicates": {}})
        row = self.row(cells, "sd")
        assert row["delta"] == pytest.approx(-0.1)
        assert np.isnan(row["p_value"])
        assert "not all cells have resamples" in str(row["reason"])

    def test_where_one_seed_has_none(self) -> None:
        """Its values count, and the mean over seeds has no interval."""
        cells = self.cells(0.1)
        cells += [c.model_copy(update={"seed": 1, "pixel_replicates": {}}) for c in cells]
        table = robustness_table(Measured(cells, 100))
        table = table[table["metric"].eq("pixel_ap") & table["method"].eq("daf_without_cue")]
        lows = table.set_index(table["seed"].fillna(-1))["sd_low"]
        assert table["sd"].tolist() == pytest.approx([0.1] * 3)
        assert np.isfinite(lows[0])
        assert lows[[1, -1]].isna().all()
        assert np.isnan(self.row(cells, "sd")["p_value"])

    def test_another_number_of_draws_is_refused(self) -> None:
        with pytest.raises(ValueError, match="at least 1000 items"):
            self.cells(0.1, pixel_replicates={"pixel_ap": [0.5] * 10})
