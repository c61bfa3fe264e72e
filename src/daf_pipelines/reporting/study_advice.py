"""Which strategy to use without any defect: words that follow from the regrets by fixed rules."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from daf_pipelines.parameters import SynthesisParams
from daf_pipelines.reporting.evaluation import SHORT
from daf_pipelines.study.claim import SIGNIFICANT, least_p, p_text
from daf_pipelines.study.recommendation import ALWAYS, PRIMARY, RANDOM

DEFAULT = SynthesisParams().strategy
"""What a user trains with who chooses nothing."""


def advice(summary: pd.DataFrame, method: str, target: str) -> str:
    """Which strategy to use without any defect, or that no criterion has shown to be of use.

    Args:
        summary: From :func:`~daf_pipelines.study.recommendation.regret_summary`.
        method: That is to be trained.
        target: Metric of the test split.
    """
    part = summary[summary["method"].eq(method) & summary["target"].eq(target)]
    names = part["criterion"]
    is_fixed, is_random = names.str.startswith(ALWAYS), names.eq(RANDOM)
    criteria = part[~is_fixed & ~is_random]
    if criteria.empty:
        return (
            "What a choice costs is not known: no two of its detectors have been tested on "
            "defects. How far what criteria choose can be trusted: "
            "docs/studies/robustness/study.md."
        )
    random = part[is_random].iloc[0]
    default = part[names.eq(f"{ALWAYS}{DEFAULT}")].to_dict(orient="records")
    costs = [f"always {DEFAULT}, the default, costs {row['mean_regret']:.3f}" for row in default]
    costs.append(f"a strategy at random {random['mean_regret']:.3f}")
    if is_fixed.any():
        fixed = part[is_fixed].sort_values("mean_regret", kind="stable").iloc[0]
        costs.append(
            f"{fixed['criterion']}, the best fixed one in hindsight, {fixed['mean_regret']:.3f}"
        )
    is_primary = criteria["criterion"].eq(PRIMARY)
    primary = criteria[is_primary].to_dict(orient="records")
    told = [_beside_default(row, default[0], random["mean_regret"]) for row in primary if default]
    told.append(f"On average over {random['units']} pairs of category and seed {', '.join(costs)}.")
    told += [_judged(row) for row in primary]
    if not primary:
        told.append(f"The primary criterion, {criterion_name(PRIMARY)}, cannot choose everywhere.")
    return " ".join([*told, *_explored(criteria[~is_primary])])


def criterion_name(name: str) -> str:
    """A criterion, which is of a measure, in words."""
    criterion, _, measure = name.partition(" ")
    return f"{criterion} of {SHORT[measure]}" if measure in SHORT else name


def _judged(primary: Mapping[Any, Any]) -> str:
    """What the criterion is worth that is tested alone."""
    told = (
        f"The primary criterion, {criterion_name(PRIMARY)}, costs "
        f"{primary['mean_regret']:.3f} (at worst {primary['worst_regret']:.3f})"
    )
    tested = p_text(primary["p_holm"])
    if least_p(primary["units"]) >= SIGNIFICANT:
        return f"{told}; whether it works is not decided: these are too few pairs for a test."
    if primary["gain"] <= 0:
        return f"{told}: it does not work here, as it is no better than chance."
    if primary["p_holm"] < SIGNIFICANT:
        return (
            f"{told}: it works better than chance here ({tested}, as if the seeds of one category "
            "were independent, which they are not)."
        )
    return f"{told}; it is not shown to work: the gain over chance may be chance ({tested})."


def _beside_default(primary: Mapping[Any, Any], default: Mapping[Any, Any], chance: float) -> str:
    works = primary["p_holm"] < SIGNIFICANT and primary["gain"] > 0
    if not works and default["mean_regret"] >= chance:
        return "**Nothing speaks for any strategy**: neither criterion nor default does well."
    if not works:
        return (
            f"**Keep the default strategy, {DEFAULT}**: the criterion that was tested is not shown "
            "to choose better."
        )
    if primary["mean_regret"] < default["mean_regret"]:
        return (
            f"**Choose by {criterion_name(PRIMARY)}**: it costs less than the default strategy, "
            f"{DEFAULT} (on average; this is not tested)."
        )
    return f"**Keep the default strategy, {DEFAULT}**: choosing costs no less."


def _explored(others: pd.DataFrame) -> list[str]:
    """The best of the criteria that were tried beside the primary one."""
    floor = ""
    if len(others) and least_p(others["units"].iloc[0], len(others)) >= SIGNIFICANT:
        floor = ", and none of so many could be significant over so few pairs"
    return [
        f"The best of the others that were tried beside it ({len(others)}), "
        f"{criterion_name(row['criterion'])}, costs {row['mean_regret']:.3f}: chosen by these very "
        f"results, it is for another study to confirm{floor}."
        for row in others.sort_values("mean_regret", kind="stable").head(1).to_dict("records")
    ]
