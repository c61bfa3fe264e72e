"""DRAEM's texture augmentations with Kornia's operations: what benchmarks/synthesis.py compares.

In floating point and in batches, as Kornia is meant to be used. Its autocontrast has no cut-off,
and its operations on colour are put together to be those of DRAEM.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from kornia import enhance
from kornia.color import hsv_to_rgb, rgb_to_hsv
from kornia.geometry import rotate
from torch import Tensor

Draws = Sequence[np.random.Generator]


def augment(textures: Tensor, draws: Draws) -> Tensor:
    """Three random operations on textures in [0, 1]; those alike go together."""
    textures = textures.clone()
    chosen = np.stack([rng.permutation(len(AUGMENTATIONS)) for rng in draws])
    for step in chosen.T[:3]:
        for number in np.unique(step):
            group = np.flatnonzero(step == number).tolist()
            textures[group] = AUGMENTATIONS[number](textures[group], [draws[i] for i in group])
    return textures


def drawn(draws: Draws, low: float, high: float, size: int = 1) -> Tensor:
    return torch.from_numpy(np.concatenate([rng.uniform(low, high, size) for rng in draws])).float()


def gamma(x: Tensor, draws: Draws) -> Tensor:
    """Per channel: Kornia has one exponent an image."""
    return enhance.adjust_gamma(x.flatten(0, 1)[:, None], drawn(draws, 0.5, 2, 3)).view_as(x)


def brightness(x: Tensor, draws: Draws) -> Tensor:
    scaled = enhance.adjust_brightness_accumulative(x, drawn(draws, 0.8, 1.2), clip_output=False)
    return enhance.adjust_brightness(scaled, drawn(draws, -30 / 255, 30 / 255))


def hue_saturation(x: Tensor, draws: Draws) -> Tensor:
    """Through HSV: Kornia's own functions multiply the saturation."""
    hue, saturation = (drawn(draws, -50 / 255, 50 / 255)[:, None, None] for _ in range(2))
    hsv = rgb_to_hsv(x)
    hsv[:, 0] = (hsv[:, 0] + 2 * torch.pi * hue) % (2 * torch.pi)
    hsv[:, 1] = (hsv[:, 1] + saturation).clamp(0, 1)
    return hsv_to_rgb(hsv)


def solarise(x: Tensor, draws: Draws) -> Tensor:
    """Above 1, nothing is inverted."""
    thresholds = [rng.uniform(32, 128) / 255 if rng.random() < 0.5 else 1.1 for rng in draws]
    return enhance.solarize(x, torch.tensor(thresholds))


def posterise(x: Tensor, draws: Draws) -> Tensor:
    return enhance.posterize(x, torch.tensor([int(rng.integers(1, 9)) for rng in draws]))


AUGMENTATIONS: tuple[Callable[[Tensor, Draws], Tensor], ...] = (
    gamma,
    brightness,
    lambda x, draws: enhance.sharpness(x, drawn(draws, 0, 3)),
    hue_saturation,
    solarise,
    posterise,
    lambda x, _: enhance.invert(x),
    lambda x, _: enhance.normalize_min_max(x),  # without a cut-off: there is none
    lambda x, _: enhance.equalize(x),
    lambda x, draws: rotate(x, drawn(draws, -45, 45), align_corners=False),
)
