"""The table that ends a run."""

from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

NAMES = {
    "image_auroc": "image AUROC",
    "image_ap": "image AP",
    "image_f1_max": "image F1, best threshold",
    "image_recall_005": "image recall at 5 % false positives",
    "pixel_auroc": "pixel AUROC",
    "pixel_ap": "pixel AP",
    "pixel_f1_max": "pixel F1, best threshold",
    "aupro_030": "AUPRO, false positives ≤ 30 %",
    "aupro_005": "AUPRO, false positives ≤ 5 %",
    "n_test_normal": "normal test images",
    "n_test_anomalous": "anomalous test images",
    "n_mistakes": "mistakes at the threshold",
    "false_positive_rate": "false alarms among normal images",
    "recall": "defects found at the threshold",
    "synthetic_image_auroc": "image AUROC of synthetic outliers",
    "synthetic_recall": "synthetic outliers found at the threshold",
    "n_excluded": "images kept apart, not used",
    "image_threshold": "threshold on the raw image score",
    "pixel_threshold": "threshold on the raw anomaly map",
    "train_seconds": "training time, s",
    "peak_rss_mib": "peak memory, MiB",
    "latency_ms": "time to score one image, ms",
    "model_mib": "size of the model, MiB",
}
WHOLE = ("train_seconds", "peak_rss_mib")


def results_table(metrics: dict[str, Any], report: Path, ui_command: str, use: str) -> Group:
    """Print the results of a run: metrics with intervals, where the report is, what shows more.

    Args:
        metrics: As :func:`daf_pipelines.metrics.evaluate` returns them, and any further numbers.
            Metrics that are None show their reason in ``not_available``.
        report: The run's report.
        ui_command: Command that opens the tracking UI.
        use: Command that scores new images.

    Returns:
        What was printed.
    """
    reasons, intervals = metrics.get("not_available", {}), metrics.get("intervals", {})
    table = Table("metric", title="Results", title_justify="left")
    table.add_column("value", justify="right")
    table.add_column("95 % interval")
    absent: dict[str, list[str]] = {}
    for name, value in metrics.items():
        label = NAMES.get(name, name.replace("_", " "))
        if value is None:
            absent.setdefault(reasons.get(name, "no reason given"), []).append(label)
        elif isinstance(value, int | float):
            span = " to ".join(f"{end:.4f}" for end in intervals.get(name, []))
            table.add_row(label, _number(name, value), span)
    why = [Text(f"not available: {'; '.join(n)}: {reason}") for reason, n in absent.items()]
    lines = (f"report   {report}", f"more     {ui_command}", f"use      {use}")
    where = Text("\n".join(lines), no_wrap=True, overflow="ignore")
    shown_below = Group(table, *why, where)
    Console().print(shown_below, crop=False)
    return shown_below


def _number(name: str, value: float) -> str:
    """Counts, seconds and sizes as whole numbers; metrics with four decimals."""
    if isinstance(value, int) or name in WHOLE:
        return f"{value:.0f}"
    return f"{value:.4f}"
