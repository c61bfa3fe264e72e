"""What an evaluation found, as its report takes it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from daf_pipelines.reporting.report_pictures import Images, Maps, Masks

SHORT = {
    "image_auroc": "image AUROC",
    "image_ap": "image AP",
    "image_f1_max": "image F1",
    "image_recall_005": "recall at 5 %",
    "pixel_auroc": "pixel AUROC",
    "pixel_ap": "pixel AP",
    "pixel_f1_max": "pixel F1",
    "aupro_030": "AUPRO 30 %",
    "aupro_005": "AUPRO 5 %",
}
"""Names of metrics where there is little room."""


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What an evaluation found, for its report.

    Attributes:
        title: Heading of the page.
        metrics: metrics.json.
        defect_types: defect_types.csv.
        thresholds: thresholds.csv.
        curves: The curves by file stem, such as "image_roc"; without rows where undefined.
        image_scores: image_scores.csv, a row for each test image.
        calibration_scores: calibration_scores.csv.
        regions: regions.csv.
        images: The test images in the order of `image_scores`, without padding, (h, w, 3) uint8;
            only those shown are read.
        maps: Their raw anomaly maps, (h, w).
        masks: Their masks, (h, w) uint8, not 0 where defective; None where there is none.
        heat_of: How hot a map looks, from 0 to 1.
        heat_range: Calibrated values at which the heat begins and is brightest.
        facts: Groups of facts by heading, such as "dataset", "detector", "machine".
        parameters: Of the experiment, nested.
        commands: How to reproduce it, a line each.

    Raises:
        ValueError: There is not one image, map and mask for each row of `image_scores`.
    """

    title: str
    metrics: Mapping[str, Any]
    defect_types: pd.DataFrame
    thresholds: pd.DataFrame
    curves: Mapping[str, pd.DataFrame]
    image_scores: pd.DataFrame
    calibration_scores: pd.DataFrame
    regions: pd.DataFrame
    images: Images
    maps: Maps
    masks: Masks | None
    heat_of: Callable[[Any], Any]
    heat_range: tuple[float, float]
    facts: Mapping[str, Mapping[str, Any]]
    parameters: Mapping[str, Any]
    commands: Sequence[str]

    def __post_init__(self) -> None:
        rows = len(self.image_scores)
        sizes = {"images": len(self.images), "maps": len(self.maps)}
        sizes |= {} if self.masks is None else {"masks": len(self.masks)}
        for name, size in sizes.items():
            if size != rows:
                raise ValueError(f"expected {rows} {name}, as image scores; got {size}")


def read_image_scores(file: Path) -> pd.DataFrame:
    """``image_scores.csv``; names are texts, also "07" and "NA", and NaN where there is none."""
    texts = dict.fromkeys(("path", "defect_type", "group"), str)
    return pd.read_csv(file, dtype=texts, keep_default_na=False, na_values=[""])


def reason_of(metrics: Mapping[str, Any], name: str, otherwise: str | None = None) -> str:
    """Why a metric is not available, without the full stop."""
    reason = (metrics.get("not_available") or {}).get(name) or otherwise or "not measured"
    return str(reason).rstrip(".")
