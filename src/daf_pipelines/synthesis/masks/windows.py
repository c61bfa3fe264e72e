"""Shapes drawn on windows of the pixel grid: work goes with a shape's size, not the image's."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from daf_pipelines.synthesis.operators import Draws

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class Places:
    """Where the shapes of a batch lie: a shape is centred on a pixel, and contains it.

    Attributes:
        image: ``(S,)`` integers, the image of each shape.
        y: ``(S,)`` integers, the row of its centre.
        x: ``(S,)`` integers, the column of its centre.
    """

    image: IntArray
    y: IntArray
    x: IntArray

    def of(self, rows: NDArray[Any]) -> "Places":
        """Some of the shapes."""
        return Places(self.image[rows], self.y[rows], self.x[rows])


def random_places(images: Tensor, draws: Draws, count: tuple[int, int]) -> Places:
    """Some shapes per image, each centred on any of its pixels.

    Args:
        images: Batch ``(B, C, H, W)``; only its size matters.
        draws: One generator per image.
        count: Smallest and largest number of shapes per image.

    Returns:
        The shapes, those of one image one after the other.
    """
    height, width = images.shape[-2:]
    counts = [int(rng.integers(count[0], count[1] + 1)) for rng in draws]
    drawn = list(zip(draws, counts, strict=True))
    return Places(
        np.repeat(np.arange(len(counts)), counts),
        np.concatenate([rng.integers(height, size=n) for rng, n in drawn]),
        np.concatenate([rng.integers(width, size=n) for rng, n in drawn]),
    )


def random_areas(
    images: Tensor, draws: Draws, places: Places, area: tuple[float, float]
) -> FloatArray:
    """An area in pixels for each shape.

    Args:
        images: Batch ``(B, C, H, W)``; only its size matters.
        draws: One generator per image.
        places: The shapes.
        area: Bounds, fractions of the image.

    Returns:
        ``(S,)``.
    """
    pixels = images.shape[-2] * images.shape[-1]
    return np.array([draws[i].uniform(*area) for i in places.image]) * pixels


def window(radii: FloatArray, device: torch.device) -> tuple[Tensor, Tensor]:
    """Offsets of a window's pixels from its centre.

    Args:
        radii: No shape reaches further than the largest of these, pixels.
        device: Where they are needed.

    Returns:
        Rows ``(1, K, 1)`` and columns ``(1, 1, K)`` float32, K = 2 ceil(r) + 1.
    """
    reach = int(np.ceil(radii.max(initial=0)))
    offsets = torch.arange(-reach, reach + 1, dtype=torch.float32, device=device)
    return offsets[None, :, None], offsets[None, None, :]


def column(values: Any, device: torch.device) -> Tensor:
    """One number per shape, ``(S, 1, 1)`` float32, to go with a window."""
    return torch.as_tensor(np.asarray(values, np.float32), device=device)[:, None, None]


def paint(images: Tensor, places: Places, inside: Tensor) -> Tensor:
    """Masks of all shapes together; what lies outside the images is cut off.

    Args:
        images: Batch ``(B, C, H, W)``; only its size and device matter.
        places: The shapes.
        inside: Bool ``(S, K, K)``, the pixels of each shape's window that are in the shape.

    Returns:
        Bool masks ``(B, 1, H, W)``.
    """
    height, width = images.shape[-2:]
    shape, row, column = inside.nonzero().unbind(dim=1)
    image, y, x = (
        torch.from_numpy(values).to(images.device)[shape]
        for values in (places.image, places.y, places.x)
    )
    y += row - inside.shape[1] // 2
    x += column - inside.shape[2] // 2
    kept = (y >= 0) & (y < height) & (x >= 0) & (x < width)
    masks = torch.zeros(len(images), 1, height, width, dtype=torch.bool, device=images.device)
    masks[image[kept], 0, y[kept], x[kept]] = True
    return masks
