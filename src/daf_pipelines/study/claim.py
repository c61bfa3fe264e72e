"""Whether the claim of the paper holds here, in words that follow from the numbers by fixed rules.

The claim (Cai et al., DAF, IEEE TII 2023): detectors trained on synthetic outliers depend much on
the strategy that makes them; with the discrepancy between teacher and student as their cue, they do
not.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from daf_pipelines.study.results import Data, name_of
from daf_pipelines.study.robustness import CLAIMED, PROPOSED

SIGNIFICANT = 0.05
MARGIN = 0.01
"""Of two standard deviations over strategies: how much smaller one has to be to be of any use."""
SENSITIVE = 0.05
"""Range of a metric over strategies from which a method is called sensitive to them."""
HOLDS, FAILS, OPEN = "holds", "does not hold", "is not decided"
EMPTY = "has nothing to explain"


@dataclass(frozen=True)
class Verdict:
    """What one comparison of spreads says about the claim.

    Attributes:
        data: Dataset and category.
        metric: Of the comparison.
        other: The method without the cue.
        verdict: :data:`EMPTY`: neither method is sensitive (:data:`SENSITIVE`). :data:`FAILS`:
            DAF's standard deviation over strategies is significantly larger, or its interval
            excludes that it is smaller by :data:`MARGIN`. :data:`HOLDS`: it is significantly
            smaller. :data:`OPEN`: none of these.
        sentence: The same with its numbers.
    """

    data: Data
    metric: str
    other: str
    verdict: str
    sentence: str


def verdicts(comparisons: pd.DataFrame) -> list[Verdict]:
    """The verdict for each dataset, category, metric and method without the cue.

    Args:
        comparisons: From :func:`~daf_pipelines.study.robustness.comparisons_table`; what has no
            test gets no verdict.
    """
    tested = comparisons[comparisons["other"].isin(CLAIMED)]
    rows: dict[tuple[str, ...], dict[str, dict[Any, Any]]] = {}
    for row in tested.to_dict(orient="records"):
        key = row["dataset"], row["category"], row["metric"], row["other"]
        rows.setdefault(key, {})[row["statistic"]] = row
    return [
        Verdict(
            (dataset, category),
            metric,
            other,
            decide(by_statistic["sd"], by_statistic["range"]),
            _sentence(other, by_statistic),
        )
        for (dataset, category, metric, other), by_statistic in rows.items()
        if pd.notna(by_statistic["sd"]["p_value"])
    ]


def decide(sd: Mapping[Any, Any], span: Mapping[Any, Any]) -> str:
    """The verdict of one comparison.

    Args:
        sd: Of standard deviations: ``delta``, ``low`` and ``p_holm``.
        span: Of ranges: ``value`` and ``other_value``.
    """
    if max(span["value"], span["other_value"]) < SENSITIVE:
        return EMPTY
    significant = sd["p_holm"] < SIGNIFICANT
    if sd["low"] > -MARGIN or (significant and sd["delta"] > 0):
        return FAILS
    return HOLDS if significant else OPEN


def _sentence(other: str, rows: Mapping[str, Mapping[Any, Any]]) -> str:
    sd, span, mean, worst = (rows[name] for name in ("sd", "range", "mean", "worst"))
    return (
        f"The standard deviation over strategies is {sd['value']:.3f} for daf and "
        f"{sd['other_value']:.3f} for {other} (difference {signed(sd['delta'])}, 95 % interval "
        f"{signed(sd['low'])} to {signed(sd['high'])}, {p_text(sd['p_holm'])}). The range is "
        f"{span['value']:.3f} and {span['other_value']:.3f}: "
        f"{_sensitive(other, span['value'], span['other_value'])}. Worst case {worst['value']:.3f} "
        f"and {worst['other_value']:.3f}, mean {mean['value']:.3f} and {mean['other_value']:.3f}."
    )


def _sensitive(other: str, ours: float, theirs: float) -> str:
    """Who depends on the strategy at all."""
    if min(ours, theirs) >= SENSITIVE:
        return "both are sensitive"
    if max(ours, theirs) < SENSITIVE:
        return "neither is sensitive"
    return f"only {'daf' if ours > theirs else other} is sensitive"


def conclusion(
    found: list[Verdict],
    seed_tests: pd.DataFrame,
    metric: str,
    others: Sequence[str],
    hardly: Collection[str],
) -> list[str]:
    """What all datasets together say of the claim in one metric: a sentence for each method.

    Args:
        found: From :func:`verdicts`.
        seed_tests: From :func:`~daf_pipelines.study.seeds.seed_tests_table`.
        metric: Of the claim.
        others: Those of :data:`~daf_pipelines.study.robustness.CLAIMED` that the study has.
        hardly: Those of them that get no verdict.
    """
    return [
        f"Against {other}: no verdict, as it is hardly trained."
        if other in hardly
        else f"Against {other}: {_over_images(found, metric, other)} "
        + _over_trainings(seed_tests, metric, other)
        for other in others
    ]


def sensitivity(robustness: pd.DataFrame, comparisons: pd.DataFrame, metric: str) -> list[str]:
    """How far daf itself depends on the strategy, and what depends on it less.

    The claim is about daf alone, too: it may vary less than others, and still a lot.

    Args:
        robustness: From :func:`~daf_pipelines.study.robustness.robustness_table`.
        comparisons: From :func:`~daf_pipelines.study.robustness.comparisons_table`.
        metric: Of both.
    """
    is_ours = robustness["method"].eq(PROPOSED) & robustness["seed"].isna()
    ours = robustness[is_ours & robustness["metric"].eq(metric)].dropna(subset="range")
    ranges = {_name(row): row["range"] for row in ours.to_dict(orient="records")}
    if not ranges:
        return []
    where = [name for name, value in ranges.items() if value >= SENSITIVE]
    told = [
        f"{PROPOSED} itself ranges over "
        + ", ".join(f"{value:.3f} ({name})" for name, value in ranges.items())
        + f": it is sensitive ({SENSITIVE} or more) on {', '.join(where) or 'none of them'}."
    ]
    spreads = comparisons[comparisons["metric"].eq(metric) & comparisons["statistic"].eq("sd")]
    is_less = spreads["delta"].gt(0) & spreads["p_holm"].lt(SIGNIFICANT)
    for other, rows in spreads[is_less & ~spreads["other"].isin(CLAIMED)].groupby("other"):
        facts = ", ".join(
            f"{_name(row)} (sd {row['other_value']:.3f}, {PROPOSED} {row['value']:.3f})"
            for row in rows.to_dict(orient="records")
        )
        told.append(f"{other} depends significantly less on the strategy than daf on {facts}.")
    return told


def _name(row: Mapping[Any, Any]) -> str:
    return name_of((row["dataset"], row["category"]))


def _over_images(found: list[Verdict], metric: str, other: str) -> str:
    where: dict[str, list[str]] = {}
    for one in found:
        if (one.metric, one.other) == (metric, other):
            where.setdefault(one.verdict, []).append(name_of(one.data))
    total = sum(map(len, where.values()))
    parts = [
        f"**{verdict}** on {len(where[verdict])} of {total} ({', '.join(where[verdict])})"
        for verdict in (HOLDS, FAILS, OPEN, EMPTY)
        if verdict in where
    ]
    if parts:
        return f"the claim {'; '.join(parts)}."
    return "no verdict over images."


def _over_trainings(tests: pd.DataFrame, metric: str, other: str) -> str:
    family = tests[
        tests["metric"].eq(metric) & tests["statistic"].eq("sd") & tests["other"].isin(CLAIMED)
    ]
    rows = family[family["other"].eq(other)]
    if rows.empty:
        return f"daf and {other} have no two strategies in common."
    (row,) = rows.to_dict(orient="records")
    told = (
        f"Over trainings, DAF's sd is the smaller one in {row['lower']} of {row['units']} "
        f"pairs of category and seed ({p_text(row['p_sign'])} by signs); the mean difference of sd "
        f"is {signed(row['mean_difference'])}"
    )
    least = least_p(row["units"], len(family))
    if row["p_holm"] >= SIGNIFICANT and least >= SIGNIFICANT:
        return f"{told}. These are too few pairs for a test of it."
    floor = ", the least that so few pairs can have" if np.isclose(row["p_holm"], least) else ""
    return f"{told} ({p_text(row['p_holm'])} by flips of signs{floor})."


def least_p(units: int, tests: int = 1) -> float:
    """The smallest p-value that a permutation test can have, adjusted for so many tests."""
    return min(1.0, tests * 2.0 ** (1 - units))


def signed(value: float) -> str:
    """A difference with three decimals and its sign."""
    return f"{round(value, 3) + 0.0:+.3f}".replace("-", "−")  # no minus before nothing


def p_text(p_value: float) -> str:
    """A p-value in words."""
    return "p < 0.001" if p_value < 0.001 else f"p = {p_value:.3f}"
