"""The layout was checked against the loader of mixed-segdec-net-comind2021.

The two copies in the official archive are named in several public audits of it.
"""

import shutil
from pathlib import Path

import layouts
import pytest

from daf_pipelines.errors import DataError
from daf_pipelines.sources.base import Row
from daf_pipelines.sources.kolektor_sdd2 import KolektorSDD2


@pytest.fixture
def root(tmp_path: Path) -> Path:
    layouts.kolektor_sdd2(tmp_path / "KolektorSDD2")
    return tmp_path / "KolektorSDD2"


def test_rows_leave_the_label_to_the_mask(root: Path) -> None:
    stems = ["train/10000", "train/10001", "train/10301", "test/20000", "test/20001"]
    assert KolektorSDD2().list_images(root, "item").rows == [
        Row(f"{stem}.png", stem.split("/")[0], None, "defect", "item", f"{stem}_GT.png")
        for stem in stems
    ]


def test_copies_in_the_archive_are_left_out_and_reported(root: Path) -> None:
    findings = KolektorSDD2().list_images(root, "item").findings
    assert {finding.severity for finding in findings} == {"warning"}
    assert [finding.file for finding in findings] == [
        "train/10301 (copy).png",
        "train/10301_GT (copy).png",
    ]


def test_image_and_mask_alone(root: Path) -> None:
    (root / "test" / "20000_GT.png").unlink()
    (root / "test" / "20001.png").unlink()
    listing = KolektorSDD2().list_images(root, "item")
    assert {row.path for row in listing.rows if row.split == "test"} == set()
    assert [(f.check, f.file) for f in listing.findings if f.severity == "error"] == [
        ("image_without_mask", "test/20000.png"),
        ("mask_without_image", "test/20001_GT.png"),
    ]


def test_missing_split_is_not_the_layout(root: Path) -> None:
    shutil.rmtree(root / "test")
    with pytest.raises(DataError, match=r"KolektorSDD2's layout.*in train/ and test/.*found train"):
        KolektorSDD2().categories(root)
