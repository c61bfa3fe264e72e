"""Mask operators: where an outlier lies.

A mask operator takes the images ``(B, C, H, W)`` and one random generator per image, and returns
bool masks ``(B, 1, H, W)``, none of them empty. Image i draws from generator i alone, and tensor
operations are element-wise or exact, so that a mask does not depend on the rest of its batch.
"""

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

Draws = Sequence[np.random.Generator]
"""One generator per image of the batch."""

MaskOperator = Callable[[Tensor, Draws], Tensor]

FloatArray = NDArray[np.float32]

PERLIN_THRESHOLD = 0.5
PERLIN_SCALES = (1, 2, 4, 8, 16, 32)
PERLIN_ATTEMPTS = 8
PLACING_ATTEMPTS = 8
PATCH_RADIUS = 4


def perlin_mask(images: Tensor, draws: Draws) -> Tensor:
    """Thresholded, rotated Perlin noise (DRAEM, Zavrtanik et al., ICCV 2021).

    The published settings: cells per axis from {1, 2, 4, 8, 16, 32}, rotation within 90 degrees,
    threshold 0.5. An empty mask is drawn again, as in DAF's public code; after
    ``PERLIN_ATTEMPTS`` it is the part of the noise above half of its own maximum.

    Args:
        images: Batch ``(B, C, H, W)``; only its size and device matter.
        draws: One generator per image.

    Returns:
        Bool masks ``(B, 1, H, W)``, never empty.
    """
    noise = _rotated_noise(images, draws)
    masks = noise > PERLIN_THRESHOLD
    for _ in range(PERLIN_ATTEMPTS):
        empty = _empty(masks)
        if not empty:
            return masks
        noise[empty] = _rotated_noise(images, [draws[i] for i in empty])
        masks[empty] = noise[empty] > PERLIN_THRESHOLD
    return masks | (~masks.any(dim=(2, 3), keepdim=True) & _above_half_of_maximum(noise))


def rectangle_mask(images: Tensor, draws: Draws) -> Tensor:
    """A rectangle at a random place (CutPaste, Li et al., CVPR 2021).

    The published ranges: area U(0.02, 0.15) of the image; aspect ratio (width / height) from
    (0.3, 1) or (1, 3.3), each half of the time. In a very elongated image the rectangle is cut to
    the image's size.

    Args:
        images: Batch ``(B, C, H, W)``; only its size and device matter.
        draws: One generator per image.

    Returns:
        Bool masks ``(B, 1, H, W)``, never empty.
    """
    height, width = images.shape[-2:]
    return box_masks([_random_box(rng, height, width) for rng in draws], images)


def masks_within(operator: MaskOperator, images: Tensor, draws: Draws, valid: Tensor) -> Tensor:
    """Masks cut to the pixels that may be defective.

    A mask of which nothing is left is drawn again; after ``PLACING_ATTEMPTS`` it is a small patch
    around a random one of those pixels.

    Args:
        operator: Where the masks come from.
        images: Batch ``(B, C, H, W)``.
        draws: One generator per image.
        valid: Bool ``(B, 1, H, W)``, none empty.

    Returns:
        Bool masks ``(B, 1, H, W)``, never empty.
    """
    masks = operator(images, draws) & valid
    for _ in range(PLACING_ATTEMPTS):
        empty = _empty(masks)
        if not empty:
            return masks
        masks[empty] = operator(images[empty], [draws[i] for i in empty]) & valid[empty]
    empty = _empty(masks)
    if empty:
        boxes = [_patch_within(valid[i, 0], draws[i]) for i in empty]
        masks[empty] = box_masks(boxes, images) & valid[empty]
    return masks


def box_masks(boxes: Sequence[tuple[int, int, int, int]], images: Tensor) -> Tensor:
    """Masks that fill boxes.

    Args:
        boxes: (top, left, bottom, right) in pixels, bottom and right exclusive.
        images: Any batch ``(..., H, W)`` of the masks' size and device.

    Returns:
        Bool masks ``(len(boxes), 1, H, W)``.
    """
    height, width = images.shape[-2:]
    top, left, bottom, right = torch.tensor(boxes, device=images.device).T[..., None]
    y = torch.arange(height, device=images.device)
    x = torch.arange(width, device=images.device)
    rows = (y >= top) & (y < bottom)
    columns = (x >= left) & (x < right)
    masks: Tensor = rows[:, None, :, None] & columns[:, None, None, :]
    return masks


