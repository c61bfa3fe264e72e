"""The tables of a comparison: tidy, one row a value."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from daf_pipelines.comparison.pairing import choose_baselines, pair_up
from daf_pipelines.comparison.runs import EvaluatedRun, distinct_names
from daf_pipelines.comparison.significance import Difference, PairedBootstrap, holm
from daf_pipelines.metrics import METRICS
from daf_pipelines.parameters import fingerprint

MACRO = "macro average"
"""In place of a category: the mean over all categories of a dataset."""
OF_COMPARISON = [
    *("run_id", "run", "dataset", "category", "strategy", "method", "seed"),
    *("metric", "value", "low", "high"),
    *("baseline", "delta", "delta_low", "delta_high", "p_value", "p_holm"),
    *("images", "common_images", "reason"),
]
OF_SEEDS = [
    *("dataset", "category", "strategy", "method", "configuration"),
    *("metric", "mean", "std", "seeds"),
]


def comparison_table(
    runs: Sequence[EvaluatedRun], baseline_id: str, replicates: int, seed: int
) -> pd.DataFrame:
    """Every metric of every run, and its difference to the baseline's.

    Args:
        runs: Of any datasets and categories.
        baseline_id: See :func:`~daf_pipelines.comparison.pairing.choose_baselines`.
        replicates: Number of resamples of the bootstrap.
        seed: Of the bootstrap.

    Returns:
        One row per run and metric. ``value`` and its interval ``low``, ``high`` are the run's own,
        on its ``images`` test images; ``delta`` with its interval and p-values is on the
        ``common_images`` that the run ``baseline`` was tested on, too. ``p_holm`` is adjusted over
        all comparisons of the metric. ``reason``: why a value or a difference is NaN.
    """
    names, bootstrap = distinct_names(runs), PairedBootstrap(replicates, seed)
    baselines = choose_baselines(runs, baseline_id)
    rows: list[dict[str, Any]] = []
    for run in runs:
        baseline = baselines[run.data]
        about: dict[str, Any] = {
            "run_id": run.run_id,
            "run": names[run.run_id],
            **_identity(run),
            "seed": run.seed,
            "images": 0 if run.scores is None else len(run.scores),
            "baseline": baseline.run_id,
        }
        if baseline is run:
            rows += [about | _own(run, name) for name in METRICS]
            continue
        pair = pair_up(run, baseline)
        found = bootstrap.compare(pair, METRICS)
        about["common_images"] = len(pair.labels)
        rows += [about | _own(run, name) | _compared(found[name]) for name in METRICS]
    table = pd.DataFrame(rows).reindex(columns=OF_COMPARISON)
    p_values = table.groupby("metric")["p_value"]
    table["p_holm"] = p_values.transform(lambda p: holm(p.to_numpy(float)))
    return table.astype({"seed": "Int64", "common_images": "Int64"})


def seeds_table(runs: Sequence[EvaluatedRun]) -> pd.DataFrame:
    """Mean and standard deviation of each metric over the seeds of a configuration.

    Runs are of one configuration when all their parameters but the seed are equal. The category
    :data:`MACRO` is the mean over the categories of a dataset, of the configurations and seeds
    that were run on all of them.

    Returns:
        One row per dataset, category, configuration and metric: ``mean``, ``std`` (ddof = 1; NaN
        with one seed) and the number of ``seeds``. Of several runs of one seed, the newest counts.
    """
    newest = sorted(runs, key=lambda run: run.started.timestamp())
    by_seed = {(run.data, run.configuration, run.seed): run for run in newest}
    values = pd.DataFrame(
        [
            {
                **_identity(run),
                "configuration": fingerprint(list(run.configuration))[:8],
                "seed": run.seed,
                "metric": name,
                "value": np.nan if (value := run.metrics.get(name)) is None else value,
            }
            for run in sorted(by_seed.values(), key=lambda run: tuple(_identity(run).values()))
            for name in METRICS
        ]
    )
    values = pd.concat([values, _macro_average(values)], ignore_index=True)
    found = values.groupby(OF_SEEDS[:6], sort=False, dropna=False)["value"]
    table = found.agg(mean="mean", std="std", seeds="count").reset_index()
    return table[table["seeds"] > 0].reset_index(drop=True)[OF_SEEDS]


def _macro_average(values: pd.DataFrame) -> pd.DataFrame:
    """The mean over categories, where one seed of a configuration has all of a dataset's."""
    total = values.groupby("dataset")["category"].transform("nunique")
    several = values[total > 1].assign(total=total)
    by = [c for c in values.columns if c not in ("category", "value")]
    found = several.groupby([*by, "total"], sort=False, dropna=False)["value"]
    means = found.agg(["count", "mean"]).reset_index()
    means = means[means["count"] == means["total"]]
    return means.rename(columns={"mean": "value"})[[*by, "value"]].assign(category=MACRO)


def best(table: pd.DataFrame) -> "pd.Series[bool]":
    """Which rows of a :func:`comparison_table` have the highest value of their metric.

    Among the runs of one dataset and category, where there are several; ties are all marked.
    """
    values = table.groupby(["dataset", "category", "metric"], dropna=False)["value"]
    return table["value"].eq(values.transform("max")) & (values.transform("count") > 1)


def _identity(run: EvaluatedRun) -> dict[str, str]:
    dataset, category = run.data
    kind = {name: run.tags.get(name, "unknown") for name in ("strategy", "method")}
    return {"dataset": dataset, "category": category, **kind}


def _own(run: EvaluatedRun, name: str) -> dict[str, Any]:
    value = run.metrics.get(name)
    low, high = run.intervals.get(name, (np.nan, np.nan))
    if value is None:
        reason = run.reasons.get(name, "not recorded")
        return {"metric": name, "value": np.nan, "reason": reason}
    return {"metric": name, "value": value, "low": low, "high": high, "reason": ""}


def _compared(found: Difference | str) -> dict[str, Any]:
    if isinstance(found, str):
        return {"reason": found}
    return {
        "delta": found.delta,
        "delta_low": found.low,
        "delta_high": found.high,
        "p_value": found.p_value,
    }
