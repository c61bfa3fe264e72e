"""All metrics of a test set: with intervals, by defect type, and the curves behind them."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

from daf_pipelines.errors import MetricUndefinedError
from daf_pipelines.metrics.bootstrap import (
    RECALL_AT,
    Groups,
    PixelCounts,
    count_pixels,
    image_replicates,
    interval,
    pixel_replicates,
    resamples,
)
from daf_pipelines.metrics.curves import Curve, thin
from daf_pipelines.metrics.image import (
    check_scores,
    image_ap,
    image_auroc,
    image_f1_max,
    image_precision_recall,
    image_recall,
    image_roc,
)
from daf_pipelines.metrics.pixel import Maps, Masks, Pixels, RankedPixels, gather, rank

IMAGE_METRICS = ("image_auroc", "image_ap", "image_f1_max", "image_recall_005")
PIXEL_METRICS = ("pixel_auroc", "pixel_ap", "pixel_f1_max", "aupro_030", "aupro_005")
METRICS = IMAGE_METRICS + PIXEL_METRICS
COARSE = "the masks are coarse (evaluation.localisation_metrics: true computes it all the same)"
NO_MASKS = "not every anomalous test image has a mask"
NO_DEFECTS = "there are no anomalous test images"
CURVES = {
    "image_roc": ("false_positive_rate", "true_positive_rate"),
    "image_precision_recall": ("recall", "precision"),
    "pixel_roc": ("false_positive_rate", "true_positive_rate"),
    "pixel_precision_recall": ("recall", "precision"),
    "pro": ("false_positive_rate", "per_region_overlap"),
}
"""The curves' names, and those of their axes."""
NO_CURVE = (np.empty(0), np.empty(0))

Booleans: TypeAlias = npt.NDArray[np.bool_]
Types: TypeAlias = npt.NDArray[np.object_]
"""Of each image its defect type, None for a normal one."""


@dataclass(frozen=True, eq=False)
class Results:
    """What an evaluation finds.

    Attributes:
        metrics: JSON-serialisable: each of :data:`METRICS`, in [0, 1] or None; ``n_test_normal``
            and ``n_test_anomalous``; ``intervals``, metric -> [low, high], 95 %, bootstrap over
            images; ``macro``, metric -> mean over the defect types; ``not_available``, metric ->
            reason.
        defect_types: One row a type, by name: ``defect_type``, ``count``, and each metric of the
            images of that type against all normal ones (NaN where undefined). No row for a type
            without any metric.
        curves: Each of :data:`CURVES` as a table of at most 1,000 points; empty if undefined.
        pixel_counts: For a bootstrap of the pixel metrics; None where they are undefined.
        best: "image" and "pixel" -> the raw threshold with the largest F1, where it is defined.
            It is chosen on the test set: nobody has it in production.
    """

    metrics: dict[str, Any]
    defect_types: pd.DataFrame
    curves: dict[str, pd.DataFrame]
    pixel_counts: PixelCounts | None
    best: dict[str, float]


def evaluate(
    scores: npt.ArrayLike,
    labels: npt.ArrayLike,
    defect_types: npt.ArrayLike,
    maps: Maps,
    masks: Masks | None,
    *,
    groups: Groups | None = None,
    localised: bool = True,
    replicates: int = 1000,
) -> Results:
    """Every metric of a test set; one that is undefined is None, with its reason.

    Args:
        scores: Image scores, shape (N,), larger is more anomalous.
        labels: 0 normal, 1 anomalous, shape (N,).
        defect_types: Name of each image's defect type, shape (N,); normals' names are not read.
        maps: Anomaly maps, shape (N, H, W), or N of shape (H, W) each; without padding.
        masks: Ground truth of the same shapes in {0, 1}, or None where there is none.
        groups: Name of each image's group, shape (N,), which resamples do not part; None: each
            image is on its own. See :func:`~daf_pipelines.metrics.bootstrap.resamples`.
        localised: Whether the masks say exactly enough where defects are for pixel metrics.
        replicates: Resamples behind the intervals.

    Raises:
        ValueError: Shapes do not match, or a score is NaN or infinite.
    """
    anomalous = np.asarray(labels).astype(bool)
    types = np.asarray(defect_types, dtype=object)
    if types.shape != anomalous.shape:
        raise ValueError(f"expected {anomalous.size} defect types; got shape {types.shape}")
    types = types.copy()
    types[~anomalous] = None
    weights = resamples(anomalous, replicates, groups=groups)
    image, why_no_image = _unless_undefined(
        IMAGE_METRICS, lambda: _evaluate_images(scores, anomalous, types, weights)
    )
    pixel, why_no_pixel = _unless_undefined(
        PIXEL_METRICS, lambda: _evaluate_pixels(maps, masks, localised, types, weights)
    )
    table = _by_type(types, image.by_type, pixel.by_type)
    metrics = {
        **dict.fromkeys(METRICS),
        **image.metrics,
        **pixel.metrics,
        "n_test_normal": int((~anomalous).sum()),
        "n_test_anomalous": int(anomalous.sum()),
        "intervals": image.intervals | pixel.intervals,
        "macro": macro_average(table, [*image.metrics, *pixel.metrics]),
        "not_available": why_no_image | why_no_pixel,
    }
    curves = {
        name: pd.DataFrame(
            np.stack(thin((image.curves | pixel.curves).get(name, NO_CURVE)), axis=1), columns=axes
        )
        for name, axes in CURVES.items()
    }
    best = {"image": image.best, "pixel": pixel.best}
    return Results(
        metrics, table, curves, pixel.counts, {k: v for k, v in best.items() if v is not None}
    )


