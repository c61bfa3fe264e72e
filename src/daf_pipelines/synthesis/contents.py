"""Content operators: what an outlier looks like.

A content operator takes the images ``(B, C, H, W)``, the bool masks ``(B, 1, H, W)``, one random
generator per image and a texture bank (uint8 ``(T, 3, h, w)`` or None), and returns contents
``(B, C, H, W)`` float32 in [0, 1]. Only what lies inside the masks is used.
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from daf_pipelines.synthesis.masks import Draws, bounding_boxes
from daf_pipelines.synthesis.textures import augment_textures, plain_textures, shift_hsv

Box = tuple[int, int, int, int]

GREY_WEIGHTS = (0.299, 0.587, 0.114)


def augmented_texture(
    images: Tensor,
    masks: Tensor,  # noqa: ARG001 - one signature for all contents
    draws: Draws,
    textures: Tensor | None,
) -> Tensor:
    """A random texture of the bank through three random augmentations (DRAEM, ICCV 2021).

    Without a bank, procedural plain textures go through the same augmentations.

    Args:
        images: Batch ``(B, C, H, W)``, C up to 3; a greyscale batch gets one texture channel.
        masks: Not used.
        draws: One generator per image.
        textures: uint8 bank ``(T, 3, h, w)``, resized to the images where sizes differ, or None.

    Returns:
        Contents ``(B, C, H, W)`` float32 in [0, 1].
    """
    height, width = images.shape[-2:]
    if textures is None:
        chosen = plain_textures(draws, height, width, images.device)
    else:
        chosen = _pick(textures, draws, height, width).to(images.device)
    return _as_contents(augment_textures(chosen, draws), images)


def plain_texture(
    images: Tensor,
    masks: Tensor,  # noqa: ARG001 - one signature for all contents
    draws: Draws,
    textures: Tensor | None,  # noqa: ARG001
) -> Tensor:
    """A procedural plain texture: see ``textures.plain_textures``.

    Args:
        images: Batch ``(B, C, H, W)``, C up to 3; a greyscale batch gets one texture channel.
        masks: Not used.
        draws: One generator per image.
        textures: Not used.

    Returns:
        Contents ``(B, C, H, W)`` float32 in [0, 1].
    """
    height, width = images.shape[-2:]
    return _as_contents(plain_textures(draws, height, width, images.device), images)


def own_patch(
    images: Tensor,
    masks: Tensor,
    draws: Draws,
    textures: Tensor | None,  # noqa: ARG001 - one signature for all contents
    jitter: float = 0.1,
) -> Tensor:
    """A patch from elsewhere in the same image, colour-jittered (CutPaste, CVPR 2021).

    The patch has the size of the mask's bounding box and comes from any other position.

    Args:
        images: Batch ``(B, C, H, W)`` float32 in [0, 1], C up to 3.
        masks: Bool masks ``(B, 1, H, W)``, none empty.
        draws: One generator per image.
        textures: Not used.
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


def _pick(textures: Tensor, draws: Draws, height: int, width: int) -> Tensor:
    """One random texture per generator, uint8 ``(B, 3, height, width)``."""
    chosen = torch.tensor([int(rng.integers(len(textures))) for rng in draws])
    picked = textures.index_select(0, chosen.to(textures.device))
    return picked if picked.shape[-2:] == (height, width) else _resize(picked, height, width)


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


def _as_contents(textures: Tensor, images: Tensor) -> Tensor:
    return textures[:, : images.shape[1]].to(images.dtype).div_(255)


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
