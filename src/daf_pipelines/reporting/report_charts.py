"""The charts of an evaluation's report: curves, distributions of scores, regions by size."""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from daf_pipelines.metrics.decisions import ORACLE
from daf_pipelines.reporting.charts import Chart, histogram, line_chart, scatter
from daf_pipelines.reporting.dataset_overview import percent
from daf_pipelines.reporting.evaluation import SHORT, Evaluation, reason_of
from daf_pipelines.reporting.words import finite, score_text

CURVES = {
    "image_roc": ("ROC, images", "false-positive rate", "true-positive rate", "image_auroc"),
    "image_precision_recall": ("PR, images", "recall", "precision", "image_ap"),
    "pro": ("PRO, regions", "false-positive rate of pixels", "mean overlap", "aupro_030"),
    "pixel_roc": ("ROC, pixels", "false-positive rate", "true-positive rate", "pixel_auroc"),
    "pixel_precision_recall": ("PR, pixels", "recall", "precision", "pixel_ap"),
}
"""Of each curve: heading, labels of x and y, and the metric that it shows."""
SIZES = (0.0, 1e-4, 1e-3, 1e-2, 0.1, 1.0)
MAX_TYPES_COLOURED = 5


def curve_charts(evaluation: Evaluation) -> dict[str, Any]:
    """The charts of curves that there are by name, and why the others are not there."""
    charts: dict[str, Chart] = {}
    absent: dict[str, list[str]] = {}
    for stem, (name, x_label, y_label, metric) in CURVES.items():
        table = evaluation.curves.get(stem, pd.DataFrame())
        if len(table) < 1:
            absent.setdefault(reason_of(evaluation.metrics, metric), []).append(name)
            continue
        charts[name] = line_chart(
            {_curve_label(evaluation.metrics, metric): (table.iloc[:, 0], table.iloc[:, 1])},
            x_label,
            y_label,
            **axes_of(stem),
            fill=True,
            rules={"limit of AUPRO 5 %": 0.05} if stem == "pro" else None,
            marks=_operating_points(evaluation.thresholds, stem),
        )
    return {"charts": charts, "absent": absent}


def axes_of(stem: str) -> dict[str, Any]:
    """How the chart of a curve is drawn: to which x, and whether chance is the diagonal."""
    return {"x_limit": 0.3 if stem == "pro" else 1.0, "diagonal": stem.endswith("roc")}


def _curve_label(metrics: Mapping[str, Any], metric: str) -> str:
    value = finite(metrics.get(metric))
    return SHORT[metric] if value is None else f"{SHORT[metric]} {score_text(value)}"


def _operating_points(thresholds: pd.DataFrame, stem: str) -> dict[str, tuple[float, float]]:
    """Where the thresholds in use lie on a curve."""
    level, _, kind = stem.partition("_")
    axes = {
        "roc": ("false_positive_rate", "recall"),
        "precision_recall": ("recall", "precision"),
    }
    if kind not in axes:
        return {}
    used = thresholds[(thresholds["level"] == level) & thresholds["in_use"].astype(bool)]
    x, y = axes[kind]
    points = used[[x, y]].to_numpy(dtype=np.float64).tolist()
    return {"threshold in use": (points[0][0], points[0][1])} if points else {}


def score_histograms(evaluation: Evaluation) -> dict[str, Chart]:
    """Histograms of the image scores, of the test split and of what thresholds come from."""
    thresholds = evaluation.thresholds[evaluation.thresholds["level"] == "image"]
    rules: dict[str, dict[str, float]] = {"production": {}, "oracle": {}}
    strong = None
    for row in thresholds.to_dict(orient="records"):
        name = f"{row['rule']} {row['score']:.2f}{', in use' if row['in_use'] else ''}"
        rules["oracle" if row["rule"] == ORACLE else "production"][name] = float(row["score"])
        strong = name if row["in_use"] else strong
    test, held_out = evaluation.image_scores, evaluation.calibration_scores
    charts = {}
    if len(test):
        charts["Test images"] = histogram(
            _by_label(test, "normal", "with a defect"),
            "image score",
            rules=rules["production"] | rules["oracle"],
            strong=strong,
            colours={"normal": "--normal", "with a defect": "--anomalous"},
        )
    if len(held_out):
        charts["What thresholds come from"] = histogram(
            _by_label(held_out, "held-out normal", "synthetic outlier"),
            "image score",
            rules=rules["production"],
            strong=strong,
            colours={"held-out normal": "--normal", "synthetic outlier": "--series-4"},
        )
    return charts


def _by_label(scores: pd.DataFrame, normal: str, anomalous: str) -> dict[str, Any]:
    names = {0: normal, 1: anomalous}
    groups = {name: scores.loc[scores["label"] == label, "score"] for label, name in names.items()}
    return {name: values for name, values in groups.items() if len(values)}


def localisation(evaluation: Evaluation) -> dict[str, Any]:
    """How well defect regions are located, by their size."""
    regions = evaluation.regions
    if regions.empty:
        return {"rows": [], "reason": reason_of(evaluation.metrics, "aupro_030")}
    area, overlap = (regions[n].to_numpy(dtype=np.float64) for n in ("area", "overlap"))
    rows = []
    for low, high in pairwise(SIZES):
        inside = overlap[(area > low) & (area <= high) & np.isfinite(overlap)]
        if len(inside):
            rows.append(
                {
                    "size": f"{percent(low)[:-2]} to {percent(high)}"
                    if low
                    else f"up to {percent(high)}",
                    "count": len(inside),
                    "found": float(inside.mean()),
                    "touched": float((inside > 0).mean()),
                }
            )
    types = regions["defect_type"].to_numpy(dtype=object)
    names = list(dict.fromkeys(types.tolist()))
    groups = {"regions": (area, overlap)}
    if len(names) <= MAX_TYPES_COLOURED:
        groups = {str(n): (area[types == n], overlap[types == n]) for n in names}
    chart = scatter(groups, "area of the region, share of the image", "share of the region found")
    known = finite(evaluation.metrics.get("aupro_030")) is not None
    caution = "" if known else reason_of(evaluation.metrics, "aupro_030")
    return {"rows": rows, "chart": chart, "reason": caution}
