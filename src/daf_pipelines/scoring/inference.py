"""Scoring new images: a table, and a heatmap an image."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from daf_pipelines.atomic import written_whole
from daf_pipelines.errors import DataError, ParameterError
from daf_pipelines.parameters import InferenceParams
from daf_pipelines.reporting.figures import overlay
from daf_pipelines.scoring.detector import Detector
from daf_pipelines.sources.base import printable
from daf_pipelines.sources.images import SUFFIXES, contents, find_images, read_image

Pixels: TypeAlias = NDArray[np.uint8]
HEATMAPS = "heatmaps"
BATCH_PIXELS = 50_000_000
"""Pixels of the images that are in memory at once, but for the last one."""
COLUMNS = ["path", "score", "label", "anomalous_area", "raw_score", "heatmap", "error"]


def list_images(params: InferenceParams) -> list[Path]:
    """The image files that the parameters name.

    Raises:
        ParameterError: none are named.
        DataError: a folder without images, or a path that does not exist.
    """
    if params.images is None or params.images == []:
        raise ParameterError(
            "inference.images is not set: expected a folder or a list of image files, as in "
            "kedro run --pipelines inference --params inference.images=path/to/folder"
        )
    if isinstance(params.images, list):
        return params.images
    if params.images.is_dir():
        found = find_images(params.images)
        if not found:
            raise DataError(
                f"inference.images: {params.images.absolute()} has no image files. Expected names "
                f"that end in {', '.join(sorted(SUFFIXES))}."
            )
        return found
    if not params.images.exists():
        raise DataError(
            f"inference.images: {params.images.absolute()} does not exist. Name a folder of "
            "images, or image files."
        )
    return [params.images]


def predict_files(
    detector: Detector, paths: list[Path], folder: Path, batch_size: int = 16
) -> pd.DataFrame:
    """Score image files of any size and mode; write a heatmap of each to ``folder``.

    Args:
        detector: the trained detector.
        paths: image files.
        folder: gets ``heatmaps/``, one picture an image at the image's own size, in the place of
            what was there.
        batch_size: images scored at once.

    Returns:
        One row a file in the given order: ``path``, ``score`` (in [0, 1], anomalous above 0.5),
        ``label`` (1 anomalous, 0 normal), ``anomalous_area`` (share of its pixels above their
        threshold), ``raw_score``, ``heatmap`` (relative to ``folder``) and ``error``, which names
        why a file could not be read; then the other values are missing.
    """
    rows = []
    bar = tqdm(total=len(paths), desc="inference", unit="image", disable=None)
    with bar, written_whole(folder / HEATMAPS) as heatmaps:
        for batch in _read_batches(paths, batch_size):
            rows += _predict_batch(detector, batch, heatmaps)
            bar.update(len(batch))
    table = pd.DataFrame(rows, columns=COLUMNS)
    return table.astype({"label": "Int64"})


def _read_batches(paths: list[Path], batch_size: int) -> Iterator[list[tuple[Path, Pixels | str]]]:
    """Files with their images, or with why they cannot be read: few at a time where they are large.

    A batch ends with the image that brings it to `BATCH_PIXELS`.
    """
    batch: list[tuple[Path, Pixels | str]] = []
    pixels = 0
    for path in paths:
        try:
            image = read_image(path)
        except DataError as error:
            batch.append((path, printable(str(error))))
        else:
            batch.append((path, image))
            pixels += image.shape[0] * image.shape[1]
        if len(batch) == batch_size or pixels >= BATCH_PIXELS:
            yield batch
            batch, pixels = [], 0
    if batch:
        yield batch


def _predict_batch(
    detector: Detector, batch: list[tuple[Path, Pixels | str]], heatmaps: Path
) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = [
        {"path": printable(str(path)), "error": image if isinstance(image, str) else None}
        for path, image in batch
    ]
    images = [image for _, image in batch if not isinstance(image, str)]
    if not images:
        return rows
    squares, boxes = zip(*map(detector.prepare, images), strict=True)
    raw_scores, maps = detector.score_batch(np.stack(squares), boxes)
    readable = [
        (row, path) for row, (path, _) in zip(rows, batch, strict=True) if row["error"] is None
    ]
    for (row, path), image, raw_score, pixels in zip(
        readable, images, raw_scores, contents(maps, boxes), strict=True
    ):
        name = heatmap_name(path)
        write_heatmap(image, detector.heat(pixels), heatmaps / name)
        row.update(detector.judge(raw_score, pixels), heatmap=f"{HEATMAPS}/{name}")
    return rows


def heatmap_name(path: Path) -> str:
    """Name of an image's heatmap; files of one name in different folders do not collide."""
    digest = hashlib.sha256(os.fsencode(path.absolute())).hexdigest()[:8]
    # File systems allow 255 bytes, and a character may take 4.
    return f"{printable(path.stem)[:60]}-{digest}.png"


def write_heatmap(
    image: NDArray[np.uint8],
    heat: NDArray[np.float32],
    path: Path,
) -> None:
    """Write the heat ``(h, w)`` in [0, 1] laid over its image ``(H, W, 3)``, at its size."""
    height, width = image.shape[:2]
    resized = np.asarray(Image.fromarray(heat).resize((width, height), Image.Resampling.BILINEAR))
    Image.fromarray(overlay(image, resized, 0, 1)).save(path)
