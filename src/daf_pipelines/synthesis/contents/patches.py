"""Contents taken from normal images: patches of the same image or of another one."""

import math
from typing import Annotated, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from daf_pipelines.sources.images import Box
from daf_pipelines.synthesis.colour import colour_jitter
from daf_pipelines.synthesis.geometry import bounding_boxes
from daf_pipelines.synthesis.operators import Draws, PositiveRange, Sources

PLACING_ATTEMPTS = 8
OBJECT_SHARE = 0.25


def own_patch(
    images: Tensor,
    masks: Tensor,
    draws: Draws,
    sources: Sources,  # noqa: ARG001 - one signature for all contents
    *,
    jitter: Annotated[float, Field(ge=0, le=0.5)] = 0.1,
) -> Tensor:
    """A patch from elsewhere in the same image, colour-jittered (CutPaste, CVPR 2021).

    The patch has the size of the mask's bounding box and comes from any other position.

    Args:
        images: Batch ``(B, C, H, W)`` float32 in [0, 1], C up to 3.
        masks: Bool masks ``(B, 1, H, W)``, none empty.
        draws: One generator per image.
        sources: Not used.
        jitter: Strength of the colour jitter; 0.1 is published.

    Returns:
        Contents ``(B, C, H, W)`` float32 in [0, 1]; outside the masks the images.
    """
    height, width = images.shape[-2:]
    boxes = bounding_boxes(masks)
    patches = []
    for image, (top, left, bottom, right), rng in zip(images, boxes, draws, strict=True):
        y, x = _other_position(rng, (top, left, bottom, right), height, width)
        patches.append(image[:, y : y + bottom - top, x : x + right - left])
    contents = images.clone()
    jittered = colour_jitter(patches, draws, jitter)
    for content, (top, left, bottom, right), patch in zip(contents, boxes, jittered, strict=True):
        content[:, top:bottom, left:right] = patch
    return contents


def normal_patch(
    images: Tensor,
    masks: Tensor,
    draws: Draws,
    sources: Sources,
    *,
    scale: PositiveRange = (0.7, 1.3),
    scale_deviation: Annotated[float, Field(ge=0)] = 0.5,
    jitter: Annotated[float, Field(ge=0, le=0.5)] = 0.0,
    same: bool = False,
) -> Tensor:
    """A rescaled patch of another normal image, or of the same one (NSA, ECCV 2022).

    The settings of its public code for objects (``self_sup_tasks.py``): a patch from anywhere in a
    random other image, rescaled by a factor N(1, 0.5) clipped to [0.7, 1.3]; for textures it is
    [0.5, 2]. The patch fills the mask's bounding box, so it is cut from a box that is smaller by
    that factor; there, the factor changes the size of what is pasted. Where the sources know the
    object, at least a quarter of the patch is object (there a quarter to 0.7, by category), or as
    much as a few draws find.

    Args:
        images: Batch ``(B, C, H, W)`` float32 in [0, 1].
        masks: Bool masks ``(B, 1, H, W)``, none empty.
        draws: One generator per image.
        sources: The normal images. Without any, or with none but the image itself, the patch comes
            from the image itself.
        scale: Bounds of the factor.
        scale_deviation: Standard deviation of the factor before it is clipped.
        jitter: Strength of the colour jitter, see ``colour.colour_jitter``; 0: none.
        same: Take the patch from the same image.

    Returns:
        Contents ``(B, C, H, W)`` float32 in [0, 1]; outside the masks' boxes the images.
    """
    boxes = bounding_boxes(masks)
    patches = []
    for i, (box, rng) in enumerate(zip(boxes, draws, strict=True)):
        factor = float(np.clip(rng.normal(1, scale_deviation), *scale))
        chosen = None if same else _another(sources, i, rng)
        source = _Source.whole(images[i]) if chosen is None else _Source.among(sources, chosen)
        patches.append(_cut(source, box[2] - box[0], box[3] - box[1], factor, rng))
    if jitter:
        patches = colour_jitter(patches, draws, jitter)
    contents = images.clone()
    for content, (top, left, bottom, right), patch in zip(contents, boxes, patches, strict=True):
        content[:, top:bottom, left:right] = patch
    return contents


