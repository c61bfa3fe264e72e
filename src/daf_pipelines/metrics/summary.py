"""All metrics of a test set, and those of each defect type."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from daf_pipelines.errors import MetricUndefinedError
from daf_pipelines.metrics.image import check_scores, image_ap, image_auroc, image_f1_max
from daf_pipelines.metrics.pixel import Maps, Masks, rank_pixels

IMAGE_METRICS = ("image_auroc", "image_ap", "image_f1_max")
PIXEL_METRICS = ("pixel_auroc", "pixel_ap", "aupro_030")


def evaluate(
    scores: npt.ArrayLike,
    labels: npt.ArrayLike,
    maps: Maps,
    masks: Masks | None,
    *,
    localised: bool = True,
) -> dict[str, Any]:
    """Every metric of a test set; one that is undefined is None, with its reason.

    Args:
        scores: Image scores, shape (N,), larger is more anomalous.
        labels: 0 normal, 1 anomalous, shape (N,).
        maps: Anomaly maps, shape (N, H, W), or N of shape (H, W) each; without padding.
        masks: Ground truth of the same shapes in {0, 1}, or None where there is none.
        localised: Whether the masks say exactly enough where defects are for pixel metrics.

    Returns:
        A JSON-serialisable dictionary: ``image_auroc``, ``image_ap``, ``image_f1_max``,
        ``pixel_auroc``, ``pixel_ap``, ``aupro_030`` (floats in [0, 1] or None),
        ``n_test_normal``, ``n_test_anomalous``, and ``not_available`` (metric -> reason).

    Raises:
        ValueError: Shapes do not match, or a score is NaN or infinite.
    """
    anomalous = np.asarray(labels).astype(bool)
    image, why_no_image = _values(IMAGE_METRICS, lambda: _image_metrics(scores, labels))
    pixel, why_no_pixel = _values(PIXEL_METRICS, lambda: _pixel_metrics(maps, masks, localised))
    return {
        **image,
        **pixel,
        "n_test_normal": int((~anomalous).sum()),
        "n_test_anomalous": int(anomalous.sum()),
        "not_available": why_no_image | why_no_pixel,
    }


def per_defect_type(
    scores: npt.ArrayLike, labels: npt.ArrayLike, defect_types: npt.ArrayLike
) -> pd.DataFrame:
    """Image AUROC of each defect type against all normal images, where both exist.

    Args:
        scores: Image scores, shape (N,).
        labels: 0 normal, 1 anomalous, shape (N,).
        defect_types: Name of each image's defect type, shape (N,); normals' names are not read.

    Returns:
        One row per type, by name: ``defect_type`` (str), ``image_auroc`` (float), ``count`` (int).
        No row where there are only normal, only anomalous or no images.

    Raises:
        ValueError: Shapes do not match, or a score is NaN or infinite.
    """
    try:
        values, anomalous = check_scores(scores, labels)
    except MetricUndefinedError:
        return pd.DataFrame(columns=["defect_type", "image_auroc", "count"])
    types = np.asarray(defect_types, dtype=object)
    if types.shape != values.shape:
        raise ValueError(f"expected {values.size} defect types; got shape {types.shape}")
    rows = []
    for name in sorted(set(types[anomalous])):
        of_type = anomalous & (types == name)
        chosen = of_type | ~anomalous
        auroc = image_auroc(values[chosen], anomalous[chosen])
        rows.append({"defect_type": name, "image_auroc": auroc, "count": int(of_type.sum())})
    return pd.DataFrame(rows)


def _values(
    names: tuple[str, ...], compute: Callable[[], dict[str, float]]
) -> tuple[dict[str, float | None], dict[str, str]]:
    """The computed metrics, or None for each of ``names`` and the reason."""
    try:
        return dict(compute()), {}
    except MetricUndefinedError as reason:
        return dict.fromkeys(names), dict.fromkeys(names, str(reason))


def _image_metrics(scores: npt.ArrayLike, labels: npt.ArrayLike) -> dict[str, float]:
    return {
        "image_auroc": image_auroc(scores, labels),
        "image_ap": image_ap(scores, labels),
        "image_f1_max": image_f1_max(scores, labels)[0],
    }


def _pixel_metrics(maps: Maps, masks: Masks | None, localised: bool) -> dict[str, float]:
    if not localised:
        raise MetricUndefinedError(
            "the masks are coarse (evaluation.localisation_metrics: true computes it all the same)"
        )
    if masks is None:
        raise MetricUndefinedError("not every anomalous test image has a mask")
    ranked = rank_pixels(maps, masks)
    return {
        "pixel_auroc": ranked.auroc(),
        "pixel_ap": ranked.ap(),
        "aupro_030": ranked.aupro(0.3),
    }
