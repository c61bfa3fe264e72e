"""Poisson's equation on a rectangle of pixels, solved directly and the same bit for bit everywhere.

The five-point Laplacian of a rectangle is diagonal in products of sines or cosines, one along each
axis: solving takes two matrix products there and two back. A product's rounding depends on how
it is split over threads, and so would the picture. Both factors are therefore rounded first, to
multiples of powers of two with so few bits that every sum is exact in float64, in whatever order
it is taken.
"""

import math
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from daf_pipelines.synthesis.blending.arrays import (
    Array,
    array_of,
    backwards,
    contiguous,
    empty,
    largest,
    namespace,
    permuted,
    products,
)

DATA_BITS = 24
CACHED_AXES = 128

Ends = tuple[bool, bool]
"""Whether an axis is free at its start and at its end, or held at zero in the pixel beyond."""


class RectangleSolver:
    """Solves (L + shift) u = b on a rectangle, L being minus the five-point Laplacian.

    Args:
        size: Height and width in pixels.
        ends: Of the rows' axis and of the columns' axis. Nothing flows through a free end; where
            all are free and there is no shift, solutions have mean zero.
        device: Where to solve.
        shift: Not negative.
    """

    def __init__(
        self,
        size: tuple[int, int],
        ends: tuple[Ends, Ends],
        device: torch.device,
        shift: float = 0.0,
    ) -> None:
        self.height, self.width = size
        self.down, down = _modes(self.height, ends[0], device)
        self.across, across = _modes(self.width, ends[1], device)
        shifted = array_of(across) + shift
        values = shifted[:, :, None, None, None] + array_of(down)[:, None, :]
        if all(ends[0] + ends[1]) and not shift:
            values[0, 0, 0, 0, 0] = math.inf
        self.inverse = 1.0 / values

    def __call__(self, right_side: Array) -> Array:
        """Solve for all channels.

        Args:
            right_side: b, ``(C, height, width)`` float64.

        Returns:
            u of the same shape.
        """
        # Everything has the axis in hand first, its parity before it: (P, m, C, width), and then
        # (P, m, P, C, m).
        down = _multiply(self.down, _fold(right_side.swapaxes(0, 1), len(self.down)))
        across = _fold(contiguous(permuted(down, (3, 0, 2, 1))), len(self.across))
        modes = _multiply(self.across, across)
        modes *= self.inverse
        solved = _unfold(_multiply(self.across.mT, modes), self.width)
        back = _multiply(self.down.mT, contiguous(permuted(solved, (1, 3, 2, 0))))
        return _unfold(back, self.height).swapaxes(0, 1)


def rounded(values: Array, bits: int) -> Array:
    """Round to multiples of one power of two, none of them larger than 2**bits times that power.

    Args:
        values: float64; overwritten.
        bits: Up to 52.

    Returns:
        The values; errors are at most 2**(1 - bits) + 2**-53 of the largest absolute one.
    """
    # Around a number this large, float64 has just such multiples.
    anchor = largest(values) * 2.0 ** (54 - bits)
    values += anchor
    values -= anchor
    return values


def exact_dot(first: Array, second: Array) -> Array:
    """Inner products by channel, from products so rounded that their sum is exact.

    Args:
        first: ``(C, H, W)`` float64.
        second: Of the same shape.

    Returns:
        ``(C, 1, 1)``.
    """
    pixels = first.shape[1] * first.shape[2]
    terms = rounded(first * second, 53 - math.ceil(math.log2(pixels)))
    return terms.sum(axis=(1, 2), keepdims=True)


@lru_cache(CACHED_AXES)
def _modes(length: int, ends: Ends, device: torch.device) -> tuple[Tensor, Tensor]:
    """Eigenvectors ``(P, m, m)``, in rows, and values ``(P, m)`` of minus the second difference.

    Between equal ends half of the vectors are even about the middle and half are odd, and the first
    half of each says all: P = 2, m = ceil(length / 2), and products cost half. Otherwise P = 1.
    """
    free = sum(ends)
    period = length + 1 - free / 2
    angles = np.pi / period * (np.arange(length) + 1 - free / 2)
    parities = 1 if free == 1 else 2
    half = math.ceil(length / parities)
    if ends[0]:
        vectors = np.cos(np.outer(angles, np.arange(half) + 0.5))
    else:
        vectors = np.sin(np.outer(angles, np.arange(half) + 1))
    vectors *= np.sqrt(np.where(angles > 0, 2, 1) / period)[:, None]
    # Even and odd vectors alternate. Of an odd number one more is even; the odd ones get a zero.
    blocks, values = np.zeros((parities, half, half)), np.ones((parities, half))
    for parity in range(parities):
        own = slice(parity, None, parities)
        blocks[parity, : len(angles[own])] = vectors[own]
        values[parity, : len(angles[own])] = 2 - 2 * np.cos(angles[own])
    largest_sum = max(np.abs(blocks).sum(axis).max() for axis in (1, 2))
    grid = 2.0 ** (52 - DATA_BITS - math.ceil(math.log2(largest_sum)))
    exact = np.rint(blocks * grid) / grid
    return torch.from_numpy(exact).to(device), torch.from_numpy(values).to(device)


def _multiply(matrices: Tensor, values: Array) -> Array:
    """Products along the second axis, with a matrix for each entry of the first; overwrites."""
    parities, length = values.shape[:2]
    factors = rounded(values, DATA_BITS).reshape(parities, length, -1)
    return products(matrices, factors).reshape(values.shape)


def _fold(values: Array, parities: int) -> Array:
    """Even and odd part about the middle of the first axis, along a new one; only half of each."""
    if parities == 1:
        return 1.0 * values[None]
    half = (len(values) + 1) // 2
    first, last = values[:half], backwards(values)[:half]
    folded = empty((2, *first.shape), values)
    namespace(values).add(first, last, out=folded[0])
    namespace(values).subtract(first, last, out=folded[1])
    if len(values) % 2:
        folded[0, -1] *= 0.5
    return folded


def _unfold(folded: Array, length: int) -> Array:
    """The whole first axis from its even and odd part."""
    if len(folded) == 1:
        return folded[0]
    even, odd = folded
    values = empty((length, *even.shape[1:]), folded)
    namespace(values).add(even, odd, out=values[: len(even)])
    even -= odd
    values[len(even) :] = backwards(even[: length // 2])
    return values
