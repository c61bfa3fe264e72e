"""Masks from Perlin noise."""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from daf_pipelines.synthesis.geometry import rotate
from daf_pipelines.synthesis.masks.areas import smallest
from daf_pipelines.synthesis.masks.placing import empty_rows
from daf_pipelines.synthesis.operators import AreaRange, CountRange, Draws

FloatArray = NDArray[np.float32]

PERLIN_ATTEMPTS = 8

Scales = Annotated[tuple[Annotated[int, Field(ge=1, le=64)], ...], Field(min_length=1)]
"""Numbers of cells along an axis, one of which is drawn."""
Degrees = Annotated[float, Field(ge=0, le=180)]
Threshold = Annotated[float, Field(gt=-1, lt=1)]


def perlin_mask(
    images: Tensor,
    draws: Draws,
    *,
    scales: Scales = (1, 2, 4, 8, 16, 32),
    threshold: Threshold = 0.5,
    rotation: Degrees = 90.0,
) -> Tensor:
    """Thresholded, rotated Perlin noise (DRAEM, Zavrtanik et al., ICCV 2021).

    The noise is rectangular: the number of cells is drawn for each axis on its own, so that its
    spots are up to 32 times longer than wide. An empty mask is drawn again, as in DAF's public
    code; after ``PERLIN_ATTEMPTS`` it is the part of the noise above half of its own maximum.

    Args:
        images: Batch ``(B, C, H, W)``; only its size and device matter.
        draws: One generator per image.
        scales: Numbers of cells along an axis.
        threshold: What is above it is the mask; the noise is about -1 to 1.
        rotation: Largest angle to either side, degrees.

    Returns:
        Bool masks ``(B, 1, H, W)``, never empty.
    """
    noise = _rotated_noise(images, draws, scales, rotation)
    masks = noise > threshold
    for _ in range(PERLIN_ATTEMPTS):
        empty = empty_rows(masks)
        if not empty:
            return masks
        noise[empty] = _rotated_noise(images, [draws[i] for i in empty], scales, rotation)
        masks[empty] = noise[empty] > threshold
    return masks | (~masks.any(dim=(2, 3), keepdim=True) & _above_half_of_maximum(noise))


def combined_perlin_mask(
    images: Tensor,
    draws: Draws,
    *,
    scales: Scales = (1, 2, 4, 8, 16, 32),
    threshold: Threshold = 0.5,
    rotation: Degrees = 90.0,
) -> Tensor:
    """A Perlin mask, or the union or intersection of two (GLASS, Chen et al., ECCV 2024).

    Each a third of the time, as in its public code (``perlin.py``). An empty intersection is left
    at the first mask, where the public code draws both again.

    Args:
        images: Batch ``(B, C, H, W)``; only its size and device matter.
        draws: One generator per image.
        scales: As in ``perlin_mask``.
        threshold: As in ``perlin_mask``.
        rotation: As in ``perlin_mask``.

    Returns:
        Bool masks ``(B, 1, H, W)``, never empty.
    """
    first, second = (
        perlin_mask(images, draws, scales=scales, threshold=threshold, rotation=rotation)
        for _ in range(2)
    )
    kinds = torch.tensor([int(rng.integers(3)) for rng in draws], device=images.device)
    kind = kinds[:, None, None, None]
    both = first & second
    both |= first & ~both.any(dim=(2, 3), keepdim=True)
    return torch.where(kind == 0, first, torch.where(kind == 1, first | second, both))