def perlin_noise(
    gradients: Sequence[NDArray[Any]], height: int, width: int, device: torch.device
) -> Tensor:
    """Perlin noise of several images, each with its own number of cells, in one go.

    The published code (``perlin.py`` of DRAEM) with lerp and fade 6t^5 - 15t^4 + 10t^3, for any
    size. The interpolation along y is done on the lattice columns (at most 33), so that full-size
    work is left for the x axis only.

    Args:
        gradients: Per image the unit gradients ``(cells_y + 1, cells_x + 1, 2)`` on the lattice,
            (y, x) in the last dimension.
        height: Height of the noise in pixels.
        width: Width of the noise in pixels.
        device: Where full-size work is done.

    Returns:
        Noise ``(B, 1, H, W)`` float32, about -1 to 1.
    """
    lattice_width = max(lattice.shape[1] for lattice in gradients)
    columns = np.zeros((len(gradients), 2, height, lattice_width), np.float32)
    index = np.empty((len(gradients), 1, width), np.int64)
    factors = np.empty((4, len(gradients), 1, width), np.float32)
    for i, lattice in enumerate(gradients):
        columns[i, :, :, : lattice.shape[1]] = _interpolate_rows(lattice, height)
        index[i, 0], weights, ramps = _axis(width, lattice.shape[1] - 1)
        factors[:, i, 0] = [weights[0], weights[1], ramps[0], ramps[1]]
    on_device = (torch.from_numpy(array).to(device) for array in (columns, index, factors))
    return _interpolate_columns(*on_device)


def rotate(images: Tensor, degrees: Sequence[float]) -> Tensor:
    """Rotate each image about its centre, bilinear, zeros outside.

    The sampling grid comes from element-wise products rather than from a matrix product, whose
    rounding may depend on the batch size.

    Args:
        images: Batch ``(B, C, H, W)`` float32.
        degrees: One angle per image, counter-clockwise.

    Returns:
        Rotated batch of the same shape.
    """
    height, width = images.shape[-2:]
    x = torch.arange(width, device=images.device) - (width - 1) / 2
    y = torch.arange(height, device=images.device) - (height - 1) / 2
    turns = [(math.cos(math.radians(angle)), math.sin(math.radians(angle))) for angle in degrees]
    cosine, sine = torch.tensor(turns, dtype=torch.float32, device=images.device).T[..., None]
    grid = torch.empty(len(images), 2, height, width, device=images.device)
    scale_x, scale_y = 2 / width, 2 / height
    torch.sub(*_outer(cosine * x * scale_x, sine * y * scale_x), out=grid[:, 0])
    torch.add(*_outer(sine * x * scale_y, cosine * y * scale_y), out=grid[:, 1])
    return F.grid_sample(images, grid.permute(0, 2, 3, 1), align_corners=False)


def bounding_boxes(masks: Tensor) -> list[tuple[int, int, int, int]]:
    """Smallest boxes around the masks.

    Args:
        masks: Bool masks ``(B, 1, H, W)``, none empty.

    Returns:
        Per mask (top, left, bottom, right) in pixels, bottom and right exclusive.
    """
    rows = masks.any(dim=3)[:, 0].cpu().numpy()
    columns = masks.any(dim=2)[:, 0].cpu().numpy()
    spans = zip(map(np.flatnonzero, rows), map(np.flatnonzero, columns), strict=True)
    return [(int(y[0]), int(x[0]), int(y[-1]) + 1, int(x[-1]) + 1) for y, x in spans]


def _rotated_noise(images: Tensor, draws: Draws) -> Tensor:
    height, width = images.shape[-2:]
    gradients = [_random_gradients(rng) for rng in draws]
    noise = perlin_noise(gradients, height, width, images.device)
    return rotate(noise, [rng.uniform(-90, 90) for rng in draws])