def macro_average(table: pd.DataFrame, metrics: Sequence[str]) -> dict[str, float]:
    """Mean of each metric over the rows that have it: defect types, or categories."""
    means = table[list(metrics)].mean() if len(table) else pd.Series(dtype=float)
    return {str(name): float(value) for name, value in means.items() if np.isfinite(value)}


@dataclass(frozen=True, eq=False)
class _Level:
    """What the image level, or the pixel level, gives; nothing where it is undefined."""

    metrics: dict[str, float] = field(default_factory=dict)
    intervals: dict[str, list[float]] = field(default_factory=dict)
    by_type: dict[str, dict[str, float]] = field(default_factory=dict)
    curves: dict[str, Curve] = field(default_factory=dict)
    best: float | None = None
    counts: PixelCounts | None = None


def _unless_undefined(
    names: tuple[str, ...], compute: Callable[[], _Level]
) -> tuple[_Level, dict[str, str]]:
    """What is computed, or nothing, and the reason for each of the names."""
    try:
        return compute(), {}
    except MetricUndefinedError as reason:
        return _Level(), dict.fromkeys(names, str(reason))


def _evaluate_images(
    scores: npt.ArrayLike, anomalous: Booleans, types: Types, weights: npt.NDArray[np.int32]
) -> _Level:
    values, anomalous = check_scores(scores, anomalous)
    whole = image_metrics(values, anomalous)
    drawn = image_replicates(values, anomalous, weights)
    by_type = {}
    for name in _names(types):
        chosen = ~anomalous | (types == name)
        by_type[name] = image_metrics(values[chosen], anomalous[chosen])
    return _Level(
        whole,
        {name: list(interval(value, drawn[name])) for name, value in whole.items()},
        by_type,
        {
            "image_roc": image_roc(values, anomalous),
            "image_precision_recall": image_precision_recall(values, anomalous),
        },
        image_f1_max(values, anomalous)[1],
    )


def _evaluate_pixels(
    maps: Maps,
    masks: Masks | None,
    localised: bool,
    types: Types,
    weights: npt.NDArray[np.int32],
) -> _Level:
    if not _names(types):
        raise MetricUndefinedError(NO_DEFECTS)
    if not localised:
        raise MetricUndefinedError(COARSE)
    if masks is None:
        raise MetricUndefinedError(NO_MASKS)
    if not len(maps) == len(masks) == types.size:
        raise ValueError(
            f"expected {types.size} maps and masks; got {len(maps)} maps, {len(masks)} masks"
        )
    parts = {
        name: _gather(maps, masks, np.flatnonzero(types == name)) for name in (None, *_names(types))
    }
    ranked = rank(list(parts.values()))
    whole, by_type = pixel_metrics(ranked), {}
    for name in _names(types):
        with suppress(MetricUndefinedError):  # a type whose defects vanish at the working size
            by_type[name] = pixel_metrics(rank([parts[None], parts[name]]))
    del parts  # as large as the maps
    counts = count_pixels(maps, masks)
    centre = pixel_replicates(counts, np.ones((1, len(counts)), dtype=np.int32))
    drawn = pixel_replicates(counts, weights)
    return _Level(
        whole,
        {k: list(interval(v, drawn[k], float(centre[k][0]))) for k, v in whole.items()},
        by_type,
        {
            "pixel_roc": ranked.roc(),
            "pixel_precision_recall": ranked.precision_recall(),
            "pro": ranked.pro(),
        },
        ranked.f1_max()[1],
        counts,
    )


def _gather(maps: Maps, masks: Masks, chosen: npt.NDArray[np.intp]) -> Pixels:
    return gather([maps[k] for k in chosen], [masks[k] for k in chosen])


def image_metrics(scores: npt.ArrayLike, labels: npt.ArrayLike) -> dict[str, float]:
    """The metrics :data:`IMAGE_METRICS`; arguments and errors as in :func:`image_auroc`."""
    return {
        "image_auroc": image_auroc(scores, labels),
        "image_ap": image_ap(scores, labels),
        "image_f1_max": image_f1_max(scores, labels)[0],
        "image_recall_005": image_recall(scores, labels, RECALL_AT),
    }


def pixel_metrics(ranked: RankedPixels) -> dict[str, float]:
    """The metrics :data:`PIXEL_METRICS`."""
    return {
        "pixel_auroc": ranked.auroc(),
        "pixel_ap": ranked.ap(),
        "pixel_f1_max": ranked.f1_max()[0],
        "aupro_030": ranked.aupro(0.3),
        "aupro_005": ranked.aupro(0.05),
    }


def _names(types: Types) -> list[str]:
    return sorted({name for name in types if name is not None})


def _by_type(types: Types, *levels: Mapping[str, dict[str, float]]) -> pd.DataFrame:
    """A row for each defect type that has a metric."""
    rows: list[dict[str, Any]] = []
    for name in _names(types):
        found = {k: v for level in levels for k, v in level.get(name, {}).items()}
        if found:
            rows.append({"defect_type": name, "count": int((types == name).sum()), **found})
    return pd.DataFrame(rows, columns=["defect_type", "count", *METRICS])