def fractal_perlin_mask(
    images: Tensor,
    draws: Draws,
    *,
    scales: Scales = (1, 2, 4, 8),
    octaves: CountRange = (2, 5),
    persistence: Annotated[float, Field(gt=0, le=1)] = 0.5,
    area: AreaRange = (0.02, 0.12),
    rotation: Degrees = 90.0,
) -> Tensor:
    """The highest part of rotated fractal Perlin noise, of an exact area.

    The noise is that of ``generate_fractal_noise_2d`` in DRAEM's public ``perlin.py``, which DRAEM
    itself does not use: octaves with twice the cells and ``persistence`` times the amplitude of the
    one before. Each axis has its own number of cells; an octave whose cells would be smaller than
    two pixels has cells of two pixels. The threshold goes by area, not by value: a sum of octaves,
    normalised by their amplitudes, exceeds a fixed value the less often the more octaves there are,
    and now and then nowhere. The default area is about that of nine in ten of ``perlin_mask``'s.

    Args:
        images: Batch ``(B, C, H, W)``; only its size and device matter.
        draws: One generator per image.
        scales: Numbers of cells along an axis, of the first octave.
        octaves: Number of octaves.
        persistence: Amplitude of an octave relative to the one before.
        area: Area of the mask, fraction of the image.
        rotation: Largest angle to either side, degrees.

    Returns:
        Bool masks ``(B, 1, H, W)``, never empty.
    """
    lattices = [
        _random_octaves(rng, scales, octaves, images.shape[-2] // 2, images.shape[-1] // 2)
        for rng in draws
    ]
    noise = fractal_noise(lattices, persistence, images)
    noise = rotate(noise, [rng.uniform(-rotation, rotation) for rng in draws])
    pixels = images.shape[-2] * images.shape[-1]
    counts = [max(round(rng.uniform(*area) * pixels), 1) for rng in draws]
    return smallest(-noise.flatten(1), counts).view(noise.shape)


def fractal_noise(
    octaves: Sequence[Sequence[NDArray[Any]]], persistence: float, images: Tensor
) -> Tensor:
    """Sums of Perlin noise, each octave with ``persistence`` times the amplitude of the one before.

    Args:
        octaves: Per image its octaves' gradients, see ``perlin_noise``.
        persistence: Amplitude of an octave relative to the one before.
        images: Batch ``(B, C, H, W)``; only its size and device matter.

    Returns:
        Noise ``(B, 1, H, W)`` float32.
    """
    height, width = images.shape[-2:]
    noise = perlin_noise([own[0] for own in octaves], height, width, images.device)
    for octave in range(1, max(map(len, octaves))):
        rows = [i for i, own in enumerate(octaves) if len(own) > octave]
        finer = perlin_noise([octaves[i][octave] for i in rows], height, width, images.device)
        noise.index_add_(
            0, torch.tensor(rows, device=images.device), finer.mul_(persistence**octave)
        )
    return noise


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


def _rotated_noise(images: Tensor, draws: Draws, scales: Sequence[int], rotation: float) -> Tensor:
    height, width = images.shape[-2:]
    gradients = [random_gradients(rng, *_random_scales(rng, scales)) for rng in draws]
    noise = perlin_noise(gradients, height, width, images.device)
    return rotate(noise, [rng.uniform(-rotation, rotation) for rng in draws])


def _random_octaves(
    rng: np.random.Generator,
    scales: Sequence[int],
    octaves: tuple[int, int],
    most_y: int,
    most_x: int,
) -> list[FloatArray]:
    number = int(rng.integers(octaves[0], octaves[1] + 1))
    cells_y, cells_x = _random_scales(rng, scales)
    return [
        random_gradients(rng, min(cells_y << octave, most_y), min(cells_x << octave, most_x))
        for octave in range(number)
    ]


def _random_scales(rng: np.random.Generator, scales: Sequence[int]) -> tuple[int, int]:
    y, x = rng.integers(len(scales), size=2)
    return scales[y], scales[x]


def random_gradients(rng: np.random.Generator, cells_y: int, cells_x: int) -> FloatArray:
    """Random unit gradients on a lattice, ``(cells_y + 1, cells_x + 1, 2)``."""
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
    count, _, height, length = columns.shape
    # With x first, what is picked are whole rows of memory.
    part_y, part_x = columns.permute(1, 0, 3, 2).reshape(2, count * length, height)
    index = (index[:, 0] + length * torch.arange(count, device=index.device)[:, None]).flatten()
    factors = factors.view(4, -1, 1)
    noise: Tensor = part_y.index_select(0, index).mul_(factors[0])
    noise += part_x.index_select(0, index).mul_(factors[2])
    noise += part_y.index_select(0, index + 1).mul_(factors[1])
    noise += part_x.index_select(0, index + 1).mul_(factors[3])
    return noise.view(count, 1, -1, height).transpose(2, 3)


def _above_half_of_maximum(noise: Tensor) -> Tensor:
    # The noise is 0 on its lattice, so its maximum is never negative.
    above: Tensor = noise >= noise.amax(dim=(2, 3), keepdim=True) / 2
    return above
