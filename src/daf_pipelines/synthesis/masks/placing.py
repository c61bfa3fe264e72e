"""Masks that lie where an outlier may lie, and are as large as it may be."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from daf_pipelines.synthesis.operators import Draws, MaskFunction

PLACING_ATTEMPTS = 8


def masks_within(
    operator: MaskFunction,
    images: Tensor,
    draws: Draws,
    valid: Tensor,
    area: tuple[float, float] = (0.0, 1.0),
) -> Tensor:
    """Masks cut to the pixels that may be defective, with an area within bounds.

    A mask that is too small or too large is drawn again. After ``PLACING_ATTEMPTS`` it is made to
    fit: what is too large is cut to its pixels nearest to one of them; what is too small becomes
    the valid pixels nearest to one of its own, or to any valid one where it has none.

    Args:
        operator: Where the masks come from.
        images: Batch ``(B, C, H, W)``.
        draws: One generator per image.
        valid: Bool ``(B, 1, H, W)``, none empty.
        area: Bounds of the mask's area, fractions of the valid area. One pixel is always allowed,
            and none is never enough.

    Returns:
        Bool masks ``(B, 1, H, W)``, never empty.
    """
    space = valid.flatten(1).sum(dim=1)
    smallest = [max(1, math.ceil(area[0] * pixels)) for pixels in space.tolist()]
    largest = [max(1, math.floor(area[1] * pixels)) for pixels in space.tolist()]
    masks = operator(images, draws) & valid
    rows = _misfits(masks, smallest, largest)
    for _ in range(PLACING_ATTEMPTS):
        if not rows:
            return masks
        masks[rows] = operator(images[rows], [draws[i] for i in rows]) & valid[rows]
        rows = _misfits(masks, smallest, largest)
    for i in rows:
        fitted = _fit(masks[i, 0], valid[i, 0], smallest[i], largest[i], draws[i])
        masks[i, 0] = torch.from_numpy(fitted).to(masks.device)
    return masks


def changed_part(masks: Tensor, images: Tensor, blended: Tensor, tolerance: float) -> Tensor:
    """The part of the masks where the image changes visibly.

    The label of NSA (Schlueter et al., ECCV 2022, public code): where the mean absolute difference
    over the channels exceeds the tolerance, without its grain: a pixel belongs to it when most of
    its 5 x 5 neighbours do (their median).

    Args:
        masks: Bool ``(B, 1, H, W)``.
        images: Before, ``(B, C, H, W)`` in [0, 1].
        blended: After, of the same shape.
        tolerance: In levels of 255.

    Returns:
        Bool ``(B, 1, H, W)`` within the masks; a mask of which nothing is left stays as it is.
    """
    change = (blended - images).abs_().mean(dim=1, keepdim=True)
    changed = (change > tolerance / 255) & masks
    neighbours = F.pad(changed.to(torch.int16), (2, 2, 2, 2)).unfold(2, 5, 1).sum(dim=-1)
    most = neighbours.unfold(3, 5, 1).sum(dim=-1) > 12
    part = most & masks
    return part | (masks & ~part.any(dim=(2, 3), keepdim=True))


def empty_rows(masks: Tensor) -> list[int]:
    """Which masks of a batch are empty."""
    empty: list[int] = (
        (masks.flatten(1).view(torch.uint8).amax(dim=1) == 0).nonzero()[:, 0].tolist()
    )
    return empty


def _misfits(masks: Tensor, smallest: list[int], largest: list[int]) -> list[int]:
    """Which masks have fewer or more pixels than they may."""
    sizes = masks.flatten(1).sum(dim=1).tolist()
    bounds = zip(sizes, smallest, largest, strict=True)
    return [i for i, (size, low, high) in enumerate(bounds) if not low <= size <= high]


def _fit(
    mask: Tensor, valid: Tensor, smallest: int, largest: int, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """The mask, cut or grown to the bounds."""
    inside, allowed = mask.cpu().numpy(), valid.cpu().numpy()
    centre = rng.choice(np.argwhere(inside if inside.any() else allowed))
    if inside.sum() > largest:
        return _nearest(inside, centre, largest)
    return _nearest(allowed, centre, smallest)


def _nearest(pixels: NDArray[np.bool_], centre: NDArray[np.int64], count: int) -> NDArray[np.bool_]:
    """The ``count`` pixels nearest to a centre; equally near ones in reading order."""
    places = np.argwhere(pixels)
    order = np.argsort(((places - centre) ** 2).sum(axis=1), kind="stable")[:count]
    nearest = np.zeros_like(pixels)
    nearest[tuple(places[order].T)] = True
    return nearest
