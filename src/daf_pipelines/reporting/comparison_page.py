"""A comparison of runs as a page: one HTML file that needs nothing else."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from daf_pipelines.comparison import MACRO, EvaluatedRun, best, by_data, differences, pair_up
from daf_pipelines.metrics import METRICS
from daf_pipelines.metrics.bootstrap import FEW_IMAGES, units_drawn
from daf_pipelines.reporting.charts import (
    PALETTE,
    Chart,
    Intervals,
    histogram,
    intervals,
    line_chart,
)
from daf_pipelines.reporting.comparison_pictures import MAX_MODELS, side_by_side
from daf_pipelines.reporting.embedding import page_template
from daf_pipelines.reporting.evaluation import SHORT
from daf_pipelines.reporting.report_charts import CURVES, axes_of

COSTS = {"train_seconds": "training, s", "latency_ms": "one image, ms", "model_mib": "model, MiB"}
KINDS = ("normal", "anomalous")
SIGNIFICANT = 0.05
MAX_TICKS = 4
MAX_NAMED = 4
"""Runs up to which the legend of each chart has their names; above, their letters."""


@dataclass(frozen=True)
class _Model:
    """A run as the page shows it."""

    key: str
    colour: str
    run: EvaluatedRun

    @property
    def name(self) -> str:
        """The run's name without what all of its dataset and category end with."""
        return self.run.name.removesuffix("-" + "-".join(self.run.data)) or self.run.name


def comparison_page(
    runs: Sequence[EvaluatedRun], table: pd.DataFrame, seeds: pd.DataFrame, replicates: int
) -> str:
    """Writes how the runs compare, as a web page.

    Args:
        runs: In the order of the page; of any datasets and categories.
        table: Of them, from :func:`~daf_pipelines.comparison.comparison_table`.
        seeds: Of them, from :func:`~daf_pipelines.comparison.seeds_table`.
        replicates: Number of resamples of the bootstrap, to be told.

    Returns:
        HTML that encodes as UTF-8 whatever the names hold, below 5 MB.
    """
    keys = {run.run_id: _letters(number) for number, run in enumerate(runs)}
    groups = by_data(runs)
    models = {
        data: [
            _Model(keys[run.run_id], PALETTE[place % len(PALETTE)], run)
            for place, run in enumerate(group)
        ]
        for data, group in groups.items()
    }
    pictures = side_by_side(groups)
    return page_template("comparison.html").render(
        title=_title(list(groups), len(runs)),
        models=[model for group in models.values() for model in group],
        costs={n: label for n, label in COSTS.items() if any(n in run.metrics for run in runs)},
        differing=_differing(runs),
        groups=[
            _group(data, models[data], table[_is_of(table, data)], pictures[data])
            for data in groups
        ],
        seeds=_seeds(seeds),
        replicates=replicates,
        max_models=MAX_MODELS,
    )


def _title(data: Sequence[tuple[str, str]], count: int) -> str:
    if len(data) == 1:
        return f"{count} runs on {' '.join(data[0])}"
    return f"{count} runs on {len(data)} categories"


def _letters(number: int) -> str:
    """A, B, ..., Z, AA, AB, ..."""
    high, low = divmod(number, 26)
    return (_letters(high - 1) if high else "") + chr(ord("A") + low)


def _is_of(table: pd.DataFrame, data: tuple[str, str]) -> "pd.Series[bool]":
    return table["dataset"].eq(data[0]) & table["category"].eq(data[1])


def _differing(runs: Sequence[EvaluatedRun]) -> list[dict[str, Any]]:
    """Names of parameters and tags that differ, and a value a run."""
    table = differences(runs)
    return [
        {"name": str(name).removeprefix("tags."), "values": row.tolist()}
        for name, row in table.iterrows()
    ]


def _group(
    data: tuple[str, str], models: Sequence[_Model], table: pd.DataFrame, pictures: Any
) -> dict[str, Any]:
    """What the page tells of the runs on one dataset and category."""
    (baseline_id,) = table["baseline"].unique()
    (baseline,) = (m for m in models if m.run.run_id == baseline_id)
    shown = [name for name in METRICS if table.loc[table["metric"] == name, "value"].notna().any()]
    others = [model for model in models if model is not baseline]
    few = _is_small(others, baseline)
    return {
        "name": " ".join(data),
        "models": models,
        "baseline": baseline,
        "metrics": {name: SHORT[name] for name in shown},
        "values": _values(table),
        "reasons": _reasons(table),
        "panels": [_panel(name, table, others, few) for name in shown] if others else [],
        "common": _common(table, others, baseline),
        "few": few,
        "hashes": len({m.run.tags.get("data_hash", "") for m in models}),
        "legend": len(models) > MAX_NAMED,
        "curves": _curves(models),
        "histograms": _histograms(models),
        "pictures": pictures,
    }


def _values(table: pd.DataFrame) -> dict[tuple[str, str], dict[str, Any]]:
    """Cells of the table of metrics, by run and metric."""
    rows = table.assign(best=best(table)).to_dict(orient="records")
    return {
        (row["run_id"], row["metric"]): {
            "value": _decimals(row["value"]),
            "interval": _range(row["low"], row["high"]),
            "best": bool(row["best"]),
            "reason": row["reason"],
        }
        for row in rows
    }


def _reasons(table: pd.DataFrame) -> dict[str, list[str]]:
    """Why values or differences are not there, with the metrics that it is the reason of."""
    found: dict[str, dict[str, None]] = {}
    for row in table[table["reason"] != ""].to_dict(orient="records"):
        found.setdefault(row["reason"], {})[SHORT[row["metric"]]] = None
    return {reason: list(metrics) for reason, metrics in found.items()}


