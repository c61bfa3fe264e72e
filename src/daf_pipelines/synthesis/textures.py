"""Textures: a bank of photographs, procedural plain textures, and DRAEM's augmentations.

Textures are 8-bit, as in the published code. Operations on single values are then tables of 256
entries, which is fast, and exact whatever the batch.
"""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from kornia.color import rgb_to_hsv
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from daf_pipelines.errors import DataError
from daf_pipelines.sources.images import find_images, read_image
from daf_pipelines.synthesis.masks import Draws, rotate

Table = NDArray[np.uint8]
"""Per channel the new value of each of the 256 values, ``(3, 256)``."""

LEVELS = np.arange(256)
AUGMENTATIONS_PER_TEXTURE = 3


def load_textures(folder: Path | None, size: int) -> NDArray[np.uint8] | None:
    """Load a bank of texture photographs.

    Args:
        folder: Folder of images, searched with its sub-folders (DTD or any); None for no bank.
        size: Side of the square textures, pixels. As published, aspect ratios are not kept.

    Returns:
        uint8 bank ``(T, 3, size, size)``, RGB, in the order of the paths, or None without a folder.

    Raises:
        DataError: The folder is missing or holds no image, or an image cannot be read.
    """
    if folder is None:
        return None
    if not folder.is_dir():
        raise DataError(
            f"synthesis.texture_root: expected a folder of texture images, found none at {folder}. "
            "Correct the path, or leave it empty to use procedural plain textures."
        )
    paths = find_images(folder)
    if not paths:
        raise DataError(
            f"synthesis.texture_root: no image in {folder} or its sub-folders. Point it to a "
            "folder of texture photographs, or leave it empty to use procedural plain textures."
        )
    return np.stack([_read_texture(path, size) for path in paths])


def plain_textures(draws: Draws, height: int, width: int, device: torch.device) -> Tensor:
    """Procedural plain textures: two random colours, mixed by a simple random profile.

    The profile is one of: uniform (one colour), a linear gradient in a random direction, straight
    stripes of random direction and period (4 pixels to half of the shorter side), or uniform noise
    with a grain of 1, 2 or 4 pixels.

    Args:
        draws: One generator per texture.
        height: Height in pixels.
        width: Width in pixels.
        device: Where the textures are computed.

    Returns:
        uint8 textures ``(B, 3, H, W)``.
    """
    colours = [rng.uniform(0, 255, size=(2, 3, 1)) for rng in draws]
    tables = [_table(start + (end - start) * (LEVELS / 255)) for start, end in colours]
    profiles = [
        _PROFILES[rng.integers(len(_PROFILES))](rng, height, width, device) for rng in draws
    ]
    return apply_tables(_to_uint8(255 * torch.stack(profiles)[:, None]), tables)


def augment_textures(textures: Tensor, draws: Draws) -> Tensor:
    """Three different random augmentations of each texture, in random order (DRAEM, ICCV 2021).

    The ten operations and their ranges are those of DRAEM's public code, where defaults stand for
    imgaug's: see ``AUGMENTATIONS``. Textures that share an operation go through it together.

    Args:
        textures: uint8 ``(B, 3, H, W)``; not modified.
        draws: One generator per texture.

    Returns:
        uint8 ``(B, 3, H, W)``.
    """
    samples = list(textures)
    chosen = np.stack([rng.permutation(len(AUGMENTATIONS)) for rng in draws])
    for step in chosen.T[:AUGMENTATIONS_PER_TEXTURE]:
        for number in np.unique(step):
            group = np.flatnonzero(step == number).tolist()
            together = torch.stack([samples[i] for i in group])
            augmented = AUGMENTATIONS[number](together, [draws[i] for i in group])
            for i, sample in zip(group, augmented, strict=True):
                samples[i] = sample
    return torch.stack(samples)


def gamma(textures: Tensor, draws: Draws) -> Tensor:
    """Gamma contrast, exponent U(0.5, 2) per channel."""
    exponents = [rng.uniform(0.5, 2, size=(3, 1)) for rng in draws]
    return apply_tables(textures, [_table(255 * (LEVELS / 255) ** power) for power in exponents])


def brightness(textures: Tensor, draws: Draws) -> Tensor:
    """Value x U(0.8, 1.2) + U(-30, 30), on RGB (imgaug: in a random colour space)."""
    pairs = [(rng.uniform(0.8, 1.2), rng.uniform(-30, 30)) for rng in draws]
    return apply_tables(textures, [_table(LEVELS * factor + shift) for factor, shift in pairs])


