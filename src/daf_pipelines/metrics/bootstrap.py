"""Bootstrap over test images: how far a metric depends on which images happened to be tested.

The normal and the anomalous images are resampled separately (a stratified bootstrap; Efron and
Tibshirani, "An Introduction to the Bootstrap", 1993, chapters 8 and 13), as their numbers were
chosen, not drawn. A replicate is a weight for each image: how often it was drawn. Pixels of an
image go together, as they are not independent, and so do the images of a group: one object under
several exposures, one lot (Davison and Hinkley, "Bootstrap Methods and their Application", 1997,
section 3.8).
"""

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

from daf_pipelines.errors import MetricUndefinedError
from daf_pipelines.metrics.curves import Floats, area_under, f1_scores
from daf_pipelines.metrics.image import check_scores, false_alarms
from daf_pipelines.metrics.pixel import Maps, Masks, as_array, label_regions

RECALL_AT = 0.05
"""False-positive rate of ``image_recall_005``."""
FEW_IMAGES = 20
"""With fewer images of a class the intervals are too short."""
SAMPLED_PIXELS = 1_000_000
BLOCK = 2_000_000
"""Elements of an array of replicates that is worked on at a time."""

Weights = npt.NDArray[np.integer]
Groups: TypeAlias = Sequence[Hashable | None] | npt.NDArray[np.object_]
Replicates = dict[str, Floats]
Floats32: TypeAlias = npt.NDArray[np.float32]


def resamples(
    labels: npt.ArrayLike, count: int, seed: int = 0, groups: Groups | None = None
) -> npt.NDArray[np.int32]:
    """How often each image is drawn, in each of `count` stratified resamples.

    Args:
        labels: 0 normal, 1 anomalous, shape (N,).
        count: Number of resamples, B.
        seed: Of the draws.
        groups: Name of each image's group, shape (N,), None or NaN for an image on its own. The
            images of a class that share one are drawn together.

    Returns:
        Weights (B, N). Of each class as many groups are drawn as it has; where all are single
        images, the weights of a class sum to their number.
    """
    anomalous = np.asarray(labels).astype(bool)
    rng = np.random.default_rng(seed)
    weights = np.zeros((count, anomalous.size), dtype=np.int32)
    for chosen in (~anomalous, anomalous):
        if chosen.any():
            units = _units(chosen, groups)
            size = units.max() + 1
            drawn = rng.multinomial(size, np.full(size, 1 / size), size=count)
            weights[:, chosen] = drawn[:, units]
    return weights


def units_drawn(labels: npt.ArrayLike, groups: Groups | None = None) -> tuple[int, int]:
    """How many groups and single images :func:`resamples` draws, normal and anomalous ones."""
    anomalous = np.asarray(labels).astype(bool)
    normal, defective = (len(set(_units(c, groups))) for c in (~anomalous, anomalous))
    return normal, defective


def _units(chosen: npt.NDArray[np.bool_], groups: Groups | None) -> npt.NDArray[np.intp]:
    """The number of what each chosen image is drawn with, from 0.

    Where all are of one group there is nothing to draw but images.
    """
    alone = np.arange(int(chosen.sum()))
    if groups is None:
        return alone
    codes, names = pd.factorize(np.asarray(groups, dtype=object)[chosen])
    if len(names) == 1 and (codes == 0).all():
        return alone
    units = np.where(codes < 0, len(names) + alone, codes)
    return np.unique(units, return_inverse=True)[1]