def _panel(name: str, table: pd.DataFrame, models: Sequence[_Model], few: bool) -> dict[str, Any]:
    """The differences in one metric, on one scale; with few images without a verdict."""
    rows = {row["run_id"]: row for row in table[table["metric"] == name].to_dict(orient="records")}
    found = {model.key: rows[model.run.run_id] for model in models}
    scale = intervals(
        {key: (row["delta"], row["delta_low"], row["delta_high"]) for key, row in found.items()},
        reference=0,
        least=0.02,
    )
    return {
        "label": SHORT[name],
        "scale": _with_fewer_ticks(scale),
        "rows": [
            {"model": model, **_difference(found[model.key]), **({"verdict": ""} if few else {})}
            for model in models
        ],
    }


def _difference(row: Mapping[Any, Any]) -> dict[str, Any]:
    delta, p_value = row["delta"], row["p_holm"]
    is_known = not math.isnan(delta)
    significant = is_known and p_value < SIGNIFICANT
    return {
        "delta": f"{delta:+.3f}".replace("-", "−") if is_known else "n/a",
        "interval": _range(row["delta_low"], row["delta_high"]),
        "p": ("< 0.001" if p_value < 0.001 else f"{p_value:.3f}") if is_known else "",
        "verdict": ("better" if delta > 0 else "worse") if significant else "",
        "reason": row["reason"],
    }


def _common(table: pd.DataFrame, models: Sequence[_Model], baseline: _Model) -> list[str]:
    """On how many images each run is compared, where that is not all of them."""
    rows = table.drop_duplicates("run_id").set_index("run_id").to_dict(orient="index")
    theirs = 0 if baseline.run.scores is None else len(baseline.run.scores)
    told = []
    for model in models:
        row: dict[Any, Any] = rows[model.run.run_id]
        common, ours = int(row["common_images"]), int(row["images"])
        if not common == ours == theirs:
            told.append(f"{model.key}: {common} images, of its {ours} and {theirs} of the baseline")
    return told


def _is_small(models: Sequence[_Model], baseline: _Model) -> bool:
    """Whether a pair has so few images of a class in common that its intervals are too short."""
    pairs = [pair_up(model.run, baseline.run) for model in models]
    return any(0 < min(units_drawn(pair.labels, pair.groups)) < FEW_IMAGES for pair in pairs)


def _curves(models: Sequence[_Model]) -> list[dict[str, Chart]]:
    """Charts by name: those of images, then those of pixels; without what no run has."""
    charts: dict[bool, dict[str, Chart]] = {True: {}, False: {}}
    for name, (title, x_label, y_label, _) in CURVES.items():
        series = {_legend(model, models): _points(model.run.curves.get(name)) for model in models}
        if any(len(x) for x, _ in series.values()):
            charts[name.startswith("image")][title] = line_chart(
                series, x_label, y_label, **axes_of(name)
            )
    return [level for level in charts.values() if level]


def _legend(model: _Model, models: Sequence[_Model]) -> str:
    return f"{model.key} {model.name}" if len(models) <= MAX_NAMED else model.key


def _points(curve: pd.DataFrame | None) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    if curve is None:
        return np.empty(0), np.empty(0)
    x, y = (curve.iloc[:, k].to_numpy(float) for k in range(2))
    return x, y


def _histograms(models: Sequence[_Model]) -> dict[str, Chart]:
    """Distributions of the calibrated scores, one chart a run that has some."""
    charts = {}
    for model in models:
        scores = model.run.scores
        if scores is None or scores["score"].isna().all():
            continue
        charts[f"{model.key} {model.name}"] = histogram(
            {kind: scores.loc[scores["label"] == k, "score"] for k, kind in enumerate(KINDS)},
            "calibrated score",
            rules={"threshold": 0.5},
            strong="threshold",
            colours={"normal": "--normal", "anomalous": "--anomalous"},
        )
    return charts


def _seeds(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows of the table over seeds, if there are several seeds of something, or several categories.

    A row has the metrics' cells by name.
    """
    if not (table["seeds"].gt(1).any() or table["category"].eq(MACRO).any()):
        return []
    about = ["dataset", "category", "strategy", "method", "configuration"]
    rows: list[dict[str, Any]] = []
    for identity, part in table.groupby(about, sort=False):
        cells = {
            str(row["metric"]): _decimals(row["mean"])
            + ("" if math.isnan(row["std"]) else f" ± {row['std']:.3f}")
            for row in part.to_dict(orient="records")
        }
        facts = dict(zip(about, identity, strict=True))
        rows.append(facts | {"seeds": int(part["seeds"].max()), "cells": cells})
    shown = {name: SHORT[name] for name in METRICS if any(name in row["cells"] for row in rows)}
    return [row | {"metrics": shown} for row in rows]


def _decimals(value: float) -> str:
    return "n/a" if math.isnan(value) else f"{value:.3f}"


def _range(low: float, high: float) -> str:
    if math.isnan(low) or math.isnan(high):
        return ""
    return f"{low:.3f} to {high:.3f}".replace("-", "−")


def _with_fewer_ticks(scale: Intervals) -> Intervals:
    """At most every other tick, that of no difference among them, where they are many."""
    places = [tick.place for tick in scale.ticks]
    if len(places) <= MAX_TICKS or scale.reference is None:
        return scale
    zero = int(np.abs(np.array(places) - scale.reference).argmin())
    return replace(scale, ticks=scale.ticks[zero % 2 :: 2])
