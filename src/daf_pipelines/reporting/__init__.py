"""Figures, heatmap overlays and the results table."""

from daf_pipelines.reporting.figures import (
    colour_range,
    detections_figure,
    foreground_figure,
    heatmap_sheet,
    overlay,
    synthesis_preview,
)
from daf_pipelines.reporting.plots import (
    loss_curves,
    mask_statistics_figure,
    precision_recall_figure,
    roc_curve_figure,
    score_histogram,
)
from daf_pipelines.reporting.table import results_table

__all__ = [
    "colour_range",
    "detections_figure",
    "foreground_figure",
    "heatmap_sheet",
    "loss_curves",
    "mask_statistics_figure",
    "overlay",
    "precision_recall_figure",
    "results_table",
    "roc_curve_figure",
    "score_histogram",
    "synthesis_preview",
]
