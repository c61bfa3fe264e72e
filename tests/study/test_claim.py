"""What is said of the claim follows from the numbers, also where they contradict it."""

import numpy as np
import pandas as pd
import pytest

from daf_pipelines.study.claim import (
    EMPTY,
    FAILS,
    HOLDS,
    OPEN,
    advice,
    conclusion,
    decide,
    sensitivity,
    signed,
)
from daf_pipelines.study.robustness import CLAIMED
from made_up_study import made_study, read_out_of

SPREAD = {"cutpaste": 0.2, "draem": 1.0, "nsa": 1.8, "simple_texture": 2.6}
STEADY = {"cutpaste": 1.4, "draem": 1.4, "nsa": 1.5, "simple_texture": 1.5}


def read(ours, theirs, **changes):
    """A study in which DAF's quality is of the first, that of all others of the second."""
    quality = lambda method, strategy, seed: (ours if method == "daf" else theirs)[strategy]  # noqa: E731
    return read_out_of(made_study(quality, **changes), 400)


class TestVerdict:
    @pytest.mark.parametrize(
        ("delta", "low", "p_holm", "expected"),
        [
            (-0.05, -0.08, 0.01, HOLDS),
            (-0.05, -0.12, 0.20, OPEN),
            (0.05, 0.02, 0.01, FAILS),
            (0.02, -0.03, 0.20, OPEN),
            (0.00, -0.009, 1.0, FAILS),
            # Significant, but too small to matter.
            (-0.004, -0.008, 0.01, FAILS),
        ],
    )
    def test_rules(self, delta, low, p_holm, expected):
        sd = {"delta": delta, "low": low, "p_holm": p_holm}
        assert decide(sd, {"value": 0.01, "other_value": 0.05}) == expected
        assert decide(sd, {"value": 0.05, "other_value": 0.01}) == expected
        assert decide(sd, {"value": 0.01, "other_value": 0.049}) == EMPTY

    def test_nothing_to_explain(self):
        readout = read(STEADY, STEADY)
        found = [one for one in readout.verdicts if one.metric == "image_auroc"]
        assert {one.verdict for one in found} == {EMPTY}
        assert "neither is sensitive" in found[0].sentence
        text = conclusion(readout.verdicts, readout.seed_tests, "image_auroc", CLAIMED, ())[0]
        assert "the claim **has nothing to explain** on 1 of 1" in text

    def test_the_claim_holds(self):
        readout = read(STEADY, SPREAD)
        found = [one for one in readout.verdicts if one.metric == "image_auroc"]
        assert [(one.other, one.verdict) for one in found] == [
            ("daf_without_cue", HOLDS),
            ("draem", HOLDS),
        ]
        assert "only draem is sensitive" in found[1].sentence
        row = readout.comparisons[
            readout.comparisons["metric"].eq("image_auroc")
            & readout.comparisons["statistic"].eq("sd")
            & readout.comparisons["other"].eq("draem")
        ].iloc[0]
        assert f"{row['value']:.3f} for daf and {row['other_value']:.3f} for draem" in (
            found[1].sentence
        )

    def test_the_opposite_of_the_claim(self):
        found = [one for one in read(SPREAD, STEADY).verdicts if one.metric == "image_auroc"]
        assert {one.verdict for one in found} == {FAILS}
        assert all("only daf is sensitive" in one.sentence for one in found)

    def test_both_depend_on_the_strategy(self):
        cells = made_study(lambda m, s, k: SPREAD[s], methods=("daf",))
        cells += [cell.model_copy(update={"method": "draem"}) for cell in cells]
        (found,) = [o for o in read_out_of(cells, 400).verdicts if o.metric == "image_auroc"]
        assert found.verdict == FAILS
        assert "both are sensitive" in found.sentence

    def test_one_strategy_decides_nothing(self):
        readout = read(STEADY, SPREAD, strategies=("draem",))
        assert readout.verdicts == []
        for sentence in conclusion(
            readout.verdicts, readout.seed_tests, "image_auroc", CLAIMED, ()
        ):
            assert "no verdict over images. daf and " in sentence
            assert "have no two strategies in common" in sentence

    def test_is_about_the_methods_of_the_claim_only(self):
        readout = read(STEADY, SPREAD, methods=("daf", "draem", "cosine_only"))
        assert {one.other for one in readout.verdicts} == {"draem"}
        assert set(readout.comparisons["other"]) == {"draem", "cosine_only"}


