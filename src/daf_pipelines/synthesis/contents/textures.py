"""Contents of texture: photographs and procedural plain textures."""

from collections.abc import Sequence
from typing import Annotated

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from daf_pipelines.synthesis.augmentations import augment_textures
from daf_pipelines.synthesis.levels import Texture
from daf_pipelines.synthesis.operators import Draws, Sources
from daf_pipelines.synthesis.textures import SIMPLE_PROFILES, Profile, plain_textures


def augmented_texture(
    images: Tensor,
    masks: Tensor,
    draws: Draws,
    sources: Sources,
    *,
    augmentations: Annotated[int, Field(ge=0, le=10)] = 3,
) -> Tensor:
    """A random texture of the bank through random augmentations (DRAEM, ICCV 2021).

    Without a bank, procedural plain textures go through the same augmentations.

    Args:
        images: Batch ``(B, C, H, W)``, C up to 3; a greyscale batch gets one texture channel.
        masks: Bool masks ``(B, 1, H, W)``.
        draws: One generator per image.
        sources: The texture bank; resized to the images where sizes differ.
        augmentations: How many different ones each texture goes through.

    Returns:
        Contents ``(B, C, H, W)`` float32 in [0, 1]; outside the masks 0.
    """
    height, width = images.shape[-2:]
    if sources.textures is None:
        chosen = plain_textures(draws, height, width, images.device)
    else:
        picked = _pick(sources.textures, draws, height, width)
        chosen = [Texture(stored.to(images.device)) for stored in picked]
    return _within(masks, augment_textures(chosen, draws, augmentations), images)


def plain_texture(
    images: Tensor,
    masks: Tensor,
    draws: Draws,
    sources: Sources,  # noqa: ARG001 - one signature for all contents
    *,
    kinds: Annotated[tuple[Profile, ...], Field(min_length=1)] = SIMPLE_PROFILES,
) -> Tensor:
    """A procedural plain texture: see ``textures.plain_textures``.

    Args:
        images: Batch ``(B, C, H, W)``, C up to 3; a greyscale batch gets one texture channel.
        masks: Bool masks ``(B, 1, H, W)``.
        draws: One generator per image.
        sources: Not used.
        kinds: The profiles that are drawn from.

    Returns:
        Contents ``(B, C, H, W)`` float32 in [0, 1]; outside the masks 0.
    """
    height, width = images.shape[-2:]
    return _within(masks, plain_textures(draws, height, width, images.device, kinds), images)


def plain_colour(
    images: Tensor,
    masks: Tensor,  # noqa: ARG001 - one signature for all contents
    draws: Draws,
    sources: Sources,  # noqa: ARG001
) -> Tensor:
    """One random colour, uniform over RGB.

    Args:
        images: Batch ``(B, C, H, W)``, C up to 3.
        masks: Not used.
        draws: One generator per image.
        sources: Not used.

    Returns:
        Contents ``(B, C, H, W)`` float32 in [0, 1].
    """
    drawn = np.stack([rng.random(3, dtype=np.float32) for rng in draws])
    colours = torch.from_numpy(drawn).to(images.device)[:, : images.shape[1], None, None]
    return colours.expand_as(images).clone()


def _pick(textures: Tensor, draws: Draws, height: int, width: int) -> list[Tensor]:
    """One random texture per generator, uint8 ``(3, height, width)`` each."""
    picked = [textures[int(rng.integers(len(textures)))] for rng in draws]
    if textures.shape[-2:] == (height, width):
        return picked
    return list(_resize(torch.stack(picked), height, width))


def _resize(textures: Tensor, height: int, width: int) -> Tensor:
    """Bilinear; by grid_sample, as interpolate's rounding depends on the number of threads."""
    y, x = (
        (2 * torch.arange(size, device=textures.device) + 1) / size - 1 for size in (height, width)
    )
    grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1).expand(
        len(textures), -1, -1, -1
    )
    resized = F.grid_sample(textures.float(), grid, padding_mode="border", align_corners=False)
    return resized.round_().to(torch.uint8)


def _within(masks: Tensor, textures: Sequence[Texture], images: Tensor) -> Tensor:
    """The textures' pixels inside the masks, as contents."""
    contents = torch.zeros_like(images)
    for content, texture, mask in zip(contents, textures, masks, strict=True):
        # Several times faster in numpy.
        chosen = torch.from_numpy(np.flatnonzero(mask.cpu().numpy())).to(images.device)
        pixels = texture.pixels(chosen)[: len(content)].to(images.dtype).div_(255)
        content.flatten(1).scatter_(1, chosen.expand(len(content), -1), pixels)
    return contents
