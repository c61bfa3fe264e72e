"""How far synthetic defects lie from real ones: distances between sets of features, per image.

The unit is the image: a population is the distribution of "draw an image, then one of its
features", so that neither a large defect nor an image with many features counts for more. Pairs
within a group of images (one part under several exposures, several outliers of one normal) are left
out of all means, since they would make a population look narrower than it is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch.nn.functional as F
from numpy.typing import NDArray
from sklearn.metrics.pairwise import pairwise_distances_argmin_min, pairwise_distances_chunked
from torch import Tensor

Floats = NDArray[np.float64]

BLOCK = 32
"""Distances that are held in memory at a time, MiB."""


@dataclass(frozen=True, eq=False)
class Population:
    """Features of some images, with the resamples that intervals are made of.

    Attributes:
        features: Per image ``(n, C)`` with n at least 1.
        groups: Per image the group that it belongs to, ``(I,)``.
        weights: How often each image counts, ``(R, I)``: a row of ones for the estimate itself,
            then a row for each bootstrap replicate; see ``bootstrap_weights``.
    """

    features: Sequence[Floats]
    groups: NDArray[np.str_]
    weights: Floats

    @cached_property
    def spread(self) -> Floats:
        """Mean distance between two images of the population, ``(R,)``."""
        return mean_distances(self, self)


def covered_cells(masks: Tensor, height: int, width: int) -> Tensor:
    """Cells of a feature map that a mask covers by half or more; where none is, the fullest.

    Args:
        masks: ``(B, 1, H, W)`` in {0, 1}, none empty.
        height: Height of the feature map; divides H.
        width: Width of the feature map; divides W.

    Returns:
        Bool ``(B, height, width)``, each with a cell at least.
    """
    cell = masks.shape[-2] // height, masks.shape[-1] // width
    cover = F.avg_pool2d(masks.float(), cell)[:, 0]
    return cover >= cover.amax(dim=(1, 2), keepdim=True).clamp(max=0.5)


def bootstrap_weights(groups: NDArray[np.str_], replicates: int, seed: int) -> Floats:
    """Weights of a bootstrap over groups of images: a group is drawn whole or not at all.

    Args:
        groups: Per image its group, ``(I,)``.
        replicates: Number of resamples.
        seed: Of the draws.

    Returns:
        ``(1 + replicates, I)``; the first row is all ones.
    """
    names, group = np.unique(groups, return_inverse=True)
    rng = np.random.default_rng(seed)
    share = np.full(len(names), 1 / len(names))
    drawn = rng.multinomial(len(names), share, size=replicates)[:, group]
    return np.concatenate([np.ones((1, len(groups))), drawn])


def mean_distances(a: Population, b: Population) -> Floats:
    r"""Mean Euclidean distance between features of images of different groups, per replicate.

    :math:`E\|X - Y\|`, with one image of each population, of different groups.

    Returns:
        ``(R,)``; NaN in a replicate without such a pair.
    """
    apart = (a.groups[:, None] != b.groups).astype(float)
    distances = image_distances(a.features, b.features) * apart
    with np.errstate(invalid="ignore"):
        means: Floats = ((a.weights @ distances) * b.weights).sum(1) / (
            (a.weights @ apart) * b.weights
        ).sum(1)
    return means


def energy_distances(a: Population, b: Population) -> Floats:
    r"""Energy distance of two populations, per replicate (Székely and Rizzo, 2013).

    .. math:: d = \sqrt{2 E\|X - Y\| - E\|X - X'\| - E\|Y - Y'\|}

    A metric on distributions, 0 only for equal ones, and the MMD of the kernel
    :math:`-\|x - y\|` up to a factor (Sejdinovic et al., Annals of Statistics 41, 2013). The root's
    argument is estimated without bias (a U-statistic over images); where it comes out negative, d
    is 0.

    Returns:
        ``(R,)``
    """
    squared = 2 * mean_distances(a, b) - a.spread - b.spread
    distances: Floats = np.sqrt(squared.clip(min=0))
    return distances


def novelties(a: Population, normals: Population) -> Floats:
    """Median over images of the mean distance of an image's features to the nearest normal ones.

    Returns:
        ``(R,)``
    """
    bank = np.concatenate(normals.features)
    nearest = pairwise_distances_argmin_min(np.concatenate(a.features), bank)[1]
    starts, counts = _segments(a.features)
    return weighted_medians(np.add.reduceat(nearest, starts) / counts, a.weights)


def image_distances(a: Sequence[Floats], b: Sequence[Floats]) -> Floats:
    """Mean Euclidean distance between the features of each image of ``a`` and each of ``b``.

    Args:
        a: Per image ``(n, C)``.
        b: Per image ``(m, C)``.

    Returns:
        ``(len(a), len(b))``
    """
    (rows, heights), (columns, widths) = _segments(a), _segments(b)
    blocks = pairwise_distances_chunked(
        np.concatenate(a),
        np.concatenate(b),
        reduce_func=lambda block, _: np.add.reduceat(block, columns, axis=1),
        working_memory=BLOCK,
    )
    sums = np.add.reduceat(np.concatenate(list(blocks)), rows, axis=0)
    means: Floats = sums / heights[:, None] / widths
    return means


def weighted_medians(values: Floats, weights: Floats) -> Floats:
    """Lower median of values that count several times, for each row of weights.

    Args:
        values: ``(I,)``
        weights: ``(R, I)``, none of the rows all 0.

    Returns:
        ``(R,)``
    """
    order = np.argsort(values)
    below = weights[:, order].cumsum(axis=1)
    medians: Floats = values[order][(below >= below[:, -1:] / 2).argmax(axis=1)]
    return medians


def _segments(features: Sequence[Floats]) -> tuple[NDArray[np.int_], NDArray[np.int_]]:
    """Where each image's features start in their concatenation, and how many there are."""
    counts = np.array([len(one) for one in features])
    return np.concatenate([[0], counts[:-1].cumsum()]), counts
