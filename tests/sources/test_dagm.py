"""The layout was checked against the loader of mixed-segdec-net-comind2021 (images and masks).

`Labels.txt` was checked against two independent readers of it in public code.
"""

from pathlib import Path

import layouts
import pytest

from daf_pipelines.errors import DataError, ParameterError
from daf_pipelines.sources.base import Row
from daf_pipelines.sources.dagm import DAGM


@pytest.fixture
def root(tmp_path: Path) -> Path:
    layouts.dagm(tmp_path / "dagm")
    return tmp_path / "dagm"


def test_rows_keep_the_defects_of_train(root: Path) -> None:
    listing = DAGM().list_images(root, "Class10")
    assert listing.findings == []
    assert listing.rows == [
        _normal("Train/0004.PNG", "train"),
        _defect("Train/0005.PNG", "train", "Train/Label/0005_label.PNG"),
        _normal("Train/0006.PNG", "train"),
        _normal("Train/0007.PNG", "train"),
        _normal("Test/0001.PNG", "test"),
        _defect("Test/0002.PNG", "test", "Test/Label/0002_label.PNG"),
        _normal("Test/0003.PNG", "test"),
    ]


def _normal(path: str, split: str) -> Row:
    return Row(f"Class10/{path}", split, 0, "good", "Class10")


def _defect(path: str, split: str, mask: str) -> Row:
    return Row(f"Class10/{path}", split, 1, "defect", "Class10", f"Class10/{mask}")


def test_masks_are_coarse() -> None:
    assert DAGM().coarse_masks


def test_lost_mask_does_not_make_a_defect_normal(root: Path) -> None:
    (root / "Class1" / "Train" / "Label" / "0005_label.PNG").unlink()
    listing = DAGM().list_images(root, "Class1")
    (row,) = [row for row in listing.rows if row.path == "Class1/Train/0005.PNG"]
    assert (row.label, row.defect_type, row.mask_path) == (1, "defect", None)
    (finding,) = listing.findings
    assert (finding.check, finding.file) == ("labels_differ", "Class1/Train/0005.PNG")
    assert "defective by Label/Labels.txt, yet with no mask" in finding.finding


def test_mask_of_an_image_that_is_listed_as_free_of_defects(root: Path) -> None:
    layouts.write_mask(root / "Class1" / "Test" / "Label" / "0003_label.PNG")
    listing = DAGM().list_images(root, "Class1")
    assert {row.path: row.label for row in listing.rows}["Class1/Test/0003.PNG"] == 1
    (finding,) = listing.findings
    assert (finding.check, finding.file) == ("labels_differ", "Class1/Test/0003.PNG")
    assert "free of defects by Label/Labels.txt, yet with a mask" in finding.finding


def test_masks_decide_where_there_is_no_labels_file(root: Path) -> None:
    for file in root.rglob("Labels.txt"):
        file.unlink()
    listing = DAGM().list_images(root, "Class1")
    assert listing.findings == []
    assert [row.path for row in listing.rows if row.label == 1] == [
        "Class1/Train/0005.PNG",
        "Class1/Test/0002.PNG",
    ]


def test_mask_without_its_image(root: Path) -> None:
    (root / "Class1" / "Test" / "0002.PNG").unlink()
    (finding,) = DAGM().list_images(root, "Class1").findings
    assert finding.check == "mask_without_image"
    assert finding.file == "Class1/Test/Label/0002_label.PNG"


def test_several_classes_are_listed(root: Path) -> None:
    with pytest.raises(ParameterError, match=r"2 categories.*Class1, Class10"):
        DAGM().default_category(root)


def test_no_layout(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    with pytest.raises(DataError, match=r"DAGM 2007's layout.*Train/Label.*found photos"):
        DAGM().categories(tmp_path)
