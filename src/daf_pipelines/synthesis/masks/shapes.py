"""Masks of simple geometric shapes, several per image, each of a controlled area.

What all of them share: the number of shapes is drawn for each image, then for each shape its area
and its centre, any pixel of the image, and its rotation, any. The area is that of the whole shape;
a part may lie outside the image, and shapes may overlap. An area below one pixel still marks one.
"""

import math
from collections.abc import Sequence
from typing import Annotated

import numpy as np
import torch
from pydantic import AfterValidator
from torch import Tensor

from daf_pipelines.synthesis.masks.windows import (
    FloatArray,
    Places,
    column,
    paint,
    random_areas,
    random_places,
    window,
)
from daf_pipelines.synthesis.operators import AreaRange, CountRange, Draws, PositiveRange


def _polygonal(corners: tuple[int, int]) -> tuple[int, int]:
    if corners[0] < 3:
        raise ValueError(f"expected at least 3 corners, got {corners[0]}")
    return corners


CornerRange = Annotated[CountRange, AfterValidator(_polygonal)]
"""Smallest and largest number of corners, at least 3."""


def rectangle_masks(
    images: Tensor,
    draws: Draws,
    *,
    count: CountRange = (1, 3),
    area: AreaRange = (0.005, 0.05),
    aspect: PositiveRange = (1.0, 4.0),
) -> Tensor:
    """Rectangles of any rotation.

    Args:
        images: Batch ``(B, C, H, W)``; only its size and device matter.
        draws: One generator per image.
        count: Number of rectangles per image.
        area: Area of each, fraction of the image.
        aspect: Ratio of the sides.

    Returns:
        Bool masks ``(B, 1, H, W)``, never empty.
    """
    places = random_places(images, draws, count)
    areas = random_areas(images, draws, places, area)
    return _rectangles(images, draws, places, areas, aspect)


def ellipse_masks(
    images: Tensor,
    draws: Draws,
    *,
    count: CountRange = (1, 3),
    area: AreaRange = (0.005, 0.05),
    aspect: PositiveRange = (1.0, 4.0),
) -> Tensor:
    """Ellipses of any rotation.

    Args:
        images: Batch ``(B, C, H, W)``; only its size and device matter.
        draws: One generator per image.
        count: Number of ellipses per image.
        area: Area of each, fraction of the image.
        aspect: Ratio of the axes.

    Returns:
        Bool masks ``(B, 1, H, W)``, never empty.
    """
    places = random_places(images, draws, count)
    areas = random_areas(images, draws, places, area)
    return _ellipses(images, draws, places, areas, aspect)


def polygon_masks(
    images: Tensor,
    draws: Draws,
    *,
    count: CountRange = (1, 3),
    area: AreaRange = (0.005, 0.05),
    corners: CornerRange = (3, 8),
) -> Tensor:
    """Simple polygons, star-shaped about their centre: see ``random_polygon``.

    Args:
        images: Batch ``(B, C, H, W)``; only its size and device matter.
        draws: One generator per image.
        count: Number of polygons per image.
        area: Area of each, fraction of the image.
        corners: Number of corners of each.

    Returns:
        Bool masks ``(B, 1, H, W)``, never empty.
    """
    places = random_places(images, draws, count)
    areas = random_areas(images, draws, places, area)
    return _polygons(images, draws, places, areas, corners)


def simple_shape_masks(
    images: Tensor,
    draws: Draws,
    *,
    count: CountRange = (1, 3),
    area: AreaRange = (0.005, 0.05),
    aspect: PositiveRange = (1.0, 4.0),
    corners: CornerRange = (3, 8),
) -> Tensor:
    """Each shape a rectangle, an ellipse or a polygon, equally often.

    The masks of Simple Shape (Cai et al., DAF, IEEE TII 2023). The paper's shapes are not in its
    public code: these kinds, numbers and sizes are this project's.

    Args:
        images: Batch ``(B, C, H, W)``; only its size and device matter.
        draws: One generator per image.
        count: Number of shapes per image.
        area: Area of each, fraction of the image.
        aspect: Ratio of a rectangle's sides or an ellipse's axes.
        corners: Number of a polygon's corners.

    Returns:
        Bool masks ``(B, 1, H, W)``, never empty.
    """
    places = random_places(images, draws, count)
    areas = random_areas(images, draws, places, area)
    kinds = np.array([draws[i].integers(3) for i in places.image])
    chosen = [kinds == kind for kind in range(3)]
    rectangles, ellipses, polygons = ((places.of(rows), areas[rows]) for rows in chosen)
    masks = _rectangles(images, draws, *rectangles, aspect)
    masks |= _ellipses(images, draws, *ellipses, aspect)
    masks |= _polygons(images, draws, *polygons, corners)
    return masks


