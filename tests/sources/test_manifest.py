import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pandera.errors
import pytest
from PIL import Image

from daf_pipelines.errors import DataError
from daf_pipelines.parameters import DatasetParams
from daf_pipelines.sources.manifest import MANIFEST, data_hash
from ingested import build_manifest

Writer = Callable[..., Path]


def mvtec(root: Path, fraction: float = 0.2) -> DatasetParams:
    return DatasetParams(source="mvtec_ad", root=root, calibration_fraction=fraction)


def faults(root: Path) -> str:
    with pytest.raises(DataError) as caught:
        build_manifest(mvtec(root), 0)
    return str(caught.value)


class TestBuildManifest:
    def test_types_and_order(self, mvtec_root: Path) -> None:
        manifest = build_manifest(mvtec(mvtec_root), 0)
        assert MANIFEST.validate(manifest).equals(manifest)
        assert list(manifest["path"]) == sorted(manifest["path"])
        assert manifest["split"].value_counts().to_dict() == {
            "train": 8,
            "calibration": 2,
            "test": 6,
        }

    def test_what_is_read_from_the_files(self, mvtec_root: Path) -> None:
        manifest = build_manifest(mvtec(mvtec_root), 0).set_index("path")
        row = manifest.loc["bolt/test/dent/000.png"]
        assert (row["width"], row["height"], row["mode"]) == (24, 20, "L")
        assert row["mask_coverage"] == pytest.approx(30 / 480)
        assert manifest["mask_coverage"].notna().sum() == 3

    def test_size_is_that_of_the_oriented_image(self, mvtec_root: Path) -> None:
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.new("L", (30, 10)).save(mvtec_root / "bolt" / "test" / "good" / "r.jpg", exif=exif)
        manifest = build_manifest(mvtec(mvtec_root), 0).set_index("path")
        row = manifest.loc["bolt/test/good/r.jpg"]
        assert (row["width"], row["height"]) == (10, 30)

    def test_undecided_labels_are_excluded(self, elpv_root: Path) -> None:
        manifest = build_manifest(DatasetParams(root=elpv_root), 0)
        assert manifest["label"].isna().equals(manifest["split"] == "excluded")
        assert manifest["mask_path"].isna().all()

    def test_same_input_same_frame_whatever_the_listing_order(
        self, mvtec_root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first = build_manifest(mvtec(mvtec_root), 3)
        pd.testing.assert_frame_equal(build_manifest(mvtec(mvtec_root), 3), first)
        iterdir, rglob = Path.iterdir, Path.rglob
        monkeypatch.setattr(Path, "iterdir", lambda s: sorted(iterdir(s), reverse=True))
        monkeypatch.setattr(Path, "rglob", lambda s, p: sorted(rglob(s, p), reverse=True))
        pd.testing.assert_frame_equal(build_manifest(mvtec(mvtec_root), 3), first)

    def test_survives_parquet_and_csv(self, mvtec_root: Path, tmp_path: Path) -> None:
        manifest = build_manifest(mvtec(mvtec_root), 0)
        manifest.to_parquet(tmp_path / "m.parquet")
        pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "m.parquet"), manifest)
        manifest.to_csv(tmp_path / "m.csv", index=False)
        read = MANIFEST.validate(pd.read_csv(tmp_path / "m.csv"))
        pd.testing.assert_frame_equal(read, manifest)


