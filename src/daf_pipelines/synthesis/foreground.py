"""The object in a picture, so that outliers lie on the part and not on what it lies on.

Everything is measured against the picture's own border. The public codes of others need to know
more: MemSeg's (arXiv 2205.00908, in TooTouch/MemSeg) cuts the grey image by Otsu's method and takes
the dark side, NSA's (hmsch/natural-synthetic-anomalies) compares with a grey value and a tolerance
that are given.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from daf_pipelines.sources.images import Box
from daf_pipelines.synthesis.geometry import bounding_boxes, box_masks

SMALLEST_SIDE = 16
"""Pixels; in what is narrower nothing is looked for."""
BORDER = 0.02
"""Width of the border that is taken for background, fraction of the shorter side."""
CLOSING = 0.015
"""Half of the width of the gaps that are closed, fraction of the shorter side."""
SMALLEST_SPREAD = 2 / 255
"""A background's spread is at least the noise of 8 bits."""
BACKGROUND_DISTANCE = 3.0
"""Up to so many spreads a pixel may be background."""
SEPARATION = 5.0
"""Smallest Ashman's D of object and background; a uniform distribution cut in half has 3.5."""
SMALLEST_SHARE = 0.02
"""Smallest plausible area of the object, fraction of the valid area."""
LARGEST_BORDER_SHARE = 0.25
"""Largest plausible part of the border that is object; it keeps the object below 97 % of all."""
SMALLEST_PART = 0.1
"""Smaller components are dropped, fraction of the largest component's area."""
SMALLEST_HOLE = 0.01
"""Smaller holes are filled, fraction of the picture."""


def object_masks(images: Tensor, valid: Tensor) -> Tensor:
    """Where the object is, from each image alone.

    The background is modelled by the colours along the border of the valid area: per colour feature
    (Ohta et al. 1980) a plane through robust medians, and the median deviation from it. The
    logarithm of a pixel's distance to the model, in deviations, is cut by Otsu's method. What is
    above is cleaned (closing, filling of holes, dropping of small components); holes that are large
    and of the background's colour stay open.

    Everything valid is the object where the two classes do not stand apart (Ashman's D, Ashman et
    al. 1994), where the object's size is implausible, and where it covers over a quarter of the
    border or more of the border than of the whole: on textures, where the part fills the picture,
    and where it lies on a background of strong pattern.

    Runs on the CPU, image by image, whatever the device: it is meant to be computed once per image
    and kept (``foreground_of``).

    Args:
        images: Batch ``(B, C, H, W)`` float32 in [0, 1], C up to 3.
        valid: What is not padding, bool ``(B, 1, H, W)``, none empty.

    Returns:
        Bool masks ``(B, 1, H, W)`` within ``valid``, none empty.
    """
    masks = np.zeros(valid.shape, dtype=bool)
    pairs = zip(images.contiguous().cpu().numpy(), valid.cpu().numpy()[:, 0], strict=True)
    for mask, (image, inside), box in zip(masks, pairs, bounding_boxes(valid), strict=True):
        crop = slice(box[0], box[2]), slice(box[1], box[3])
        mask[0][crop] = _object(image[:, *crop], inside[crop])
    return torch.from_numpy(masks).to(images.device)


def foreground_of(
    images: NDArray[np.uint8], boxes: Sequence[Box], batch: int = 32
) -> NDArray[np.bool_]:
    """``object_masks`` of prepared images, to be kept beside them.

    Args:
        images: RGB images ``(N, H, W, 3)``.
        boxes: Where each image lies, the rest being padding; see ``ImageSet.boxes``.
        batch: Number of images that are held as floats at a time.

    Returns:
        Masks ``(N, H, W)``.
    """
    masks = np.empty(images.shape[:3], dtype=bool)
    for start in range(0, len(images), batch):
        rows = slice(start, start + batch)
        pixels = torch.from_numpy(np.array(images[rows])).permute(0, 3, 1, 2) / 255
        masks[rows] = object_masks(pixels, box_masks(boxes[rows], pixels))[:, 0].numpy()
    return masks


