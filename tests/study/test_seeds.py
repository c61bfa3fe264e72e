"""Tests over trainings and agreement of ranks, against SciPy and hand-computed cases."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from daf_pipelines.study.robustness import Measured
from daf_pipelines.study.seeds import (
    kendall_w,
    mean_tau,
    permutation_test,
    rank_stability_table,
    seed_tests_table,
    sign_test,
)
from made_up_study import made_study, metrics_only

WHOLE = st.integers(0, 5).map(float)


class TestSigns:
    def test_by_hand(self):
        # Of 2^4 outcomes, 4 + 4 have at most one on a side, 1 + 1 none: (1 + 4) * 2 / 16.
        assert sign_test([0.3, 0.1, 0.2, -0.4]) == pytest.approx(10 / 16)
        assert sign_test([0.1] * 6) == pytest.approx(2 / 64)

    def test_zeros_are_left_out(self):
        assert sign_test([0, 0.1, 0, 0.2]) == pytest.approx(2 / 4)
        assert sign_test([0, 0]) == 1


class TestPermutation:
    def test_by_hand(self):
        # 1 + 2 + 4 = 7: only all signs equal get as far.
        assert permutation_test([1, 2, 4]) == pytest.approx(2 / 8)
        # -1 + 2 + 4 = 5: the four sums 7, 5, -5, -7.
        assert permutation_test([-1, 2, 4]) == pytest.approx(4 / 8)

    @given(st.lists(st.floats(-1, 1).map(lambda x: round(x, 3)), min_size=1, max_size=8))
    def test_is_the_share_of_all_flips(self, values):
        sums = [
            abs(sum(s * v for s, v in zip(signs, values, strict=True)))
            for signs in itertools.product((-1, 1), repeat=len(values))
        ]
        expected = np.mean([one >= abs(sum(values)) - 1e-9 for one in sums])
        assert permutation_test(values) == pytest.approx(expected)

    def test_many_pairs_are_drawn(self):
        values = np.random.default_rng(0).normal(0.5, 1, 40)
        expected = stats.ttest_1samp(values, 0).pvalue
        assert permutation_test(values) == pytest.approx(expected, rel=0.25)
        assert permutation_test(np.full(40, 0.1)) == pytest.approx(1 / 2**15)

    @given(arrays(float, 5, elements=WHOLE), arrays(float, 5, elements=WHOLE))
    def test_does_not_depend_on_who_comes_first(self, ours, theirs):
        assert permutation_test(ours - theirs) == permutation_test(theirs - ours)


class TestAgreement:
    def test_one_order(self):
        values = [[1, 2, 3], [10, 20, 30]]
        assert kendall_w(values) == pytest.approx(1)
        assert mean_tau(values) == pytest.approx(1)

    def test_opposite_orders(self):
        values = [[1, 2, 3], [3, 2, 1]]
        assert kendall_w(values) == pytest.approx(0)
        assert mean_tau(values) == pytest.approx(-1)

    def test_by_hand(self):
        # Rank sums 4, 6, 8 about 6: S = 8, W = 12 * 8 / (9 * 24).
        values = [[1, 2, 3], [2, 1, 3], [1, 3, 2]]
        assert kendall_w(values) == pytest.approx(96 / 216)
        # tau of the pairs: 1/3, 1/3, -1/3.
        assert mean_tau(values) == pytest.approx(1 / 9)

    def test_no_order(self):
        assert np.isnan(kendall_w([[1, 1, 1], [2, 2, 2]]))

    @given(arrays(float, st.tuples(st.integers(2, 6), st.integers(3, 6)), elements=WHOLE))
    def test_is_friedman_scaled(self, values):
        judges, items = values.shape
        if all(len(set(row)) == 1 for row in values):
            assert np.isnan(kendall_w(values))
            return
        chi_squared = stats.friedmanchisquare(*values.T).statistic
        assert kendall_w(values) == pytest.approx(chi_squared / (judges * (items - 1)), abs=1e-9)

    @given(arrays(float, (4, 3, 5), elements=WHOLE))
    def test_is_of_each_table(self, values):
        np.testing.assert_array_equal(kendall_w(values), [kendall_w(one) for one in values])


class TestTables:
    def test_units(self):
        cells = []
        for seed in (0, 1):
            cells += metrics_only(
                {
                    "daf": {"draem": 0.7, "nsa": 0.8, "cutpaste": 0.9},
                    "draem": {"draem": 0.5, "nsa": 0.9 - 0.3 * seed},
                },
                seed=seed,
            )
        table = seed_tests_table(Measured(cells, 10))
        found = table[table["metric"].eq("pixel_ap")].set_index("statistic")
        assert found["units"].to_dict() == {"value": 4, "worst": 2, "sd": 2, "range": 2}
        assert found.loc["value", ["higher", "lower"]].tolist() == [3, 1]
        assert found.loc["value", "mean_difference"] == pytest.approx((0.2 - 0.1 + 0.2 + 0.2) / 4)
        assert found.loc["range", "mean_difference"] == pytest.approx((-0.3 + 0.0) / 2)
        assert found.loc["value", "p_permutation"] == pytest.approx(4 / 16)

    def test_every_method_with_synthesis(self):
        """Also one that only a later dataset has; adjusted apart from those of the claim."""
        quality = lambda method, strategy, seed: 2.0 if method == "daf" else 1.0  # noqa: E731
        facts = {"strategies": ("draem", "nsa", "cutpaste")}
        cells = made_study(quality, methods=("daf", "cosine_only", "draem"), **facts)
        cells += made_study(
            quality, data=[("x", "y")], methods=("daf", "ssim_only", "stfpm"), **facts
        )
        table = seed_tests_table(Measured(cells, 10))
        table = table[table["metric"].eq("image_auroc") & table["statistic"].eq("value")]
        found = table.set_index("other")
        assert list(found.index) == ["draem", "cosine_only", "ssim_only"]
        assert (found["p_permutation"] == 2 / 2**3).all()
        assert found["p_holm"].tolist() == pytest.approx([2 / 8, 4 / 8, 4 / 8])

    def test_order_of_strategies_between_seeds(self):
        cells = metrics_only({"daf": {"draem": 0.7, "nsa": 0.8}})
        cells += metrics_only({"daf": {"draem": 0.5, "nsa": 0.4}}, seed=1)
        cells += metrics_only({"daf": {"draem": 0.5}}, seed=2)  # has begun
        table = rank_stability_table(Measured(cells, 10))
        (row,) = table[table["metric"].eq("pixel_ap")].to_dict(orient="records")
        assert (row["order"], row["method"], row["judges"], row["items"]) == (
            *("strategies", "daf", 2, 2),
        )
        assert row["kendall_w"] == pytest.approx(0)
        assert row["mean_tau"] == pytest.approx(-1)

    def test_order_of_methods_between_strategies(self):
        cells = metrics_only(
            {
                "daf": {"draem": 0.9, "nsa": 0.8},
                "draem": {"draem": 0.5, "nsa": 0.7},
                "teacher_student": {"draem": 0.6},  # has begun
                "patchcore": {"": 1.0},
            }
        )
        table = rank_stability_table(Measured(cells, 10))
        (row,) = table[table["metric"].eq("pixel_ap")].to_dict(orient="records")
        assert (row["order"], row["seed"], row["judges"], row["items"]) == ("methods", 0, 2, 2)
        assert row["kendall_w"] == pytest.approx(1)

    def test_intervals_are_those_of_resampled_images(self):
        """Strategies far apart keep their order on other images; equal ones do not."""

        def agreement(step, metric="image_auroc"):
            names = ("cutpaste", "draem", "nsa", "simple_texture")
            quality = lambda m, s, k: 0.2 + step * names.index(s) + 0.01 * k  # noqa: E731
            cells = made_study(quality, methods=("daf",), seeds=(0, 1), strategies=names)
            table = rank_stability_table(Measured(cells, 200))
            (row,) = table[table["metric"].eq(metric)].to_dict(orient="records")
            return row

        apart, alike = agreement(1.0), agreement(0.0)
        assert apart["kendall_w"] == apart["kendall_w_high"] == 1
        assert apart["kendall_w_low"] > 0.9
        assert alike["kendall_w_low"] < alike["kendall_w"] < alike["kendall_w_high"]
        assert alike["kendall_w_high"] - alike["kendall_w_low"] > 0.2

    def test_one_that_is_hardly_trained_makes_no_agreement(self):
        cells = metrics_only(
            {
                "daf": {"nsa": 0.9, "cutpaste": 0.8},
                "daf_without_cue": {"nsa": 0.8, "cutpaste": 0.9},
                "draem": {"nsa": 0.1, "cutpaste": 0.1},
            }
        )
        found = {}
        for hardly in ((), ("draem",)):
            table = rank_stability_table(Measured(cells, 10, hardly))
            (row,) = table[table["metric"].eq("pixel_ap")].to_dict(orient="records")
            found[len(hardly)] = row
        assert found[0]["items"] == 3
        assert found[0]["kendall_w"] == pytest.approx(0.75)
        assert found[1]["items"] == 2
        assert found[1]["kendall_w"] == pytest.approx(0)
        assert np.isnan(found[1]["kendall_w_low"])

    def test_nothing_to_agree_on(self):
        cells = metrics_only({"daf": {"draem": 0.7}})
        assert rank_stability_table(Measured(cells, 10)).empty
        assert seed_tests_table(Measured(cells, 10)).empty

    def test_without_the_reference(self):
        cells = metrics_only({"draem": {"nsa": 0.7}, "daf_without_cue": {"nsa": 0.8}})
        assert seed_tests_table(Measured(cells, 10)).empty
