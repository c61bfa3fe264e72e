"""The manifest: one validated row per image of a dataset, built and checked before training."""

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pandera.pandas as pa
from PIL import Image
from tqdm import tqdm

from daf_pipelines.errors import DataError
from daf_pipelines.parameters import DatasetParams
from daf_pipelines.sources.base import GOOD, Row, draw_share
from daf_pipelines.sources.images import read_image, read_mask
from daf_pipelines.sources.registry import find_source, resolve_root

SPLITS = ("train", "calibration", "test", "excluded")
MAX_FINDINGS = 20
"""How many findings an error lists before it only counts them."""

_HASH = pa.Check.str_matches(r"^[0-9a-f]{64}$")


def _labels_fit_splits(manifest: pd.DataFrame) -> "pd.Series[bool]":
    normal = manifest["label"].eq(0).fillna(False)
    decided = manifest["label"].notna() | manifest["split"].eq("excluded")
    fits_type: pd.Series[bool] = normal.eq(manifest["defect_type"].eq(GOOD))
    return fits_type & decided & (normal | ~manifest["split"].isin(["train", "calibration"]))


MANIFEST = pa.DataFrameSchema(
    {
        "path": pa.Column(str, unique=True),
        "mask_path": pa.Column(str, nullable=True),
        "split": pa.Column(str, pa.Check.isin(SPLITS)),
        "label": pa.Column(pd.Int64Dtype(), pa.Check.isin([0, 1]), nullable=True),
        "defect_type": pa.Column(str),
        "category": pa.Column(str),
        "group": pa.Column(str, nullable=True),
        "width": pa.Column("int64", pa.Check.gt(0)),
        "height": pa.Column("int64", pa.Check.gt(0)),
        "mode": pa.Column(str),
        "content_hash": pa.Column(str, _HASH),
        "mask_hash": pa.Column(str, _HASH, nullable=True),
        "mask_coverage": pa.Column(float, pa.Check.in_range(0, 1), nullable=True),
    },
    checks=pa.Check(
        _labels_fit_splits,
        error="train and calibration hold normals only, normals are 'good', and only 'excluded' "
        "rows may lack a label",
    ),
    coerce=True,
    strict=True,
    ordered=True,
)
"""Schema of the manifest; validating also brings the columns to their types.

Paths are posix and relative to :func:`~daf_pipelines.sources.registry.resolve_root`. `width` and
`height` are those of the image as read, its orientation applied; `mode` is Pillow's mode of the
file; the hashes are SHA-256 of the files; `mask_coverage` is the share of defective pixels.
"""


def build_manifest(params: DatasetParams, seed: int) -> pd.DataFrame:
    """Lists, reads and checks every image and mask of a dataset.

    A share `calibration_fraction` of the train normals, at least one, moves to the split
    "calibration"; which ones depends on `seed` and the files' contents only.

    Args:
        params: Which dataset.
        seed: Seed of the calibration split; nothing else depends on it.

    Returns:
        Manifest as :data:`MANIFEST` has it, sorted by path.

    Raises:
        DataError: The layout is wrong, or the data has faults; one message lists them together.
        ParameterError: Unknown source or category.
    """
    source, root = find_source(params.source), resolve_root(params)
    category = params.category or source.default_category(root)
    listing = source.list_images(root, category)
    records, findings = _read_rows(listing.rows, root)
    findings = [*listing.findings, *findings, *_leaks(records), *_too_few_normals(listing.rows)]
    if findings:
        raise _faulty(f"{params.source}, category {category!r}, in {root}", findings)
    manifest = pd.DataFrame(records, columns=list(MANIFEST.columns)).sort_values("path")
    validated: pd.DataFrame = MANIFEST.validate(manifest.reset_index(drop=True))
    return _with_calibration(validated, params.calibration_fraction, seed)


