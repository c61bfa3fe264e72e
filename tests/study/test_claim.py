"""What is said of the claim follows from the numbers, also where they contradict it."""

import numpy as np
import pytest

from daf_pipelines.study.claim import (
    EMPTY,
    FAILS,
    HOLDS,
    OPEN,
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
        assert "it is sensitive (0.05 or more) on elpv mono." in text

    def test_what_depends_less_on_the_strategy(self):
        readout = read(SPREAD, STEADY, methods=("daf", "teacher_student"))
        _, text = sensitivity(readout.robustness, readout.comparisons, "image_auroc")
        assert text.startswith("teacher_student depends significantly less on the strategy than")
        assert "elpv mono (sd 0.0" in text

    def test_neither(self):
        readout = read(STEADY, SPREAD, methods=("daf", "teacher_student"))
        (text,) = sensitivity(readout.robustness, readout.comparisons, "image_auroc")
        assert "it is sensitive (0.05 or more) on none of them" in text

    def test_without_the_reference(self):
        readout = read(STEADY, SPREAD, methods=("draem",))
        assert sensitivity(readout.robustness, readout.comparisons, "image_auroc") == []
