"""Metrics of anomaly detection, as pure functions on arrays; anomaly maps may also be tensors."""

from daf_pipelines.metrics.bootstrap import (
    PixelCounts,
    count_pixels,
    image_replicates,
    interval,
    pixel_replicates,
    resamples,
)
from daf_pipelines.metrics.image import (
    image_ap,
    image_auroc,
    image_f1_max,
    image_precision_recall,
    image_recall,
    image_roc,
)
from daf_pipelines.metrics.pixel import (
    RankedPixels,
    aupro,
    pixel_ap,
    pixel_auroc,
    pixel_f1_max,
    rank_pixels,
)
from daf_pipelines.metrics.summary import (
    IMAGE_METRICS,
    METRICS,
    PIXEL_METRICS,
    Results,
    evaluate,
    macro_average,
)

__all__ = [
    "IMAGE_METRICS",
    "METRICS",
    "PIXEL_METRICS",
    "PixelCounts",
    "RankedPixels",
    "Results",
    "aupro",
    "count_pixels",
    "evaluate",
    "image_ap",
    "image_auroc",
    "image_f1_max",
    "image_precision_recall",
    "image_recall",
    "image_replicates",
    "image_roc",
    "interval",
    "macro_average",
    "pixel_ap",
    "pixel_auroc",
    "pixel_f1_max",
    "pixel_replicates",
    "rank_pixels",
    "resamples",
]
