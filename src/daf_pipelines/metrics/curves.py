"""What the image and the pixel metrics share: areas and F1 over thresholds, also of many curves."""

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.float64]
Curve: TypeAlias = tuple[Floats, Floats]


def area_under(x: Floats, y: Floats, limit: float = 1.0) -> Floats:
    """Area under curves that are linear between their points, for x up to a limit.

    Args:
        x: Shape (..., K), not decreasing along the last axis, from 0 to 1.
        y: Shape (..., K).
        limit: Where the area ends; the curve is interpolated there.

    Returns:
        The areas, shape (...).
    """
    width = np.diff(x)
    inside = np.clip(limit - x[..., :-1], 0, width)
    share = np.divide(inside, width, out=np.zeros_like(width), where=width > 0)
    # Trapezoids between y and y + share * step, the cut one included.
    heights = y[..., :-1] + share * np.diff(y) / 2
    areas: Floats = (inside * heights).sum(axis=-1)
    return areas


def f1_scores(
    defects_reached: npt.NDArray[Any], normals_reached: npt.NDArray[Any], n_defect: Any
) -> Floats:
    """F1 = 2 TP / (TP + FP + TP + FN), where defects are positive; all shapes broadcast."""
    scores: Floats = 2 * defects_reached / (defects_reached + normals_reached + n_defect)
    return scores


def thin(curve: Curve, count: int = 1000) -> Curve:
    """At most `count` points of a curve, evenly along its length, its ends among them."""
    x, y = curve
    if len(x) <= count:
        return curve
    length = np.concatenate([[0], (np.abs(np.diff(x)) + np.abs(np.diff(y))).cumsum()])
    places = np.searchsorted(length, np.linspace(0, length[-1], count - 1))
    chosen = np.unique(np.append(np.minimum(places, len(x) - 1), len(x) - 1))
    return x[chosen], y[chosen]
