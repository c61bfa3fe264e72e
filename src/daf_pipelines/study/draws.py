"""Resamples of the test images, the same for all detectors of a test set."""

import zlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from daf_pipelines.metrics import pixel_replicates, resamples
from daf_pipelines.metrics.bootstrap import PixelCounts, Weights

KEPT = ("pixel_ap", "aupro_030")
"""The pixel metrics of which a cell, which has no scores of pixels, keeps the resampled values."""
PIXEL_DRAWS = 1000


def draws(
    data: tuple[str, str],
    test_images: str,
    labels: npt.NDArray[np.intp],
    groups: Sequence[int],
    count: int,
) -> Weights:
    """How often each image is drawn: equal test sets get equal draws.

    Normal images are drawn by the test set, anomalous ones by dataset and category alone: where the
    seed draws the split, it draws normal images, all anomalous ones are tested with every seed, and
    what their choice makes of all seeds must not seem to be independent. (But for anomalous images
    of groups that are trained on: where there are such, they differ.)

    Args:
        data: Dataset and category.
        test_images: Hash of the images' paths.
        labels: 0 normal, 1 anomalous, (N,), in the order of sorted paths.
        groups: Number of the group of each; none: each image is on its own.
        count: Number of draws, B.

    Returns:
        Weights (B, N), as :func:`~daf_pipelines.metrics.bootstrap.resamples` gives them.
    """
    drawn = np.zeros((count, len(labels)), np.int32)
    names = np.array(groups or range(len(labels)), dtype=object)
    text = "".join(map(str, labels.tolist()))
    for label, of_draws in enumerate((f"{test_images} {text}", " ".join(data))):
        chosen = labels == label
        salt = zlib.crc32(of_draws.encode())
        drawn[:, chosen] = resamples(labels[chosen], count, salt, names[chosen])
    return drawn


def kept_replicates(counts: PixelCounts, weights: Weights) -> dict[str, list[float]]:
    """The metrics :data:`KEPT` in each draw; none that is undefined in one.

    Args:
        counts: Of the test images, in the order of the weights.
        weights: From :func:`draws`.
    """
    found = pixel_replicates(counts, weights)
    return {
        name: [round(float(value), 6) for value in found[name]]
        for name in KEPT
        if np.isfinite(found[name]).all()
    }
