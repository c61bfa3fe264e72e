"""The layout was checked against anomalib's loader and that of mixed-segdec-net-comind2021."""

from pathlib import Path

import layouts
import pytest

from daf_pipelines.errors import DataError
from daf_pipelines.sources.base import Row
from daf_pipelines.sources.kolektor_sdd import KolektorSDD


@pytest.fixture
def root(tmp_path: Path) -> Path:
    layouts.kolektor_sdd(tmp_path / "KolektorSDD")
    return tmp_path / "KolektorSDD"


def test_rows_leave_label_and_split_open(root: Path) -> None:
    listing = KolektorSDD().list_images(root, "commutator")
    assert listing.findings == []
    assert listing.rows == [
        Row(
            f"{folder}/Part{part}.jpg",
            None,
            None,
            "defect",
            "commutator",
            f"{folder}/Part{part}_label.bmp",
            folder,
        )
        for folder in ("kos01", "kos02")
        for part in range(3)
    ]


def test_image_without_its_mask_has_no_label_and_is_left_out(root: Path) -> None:
    (root / "kos02" / "Part1_label.bmp").unlink()
    listing = KolektorSDD().list_images(root, "commutator")
    assert "kos02/Part1.jpg" not in {row.path for row in listing.rows}
    (finding,) = listing.findings
    assert (finding.severity, finding.check) == ("error", "image_without_mask")
    assert finding.file == "kos02/Part1.jpg"


def test_mask_without_its_image(root: Path) -> None:
    (root / "kos02" / "Part1.jpg").unlink()
    (finding,) = KolektorSDD().list_images(root, "commutator").findings
    assert (finding.check, finding.file) == ("mask_without_image", "kos02/Part1_label.bmp")
    assert "expected in kos02" in finding.finding


def test_no_layout(tmp_path: Path) -> None:
    (tmp_path / "kos01").mkdir()
    with pytest.raises(DataError, match=r"KolektorSDD's layout.*found kos01"):
        KolektorSDD().list_images(tmp_path, "commutator")
