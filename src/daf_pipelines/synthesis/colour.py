"""Colour: hue and saturation, and the jitter of patches."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from kornia.color import rgb_to_hsv
from torch import Tensor

from daf_pipelines.synthesis.operators import Draws

GREY_WEIGHTS = (0.299, 0.587, 0.114)


def colour_jitter(patches: Sequence[Tensor], draws: Draws, strength: float) -> list[Tensor]:
    """Colour jitter of patches of different sizes, in one go over all their pixels.

    Torchvision's ``ColorJitter``, in the fixed order brightness, contrast, saturation, hue (its own
    order is random): factors U(1 - strength, 1 + strength), hue shift U(-strength, strength) turns.
    Contrast is about the mean grey of the patch. Saturation and hue need three channels.

    Args:
        patches: Patches ``(C, h, w)`` float32 in [0, 1].
        draws: One generator per patch.
        strength: Strength of the jitter.

    Returns:
        Patches of the same shapes, in [0, 1].
    """
    drawn = np.stack([rng.uniform(-strength, strength, size=4) for rng in draws])
    sizes = torch.tensor([patch[0].numel() for patch in patches])
    owners = torch.arange(len(patches)).repeat_interleave(sizes).to(patches[0].device)
    parameters = torch.from_numpy(drawn.astype(np.float32)).to(owners.device)
    pixels = torch.cat([patch.flatten(1) for patch in patches], dim=1)
    jittered = _jitter_pixels(pixels, owners, parameters)
    parts = torch.split(jittered, sizes.tolist(), dim=1)
    return [new.view_as(old) for new, old in zip(parts, patches, strict=True)]


def shift_hsv(images: Tensor, hue: Tensor, saturation: Tensor) -> Tensor:
    """Shift hue and saturation.

    Args:
        images: RGB ``(B, 3, H, W)`` float32 in [0, 1].
        hue: Shift in turns, broadcast against ``(B, 1, H, W)``.
        saturation: Shift of the saturation, likewise; the sum is clipped to [0, 1].

    Returns:
        RGB of the same shape, in [0, 1].
    """
    old_hue, old_saturation, value = rgb_to_hsv(images).split(1, dim=1)
    sextant = old_hue * (3 / math.pi) + 6 * hue
    sextant -= 6 * (sextant / 6).floor()
    return _hsv_to_rgb(sextant, (old_saturation + saturation).clamp_(0, 1), value)


def _jitter_pixels(pixels: Tensor, owners: Tensor, parameters: Tensor) -> Tensor:
    """Jitter pixels ``(C, P)`` by the parameters ``(patches, 4)`` of the patch that owns each."""
    brightness, contrast, saturation, hue = parameters.T.index_select(1, owners)
    pixels = (pixels * (1 + brightness)).clamp_(0, 1)
    mean = _mean_per_patch(_grey(pixels), owners, len(parameters))[owners]
    pixels = (pixels * (1 + contrast) - mean * contrast).clamp_(0, 1)
    if len(pixels) < 3:
        return pixels
    pixels = (pixels * (1 + saturation) - _grey(pixels) * saturation).clamp_(0, 1)
    return shift_hsv(pixels[None, :, None], hue, torch.zeros_like(hue))[0, :, 0]


def _grey(pixels: Tensor) -> Tensor:
    """Grey values ``(P,)``; the first channel where there are fewer than three."""
    if len(pixels) < 3:
        return pixels[0]
    red, green, blue = pixels
    grey: Tensor = GREY_WEIGHTS[0] * red + GREY_WEIGHTS[1] * green + GREY_WEIGHTS[2] * blue
    return grey


def _mean_per_patch(values: Tensor, owners: Tensor, count: int) -> Tensor:
    """Mean over each patch, in integers (16 bits): exact in whatever order they are added."""
    levels = (values * 65535).round().long()
    sums = torch.zeros(count, dtype=torch.int64, device=values.device).index_add(0, owners, levels)
    sizes = torch.bincount(owners, minlength=count)
    means: Tensor = (sums.double() / (sizes * 65535)).to(values.dtype)
    return means


def _hsv_to_rgb(sextant: Tensor, saturation: Tensor, value: Tensor) -> Tensor:
    """RGB from hue in sixths of a turn, [0, 6]; a third of the time of kornia's conversion."""
    shift = torch.tensor((5.0, 3.0, 1.0), device=value.device)[:, None, None]
    k = sextant + shift
    k -= 6 * (k >= 6)
    chroma = torch.minimum(k, 4 - k).clamp_(0, 1).mul_(saturation).mul_(value)
    return (value - chroma).clamp_(0, 1)
