"""What thresholds make of a test set: errors of images and of pixels, and the regions found."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import ndimage

from daf_pipelines.metrics.pixel import Maps, Masks, as_array, label_regions

ORACLE = "best on test"
"""Name of the threshold with the largest F1 on the test set itself: for information only."""
RATES = ("false_positive_rate", "recall", "precision", "f1")
REGIONS = ("path", "defect_type", "area", "overlap", "peak")


def image_decisions(
    scores: npt.ArrayLike, labels: npt.ArrayLike, thresholds: Mapping[str, float]
) -> pd.DataFrame:
    """How images are labelled, "anomalous" being score > threshold.

    Args:
        scores: Image scores, shape (N,).
        labels: 0 normal, 1 anomalous, shape (N,).
        thresholds: By name.

    Returns:
        One row a threshold: ``rule`` (its name), ``threshold``, and :data:`RATES`, NaN where they
        are undefined.
    """
    values, anomalous = np.asarray(scores, dtype=float), np.asarray(labels).astype(bool)
    rows = []
    for name, threshold in thresholds.items():
        flagged = values > threshold
        counts = [int((flagged & kind).sum()) for kind in (~anomalous, anomalous)]
        totals = [int(kind.sum()) for kind in (~anomalous, anomalous)]
        rows.append({"rule": name, "threshold": threshold, **_rates(counts, totals)})
    return pd.DataFrame(rows, columns=["rule", "threshold", *RATES])


def pixel_decisions(
    maps: Maps,
    masks: Masks | None,
    labels: npt.ArrayLike,
    thresholds: Mapping[str, float],
) -> pd.DataFrame:
    """How pixels are labelled; without masks only those of normal images count.

    Args:
        maps: Anomaly maps, N arrays of shape (H, W).
        masks: Ground truth of the same shapes in {0, 1}, or None.
        labels: Of the images, 0 normal, 1 anomalous, shape (N,).
        thresholds: By name.

    Returns:
        As :func:`image_decisions`, and ``marked_normals``: the share of normal images with any
        pixel above the threshold.
    """
    anomalous = np.asarray(labels).astype(bool)
    limits = list(thresholds.values())
    counts, totals = np.zeros((len(limits), 2), dtype=np.int64), np.zeros(2, dtype=np.int64)
    marked = np.zeros(len(limits), dtype=np.int64)
    for k, scores in enumerate(map(_as_floats, maps)):
        if anomalous[k] and masks is None:
            continue
        defect = np.zeros(scores.shape, bool) if masks is None else as_array(masks[k]) != 0
        for kind, pixels in enumerate((scores[~defect], scores[defect])):
            totals[kind] += pixels.size
            counts[:, kind] += [int((pixels > limit).sum()) for limit in limits]
        if not anomalous[k]:
            marked += [bool((scores > limit).any()) for limit in limits]
    n_normal = int((~anomalous).sum())
    rows = [
        {
            "rule": name,
            "threshold": threshold,
            **_rates(counts[k].tolist(), totals.tolist()),
            "marked_normals": marked[k] / n_normal if n_normal else np.nan,
        }
        for k, (name, threshold) in enumerate(thresholds.items())
    ]
    return pd.DataFrame(rows, columns=["rule", "threshold", *RATES, "marked_normals"])


def _as_floats(scores: Any) -> npt.NDArray[np.float64]:
    """As float32, like all maps, and compared with thresholds in double precision, like labels."""
    return as_array(scores).astype(np.float32, copy=False).astype(np.float64)


def _rates(flagged: Sequence[int], totals: Sequence[int]) -> dict[str, float]:
    """From counts of normal and of anomalous ones."""
    (false, true), (normal, anomalous) = flagged, totals
    return {
        "false_positive_rate": false / normal if normal else np.nan,
        "recall": true / anomalous if anomalous else np.nan,
        "precision": true / (false + true) if anomalous and false + true else np.nan,
        "f1": 2 * true / (false + true + anomalous) if anomalous else np.nan,
    }


def find_regions(
    maps: Maps,
    masks: Masks | None,
    paths: Sequence[str],
    defect_types: Sequence[str],
    threshold: float,
) -> pd.DataFrame:
    """How much of each defect is found.

    Args:
        maps: Anomaly maps, N arrays of shape (H, W).
        masks: Ground truth of the same shapes in {0, 1}, or None.
        paths: Names of the images, N.
        defect_types: Of the images, N.
        threshold: A pixel above it is labelled as defect.

    Returns:
        One row an 8-connected region: ``path``, ``defect_type``, ``area`` (share of the image),
        ``overlap`` (share of the region above the threshold) and ``peak`` (its largest score).
    """
    rows: list[dict[str, Any]] = []
    images = () if masks is None else zip(maps, masks, paths, defect_types, strict=True)
    for values, mask, path, kind in images:
        scores, regions = _as_floats(values), label_regions(as_array(mask))
        numbers = np.arange(1, regions.max(initial=0) + 1)
        sizes = np.bincount(regions.ravel(), minlength=1)[1:]
        overlaps = ndimage.mean(scores > threshold, regions, numbers)
        peaks = ndimage.maximum(scores, regions, numbers)
        rows += [
            {
                "path": path,
                "defect_type": kind,
                "area": size / scores.size,
                "overlap": float(overlap),
                "peak": float(peak),
            }
            for size, overlap, peak in zip(sizes, overlaps, peaks, strict=True)
        ]
    return pd.DataFrame(rows, columns=REGIONS)
