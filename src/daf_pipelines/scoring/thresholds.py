"""Thresholds, chosen without any real defect.

Everywhere, an image or a pixel is labelled anomalous when its score is above the threshold.
"""

import math
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from daf_pipelines.errors import DataError, MetricUndefinedError
from daf_pipelines.metrics.image import image_f1_max
from daf_pipelines.metrics.pixel import Maps, Masks, pixel_f1_max


def normals_threshold(scores: npt.ArrayLike, false_positive_rate: float) -> float:
    """Split-conformal quantile of held-out normals' scores.

    The k-th smallest of n scores, k = ceil((n + 1)(1 - alpha)). If a new normal image is
    exchangeable with the n held-out ones, then P(score > threshold) <= alpha: for every n and
    every distribution, ties included, on average over the draw of the held-out images (Vovk et
    al., "Algorithmic Learning in a Random World", 2005; Lei et al., JASA 2018, theorem 2.2).

    At the pixel level an image's score is its largest pixel: the promise is then that at most a
    share alpha of normal images have any pixel above the threshold.

    With n below :func:`fewest_normals` no score is high enough for that promise: the largest is
    used, which only gives P <= 1 / (n + 1).

    Args:
        scores: Scores of normal images that the detector was not trained on, shape (n,), n >= 1.
        false_positive_rate: alpha, the accepted probability of a false alarm, in (0, 1).

    Returns:
        The threshold.

    Raises:
        DataError: There are no scores.
        ValueError: A score is NaN or infinite.
    """
    values = np.sort(_finite(scores, "held-out normal images"))
    rank = math.ceil((values.size + 1) * (1 - _as_written(false_positive_rate)))
    return float(values[min(rank, values.size) - 1])


def fewest_normals(false_positive_rate: float) -> int:
    """Number of held-out normal images from which :func:`normals_threshold` keeps its promise."""
    return math.ceil(1 / _as_written(false_positive_rate)) - 1


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


def synthetic_pixel_threshold(maps: Maps, masks: Masks) -> float:
    """Threshold with the largest F1 between the pixels of synthetic defects and all others.

    Args:
        maps: Anomaly maps of held-out normals and of synthetic outliers, N of shape (H, W).
        masks: Masks of the synthetic defects, of the same shapes, in {0, 1}.

    Raises:
        DataError: There is no synthetic defect, or no normal pixel.
        ValueError: A score is NaN or infinite, or shapes differ.
    """
    try:
        return pixel_f1_max(maps, masks)[1]
    except MetricUndefinedError as error:
        raise DataError(f"{_missing('synthetic outliers')} ({error})") from error


def _as_written(rate: float) -> Fraction:
    """0.05 is 1/20: in binary floating point (n + 1)(1 - alpha) may pass an integer."""
    return Fraction(str(float(rate)))


def _finite(scores: npt.ArrayLike, what: str) -> npt.NDArray[np.float64]:
    values = np.asarray(scores, dtype=np.float64).ravel()
    if not values.size:
        raise DataError(_missing(what))
    if not np.isfinite(values).all():
        raise ValueError(f"{np.sum(~np.isfinite(values))} scores of {what} are not finite")
    return values


def _missing(what: str) -> str:
    return (
        f"A threshold needs scores of {what}, and there are none. Give the dataset more normal "
        "images, or set threshold.image and threshold.pixel to `rule: fixed` and a `value`."
    )
