"""Reading a dataset: every file is decoded once, in parallel, resumable after a kill.

What the manifest needs to know of each image, and its prepared pixels, come from one decoding.
Pixels are kept in files of `CHUNK` images, not in memory, which so stays flat as the set grows.
The files stay for the next reading: it only decodes those again in which an image has changed, and
those that list other images than before.
"""

import hashlib
import json
import os
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import ExifTags
from tqdm import tqdm

from daf_pipelines.atomic import written_file
from daf_pipelines.errors import DataError, ImageError
from daf_pipelines.parameters import DatasetParams
from daf_pipelines.resources import code_hash
from daf_pipelines.sources.base import Finding, Row
from daf_pipelines.sources.decoding import open_image, read_bytes
from daf_pipelines.sources.images import (
    find_images,
    fit_image,
    fit_mask,
    read_image,
    read_mask,
    resize_image,
)
from daf_pipelines.sources.similarity import perceptual_hash

CHUNK = 32
"""Images a file, and the most that a kill costs each thread."""
CODE = code_hash(
    *(f"sources/{name}.py" for name in ("reading", "decoding", "images", "labelme", "similarity"))
)
"""That decides what is read: chunks of another one are not resumed from."""
WRITTEN_WITHIN = 3600
"""Seconds: an older part of a file is that of a killed process."""

THUMBNAIL, CACHED_CHUNKS = 128, 32
"""Side of the images that are compared with each other, and how many chunks of them are kept."""

TYPES = {
    "path": "str",
    "split": "str",
    "label": "Int64",
    "defect_type": "str",
    "category": "str",
    "mask_path": "str",
    "group": "str",
    "width": "int64",
    "height": "int64",
    "mode": "str",
    "content_hash": "str",
    "mask_hash": "str",
    "mask_coverage": "float64",
    "pixel_hash": "str",
    "perceptual_hash": "str",
    "date": "float64",
    "chunk": "str",
    "place": "int64",
}
COLUMNS = list(TYPES)

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Reading:
    """What reading the files of a dataset has brought.

    Attributes:
        table: One row a readable image, sorted by path: what the source says (columns of
            :class:`~daf_pipelines.sources.base.Row`), what the file says (`width`, `height`,
            `mode`, `content_hash`, `mask_hash`, `mask_coverage`), and for the checks
            `pixel_hash` (of the decoded image), `perceptual_hash` and `date` (POSIX seconds).
            `chunk` and `place` say where its pixels are.
        findings: What is wrong with the other files.
        folder: Where the chunks are.
    """

    table: pd.DataFrame
    findings: list[Finding]
    folder: Path

    def rows(self, paths: "pd.Series[str]") -> pd.DataFrame:
        """The table's rows of these images, in their order."""
        return self.table.set_index("path").loc[paths.tolist()].reset_index()

    def images(self, rows: pd.DataFrame) -> Pixels:
        """Prepared images (N, H, W, 3) of a few rows of the table."""
        return np.concatenate([images for (images,) in self._load(rows, ("images",))])

    def thumbnails(self, rows: pd.DataFrame) -> Callable[[Sequence[int]], Pixels]:
        """Gives small images (N, h, w, 3) by position in `rows`; remembers some of the chunks."""
        chunks, places = rows["chunk"].tolist(), rows["place"].tolist()
        firsts = rows.assign(position=range(len(rows))).groupby("chunk")["position"]
        members = {chunk: rows.iloc[group.tolist()].sort_values("place") for chunk, group in firsts}

        @lru_cache(maxsize=CACHED_CHUNKS)
        def chunk_of(name: str) -> dict[int, Pixels]:
            images = self.images(members[name])
            small = [resize_image(image, min(len(image), THUMBNAIL)) for image in images]
            return dict(zip(members[name]["place"].tolist(), small, strict=True))

        return lambda positions: np.stack([chunk_of(chunks[i])[places[i]] for i in positions])

    def pixels(self, rows: pd.DataFrame) -> Iterator[tuple[Pixels, Pixels]]:
        """Prepared images (n, H, W, 3) and masks (n, H, W) of rows of the table, in their order.

        Comes in parts, so that no more than a chunk is in memory. Masks are 0 where there is none.
        """
        return ((images, masks) for images, masks in self._load(rows, ("images", "masks")))

    def _load(self, rows: pd.DataFrame, names: tuple[str, ...]) -> Iterator[list[Pixels]]:
        runs = (rows["chunk"] != rows["chunk"].shift()).cumsum()
        for _, run in rows.groupby(runs, sort=False):
            file, places = self.folder / run["chunk"].iloc[0], run["place"].to_numpy()
            try:
                with np.load(file) as chunk:  # whose entries carry a checksum
                    parts = [chunk[name][places] for name in names]
            except (OSError, ValueError, zipfile.BadZipFile) as error:
                raise DataError(
                    f"{file} is damaged ({error}). Remove the folder {self.folder} and run again."
                ) from error
            yield parts