def image_replicates(scores: npt.ArrayLike, labels: npt.ArrayLike, weights: Weights) -> Replicates:
    """The image metrics of each resample.

    Args:
        scores: Image scores, shape (N,).
        labels: 0 normal, 1 anomalous, shape (N,).
        weights: As :func:`resamples` gives them, shape (B, N).

    Returns:
        ``image_auroc``, ``image_ap``, ``image_f1_max`` and ``image_recall_005``, each (B,).

    Raises:
        ValueError: Shapes differ, or a score is NaN or infinite.
        MetricUndefinedError: There is no image, or only one class.
    """
    values, anomalous = check_scores(scores, labels)
    order = np.argsort(-values, kind="stable")
    values, anomalous = values[order], anomalous[order]
    last = np.flatnonzero(np.append(values[1:] != values[:-1], True))  # of each run of ties
    parts = []
    for start in range(0, len(weights), step := max(1, BLOCK // values.size)):
        drawn = weights[start : start + step, order]
        normals = (drawn * ~anomalous).cumsum(axis=1)[:, last]
        parts.append(_image_metrics(normals, (drawn * anomalous).cumsum(axis=1)[:, last]))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _image_metrics(normals: Weights, defects: Weights) -> Replicates:
    """From the images reached at each distinct score, from the highest to the lowest (B, K)."""
    n_normal, n_defect = normals[:, -1:], defects[:, -1:]
    allowed = [[false_alarms(int(n), RECALL_AT)] for n in n_normal[:, 0]]
    return {
        "image_auroc": area_under(_from_zero(normals / n_normal), _from_zero(defects / n_defect)),
        "image_ap": _average_precision(normals, defects),
        "image_f1_max": f1_scores(defects, normals, n_defect).max(axis=1),
        "image_recall_005": (defects * (normals <= allowed)).max(axis=1) / n_defect[:, 0],
    }


@dataclass(frozen=True, eq=False)
class PixelCounts:
    """For each image, the pixels that lie at or above each of some thresholds.

    Attributes:
        thresholds: T of them, descending, the last one minus infinity: everything is reached.
        normals: Normal pixels, int32 (N, T).
        defects: Defect pixels, int32 (N, T).
        overlaps: Sum over the image's regions of the share of each that is reached, (N, T)
            float32; the last column is the number of regions.
    """

    thresholds: Floats32
    normals: npt.NDArray[np.int32]
    defects: npt.NDArray[np.int32]
    overlaps: Floats32

    def __len__(self) -> int:
        return len(self.normals)

    def __getitem__(self, images: npt.NDArray[np.integer]) -> "PixelCounts":
        """Those of some of the images, in that order."""
        return PixelCounts(
            self.thresholds, self.normals[images], self.defects[images], self.overlaps[images]
        )


def count_pixels(maps: Maps, masks: Masks, size: int = 1000) -> PixelCounts:
    """Counts of pixels on a grid of thresholds, for :func:`pixel_replicates`.

    Half of the thresholds divide the defect pixels evenly; the others normal pixels,
    logarithmically by false-positive rate from 1e-6 to 1.

    Args:
        maps: Anomaly maps, N arrays of shape (H, W).
        masks: Ground truth of the same shapes: 0 normal, anything else defect.
        size: About how many thresholds.

    Raises:
        MetricUndefinedError: There is no defect pixel, or no normal one.
    """
    grid = _thresholds(maps, masks, size)
    shape = len(masks), len(grid)
    normals, defects = np.zeros(shape, np.int32), np.zeros(shape, np.int32)
    overlaps = np.zeros(shape, np.float32)
    for k, (scores, mask) in enumerate(_arrays(maps, masks)):
        inside = mask != 0
        # To sort an image and look the grid up in it is ten times as fast as the reverse.
        outside = np.sort(scores[~inside])
        normals[k] = outside.size - np.searchsorted(outside, grid)
        if inside.any():
            regions = label_regions(mask)[inside]
            order = np.argsort(scores[inside])
            shares = (1 / np.bincount(regions)[regions])[order]
            places = np.searchsorted(scores[inside][order], grid)
            defects[k] = regions.size - places
            overlaps[k] = np.append(shares[::-1].cumsum()[::-1], 0)[places]
    return PixelCounts(grid, normals, defects, overlaps)


def read_pixel_counts(file: Path) -> PixelCounts | None:
    """What an evaluation kept, ``pixel_counts.npz``; without arrays: it had no pixel metrics."""
    with np.load(file, allow_pickle=False) as kept:
        names = [field.name for field in fields(PixelCounts)]
        return PixelCounts(*(kept[name] for name in names)) if "thresholds" in kept else None


def _arrays(maps: Maps, masks: Masks) -> Iterator[tuple[Floats32, npt.NDArray[Any]]]:
    for scores, mask in zip(maps, masks, strict=True):
        yield as_array(scores).astype(np.float32, copy=False), as_array(mask)


def _thresholds(maps: Maps, masks: Masks, size: int) -> Floats32:
    defect_count = sum(int(np.count_nonzero(as_array(mask))) for mask in masks)
    normal_count = sum(as_array(mask).size for mask in masks) - defect_count
    if not (normal_count and defect_count):
        missing = "defect" if normal_count else "normal"
        raise MetricUndefinedError(f"the masks have no {missing} pixel")
    normals, defects = (
        np.concatenate(
            [
                scores[(mask != 0) == kind][:: count // SAMPLED_PIXELS + 1]
                for scores, mask in _arrays(maps, masks)
            ]
        )
        for kind, count in ((False, normal_count), (True, defect_count))
    )
    half = size // 2
    chosen = [
        np.quantile(normals, 1 - np.geomspace(1e-6, 1, half)),
        np.quantile(defects, np.linspace(0, 1, half)),
    ]
    grid = np.unique(np.concatenate(chosen).astype(np.float32))[::-1]
    return np.append(grid, np.float32(-np.inf))


def pixel_replicates(counts: PixelCounts, weights: Weights) -> Replicates:
    """The pixel metrics of each resample, on the grid of thresholds.

    A curve is linear between thresholds of the grid, so values differ slightly from the exact ones:
    use differences between replicates and the value for weights of 1.

    Args:
        counts: Of N images.
        weights: As :func:`resamples` gives them, shape (B, N).

    Returns:
        ``pixel_auroc``, ``pixel_ap``, ``pixel_f1_max``, ``aupro_030`` and ``aupro_005``, each (B,);
        NaN for a resample without a defect pixel or without a normal one.
    """
    parts = []
    for start in range(0, len(weights), step := max(1, BLOCK // counts.thresholds.size)):
        drawn = weights[start : start + step].astype(np.float64)
        parts.append(
            _pixel_metrics(drawn @ counts.normals, drawn @ counts.defects, drawn @ counts.overlaps)
        )
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _pixel_metrics(normals: Floats, defects: Floats, overlaps: Floats) -> Replicates:
    """From what is reached at each threshold, from the highest to the lowest (B, T)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        fpr = _from_zero(normals / normals[:, -1:])
        recall = _from_zero(defects / defects[:, -1:])
        overlap = _from_zero(overlaps / overlaps[:, -1:])
        return {
            "pixel_auroc": area_under(fpr, recall),
            "pixel_ap": _average_precision(normals, defects),
            "pixel_f1_max": f1_scores(defects, normals, defects[:, -1:]).max(axis=1),
            "aupro_030": area_under(fpr, overlap, 0.3) / 0.3,
            "aupro_005": area_under(fpr, overlap, 0.05) / 0.05,
        }


def interval(point: float, replicates: Floats, centre: float | None = None) -> tuple[float, float]:
    """95 % percentile interval of a metric in [0, 1], widened where it would miss the value.

    Args:
        point: The metric's value.
        replicates: Its values in the resamples, (B,).
        centre: Its value for weights of 1, computed as the replicates are; None: `point`.

    Returns:
        The lower and the upper end.
    """
    shift = point - (point if centre is None else centre)
    low, high = np.nanquantile(replicates, [0.025, 0.975]) + shift
    return max(min(float(low), point), 0.0), min(max(float(high), point), 1.0)


def is_too_short(value: float, n_normal: int, n_anomalous: int) -> bool:
    """Whether the interval of an image metric covers less than it says.

    With few images of a class (of groups, where these are drawn: :func:`units_drawn`), or a value
    so close to 1 that the resamples repeat a handful of mistakes, or none: within 3 / n, where n
    images without a mistake still allow as many (the rule of three).
    """
    n = min(n_normal, n_anomalous)
    return 0 < n < FEW_IMAGES or value > 1 - 3 / max(n, 1)


def _from_zero(values: Floats) -> Floats:
    """Curves that begin at 0, (B, K + 1)."""
    return np.concatenate([np.zeros((len(values), 1)), values], axis=1)


def _average_precision(normals: npt.NDArray[Any], defects: npt.NDArray[Any]) -> Floats:
    """Sum of precision times the step in recall, of curves (B, K)."""
    flagged = normals + defects
    precision = np.divide(defects, flagged, out=np.zeros(flagged.shape), where=flagged > 0)
    steps = np.diff(defects, axis=1, prepend=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        total: Floats = (precision * steps).sum(axis=1) / defects[:, -1]
    return total
