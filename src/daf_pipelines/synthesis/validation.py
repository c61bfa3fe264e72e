"""The fixed synthetic validation set: outliers on held-out normals, for calibration."""

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from daf_pipelines.parameters import SynthesisParams
from daf_pipelines.sources.image_set import ImageSet
from daf_pipelines.synthesis.configured import configured_strategy
from daf_pipelines.synthesis.geometry import valid_masks
from daf_pipelines.synthesis.operators import Sources
from daf_pipelines.synthesis.statistics import mask_statistics
from daf_pipelines.synthesis.strategies import outlier_key, synthesise

# Training counts its phases from 0, so these keys never meet those of training.
VALIDATION_PHASE = 1_000
BATCH = 32


def synthesis_identity(params: SynthesisParams) -> dict[str, object]:
    """The part of the parameters that decides what outliers look like."""
    chosen = params.model_dump(mode="json", include={"strategy", "texture_root", "match_grey"})
    return chosen | {"operators": configured_strategy(params).describe()}


def set_identity(params: SynthesisParams) -> dict[str, object]:
    """What a synthetic validation set is, beside the images that it is made of."""
    size = params.model_dump(include={"validation_repeats", "validation_limit"})
    return {"synthesis": synthesis_identity(params), **size}


def synthesise_set(
    normals: ImageSet,
    foregrounds: NDArray[np.bool_],
    sources: Sources,
    params: SynthesisParams,
    seed: int,
) -> ImageSet:
    """``params.validation_repeats`` outliers of each image of ``normals``, in its order.

    Where these are more than ``params.validation_limit``, the images are taken evenly.

    Args:
        normals: held-out normal images.
        foregrounds: where the object is in each of them ``(N, H, W)``; N may be 0.
        sources: of the contents; the held-out images are not among its normals.
        params: strategy and number of outliers an image.
        seed: of the experiment; the same seed gives the same set.

    Returns:
        The outliers with their masks; ``dataset`` also holds the :func:`set_identity`.
    """
    rows = validation_rows(len(normals), params)
    table = normals.table.iloc[rows]
    strategy, boxes = configured_strategy(params), normals.boxes
    images, masks = [], []
    for start in range(0, len(rows), BATCH):
        chosen = rows[start : start + BATCH]
        keys = [outlier_key(seed, VALIDATION_PHASE, start + i) for i in range(len(chosen))]
        batch = _tensor(normals.images[chosen])
        outliers = synthesise(
            batch,
            strategy,
            keys,
            sources,
            match_grey=params.match_grey,
            valid=valid_masks([boxes[i] for i in chosen], batch),
            foreground=_foreground(foregrounds, chosen),
        )
        pixels = (outliers.images * 255).round().to(torch.uint8)
        images.append(pixels.permute(0, 2, 3, 1).numpy())
        masks.append(outliers.masks[:, 0].to(torch.uint8).numpy())
    dataset = normals.dataset | set_identity(params)
    areas = np.array([(b[2] - b[0]) * (b[3] - b[1]) for b in boxes])[rows]
    coverage = np.concatenate(masks).sum((1, 2)) / areas
    return ImageSet(
        _rows(table, params, coverage), np.concatenate(images), np.concatenate(masks), dataset
    )


def validation_rows(count: int, params: SynthesisParams) -> NDArray[np.int64]:
    """Which of ``count`` held-out normals each outlier of the validation set is made from."""
    chosen = min(count, max(1, params.validation_limit // params.validation_repeats))
    rows = np.linspace(0, count - 1, chosen).round().astype(np.int64)
    return rows.repeat(params.validation_repeats)[: params.validation_limit]


def sources_of(
    normals: ImageSet, textures: NDArray[np.uint8], foregrounds: NDArray[np.bool_]
) -> Sources:
    """What contents are made of: the training images and the texture bank.

    Args:
        normals: training images.
        textures: texture bank ``(T, 3, h, w)``; T may be 0.
        foregrounds: where the object is in each training image ``(N, H, W)``; N may be 0.
    """
    return Sources(
        torch.from_numpy(textures) if len(textures) else None,
        torch.from_numpy(normals.images).permute(0, 3, 1, 2),  # mapped, not copied
        boxes=normals.boxes,
        foregrounds=torch.from_numpy(foregrounds)[:, None] if len(foregrounds) else None,
    )


def _foreground(foregrounds: NDArray[np.bool_], rows: NDArray[np.int64]) -> Tensor | None:
    return torch.from_numpy(foregrounds[rows])[:, None] if len(foregrounds) else None


def _rows(
    table: pd.DataFrame, params: SynthesisParams, coverage: NDArray[np.float64]
) -> pd.DataFrame:
    """Manifest rows of outliers, which have no files of their own: ``image.png#0``, ``#1``, ..."""
    repeat = table.groupby(level=0).cumcount()
    names = table["path"].astype(str) + "#" + repeat.astype(str)
    return table.assign(
        path=names,
        mask_path=names,
        split="excluded",
        label=1,
        defect_type=params.strategy,
        mask_coverage=coverage,
    ).reset_index(drop=True)


def set_statistics(outliers: ImageSet, normals: ImageSet, params: SynthesisParams) -> pd.DataFrame:
    """Mask statistics of a synthetic validation set, one row an outlier.

    Args:
        outliers: made by :func:`synthesise_set` from ``normals``.
        normals: the images they were made from.
        params: those they were made with.
    """
    sources = validation_rows(len(normals), params)
    masks, boxes = masks_of(outliers), outliers.boxes
    tables = []
    for start in range(0, len(sources), BATCH):
        rows = slice(start, start + BATCH)
        inside = torch.from_numpy(np.array(masks[rows])).float().unsqueeze(1)
        images, originals = _tensor(outliers.images[rows]), _tensor(normals.images[sources[rows]])
        tables.append(mask_statistics(inside, images, originals, boxes[rows]))
    return pd.concat(tables, ignore_index=True)


def masks_of(outliers: ImageSet) -> NDArray[np.uint8]:
    """Masks of a synthetic set, which always has them: ``(N, H, W)``."""
    if outliers.masks is None:
        raise ValueError("expected a synthetic set; got images without masks")
    return outliers.masks


def _tensor(images: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(np.array(images)).permute(0, 3, 1, 2) / 255
