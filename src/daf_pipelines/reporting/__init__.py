"""Figures, heatmap overlays and the results table."""

from daf_pipelines.reporting.figures import (
    colour_range,
    detections_figure,
    foreground_figure,
    overlay,
    synthesis_preview,
)
from daf_pipelines.reporting.plots import (
    mask_statistics_figure,
)
from daf_pipelines.reporting.table import results_table

__all__ = [
    "colour_range",
    "detections_figure",
    "foreground_figure",
    "mask_statistics_figure",
    "overlay",
    "results_table",
    "synthesis_preview",
]
