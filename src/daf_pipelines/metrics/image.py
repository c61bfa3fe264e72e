"""Image-level metrics: one score and one label per test image."""

import numpy as np
import numpy.typing as npt
from sklearn.metrics import average_precision_score, roc_auc_score

from daf_pipelines.errors import MetricUndefinedError


def check_scores(
    scores: npt.ArrayLike, labels: npt.ArrayLike
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Scores and labels as arrays on which every image metric is defined.

    Args:
        scores: Image scores, shape (N,), larger is more anomalous.
        labels: 0 normal, 1 anomalous, shape (N,).

    Returns:
        The scores as float64 and the labels as booleans (anomalous), both of shape (N,).

    Raises:
        ValueError: The shapes differ, or a score is NaN or infinite.
        MetricUndefinedError: There is no image, or only one class.
    """
    values = np.asarray(scores, dtype=np.float64)
    anomalous = np.asarray(labels).astype(bool)
    if values.ndim != 1 or values.shape != anomalous.shape:
        raise ValueError(
            f"expected scores and labels of one shape (N,); got {values.shape}, {anomalous.shape}"
        )
    if not np.isfinite(values).all():
        raise ValueError(f"{np.sum(~np.isfinite(values))} of {values.size} scores are not finite")
    if not values.size:
        raise MetricUndefinedError("there are no test images")
    if anomalous.all() or not anomalous.any():
        kind = "anomalous" if anomalous.all() else "normal"
        raise MetricUndefinedError(f"the test images are all {kind}")
    return values, anomalous


def image_auroc(scores: npt.ArrayLike, labels: npt.ArrayLike) -> float:
    """Area under the ROC curve; arguments and errors as in :func:`check_scores`."""
    values, anomalous = check_scores(scores, labels)
    return float(roc_auc_score(anomalous, values))


def image_ap(scores: npt.ArrayLike, labels: npt.ArrayLike) -> float:
    """Average precision (step-wise, anomalous is positive); arguments as in check_scores."""
    values, anomalous = check_scores(scores, labels)
    return float(average_precision_score(anomalous, values))


def image_f1_max(scores: npt.ArrayLike, labels: npt.ArrayLike) -> tuple[float, float]:
    """Largest F1 over all thresholds, and the threshold that reaches it.

    Args:
        scores: As in :func:`check_scores`.
        labels: As in :func:`check_scores`.

    Returns:
        F1 and its threshold, for the rule "anomalous when score > threshold". The threshold lies
        halfway between the neighbouring scores; of equally good ones it is the lowest, which
        misses the fewest defects.

    Raises:
        ValueError: As in :func:`check_scores`.
        MetricUndefinedError: As in :func:`check_scores`.
    """
    values, anomalous = check_scores(scores, labels)
    distinct, position = np.unique(values, return_inverse=True)
    flagged = np.bincount(position)[::-1].cumsum()[::-1]
    hits = np.bincount(position, weights=anomalous)[::-1].cumsum()[::-1]
    f1 = 2 * hits / (flagged + anomalous.sum())
    best = int(f1.argmax())
    below = distinct[best - 1] if best else np.nextafter(distinct[0], -np.inf)
    return float(f1[best]), _between(float(below), float(distinct[best]))


def _between(low: float, high: float) -> float:
    """A threshold t with low <= t < high: the middle, unless rounding lifts that to ``high``."""
    middle = low + (high - low) / 2
    return middle if middle < high else low
