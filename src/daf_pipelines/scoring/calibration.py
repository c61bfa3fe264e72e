"""Setting a detector's threshold without any real defect."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from daf_pipelines.parameters import ThresholdParams
from daf_pipelines.scoring.detector import Detector
from daf_pipelines.scoring.thresholds import choose_threshold
from daf_pipelines.sources.image_set import ImageSet


def calibrate(
    detector: Detector, normals: ImageSet, outliers: ImageSet, params: ThresholdParams
) -> pd.DataFrame:
    """Set ``detector.threshold`` and ``heat_range`` from held-out normals and synthetic outliers.

    Args:
        detector: its threshold and heat range are replaced.
        normals: normal images that training has not seen.
        outliers: the synthetic validation set.
        params: the rule.

    Returns:
        The scores it was chosen from: columns ``path``, ``label``, ``defect_type``, ``score``.
    """
    predictions = [detector.score(images.images) for images in (normals, outliers)]
    quiet, loud = (prediction.scores for prediction in predictions)
    detector.threshold = choose_threshold(params, quiet, loud)
    detector.heat_range = _heat_range(*(prediction.maps for prediction in predictions))
    tables = [
        images.table[["path", "label", "defect_type"]].assign(score=prediction.scores)
        for images, prediction in zip((normals, outliers), predictions, strict=True)
    ]
    return pd.concat(tables, ignore_index=True)


def _heat_range(normal: NDArray[np.float32], outlier: NDArray[np.float32]) -> tuple[float, float]:
    """From what nearly all normal pixels stay below to what strong outliers reach."""
    low = float(np.quantile(normal, 0.99))
    return low, max(float(np.quantile(outlier, 0.99)), 2 * low)
