"""Statistics of synthetic outliers: size, number, contrast and place of their regions."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import label
from torch import Tensor

from daf_pipelines.sources.images import Box, contents

EIGHT_CONNECTED = np.ones((3, 3), dtype=int)
QUANTILES = {"q05": 0.05, "q25": 0.25, "q50": 0.5, "q75": 0.75, "q95": 0.95}
CELLS = 32
"""Cells along a side of a map of positions."""


def mask_statistics(
    masks: Tensor, images: Tensor, originals: Tensor, boxes: Sequence[Box] | None = None
) -> pd.DataFrame:
    """Describe each outlier by its mask and by what changed inside it.

    Args:
        masks: ``(B, 1, H, W)`` in {0, 1}, none empty.
        images: Outlier images ``(B, C, H, W)`` in [0, 1].
        originals: The normal images they were made from, of the same shape.
        boxes: Where the images lie, the rest being padding; None: everywhere.

    Returns:
        One row per outlier: ``area`` (fraction of the image), ``regions`` (8-connected),
        ``contrast`` (mean absolute difference to the original inside the mask), ``centroid_x``
        and ``centroid_y`` (fractions of width and height; 0.5 is the centre).
    """
    differences = (images - originals).abs().mean(dim=1).cpu().numpy()
    inside = masks[:, 0].cpu().numpy() > 0
    if boxes is None:
        boxes = [(0, 0, *inside.shape[1:])] * len(inside)
    pairs = zip(contents(inside, boxes), contents(differences, boxes), strict=True)
    rows = [_describe(mask, change) for mask, change in pairs]
    return pd.DataFrame(rows, columns=["area", "regions", "contrast", "centroid_x", "centroid_y"])


def position_map(masks: Sequence[NDArray[np.generic]]) -> NDArray[np.float64]:
    """Where on the images outliers lie: how much of each cell of a grid they cover, on average.

    Args:
        masks: N of shape (H, W) in {0, 1}, without padding; sizes may differ, as the grid spans
            the whole of each.

    Returns:
        Shares in [0, 1], shape (CELLS, CELLS), from the top left.
    """
    total = np.zeros((CELLS, CELLS))
    for mask in masks:
        inside = Image.fromarray((mask != 0).astype(np.float32))
        total += np.asarray(inside.resize((CELLS, CELLS), Image.Resampling.BOX))
    return total / len(masks)


def summarise(statistics: pd.DataFrame) -> dict[str, dict[str, float]]:
    """Mean and quantiles of each column of ``mask_statistics``.

    Returns:
        Per column ``{"mean": ..., "q05": ..., "q25": ..., "q50": ..., "q75": ..., "q95": ...}``.
    """
    return {str(name): _summarise(column) for name, column in statistics.items()}


def _describe(mask: np.ndarray, change: np.ndarray) -> tuple[float, int, float, float, float]:
    y, x = np.nonzero(mask)
    height, width = mask.shape
    return (
        len(x) / mask.size,
        int(label(mask, EIGHT_CONNECTED)[1]),
        float(change[mask].mean()),
        float((x.mean() + 0.5) / width),
        float((y.mean() + 0.5) / height),
    )


def _summarise(column: "pd.Series[float]") -> dict[str, float]:
    quantiles = {name: float(column.quantile(q)) for name, q in QUANTILES.items()}
    return {"mean": float(column.mean()), **quantiles}
