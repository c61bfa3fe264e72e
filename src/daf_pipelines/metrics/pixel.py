"""Pixel-level metrics, exact at every distinct threshold, from one sort of the scores.

A curve over thresholds bends only where a defect pixel is reached: between two defect scores the
coverage of defects stands still while normal pixels accumulate. So the normal scores are sorted
once, the (few) defect scores are looked up in them, and every metric reads the same counts.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from daf_pipelines.errors import MetricUndefinedError

EIGHT_NEIGHBOURS = np.ones((3, 3), dtype=np.uint8)

Maps = npt.NDArray[np.floating] | Sequence[npt.NDArray[np.floating]]
Masks = npt.NDArray[np.generic] | Sequence[npt.NDArray[np.generic]]


@dataclass(frozen=True)
class RankedPixels:
    """Counts at the K distinct scores of defect pixels, from the highest to the lowest.

    Attributes:
        n_normal: Number of normal pixels.
        n_defect: Number of defect pixels.
        normals_above: Normal pixels scored above each score, int64 (K,).
        normals_reached: Normal pixels scored at or above it, int64 (K,).
        defects_reached: Defect pixels scored at or above it, int64 (K,).
        overlap: Per-region overlap (PRO) at it: the mean over all regions of the share of the
            region scored at or above it, float64 (K,), ends at 1.
    """

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
        # Each score is a segment of the curve: flat up to `above`, then a slope over its ties.
        counts = np.stack([self.normals_above, self.normals_reached], axis=1).ravel()
        fpr = np.concatenate([[0], counts / self.n_normal, [1]])
        before = np.concatenate([[0], self.overlap[:-1]])
        pro = np.concatenate([[0], np.stack([before, self.overlap], axis=1).ravel(), [1]])
        end = np.searchsorted(fpr, max_fpr, side="right")
        x = np.append(fpr[:end], max_fpr)
        y = np.append(pro[:end], np.interp(max_fpr, fpr, pro))
        return min(float(np.trapezoid(y, x)) / max_fpr, 1.0)


def rank_pixels(maps: Maps, masks: Masks) -> RankedPixels:
    """Rank the pixels of a test set, for all pixel metrics at once.

    Regions are the 8-connected components of each mask, as in MVTec AD's own evaluation. Beside
    its arguments it holds one float32 per pixel.

    Args:
        maps: Anomaly maps, shape (N, H, W), or N of shape (H, W) each; compared as float32.
        masks: Ground truth of the same shapes: 0 normal, anything else defect.

    Returns:
        The counts behind the metrics.

    Raises:
        ValueError: The shapes differ, or a score is NaN or infinite.
        MetricUndefinedError: There is no defect pixel, or no normal one.
    """
    if len(maps) != len(masks):
        raise ValueError(f"expected as many maps as masks; got {len(maps)}, {len(masks)}")
    normals, defects, weights = _split(maps, masks)
    if not defects.size:
        raise MetricUndefinedError("the masks have no defect pixel")
    if not normals.size:
        raise MetricUndefinedError("the masks have no normal pixel")
    normals.sort()
    order = np.argsort(-defects)
    defects, weights = defects[order], weights[order]
    last = np.flatnonzero(np.append(defects[1:] != defects[:-1], True))  # of each run of ties
    covered = weights.cumsum()
    return RankedPixels(
        n_normal=normals.size,
        n_defect=defects.size,
        normals_above=normals.size - np.searchsorted(normals, defects[last], side="right"),
        normals_reached=normals.size - np.searchsorted(normals, defects[last], side="left"),
        defects_reached=last + 1,
        overlap=covered[last] / covered[-1],  # also divides by the number of regions
    )


def _split(
    maps: Maps, masks: Masks
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.float64]]:
    """Scores of the normal pixels, of the defect pixels, and 1 / region size of the latter."""
    defect_count = sum(int(np.count_nonzero(mask)) for mask in masks)
    normals = np.empty(sum(mask.size for mask in masks) - defect_count, dtype=np.float32)
    defects = np.empty(defect_count, dtype=np.float32)
    weights = np.empty(defect_count, dtype=np.float64)
    n = d = 0
    for scores, mask in zip(maps, masks, strict=True):
        if scores.ndim != 2 or scores.shape != mask.shape:
            raise ValueError(
                f"expected a map and a mask of one shape (H, W); got {scores.shape}, {mask.shape}"
            )
        if not np.isfinite(scores).all():
            raise ValueError("the anomaly maps hold scores that are not finite (NaN or infinite)")
        inside = mask != 0
        regions = ndimage.label(inside, structure=EIGHT_NEIGHBOURS)[0][inside]
        outside = scores[~inside]
        normals[n : n + outside.size] = outside
        defects[d : d + regions.size] = scores[inside]
        weights[d : d + regions.size] = 1 / np.bincount(regions)[regions]
        n, d = n + outside.size, d + regions.size
    return normals, defects, weights


def pixel_auroc(maps: Maps, masks: Masks) -> float:
    """Area under the pixels' ROC curve; arguments and errors as in :func:`rank_pixels`."""
    return rank_pixels(maps, masks).auroc()


def pixel_ap(maps: Maps, masks: Masks) -> float:
    """Average precision over the pixels; arguments and errors as in :func:`rank_pixels`."""
    return rank_pixels(maps, masks).ap()


def aupro(maps: Maps, masks: Masks, max_fpr: float = 0.3) -> float:
    """Area under the PRO curve: see :meth:`RankedPixels.aupro` and :func:`rank_pixels`."""
    return rank_pixels(maps, masks).aupro(max_fpr)
