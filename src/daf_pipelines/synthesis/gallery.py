"""A gallery: outliers of several strategies on the same few images, to choose a strategy by eye."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from daf_pipelines.sources.image_set import ImageSet
from daf_pipelines.sources.images import contents
from daf_pipelines.synthesis.foreground import foreground_of
from daf_pipelines.synthesis.geometry import valid_masks
from daf_pipelines.synthesis.statistics import QUANTILES, mask_statistics, position_map
from daf_pipelines.synthesis.strategies import Mixture, Outliers, Strategy, outlier_key, synthesise
from daf_pipelines.synthesis.validation import sources_of

# These keys meet neither those of training nor those of the synthetic validation set.
GALLERY_PHASE = 2_000
BATCH = 16
NO_OBJECTS = np.empty((0, 0, 0), dtype=bool)

Pictures = list[NDArray[np.uint8]]


class Exhibit(NamedTuple):
    """What one strategy makes of the images of a gallery.

    Attributes:
        outliers: RGB images, n of shape (H, W, 3), without padding.
        masks: Their masks, n of shape (H, W) in {0, 1}.
        positions: Where its outliers lie, see ``statistics.position_map``.
    """

    outliers: Pictures
    masks: Pictures
    positions: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Gallery:
    """Outliers of several strategies on the same few normal images.

    Attributes:
        names: Paths of the normal images, as in the manifest.
        originals: The normal images, n of shape (H, W, 3), without padding.
        strategies: The strategies by name.
        exhibits: What each makes of the images, in the order of ``strategies``.
        statistics: One row a strategy, of more outliers than are shown: ``strategy``, ``draws``
            (their number), ``area_q05`` to ``area_q95`` (quantiles, fractions of the image),
            ``regions`` and ``contrast`` (medians, see ``statistics.mask_statistics``), and
            ``seconds`` (what an outlier took on this machine).
    """

    names: list[str]
    originals: Pictures
    strategies: Mapping[str, Strategy | Mixture]
    exhibits: Mapping[str, Exhibit]
    statistics: pd.DataFrame


def synthesise_gallery(
    normals: ImageSet,
    strategies: Mapping[str, Strategy | Mixture],
    textures: NDArray[np.uint8],
    seed: int,
    *,
    images: int = 6,
    draws: int = 64,
    match_grey: bool = True,
) -> Gallery:
    """Outliers of each strategy on the same normal images, from the same random keys.

    The images lie evenly over the set; of a smaller set there are several outliers of each. They
    are also what contents of other images come from.

    Args:
        normals: Normal images, at least one.
        strategies: The strategies by name.
        textures: Texture bank ``(T, 3, h, w)``; T may be 0.
        seed: Of the experiment; the same seed gives the same gallery.
        images: Number of images shown.
        draws: Number of outliers of each strategy that its statistics are of.
        match_grey: Give grey images grey outliers, see ``synthesise``.

    Returns:
        The gallery.
    """
    normals = _some(normals, max(images, draws))
    shown, measured = _evenly(len(normals), images), _evenly(len(normals), draws)
    maker = _Maker(normals, textures, seed, match_grey, strategies)
    exhibits, rows = {}, []
    for name, strategy in strategies.items():
        pictures = maker.show(strategy, shown)  # first: a first call takes longer than the others
        positions, statistics = maker.measure(strategy, measured)
        exhibits[name] = Exhibit(*pictures, positions)
        rows.append({"strategy": name, **statistics})
    paths = normals.table["path"].astype(str).iloc[shown].tolist()
    originals = maker.cut(normals.images[shown], shown)
    return Gallery(paths, originals, strategies, exhibits, pd.DataFrame(rows))


class _Maker:
    """What all strategies of a gallery have in common."""

    def __init__(
        self,
        normals: ImageSet,
        textures: NDArray[np.uint8],
        seed: int,
        match_grey: bool,
        strategies: Mapping[str, Strategy | Mixture],
    ) -> None:
        self.images, self.boxes = normals.images, normals.boxes
        self.seed, self.match_grey = seed, match_grey
        needed = any(strategy.needs_object for strategy in strategies.values())
        objects = foreground_of(self.images, self.boxes) if needed else NO_OBJECTS
        self.sources = sources_of(normals, textures, objects)

    def show(self, strategy: Strategy | Mixture, rows: list[int]) -> tuple[Pictures, Pictures]:
        """Outliers of the images in ``rows`` and their masks, without padding."""
        images, masks = self.synthesise(strategy, rows)
        pixels = (images * 255).round().to(torch.uint8).permute(0, 2, 3, 1)
        return self.cut(pixels.numpy(), rows), self.cut(_inside(masks), rows)

    def measure(
        self, strategy: Strategy | Mixture, rows: list[int]
    ) -> tuple[NDArray[np.float64], dict[str, Any]]:
        """Positions and statistics of outliers of the images in ``rows``."""
        seconds: list[float] = []
        images, masks = self.synthesise(strategy, rows, seconds)
        table = mask_statistics(masks, images, self.batch(rows), [self.boxes[i] for i in rows])
        areas = {f"area_{name}": table["area"].quantile(q) for name, q in QUANTILES.items()}
        medians = {name: table[name].median() for name in ("regions", "contrast")}
        statistics = {"draws": len(rows), **areas, **medians, "seconds": np.median(seconds)}
        return position_map(self.cut(_inside(masks), rows)), statistics

    def synthesise(
        self, strategy: Strategy | Mixture, rows: list[int], seconds: list[float] | None = None
    ) -> Outliers:
        """One outlier of each image in ``rows``; what one of each batch takes goes to seconds."""
        parts = []
        for first in range(0, len(rows), BATCH):
            start = time.perf_counter()
            parts.append(self._synthesise(strategy, rows[first : first + BATCH], first))
            if seconds is not None:
                seconds.append((time.perf_counter() - start) / len(parts[-1].images))
        images, masks = zip(*parts, strict=True)
        return Outliers(torch.cat(images), torch.cat(masks))

    def _synthesise(self, strategy: Strategy | Mixture, rows: list[int], first: int) -> Outliers:
        batch = self.batch(rows)
        objects = self.sources.foregrounds if strategy.needs_object else None
        return synthesise(
            batch,
            strategy,
            [outlier_key(self.seed, GALLERY_PHASE, first + i) for i in range(len(rows))],
            replace(self.sources, own=rows, foregrounds=objects),
            match_grey=self.match_grey,
            valid=valid_masks([self.boxes[i] for i in rows], batch),
            foreground=None if objects is None else objects[rows],
        )

    def batch(self, rows: list[int]) -> Tensor:
        """The images in ``rows``, ``(B, 3, H, W)`` in [0, 1]."""
        return torch.from_numpy(self.images[rows]).permute(0, 3, 1, 2) / 255

    def cut(self, pixels: NDArray[np.uint8], rows: list[int]) -> Pictures:
        """Pixels ``(B, H, W, ...)`` of the images in ``rows`` without padding."""
        return contents(pixels, [self.boxes[i] for i in rows])


def _some(normals: ImageSet, count: int) -> ImageSet:
    """At most ``count`` of the images, evenly over the set."""
    rows = _evenly(len(normals), min(len(normals), count))
    table = normals.table.iloc[rows].reset_index(drop=True)
    return ImageSet(table, normals.images[rows], None, normals.dataset)


def _evenly(size: int, count: int) -> list[int]:
    """``count`` indices evenly over ``size``, in order, with repeats where ``size`` is smaller."""
    return [i * size // count for i in range(count)]


def _inside(masks: Tensor) -> NDArray[np.uint8]:
    """Masks ``(B, 1, H, W)`` as ``(B, H, W)`` in {0, 1}."""
    return masks[:, 0].to(torch.uint8).numpy()
