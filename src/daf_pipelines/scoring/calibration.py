"""Setting a detector's thresholds without any real defect."""

import logging
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from daf_pipelines.errors import DataError
from daf_pipelines.parameters import RuleParams, ThresholdParams
from daf_pipelines.scoring.detector import Detector
from daf_pipelines.scoring.scale import TYPICAL, Scale
from daf_pipelines.scoring.thresholds import (
    fewest_normals,
    normals_threshold,
    synthetic_pixel_threshold,
    synthetic_threshold,
)
from daf_pipelines.sources.image_set import ImageSet
from daf_pipelines.sources.images import contents

LATEST_HEAT = 0.45
"""At the threshold, 0.5, there is heat to be seen."""
LOG = logging.getLogger(__name__)
Rules = Mapping[str, Callable[[], float]]


def calibrate(
    detector: Detector, normals: ImageSet, outliers: ImageSet, params: ThresholdParams
) -> pd.DataFrame:
    """Set the detector's thresholds from held-out normals and synthetic outliers.

    Args:
        detector: its scales, ``thresholds``, ``promised`` and ``heat_from`` are
            replaced.
        normals: normal images that training has not seen.
        outliers: the synthetic validation set, with masks.
        params: the rules.

    Returns:
        The scores they were chosen from: columns ``path``, ``label``, ``defect_type``, ``score``,
        ``raw_score``.

    Raises:
        DataError: what a rule needs is missing, or the model's scores are not finite.
    """
    quiet, loud = (detector.score(images.images, images.boxes) for images in (normals, outliers))
    for prediction in (quiet, loud):
        require_finite(prediction.scores, "held-out or synthetic")
    quiet_maps, loud_maps = contents(quiet.maps, normals.boxes), contents(loud.maps, outliers.boxes)
    peaks = [float(pixels.max()) for pixels in quiet_maps]
    _warn_of_few(len(normals), params)
    image_rules: Rules = {
        "normals": lambda: normals_threshold(quiet.scores, params.image.false_positive_rate),
        "synthetic": lambda: synthetic_threshold(quiet.scores, loud.scores),
    }
    pixel_rules: Rules = {
        "normals": lambda: normals_threshold(peaks, params.pixel.false_positive_rate),
        "synthetic": lambda: synthetic_pixel_threshold(
            quiet_maps + loud_maps, [np.zeros_like(m) for m in quiet_maps] + _masks(outliers)
        ),
    }
    detector.thresholds = {
        "image": _thresholds(params.image, image_rules),
        "pixel": _thresholds(params.pixel, pixel_rules),
    }
    detector.promised = {
        level: max(rule.false_positive_rate, 1 / (len(normals) + 1))
        for level, rule in (("image", params.image), ("pixel", params.pixel))
        if len(normals)
    }
    detector.image, detector.pixel = (
        _scale(detector.thresholds[level][rule.rule], scores)
        for level, rule, scores in (
            ("image", params.image, quiet.scores),
            ("pixel", params.pixel, peaks),
        )
    )
    detector.heat_from = _heat_from(detector.pixel, quiet_maps)
    tables = [
        images.table[["path", "label", "defect_type"]].assign(
            score=detector.image(prediction.scores), raw_score=prediction.scores
        )
        for images, prediction in ((normals, quiet), (outliers, loud))
    ]
    return pd.concat(tables, ignore_index=True)


def require_finite(scores: NDArray[np.float32], kind: str) -> None:
    """Refuse scores of a model that has diverged.

    Raises:
        DataError: some are NaN or infinite.
    """
    wrong = int((~np.isfinite(scores)).sum())
    if wrong:
        raise DataError(
            f"The trained model gives {wrong} of {len(scores)} {kind} images no finite score: its "
            "training has diverged. Train it with a lower learning_rate, or in precision float32."
        )


def _thresholds(params: RuleParams, rules: Rules) -> dict[str, float]:
    """What each rule gives; one that is not in use may lack what it needs."""
    found = {} if params.value is None else {"fixed": params.value}
    for name, rule in rules.items():
        try:
            found[name] = rule()
        except DataError:
            if name == params.rule:
                raise
    return found


def _scale(threshold: float, normal_scores: Any) -> Scale:
    typical = float(np.median(normal_scores)) if len(normal_scores) else threshold
    return Scale(threshold, typical)


def _warn_of_few(count: int, params: ThresholdParams) -> None:
    rates = [p.false_positive_rate for p in (params.image, params.pixel) if p.rule == "normals"]
    if not count or not rates or count >= fewest_normals(min(rates)):
        return
    LOG.warning(
        "%d held-out normal images cannot promise a false positive rate of %g: the threshold is "
        "their largest score, which promises %.3g. At least %d are needed.",
        count,
        min(rates),
        1 / (count + 1),
        fewest_normals(min(rates)),
    )


def _masks(outliers: ImageSet) -> list[NDArray[np.uint8]]:
    if outliers.masks is None:
        raise DataError("The synthetic validation set has no masks. Run kedro run.")
    return contents(outliers.masks, outliers.boxes)


def _heat_from(scale: Scale, maps: list[NDArray[np.float32]]) -> float:
    """What nearly all normal pixels stay below, calibrated: never above the threshold."""
    if not maps:
        return TYPICAL
    pixels = np.concatenate([pixels.ravel() for pixels in maps])
    return min(float(scale(np.quantile(pixels, 0.99))), LATEST_HEAT)
