"""Strategies of outlier synthesis: mask x content x blending, and the named presets."""

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from daf_pipelines.errors import ParameterError
from daf_pipelines.synthesis.blending import hard_paste, opacity_blending
from daf_pipelines.synthesis.contents import (
    augmented_texture,
    own_patch,
    plain_texture,
    without_padding,
)
from daf_pipelines.synthesis.masks import (
    Draws,
    MaskOperator,
    masks_within,
    perlin_mask,
    rectangle_mask,
)

ContentOperator = Callable[[Tensor, Tensor, Draws, Tensor | None], Tensor]
BlendingOperator = Callable[[Tensor, Tensor, Tensor, Draws], Tensor]

SMALLEST_SIDE = 32


@dataclass(frozen=True)
class Strategy:
    """How outliers are made: where (mask), of what (content), and how it is put in (blending).

    Attributes:
        mask: Images and generators to bool masks, see ``masks``.
        content: Images, masks, generators and texture bank to contents, see ``contents``.
        blending: Images, contents, masks and generators to blended images, a new tensor or the
            contents, see ``blending``.
        description: What it is and where it comes from, one line.
    """

    mask: MaskOperator
    content: ContentOperator
    blending: BlendingOperator
    description: str


STRATEGIES: dict[str, Strategy] = {
    "draem": Strategy(
        perlin_mask,
        augmented_texture,
        opacity_blending,
        "Perlin mask, augmented texture photograph, opacity 1 - U(0, 0.8). Zavrtanik et al., "
        "DRAEM, ICCV 2021; DRA in DAF. Without a texture folder: plain textures.",
    ),
    "simple_texture": Strategy(
        perlin_mask,
        plain_texture,
        opacity_blending,
        "Perlin mask, plain texture (uniform, gradient, stripes or noise in two colours), opacity "
        "1 - U(0, 0.8). Simple Texture of Cai et al., DAF, IEEE TII 2023.",
    ),
    "cutpaste": Strategy(
        rectangle_mask,
        own_patch,
        hard_paste,
        "A colour-jittered rectangle of the same image pasted at another position. Li et al., "
        "CutPaste, CVPR 2021.",
    ),
}
"""The presets by name."""


class Outliers(NamedTuple):
    """A batch of synthetic outliers.

    Attributes:
        images: ``(B, C, H, W)`` float32 in [0, 1], identical to the input outside the masks.
        masks: ``(B, 1, H, W)`` float32 in {0, 1}, none empty.
    """

    images: Tensor
    masks: Tensor


def synthesise(
    images: Tensor,
    strategy: str | Strategy,
    keys: Sequence[int],
    textures: Tensor | None = None,
    *,
    match_grey: bool = True,
    valid: Tensor | None = None,
) -> Outliers:
    """Make one outlier of every image.

    The outlier of image i depends on the image, ``keys[i]``, the strategy and the texture bank
    only: on one device it is the same bit for bit, whatever the rest of the batch and its order.
    Random numbers are drawn on the CPU, tensor operations run on the images' device.

    Args:
        images: Normal images ``(B, C, H, W)`` float32 in [0, 1], C up to 3, H and W at least 32.
        strategy: A name in ``STRATEGIES``, or a strategy.
        keys: One non-negative integer per image, see ``outlier_key``.
        textures: Texture bank uint8 ``(T, 3, h, w)``, see ``textures.load_textures``. None: where
            a strategy uses textures, procedural plain ones.
        match_grey: Give grey images grey outliers. Otherwise their outliers are coloured, as in
            the published code, and colour alone gives them away.
        valid: Where outliers may lie, bool ``(B, 1, H, W)``, none empty. None: everywhere.

    Returns:
        Outlier images and masks, see ``Outliers``.

    Raises:
        ParameterError: There is no strategy of that name.
        ValueError: An argument has another shape or dtype.
    """
    chosen = find_strategy(strategy) if isinstance(strategy, str) else strategy
    _check(images, keys, textures)
    draws = [np.random.default_rng(key) for key in keys]
    if valid is None:
        masks, sources = chosen.mask(images, draws), images
    else:
        _check_valid(images, valid)
        masks = masks_within(chosen.mask, images, draws, valid)
        sources = without_padding(images, valid)
    contents = chosen.content(sources, masks, draws, textures)
    if match_grey:
        contents = _grey_where_grey(images, contents)
    blended = chosen.blending(images, contents, masks, draws).clamp_(0, 1)
    inside = masks.to(images.dtype)
    # lerp is exact at weights 0 and 1, and many times faster than torch.where on the CPU.
    return Outliers(torch.lerp(images, blended, inside, out=blended), inside)


def _grey_where_grey(images: Tensor, contents: Tensor) -> Tensor:
    """Contents without colour for the images that have none."""
    grey = (images == images[:, :1]).flatten(1).all(dim=1)
    if images.shape[1] == 1 or not grey.any():
        return contents
    luma = contents.mean(dim=1, keepdim=True)
    return torch.where(grey[:, None, None, None], luma, contents)


def find_strategy(name: str) -> Strategy:
    """The preset of that name.

    Raises:
        ParameterError: There is none; the message lists the names and the nearest one.
    """
    if name not in STRATEGIES:
        nearest = difflib.get_close_matches(name, STRATEGIES, n=1, cutoff=0)[0]
        raise ParameterError(
            f"synthesis.strategy: unknown strategy '{name}'; did you mean '{nearest}'? "
            f"Known strategies: {', '.join(sorted(STRATEGIES))}."
        )
    return STRATEGIES[name]


def outlier_key(seed: int, *counters: int) -> int:
    """Mix a seed and counters (epoch, image index, ...) into a key for ``synthesise``.

    NumPy's ``SeedSequence``: stable over versions and machines.

    Args:
        seed: Non-negative integer.
        counters: Non-negative integers below 2**32.

    Returns:
        A key of 63 bits.
    """
    sequence = np.random.SeedSequence(seed, spawn_key=counters)
    return int(sequence.generate_state(1, np.uint64)[0] >> 1)


def _check(images: Tensor, keys: Sequence[int], textures: Tensor | None) -> None:
    shape = tuple(images.shape)
    if images.dtype != torch.float32 or len(shape) != 4 or not 1 <= shape[1] <= 3:
        raise ValueError(f"images: expected (B, 1 to 3, H, W) float32; got {shape} {images.dtype}.")
    if min(shape[2:]) < SMALLEST_SIDE:
        raise ValueError(f"images: expected sides of {SMALLEST_SIDE} pixels or more; got {shape}.")
    if len(keys) != shape[0]:
        raise ValueError(f"keys: expected one per image, {shape[0]}; got {len(keys)}.")
    if textures is not None and (
        textures.dtype != torch.uint8 or textures.dim() != 4 or textures.shape[1] != 3
    ):
        raise ValueError(
            f"textures: expected (T, 3, h, w) uint8; got {tuple(textures.shape)} {textures.dtype}."
        )


def _check_valid(images: Tensor, valid: Tensor) -> None:
    shape = (len(images), 1, *images.shape[-2:])
    if valid.dtype != torch.bool or valid.shape != shape:
        raise ValueError(f"valid: expected {shape} bool; got {tuple(valid.shape)} {valid.dtype}.")
    if not valid.flatten(1).any(dim=1).all():
        raise ValueError("valid: expected a pixel in every image where an outlier may lie.")
