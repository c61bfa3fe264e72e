"""Thresholds on the image score, chosen without any real defect.

Everywhere, an image is labelled anomalous when its score is above the threshold.
"""

import logging
import math
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from daf_pipelines.errors import DataError
from daf_pipelines.metrics.image import image_f1_max
from daf_pipelines.parameters import ThresholdParams

logger = logging.getLogger(__name__)


def normals_threshold(scores: npt.ArrayLike, false_positive_rate: float) -> float:
    """Split-conformal quantile of held-out normals' scores.

    The k-th smallest of n scores, k = ceil((n + 1)(1 - alpha)). If a new normal image is
    exchangeable with the n held-out ones, then P(score > threshold) <= alpha: for every n and
    every distribution, ties included, on average over the draw of the held-out images (Vovk et
    al., "Algorithmic Learning in a Random World", 2005; Lei et al., JASA 2018, theorem 2.2).

    With n below 1 / alpha - 1 no score is high enough for that promise: the largest is used, which
    only gives P <= 1 / (n + 1), and a warning says so.

    Args:
        scores: Image scores of normals that the detector was not trained on, shape (n,), n >= 1.
        false_positive_rate: alpha, the accepted probability of a false alarm, in (0, 1).

    Returns:
        The threshold.

    Raises:
        DataError: There are no scores.
        ValueError: A score is NaN or infinite.
    """
    values = np.sort(_finite(scores, "held-out normal images"))
    # As written (0.05 is 1/20): in binary floating point (n + 1)(1 - alpha) may pass an integer.
    alpha = Fraction(str(float(false_positive_rate)))
    rank = math.ceil((values.size + 1) * (1 - alpha))
    if rank > values.size:
        logger.warning(
            "%d held-out normal images cannot promise a false positive rate of %g: the threshold "
            "is their largest score, which promises %.3g. At least %d are needed.",
            values.size,
            false_positive_rate,
            1 / (values.size + 1),
            math.ceil(1 / alpha) - 1,
        )
    return float(values[min(rank, values.size) - 1])


def synthetic_threshold(normal_scores: npt.ArrayLike, outlier_scores: npt.ArrayLike) -> float:
    """Threshold with the largest F1 between normal images and synthetic outliers.

    Args:
        normal_scores: Image scores of held-out normals, shape (n,).
        outlier_scores: Image scores of synthetic outliers, shape (m,).

    Returns:
        The threshold, halfway between the two neighbouring scores.

    Raises:
        DataError: One of the two is empty.
        ValueError: A score is NaN or infinite.
    """
    normals = _finite(normal_scores, "held-out normal images")
    outliers = _finite(outlier_scores, "synthetic outliers")
    labels = np.repeat([0, 1], [normals.size, outliers.size])
    return image_f1_max(np.concatenate([normals, outliers]), labels)[1]


def choose_threshold(
    params: ThresholdParams, normal_scores: npt.ArrayLike, outlier_scores: npt.ArrayLike
) -> float:
    """Threshold by the configured rule.

    Args:
        params: The rule and its setting.
        normal_scores: Image scores of held-out normals, shape (n,); not read by rule "fixed".
        outlier_scores: Image scores of synthetic outliers, shape (m,); read by rule "synthetic".

    Returns:
        The threshold; an image is anomalous when its score is above it.

    Raises:
        DataError: Scores that the rule needs are missing.
        ValueError: A score is NaN or infinite.
    """
    if params.value is not None:
        return params.value
    if params.rule == "synthetic":
        return synthetic_threshold(normal_scores, outlier_scores)
    return normals_threshold(normal_scores, params.false_positive_rate)


def _finite(scores: npt.ArrayLike, what: str) -> npt.NDArray[np.float64]:
    values = np.asarray(scores, dtype=np.float64).ravel()
    if not values.size:
        raise DataError(
            f"A threshold needs scores of {what}, and there are none. Give the dataset more "
            "normal images, or set scoring thresholds with `rule: fixed` and a `value`."
        )
    if not np.isfinite(values).all():
        raise ValueError(f"{np.sum(~np.isfinite(values))} scores of {what} are not finite")
    return values
