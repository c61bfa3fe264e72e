"""Metrics of anomaly detection, as pure functions on NumPy arrays."""

from daf_pipelines.metrics.image import image_ap, image_auroc, image_f1_max
from daf_pipelines.metrics.pixel import aupro, pixel_ap, pixel_auroc
from daf_pipelines.metrics.summary import evaluate, per_defect_type

__all__ = [
    "aupro",
    "evaluate",
    "image_ap",
    "image_auroc",
    "image_f1_max",
    "per_defect_type",
    "pixel_ap",
    "pixel_auroc",
]
