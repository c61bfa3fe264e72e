"""The fixed synthetic validation set: outliers on held-out normals, for calibration."""

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from daf_pipelines.parameters import SynthesisParams
from daf_pipelines.sources.image_set import ImageSet
from daf_pipelines.synthesis.masks import box_masks
from daf_pipelines.synthesis.statistics import mask_statistics
from daf_pipelines.synthesis.strategies import outlier_key, synthesise

# Training counts its phases from 0, so these keys never meet those of training.
VALIDATION_PHASE = 1_000
BATCH = 32


def identity(params: SynthesisParams) -> dict[str, object]:
    """The part of the parameters that decides what outliers look like."""
    return params.model_dump(mode="json", include={"strategy", "texture_root", "match_grey"})


def synthesise_set(
    normals: ImageSet, textures: NDArray[np.uint8], params: SynthesisParams, seed: int
) -> ImageSet:
    """``params.validation_repeats`` outliers of each image of ``normals``, in its order.

    Args:
        normals: held-out normal images.
        textures: texture bank ``(T, 3, h, w)``; T may be 0.
        params: strategy and number of outliers an image.
        seed: of the experiment; the same seed gives the same set.

    Returns:
        The outliers with their masks; ``dataset`` also holds the strategy.
    """
    table = normals.table.loc[normals.table.index.repeat(params.validation_repeats)]
    sources = table.index.to_numpy()
    bank = torch.from_numpy(np.array(textures)) if len(textures) else None
    boxes = normals.boxes
    images, masks = [], []
    for start in range(0, len(sources), BATCH):
        chosen = sources[start : start + BATCH]
        keys = [outlier_key(seed, VALIDATION_PHASE, start + i) for i in range(len(chosen))]
        batch = _tensor(normals.images[chosen])
        outliers = synthesise(
            batch,
            params.strategy,
            keys,
            bank,
            match_grey=params.match_grey,
            valid=box_masks([boxes[i] for i in chosen], batch),
        )
        pixels = (outliers.images * 255).round().to(torch.uint8)
        images.append(pixels.permute(0, 2, 3, 1).numpy())
        masks.append(outliers.masks[:, 0].to(torch.uint8).numpy())
    dataset = normals.dataset | {"synthesis": identity(params)}
    areas = np.array([(b[2] - b[0]) * (b[3] - b[1]) for b in boxes])[sources]
    coverage = np.concatenate(masks).sum((1, 2)) / areas
    return ImageSet(
        _rows(table, params, coverage), np.concatenate(images), np.concatenate(masks), dataset
    )


def _rows(
    table: pd.DataFrame, params: SynthesisParams, coverage: NDArray[np.float64]
) -> pd.DataFrame:
    """Manifest rows of outliers, which have no files of their own: ``image.png#0``, ``#1``, ..."""
    repeat = np.arange(len(table)) % params.validation_repeats
    names = table["path"].astype(str) + "#" + pd.Series(repeat, table.index).astype(str)
    return table.assign(
        path=names,
        mask_path=names,
        split="excluded",
        label=1,
        defect_type=params.strategy,
        mask_coverage=coverage,
    ).reset_index(drop=True)


def set_statistics(outliers: ImageSet, normals: ImageSet) -> pd.DataFrame:
    """Mask statistics of a synthetic validation set, one row an outlier.

    Args:
        outliers: made by :func:`synthesise_set` from ``normals``.
        normals: the images they were made from.
    """
    sources = np.repeat(np.arange(len(normals)), len(outliers) // len(normals))
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
