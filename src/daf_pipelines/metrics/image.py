"""Image-level metrics: one score and one label per test image."""

import math
from fractions import Fraction

import numpy as np
import numpy.typing as npt
from sklearn.metrics import (
    average_precision_score,
    precision_recall_curve,
    roc_auc_score,
    roc_curve,
)

from daf_pipelines.errors import MetricUndefinedError
from daf_pipelines.metrics.curves import Curve


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
        missing = "normal" if anomalous.all() else "anomalous"
        raise MetricUndefinedError(f"there are no {missing} test images")
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


def image_recall(scores: npt.ArrayLike, labels: npt.ArrayLike, false_positive_rate: float) -> float:
    """Largest share of anomalous images found while few normal ones are flagged.

    Args:
        scores: As in :func:`check_scores`.
        labels: As in :func:`check_scores`.
        false_positive_rate: Largest share of the normal images flagged, in [0, 1); not
            interpolated: with fewer than 1 / rate normal images none may be flagged.

    Returns:
        The recall, in [0, 1].

    Raises:
        ValueError: As in :func:`check_scores`, or the rate is outside [0, 1).
        MetricUndefinedError: As in :func:`check_scores`.
    """
    values, anomalous = check_scores(scores, labels)
    normals = np.sort(values[~anomalous])[::-1]
    threshold = normals[false_alarms(normals.size, false_positive_rate)]
    return float((values[anomalous] > threshold).mean())


def false_alarms(n_normal: int, false_positive_rate: float) -> int:
    """How many of some normal images a false-positive rate in [0, 1) allows to be flagged."""
    if not 0 <= false_positive_rate < 1:
        raise ValueError(f"expected a false-positive rate in [0, 1); got {false_positive_rate}")
    # As written (0.05 is 1/20): in binary floating point the product may miss an integer.
    return math.floor(n_normal * Fraction(str(float(false_positive_rate))))


def image_roc(scores: npt.ArrayLike, labels: npt.ArrayLike) -> Curve:
    """Bends of the ROC curve: false- and true-positive rates; arguments as in check_scores."""
    values, anomalous = check_scores(scores, labels)
    fpr, tpr, _ = roc_curve(anomalous, values)
    return fpr, tpr


def image_precision_recall(scores: npt.ArrayLike, labels: npt.ArrayLike) -> Curve:
    """Recalls, from 0 to 1, and precisions; arguments and errors as in :func:`check_scores`."""
    values, anomalous = check_scores(scores, labels)
    precision, recall, _ = precision_recall_curve(anomalous, values)
    return recall[::-1], precision[::-1]


def _between(low: float, high: float) -> float:
    """A threshold t with low <= t < high: the middle, unless rounding lifts that to ``high``."""
    middle = low + (high - low) / 2
    return middle if middle < high else low
