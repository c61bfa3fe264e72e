"""Masks of smooth blobs."""

import math
from typing import Annotated

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from daf_pipelines.synthesis.masks.areas import smallest
from daf_pipelines.synthesis.masks.windows import (
    FloatArray,
    column,
    paint,
    random_areas,
    random_places,
    window,
)
from daf_pipelines.synthesis.operators import AreaRange, CountRange, Draws

HARMONICS = 4


def blob_masks(
    images: Tensor,
    draws: Draws,
    *,
    count: CountRange = (1, 3),
    area: AreaRange = (0.005, 0.05),
    irregularity: Annotated[float, Field(ge=0, le=0.9)] = 0.6,
) -> Tensor:
    """Smooth blobs of exact areas.

    The outline of a blob at angle t is R (1 + sum_k a_k cos(k t + p_k)), k = 2 to 5, with random
    phases p_k and amplitudes a_k that fall off as 1 / k. R is chosen such that the blob has exactly
    as many pixels as its area says, at least one; a part may lie outside the image, and blobs may
    overlap.

    Args:
        images: Batch ``(B, C, H, W)``; only its size and device matter.
        draws: One generator per image.
        count: Number of blobs per image.
        area: Area of each, fraction of the image.
        irregularity: Largest sum of the amplitudes a_k; 0 are discs.

    Returns:
        Bool masks ``(B, 1, H, W)``, never empty.
    """
    places = random_places(images, draws, count)
    areas = random_areas(images, draws, places, area)
    waves = np.array([_random_waves(draws[i], irregularity) for i in places.image])
    pixels = np.maximum(np.rint(areas), 1)
    # Three pixels further than the outline: the discrete area differs a little from R's.
    radii = np.sqrt(pixels / math.pi) * (1 + np.abs(waves).sum(axis=1)) + 3
    levels = _levels(waves, radii, images.device)
    inside = smallest(levels.flatten(1), pixels.astype(np.int64).tolist())
    return paint(images, places, inside.view(levels.shape))


def _random_waves(rng: np.random.Generator, irregularity: float) -> NDArray[np.complex128]:
    """Complex amplitudes of the outline, for k = 2, 3, ..."""
    amplitudes = rng.random(HARMONICS) / np.arange(2, HARMONICS + 2)
    amplitudes *= rng.uniform(0, irregularity) / amplitudes.sum()
    phases = rng.uniform(0, 2 * math.pi, size=HARMONICS)
    waves: NDArray[np.complex128] = amplitudes * np.exp(1j * phases)
    return waves


def _levels(waves: NDArray[np.complex128], radii: FloatArray, device: torch.device) -> Tensor:
    """(distance / outline)^2, ``(S, K, K)``, on windows of these radii about the centre.

    The sum over k is the real part of a polynomial in (x + iy) / |x + iy|, evaluated by Horner's
    rule: products and sums round the same whatever the batch, angles and their cosines may not.
    """
    y, x = window(radii, device)
    squares = x * x + y * y
    distances = squares.sqrt().clamp_(min=1)
    cosine, sine = x / distances, y / distances
    real, imaginary = torch.zeros_like(squares), torch.zeros_like(squares)
    for wave in (*waves.T[::-1], np.zeros(len(waves)), np.ones(len(waves))):
        turned = real * cosine - imaginary * sine
        imaginary = real * sine + imaginary * cosine + column(wave.imag, device)
        real = turned + column(wave.real, device)
    return squares / (real * real)