class TestChecks:
    def test_unreadable_and_empty_images_and_masks(self, mvtec_root: Path) -> None:
        category = mvtec_root / "bolt"
        (category / "train" / "good" / "000.png").write_bytes(b"")
        (category / "test" / "good" / "001.png").write_bytes(b"no image")
        (category / "ground_truth" / "dent" / "000_mask.png").write_bytes(b"")
        message = faults(mvtec_root)
        assert "3 faults" in message
        assert "train/good/000.png: not a readable image (the file is empty, 0 bytes)" in message
        assert "test/good/001.png: not a readable image" in message
        assert "dent/000_mask.png: not a readable image" in message

    def test_truncated_image(self, mvtec_root: Path) -> None:
        path = mvtec_root / "bolt" / "train" / "good" / "004.png"
        path.write_bytes(path.read_bytes()[:-200])
        assert "good/004.png: not a readable image" in faults(mvtec_root)

    def test_missing_image(self, elpv_root: Path) -> None:
        (elpv_root / "images" / "cell0002.png").unlink()
        with pytest.raises(DataError, match=r"cell0002\.png: no such file"):
            build_manifest(DatasetParams(root=elpv_root), 0)

    def test_mask_without_its_image(self, mvtec_root: Path) -> None:
        (mvtec_root / "bolt" / "test" / "dent" / "000.png").unlink()
        assert "dent/000_mask.png: a mask without its image" in faults(mvtec_root)

    def test_mask_of_another_size(self, mvtec_root: Path, write_mask: Writer) -> None:
        write_mask(mvtec_root / "bolt" / "ground_truth" / "dent" / "000_mask.png", (30, 20))
        message = faults(mvtec_root)
        assert "000_mask.png: the mask has 30x20 pixels, but its image" in message
        assert "has 24x20" in message

    def test_same_content_in_train_and_test(self, mvtec_root: Path) -> None:
        category = mvtec_root / "bolt"
        shutil.copy(category / "train/good/007.png", category / "test/good/leak.png")
        message = faults(mvtec_root)
        assert "1 fault;" in message
        assert "test/good/leak.png: a test image with the same content" in message
        assert "train/good/007.png" in message

    @pytest.mark.parametrize(
        ("kept", "found"), [(0, "no normal image"), (1, "only 1 normal image")]
    )
    def test_too_few_normals(self, mvtec_root: Path, kept: int, found: str) -> None:
        for path in sorted((mvtec_root / "bolt" / "train" / "good").iterdir())[kept:]:
            path.unlink()
        assert f"{found} to train on; at least 2 are needed" in faults(mvtec_root)

    def test_two_normals_suffice(self, mvtec_root: Path) -> None:
        for path in sorted((mvtec_root / "bolt" / "train" / "good").iterdir())[2:]:
            path.unlink()
        splits = build_manifest(mvtec(mvtec_root, fraction=0.9), 0)["split"]
        assert (splits == "train").sum() == (splits == "calibration").sum() == 1

    def test_all_faults_come_together(self, mvtec_root: Path, write_mask: Writer) -> None:
        category = mvtec_root / "bolt"
        (category / "test/good/001.png").write_bytes(b"")
        write_mask(category / "ground_truth/dent/000_mask.png", (30, 20))
        write_mask(category / "ground_truth/crack/000_mask.png")
        shutil.copy(category / "train/good/007.png", category / "test/good/leak.png")
        message = faults(mvtec_root)
        assert "4 faults" in message
        for part in ("001.png", "30x20", "crack/000_mask.png", "leak.png"):
            assert part in message

    def test_long_lists_are_capped(self, mvtec_root: Path) -> None:
        for index in range(25):
            (mvtec_root / "bolt" / "test" / "good" / f"bad{index}.png").touch()
        message = faults(mvtec_root)
        assert "25 faults" in message
        assert message.count("0 bytes") == 20
        assert message.endswith("... and 5 more")

    @pytest.mark.skipif(os.geteuid() == 0, reason="root reads every file")
    def test_unreadable_permissions(self, mvtec_root: Path) -> None:
        (mvtec_root / "bolt" / "train" / "good" / "000.png").chmod(0)
        assert "000.png: cannot be read (Permission denied)" in faults(mvtec_root)


class TestSchema:
    @pytest.mark.parametrize(
        ("index", "column", "value"),
        [
            (-1, "label", 1),
            (-1, "label", None),
            (-1, "defect_type", "dent"),
            (-1, "split", "validation"),
            (-1, "content_hash", "abc"),
            (0, "mask_coverage", 1.5),
            (0, "width", 0),
            (0, "path", "bolt/test/good/000.png"),
        ],
    )
    def test_impossible_rows(
        self, mvtec_root: Path, index: int, column: str, value: object
    ) -> None:
        manifest = build_manifest(mvtec(mvtec_root), 0)
        manifest.loc[manifest.index[index], column] = value
        with pytest.raises(pandera.errors.SchemaError):
            MANIFEST.validate(manifest)


class TestDataHash:
    def test_independent_of_root_order_and_seed(self, mvtec_root: Path, tmp_path: Path) -> None:
        manifest = build_manifest(mvtec(mvtec_root), 0)
        expected = data_hash(manifest)
        assert data_hash(manifest.sample(frac=1, random_state=0)) == expected
        assert data_hash(build_manifest(mvtec(mvtec_root, 0.5), 1)) == expected
        copy = shutil.copytree(mvtec_root, tmp_path / "elsewhere")
        assert data_hash(build_manifest(mvtec(copy), 0)) == expected

    @pytest.mark.parametrize("name", ["train/good/000.png", "ground_truth/dent/000_mask.png"])
    def test_every_pixel_counts(self, mvtec_root: Path, name: str) -> None:
        before = data_hash(build_manifest(mvtec(mvtec_root), 0))
        path = mvtec_root / "bolt" / name
        pixels = np.asarray(Image.open(path)).copy()
        # Two swapped pixels leave the mask's coverage as it was.
        pixels[0, 0], pixels[6, 8] = pixels[6, 8], pixels[0, 0]
        Image.fromarray(pixels).save(path)
        assert data_hash(build_manifest(mvtec(mvtec_root), 0)) != before

    def test_labels_count(self, mvtec_root: Path) -> None:
        before = data_hash(build_manifest(mvtec(mvtec_root), 0))
        shutil.rmtree(mvtec_root / "bolt" / "ground_truth")
        without_masks = data_hash(build_manifest(mvtec(mvtec_root), 0))
        (mvtec_root / "bolt/test/dent").rename(mvtec_root / "bolt/test/bump")
        renamed = data_hash(build_manifest(mvtec(mvtec_root), 0))
        assert len({before, without_masks, renamed}) == 3


class TestCalibrationSplit:
    def test_root_at_the_dataset_or_the_category_draws_the_same(self, mvtec_root: Path) -> None:
        drawn = []
        for root in (mvtec_root, mvtec_root / "bolt"):
            manifest = build_manifest(mvtec(root), 5)
            names = manifest.loc[manifest["split"] == "calibration", "path"]
            drawn.append({Path(name).name for name in names})
        assert drawn[0] == drawn[1]
