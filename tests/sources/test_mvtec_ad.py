import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from daf_pipelines.errors import DataError, ParameterError
from daf_pipelines.parameters import DatasetParams
from daf_pipelines.sources.base import Row
from daf_pipelines.sources.manifest import data_hash
from daf_pipelines.sources.mvtec_ad import MVTecAD
from ingested import build_manifest


class TestTinyLayout:
    def test_rows(self, mvtec_root: Path) -> None:
        listing = MVTecAD().list_images(mvtec_root, "bolt")
        train = [Row(f"bolt/train/good/{i:03}.png", "train", 0, "good", "bolt") for i in range(10)]
        test = [Row(f"bolt/test/good/{i:03}.png", "test", 0, "good", "bolt") for i in range(3)]
        defects = [
            Row(
                f"bolt/test/{defect_type}/{stem}.png",
                "test",
                1,
                defect_type,
                "bolt",
                f"bolt/ground_truth/{defect_type}/{stem}_mask.png",
            )
            for defect_type, stem in [("dent", "000"), ("scratch", "000"), ("scratch", "001")]
        ]
        assert listing.findings == []
        assert set(listing.rows) == {*train, *test, *defects}
        assert len(listing.rows) == 16

    def test_root_may_be_the_category(self, mvtec_root: Path) -> None:
        whole, own = (
            {Path(r.path).parts[-3:]: (r.split, r.label, r.category) for r in rows}
            for rows in (
                MVTecAD().list_images(mvtec_root, "bolt").rows,
                MVTecAD().list_images(mvtec_root / "bolt", "bolt").rows,
            )
        )
        assert whole == own
        assert MVTecAD().default_category(mvtec_root / "bolt") == "bolt"

    def test_masks_are_optional(self, mvtec_root: Path) -> None:
        shutil.rmtree(mvtec_root / "bolt" / "ground_truth")
        rows = MVTecAD().list_images(mvtec_root, "bolt").rows
        assert sum(row.label == 1 for row in rows) == 3
        assert all(row.mask_path is None for row in rows)

    def test_mask_named_as_its_image(self, mvtec_root: Path) -> None:
        masks = mvtec_root / "bolt" / "ground_truth" / "dent"
        (masks / "000_mask.png").rename(masks / "000.png")
        listing = MVTecAD().list_images(mvtec_root, "bolt")
        assert "bolt/ground_truth/dent/000.png" in {row.mask_path for row in listing.rows}
        assert listing.findings == []

    @pytest.mark.parametrize("name", ["ok", "Good", "normal"])
    def test_good_parts_by_another_name_are_no_defects(self, mvtec_root: Path, name: str) -> None:
        (mvtec_root / "bolt" / "test" / "good").rename(mvtec_root / "bolt" / "test" / name)
        rows = MVTecAD().list_images(mvtec_root, "bolt").rows
        assert [(r.label, r.defect_type) for r in rows if f"/{name}/" in r.path] == [
            (0, "good")
        ] * 3

    def test_masks_without_their_images(
        self, mvtec_root: Path, write_mask: Callable[..., Path]
    ) -> None:
        truth = mvtec_root / "bolt" / "ground_truth"
        write_mask(truth / "dent" / "009_mask.png")
        write_mask(truth / "crack" / "000_mask.png")
        findings = MVTecAD().list_images(mvtec_root, "bolt").findings
        assert len(findings) == 2
        assert "dent/009_mask.png: a mask without its image" in str(findings[0])
        assert "crack/000_mask.png: a mask without its image" in str(findings[1])


class TestCategories:
    def test_only_one_is_the_default(self, mvtec_root: Path) -> None:
        (mvtec_root / "licence").mkdir()
        assert MVTecAD().default_category(mvtec_root) == "bolt"

    def test_several_are_listed(self, mvtec_root: Path) -> None:
        (mvtec_root / "nut" / "train" / "good").mkdir(parents=True)
        with pytest.raises(ParameterError, match=r"2 categories.*bolt, nut"):
            MVTecAD().default_category(mvtec_root)

    def test_unknown_suggests_the_nearest(self, mvtec_root: Path) -> None:
        (mvtec_root / "nut" / "train" / "good").mkdir(parents=True)
        with pytest.raises(ParameterError, match=r"'blot'.*bolt, nut.*mean 'bolt'"):
            MVTecAD().list_images(mvtec_root, "blot")

    def test_no_layout(self, tmp_path: Path) -> None:
        (tmp_path / "photos").mkdir()
        with pytest.raises(DataError, match=r"MVTec AD's layout.*found photos"):
            MVTecAD().list_images(tmp_path, "bolt")

    def test_no_train_good(self, mvtec_root: Path) -> None:
        (mvtec_root / "bolt" / "train" / "good").rename(mvtec_root / "bolt" / "train" / "ok")
        with pytest.raises(
            DataError, match=r"train/good, which.*holds ground_truth/, test/.*holds ok/"
        ):
            MVTecAD().list_images(mvtec_root, "bolt")

    def test_default_needs_a_root(self) -> None:
        with pytest.raises(ParameterError, match=r"dataset\.root is not given"):
            MVTecAD().default_category(None)


class TestRealData:
    def test_toothbrush(self, test_datasets: Path) -> None:
        params = DatasetParams(source="mvtec_ad", root=test_datasets / "mvtec_ad")
        manifest = build_manifest(params, 0)
        assert manifest["split"].value_counts().to_dict() == {
            "train": 43,
            "calibration": 5,
            "test": 42,
        }
        defects = manifest[manifest["label"] == 1]
        assert len(defects) == 30
        assert defects["mask_coverage"].between(0.0005, 0.2).all()
        assert set(manifest["width"]) == set(manifest["height"]) == {512}
        assert len(data_hash(manifest)) == 64
