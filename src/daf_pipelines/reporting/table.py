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
    "pixel_auroc": "pixel AUROC",
    "pixel_ap": "pixel AP",
    "aupro_030": "AUPRO, false positives ≤ 30 %",
    "n_test_normal": "normal test images",
    "n_test_anomalous": "anomalous test images",
    "n_mistakes": "mistakes at the threshold",
    "n_excluded": "images kept apart, not used",
    "train_seconds": "training time, s",
    "peak_rss_mib": "peak memory, MiB",
}


def results_table(
    metrics: dict[str, Any], threshold: float, pictures: Path, ui_command: str
) -> Group:
    """Print the results of a run: metrics, threshold, where the pictures are, how to look closer.

    Args:
        metrics: As :func:`daf_pipelines.metrics.evaluate` returns them, and any further numbers.
            Metrics that are None show their reason in ``not_available``.
        threshold: The image-score threshold in use.
        pictures: Folder of the run's pictures.
        ui_command: Command that opens the tracking UI.

    Returns:
        What was printed.
    """
    reasons = metrics.get("not_available", {})
    table = Table("metric", title="Results", title_justify="left")
    table.add_column("value", justify="right")
    for name, value in metrics.items():
        if value is None:
            shown = Text(f"not available: {reasons.get(name, 'no reason given')}", style="dim")
        elif isinstance(value, int | float):
            shown = Text(_number(name, value))
        else:
            continue
        table.add_row(NAMES.get(name, name.replace("_", " ")), shown)
    table.add_row("threshold on the image score", f"{threshold:.4g}")
    where = Text(f"pictures   {pictures}\nmore       {ui_command}", no_wrap=True, overflow="ignore")
    report = Group(table, where)
    Console().print(report, crop=False)
    return report


def _number(name: str, value: float) -> str:
    """Counts, seconds and sizes as whole numbers; metrics with four decimals."""
    if isinstance(value, int) or name in ("train_seconds", "peak_rss_mib"):
        return f"{value:.0f}"
    return f"{value:.4f}"
