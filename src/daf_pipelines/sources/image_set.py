"""Prepared images of one split: decoded and resized once, persisted, memory-mapped when loaded."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandera.errors import SchemaError, SchemaErrors

from daf_pipelines.atomic import written_whole
from daf_pipelines.errors import DataError, StaleArtifactError
from daf_pipelines.parameters import DatasetParams
from daf_pipelines.sources.images import Box, content_box
from daf_pipelines.sources.manifest import MANIFEST, SPLITS, data_hash
from daf_pipelines.sources.reading import Reading
from daf_pipelines.sources.registry import identify

REMEDY = "Run `kedro run --pipelines data_ingestion` with the same --params."
CHECKSUMS = "checksums.json"
PART = 64
"""Images of a set that are written at a time."""


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images of one split, ready for the model.

    Attributes:
        table: The manifest's rows of the split, index 0..N-1.
        images: RGB images of shape (N, H, W, 3), uint8; memory-mapped when loaded, and
            copied where they are written to: the files stay as they are.
        masks: Defect masks of shape (N, H, W), uint8, 1 where defective, else 0 (all 0 for
            normals). None when an image that is not normal has no mask.
        dataset: Where the set comes from: source, root (as given; None for the source's own
            data), category, image_size, resize, test_fraction, calibration_fraction, checks, seed
            and data_hash.
    """

    table: pd.DataFrame
    images: NDArray[np.uint8]
    masks: NDArray[np.uint8] | None
    dataset: dict[str, Any]

    def __len__(self) -> int:
        return len(self.table)

    @property
    def boxes(self) -> list[Box]:
        """Where each image lies in its prepared square; the rest of the square is padding."""
        size = self.images.shape[1]
        if self.dataset.get("resize") != "pad":
            return [(0, 0, size, size)] * len(self)
        sizes = zip(self.table["width"].tolist(), self.table["height"].tolist(), strict=True)
        return [content_box(width, height, size, "pad") for width, height in sizes]


@dataclass(frozen=True, eq=False)
class ImageStream:
    """An :class:`ImageSet` on its way to disk, of which only a part is in memory at a time.

    Attributes:
        table: As in the set.
        size: Side of the images, pixels.
        parts: Images (n, H, W, 3) and masks (n, H, W) of the table's rows, in their order.
        has_masks: Whether the set gets masks.
        dataset: As in the set.
    """

    table: pd.DataFrame
    size: int
    parts: Iterable[tuple[NDArray[np.uint8], NDArray[np.uint8]]]
    has_masks: bool
    dataset: dict[str, Any]


def prepare(
    manifest: pd.DataFrame, reading: Reading, params: DatasetParams, seed: int, split: str
) -> ImageStream:
    """The prepared images and masks of one split.

    Args:
        manifest: Manifest of the dataset that `params` and `seed` describe.
        reading: What it was made from.
        params: Which dataset, and the size it was prepared at.
        seed: Seed that the manifest was built with.
        split: "train", "calibration", "test" or "excluded".
    """
    if split not in SPLITS:
        raise ValueError(f"split must be one of {SPLITS}; got {split!r}")
    table = manifest[manifest["split"] == split].reset_index(drop=True)
    dataset = _identity(params, seed) | {"data_hash": data_hash(manifest)}
    pixels = reading.pixels(reading.rows(table["path"]))
    return ImageStream(table, params.image_size, pixels, _has_all_masks(table), dataset)


def save(image_set: ImageSet | ImageStream, folder: Path) -> None:
    """Writes `images.npy`, `masks.npy`, `table.csv`, `dataset.json` and their `checksums.json`.

    The folder is replaced as a whole: a write that dies leaves the previous set as it was.
    """
    stream = _as_stream(image_set) if isinstance(image_set, ImageSet) else image_set
    with written_whole(folder) as partial:
        _write_pixels(stream, partial)
        stream.table.to_csv(partial / "table.csv", index=False)
        text = json.dumps(stream.dataset, indent=2, sort_keys=True)
        (partial / "dataset.json").write_text(text + "\n", encoding="utf-8")
        sums = {file.name: _checksum(file) for file in sorted(partial.iterdir())}
        text = json.dumps(sums, indent=2)
        (partial / CHECKSUMS).write_text(text + "\n", encoding="utf-8")


