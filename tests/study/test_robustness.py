"""Mean, worst case and spread over strategies, against hand-computed cases."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from daf_pipelines.metrics import image_auroc
from daf_pipelines.study.robustness import (
    NO_SCORES,
    Measured,
    comparisons_table,
    over_strategies,
    robustness_table,
    without_one_table,
)
from made_up_study import made_study, metrics_only

SPREAD = {"cutpaste": 0.2, "draem": 1.0, "nsa": 1.8, "simple_texture": 2.6}


def measured(cells, replicates=100):
    return Measured(cells, replicates)


def row_of(table, **values):
    for name, value in values.items():
        table = table[table[name].isna() if value is None else table[name].eq(value)]
    (row,) = table.to_dict(orient="records")
    return row


class TestStatistics:
    def test_by_hand(self):
        found = over_strategies(np.array([0.7, 0.9, 0.8]))
        assert {name: float(value) for name, value in found.items()} == pytest.approx(
            {"mean": 0.8, "worst": 0.7, "sd": 0.1, "range": 0.2}
        )

    def test_one_strategy_has_no_spread(self):
        found = over_strategies(np.array([[0.7, 0.8]]))
        assert found["mean"].tolist() == found["worst"].tolist() == [0.7, 0.8]
        assert np.isnan(found["sd"]).all()
        assert np.isnan(found["range"]).all()

    @given(arrays(float, st.tuples(st.integers(2, 8), st.integers(1, 5)), elements=st.floats(0, 1)))
    def test_are_of_each_column(self, values):
        found = over_strategies(values)
        for k, column in enumerate(values.T):
            assert found["worst"][k] == min(column)
            assert found["range"][k] == pytest.approx(max(column) - min(column))
            variance = sum((x - sum(column) / len(column)) ** 2 for x in column)
            assert found["sd"][k] == pytest.approx((variance / (len(column) - 1)) ** 0.5, abs=1e-9)

    @given(arrays(float, 6, elements=st.floats(0, 1)), st.permutations(range(6)))
    def test_do_not_depend_on_the_order(self, values, order):
        for one, other in zip(
            over_strategies(values).values(), over_strategies(values[order]).values(), strict=True
        ):
            assert float(one) == pytest.approx(float(other))


class TestTable:
    def test_by_hand(self):
        cells = metrics_only(
            {
                "daf": {"draem": 0.7, "nsa": 0.9, "cutpaste": 0.8},
                "draem": {"draem": 0.5, "nsa": 0.1, "cutpaste": 0.3},
                "patchcore": {"": 0.6},
            }
        )
        table = robustness_table(measured(cells))
        ours = row_of(table, method="daf", metric="pixel_ap", seed=None)
        assert ours["strategies"] == 3
        assert ours["worst_strategy"] == "draem"
        assert [ours[name] for name in ("mean", "worst", "sd", "range")] == pytest.approx(
            [0.8, 0.7, 0.1, 0.2]
        )
        assert np.isnan(ours["sd_low"])
        theirs = row_of(table, method="draem", metric="pixel_ap", seed=None)
        assert theirs["worst_strategy"] == "nsa"
        assert theirs["sd"] == pytest.approx(0.2)
        free = row_of(table, method="patchcore", metric="pixel_ap", seed=None)
        assert free["strategies"] == 0
        assert free["mean"] == free["worst"] == 0.6
        assert np.isnan(free["sd"])

    def test_over_seeds_is_the_mean_of_the_seeds(self):
        cells = metrics_only({"daf": {"draem": 0.7, "nsa": 0.9}})
        cells += metrics_only({"daf": {"draem": 0.5, "nsa": 0.9}}, seed=1)
        table = robustness_table(measured(cells))
        both = row_of(table, metric="pixel_ap", seed=None)
        assert both["seeds"] == 2
        assert both["worst"] == pytest.approx((0.7 + 0.5) / 2)
        assert both["range"] == pytest.approx((0.2 + 0.4) / 2)
        # Of draem the variance between seeds is 0.02, of nsa 0.
        assert both["seed_sd"] == pytest.approx(0.1)

    def test_one_seed_has_no_deviation_between_seeds(self):
        table = robustness_table(measured(metrics_only({"daf": {"draem": 0.7, "nsa": 0.9}})))
        assert table["seed_sd"].isna().all()
        assert set(table["seeds"]) == {1}

    def test_a_seed_that_is_not_complete_is_left_out(self):
        cells = metrics_only({"daf": {"draem": 0.7, "nsa": 0.9, "cutpaste": 0.1}})
        cells += metrics_only({"daf": {"draem": 0.7, "nsa": 0.9}}, seed=1)
        table = robustness_table(measured(cells))
        for seed in (0, None):
            row = row_of(table, metric="pixel_ap", seed=seed)
            assert (row["seeds"], row["strategies"], row["worst"]) == (1, 3, 0.1)

    def test_seeds_of_other_strategies_are_not_averaged(self):
        cells = metrics_only({"daf": {"draem": 0.7, "nsa": 0.9}})
        cells += metrics_only({"daf": {"nsa": 0.1, "cutpaste": 0.2}}, seed=1)
        cells += metrics_only({"daf": {"draem": 0.5, "nsa": 0.9}}, seed=2)
        row = row_of(robustness_table(measured(cells)), metric="pixel_ap", seed=None)
        assert (row["seeds"], row["strategies"]) == (2, 2)
        assert row["worst"] == pytest.approx(0.6)

    def test_a_method_that_has_begun_changes_no_other(self):
        cells = metrics_only({"daf": {"draem": 0.7, "nsa": 0.9}})
        alone = row_of(robustness_table(measured(cells)), metric="pixel_ap", seed=None)
        cells += metrics_only({"draem": {"draem": 0.5}})
        table = robustness_table(measured(cells))
        beside = row_of(table, metric="pixel_ap", seed=None, method="daf")
        assert beside["range"] == alone["range"] == pytest.approx(0.2)
        begun = row_of(table, metric="pixel_ap", seed=None, method="draem")
        assert (begun["strategies"], begun["mean"]) == (1, 0.5)
        assert np.isnan(begun["range"])

    def test_intervals_hold_the_value(self):
        cells = made_study(lambda method, strategy, seed: SPREAD[strategy], methods=("daf",))
        table = robustness_table(measured(cells))
        table = table[table["metric"].isin(["image_auroc", "image_ap"])]
        for name in ("mean", "worst", "sd", "range"):
            assert (table[f"{name}_low"] < table[name]).all()
            assert (table[name] < table[f"{name}_high"]).all()

    def test_equal_test_images_get_equal_draws(self):
        """Equal scores under two names differ in no resample."""
        cells = made_study(lambda *_: 1.0, methods=("daf",), strategies=("draem", "nsa"))
        first = cells[0]
        twin = first.model_copy(update={"strategy": "nsa"})
        ours = measured([first, twin])
        statistics = ours.statistics({"draem": first, "nsa": twin}, "image_auroc")
        assert len(statistics["range"]) == 101
        assert (statistics["range"] == 0).all()

    def test_images_of_one_group_are_drawn_together(self):
        """As exposures of one object: with copies of each image, the interval is as without."""
        (single,) = made_study(lambda *_: 1.0, methods=("daf",), strategies=("draem",))
        copies = {"labels": single.labels * 6, "scores": single.scores * 6}
        numbers = tuple(range(len(single.labels))) * 6

        def width(cell):
            row = row_of(robustness_table(measured([cell], 500)), metric="image_auroc", seed=0)
            return row["mean_high"] - row["mean_low"]

        alone = width(single)
        grouped = width(single.model_copy(update=copies | {"groups": numbers}))
        assert grouped == pytest.approx(alone, rel=0.15)
        assert width(single.model_copy(update=copies)) < 0.6 * alone

    @pytest.mark.parametrize("varying", [0, 1])
    def test_seeds_have_their_anomalous_images_in_common(self, varying):
        """Where the seed draws the normal ones, only these make an interval over seeds shorter."""
        cells = made_study(lambda *_: 1.0, methods=("daf",), strategies=("nsa",))
        labels = cells[0].truth
        noise = np.random.default_rng(0).normal(size=len(labels))
        scores = np.where(labels == varying, noise, 0)
        facts = {"scores": tuple(scores), "metrics": {"image_auroc": image_auroc(scores, labels)}}
        cells = [
            cells[0].model_copy(update=facts | {"seed": seed, "test_images": f"drawn by {seed}"})
            for seed in range(4)
        ]
        table = robustness_table(measured(cells, 1000))
        widths = {
            seed: row["mean_high"] - row["mean_low"]
            for seed in (0, None)
            for row in [row_of(table, metric="image_auroc", seed=seed)]
        }
        expected = widths[0] if varying else widths[0] / 4**0.5
        assert widths[None] == pytest.approx(expected, rel=0.1)


class TestComparisons:
    def test_by_hand(self):
        cells = metrics_only(
            {
                "daf": {"draem": 0.7, "nsa": 0.9, "cutpaste": 0.8},
                "draem": {"draem": 0.5, "nsa": 0.1},
            }
        )
        table = comparisons_table(measured(cells))
        table = table[table["metric"].eq("pixel_ap")]
        assert set(table["other"]) == {"draem"}
        found = table.set_index("statistic")
        assert found["delta"].to_dict() == pytest.approx(
            {"mean": 0.8 - 0.3, "worst": 0.7 - 0.1, "sd": 0.2 / 2**0.5 * (1 - 2), "range": -0.2}
        )
        assert set(found["pairs"]) == {2}
        assert set(found["reason"]) == {NO_SCORES}
        assert found["p_value"].isna().all()

    def test_a_smaller_spread_is_found(self):
        cells = made_study(
            lambda method, strategy, seed: 1.4 if method == "daf" else SPREAD[strategy]
        )
        table = comparisons_table(measured(cells, 400))
        found = row_of(table, metric="image_auroc", statistic="sd", other="daf_without_cue")
        assert found["delta"] < found["high"] < 0
        assert found["p_holm"] < 0.05

    def test_equal_methods_do_not_differ(self):
        cells = made_study(lambda method, strategy, seed: SPREAD[strategy], methods=("daf",))
        cells += [cell.model_copy(update={"method": "draem"}) for cell in cells]
        table = comparisons_table(measured(cells))
        table = table[table["metric"].eq("image_auroc")]
        assert (table["delta"] == 0).all()
        assert (table["p_value"] == 1).all()

    def test_every_method_with_synthesis(self):
        methods = ("daf", "patchcore", "cosine_only", "draem", "teacher_student", "ssim_only")
        cells = made_study(lambda *_: 1.0, strategies=("draem", "nsa"), methods=methods)
        expected = ["teacher_student", "draem", "cosine_only", "ssim_only"]
        table = comparisons_table(measured(cells))
        assert list(dict.fromkeys(table["other"])) == expected

    def test_other_methods_do_not_make_the_claim_harder(self):
        """Tests of the claim are adjusted for their own number, and so are all the others."""
        claimed, other = ("daf_without_cue", "draem"), ("cosine_only", "ssim_only", "stfpm_like")
        cells = made_study(
            lambda method, strategy, seed: 1.4 if method == "daf" else SPREAD[strategy],
            methods=("daf", *claimed, *other),
        )
        few = [cell for cell in cells if cell.method not in other]
        all_of_them, alone = (comparisons_table(measured(one)) for one in (cells, few))
        about = {"metric": "image_auroc", "statistic": "sd"}
        for name in claimed:
            found = row_of(all_of_them, other=name, **about)
            assert found["p_holm"] == row_of(alone, other=name, **about)["p_holm"]
        for name in other:
            found = row_of(all_of_them, other=name, **about)
            assert found["p_holm"] == pytest.approx(3 * found["p_value"])

    def test_hardly_trained_methods_are_not_compared(self):
        cells = made_study(lambda *_: 1.0)
        table = comparisons_table(Measured(cells, 100, ["draem"]))
        assert set(table["other"]) == {"daf_without_cue"}

    def test_pairs_of_a_seed_for_which_one_method_lacks_a_strategy(self):
        """As where a cell has failed: what both have of that seed is more than of any other."""
        both = {"draem": 0.7, "nsa": 0.9}
        cells = metrics_only({"daf": both, "draem": both | {"cutpaste": 0.8}})
        cells += metrics_only({"daf": both | {"cutpaste": 0.8}}, seed=1)
        found = row_of(
            comparisons_table(measured(cells)), metric="pixel_ap", statistic="sd", other="draem"
        )
        assert (found["seeds"], found["pairs"], found["delta"]) == (1, 2, 0)

    def test_without_the_reference(self):
        cells = made_study(lambda *_: 1.0, methods=("daf_without_cue", "draem"))
        assert comparisons_table(measured(cells)).empty

    def test_seeds_with_all_pairs_only(self):
        """The first pair of a seed does not count as much as all of another."""
        cells = metrics_only(
            {"daf": {"draem": 0.7, "nsa": 0.9}, "draem": {"draem": 0.6, "nsa": 0.8}}
        )
        cells += metrics_only({"daf": {"draem": 0.7, "nsa": 0.9}, "draem": {"draem": 0.1}}, seed=1)
        found = row_of(
            comparisons_table(measured(cells)), metric="pixel_ap", statistic="mean", other="draem"
        )
        assert (found["seeds"], found["pairs"]) == (1, 2)
        assert found["delta"] == pytest.approx(0.1)

    def test_one_strategy_in_common(self):
        cells = metrics_only({"daf": {"draem": 0.7, "nsa": 0.9}, "draem": {"draem": 0.5}})
        table = comparisons_table(measured(cells))
        found = row_of(table, metric="pixel_ap", statistic="sd", other="draem")
        assert np.isnan(found["delta"])
        assert found["pairs"] == 1
        assert "two strategies" in found["reason"]

    def test_nothing_in_common(self):
        cells = metrics_only({"daf": {"draem": 0.7}, "draem": {"nsa": 0.5}})
        assert comparisons_table(measured(cells)).empty

    def test_of_one_class_only(self):
        """Without anomalous test images there is no metric, and nothing breaks."""
        cells = made_study(lambda *_: 1.0, strategies=("draem", "nsa"))
        normal = {"labels": "0" * 100, "metrics": {"image_auroc": None}}
        cells = [cell.model_copy(update=normal) for cell in cells]
        assert comparisons_table(measured(cells)).empty
        assert robustness_table(measured(cells)).empty


class TestWithoutOne:
    def test_by_hand(self):
        cells = metrics_only(
            {
                "daf": {"draem": 0.7, "nsa": 0.9, "cutpaste": 0.8},
                "daf_without_cue": {"draem": 0.5, "nsa": 0.1, "cutpaste": 0.6},
                "teacher_student": {"draem": 0.5, "nsa": 0.1, "cutpaste": 0.6},
            }
        )
        table = without_one_table(measured(cells))
        table = table[table["metric"].eq("pixel_ap") & table["statistic"].eq("range")]
        assert set(table["other"]) == {"daf_without_cue"}
        rows = table.set_index("without")
        assert rows["value"].to_dict() == pytest.approx({"draem": 0.1, "nsa": 0.1, "cutpaste": 0.2})
        assert rows["other_value"].to_dict() == pytest.approx(
            {"draem": 0.5, "nsa": 0.1, "cutpaste": 0.4}
        )

    def test_is_the_comparison_of_the_others(self):
        quality = lambda m, s, k: SPREAD[s] * (1 if m == "draem" else 0.1) + k / 9  # noqa: E731
        cells = made_study(quality, methods=("daf", "draem"), seeds=(0, 1))
        left = measured([cell for cell in cells if cell.strategy != "nsa"])
        facts = {"metric": "image_auroc", "statistic": "sd"}
        expected = row_of(comparisons_table(left), **facts)
        found = row_of(without_one_table(measured(cells)), without="nsa", **facts)
        for name in ("value", "other_value", "delta", "low", "high", "p_value"):
            assert found[name] == pytest.approx(expected[name]), name
        assert (found["pairs"], found["seeds"]) == (6, 2)

    def test_two_strategies_leave_no_spread(self):
        cells = metrics_only({name: {"draem": 0.7, "nsa": 0.9} for name in ("daf", "draem")})
        assert without_one_table(measured(cells)).empty
