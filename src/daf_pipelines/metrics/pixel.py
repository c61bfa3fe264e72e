"""Pixel-level metrics, exact at every distinct threshold, from one sort of the scores.

A curve over thresholds bends only where a defect pixel is reached: between two defect scores the
coverage of defects stands still while normal pixels accumulate. So the normal scores are sorted
once, the (few) defect scores are looked up in them, and every metric reads the same counts.

Anomaly maps are NumPy arrays, memory-mapped if they are large, or tensors: those are sorted and
searched on their device.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from daf_pipelines.errors import MetricUndefinedError
from daf_pipelines.metrics.curves import Curve, area_under, f1_scores

EIGHT_NEIGHBOURS = np.ones((3, 3), dtype=np.uint8)

Maps: TypeAlias = Any
"""(N, H, W), or N of (H, W): arrays or tensors of floats."""
Masks: TypeAlias = Any
"""As :data:`Maps`: 0 normal, anything else defect."""
Scores: TypeAlias = Any  # of pixels, one after the other: an array or a tensor


class Pixels(NamedTuple):
    """Scores of the pixels of some images.

    Attributes:
        normals: Of normal pixels, ascending, float32: an array or a tensor.
        defects: Of defect pixels, float32 array (D,).
        weights: 1 / number of pixels of the region that each defect pixel lies in, float64 (D,).
    """

    normals: Scores
    defects: npt.NDArray[np.float32]
    weights: npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class RankedPixels:
    """Counts at the K distinct scores of defect pixels, from the highest to the lowest.

    Attributes:
        scores: The distinct scores, float32 (K,).
        n_normal: Number of normal pixels.
        n_defect: Number of defect pixels.
        normals_above: Normal pixels scored above each score, int64 (K,).
        normals_reached: Normal pixels scored at or above it, int64 (K,).
        defects_reached: Defect pixels scored at or above it, int64 (K,).
        overlap: Per-region overlap (PRO) at it: the mean over all regions of the share of the
            region scored at or above it, float64 (K,), ends at 1.
    """

    scores: npt.NDArray[np.float32]
    n_normal: int
    n_defect: int
    normals_above: npt.NDArray[np.int64]
    normals_reached: npt.NDArray[np.int64]
    defects_reached: npt.NDArray[np.int64]
    overlap: npt.NDArray[np.float64]

    def auroc(self) -> float:
        """Area under the ROC curve, as the Mann-Whitney statistic (a tie counts one half)."""
        defects = np.diff(self.defects_reached, prepend=0)
        mean_above = (self.normals_above + self.normals_reached) / 2
        return float(1 - defects @ mean_above / (self.n_normal * self.n_defect))

    def ap(self) -> float:
        """Average precision: the sum of precision times the step in recall."""
        defects = np.diff(self.defects_reached, prepend=0)
        precision = self.defects_reached / (self.defects_reached + self.normals_reached)
        return float(defects @ precision / self.n_defect)

    def f1_max(self) -> tuple[float, float]:
        """Largest F1 over all thresholds, and a threshold that reaches it.

        Returns:
            F1 and its threshold, for the rule "defect when score > threshold": the float32 next
            below a score; of equally good ones the lowest, which misses the fewest defects.
        """
        f1 = f1_scores(self.defects_reached, self.normals_reached, self.n_defect)
        best = len(f1) - 1 - int(f1[::-1].argmax())
        return float(f1[best]), float(np.nextafter(self.scores[best], np.float32(-np.inf)))

    def aupro(self, max_fpr: float = 0.3) -> float:
        """Normalised area under the PRO curve for false-positive rates up to ``max_fpr``.

        Bergmann et al., "The MVTec Anomaly Detection Dataset", IJCV 2021, section 4.2: linear
        between neighbouring thresholds, cut at ``max_fpr`` by interpolation.

        Args:
            max_fpr: Upper end of the false-positive rate, in (0, 1].

        Returns:
            The area divided by ``max_fpr``, in [0, 1].

        Raises:
            ValueError: ``max_fpr`` is outside (0, 1].
        """
        if not 0 < max_fpr <= 1:
            raise ValueError(f"expected max_fpr in (0, 1]; got {max_fpr}")
        return min(float(area_under(*self.pro(), max_fpr)) / max_fpr, 1.0)

    def roc(self) -> Curve:
        """Bends of the ROC curve: false-positive rates and true-positive rates."""
        return self._over_false_positives(self.defects_reached / self.n_defect)

    def pro(self) -> Curve:
        """Bends of the PRO curve: false-positive rates and mean per-region overlaps."""
        return self._over_false_positives(self.overlap)

    def precision_recall(self) -> Curve:
        """Recalls and precisions at each distinct defect score."""
        precision = self.defects_reached / (self.defects_reached + self.normals_reached)
        return self.defects_reached / self.n_defect, precision

    def _over_false_positives(self, reached: npt.NDArray[np.float64]) -> Curve:
        """Each score is a segment: flat up to ``normals_above``, then a slope over its ties."""
        counts = np.stack([self.normals_above, self.normals_reached], axis=1).ravel()
        before = np.concatenate([[0], reached[:-1]])
        heights = np.stack([before, reached], axis=1).ravel()
        return (
            np.concatenate([[0], counts / self.n_normal, [1]]),
            np.concatenate([[0], heights, [1]]),
        )


def rank_pixels(maps: Maps, masks: Masks) -> RankedPixels:
    """Rank the pixels of a test set, for all pixel metrics at once.

    Regions are the 8-connected components of each mask, as in MVTec AD's own evaluation. Beside
    its arguments it holds one float32 per pixel (of tensors a few times as much).

    Args:
        maps: Anomaly maps, shape (N, H, W), or N of shape (H, W) each; compared as float32.
        masks: Ground truth of the same shapes: 0 normal, anything else defect.

    Returns:
        The counts behind the metrics.

    Raises:
        ValueError: The shapes differ, or a score is NaN or infinite.
        MetricUndefinedError: There is no defect pixel, or no normal one.
    """
    return rank([gather(maps, masks)])


def gather(maps: Maps, masks: Masks) -> Pixels:
    """The scores of some images, sorted once; arguments and errors as in :func:`rank_pixels`."""
    if len(maps) != len(masks):
        raise ValueError(f"expected as many maps as masks; got {len(maps)}, {len(masks)}")
    defect_count = sum(int((as_array(mask) != 0).sum()) for mask in masks)
    pixel_count = sum(int(np.prod(mask.shape)) for mask in masks)
    normals = _empty(maps, pixel_count - defect_count)
    defects = np.empty(defect_count, dtype=np.float32)
    weights = np.empty(defect_count, dtype=np.float64)
    n = d = 0
    for outside, inside, share in _split(maps, masks):
        normals[n : n + len(outside)] = outside
        defects[d : d + len(inside)] = inside
        weights[d : d + len(inside)] = share
        n, d = n + len(outside), d + len(inside)
    return Pixels(_sorted(normals), defects, weights)


def rank(parts: Sequence[Pixels]) -> RankedPixels:
    """Rank the pixels of several groups of images together; errors as in :func:`rank_pixels`."""
    defects = np.concatenate([part.defects for part in parts])
    weights = np.concatenate([part.weights for part in parts])
    n_normal = sum(len(part.normals) for part in parts)
    if not defects.size:
        raise MetricUndefinedError("the masks have no defect pixel")
    if not n_normal:
        raise MetricUndefinedError("the masks have no normal pixel")
    order = np.argsort(-defects)
    defects, covered = defects[order], weights[order].cumsum()
    last = np.flatnonzero(np.append(defects[1:] != defects[:-1], True))  # of each run of ties
    scores = defects[last]
    # Looked up in ascending order: neighbours in the queries are neighbours in memory.
    above, reached = (
        n_normal - sum(_places(part.normals, scores[::-1], side) for part in parts)[::-1]
        for side in ("right", "left")
    )
    return RankedPixels(
        scores=scores,
        n_normal=n_normal,
        n_defect=defects.size,
        normals_above=above,
        normals_reached=reached,
        defects_reached=last + 1,
        overlap=covered[last] / covered[-1],  # also divides by the number of regions
    )


def label_regions(mask: npt.NDArray[Any]) -> npt.NDArray[np.int32]:
    """The 8-connected regions of a mask (H, W): 0 where it is 0, else a number from 1."""
    inside = mask != 0
    labelled = np.zeros(inside.shape, dtype=np.int32)
    if inside.any():
        # Within the box around the defects, which is mostly small.
        ends = (np.flatnonzero(inside.any(axis=axis))[[0, -1]] for axis in (1, 0))
        box = tuple(slice(first, last + 1) for first, last in ends)
        ndimage.label(inside[box], structure=EIGHT_NEIGHBOURS, output=labelled[box])
    return labelled


def _split(
    maps: Maps, masks: Masks
) -> Iterator[tuple[Scores, npt.NDArray[np.float32], npt.NDArray[np.float64]]]:
    """Of each image: normal scores, defect scores, and 1 / region size of the latter."""
    for scores, mask in zip(map(_detached, maps), masks, strict=True):
        if scores.ndim != 2 or tuple(scores.shape) != tuple(mask.shape):
            raise ValueError(
                "expected a map and a mask of one shape (H, W); got "
                f"{tuple(scores.shape)}, {tuple(mask.shape)}"
            )
        inside = as_array(mask) != 0
        if not inside.any():
            outside, defects, weights = scores.reshape(-1), np.empty(0, np.float32), np.empty(0)
        else:
            regions = label_regions(inside)[inside]
            chosen = inside if isinstance(scores, np.ndarray) else _like(inside, scores)
            outside, defects = scores[~chosen], as_array(scores[chosen])
            weights = 1 / np.bincount(regions)[regions]
        # A sum is NaN or infinite where a score is: half the time of looking at each.
        with np.errstate(over="ignore"):
            total = float(outside.sum())
        if not np.isfinite(total) or not np.isfinite(defects).all():
            _require_finite(scores)
        yield outside, defects, weights


def _require_finite(scores: Scores) -> None:
    if not np.isfinite(as_array(scores)).all():  # the sum of finite ones may be infinite
        raise ValueError("the anomaly maps hold scores that are not finite (NaN or infinite)")


def as_array(values: Any) -> npt.NDArray[Any]:
    """An array or a tensor as an array; tensors of floats in single precision."""
    if isinstance(values, np.ndarray):
        return values
    values = values.detach().cpu()
    array: npt.NDArray[Any] = (values.float() if values.is_floating_point() else values).numpy()
    return array


def _detached(values: Any) -> Any:
    return values if isinstance(values, np.ndarray) else values.detach()


def _like(values: npt.NDArray[Any], scores: Scores) -> Scores:
    """An array as a tensor on the device of another one."""
    import torch

    return torch.from_numpy(values.copy()).to(scores.device)


def _empty(maps: Maps, size: int) -> Scores:
    if not len(maps) or isinstance(maps[0], np.ndarray):
        return np.empty(size, dtype=np.float32)
    import torch

    return torch.empty(size, dtype=torch.float32, device=maps[0].device)


def _sorted(values: Scores) -> Scores:
    if isinstance(values, np.ndarray):
        values.sort()
        return values
    return values.sort().values


def _places(ordered: Scores, queries: npt.NDArray[np.float32], side: Any) -> Any:
    """Where queries would be inserted into sorted scores: int64, shape of the queries."""
    if isinstance(ordered, np.ndarray):
        return np.searchsorted(ordered, queries, side=side)
    import torch

    return as_array(torch.searchsorted(ordered, _like(queries, ordered), side=side))


def pixel_auroc(maps: Maps, masks: Masks) -> float:
    """Area under the pixels' ROC curve; arguments and errors as in :func:`rank_pixels`."""
    return rank_pixels(maps, masks).auroc()


def pixel_ap(maps: Maps, masks: Masks) -> float:
    """Average precision over the pixels; arguments and errors as in :func:`rank_pixels`."""
    return rank_pixels(maps, masks).ap()


def pixel_f1_max(maps: Maps, masks: Masks) -> tuple[float, float]:
    """Largest F1 over the pixels: see :meth:`RankedPixels.f1_max` and :func:`rank_pixels`."""
    return rank_pixels(maps, masks).f1_max()


def aupro(maps: Maps, masks: Masks, max_fpr: float = 0.3) -> float:
    """Area under the PRO curve: see :meth:`RankedPixels.aupro` and :func:`rank_pixels`."""
    return rank_pixels(maps, masks).aupro(max_fpr)
