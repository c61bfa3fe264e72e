"""The texture augmentations of DRAEM, on textures of 256 levels, as in the published code."""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from daf_pipelines.synthesis.colour import shift_hsv
from daf_pipelines.synthesis.geometry import rotate
from daf_pipelines.synthesis.levels import (
    LEVELS,
    Operation,
    Table,
    Texture,
    table,
    to_uint8,
)
from daf_pipelines.synthesis.operators import Draws

Textures = Sequence[Texture]

Augmentation = Callable[[Textures, Draws], Textures]

AUGMENTATIONS_PER_TEXTURE = 3


def augment_textures(
    textures: Textures, draws: Draws, count: int = AUGMENTATIONS_PER_TEXTURE
) -> list[Texture]:
    """Different random augmentations of each texture, in random order (DRAEM, ICCV 2021).

    The ten operations and their ranges are those of DRAEM's public code, where defaults stand for
    imgaug's: see ``AUGMENTATIONS``. Textures that share an operation go through it together.

    Args:
        textures: Textures of one size; not modified.
        draws: One generator per texture.
        count: Augmentations per texture.

    Returns:
        The augmented textures.
    """
    augmented = list(textures)
    chosen = np.stack([rng.permutation(len(AUGMENTATIONS)) for rng in draws])
    for step in chosen.T[:count]:
        for number in np.unique(step):
            group = np.flatnonzero(step == number).tolist()
            together = [augmented[i] for i in group]
            results = AUGMENTATIONS[number](together, [draws[i] for i in group])
            for i, result in zip(group, results, strict=True):
                augmented[i] = result
    return augmented


def gamma(textures: Textures, draws: Draws) -> Textures:
    """Gamma contrast, exponent U(0.5, 2) per channel."""
    exponents = [rng.uniform(0.5, 2, size=(3, 1)) for rng in draws]
    return _through(textures, [table(255 * (LEVELS / 255) ** power) for power in exponents])


def brightness(textures: Textures, draws: Draws) -> Textures:
    """Value x U(0.8, 1.2) + U(-30, 30), on RGB (imgaug: in a random colour space)."""
    pairs = [(rng.uniform(0.8, 1.2), rng.uniform(-30, 30)) for rng in draws]
    return _through(textures, [table(LEVELS * factor + shift) for factor, shift in pairs])


def sharpness(textures: Textures, draws: Draws) -> Textures:
    """Sharpness of Pillow with factor U(0, 3): 0 is smoothed, 1 the texture, 3 sharpened."""
    factors = torch.tensor([rng.uniform(0, 3) for rng in draws])
    pixels = _floats(textures)
    smooth = _smooth(pixels)
    inner = pixels[..., 1:-1, 1:-1]
    inner.sub_(smooth).mul_(factors[:, None, None, None].to(pixels.device)).add_(smooth)
    return _textures(to_uint8(pixels))


def hue_saturation(textures: Textures, draws: Draws) -> Textures:
    """Hue and saturation shifted, each by U(-50, 50) / 255 of its full range."""
    shifts = [rng.uniform(-50 / 255, 50 / 255, size=2) for rng in draws]
    return _through(textures, [partial(_shift, shifts=own.astype(np.float32)) for own in shifts])


def solarise(textures: Textures, draws: Draws) -> Textures:
    """Values from U(32, 128) on inverted, with probability 0.5."""
    thresholds = [rng.uniform(32, 128) if rng.random() < 0.5 else 256 for rng in draws]
    tables = [table(np.where(threshold > LEVELS, LEVELS, 255 - LEVELS)) for threshold in thresholds]
    return _through(textures, tables)


def posterise(textures: Textures, draws: Draws) -> Textures:
    """Only the 1 to 8 highest bits kept."""
    low_bits = [8 - rng.integers(1, 9) for rng in draws]
    return _through(textures, [table(LEVELS >> bits << bits) for bits in low_bits])