def _random_gradients(rng: np.random.Generator) -> FloatArray:
    cells_y, cells_x = (PERLIN_SCALES[i] for i in rng.integers(len(PERLIN_SCALES), size=2))
    angles = 2 * np.pi * rng.random((cells_y + 1, cells_x + 1))
    return np.stack((np.cos(angles), np.sin(angles)), axis=-1).astype(np.float32)


@lru_cache(maxsize=64)
def _axis(size: int, cells: int) -> tuple[NDArray[np.int64], FloatArray, FloatArray]:
    """Cell of each pixel on an axis; for the cell's two ends the weight and weight x offset."""
    position = np.arange(size) * cells / size
    cell = np.floor(position).astype(np.int64)
    t = position - cell
    fade = 6 * t**5 - 15 * t**4 + 10 * t**3
    weights = np.stack((1 - fade, fade))
    ramps = weights * np.stack((t, t - 1))
    return cell, weights.astype(np.float32), ramps.astype(np.float32)


def _interpolate_rows(lattice: NDArray[Any], height: int) -> FloatArray:
    """Along y: the y and x parts of the noise on the lattice columns, ``(2, H, cells_x + 1)``."""
    cell, weights, ramps = _axis(height, lattice.shape[0] - 1)
    start, end = lattice[cell], lattice[cell + 1]
    part_y = ramps[0][:, None] * start[..., 0] + ramps[1][:, None] * end[..., 0]
    part_x = weights[0][:, None] * start[..., 1] + weights[1][:, None] * end[..., 1]
    return np.stack((part_y, part_x)) * np.float32(math.sqrt(2))


def _interpolate_columns(columns: Tensor, index: Tensor, factors: Tensor) -> Tensor:
    """Along x: columns ``(B, 2, H, L)``, index ``(B, 1, W)``, factors ``(4, B, 1, W)``."""
    index = index.expand(-1, columns.shape[2], -1)
    part_y, part_x = columns[:, 0], columns[:, 1]
    noise = part_y.gather(2, index).mul_(factors[0])
    noise += part_x.gather(2, index).mul_(factors[2])
    index = index + 1
    noise += part_y.gather(2, index).mul_(factors[1])
    noise += part_x.gather(2, index).mul_(factors[3])
    return noise[:, None]


def _outer(along_x: Tensor, along_y: Tensor) -> tuple[Tensor, Tensor]:
    return along_x[:, None, :], along_y[:, :, None]


def _empty(masks: Tensor) -> list[int]:
    empty: list[int] = (~masks.flatten(1).any(dim=1)).nonzero()[:, 0].tolist()
    return empty


def _above_half_of_maximum(noise: Tensor) -> Tensor:
    # The noise is 0 on its lattice, so its maximum is never negative.
    above: Tensor = noise >= noise.amax(dim=(2, 3), keepdim=True) / 2
    return above


def _random_box(rng: np.random.Generator, height: int, width: int) -> tuple[int, int, int, int]:
    """(top, left, bottom, right) of a rectangle with CutPaste's area and aspect ratio."""
    area = rng.uniform(0.02, 0.15) * height * width
    aspect = rng.uniform(0.3, 1) if rng.random() < 0.5 else rng.uniform(1, 3.3)
    box_height = min(max(round(math.sqrt(area / aspect)), 1), height)
    box_width = min(max(round(math.sqrt(area * aspect)), 1), width)
    top = int(rng.integers(height - box_height + 1))
    left = int(rng.integers(width - box_width + 1))
    return top, left, top + box_height, left + box_width


def _patch_within(valid: Tensor, rng: np.random.Generator) -> tuple[int, int, int, int]:
    """Box around a random valid pixel; it may reach beyond them, and beyond the image."""
    y, x = rng.choice(np.argwhere(valid.cpu().numpy())).tolist()
    return y - PATCH_RADIUS, x - PATCH_RADIUS, y + PATCH_RADIUS, x + PATCH_RADIUS
