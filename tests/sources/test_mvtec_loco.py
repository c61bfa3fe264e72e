"""The layout was checked against anomalib's loader of MVTec LOCO AD."""

import shutil
from pathlib import Path

import layouts
import pytest

from daf_pipelines.sources.base import Row
from daf_pipelines.sources.mvtec_loco import MVTecLOCO


@pytest.fixture
def root(tmp_path: Path) -> Path:
    layouts.mvtec_loco(tmp_path / "mvtec_loco")
    return tmp_path / "mvtec_loco"


def test_rows_have_folders_of_masks(root: Path) -> None:
    train = [f"pushpins/train/good/{number:03}.png" for number in range(4)]
    validation = [f"pushpins/validation/good/{number:03}.png" for number in range(2)]
    listing = MVTecLOCO().list_images(root, "pushpins")
    assert listing.findings == []
    assert listing.rows == [
        *(Row(path, "train", 0, "good", "pushpins") for path in train),
        *(Row(path, "calibration", 0, "good", "pushpins") for path in validation),
        Row("pushpins/test/good/000.png", "test", 0, "good", "pushpins"),
        *(
            Row(
                f"pushpins/test/{kind}/000.png",
                "test",
                1,
                kind,
                "pushpins",
                f"pushpins/ground_truth/{kind}/000",
            )
            for kind in ("logical_anomalies", "structural_anomalies")
        ),
    ]


def test_masks_without_their_images(root: Path) -> None:
    truth = root / "screw_bag" / "ground_truth"
    layouts.write_mask(truth / "logical_anomalies" / "007" / "000.png")
    shutil.rmtree(root / "screw_bag" / "test" / "structural_anomalies")
    findings = MVTecLOCO().list_images(root, "screw_bag").findings
    assert [(finding.check, finding.file) for finding in findings] == [
        ("mask_without_image", "screw_bag/ground_truth/logical_anomalies/007"),
        ("mask_without_image", "screw_bag/ground_truth/structural_anomalies/000"),
    ]
