"""Paired differences: against references that share no code with them."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import average_precision_score, roc_auc_score

from daf_pipelines.comparison import Difference, PairedBootstrap, holm, pair_up, paired_difference
from daf_pipelines.comparison.significance import Differences
from daf_pipelines.metrics import METRICS
from made_up_runs import make_run


def compared(run: Any, baseline: Any, replicates: int = 500) -> Differences:
    return PairedBootstrap(replicates, 0).compare(pair_up(run, baseline), METRICS)


def known(found: Differences, name: str) -> Difference:
    difference = found[name]
    assert isinstance(difference, Difference), difference
    return difference


class TestDifferences:
    def test_of_equal_models_is_nothing(self, images: dict[str, Any]) -> None:
        run = make_run(1, images)
        for name in METRICS:
            assert known(compared(replace(run, run_id="b"), run), name) == Difference(0, 0, 0, 1)

    def test_of_a_clearly_better_model_is_significant(self, images: dict[str, Any]) -> None:
        found = compared(make_run(1, images, quality=4), make_run(0, images, quality=0.5))
        for name in METRICS:
            difference = known(found, name)
            assert difference.p_value == pytest.approx(2 / 501), name
            assert 0 < difference.low < difference.delta < difference.high, name

    def test_turned_round(self, images: dict[str, Any]) -> None:
        one, other = make_run(0, images), make_run(1, images, quality=1.4)
        there, back = compared(one, other), compared(other, one)
        for name in METRICS:
            a, b = known(there, name), known(back, name)
            assert (a.delta, a.low, a.high) == pytest.approx((-b.delta, -b.high, -b.low))
            assert a.p_value == b.p_value

    def test_on_common_images_is_that_of_the_metrics_there(self, images: dict[str, Any]) -> None:
        one = make_run(0, images, rows=np.arange(0, 36))
        other = make_run(1, images, rows=np.arange(4, 40)[::-1])
        pair = pair_up(one, other)
        assert len(pair.labels) == 32
        found = PairedBootstrap(200, 0).compare(pair, METRICS)
        common = one.scores.merge(other.scores, on=["path", "label"])
        for name, metric in (("image_auroc", roc_auc_score), ("image_ap", average_precision_score)):
            values = [metric(common["label"], common[f"raw_score_{k}"]) for k in "xy"]
            assert known(found, name).delta == pytest.approx(values[0] - values[1])

    def test_on_all_images_is_that_of_the_runs(self, images: dict[str, Any]) -> None:
        """Resampled pixel metrics are read off a grid of thresholds; the runs' own are exact."""
        one, other = make_run(0, images), make_run(1, images, quality=2)
        expected = one.metrics["pixel_auroc"] - other.metrics["pixel_auroc"]
        difference = known(compared(one, other), "pixel_auroc")
        assert difference.delta == expected
        assert difference.low < expected < difference.high

    def test_groups_that_one_run_knows(self, images: dict[str, Any]) -> None:
        """An older run has none: whichever is the baseline, images of a group go together."""
        old, ungrouped = make_run(0, images), make_run(1, images, quality=1.4)
        assert ungrouped.scores is not None
        names = [f"part {k // 6}" for k in range(len(ungrouped.scores))]
        new = replace(ungrouped, scores=ungrouped.scores.assign(group=names))
        there, back = compared(new, old), compared(old, new)
        for name in METRICS:
            a, b, apart = (known(f, name) for f in (there, back, compared(ungrouped, old)))
            assert (a.low, a.high, a.p_value) == pytest.approx((-b.high, -b.low, b.p_value))
            assert (a.low, a.high) != pytest.approx((apart.low, apart.high))

    def test_same_seed_same_values(self, images: dict[str, Any]) -> None:
        one, other = make_run(0, images), make_run(1, images)
        assert compared(one, other) == compared(one, other)

    def test_a_baseline_is_resampled_once(
        self, images: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import daf_pipelines.comparison.significance as module

        calls: list[int] = []

        def counted(scores: Any, labels: Any, weights: Any) -> Any:
            calls.append(len(scores))
            return original(scores, labels, weights)

        original = module.image_replicates
        monkeypatch.setattr(module, "image_replicates", counted)
        bootstrap, baseline = PairedBootstrap(100, 0), make_run(0, images)
        for number in (1, 2, 3):
            bootstrap.compare(pair_up(make_run(number, images), baseline), METRICS)
        assert len(calls) == 4

    def test_intervals_cover(self) -> None:
        """95 % intervals of a mean paired difference, over many made-up experiments."""
        rng = np.random.default_rng(0)
        covered = 0
        for _ in range(300):
            deltas = rng.normal(0.1, 1, size=60)
            means = rng.choice(deltas, (400, 60)).mean(axis=1)
            found = paired_difference(float(deltas.mean()), means)
            assert isinstance(found, Difference)
            covered += found.low <= 0.1 <= found.high
        assert 0.91 <= covered / 300 <= 0.97

    def test_p_values_are_those_of_a_paired_test(self) -> None:
        rng = np.random.default_rng(1)
        for shift in (0.0, 0.15, 0.3):
            deltas = rng.normal(shift, 1, size=80)
            means = rng.choice(deltas, (4000, 80)).mean(axis=1)
            found = paired_difference(float(deltas.mean()), means)
            assert isinstance(found, Difference)
            reference = stats.ttest_1samp(deltas, 0).pvalue
            assert found.p_value == pytest.approx(reference, abs=0.03)

    def test_no_false_alarms_among_equally_good_models(self, images: dict[str, Any]) -> None:
        baseline = make_run(0, images)
        p_values = [
            known(compared(make_run(k, images), baseline, 200), "image_auroc").p_value
            for k in range(1, 41)
        ]
        assert np.mean(np.array(p_values) < 0.05) < 0.2  # they share one baseline


class TestNotAvailable:
    def test_one_class_in_common(self, images: dict[str, Any]) -> None:
        one = make_run(0, images, rows=np.arange(10, 40))
        other = make_run(1, images, rows=np.r_[:10, 16:30])
        assert {compared(one, other)[name] for name in METRICS[:4]} == {
            "the common test images are of one class only"
        }

    def test_no_image_in_common(self, images: dict[str, Any]) -> None:
        one = make_run(0, images, rows=np.r_[:8, 16:28])
        other = make_run(1, images, rows=np.r_[8:16, 28:40])
        expected = f"no test image in common with {other.name}"
        assert set(compared(one, other).values()) == {expected}

    def test_labels_that_differ_are_left_out(self, images: dict[str, Any]) -> None:
        one, other = make_run(0, images), make_run(1, images)
        assert other.scores is not None
        other.scores.loc[[0, 39], "label"] = [0, 1]
        assert len(pair_up(one, other).labels) == 38

    def test_without_pixel_counts(self, images: dict[str, Any]) -> None:
        one = make_run(0, images, pixel_counts=None, reasons={"pixel_ap": "no masks"})
        found = compared(one, make_run(1, images))
        assert isinstance(found["image_ap"], Difference)
        assert found["pixel_ap"] == f"{one.name}: no masks"
        assert "was recorded without" in str(found["pixel_auroc"])

    def test_without_scores(self, images: dict[str, Any]) -> None:
        found = compared(make_run(0, images, scores=None, pixel_counts=None), make_run(1, images))
        assert set(found.values()) == {"draem-seed0-elpv-mono was recorded without image scores"}

    def test_scores_of_a_diverged_model(self, images: dict[str, Any]) -> None:
        run = make_run(0, images)
        assert run.scores is not None
        run.scores.loc[3, "raw_score"] = np.nan
        found = compared(run, make_run(1, images))
        assert set(found.values()) == {f"{run.name} has scores that are not finite"}

    def test_undefined_resamples(self) -> None:
        assert isinstance(paired_difference(0.1, np.array([0.1, np.nan, np.nan])), str)
        found = paired_difference(0.1, np.array([0.1, 0.2, np.nan]))
        assert isinstance(found, Difference)
        assert found.p_value == pytest.approx(2 / 3)


class TestHolm:
    def test_by_hand(self) -> None:
        # 4 x 0.01, 3 x 0.02 , 2 x 0.03 = 0.06, not below the one before, 0.04 -> 0.06.
        adjusted = holm([0.03, 0.01, np.nan, 0.04, 0.02])
        assert adjusted == pytest.approx([0.06, 0.04, np.nan, 0.06, 0.06], nan_ok=True)

    def test_at_most_one(self) -> None:
        assert holm([0.9, 0.8]).tolist() == [1, 1]

    def test_none(self) -> None:
        assert np.isnan(holm([np.nan])).all()
        assert holm([]).size == 0