def invert(textures: Textures, draws: Draws) -> Textures:  # noqa: ARG001 - one signature for all
    """All values inverted."""
    return _through(textures, [table(255 - LEVELS)] * len(textures))


def autocontrast(textures: Textures, draws: Draws) -> Textures:
    """Autocontrast of Pillow, per channel, with a cut-off of U{0..20} percent at both ends."""
    cutoffs = [int(rng.integers(21)) for rng in draws]
    settled = [texture.settled() for texture in textures]
    pairs = zip(settled, cutoffs, strict=True)
    return _through(settled, [_autocontrast_table(t.histograms(), cut) for t, cut in pairs])


def equalise(textures: Textures, draws: Draws) -> Textures:  # noqa: ARG001 - one signature for all
    """Histogram equalisation of Pillow, per channel."""
    settled = [texture.settled() for texture in textures]
    return _through(settled, [_equalise_table(texture.histograms()) for texture in settled])


def affine(textures: Textures, draws: Draws) -> Textures:
    """Rotation by U(-45, 45) degrees about the centre, black outside."""
    degrees = [rng.uniform(-45, 45) for rng in draws]
    return _textures(to_uint8(rotate(_floats(textures), degrees)))


AUGMENTATIONS: tuple[Augmentation, ...] = (
    gamma,
    brightness,
    sharpness,
    hue_saturation,
    solarise,
    posterise,
    invert,
    autocontrast,
    equalise,
    affine,
)
"""The operations of DRAEM's public code (``data_loader.py``)."""


def _through(textures: Textures, operations: Sequence[Operation]) -> Textures:
    pairs = zip(textures, operations, strict=True)
    return [texture.through(operation) for texture, operation in pairs]


def _floats(textures: Textures) -> Tensor:
    """All pixels of textures of one size, 0 to 255, float32 ``(B, 3, H, W)``."""
    pixels = torch.stack([texture.pixels().float() for texture in textures])
    return pixels.view(len(textures), 3, *textures[0].stored.shape[1:])


def _textures(pixels: Tensor) -> Textures:
    return [Texture(stored) for stored in pixels]


def _shift(pixels: Tensor, shifts: NDArray[np.float32]) -> Tensor:
    """Pixels ``(3, P)`` with hue and saturation shifted."""
    hue, saturation = torch.from_numpy(shifts).to(pixels.device)
    return to_uint8(255 * shift_hsv(pixels[None, :, None].float() / 255, hue, saturation))[0, :, 0]


def _smooth(pixels: Tensor) -> Tensor:
    """Pillow's SMOOTH filter, (ones, 5 in the centre) / 13, of the inner pixels."""
    rows = pixels[..., :-2, :] + pixels[..., 1:-1, :]
    rows += pixels[..., 2:, :]
    box = rows[..., :-2] + rows[..., 1:-1]
    box += rows[..., 2:]
    return box.add_(pixels[..., 1:-1, 1:-1], alpha=4).div_(13)


def _autocontrast_table(histograms: NDArray[np.int64], cutoff: int) -> Table:
    """The table of ``PIL.ImageOps.autocontrast``: what is left after the cut spans 0 to 255."""
    cut = histograms[0].sum() * cutoff // 100
    low = np.argmax(np.cumsum(histograms, axis=1) > cut, axis=1)[:, None]
    high = 255 - np.argmax(np.cumsum(histograms[:, ::-1], axis=1) > cut, axis=1)[:, None]
    stretched = np.floor((LEVELS - low) * (255 / np.maximum(high - low, 1)))
    return table(np.where(high > low, stretched, LEVELS))


def _equalise_table(histograms: NDArray[np.int64]) -> Table:
    """The table of ``PIL.ImageOps.equalize``."""
    below = np.cumsum(histograms, axis=1) - histograms
    step = below.max(axis=1, keepdims=True, where=histograms > 0, initial=0) // 255
    return table(np.where(step > 0, (step // 2 + below) // np.maximum(step, 1), LEVELS))