def read_rows(rows: Sequence[Row], root: Path, params: DatasetParams, folder: Path) -> Reading:
    """Reads, checks and prepares every image and mask.

    Args:
        rows: What the source lists.
        root: Folder that their paths are relative to.
        params: How images are prepared.
        folder: Gets the chunks. Those of an earlier, killed call are used again where the files
            still have the content that they had then.

    Raises:
        DataError: The folder cannot be written to.
    """
    rows = sorted(rows, key=lambda row: row.path)
    parts = [rows[start : start + CHUNK] for start in range(0, len(rows), CHUNK)]
    chunks = [_Chunk(part, root, params, folder) for part in parts]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tables, findings = _read_chunks(chunks, len(rows))
    except OSError as error:
        raise DataError(
            f"The prepared images cannot be written to {folder} ({error.strerror}). Make room or "
            "correct the permissions, and run again: what has been read is not read twice."
        ) from error
    _prune(folder, {chunk.name for chunk in chunks})
    table = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()
    return Reading(table.reindex(columns=COLUMNS).astype(TYPES), findings, folder)


def _read_chunks(chunks: list["_Chunk"], total: int) -> tuple[list[pd.DataFrame], list[Finding]]:
    tables, findings = [], []
    bar = tqdm(total=total, desc="Reading images", unit="image", disable=None)
    with bar, ThreadPoolExecutor(_threads()) as pool:
        try:
            for chunk, (records, faults) in zip(chunks, pool.map(_Chunk.read, chunks), strict=True):
                if records:
                    tables.append(pd.DataFrame(records, columns=COLUMNS).astype(TYPES))
                findings += faults
                bar.update(len(chunk.rows))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return tables, findings


@dataclass(frozen=True)
class _Chunk:
    rows: list[Row]
    root: Path
    params: DatasetParams
    folder: Path

    def read(self) -> tuple[list[dict[str, Any]], list[Finding]]:
        """Records and findings of the chunk, whose pixels are in its file afterwards."""
        file = self.folder / self.name
        records = self._resumed(file)
        if records is not None:
            return records, []
        records, findings = [], []
        images: list[Pixels] = []
        masks: list[Pixels] = []
        for row in self.rows:
            try:
                record, image, mask = _read_row(row, self.root, self.params)
            except ImageError as error:
                findings.append(
                    Finding("error", error.check, error.name, error.finding, error.remedy)
                )
                continue
            records.append(record | {"chunk": file.name, "place": len(images)})
            images.append(image)
            masks.append(mask)
        if images:
            self._write(file, records, images, masks)
        return records, findings

    @cached_property
    def name(self) -> str:
        """Of the file: it tells apart what is listed and how it is prepared."""
        settings = [CODE, str(self.root), self.params.image_size, self.params.resize]
        text = json.dumps([settings, [asdict(row) for row in self.rows]])
        return hashlib.sha256(text.encode()).hexdigest()[:32] + ".npz"

    def _resumed(self, file: Path) -> list[dict[str, Any]] | None:
        """The records of an earlier call, if no file of the chunk has changed or was faulty."""
        if not file.is_file():
            return None
        try:
            with np.load(file) as chunk:
                records: list[dict[str, Any]] = json.loads(chunk["records"].tobytes())
            same = len(records) == len(self.rows) and all(map(self._is_unchanged, records))
        except (OSError, ValueError, KeyError, zipfile.BadZipFile):
            return None
        return records if same else None

    def _is_unchanged(self, record: dict[str, Any]) -> bool:
        mask = record["mask_path"]
        return record["content_hash"] == _hash(self.root / record["path"]) and (
            mask is None or record["mask_hash"] == _hash(self.root / mask)
        )

    def _write(
        self, file: Path, records: list[dict[str, Any]], images: list[Pixels], masks: list[Pixels]
    ) -> None:
        text = np.frombuffer(json.dumps(records).encode(), dtype=np.uint8)
        with written_file(file) as partial, partial.open("wb") as stream:
            np.savez(stream, records=text, images=np.stack(images), masks=np.stack(masks))


