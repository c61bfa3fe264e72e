"""An evaluation as MLflow's metrics and description.

The metrics that models are compared by have plain names, which its search box takes as they are;
the others are in sections (``cost/...``), which its charts fold. Intervals are in the description:
as metrics they would be two columns more for each.
"""

import re
from typing import Any

import pandas as pd

from daf_pipelines.metrics import METRICS, macro_average

SECTIONS = {
    "decision": (
        "false_positive_rate",
        "recall",
        "n_mistakes",
        "image_threshold",
        "pixel_threshold",
    ),
    "synthetic": ("synthetic_image_auroc", "synthetic_recall"),
    "cost": ("train_seconds", "peak_rss_mib", "latency_ms", "model_mib"),
    "test": ("n_test_normal", "n_test_anomalous", "n_excluded"),
}
OF_TYPES = ("image_auroc", "aupro_030")
MAX_TYPES = 50


def by_section(metrics: dict[str, Any]) -> dict[str, Any]:
    """The content of ``metrics.json`` by the names that MLflow gets."""
    named = {name: metrics[name] for name in METRICS}
    for section, names in SECTIONS.items():
        named |= {f"{section}/{name}": metrics[name] for name in names}
    return named


def by_defect_type(table: pd.DataFrame) -> dict[str, float]:
    """``defect_type/NAME/METRIC`` of the most frequent types; ``macro/METRIC`` of several."""
    common = table.sort_values("count", ascending=False, kind="stable").head(MAX_TYPES)
    rows = common.to_dict(orient="records")
    names = _distinct([_allowed(str(row["defect_type"])) for row in rows])
    macro = macro_average(table, METRICS) if len(table) > 1 else {}
    return {f"macro/{name}": value for name, value in macro.items()} | {
        f"defect_type/{name}/{metric}": row[metric]
        for name, row in zip(names, rows, strict=True)
        for metric in OF_TYPES
        if pd.notna(row[metric])
    }


def describe_results(metrics: dict[str, Any]) -> str:
    """The run's description: its metrics with intervals, in Markdown."""
    lines = ["| metric | value | 95 % interval |", "|---|---|---|"]
    for name in METRICS:
        if metrics[name] is None:
            lines.append(f"| {name} | not available: {metrics['not_available'][name]} | |")
        else:
            low, high = metrics["intervals"][name]
            lines.append(f"| {name} | {metrics[name]:.4f} | {low:.4f} to {high:.4f} |")
    split = metrics["split"]
    counts = f"{metrics['n_test_normal']} normal, {metrics['n_test_anomalous']} anomalous images"
    return "\n".join([*lines, "", f"Test split: {split['origin']}; {counts}."])


def _allowed(name: str) -> str:
    """With the characters that MLflow takes in a metric's name."""
    return re.sub(r"[^\w\-. ]", "_", name) or "_"


def _distinct(names: list[str]) -> list[str]:
    """Names of which none occurs twice: numbered from the second on."""
    earlier = [names[:k].count(name) for k, name in enumerate(names)]
    return [f"{n} {k + 1}" if k else n for n, k in zip(names, earlier, strict=True)]
