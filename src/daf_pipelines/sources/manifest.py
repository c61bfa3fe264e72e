"""The manifest: one validated row per image of a dataset, built and checked before training."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pandera.pandas as pa

from daf_pipelines.errors import DataError
from daf_pipelines.parameters import DatasetParams
from daf_pipelines.sources.base import GOOD, Finding, Listing, Source, printable
from daf_pipelines.sources.checks import (
    UNSAFE,
    check_names,
    check_normals,
    check_records,
    check_tree,
)
from daf_pipelines.sources.reading import Reading, read_rows
from daf_pipelines.sources.registry import find_source, resolve_dataset, resolve_root, unpack
from daf_pipelines.sources.splits import decide_splits

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


def read_dataset(params: DatasetParams, seed: int, folder: Path) -> Reading:
    """Lists, reads and checks every image and mask of a dataset.

    Args:
        params: Which dataset.
        seed: Of the splits that are drawn.
        folder: Gets the prepared pixels; see :func:`~daf_pipelines.sources.reading.read_rows`.

    Returns:
        The readable images with their splits decided, and all findings. What is listed outside of
        the root is not read.

    Raises:
        DataError: The layout is wrong.
        ParameterError: Unknown source or category.
    """
    unpack(params)
    source, dataset, root = find_source(params), resolve_dataset(params), resolve_root(params)
    category = params.category or source.default_category(dataset)
    others = _other_categories(source, dataset, category)
    tree = check_tree(root, others) if dataset.is_dir() else []
    listing = _list(source, dataset, category, tree)
    names = check_names(listing.rows, root)
    unsafe = {finding.file for finding in names if finding.check in UNSAFE}
    rows = [r for r in listing.rows if not unsafe & {*map(printable, (r.path, r.mask_path or ""))}]
    reading = read_rows(rows, root, params, folder)
    share = params.test_fraction or source.test_share
    table = decide_splits(reading.table, share, params.calibration_fraction, seed)
    checked = replace(reading, table=table)
    found = check_records(table, checked.thumbnails(table), params.image_size)
    return replace(checked, findings=[*tree, *listing.findings, *names, *reading.findings, *found])


def make_manifest(reading: Reading, params: DatasetParams) -> pd.DataFrame:
    """The manifest of what was read, as :data:`MANIFEST` has it, sorted by path.

    Raises:
        DataError: The data have errors, or, where checks are lenient, too few normals are left
            without the files that have them; one message lists them together.
    """
    errors = [finding for finding in reading.findings if finding.severity == "error"]
    manifest = reading.table[list(MANIFEST.columns)]
    if params.checks == "lenient":
        faulty = {finding.file for finding in errors}
        manifest = manifest[~manifest["path"].isin(faulty) & ~manifest["mask_path"].isin(faulty)]
        errors = [f for f in check_normals(manifest) if f.severity == "error"]
    if errors:
        raise _faulty(params, errors)
    validated: pd.DataFrame = MANIFEST.validate(manifest.reset_index(drop=True))
    return validated


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


def _other_categories(source: Source, dataset: Path, category: str) -> set[str]:
    """The categories that are not read; none where the layout is wrong, which listing tells of."""
    try:
        return set(source.categories(dataset)) - {category}
    except DataError:
        return set()


def _list(source: Source, dataset: Path, category: str, tree: list[Finding]) -> Listing:
    try:
        return source.list_images(dataset, category)
    except DataError as error:
        if not tree:
            raise
        raise DataError(f"{error} Perhaps because of this: {tree[0]}") from error


def _faulty(params: DatasetParams, errors: list[Finding]) -> DataError:
    lines = [str(finding) for finding in errors[:MAX_FINDINGS]]
    if len(errors) > MAX_FINDINGS:
        lines.append(f"... and {len(errors) - MAX_FINDINGS} more")
    count = "1 fault" if len(errors) == 1 else f"{len(errors)} faults"
    listed = "\n".join(f"  - {line}" for line in lines)
    return DataError(
        f"The dataset in {resolve_root(params)} has {count}; mend the files and run again, or "
        f"leave them out with dataset.checks=lenient (all findings: data_checks.csv):\n{listed}"
    )
