"""Contents made of the image itself."""

from typing import Annotated

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from daf_pipelines.synthesis.augmentations import augment_textures
from daf_pipelines.synthesis.levels import Texture, pixels_of
from daf_pipelines.synthesis.operators import Draws, Sources

Cells = Annotated[int, Field(ge=1, le=32)]


def augmented_self(
    images: Tensor,
    masks: Tensor,  # noqa: ARG001 - one signature for all contents
    draws: Draws,
    sources: Sources,  # noqa: ARG001
    *,
    rows: Cells = 4,
    columns: Cells = 8,
    augmentations: Annotated[int, Field(ge=0, le=10)] = 3,
) -> Tensor:
    """The image itself: mirrored, augmented, and its parts in random order (MemSeg, 2022).

    The structural anomalies of Yang et al., MemSeg, arXiv 2205.00908: mirror symmetry
    and random changes of the image, which is then cut into a grid of 4 x 8 parts that are arranged
    at random. For its "rotation, brightness, saturation and hue" stand DRAEM's augmentations, as in
    a public implementation (TooTouch/MemSeg). Where the grid does not divide the image, parts at
    its right and lower border overlap their neighbours.

    Args:
        images: Batch ``(B, C, H, W)`` float32 in [0, 1], C up to 3.
        masks: Not used.
        draws: One generator per image.
        sources: Not used.
        rows: Rows of the grid; 1 x 1 leaves the parts in place.
        columns: Columns of the grid.
        augmentations: How many of DRAEM's augmentations each image goes through.

    Returns:
        Contents ``(B, C, H, W)`` float32 in [0, 1].
    """
    channels, height, width = images.shape[1:]
    pixels = (images * 255).round().to(torch.uint8)
    # The augmentations are those of colour images.
    coloured = pixels[:, [0, min(1, channels - 1), channels - 1]]
    textures = [Texture(stored) for stored in coloured]
    augmented = pixels_of(augment_textures(textures, draws, augmentations)).flatten(2)
    orders = np.stack([_order(rng, height, width, rows, columns) for rng in draws])
    index = torch.from_numpy(orders).to(images.device)[:, None].expand(-1, channels, -1)
    return augmented[:, :channels].gather(2, index).view_as(images).to(images.dtype).div_(255)


def _order(
    rng: np.random.Generator, height: int, width: int, rows: int, columns: int
) -> NDArray[np.int64]:
    """For each pixel the one that takes its place, ``(H W)``, in reading order."""
    cell_y, cell_x = -(-height // rows), -(-width // columns)
    taken = rng.permutation(rows * columns)
    y, x = np.arange(height), np.arange(width)
    cells = taken[(y // cell_y)[:, None] * columns + (x // cell_x)[None]]
    source_y = np.minimum(cells // columns * cell_y, height - cell_y) + (y % cell_y)[:, None]
    source_x = np.minimum(cells % columns * cell_x, width - cell_x) + (x % cell_x)[None]
    if rng.random() < 0.5:
        source_y = height - 1 - source_y
    if rng.random() < 0.5:
        source_x = width - 1 - source_x
    order: NDArray[np.int64] = (source_y * width + source_x).ravel()
    return order