def load(folder: Path) -> ImageSet:
    """Reads what :func:`save` wrote; the arrays are memory-mapped.

    Raises:
        DataError: The folder is missing, incomplete or damaged.
    """
    _require_files(folder, [CHECKSUMS])
    try:
        sums = json.loads((folder / CHECKSUMS).read_text(encoding="utf-8"))
        _require_files(folder, list(sums))
        for name in sums:
            if _checksum(folder / name) != sums[name]:
                raise ValueError(f"{name} is not what was written")
        table = _read_table(folder / "table.csv")
        images = np.load(folder / "images.npy", mmap_mode="c")
        masks = np.load(folder / "masks.npy", mmap_mode="c") if "masks.npy" in sums else None
        dataset = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise DataError(
            f"The prepared images in {folder} are damaged: {error}. {REMEDY}"
        ) from error
    return ImageSet(table, images, masks, dataset)


def check_dataset(image_set: ImageSet, params: DatasetParams, seed: int) -> None:
    """Checks that a prepared set is the one that these parameters describe.

    Needs no raw data. Where they are there, they also tell the layout and the category that are
    read when none is named.

    Raises:
        ParameterError: No category is named, and there are several by now.
        StaleArtifactError: It is of another dataset, or prepared in another way.
    """
    prepared = image_set.dataset
    asked = _identity(params, seed)
    unknown = {key for key in ("source", "category") if asked[key] is None}
    different = [
        key
        for key in asked
        if key not in unknown and _comparable(key, asked) != _comparable(key, prepared)
    ]
    if different:
        raise StaleArtifactError(
            f"The prepared images are of {_describe(different, prepared)}, but you asked for "
            f"{_describe(different, asked)}. {REMEDY}"
        )


def _identity(params: DatasetParams, seed: int) -> dict[str, Any]:
    """What a prepared set is; source and category are None where only raw data could tell."""
    source, category = identify(params)
    # The root stays as given: where it is relative or None, the set is as good in another checkout.
    return {
        "source": source,
        "root": None if params.root is None else params.root.as_posix(),
        "category": category,
        "image_size": params.image_size,
        "resize": params.resize,
        "test_fraction": params.test_fraction,
        "calibration_fraction": params.calibration_fraction,
        "checks": params.checks,
        "seed": seed,
    }


def _comparable(key: str, dataset: dict[str, Any]) -> Any:
    value = dataset.get(key)
    return Path(value).expanduser().resolve() if key == "root" and value is not None else value


def _describe(keys: list[str], dataset: dict[str, Any]) -> str:
    names = [key if key == "seed" else f"dataset.{key}" for key in keys]
    return ", ".join(f"{name}={dataset.get(key)}" for name, key in zip(names, keys, strict=True))


def _has_all_masks(table: pd.DataFrame) -> bool:
    normal = table["label"].eq(0).fillna(False)
    return bool((normal | table["mask_path"].notna()).all())


def _as_stream(image_set: ImageSet) -> ImageStream:
    images, masks = image_set.images, image_set.masks
    starts = range(0, len(images), PART)
    parts = (
        (images[i : i + PART], (images[..., 0] if masks is None else masks)[i : i + PART])
        for i in starts
    )
    return ImageStream(
        image_set.table, images.shape[1], parts, masks is not None, image_set.dataset
    )


def _write_pixels(stream: ImageStream, folder: Path) -> None:
    count, size = len(stream.table), stream.size
    with (folder / "images.npy").open("wb") as images, (folder / "masks.npy").open("wb") as masks:
        for file, shape in ((images, (count, size, size, 3)), (masks, (count, size, size))):
            header = {"descr": "|u1", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
        for part in stream.parts:
            for file, pixels in zip((images, masks), part, strict=True):
                file.write(pixels.tobytes())
    if not stream.has_masks:
        (folder / "masks.npy").unlink()


def _checksum(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _require_files(folder: Path, names: list[str]) -> None:
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise DataError(f"No prepared images in {folder}: missing {', '.join(missing)}. {REMEDY}")


def _read_table(file: Path) -> pd.DataFrame:
    # Only an empty field is missing: a defect type may be called "NA" or "null".
    texts = pd.read_csv(file, dtype=str, keep_default_na=False, na_values=[""])
    try:
        for column in ("label", "width", "height", "mask_coverage"):
            texts[column] = pd.to_numeric(texts[column])
        table: pd.DataFrame = MANIFEST.validate(texts)
    except (KeyError, SchemaError, SchemaErrors) as error:
        raise ValueError("table.csv does not hold rows of the manifest") from error
    return table
