"""Geometry shared by masks, contents and blendings: boxes and affine resampling."""

import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from daf_pipelines.sources.images import Box


def box_masks(boxes: Sequence[Box], images: Tensor) -> Tensor:
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


def valid_masks(boxes: Sequence[Box], images: Tensor) -> Tensor | None:
    """Masks of what is not padding; None where nothing is.

    Args:
        boxes: The part of each image that is not padding, see ``box_masks``.
        images: The batch ``(B, C, H, W)``.

    Returns:
        Bool masks ``(B, 1, H, W)``, or None.
    """
    whole = (0, 0, *images.shape[-2:])
    return None if all(box == whole for box in boxes) else box_masks(boxes, images)


def bounding_boxes(masks: Tensor) -> list[Box]:
    """Smallest boxes around the masks.

    Args:
        masks: Bool masks ``(B, 1, H, W)``, none empty.

    Returns:
        Per mask (top, left, bottom, right) in pixels, bottom and right exclusive.
    """
    levels = masks.view(torch.uint8)  # whose maximum takes a tenth of the time of any()
    rows = levels.amax(dim=3)[:, 0].cpu().numpy()
    columns = levels.amax(dim=2)[:, 0].cpu().numpy()
    spans = zip(map(np.flatnonzero, rows), map(np.flatnonzero, columns), strict=True)
    return [(int(y[0]), int(x[0]), int(y[-1]) + 1, int(x[-1]) + 1) for y, x in spans]


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


def _outer(along_x: Tensor, along_y: Tensor) -> tuple[Tensor, Tensor]:
    return along_x[:, None, :], along_y[:, :, None]
