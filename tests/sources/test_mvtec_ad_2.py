"""The layout was checked against MVTec's loader, mvtec_ad_2_public_offline.py, and anomalib's."""

import shutil
from pathlib import Path

import layouts
import pytest

from daf_pipelines.errors import DataError
from daf_pipelines.sources.base import Row
from daf_pipelines.sources.mvtec_ad_2 import MVTecAD2


@pytest.fixture
def root(tmp_path: Path) -> Path:
    layouts.mvtec_ad_2(tmp_path / "mvtec_ad_2")
    return tmp_path / "mvtec_ad_2"


def test_rows_of_the_public_part(root: Path) -> None:
    normals = [
        ("train/good/000_regular.png", "train"),
        ("train/good/001_regular.png", "train"),
        ("train/good/002_regular.png", "train"),
        ("train/good/003_regular.png", "train"),
        ("validation/good/004_regular.png", "calibration"),
        ("validation/good/005_regular.png", "calibration"),
        ("test_public/good/000_overexposed.png", "test"),
        ("test_public/good/000_regular.png", "test"),
    ]
    masks = "vial/test_public/ground_truth/bad"
    listing = MVTecAD2().list_images(root, "vial")
    assert listing.findings == []
    assert sorted(listing.rows, key=str) == sorted(
        [
            *(Row(f"vial/{path}", split, 0, "good", "vial") for path, split in normals),
            *(
                Row(
                    f"vial/test_public/bad/{stem}.png",
                    "test",
                    1,
                    "bad",
                    "vial",
                    f"{masks}/{stem}_mask.png",
                )
                for stem in ("000_regular", "001_underexposed")
            ),
        ],
        key=str,
    )


def test_categories(root: Path) -> None:
    assert MVTecAD2().categories(root) == ["can", "vial"]


def test_mask_without_its_image(root: Path) -> None:
    (root / "can" / "test_public" / "bad" / "000_regular.png").unlink()
    (finding,) = MVTecAD2().list_images(root, "can").findings
    assert finding.check == "mask_without_image"
    assert finding.file == "can/test_public/ground_truth/bad/000_regular_mask.png"
    assert "expected in can/test_public/bad" in finding.finding


def test_missing_validation_is_named(root: Path) -> None:
    shutil.rmtree(root / "can" / "validation")
    with pytest.raises(DataError, match=r"can/validation/good, which does not exist.*holds test_p"):
        MVTecAD2().list_images(root, "can")
