"""Masks of one rectangle, with the sizes of the papers that paste patches."""

import math
from typing import Annotated

import numpy as np
from pydantic import Field
from torch import Tensor

from daf_pipelines.sources.images import Box
from daf_pipelines.synthesis.geometry import box_masks
from daf_pipelines.synthesis.masks.shapes import in_rectangles
from daf_pipelines.synthesis.masks.windows import FloatArray, IntArray, Places, paint
from daf_pipelines.synthesis.operators import Draws, PositiveRange, ShareRange


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


def scar_mask(
    images: Tensor,
    draws: Draws,
    *,
    width: PositiveRange = (2.0, 16.0),
    length: PositiveRange = (10.0, 25.0),
    rotation: Annotated[float, Field(ge=0, le=180)] = 45.0,
) -> Tensor:
    """A small, thin rectangle, turned a little (CutPaste-Scar, Li et al., CVPR 2021).

    Sizes and rotation as in the usual public implementation (``cutpaste.py`` of
    Runinho/pytorch-cutpaste): width U(2, 16) and length U(10, 25) pixels at 256 x 256, within 45
    degrees of upright, wholly in the image. Departure: the sizes go with the image's shorter side,
    in whole pixels and at least one.

    Args:
        images: Batch ``(B, C, H, W)``; only its size and device matter.
        draws: One generator per image.
        width: In pixels where the shorter side has 256.
        length: In pixels where the shorter side has 256.
        rotation: Largest angle to either side, degrees; 0 is upright.

    Returns:
        Bool masks ``(B, 1, H, W)``, never empty.
    """
    scale = min(images.shape[-2:]) / 256
    drawn = [(rng.uniform(*width), rng.uniform(*length)) for rng in draws]
    sides = np.maximum(np.rint(np.array(drawn) * scale), 1)
    angles = np.array([math.radians(rng.uniform(-rotation, rotation)) for rng in draws])
    cosine, sine = np.abs(np.cos(angles)), np.abs(np.sin(angles))
    y, x = (
        _centres(draws, (sides[:, 0] * a + sides[:, 1] * b) / 2, size)
        for a, b, size in zip((sine, cosine), (cosine, sine), images.shape[-2:], strict=True)
    )
    places = Places(np.arange(len(draws)), y, x)
    return paint(images, places, in_rectangles(sides, angles, images.device))


def nsa_rectangle_mask(
    images: Tensor,
    draws: Draws,
    *,
    shape: Annotated[float, Field(gt=0)] = 2.0,
    scale: Annotated[float, Field(gt=0)] = 0.1,
    offset: Annotated[float, Field(ge=0)] = 0.06,
    height: ShareRange = (0.06, 0.4),
    width: ShareRange = (0.06, 0.4),
) -> Tensor:
    """A rectangle with sides from a Gamma distribution (NSA, Schlueter et al., ECCV 2022).

    Either side is clip(offset + Gamma(shape, scale), bounds), in shares of the image's. As in the
    public code (``train_mvtec.py``, ``self_sup_data/self_sup_tasks.py`` of
    hmsch/natural-synthetic-anomalies), which says all of it in half-widths: Gamma(2, 0.05) + 0.03,
    by class at most 0.12 to 0.4. Its patch is cut to that, then rescaled by a random factor, and
    then to sides (not half-widths) within the same bounds: so no pasted patch is larger than 0.4,
    and that is the bound here; the factor is the content's. The rectangle lies wholly in the
    image, as there. One a call: NSA's are several, each on top of the others.

    Args:
        images: Batch ``(B, C, H, W)``; only its size and device matter.
        draws: One generator per image.
        shape: Shape of the Gamma distribution.
        scale: Scale of the Gamma distribution.
        offset: What is added to it.
        height: Bounds of the height, shares of the image's.
        width: Bounds of the width, shares of the image's.

    Returns:
        Bool masks ``(B, 1, H, W)``, never empty.
    """
    boxes = []
    for rng in draws:
        sides = [offset + rng.gamma(shape, scale) for _ in range(2)]
        pixels = [
            max(int(np.clip(side, *bounds) * size), 1)
            for side, bounds, size in zip(sides, (height, width), images.shape[-2:], strict=True)
        ]
        boxes.append(_place_box(rng, pixels[0], pixels[1], *images.shape[-2:]))
    return box_masks(boxes, images)


def _random_box(rng: np.random.Generator, height: int, width: int) -> Box:
    """A rectangle with CutPaste's area and aspect ratio."""
    area = rng.uniform(0.02, 0.15) * height * width
    aspect = rng.uniform(0.3, 1) if rng.random() < 0.5 else rng.uniform(1, 3.3)
    box_height = min(max(round(math.sqrt(area / aspect)), 1), height)
    box_width = min(max(round(math.sqrt(area * aspect)), 1), width)
    return _place_box(rng, box_height, box_width, height, width)


def _place_box(
    rng: np.random.Generator, box_height: int, box_width: int, height: int, width: int
) -> Box:
    """A box of a given size anywhere in the image."""
    top = int(rng.integers(height - box_height + 1))
    left = int(rng.integers(width - box_width + 1))
    return top, left, top + box_height, left + box_width


def _centres(draws: Draws, reaches: FloatArray, size: int) -> IntArray:
    """Per shape a coordinate of its centre such that it is inside, or the image's middle."""
    nearest = np.minimum(np.ceil(reaches - 0.5), size // 2).astype(np.int64)
    bounds = zip(draws, nearest, strict=True)
    return np.array([rng.integers(low, max(size - low, low + 1)) for rng, low in bounds])