def _object(image: NDArray[np.float32], valid: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The object in one image ``(C, H, W)``, whose valid pixels ``(H, W)`` reach all its sides."""
    side = min(valid.shape)
    if side < SMALLEST_SIDE:
        return valid
    width = 2 * max(1, round(BORDER * side)) + 1
    border = valid & ~ndimage.minimum_filter(valid, width, mode="constant")
    distance = _distance(_features(image, 2 * round(side / 256) + 1), border)
    distance[~valid] = 0
    logs = np.log1p(distance)
    values = logs[valid]
    least = np.log1p(BACKGROUND_DISTANCE)
    # One value for the background: Otsu's threshold would fall into its noise, were it most pixels.
    threshold = max(_otsu(np.where(values <= least, np.log1p(1), values)), least)
    if not _stand_apart(values[values > threshold], values[values <= threshold]):
        return valid
    mask = _clean(logs > threshold, logs, side) & valid
    return mask if _is_plausible(mask, valid, border) else valid


def _features(image: NDArray[np.float32], window: int) -> NDArray[np.float32]:
    """Intensity and colour differences ``(F, H, W)`` (Ohta et al. 1980), smoothed."""
    features = np.empty(image.shape, dtype=np.float32)
    np.mean(image, axis=0, out=features[0])
    if len(image) > 1:
        np.subtract(image[0], image[-1], out=features[1])
    if len(image) > 2:
        np.subtract(image[1], (image[0] + image[2]) / 2, out=features[2])
    smooth: NDArray[np.float32] = ndimage.uniform_filter(
        features, (1, window, window), mode="nearest"
    )
    return smooth


def _distance(features: NDArray[np.float32], border: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Distance of each pixel to the background's model, in its spreads."""
    y, x = (((np.arange(n) + 0.5) / n - 0.5).astype(np.float32) for n in border.shape)
    rows, columns = np.nonzero(border)
    centre, down, right, spread = _model(features[:, border], y[rows], x[columns])
    expected = (centre + down * y)[:, :, None] + (right * x)[:, None]
    deviations = (features - expected) / np.maximum(spread, SMALLEST_SPREAD)[:, :, None]
    distance: NDArray[np.float32] = np.sqrt((deviations**2).sum(axis=0))
    return distance


def _model(
    values: NDArray[np.float32], y: NDArray[np.float32], x: NDArray[np.float32]
) -> tuple[NDArray[np.float32], ...]:
    """A plane through the medians of opposite sides, or none where it explains nothing.

    Args:
        values: Features of the border ``(F, N)``.
        y: Where they are, from -0.5 at the top to 0.5 at the bottom, ``(N,)``.
        x: Likewise from left to right.

    Returns:
        Value at the centre, change from top to bottom, change from left to right and spread, each
        ``(F, 1)``.
    """
    centre, spread = _location_and_spread(values)
    down, right = _slope(values, y), _slope(values, x)
    level, residual = _location_and_spread(values - down * y - right * x)
    return tuple(
        np.where(residual < spread, tilted, flat)
        for tilted, flat in ((level, centre), (down, 0), (right, 0), (residual, spread))
    )


def _location_and_spread(
    values: NDArray[np.float32],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Medians, and 1.4826 median absolute deviations: sigma, were the values normal."""
    centre = np.median(values, axis=1, keepdims=True)
    spread = np.median(np.abs(values - centre), axis=1, keepdims=True)
    return centre, np.float32(1.4826) * spread


def _slope(values: NDArray[np.float32], along: NDArray[np.float32]) -> NDArray[np.float32]:
    start, end = along < -0.25, along > 0.25
    rise = np.median(values[:, end], axis=1) - np.median(values[:, start], axis=1)
    slope: NDArray[np.float32] = rise / (along[end].mean() - along[start].mean())
    return slope[:, None]


def _otsu(values: NDArray[np.float32]) -> float:
    """Otsu's threshold, from a histogram of 256 bins."""
    counts, edges = np.histogram(values, 256)
    below = np.cumsum(counts)[:-1].astype(np.float64)
    sums = np.cumsum(counts * (edges[1:] + edges[:-1]) / 2)
    weights = np.maximum(below * (len(values) - below), 1)  # 0 where all values are equal
    between = (sums[-1] * below - sums[:-1] * len(values)) ** 2 / weights
    return float(edges[1 + between.argmax()])


def _stand_apart(above: NDArray[np.float32], below: NDArray[np.float32]) -> bool:
    """Whether Ashman's D, the distance of means in root mean variances, is large enough."""
    if not (len(above) and len(below)):
        return False
    gap = float(above.mean() - below.mean())
    return gap**2 >= SEPARATION**2 * float(above.var() + below.var()) / 2


def _clean(mask: NDArray[np.bool_], logs: NDArray[np.float32], side: int) -> NDArray[np.bool_]:
    """The mask without gaps, small components and holes."""
    height, width = mask.shape
    reach = round(CLOSING * side)
    grown = ndimage.maximum_filter(np.pad(mask, reach, mode="edge"), 2 * reach + 1)
    # The smoothing of the features widened what is far from the background by half its window.
    shrink = 2 * (reach + round(side / 256)) + 1
    closed = ndimage.minimum_filter(grown, shrink)
    return _fill(_drop_small(closed[reach : reach + height, reach : reach + width]), logs)


def _drop_small(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    components, _ = ndimage.label(mask)
    areas = np.bincount(components.ravel())
    areas[0] = 0
    kept: NDArray[np.bool_] = (areas >= max(1, SMALLEST_PART * areas.max()))[components]
    return kept


def _fill(mask: NDArray[np.bool_], logs: NDArray[np.float32]) -> NDArray[np.bool_]:
    """The mask with its holes, but for those that show the background."""
    regions, _ = ndimage.label(~mask)
    areas = np.bincount(regions.ravel())
    background = np.zeros(len(areas), dtype=bool)
    for edge in (regions[0], regions[-1], regions[:, 0], regions[:, -1]):
        background[edge] = True
    for hole in np.flatnonzero(~background & (areas >= SMALLEST_HOLE * mask.size)):
        background[hole] = logs[regions == hole].mean() <= np.log1p(BACKGROUND_DISTANCE)
    background[0] = False
    filled: NDArray[np.bool_] = ~background[regions]
    return filled


def _is_plausible(
    mask: NDArray[np.bool_], valid: NDArray[np.bool_], border: NDArray[np.bool_]
) -> bool:
    share, at_border = mask.sum() / valid.sum(), mask[border].mean()
    return bool(share >= SMALLEST_SHARE and at_border <= min(share, LARGEST_BORDER_SHARE))
