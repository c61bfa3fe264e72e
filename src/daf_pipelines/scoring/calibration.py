"""Setting a detector's threshold without any real defect."""

import numpy as np
import pandas as pd

from daf_pipelines.parameters import ThresholdParams
from daf_pipelines.scoring.detector import Detector, Prediction
from daf_pipelines.scoring.thresholds import choose_threshold
from daf_pipelines.sources.image_set import ImageSet
from daf_pipelines.sources.images import contents


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
    quiet, loud = (detector.score(images.images, images.boxes) for images in (normals, outliers))
    detector.threshold = choose_threshold(params, quiet.scores, loud.scores)
    # From what nearly all normal pixels stay below to what strong outliers reach.
    low, high = _nearly_highest(normals, quiet), _nearly_highest(outliers, loud)
    detector.heat_range = low, max(high, 2 * low)
    tables = [
        images.table[["path", "label", "defect_type"]].assign(score=prediction.scores)
        for images, prediction in ((normals, quiet), (outliers, loud))
    ]
    return pd.concat(tables, ignore_index=True)


def _nearly_highest(images: ImageSet, prediction: Prediction) -> float:
    """The 99 % quantile of all pixels."""
    maps = contents(prediction.maps, images.boxes)
    return float(np.quantile(np.concatenate([pixels.ravel() for pixels in maps]), 0.99))