def sharpness(textures: Tensor, draws: Draws) -> Tensor:
    """Sharpness of Pillow with factor U(0, 3): 0 is smoothed, 1 the texture, 3 sharpened."""
    factors = [rng.uniform(0, 3) for rng in draws]
    factor = _per_texture(factors, textures.device)
    original = textures.float()
    blended = original.clone()
    smooth = _smooth(textures.to(torch.int16)) / 13
    inner = (..., slice(1, -1), slice(1, -1))
    blended[inner] = smooth + factor * (original[inner] - smooth)
    return _to_uint8(blended)


def hue_saturation(textures: Tensor, draws: Draws) -> Tensor:
    """Hue and saturation shifted, each by U(-50, 50) / 255 of its full range."""
    shifts = [rng.uniform(-50 / 255, 50 / 255, size=2) for rng in draws]
    hue, saturation = (_per_texture([s[k] for s in shifts], textures.device) for k in range(2))
    return _to_uint8(255 * shift_hsv(textures.float() / 255, hue, saturation))


def solarise(textures: Tensor, draws: Draws) -> Tensor:
    """Values from U(32, 128) on inverted, with probability 0.5."""
    thresholds = [rng.uniform(32, 128) if rng.random() < 0.5 else 256 for rng in draws]
    tables = [
        _table(np.where(threshold > LEVELS, LEVELS, 255 - LEVELS)) for threshold in thresholds
    ]
    return apply_tables(textures, tables)


def posterise(textures: Tensor, draws: Draws) -> Tensor:
    """Only the 1 to 8 highest bits kept."""
    low_bits = [8 - rng.integers(1, 9) for rng in draws]
    return apply_tables(textures, [_table(LEVELS >> bits << bits) for bits in low_bits])


def invert(textures: Tensor, draws: Draws) -> Tensor:  # noqa: ARG001 - one signature for all
    """All values inverted."""
    return 255 - textures


def autocontrast(textures: Tensor, draws: Draws) -> Tensor:
    """Autocontrast of Pillow, per channel, with a cut-off of U{0..20} percent at both ends."""
    cutoffs = [int(rng.integers(21)) for rng in draws]
    pairs = zip(_histograms(textures), cutoffs, strict=True)
    tables = [[_autocontrast_table(h, cutoff) for h in channels] for channels, cutoff in pairs]
    return apply_tables(textures, [np.stack(table) for table in tables])


def equalise(textures: Tensor, draws: Draws) -> Tensor:  # noqa: ARG001 - one signature for all
    """Histogram equalisation of Pillow, per channel."""
    tables = [[_equalise_table(h) for h in channels] for channels in _histograms(textures)]
    return apply_tables(textures, [np.stack(table) for table in tables])


def affine(textures: Tensor, draws: Draws) -> Tensor:
    """Rotation by U(-45, 45) degrees about the centre, black outside."""
    return _to_uint8(rotate(textures.float(), [rng.uniform(-45, 45) for rng in draws]))


Augmentation = Callable[[Tensor, Draws], Tensor]

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
"""The operations of DRAEM's public code (``data_loader.py``): uint8 ``(B, 3, H, W)`` in and out."""


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


def apply_tables(textures: Tensor, tables: Sequence[Table]) -> Tensor:
    """Replace every value by its entry in a table.

    Args:
        textures: uint8 ``(B, 3, H, W)``, or ``(B, 1, H, W)`` to colour grey ones.
        tables: Per texture a table ``(3, 256)``, or ``(256,)`` for all channels.

    Returns:
        uint8 ``(B, 3, H, W)``.
    """
    stacked = np.stack([np.broadcast_to(table, (3, 256)) for table in tables])
    lookup = torch.from_numpy(stacked).to(textures.device)
    index = textures.flatten(2).long().expand(-1, 3, -1)
    return lookup.gather(2, index).view(len(textures), 3, *textures.shape[2:])


def _read_texture(path: Path, size: int) -> NDArray[np.uint8]:
    image = Image.fromarray(read_image(path)).resize((size, size), Image.Resampling.BILINEAR)
    pixels: NDArray[np.uint8] = np.asarray(image)
    return pixels.transpose(2, 0, 1)


