"""Strategies of outlier synthesis: mask x content x blending x foreground, and their mixtures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from daf_pipelines.parameters import Foreground
from daf_pipelines.synthesis.contents.patches import without_padding
from daf_pipelines.synthesis.foreground import object_masks
from daf_pipelines.synthesis.masks.placing import changed_part, masks_within
from daf_pipelines.synthesis.operators import Draws, Operator, Sources

SMALLEST_SIDE = 32


@dataclass(frozen=True)
class Strategy:
    """How outliers are made: where, of what, how it is put in, and on what of the picture.

    Attributes:
        mask: Where an outlier lies, see ``masks``.
        content: What it looks like, see ``contents``.
        blending: How it is put in, see ``blending``.
        description: What it is, where it comes from, and where it departs from that.
        foreground: ``"object"``: outliers lie on the object only, see ``foreground``.
        repeats: Largest number of times that all three are applied, one result on top of the other;
            each after the first with probability one half (NSA, ECCV 2022).
        area: Smallest and largest area of each mask, fractions of the area where it may lie;
            before repeats and tolerance.
        tolerance: What changes by less, in levels of 255, does not belong to the outlier (NSA's
            label), unless all of it does; 0: all of the mask belongs to it.
    """

    mask: Operator
    content: Operator
    blending: Operator
    description: str
    foreground: Foreground = "none"
    repeats: int = 1
    area: tuple[float, float] = (0.0, 1.0)
    tolerance: float = 0.0

    def describe(self) -> dict[str, Any]:
        """Everything that decides the outliers, as plain JSON values."""
        return {
            "mask": self.mask.describe(),
            "content": self.content.describe(),
            "blending": self.blending.describe(),
            "foreground": self.foreground,
            "repeats": self.repeats,
            "area": list(self.area),
            "tolerance": self.tolerance,
        }

    @property
    def needs_object(self) -> bool:
        """Whether its outliers lie on the object only."""
        return self.foreground == "object"

    def on(self, foreground: Foreground) -> "Strategy":
        """The same strategy on another part of the picture."""
        return replace(self, foreground=foreground)


@dataclass(frozen=True)
class Mixture:
    """Several strategies, one of which is drawn for each image.

    Attributes:
        parts: The strategies by name.
        weights: How often each is drawn, relative to the others.
        description: What it is and where it comes from.
    """

    parts: Mapping[str, Strategy]
    weights: Mapping[str, float]
    description: str

    def describe(self) -> dict[str, Any]:
        """Everything that decides the outliers, as plain JSON values."""
        parts = {name: part.describe() for name, part in self.parts.items()}
        return {"parts": parts, "weights": dict(self.weights)}

    @property
    def needs_object(self) -> bool:
        """Whether the outliers of a part lie on the object only."""
        return any(part.needs_object for part in self.parts.values())

    def on(self, foreground: Foreground) -> "Mixture":
        """The same mixture on another part of the picture."""
        return replace(self, parts={name: part.on(foreground) for name, part in self.parts.items()})

    def draw(self, draws: Draws) -> dict[str, list[int]]:
        """The images of a batch that each strategy gets."""
        names = sorted(self.parts)  # their order in a configuration decides nothing
        weights = np.array([self.weights[name] for name in names])
        drawn = [names[rng.choice(len(names), p=weights / weights.sum())] for rng in draws]
        return {name: [i for i, d in enumerate(drawn) if d == name] for name in set(drawn)}


class Outliers(NamedTuple):
    """A batch of synthetic outliers.

    Attributes:
        images: ``(B, C, H, W)`` float32 in [0, 1], identical to the input outside the masks.
        masks: ``(B, 1, H, W)`` float32 in {0, 1}, none empty.
    """

    images: Tensor
    masks: Tensor


@torch.no_grad()
def synthesise(
    images: Tensor,
    strategy: Strategy | Mixture,
    keys: Sequence[int],
    sources: Sources | None = None,
    *,
    match_grey: bool = True,
    valid: Tensor | None = None,
    foreground: Tensor | None = None,
) -> Outliers:
    """Make one outlier image of every image.

    The outlier of image i depends on the image, ``keys[i]``, the strategy and the sources only: on
    one device it is the same bit for bit, whatever the rest of the batch and its order. Random
    numbers are drawn on the CPU, tensor operations run on the images' device.

    Args:
        images: Normal images ``(B, C, H, W)`` float32 in [0, 1], C up to 3, H and W at least 32.
        strategy: A preset (``presets.find_strategy``), or one's own.
        keys: One non-negative integer per image, see ``outlier_key``.
        sources: Textures and other normal images, see ``Sources``. None: neither.
        match_grey: Give grey images grey outliers. Otherwise their outliers are coloured, as in
            the published code, and colour alone gives them away.
        valid: Where outliers may lie, bool ``(B, 1, H, W)``, none empty. None: everywhere.
        foreground: Where the object is, bool ``(B, 1, H, W)``, for strategies that ask for it;
            None: found anew, see ``foreground.object_masks``. Where no valid pixel is on the
            object, outliers may lie everywhere.

    Returns:
        Outlier images and masks, see ``Outliers``.

    Raises:
        ValueError: An argument has another shape or dtype.
    """
    batch = _Batch(
        images.contiguous(),
        [np.random.default_rng(key) for key in keys],
        sources or Sources(),
        match_grey,
        valid,
        foreground,
    )
    _check(batch)
    if isinstance(strategy, Strategy):
        return _apply(strategy, batch)
    outliers = Outliers(torch.empty_like(images), torch.empty_like(images[:, :1]))
    for name, rows in strategy.draw(batch.draws).items():
        made = _apply(strategy.parts[name], batch.of(rows))
        outliers.images[rows], outliers.masks[rows] = made
    return outliers


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


@dataclass(frozen=True)
class _Batch:
    """What outliers are made from; the fields are the arguments of ``synthesise``."""

    images: Tensor
    draws: Draws
    sources: Sources
    match_grey: bool
    valid: Tensor | None
    foreground: Tensor | None

    def of(self, rows: list[int], images: Tensor | None = None) -> "_Batch":
        """Some rows of the batch, perhaps with other images than theirs."""
        return _Batch(
            self.images[rows] if images is None else images,
            [self.draws[i] for i in rows],
            self.sources.of(rows),
            self.match_grey,
            None if self.valid is None else self.valid[rows],
            None if self.foreground is None else self.foreground[rows],
        )


def _apply(strategy: Strategy, batch: _Batch) -> Outliers:
    """Outliers of one strategy, which may apply its operators several times."""
    if not strategy.needs_object:
        batch = replace(batch, sources=replace(batch.sources, foregrounds=None))
    space = _space(strategy.foreground, batch)
    outliers = _apply_once(strategy, batch, space)
    for _ in range(1, strategy.repeats):
        rows = [i for i, rng in enumerate(batch.draws) if rng.random() < 0.5]
        if rows:
            more = _apply_once(strategy, batch.of(rows, outliers.images[rows]), space[rows])
            outliers.images[rows] = more.images
            outliers.masks[rows] = torch.maximum(outliers.masks[rows], more.masks)
    return outliers


def _apply_once(strategy: Strategy, batch: _Batch, space: Tensor) -> Outliers:
    """One mask within ``space``, one content, one blending."""
    images, draws = batch.images, batch.draws
    masks = masks_within(strategy.mask, images, draws, space, strategy.area)
    shown = images if batch.valid is None else without_padding(images, batch.valid)
    contents = strategy.content(shown, masks, draws, batch.sources)
    if batch.match_grey:
        contents = _grey_where_grey(images, contents)
    blended = strategy.blending(images, contents, masks, draws).clamp_(0, 1)
    if strategy.tolerance:
        masks = changed_part(masks, images, blended, strategy.tolerance)
    inside = masks.view(torch.uint8).to(images.dtype)  # faster than from bool
    # lerp is exact at weights 0 and 1, and many times faster than torch.where on the CPU.
    return Outliers(torch.lerp(images, blended, inside, out=blended), inside)


def _space(foreground: Foreground, batch: _Batch) -> Tensor:
    """Where outliers may lie, bool ``(B, 1, H, W)``."""
    valid = batch.valid
    if valid is None:
        valid = torch.ones_like(batch.images[:, :1], dtype=torch.bool)
    if foreground == "none":
        return valid
    objects = batch.foreground
    if objects is None:
        objects = object_masks(batch.images, valid)
    objects = objects & valid
    return objects | (valid & ~objects.any(dim=(2, 3), keepdim=True))


def _grey_where_grey(images: Tensor, contents: Tensor) -> Tensor:
    """Contents without colour for the images that have none."""
    if images.shape[1] == 1:
        return contents
    # On the CPU, torch takes several times longer to compare than to subtract.
    colour = (images[:, 1:] - images[:, :1]).abs_().amax(dim=(1, 2, 3))
    grey = (colour == 0).to(images.dtype)[:, None, None, None]
    if not grey.any():
        return contents
    return contents.lerp_(contents.mean(dim=1, keepdim=True), grey)


def _check(batch: _Batch) -> None:
    images, sources = batch.images, batch.sources
    shape = tuple(images.shape)
    if images.dtype != torch.float32 or len(shape) != 4 or not 1 <= shape[1] <= 3:
        raise ValueError(f"images: expected (B, 1 to 3, H, W) float32; got {shape} {images.dtype}.")
    if min(shape[2:]) < SMALLEST_SIDE:
        raise ValueError(f"images: expected sides of {SMALLEST_SIDE} pixels or more; got {shape}.")
    if not len(images) or images.amax() > 1 or images.amin() < 0:
        raise ValueError("images: expected at least one, with values in [0, 1].")
    for name, values in (("keys", batch.draws), ("own", sources.own)):
        if values is not None and len(values) != len(images):
            raise ValueError(f"{name}: expected one per image, {len(images)}; got {len(values)}.")
    _check_pool(sources, shape)
    where = len(images), 1, *shape[2:]
    _check_tensor("valid", batch.valid, where, torch.bool)
    _check_tensor("foreground", batch.foreground, where, torch.bool)
    if batch.valid is not None and not batch.valid.flatten(1).any(dim=1).all():
        raise ValueError("valid: expected a pixel in every image where an outlier may lie.")


def _check_pool(sources: Sources, shape: tuple[int, ...]) -> None:
    _check_tensor("textures", sources.textures, ("T", 3, "h", "w"), torch.uint8)
    _check_tensor("normals", sources.normals, ("N", *shape[1:]), torch.uint8)
    if sources.textures is not None and not len(sources.textures):
        raise ValueError("textures: expected at least one; None stands for no textures.")
    if sources.normals is None:
        return
    count = len(sources.normals)
    where = count, 1, *shape[2:]
    _check_tensor("foregrounds", sources.foregrounds, where, torch.bool)
    if sources.boxes is not None and len(sources.boxes) != count:
        raise ValueError(f"boxes: expected one per normal, {count}; got {len(sources.boxes)}.")
    if sources.own is not None and not all(0 <= own < count for own in sources.own):
        raise ValueError(f"own: expected positions among {count} normals; got {sources.own}.")


def _check_tensor(
    name: str, found: Tensor | None, shape: tuple[int | str, ...], dtype: torch.dtype
) -> None:
    """Refuse a tensor of another shape or dtype; names in the shape stand for any size."""
    if found is None:
        return
    fits = found.dim() == len(shape) and all(
        isinstance(wanted, str) or size == wanted
        for size, wanted in zip(found.shape, shape, strict=True)
    )
    if not fits or found.dtype != dtype:
        expected = f"({', '.join(map(str, shape))}) {str(dtype).removeprefix('torch.')}"
        raise ValueError(f"{name}: expected {expected}; got {tuple(found.shape)} {found.dtype}.")
