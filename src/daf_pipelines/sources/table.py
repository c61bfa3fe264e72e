"""A table of images, as a line's database exports it: .csv or .parquet, one row an image.

    path           image, relative to the table's folder (the only column that is needed)
    label          0, or good, normal, ok; 1, or any other word, which names the defect. Without
                   this column all images are good; blank: the mask decides, or it is excluded
    mask_path      mask, relative to the table's folder
    split          train, calibration (or validation, val), test, excluded; blank: drawn
    defect_type    kind of defect
    category       kind of product; blank: the table's name, or its folder's for images.csv
    group          lot or sequence, which stays in one split

Other columns are passed over.
"""

import csv
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path, PurePosixPath
from typing import ClassVar

import pandas as pd

from daf_pipelines.errors import DataError
from daf_pipelines.sources.base import (
    GOOD,
    GOOD_NAMES,
    Finding,
    Listing,
    Row,
    Source,
    require_known,
)
from daf_pipelines.sources.layout import content

COLUMNS = ("path", "label", "mask_path", "split", "defect_type", "category", "group")
SPLITS = {
    "": None,
    "train": "train",
    "calibration": "calibration",
    "validation": "calibration",
    "val": "calibration",
    "test": "test",
    "excluded": "excluded",
}
ALIASES = {"mask": ["mask_path"], "class": ["label"], "target": ["label"], "lot": ["group"]}
"""What other tools call these columns."""
NORMAL = GOOD_NAMES | {"0", "0.0", "false"}
ANOMALOUS = frozenset({"1", "1.0", "true"})

Values = dict[str, str]
"""One row's values by column, "" where blank."""


class Table(Source):
    """Images that a table names; the root is the table, or a folder with images.csv or .parquet."""

    name: ClassVar[str] = "table"

    def recognises(self, root: Path) -> bool:
        """Whether `root` is a .csv or .parquet file, or a folder with one images.csv/.parquet."""
        return len(_find_tables(root)) == 1

    def categories(self, root: Path) -> list[str]:
        """Values of the column `category`; see :meth:`Source.categories`."""
        return sorted({row["category"] for row in _read_rows(_require_table(root))})

    def list_images(self, root: Path, category: str) -> Listing:
        """Lists the images of `category`; see :meth:`Source.list_images`."""
        table = _require_table(root)
        values = _read_rows(table)
        require_known("dataset.category", category, {row["category"] for row in values})
        rows: dict[str, Row] = {}
        findings = []
        for number, value in enumerate(values, start=1):
            if value["category"] != category:
                continue
            try:
                row = _row(value)
                if row.path in rows:
                    raise ValueError("its path is also that of an earlier row")
            except ValueError as error:
                findings.append(_wrong_row(number, value, table, error))
            else:
                rows[row.path] = row
        return Listing(list(rows.values()), findings)


def _find_tables(root: Path) -> list[Path]:
    if root.suffix.lower() in {".csv", ".parquet"} and root.is_file():
        return [root]
    return [table for table in (root / "images.csv", root / "images.parquet") if table.is_file()]


def _require_table(root: Path) -> Path:
    tables = _find_tables(root)
    if len(tables) != 1:
        raise DataError(
            f"Expected a .csv or .parquet file, or a folder with images.csv or images.parquet; "
            f"found in {root}: {content(root)}. Correct dataset.root."
        )
    return tables[0]


def _read_rows(table: Path) -> list[Values]:
    """All rows, with every known column that the table has, and a category each."""
    try:
        rows = _read_csv(table) if table.suffix.lower() == ".csv" else _read_parquet(table)
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(
            f"{table}: not a readable table ({error}). Save it as UTF-8 .csv, with commas, or as "
            ".parquet."
        ) from error
    if not rows:
        raise DataError(f"{table}: a table without rows. Point dataset.root to another one.")
    name = table.parent.resolve().name if table.stem == "images" else table.stem
    return [row | {"category": row.get("category") or name} for row in rows]


def _read_csv(table: Path) -> list[Values]:
    with table.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, strict=True)
        columns = _known(reader.fieldnames or [])
        rows = []
        for number, row in enumerate(reader, start=1):
            if any(row.pop(None, ())):
                raise ValueError(f"row {number} has more fields than the first line has names")
            rows.append({column: (row[column] or "").strip() for column in columns})
    return rows


def _read_parquet(table: Path) -> list[Values]:
    # Nullable types keep whole numbers whole, also where some are missing.
    frame = pd.read_parquet(table, dtype_backend="numpy_nullable")
    columns = _known([str(name) for name in frame.columns])
    texts = {name: ["" if pd.isna(v) else str(v).strip() for v in frame[name]] for name in columns}
    return [dict(zip(columns, row, strict=True)) for row in zip(*texts.values(), strict=True)]


def _known(columns: Iterable[str]) -> list[str]:
    """Those of the columns that this source knows."""
    names = list(columns)
    if "path" not in names:
        raise ValueError(f"expected the column path; found {', '.join(names) or 'no columns'}")
    for name in names:
        # Passed over, a label would make defects good.
        lower = name.lower()
        meant = ALIASES.get(lower) or get_close_matches(lower, COLUMNS, n=1, cutoff=0.8)
        if name not in COLUMNS and meant:
            raise ValueError(f"the column {name} is unknown; did you mean {meant[0]}? Rename it")
    return [name for name in COLUMNS if name in names]


def _row(values: Values) -> Row:
    """The row of the manifest.

    Raises:
        ValueError: A value is wrong.
    """
    if not values["path"]:
        raise ValueError("its path is blank")
    split = values.get("split", "").lower()
    if split not in SPLITS:
        known = ", ".join(name for name in SPLITS if name)
        raise ValueError(f"its split is {values['split']!r}; known are {known}, or blank")
    mask_path = _posix(values["mask_path"]) if values.get("mask_path") else None
    label, named = _label(values.get("label", "0"))
    if label is None and mask_path is None and split != "excluded":
        raise ValueError("its label is blank, and it has no mask that could decide")
    return Row(
        _posix(values["path"]),
        SPLITS[split],
        label,
        _defect_type(label, values.get("defect_type") or named),
        values["category"],
        mask_path,
        values.get("group") or None,
    )


def _label(text: str) -> tuple[int | None, str]:
    """The label, and the kind of defect if its text names one."""
    word = text.lower()
    if not word:
        return None, ""
    if word in NORMAL:
        return 0, ""
    if word in ANOMALOUS:
        return 1, ""
    if _is_number(word):
        raise ValueError(f"its label is {text}; expected 0, 1 or a word")
    return 1, text


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _defect_type(label: int | None, named: str) -> str:
    names_good = named.lower() in GOOD_NAMES
    if label == 0 and named and not names_good:
        raise ValueError(f"it is labelled as good, but its defect_type is {named!r}")
    if label != 0 and names_good:
        raise ValueError(f"its defect_type is {named!r}, but it is not labelled so")
    return GOOD if label == 0 else named or "defective"


def _posix(text: str) -> str:
    """A path as the manifest has it; "./a.png" and "a.png" are one."""
    return PurePosixPath(text).as_posix()


def _wrong_row(number: int, values: Values, table: Path, error: ValueError) -> Finding:
    return Finding(
        "error",
        "table_row",
        _posix(values["path"]) if values["path"] else table.name,
        f"row {number} of {table.name}: {error}",
        "Correct the table",
    )
