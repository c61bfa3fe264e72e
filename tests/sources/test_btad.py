"""The layout was checked against anomalib's loader and paths quoted in public code.

`01/test/ko/*.bmp` with `01/ground_truth/ko/*.png`, `02/test/ko/*.png`, `03/test/ko/*.bmp`.
"""

from pathlib import Path

import layouts
import pytest

from daf_pipelines.sources.base import Row
from daf_pipelines.sources.btad import BTAD


@pytest.fixture
def root(tmp_path: Path) -> Path:
    layouts.btad(tmp_path / "BTech_Dataset_transformed")
    return tmp_path / "BTech_Dataset_transformed"


@pytest.mark.parametrize(
    ("category", "image", "mask"),
    [("01", ".bmp", ".png"), ("02", ".png", ".png"), ("03", ".bmp", ".bmp")],
)
def test_rows_whatever_the_suffixes(root: Path, category: str, image: str, mask: str) -> None:
    listing = BTAD().list_images(root, category)
    assert listing.findings == []
    assert sorted(listing.rows, key=lambda row: row.path) == [
        *(
            Row(
                f"{category}/test/ko/000{number}{image}",
                "test",
                1,
                "ko",
                category,
                f"{category}/ground_truth/ko/000{number}{mask}",
            )
            for number in range(2)
        ),
        # 0000 is also the name of an anomalous image: its mask is not the normal one's.
        Row(f"{category}/test/ok/0000{image}", "test", 0, "good", category),
        *(
            Row(f"{category}/train/ok/000{number}{image}", "train", 0, "good", category)
            for number in range(3)
        ),
    ]


def test_categories(root: Path) -> None:
    assert BTAD().categories(root) == ["01", "02", "03"]


def test_mask_without_its_image(root: Path) -> None:
    (root / "03" / "test" / "ko" / "0001.bmp").unlink()
    (finding,) = BTAD().list_images(root, "03").findings
    assert (finding.check, finding.file) == ("mask_without_image", "03/ground_truth/ko/0001.bmp")