def in_rectangles(sides: FloatArray, angles: FloatArray, device: torch.device) -> Tensor:
    """Rectangles about the centre of a window.

    Args:
        sides: ``(S, 2)``, both sides in pixels; less than a pixel counts as one.
        angles: ``(S,)``, directions of the first side, radians from the x to the y axis.
        device: Where they are computed.

    Returns:
        Bool ``(S, K, K)``.
    """
    halves = np.maximum(sides, 1) / 2
    along, across = _turned_window(angles, np.hypot(halves[:, 0], halves[:, 1]), device)
    a, b = column(halves[:, 0], device), column(halves[:, 1], device)
    # Half-open, so that an upright rectangle has as many rows and columns as its sides say.
    inside: Tensor = (along >= -a) & (along < a) & (across >= -b) & (across < b)
    return inside


def in_ellipses(axes: FloatArray, angles: FloatArray, device: torch.device) -> Tensor:
    """Ellipses about the centre of a window.

    Args:
        axes: ``(S, 2)``, both axes from end to end in pixels; less than a pixel counts as one.
        angles: ``(S,)``, directions of the first axis, radians from the x to the y axis.
        device: Where they are computed.

    Returns:
        Bool ``(S, K, K)``.
    """
    halves = np.maximum(axes, 1) / 2
    along, across = _turned_window(angles, halves, device)
    a, b = column(halves[:, 0], device), column(halves[:, 1], device)
    inside: Tensor = (along / a) ** 2 + (across / b) ** 2 <= 1
    return inside


def in_polygons(polygons: Sequence[FloatArray], device: torch.device) -> Tensor:
    """Simple polygons about the centre of a window, by the even-odd rule.

    Args:
        polygons: Per polygon its corners ``(E, 2)``, (y, x) in pixels from the centre.
        device: Where they are computed.

    Returns:
        Bool ``(S, K, K)``.
    """
    most = max(map(len, polygons), default=0)
    # Corners said twice make edges without length, which no row crosses.
    padded = [np.pad(p, ((0, most - len(p)), (0, 0)), mode="edge") for p in polygons]
    corners = np.stack(padded, axis=1) if padded else np.zeros((0, 0, 2))
    y, x = window(np.hypot(corners[..., 0], corners[..., 1]), device)
    inside = torch.zeros(len(polygons), y.shape[1], y.shape[1], dtype=torch.bool, device=device)
    for start, end in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        y1, x1, y2, x2 = (column(values, device) for values in (*start.T, *end.T))
        at = x1 + (y - y1) * ((x2 - x1) / (y2 - y1))
        inside ^= ((y1 > y) != (y2 > y)) & (x < at)
    return inside


def random_polygon(rng: np.random.Generator, corners: int) -> FloatArray:
    """A polygon of area 1 about the origin, which sees all of it.

    The corners lie in random directions, less than half a turn apart, at random distances, the
    nearest at 0.4 of the furthest or more.

    Args:
        rng: Generator.
        corners: Number of corners, at least 3.

    Returns:
        Corners ``(corners, 2)`` in order, (y, x).
    """
    steps = rng.uniform(1, 1.8, size=corners)
    angles = rng.uniform(0, 2 * math.pi) + np.cumsum(steps) * (2 * math.pi / steps.sum())
    y, x = rng.uniform(0.4, 1, size=corners) * np.stack((np.sin(angles), np.cos(angles)))
    area = np.sum(x * np.roll(y, -1) - y * np.roll(x, -1)) / 2
    return np.stack((y, x), axis=1) / math.sqrt(area)


def _rectangles(
    images: Tensor, draws: Draws, places: Places, areas: FloatArray, aspect: tuple[float, float]
) -> Tensor:
    sides, angles = _elongated(draws, places, areas, aspect)
    return paint(images, places, in_rectangles(sides, angles, images.device))


def _ellipses(
    images: Tensor, draws: Draws, places: Places, areas: FloatArray, aspect: tuple[float, float]
) -> Tensor:
    sides, angles = _elongated(draws, places, areas, aspect)
    axes = sides * math.sqrt(4 / math.pi)
    return paint(images, places, in_ellipses(axes, angles, images.device))


def _polygons(
    images: Tensor, draws: Draws, places: Places, areas: FloatArray, corners: tuple[int, int]
) -> Tensor:
    polygons = [
        random_polygon(draws[i], int(draws[i].integers(corners[0], corners[1] + 1)))
        * math.sqrt(area)
        for i, area in zip(places.image, areas, strict=True)
    ]
    return paint(images, places, in_polygons(polygons, images.device))


def _elongated(
    draws: Draws, places: Places, areas: FloatArray, aspect: tuple[float, float]
) -> tuple[FloatArray, FloatArray]:
    """Sides ``(S, 2)`` of rectangles with the areas asked for, and their directions ``(S,)``."""
    drawn = [(draws[i].uniform(*aspect), draws[i].uniform(0, math.pi)) for i in places.image]
    ratios, angles = np.array(drawn).reshape(-1, 2).T
    sides = np.stack((np.sqrt(areas * ratios), np.sqrt(areas / ratios)), axis=1)
    return sides, angles


def _turned_window(
    angles: FloatArray, radii: FloatArray, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Coordinates ``(S, K, K)`` along a direction and across it, of windows of these radii."""
    y, x = window(radii, device)
    cosine, sine = column(np.cos(angles), device), column(np.sin(angles), device)
    return x * cosine + y * sine, y * cosine - x * sine
