"""Textures: a bank of photographs, and procedural plain textures."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from daf_pipelines.errors import DataError
from daf_pipelines.sources.images import find_images, read_image
from daf_pipelines.synthesis.levels import LEVELS, Texture, table, to_uint8
from daf_pipelines.synthesis.masks.perlin import perlin_noise, random_gradients
from daf_pipelines.synthesis.operators import Draws


def load_textures(folder: Path | None, size: int) -> NDArray[np.uint8]:
    """Load a bank of texture photographs.

    Args:
        folder: Folder of images, searched with its sub-folders (DTD or any); None for no bank.
        size: Side of the square textures, pixels. As published, aspect ratios are not kept.

    Returns:
        uint8 bank ``(T, 3, size, size)``, RGB, in the order of the paths; T is 0 without a folder.

    Raises:
        DataError: The folder is missing or holds no image, or an image cannot be read.
    """
    if folder is None:
        return np.empty((0, 3, size, size), dtype=np.uint8)
    return np.stack([_read_texture(path, size) for path in find_textures(folder)])


def find_textures(folder: Path) -> list[Path]:
    """The texture photographs in a folder and its sub-folders.

    Raises:
        DataError: The folder is missing or holds no image.
    """
    folder = folder.expanduser()
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
    return paths


Profile = Literal["uniform", "gradient", "stripes", "noise", "perlin"]

SIMPLE_PROFILES: tuple[Profile, ...] = ("uniform", "gradient", "stripes", "noise")


def plain_textures(
    draws: Draws,
    height: int,
    width: int,
    device: torch.device,
    kinds: Sequence[Profile] = SIMPLE_PROFILES,
) -> list[Texture]:
    """Procedural plain textures: two random colours, mixed by a simple random profile.

    The profile is one of: uniform (one colour), a linear gradient in a random direction, straight
    stripes of random direction and period (4 pixels to half of the shorter side), uniform noise
    with a grain of 1, 2 or 4 pixels, or Perlin noise of 2 to 32 cells an axis.

    Args:
        draws: One generator per texture.
        height: Height in pixels.
        width: Width in pixels.
        device: Where the textures are computed.
        kinds: The profiles that are drawn from.

    Returns:
        The textures, grey with a table of colours.
    """
    colours = [rng.uniform(0, 255, size=(2, 3, 1)) for rng in draws]
    tables = [table(start + (end - start) * (LEVELS / 255)) for start, end in colours]
    profiles = [
        _PROFILES[kinds[int(rng.integers(len(kinds)))]](rng, height, width, device) for rng in draws
    ]
    grey = to_uint8(255 * torch.stack(profiles)[:, None])
    return [Texture(stored, (t,)) for stored, t in zip(grey, tables, strict=True)]


def _read_texture(path: Path, size: int) -> NDArray[np.uint8]:
    image = Image.fromarray(read_image(path)).resize((size, size), Image.Resampling.BILINEAR)
    pixels: NDArray[np.uint8] = np.asarray(image)
    return pixels.transpose(2, 0, 1)


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


def _perlin(rng: np.random.Generator, height: int, width: int, device: torch.device) -> Tensor:
    cells = rng.choice((2, 4, 8, 16, 32), size=2).tolist()
    noise = perlin_noise([random_gradients(rng, *cells)], height, width, device)[0, 0]
    return (0.5 + noise / 2).clamp_(0, 1)


_PROFILES: dict[Profile, Callable[[np.random.Generator, int, int, torch.device], Tensor]] = {
    "uniform": _uniform,
    "gradient": _gradient,
    "stripes": _stripes,
    "noise": _noise,
    "perlin": _perlin,
}
