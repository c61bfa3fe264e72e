"""Prepared images of one split: decoded and resized once, persisted, memory-mapped when loaded."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandera.errors import SchemaError, SchemaErrors
from tqdm import tqdm

from daf_pipelines.errors import DataError, StaleArtifactError
from daf_pipelines.parameters import DatasetParams
from daf_pipelines.sources.folders import written_whole
from daf_pipelines.sources.images import read_image, read_mask, resize_image, resize_mask
from daf_pipelines.sources.manifest import MANIFEST, SPLITS, data_hash
from daf_pipelines.sources.registry import find_source, resolve_root

REMEDY = "Run `kedro run --pipelines data_ingestion` with the same --params."


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images of one split, ready for the model.

    Attributes:
        table: The manifest's rows of the split, index 0..N-1.
        images: RGB images of shape (N, H, W, 3), uint8; read-only and memory-mapped when loaded.
        masks: Defect masks of shape (N, H, W), uint8, 1 where defective, else 0 (all 0 for
            normals). None when an image that is not normal has no mask.
        dataset: Where the set comes from: source, root (as given; None for the source's own
            data), category, image_size, calibration_fraction, seed and data_hash.
    """

    table: pd.DataFrame
    images: NDArray[np.uint8]
    masks: NDArray[np.uint8] | None
    dataset: dict[str, Any]

    def __len__(self) -> int:
        return len(self.table)


def prepare(manifest: pd.DataFrame, params: DatasetParams, seed: int, split: str) -> ImageSet:
    """Decodes and resizes the images and masks of one split.

    Args:
        manifest: Manifest of the dataset that `params` and `seed` describe.
        params: Which dataset, and the size to prepare it at.
        seed: Seed that the manifest was built with.
        split: "train", "calibration", "test" or "excluded".

    Raises:
        DataError: A file has become unreadable since the manifest was built.
        ParameterError: Unknown source or category.
    """
    if split not in SPLITS:
        raise ValueError(f"split must be one of {SPLITS}; got {split!r}")
    root, size = resolve_root(params), params.image_size
    manifest = MANIFEST.validate(manifest)
    table = manifest[manifest["split"] == split].reset_index(drop=True)
    images = np.empty((len(table), size, size, 3), dtype=np.uint8)
    for index, path in _progress(table["path"], f"Preparing {split} images"):
        images[index] = resize_image(read_image(root / path), size)
    masks = _prepare_masks(table, root, size) if _has_all_masks(table) else None
    return ImageSet(
        table, images, masks, _identity(params, seed) | {"data_hash": data_hash(manifest)}
    )


def save(image_set: ImageSet, folder: Path) -> None:
    """Writes `images.npy`, `masks.npy`, `table.csv` and `dataset.json` into `folder`.

    The folder is replaced as a whole: a write that dies leaves the previous set as it was.
    """
    with written_whole(folder) as partial:
        np.save(partial / "images.npy", image_set.images)
        if image_set.masks is not None:
            np.save(partial / "masks.npy", image_set.masks)
        image_set.table.to_csv(partial / "table.csv", index=False)
        text = json.dumps(image_set.dataset, indent=2, sort_keys=True)
        (partial / "dataset.json").write_text(text + "\n", encoding="utf-8")


def load(folder: Path) -> ImageSet:
    """Reads what :func:`save` wrote; the arrays are memory-mapped, read-only.

    Raises:
        DataError: The folder is missing, incomplete or damaged.
    """
    _require_files(folder, ["images.npy", "table.csv", "dataset.json"])
    try:
        table = _read_table(folder / "table.csv")
        images = np.load(folder / "images.npy", mmap_mode="r")
        masks = _load_masks(folder) if _has_all_masks(table) else None
        dataset = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise DataError(
            f"The prepared images in {folder} are damaged: {error}. {REMEDY}"
        ) from error
    if not len(table) == len(images) == len(images if masks is None else masks):
        raise DataError(f"The files of prepared images in {folder} do not fit together. {REMEDY}")
    return ImageSet(table, images, masks, dataset)


def check_dataset(image_set: ImageSet, params: DatasetParams, seed: int) -> None:
    """Checks that a prepared set is the one that these parameters describe.

    Needs no raw data, but to find the category of an MVTec AD root where none is given.

    Raises:
        StaleArtifactError: It is of another dataset, or prepared in another way.
    """
    asked, prepared = _identity(params, seed), image_set.dataset
    different = [key for key in asked if _comparable(key, asked) != _comparable(key, prepared)]
    if different:
        raise StaleArtifactError(
            f"The prepared images are of {_describe(different, prepared)}, but you asked for "
            f"{_describe(different, asked)}. {REMEDY}"
        )


def _identity(params: DatasetParams, seed: int) -> dict[str, Any]:
    category = params.category
    if category is None:
        root = None if params.root is None else params.root.expanduser()
        category = find_source(params.source).default_category(root)
    # The root stays as given: where it is relative or None, the set is as good in another checkout.
    return {
        "source": params.source,
        "root": None if params.root is None else params.root.as_posix(),
        "category": category,
        "image_size": params.image_size,
        "calibration_fraction": params.calibration_fraction,
        "seed": seed,
    }


def _comparable(key: str, dataset: dict[str, Any]) -> Any:
    value = dataset.get(key)
    return Path(value).expanduser().resolve() if key == "root" and value is not None else value


def _describe(keys: list[str], dataset: dict[str, Any]) -> str:
    names = [key if key == "seed" else f"dataset.{key}" for key in keys]
    return ", ".join(f"{name}={dataset.get(key)}" for name, key in zip(names, keys, strict=True))


def _progress(paths: "pd.Series[str]", title: str) -> Iterable[tuple[int, str]]:
    return enumerate(tqdm(paths, desc=title, unit="image", disable=None))


def _has_all_masks(table: pd.DataFrame) -> bool:
    normal = table["label"].eq(0).fillna(False)
    return bool((normal | table["mask_path"].notna()).all())


def _prepare_masks(table: pd.DataFrame, root: Path, size: int) -> NDArray[np.uint8]:
    masks = np.zeros((len(table), size, size), dtype=np.uint8)
    for index, path in enumerate(table["mask_path"]):
        if not pd.isna(path):
            masks[index] = resize_mask(read_mask(root / path), size)
    return masks


def _require_files(folder: Path, names: list[str]) -> None:
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise DataError(f"No prepared images in {folder}: missing {', '.join(missing)}. {REMEDY}")


def _load_masks(folder: Path) -> NDArray[np.uint8]:
    _require_files(folder, ["masks.npy"])
    masks: NDArray[np.uint8] = np.load(folder / "masks.npy", mmap_mode="r")
    return masks


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
