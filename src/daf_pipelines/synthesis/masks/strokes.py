"""Masks of strokes: scratches."""

import math
from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from daf_pipelines.synthesis.masks.windows import (
    FloatArray,
    IntArray,
    Places,
    column,
    paint,
    random_places,
    window,
)
from daf_pipelines.synthesis.operators import CountRange, Draws, PositiveRange

Share = Annotated[float, Field(ge=0, le=1)]

SEGMENTS = 8


def stroke_masks(
    images: Tensor,
    draws: Draws,
    *,
    count: CountRange = (1, 3),
    width: PositiveRange = (1.0, 4.0),
    length: PositiveRange = (0.1, 0.6),
    bend: Share = 0.2,
    kinked: Share = 0.3,
    taper: Share = 0.7,
) -> Tensor:
    """Scratches: thin strokes, slightly curved or kinked, thinner towards their ends.

    A curved stroke is a parabola (a quadratic Bezier curve), a kinked one a polyline with one to
    three corners, each in ``SEGMENTS`` straight pieces. Their middle is any pixel of the image, so
    that a part may lie outside; their direction is any. Not from a paper.

    Args:
        images: Batch ``(B, C, H, W)``; only its size and device matter.
        draws: One generator per image.
        count: Number of strokes per image.
        width: Width in the middle, pixels where the shorter side has 256; at least one pixel.
        length: From end to end, shares of the image's shorter side.
        bend: Largest distance from the straight line between the ends, share of the length.
        kinked: How many strokes are kinked rather than curved.
        taper: How much thinner the ends are: 0 as the middle, 1 a point; at least one pixel.

    Returns:
        Bool masks ``(B, 1, H, W)``, never empty.
    """
    shorter = min(images.shape[-2:])
    places = random_places(images, draws, count)
    drawn = [draws[i] for i in places.image]
    lengths = np.array([max(rng.uniform(*length) * shorter, 1) for rng in drawn])
    paths = np.array([random_path(rng, bend, kinked) for rng in drawn]) * lengths[:, None, None]
    widths = np.array([rng.uniform(*width) for rng in drawn]) * (shorter / 256)
    thinner = 1 - taper * np.abs(np.linspace(-1, 1, SEGMENTS + 1))
    radii = np.maximum(widths[:, None] * thinner, 1) / 2
    paths += np.stack((places.y, places.x), axis=1)[:, None]
    return _paint_paths(images, places.image, paths, radii)


def random_path(rng: np.random.Generator, bend: float, kinked: float) -> FloatArray:
    """The middle line of a stroke with its ends 1 apart and its middle at the origin.

    Args:
        rng: Generator.
        bend: Largest distance from the straight line between the ends.
        kinked: Probability of a kinked one.

    Returns:
        ``(SEGMENTS + 1, 2)`` points in order, (y, x).
    """
    along = np.linspace(0, 1, SEGMENTS + 1)
    if rng.random() < kinked:
        inner = rng.choice(np.arange(1, SEGMENTS), size=rng.integers(1, 4), replace=False)
        knots = np.concatenate(([0], np.sort(inner), [SEGMENTS])) / SEGMENTS
        offsets = np.concatenate(([0], rng.uniform(-bend, bend, size=len(inner)), [0]))
        across = np.interp(along, knots, offsets)
    else:
        across = rng.uniform(-bend, bend) * 4 * along * (1 - along)
    angle = rng.uniform(0, 2 * math.pi)
    points = np.outer(along, (math.sin(angle), math.cos(angle)))
    points += np.outer(across, (math.cos(angle), -math.sin(angle)))
    path: FloatArray = points - points[SEGMENTS // 2]
    return path


def in_segments(
    starts: FloatArray, ends: FloatArray, radii: FloatArray, device: torch.device
) -> Tensor:
    """Segments with round ends about the centre of a window.

    A pixel is inside if its distance from the nearest point of the segment is at most the radius
    there.

    Args:
        starts: ``(S, 2)``, (y, x) in pixels from the centre.
        ends: ``(S, 2)``; other points.
        radii: ``(S, 2)``, at the start and at the end; between them linear.
        device: Where they are computed.

    Returns:
        Bool ``(S, K, K)``.
    """
    reach = np.maximum(np.hypot(*starts.T), np.hypot(*ends.T)) + radii.max(axis=1)
    y, x = window(reach, device)
    step = ends - starts
    start_y, start_x, step_y, step_x = (column(v, device) for v in (*starts.T, *step.T))
    radius, growth = column(radii[:, 0], device), column(radii[:, 1] - radii[:, 0], device)
    y, x = y - start_y, x - start_x
    share = ((x * step_x + y * step_y) / (step_x**2 + step_y**2)).clamp_(0, 1)
    distance_y, distance_x = y - share * step_y, x - share * step_x
    inside: Tensor = distance_y**2 + distance_x**2 <= (radius + share * growth) ** 2
    return inside


def _paint_paths(images: Tensor, image: IntArray, paths: FloatArray, radii: FloatArray) -> Tensor:
    """Paths ``(S, P, 2)`` with radii ``(S, P)``, (y, x) in pixels of the image."""
    starts, ends = paths[:, :-1].reshape(-1, 2), paths[:, 1:].reshape(-1, 2)
    middles = np.rint((starts + ends) / 2)
    places = Places(np.repeat(image, SEGMENTS), *middles.astype(np.int64).T)
    ends_radii = np.stack((radii[:, :-1], radii[:, 1:]), axis=-1).reshape(-1, 2)
    inside = in_segments(starts - middles, ends - middles, ends_radii, images.device)
    return paint(images, places, inside)