class TestConclusion:
    def test_hardly_trained_methods_get_no_verdict(self):
        readout = read(STEADY, SPREAD)
        cue, draem = conclusion(
            readout.verdicts, readout.seed_tests, "image_auroc", CLAIMED, ["draem"]
        )
        assert "the claim **holds**" in cue
        assert draem == "Against draem: no verdict, as it is hardly trained."

    def test_what_the_adjustment_leaves_no_room_for(self):
        """Six pairs reach p = 2 / 2^6, which twice, against two methods, is not significant."""
        readout = read(STEADY, SPREAD, seeds=range(6))
        text = conclusion(readout.verdicts, readout.seed_tests, "image_auroc", CLAIMED, ())[1]
        assert "smaller one in 6 of 6 pairs" in text
        assert "too few pairs for a test of it" in text

    def test_names_where(self):
        readout = read(STEADY, SPREAD)
        text = conclusion(readout.verdicts, readout.seed_tests, "image_auroc", CLAIMED, ())[0]
        assert "the claim **holds** on 1 of 1 (elpv mono)" in text
        assert "in 1 of 1 pairs of category and seed (p = 1.000 by signs)" in text
        assert "too few pairs for a test of it" in text

    def test_over_trainings(self):
        readout = read(STEADY, SPREAD, seeds=range(6), methods=("daf", "draem"))
        text = conclusion(readout.verdicts, readout.seed_tests, "image_auroc", CLAIMED, ())[1]
        assert "smaller one in 6 of 6 pairs" in text
        assert "(p = 0.031 by flips of signs, the least that so few pairs can have)" in text


@pytest.mark.parametrize(
    ("value", "expected"), [(0.0124, "+0.012"), (-0.0126, "−0.013"), (-0.0001, "+0.000")]
)
def test_signs(value, expected):
    assert signed(value) == expected


class TestSensitivity:
    def test_of_daf_itself(self):
        readout = read(SPREAD, STEADY)
        (text,) = sensitivity(readout.robustness, readout.comparisons, "image_auroc")
        span = readout.table[readout.table["method"].eq("daf")]["image_auroc"]
        assert f"daf itself ranges over {np.ptp(span):.3f} (elpv mono)" in text
        assert "it is sensitive on elpv mono." in text

    def test_what_depends_less_on_the_strategy(self):
        readout = read(SPREAD, STEADY, methods=("daf", "teacher_student"))
        _, text = sensitivity(readout.robustness, readout.comparisons, "image_auroc")
        assert text.startswith("teacher_student depends significantly less on the strategy than")
        assert "elpv mono (sd 0.0" in text

    def test_neither(self):
        readout = read(STEADY, SPREAD, methods=("daf", "teacher_student"))
        (text,) = sensitivity(readout.robustness, readout.comparisons, "image_auroc")
        assert "it is sensitive on none of them" in text

    def test_without_the_reference(self):
        readout = read(STEADY, SPREAD, methods=("draem",))
        assert sensitivity(readout.robustness, readout.comparisons, "image_auroc") == []


class TestAdvice:
    def summary(self, **changes):
        rows = [
            {"criterion": "mean_other image_auroc", "mean_regret": 0.01, "gain": 0.03},
            {"criterion": "own image_auroc", "mean_regret": 0.05, "gain": -0.01},
            {"criterion": "always nsa", "mean_regret": 0.005, "gain": 0.035},
            {"criterion": "random", "mean_regret": 0.04, "gain": 0.0},
        ]
        rows[0] |= changes
        about = {"method": "daf", "target": "image_auroc", "units": 8, "worst_regret": 0.1}
        about |= {"p_holm": 0.02}
        return pd.DataFrame([about | row for row in rows])

    def test_a_criterion_that_works(self):
        text = advice(self.summary(), "daf", "image_auroc")
        assert "a strategy at random costs 0.040 of image_auroc on average, over 8 pairs" in text
        assert "always nsa, the best fixed one in hindsight, 0.005" in text
        assert "primary criterion, mean_other image_auroc, costs 0.010 (at worst 0.100)" in text
        assert "it works better than chance here (p = 0.020, as if the seeds" in text
        assert "tried beside it (1), own image_auroc, costs 0.050" in text

    def test_not_shown(self):
        assert "it is not shown to work" in advice(self.summary(p_holm=0.3), "daf", "image_auroc")

    def test_worse_than_chance(self):
        text = advice(self.summary(mean_regret=0.045, gain=-0.005), "daf", "image_auroc")
        assert "it does not work here, as it is no better than chance" in text

    def test_too_few(self):
        text = advice(self.summary(p_holm=0.5).assign(units=5), "daf", "image_auroc")
        assert "too few pairs for a test" in text

    def test_a_primary_criterion_that_cannot_choose(self):
        text = advice(self.summary().iloc[1:], "daf", "image_auroc")
        assert "The primary criterion, mean_other image_auroc, cannot choose everywhere." in text

    def test_the_best_of_many_is_not_recommended(self):
        summary = self.summary()
        summary.loc[1, ["mean_regret", "gain"]] = 0.0, 0.04
        text = advice(summary, "daf", "image_auroc")
        assert "own image_auroc, costs 0.000: chosen by these very results" in text

    def test_no_transfer_yet(self):
        summary = self.summary().iloc[:0]
        assert "What a choice costs is not known" in advice(summary, "daf", "image_auroc")
