"""The split file was checked against split_csv/1cls.csv in amazon-science/spot-diff.

The columns of image_anno.csv, and masks that hold numbers of kinds, were checked against public
loaders and that repository's id2class.json and prepare_data.py.
"""

import shutil
from pathlib import Path

import layouts
import pytest

from daf_pipelines.errors import DataError, ParameterError
from daf_pipelines.sources.base import Row
from daf_pipelines.sources.visa import VisA, read_split


@pytest.fixture
def root(tmp_path: Path) -> Path:
    layouts.visa(tmp_path / "VisA")
    return tmp_path / "VisA"


def test_rows_follow_the_split_file(root: Path) -> None:
    listing = VisA().list_images(root, "pcb1")
    normal = "pcb1/Data/Images/Normal"
    assert listing.findings == []
    assert listing.rows == [
        Row(f"{normal}/0003.JPG", "train", 0, "good", "pcb1"),
        Row(f"{normal}/0000.JPG", "train", 0, "good", "pcb1"),
        Row(f"{normal}/0002.JPG", "train", 0, "good", "pcb1"),
        Row(f"{normal}/0001.JPG", "test", 0, "good", "pcb1"),
        *(
            Row(
                f"pcb1/Data/Images/Anomaly/{stem}.JPG",
                "test",
                1,
                kind,
                "pcb1",
                f"pcb1/Data/Masks/Anomaly/{stem}.png",
            )
            for stem, kind in (("000", "melt"), ("001", "combined"))
        ),
    ]


def test_kinds_are_optional(root: Path) -> None:
    (root / "pcb1" / "image_anno.csv").unlink()
    rows = VisA().list_images(root, "pcb1").rows
    assert {row.defect_type for row in rows if row.label == 1} == {"anomaly"}


def test_categories_are_the_objects_of_the_split_file(root: Path) -> None:
    shutil.rmtree(root / "pcb1")
    assert VisA().categories(root) == ["candle", "pcb1"]
    with pytest.raises(ParameterError, match=r"'pcb'.*candle, pcb1.*mean 'pcb1'"):
        VisA().list_images(root, "pcb")


def test_paths_that_leave_the_root_are_listed_as_they_are(root: Path) -> None:
    file = root / "split_csv" / "1cls.csv"
    rows = ["pcb1,test,normal,../elsewhere/0000.JPG,", "pcb1,test,anomaly,/etc/a.JPG,/etc/b.png"]
    file.write_text(file.read_text() + "\n".join(rows) + "\n")
    listed = VisA().list_images(root, "pcb1").rows[-2:]
    assert [(row.path, row.mask_path) for row in listed] == [
        ("../elsewhere/0000.JPG", None),
        ("/etc/a.JPG", "/etc/b.png"),
    ]


def test_mask_without_its_image(root: Path) -> None:
    layouts.write_mask(root / "candle" / "Data" / "Masks" / "Anomaly" / "007.png")
    (finding,) = VisA().list_images(root, "candle").findings
    assert finding.check == "mask_without_image"
    assert finding.file == "candle/Data/Masks/Anomaly/007.png"
    assert "expected in candle/Data/Images" in finding.finding


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("candle,val,normal,candle/a.JPG,", "line 14 .*val"),
        ("candle,test,good,candle/a.JPG,", "line 14 .*good"),
        ("candle,test,normal,,", "line 14 "),
        ("candle,test,normal", "line 14 "),
        (",test,normal,candle/a.JPG,", "line 14 "),
        ("candle,test,normal,candle/Data/Images/Normal/0001.JPG,", "line 14 .*0001"),
    ],
)
def test_malformed_rows(root: Path, line: str, reason: str) -> None:
    with (root / "split_csv" / "1cls.csv").open("a") as file:
        file.write(line + "\n")
    with pytest.raises(DataError, match=rf"1cls\.csv: expected rows.*{reason}"):
        read_split(root)


@pytest.mark.parametrize("name", ["split_csv/1cls.csv", "candle/image_anno.csv"])
@pytest.mark.parametrize("content", [b"", b"a,b\n1,2\n", b"image,label\n\xff,\n"])
def test_files_of_another_format(root: Path, name: str, content: bytes) -> None:
    (root / name).write_bytes(content)
    with pytest.raises(DataError, match=rf"{name}: expected a csv file with the columns .*image"):
        VisA().list_images(root, "candle")


def test_object_folder_is_not_a_root(root: Path) -> None:
    with pytest.raises(DataError, match=r"Point dataset\.root to the folder that holds split_csv/"):
        VisA().categories(root / "candle")