def data_hash(manifest: pd.DataFrame) -> str:
    """SHA-256 (hex) of what a dataset is: its files' contents, names, labels and test split.

    The same wherever the root lies, for every order of rows, and for every calibration split.
    """
    columns = ["path", "label", "defect_type", "category", "group", "content_hash", "mask_hash"]
    table = manifest.sort_values("path")
    texts = table[columns].astype(object).where(table[columns].notna(), None)
    texts["label"] = [None if label is None else int(label) for label in texts["label"]]
    texts["split"] = table["split"].replace("calibration", "train").astype(object)
    return hashlib.sha256(json.dumps(texts.to_numpy().tolist()).encode()).hexdigest()


def _read_rows(rows: list[Row], root: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """The manifest's records, as far as the files are readable, and what is wrong with the rest."""
    records, findings = [], []
    for row in tqdm(rows, desc="Reading images", unit="image", disable=None):
        try:
            record = _read_row(row, root)
        except DataError as error:
            findings.append(str(error))
        else:
            records.append(record)
    return records, findings


def _read_row(row: Row, root: Path) -> dict[str, Any]:
    data = _read_bytes(root / row.path)
    height, width = read_image(data, str(root / row.path)).shape[:2]
    with Image.open(io.BytesIO(data)) as image:
        mode = image.mode
    return {
        **vars(row),
        "width": width,
        "height": height,
        "mode": mode,
        "content_hash": hashlib.sha256(data).hexdigest(),
        **_read_mask_of(row, root, (height, width)),
    }


def _read_mask_of(row: Row, root: Path, shape: tuple[int, int]) -> dict[str, Any]:
    if row.mask_path is None:
        return {"mask_hash": None, "mask_coverage": None}
    data = _read_bytes(root / row.mask_path)
    mask = read_mask(data, str(root / row.mask_path))
    if mask.shape != shape:
        raise DataError(
            f"{root / row.mask_path}: the mask has {mask.shape[1]}x{mask.shape[0]} pixels, but its "
            f"image {row.path} has {shape[1]}x{shape[0]}. They must be the same."
        )
    return {"mask_hash": hashlib.sha256(data).hexdigest(), "mask_coverage": float(mask.mean())}


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}).") from error


def _leaks(records: list[dict[str, Any]]) -> list[str]:
    """Findings on contents that are in both train and test."""
    train = {r["content_hash"]: r["path"] for r in records if r["split"] == "train"}
    return [
        f"{r['path']}: a test image with the same content as the training image "
        f"{train[r['content_hash']]}. Remove one of them."
        for r in records
        if r["split"] == "test" and r["content_hash"] in train
    ]


def _too_few_normals(rows: list[Row]) -> list[str]:
    count = sum(row.split == "train" for row in rows)
    if count >= 2:
        return []
    found = "no normal image" if count == 0 else "only 1 normal image"
    return [f"{found} to train on; at least 2 are needed (training uses normal images only)"]


def _faulty(dataset: str, findings: list[str]) -> DataError:
    lines = findings[:MAX_FINDINGS]
    if len(findings) > MAX_FINDINGS:
        lines.append(f"... and {len(findings) - MAX_FINDINGS} more")
    count = "1 fault" if len(findings) == 1 else f"{len(findings)} faults"
    listed = "\n".join(f"  - {line}" for line in lines)
    return DataError(f"The dataset {dataset} has {count}; mend the files and run again:\n{listed}")


def _with_calibration(manifest: pd.DataFrame, fraction: float, seed: int) -> pd.DataFrame:
    # Drawn by content, so that it does not matter at which folder the dataset's root is set;
    # identical files are told apart by their rank.
    train = manifest[manifest["split"] == "train"].sort_values("path")
    rank = train.groupby("content_hash").cumcount()
    names = train["content_hash"] + ":" + rank.astype(str)
    # One normal at least on either side of the split.
    count = min(max(1, round(fraction * len(train))), len(train) - 1)
    drawn = names.isin(draw_share(names, count, f"calibration-{seed}"))
    split = manifest["split"].mask(drawn.reindex(manifest.index, fill_value=False), "calibration")
    return manifest.assign(split=split)
