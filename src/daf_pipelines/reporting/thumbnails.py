"""Small pictures of the test images and of their heat, which compare models side by side."""

import io
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image

from daf_pipelines.reporting.figures import Images, Map, Maps

SIDE = 128
"""Length of a thumbnail's longer side, pixels."""
COLUMNS = ["path", "label", "defect_type", "image", "heat", "mask"]


def thumbnails(
    table: pd.DataFrame,
    images: Images,
    maps: Maps,
    masks: Sequence[npt.NDArray[Any]] | None,
    heat_of: Callable[[Map], Map],
) -> pd.DataFrame:
    """Encoded pictures, one row an image.

    Args:
        table: Columns ``path``, ``label`` and ``defect_type``, N rows.
        images: RGB images, N of shape (h, w, 3), uint8.
        maps: Anomaly maps, N of shape (h, w).
        masks: Ground truth, N of shape (h, w) in {0, 1}, or None.
        heat_of: How hot a map looks, from 0 to 1: the detector's ``heat``.

    Returns:
        ``path``, ``label``, ``defect_type``, ``image`` (JPEG), ``heat`` (grey PNG of the same
        size) and ``mask`` (PNG, 0 or 255; None where there is none).
    """
    rows = []
    for k, (path, label, kind) in enumerate(
        table[["path", "label", "defect_type"]].itertuples(index=False, name=None)
    ):
        heat = 255 * heat_of(maps[k])
        rows.append(
            {
                "path": path,
                "label": label,
                "defect_type": kind,
                "image": _encode(images[k], "jpeg"),
                "heat": _encode(heat.round().astype(np.uint8), "png"),
                "mask": None if masks is None else _encode(255 * (masks[k] != 0), "png"),
            }
        )
    return pd.DataFrame(rows, columns=COLUMNS)


def _encode(pixels: npt.NDArray[Any], kind: str) -> bytes:
    picture = Image.fromarray(pixels.astype(np.uint8))
    scale = min(1.0, SIDE / max(picture.size))
    width, height = (max(1, round(scale * side)) for side in picture.size)
    picture = picture.resize((width, height), Image.Resampling.BOX)
    data = io.BytesIO()
    picture.save(data, format=kind)
    return data.getvalue()


def decoded(data: bytes, mode: str) -> npt.NDArray[np.uint8]:
    """The pixels of an encoded picture.

    Args:
        data: A picture of :func:`thumbnails`.
        mode: "RGB", (h, w, 3), or "L", (h, w).
    """
    with Image.open(io.BytesIO(data)) as image:
        return np.array(image.convert(mode))