def without_padding(images: Tensor, valid: Tensor) -> Tensor:
    """Images that go on, mirrored, around their valid part, for contents that are copied from them.

    Args:
        images: Batch ``(B, C, H, W)``.
        valid: Bool ``(B, 1, H, W)``, none empty; the smallest box around it stays as it is.

    Returns:
        Batch of the same shape.
    """
    height, width = images.shape[-2:]
    mirrored = images.clone()
    boxes = bounding_boxes(valid)
    for image, (top, left, bottom, right) in zip(mirrored, boxes, strict=True):
        y = np.pad(np.arange(top, bottom), (top, height - bottom), mode="symmetric")
        x = np.pad(np.arange(left, right), (left, width - right), mode="symmetric")
        rows, columns = (torch.from_numpy(index).to(images.device) for index in (y, x))
        image.copy_(image[:, rows][:, :, columns])
    return mirrored


def _other_position(rng: np.random.Generator, box: Box, height: int, width: int) -> tuple[int, int]:
    """(top, left) of a box of the same size at another position, uniform over all of them."""
    top, left, bottom, right = box
    columns = width - (right - left) + 1
    positions = (height - (bottom - top) + 1) * columns
    if positions == 1:
        return top, left
    position = int(rng.integers(positions - 1))
    position += position >= top * columns + left
    return position // columns, position % columns


def _another(sources: Sources, row: int, rng: np.random.Generator) -> int | None:
    """A random one of the normal images, but not the image itself; None: there is no other."""
    if sources.normals is None:
        return None
    own = None if sources.own is None else sources.own[row]
    count = len(sources.normals) - (own is not None)
    if count == 0:
        return None
    drawn = int(rng.integers(count))
    return drawn + 1 if own is not None and drawn >= own else drawn


class _Source(NamedTuple):
    """A picture ``(C, H, W)``, the box in it that patches are cut from, and where its object is."""

    picture: Tensor
    inside: Box
    objects: Tensor | None

    @classmethod
    def whole(cls, picture: Tensor) -> "_Source":
        return cls(picture, (0, 0, *picture.shape[1:]), None)

    @classmethod
    def among(cls, sources: Sources, number: int) -> "_Source":
        assert sources.normals is not None
        source = cls.whole(sources.normals[number].float() / 255)
        inside = source.inside if sources.boxes is None else sources.boxes[number]
        objects = None if sources.foregrounds is None else sources.foregrounds[number, 0]
        return cls(source.picture, inside, objects)


def _cut(
    source: _Source, height: int, width: int, factor: float, rng: np.random.Generator
) -> Tensor:
    """A patch ``(C, height, width)`` that is ``factor`` times as large as where it comes from."""
    top, left, bottom, right = source.inside
    size_y, size_x = min(height / factor, bottom - top), min(width / factor, right - left)
    best, most = (0.0, 0.0), -1.0
    for _ in range(PLACING_ATTEMPTS):
        y, x = rng.uniform(top, bottom - size_y), rng.uniform(left, right - size_x)
        if source.objects is None:
            best = y, x
            break
        part = source.objects[int(y) : math.ceil(y + size_y), int(x) : math.ceil(x + size_x)]
        share = float(part.sum()) / part.numel()
        if share > most:
            best, most = (y, x), share
        if share > OBJECT_SHARE:
            break
    return _resample(source.picture, (*best, size_y, size_x), height, width)


def _resample(
    picture: Tensor, window: tuple[float, float, float, float], height: int, width: int
) -> Tensor:
    """The window (top, left, height, width) of a picture, bilinear, at another size."""
    top, left, size_y, size_x = window
    y = top + (torch.arange(height, device=picture.device) + 0.5) * (size_y / height)
    x = left + (torch.arange(width, device=picture.device) + 0.5) * (size_x / width)
    y, x = 2 * y / picture.shape[1] - 1, 2 * x / picture.shape[2] - 1
    grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)
    return F.grid_sample(picture[None], grid[None], padding_mode="border", align_corners=False)[0]
