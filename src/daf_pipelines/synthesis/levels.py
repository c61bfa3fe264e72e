"""Textures of 256 levels, and operations on single values, which are put off until needed.

Most of DRAEM's augmentations change each value by itself. They are kept beside the texture and run
on the pixels that are asked for: those of an outlier are a few in a hundred. Tables of all 256
values are fast and exact, and several, one after the other, are one table.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Table = NDArray[np.uint8]
"""Per channel the new value of each of the 256 values, ``(3, 256)``."""

Operation = Table | Callable[[Tensor], Tensor]
"""What changes pixels ``(3, P)`` uint8, each by itself."""

LEVELS = np.arange(256)


class Texture(NamedTuple):
    """A texture, and the operations that its pixels still have to go through.

    Attributes:
        stored: uint8 ``(3, H, W)``, or ``(1, H, W)`` where a table gives grey values a colour.
        pending: The operations.
    """

    stored: Tensor
    pending: tuple[Operation, ...] = ()

    def through(self, operation: Operation) -> "Texture":
        """The texture after another operation."""
        last = self.pending[-1:]
        if last and isinstance(last[0], np.ndarray) and isinstance(operation, np.ndarray):
            both = np.take_along_axis(operation, last[0], axis=1)
            return Texture(self.stored, (*self.pending[:-1], both))
        return Texture(self.stored, (*self.pending, operation))

    def pixels(self, chosen: Tensor | None = None) -> Tensor:
        """Pixels ``(3, P)``: the chosen ones, by their number in reading order, or all."""
        values = self.stored.flatten(1)
        if chosen is not None:
            # Several times faster than index_select.
            values = values.gather(1, chosen.expand(len(values), -1))
        for operation in self.pending:
            values = operation(values) if callable(operation) else _look_up(values, operation)
        return values.expand(3, -1)

    def settled(self) -> "Texture":
        """The texture with nothing but a table pending, or not even that."""
        if all(isinstance(operation, np.ndarray) for operation in self.pending):
            return self
        return Texture(self.pixels().view(3, *self.stored.shape[1:]))

    def histograms(self) -> NDArray[np.int64]:
        """Histograms per channel, ``(3, 256)``; of a settled texture."""
        channels = self.stored.expand(3, -1, -1).flatten(1)
        stored = np.stack([torch.bincount(c, minlength=256).cpu().numpy() for c in channels])
        counts = np.zeros_like(stored)
        entries: Any = self.pending[0] if self.pending else LEVELS
        np.add.at(counts, (np.arange(3)[:, None], entries), stored)
        return counts


def pixels_of(textures: Sequence[Texture]) -> Tensor:
    """All pixels of textures of one size, uint8 ``(B, 3, H, W)``."""
    pixels = torch.stack([texture.pixels() for texture in textures])
    return pixels.view(len(textures), 3, *textures[0].stored.shape[1:])


def table(values: NDArray[Any]) -> Table:
    """Values ``(3, 256)``, or ``(256,)`` for all channels, rounded to levels."""
    levels = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return np.broadcast_to(levels, (3, 256))


def to_uint8(values: Tensor) -> Tensor:
    """Values in [0, 255] rounded to levels, in place."""
    # By way of int16: several times faster, as torch vectorises neither conversion to uint8.
    return values.round_().clamp_(0, 255).to(torch.int16).to(torch.uint8)


def _look_up(values: Tensor, entries: Table) -> Tensor:
    lookup = torch.from_numpy(entries.copy()).to(values.device)
    return lookup.gather(1, values.long().expand(3, -1))
