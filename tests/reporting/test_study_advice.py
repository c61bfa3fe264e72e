"""What is advised follows from the regrets."""

import pandas as pd

from daf_pipelines.reporting.study_advice import advice


def summary_of(**changes):
    rows = [
        {"criterion": "mean_other image_auroc", "mean_regret": 0.01, "gain": 0.03},
        {"criterion": "own image_auroc", "mean_regret": 0.05, "gain": -0.01},
        {"criterion": "always nsa", "mean_regret": 0.005, "gain": 0.035},
        {"criterion": "always draem", "mean_regret": 0.02, "gain": 0.02},
        {"criterion": "random", "mean_regret": 0.04, "gain": 0.0},
    ]
    rows[0] |= changes
    about = {"method": "daf", "target": "image_auroc", "units": 8, "worst_regret": 0.1}
    about |= {"p_holm": 0.02}
    return pd.DataFrame([about | row for row in rows])


def test_a_criterion_that_works():
    text = advice(summary_of(), "daf", "image_auroc")
    assert "On average over 8 pairs of category and seed always draem, the default, costs" in text
    assert "costs 0.020, a strategy at random 0.040, always nsa, the best fixed one in" in text
    assert "always nsa, the best fixed one in hindsight, 0.005" in text
    assert "primary criterion, mean_other of image AUROC, costs 0.010 (at worst 0.100)" in text
    assert "it works better than chance here (p = 0.020, as if the seeds" in text
    assert "**Choose by mean_other of image AUROC**: it costs less than the default" in text
    assert "(on average; this is not tested)" in text
    assert "tried beside it (1), own of image AUROC, costs 0.050" in text


def test_not_shown():
    assert "it is not shown to work" in advice(summary_of(p_holm=0.3), "daf", "image_auroc")


def test_worse_than_chance():
    text = advice(summary_of(mean_regret=0.045, gain=-0.005), "daf", "image_auroc")
    assert "it does not work here, as it is no better than chance" in text


def test_too_few():
    text = advice(summary_of(p_holm=0.5).assign(units=5), "daf", "image_auroc")
    assert "too few pairs for a test" in text


def test_a_primary_criterion_that_cannot_choose():
    text = advice(summary_of().iloc[1:], "daf", "image_auroc")
    assert "The primary criterion, mean_other of image AUROC, cannot choose everywhere." in text


def test_the_best_of_many_is_not_recommended():
    summary = summary_of()
    summary.loc[1, ["mean_regret", "gain"]] = 0.0, 0.04
    text = advice(summary, "daf", "image_auroc")
    assert "own of image AUROC, costs 0.000: chosen by these very results" in text


def test_no_transfer_yet():
    summary = summary_of().iloc[:0]
    text = advice(summary, "daf", "image_auroc")
    assert "What a choice costs is not known" in text
    assert "docs/studies/robustness/study.md" in text


def test_the_default_is_kept_where_nothing_is_shown_to_be_better():
    kept = "**Keep the default strategy, draem**: the criterion that was tested is not shown"
    assert kept in advice(summary_of(p_holm=0.3), "daf", "image_auroc")
    assert kept in advice(summary_of(gain=-0.01), "daf", "image_auroc")
    text = advice(summary_of(mean_regret=0.03, gain=0.01), "daf", "image_auroc")
    assert "**Keep the default strategy, draem**: choosing costs no less." in text


def test_a_default_that_is_no_better_than_chance():
    summary = summary_of(p_holm=0.3)
    summary.loc[summary["criterion"].eq("always draem"), "mean_regret"] = 0.04
    assert advice(summary, "daf", "image_auroc").startswith("**Nothing speaks for any strategy**")


def test_a_study_without_the_default():
    summary = summary_of()
    text = advice(summary[summary["criterion"].ne("always draem")], "daf", "image_auroc")
    assert "default" not in text
    assert "it works better than chance" in text


def test_too_few_pairs_for_what_is_explored():
    assert "none of so many could be significant" not in advice(summary_of(), "daf", "image_auroc")
    text = advice(summary_of().assign(units=5), "daf", "image_auroc")
    assert "none of so many could be significant over so few pairs" in text