def _prune(folder: Path, names: set[str]) -> None:
    """Removes what earlier readings, of other images or sizes, have left."""
    for file in folder.iterdir():
        if file.name not in names and not _is_being_written(file):
            file.unlink(missing_ok=True)


def _is_being_written(file: Path) -> bool:
    """Whether it may be another process's, as cells of a study share the folder."""
    with suppress(FileNotFoundError):
        return file.name.startswith(".") and time.time() - file.stat().st_mtime < WRITTEN_WITHIN
    return False


def _read_row(row: Row, root: Path, params: DatasetParams) -> tuple[dict[str, Any], Pixels, Pixels]:
    """Record, prepared image and prepared mask (all 0 without one).

    Raises:
        ImageError: The image or its mask cannot be used.
    """
    data = read_bytes(root / row.path, row.path)
    image = read_image(data, row.path)
    height, width = image.shape[:2]
    mode, date = _header(data, root / row.path)
    size = params.image_size
    prepared = fit_image(image, size, params.resize)
    record = asdict(row) | {
        "width": width,
        "height": height,
        "mode": mode,
        "content_hash": hashlib.sha256(data).hexdigest(),
        "mask_hash": None,
        "mask_coverage": None,
        "pixel_hash": hashlib.sha256(image.data).hexdigest() + f"-{width}x{height}",
        "perceptual_hash": perceptual_hash(prepared),
        "date": date,
    }
    if row.mask_path is None:
        return record, prepared, np.zeros((size, size), np.uint8)
    mask = read_mask(root / row.mask_path, row.mask_path)
    _check_shape(mask, row, (height, width))
    record |= {"mask_hash": _hash(root / row.mask_path), "mask_coverage": float(mask.mean())}
    return record, prepared, fit_mask(mask, size, params.resize)


def _check_shape(mask: Pixels, row: Row, shape: tuple[int, int]) -> None:
    if mask.shape != shape:
        (height, width), (image_height, image_width) = mask.shape, shape
        raise ImageError(
            str(row.mask_path),
            "mask_size",
            f"the mask has {width}x{height} pixels, but its image {row.path} has "
            f"{image_width}x{image_height}",
            "Draw or export the mask at the size of its image",
        )


def _hash(path: Path) -> str:
    """SHA-256 (hex) of a file, or of the names and contents of the files in a folder."""
    if not path.is_dir():
        return hashlib.sha256(path.read_bytes()).hexdigest()
    parts = [f"{file.name}:{_hash(file)}" for file in find_images(path)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _header(data: bytes, path: Path) -> tuple[str, float]:
    """Pillow's mode, and when the image was taken, or else when its file was changed."""
    with open_image(data, path.name) as image:
        mode = str(image.mode)
        try:
            exif = image.getexif()
            original = exif.get_ifd(ExifTags.IFD.Exif).get(ExifTags.Base.DateTimeOriginal)
            text = str(original or exif.get(ExifTags.Base.DateTime))
            taken = datetime.strptime(text, "%Y:%m:%d %H:%M:%S").replace(tzinfo=UTC)
        except Exception:  # Pillow raises nearly anything on broken metadata, which is optional.
            return mode, path.stat().st_mtime
    return mode, taken.timestamp()


def _threads() -> int:
    """One a core: decoders release Python's lock."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