def _hsv_to_rgb(sextant: Tensor, saturation: Tensor, value: Tensor) -> Tensor:
    """RGB from hue in sixths of a turn, [0, 6]; a third of the time of kornia's conversion."""
    shift = torch.tensor((5.0, 3.0, 1.0), device=value.device)[:, None, None]
    k = sextant + shift
    k -= 6 * (k >= 6)
    chroma = torch.minimum(k, 4 - k).clamp_(0, 1).mul_(saturation).mul_(value)
    return (value - chroma).clamp_(0, 1)


def _to_uint8(values: Tensor) -> Tensor:
    return values.round_().clamp_(0, 255).to(torch.uint8)


def _per_texture(values: Sequence[float], device: torch.device) -> Tensor:
    return torch.tensor(values, dtype=torch.float32, device=device)[:, None, None, None]


def _table(values: NDArray[Any]) -> Table:
    table: Table = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return table


def _smooth(textures: Tensor) -> Tensor:
    """13 x Pillow's SMOOTH filter (ones, 5 in the centre) of the inner pixels; integers, exact."""
    rows = textures[..., :-2, :] + textures[..., 1:-1, :] + textures[..., 2:, :]
    box = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]
    return box + 4 * textures[..., 1:-1, 1:-1]


def _histograms(textures: Tensor) -> NDArray[np.int64]:
    """Histograms ``(B, 3, 256)`` per texture and channel."""
    channels = textures.flatten(0, 1).flatten(1).long()
    offsets = 256 * torch.arange(len(channels), device=textures.device)
    counts = torch.bincount((channels + offsets[:, None]).flatten(), minlength=256 * len(channels))
    histograms: NDArray[np.int64] = counts.view(len(textures), 3, 256).cpu().numpy()
    return histograms


def _autocontrast_table(histogram: NDArray[np.int64], cutoff: int) -> Table:
    """The table of ``PIL.ImageOps.autocontrast``: what is left after the cut spans 0 to 255."""
    total = int(histogram.sum())
    cut = total * cutoff // 100
    below = np.cumsum(histogram)
    low = int(np.argmax(below > cut))
    high = 255 - int(np.argmax(np.cumsum(histogram[::-1]) > cut))
    if high <= low:
        return _table(LEVELS)
    return _table(np.floor((LEVELS - low) * (255 / (high - low))))


def _equalise_table(histogram: NDArray[np.int64]) -> Table:
    """The table of ``PIL.ImageOps.equalize``."""
    occupied = histogram[histogram > 0]
    step = int(occupied[:-1].sum()) // 255
    if step == 0:
        return _table(LEVELS)
    below = np.cumsum(histogram) - histogram
    return _table((step // 2 + below) // step)


def _coordinate(rng: np.random.Generator, height: int, width: int, device: torch.device) -> Tensor:
    """Distance in pixels along a random direction, ``(H, W)``, 0 in the centre."""
    angle = rng.uniform(0, 2 * math.pi)
    x = torch.arange(width, dtype=torch.float32, device=device) - (width - 1) / 2
    y = torch.arange(height, dtype=torch.float32, device=device) - (height - 1) / 2
    return (x * math.cos(angle))[None] + (y * math.sin(angle))[:, None]


def _uniform(
    rng: np.random.Generator,  # noqa: ARG001 - one signature for all
    height: int,
    width: int,
    device: torch.device,
) -> Tensor:
    return torch.zeros(height, width, device=device)


def _gradient(rng: np.random.Generator, height: int, width: int, device: torch.device) -> Tensor:
    return _coordinate(rng, height, width, device) / math.hypot(height, width) + 0.5


def _stripes(rng: np.random.Generator, height: int, width: int, device: torch.device) -> Tensor:
    period = rng.uniform(4, min(height, width) / 2)
    phase = _coordinate(rng, height, width, device) / period
    return ((phase - phase.floor()) < 0.5).float()


def _noise(rng: np.random.Generator, height: int, width: int, device: torch.device) -> Tensor:
    grain = int(rng.choice((1, 2, 4)))
    values = rng.random((-(-height // grain), -(-width // grain)), dtype=np.float32)
    values = values.repeat(grain, axis=0).repeat(grain, axis=1)[:height, :width]
    return torch.from_numpy(np.ascontiguousarray(values)).to(device)


_PROFILES = (_uniform, _gradient, _stripes, _noise)
