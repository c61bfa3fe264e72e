"""Feathered blending: contents that fade into the image at the mask's border."""

import math
from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from scipy.special import erf
from torch import Tensor

from daf_pipelines.synthesis.operators import Draws

LEAST_WEIGHT = 0.1
_LEVELS = 1024
_PROFILE = erf(math.sqrt(2) * np.linspace(0, 1, _LEVELS + 1)) / erf(math.sqrt(2))
"""Weights from the border to two sigma inside: there a blurred edge has 98 % of its height."""


def gaussian_blending(
    images: Tensor,
    contents: Tensor,
    masks: Tensor,
    draws: Draws,  # noqa: ARG001 - one signature for all blendings
    *,
    sigma: Annotated[float, Field(gt=0, le=16)] = 3.0,
) -> Tensor:
    """Fade the contents in, from the mask's border inwards, like the edge that a Gaussian blurs.

    Everything outside the mask stays as it is and all of the mask is labelled a defect, so the
    feather lies inside and leaves no pixel out: at the distance d from the mask's border the
    content's weight is erf(d / (sqrt(2) sigma)), scaled to one at d = 2 sigma, and at least
    ``LEAST_WEIGHT``. Where the mask is thinner, sigma is smaller, so that its middle has weight
    one. The picture's border is none of the mask's.

    Args:
        images: Images ``(B, C, H, W)`` float32 in [0, 1].
        contents: Contents of the same shape; overwritten.
        masks: Bool masks ``(B, 1, H, W)``.
        draws: Not used.
        sigma: Of the Gaussian, pixels where the shorter side has 256.

    Returns:
        Blended batch ``(B, C, H, W)``; outside the masks the images.
    """
    weights = feather(masks, sigma * min(images.shape[-2:]) / 256)
    return contents.sub_(images).mul_(weights).add_(images)


def feather(masks: Tensor, sigma: float) -> Tensor:
    """The contents' weights of ``gaussian_blending``.

    Args:
        masks: Bool masks ``(B, 1, H, W)``.
        sigma: Of the Gaussian, pixels.

    Returns:
        ``(B, 1, H, W)`` float32: 0 outside the masks, from ``LEAST_WEIGHT`` to 1 inside.
    """
    inside = masks.float()
    reach = math.ceil(2 * sigma + 0.5)
    # The border runs between pixels, half a pixel from the outermost ones.
    depths = distances_to_outside(inside, reach).sub_(0.5).clamp_(0, 2 * sigma)
    deepest = _spread(depths, inside, reach).clamp_(min=1e-6)
    profile = torch.from_numpy(_PROFILE.clip(LEAST_WEIGHT)).float().to(masks.device)
    return profile[depths.div_(deepest).mul_(_LEVELS).round_().long()].mul_(inside)


def distances_to_outside(inside: Tensor, cap: int) -> Tensor:
    """Euclidean distances to the nearest pixel outside the mask, up to ``cap``.

    Args:
        inside: Masks ``(B, 1, H, W)`` float32, 0 or 1.
        cap: The largest distance.

    Returns:
        ``(B, 1, H, W)``; 0 outside.
    """
    squares = inside * cap**2
    for axis in (2, 3):
        nearest = squares.clone()
        for shift in range(1, min(cap, squares.shape[axis])):
            for here, there in _neighbours(nearest, squares, axis, shift):
                torch.minimum(here, there + shift**2, out=here)
        squares = nearest
    return squares.sqrt_()


def _spread(values: Tensor, inside: Tensor, steps: int) -> Tensor:
    """The largest value within some steps from pixel to pixel that do not leave the mask."""
    for _ in range(steps):
        for axis in (2, 3):
            largest = values.clone()
            for here, there in _neighbours(largest, values, axis, 1):
                torch.maximum(here, there, out=here)
            values = largest
        values.mul_(inside)
    return values


def _neighbours(
    first: Tensor, second: Tensor, axis: int, shift: int
) -> list[tuple[Tensor, Tensor]]:
    """Views of two tensors, of which one is shifted along an axis, both ways."""
    count = first.shape[axis] - shift
    starts = (shift, 0), (0, shift)
    return [(first.narrow(axis, a, count), second.narrow(axis, b, count)) for a, b in starts]
