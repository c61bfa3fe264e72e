import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from daf_pipelines.errors import DataError, ParameterError, StaleArtifactError
from daf_pipelines.parameters import DatasetParams
from daf_pipelines.sources import image_set
from daf_pipelines.sources.image_set import ImageSet, check_dataset, load, save
from daf_pipelines.sources.images import read_image, read_mask, resize_image, resize_mask
from daf_pipelines.sources.manifest import SPLITS, data_hash, make_manifest, read_dataset
from ingested import build_manifest, prepare

FILES = ["images.npy", "masks.npy", "table.csv", "dataset.json", "checksums.json"]


@pytest.fixture
def params(mvtec_root: Path) -> DatasetParams:
    return DatasetParams(source="mvtec_ad", root=mvtec_root, image_size=32)


@pytest.fixture
def test_set(params: DatasetParams) -> ImageSet:
    return prepare(params, 0, "test")


class TestPrepare:
    def test_images_and_masks_are_those_of_the_table(
        self, test_set: ImageSet, mvtec_root: Path
    ) -> None:
        assert len(test_set) == 6
        assert test_set.images.shape == (6, 32, 32, 3)
        assert test_set.images.dtype == test_set.masks.dtype == np.uint8
        for row, image, mask in zip(
            test_set.table.itertuples(), test_set.images, test_set.masks, strict=True
        ):
            np.testing.assert_array_equal(
                image, resize_image(read_image(mvtec_root / row.path), 32)
            )
            if row.label == 0:
                assert not mask.any()
            else:
                expected = resize_mask(read_mask(mvtec_root / row.mask_path), 32)
                np.testing.assert_array_equal(mask, expected)
                assert mask.any()

    def test_splits_part_the_manifest(self, params: DatasetParams) -> None:
        sets = {split: prepare(params, 0, split) for split in SPLITS}
        assert {split: len(s) for split, s in sets.items()} == {
            "train": 9,
            "calibration": 1,
            "test": 6,
            "excluded": 0,
        }
        assert all(list(s.table.index) == list(range(len(s))) for s in sets.values())

    def test_a_missing_mask_leaves_none(self, params: DatasetParams, mvtec_root: Path) -> None:
        (mvtec_root / "bolt" / "ground_truth" / "dent" / "000_mask.png").unlink()
        assert prepare(params, 0, "test").masks is None
        train = prepare(params, 0, "train").masks
        assert train is not None
        assert not train.any()

    def test_undecided_images_have_no_masks(self, elpv_root: Path) -> None:
        params = DatasetParams(root=elpv_root, image_size=32)
        excluded = prepare(params, 0, "excluded")
        assert len(excluded) == 2
        assert excluded.masks is None

    def test_identity(self, test_set: ImageSet, params: DatasetParams, mvtec_root: Path) -> None:
        assert test_set.dataset == {
            "source": "mvtec_ad",
            "root": mvtec_root.as_posix(),
            "category": "bolt",
            "image_size": 32,
            "resize": "square",
            "test_fraction": None,
            "checks": "strict",
            "calibration_fraction": 0.1,
            "seed": 0,
            "data_hash": data_hash(build_manifest(params, 0)),
        }

    def test_padded_images_and_masks(self, params: DatasetParams, mvtec_root: Path) -> None:
        padded = params.model_copy(update={"resize": "pad"})
        test_set = prepare(padded, 0, "test")
        assert test_set.dataset["resize"] == "pad"
        assert test_set.boxes == [(2, 0, 29, 32)] * 6  # of 24 x 20 pixels
        for row, image, mask in zip(
            test_set.table.itertuples(), test_set.images, test_set.masks, strict=True
        ):
            original = read_image(mvtec_root / row.path)
            np.testing.assert_array_equal(image[2:29], resize_image(original, (27, 32)))
            if row.label == 1:
                original = read_mask(mvtec_root / row.mask_path)
                np.testing.assert_array_equal(mask[2:29], resize_mask(original, (27, 32)))
            assert not mask[:2].any()
            assert not mask[29:].any()

    def test_boxes_of_square_images_are_all_of_them(self, test_set: ImageSet) -> None:
        assert test_set.boxes == [(0, 0, 32, 32)] * 6

    def test_boxes_of_an_empty_set(self, params: DatasetParams) -> None:
        padded = params.model_copy(update={"resize": "pad"})
        assert prepare(padded, 0, "excluded").boxes == []

    def test_boxes_survive_saving(self, params: DatasetParams, tmp_path: Path) -> None:
        padded = params.model_copy(update={"resize": "pad"})
        saved = prepare(padded, 0, "train")
        save(saved, tmp_path / "set")
        assert load(tmp_path / "set").boxes == saved.boxes == [(2, 0, 29, 32)] * 9

    def test_unknown_split(self, params: DatasetParams) -> None:
        with pytest.raises(ValueError, match="'validation'"):
            prepare(params, 0, "validation")


class TestSaveAndLoad:
    @pytest.mark.parametrize("split", SPLITS)
    def test_round_trip(self, params: DatasetParams, tmp_path: Path, split: str) -> None:
        saved = prepare(params, 0, split)
        save(saved, tmp_path / "set")
        loaded = load(tmp_path / "set")
        pd.testing.assert_frame_equal(loaded.table, saved.table)
        np.testing.assert_array_equal(loaded.images, saved.images)
        np.testing.assert_array_equal(loaded.masks, saved.masks)
        assert loaded.dataset == saved.dataset

    def test_round_trip_without_labels_and_masks(self, elpv_root: Path, tmp_path: Path) -> None:
        params = DatasetParams(root=elpv_root, image_size=32)
        saved = prepare(params, 0, "excluded")
        save(saved, tmp_path / "set")
        loaded = load(tmp_path / "set")
        pd.testing.assert_frame_equal(loaded.table, saved.table)
        assert loaded.masks is None

    def test_awkward_names_survive(
        self, params: DatasetParams, mvtec_root: Path, tmp_path: Path
    ) -> None:
        for folder in ("test", "ground_truth"):
            (mvtec_root / "bolt" / folder / "dent").rename(mvtec_root / "bolt" / folder / "NA")
            (mvtec_root / "bolt" / folder / "scratch").rename(
                mvtec_root / "bolt" / folder / 'a, "b" \u00e9'
            )
        saved = prepare(params, 0, "test")
        save(saved, tmp_path / "set")
        assert set(saved.table["defect_type"]) == {"good", "NA", 'a, "b" \u00e9'}
        pd.testing.assert_frame_equal(load(tmp_path / "set").table, saved.table)

    def test_loaded_arrays_are_mapped_and_the_files_protected(
        self, test_set: ImageSet, tmp_path: Path
    ) -> None:
        save(test_set, tmp_path / "set")
        loaded = load(tmp_path / "set")
        for array in (loaded.images, loaded.masks):
            assert isinstance(array, np.memmap)
            array[:] = 7
        np.testing.assert_array_equal(load(tmp_path / "set").images, test_set.images)

    def test_same_input_gives_the_same_files(self, params: DatasetParams, tmp_path: Path) -> None:
        for name in ("one", "two"):
            save(prepare(params, 4, "test"), tmp_path / name)
        names = sorted(p.name for p in (tmp_path / "one").iterdir())
        assert names == ["checksums.json", "dataset.json", "images.npy", "masks.npy", "table.csv"]
        for name in names:
            assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()

    def test_a_set_can_be_saved_over_itself_and_loses_old_masks(
        self, test_set: ImageSet, tmp_path: Path
    ) -> None:
        save(test_set, tmp_path / "set")
        loaded = load(tmp_path / "set")
        save(loaded, tmp_path / "set")
        np.testing.assert_array_equal(load(tmp_path / "set").images, test_set.images)
        table = loaded.table.assign(mask_path=pd.Series([None] * 6, dtype="str"))
        save(ImageSet(table, loaded.images, None, loaded.dataset), tmp_path / "set")
        assert not (tmp_path / "set" / "masks.npy").exists()

    def test_killed_save_leaves_the_old_set(self, test_set: ImageSet, tmp_path: Path) -> None:
        save(test_set, tmp_path / "set")
        script = (
            "import os, sys\n"
            "from pathlib import Path\n"
            "from daf_pipelines.sources.image_set import load, save\n"
            "import pandas as pd\n"
            "image_set = load(Path(sys.argv[1]))\n"
            "image_set.dataset['seed'] = 99\n"
            "pd.DataFrame.to_csv = lambda *_, **__: os._exit(9)\n"
            "save(image_set, Path(sys.argv[1]))\n"
        )
        command = [sys.executable, "-c", script, str(tmp_path / "set")]
        assert subprocess.run(command, check=False).returncode == 9
        assert (tmp_path / ".set.partial" / "images.npy").exists()
        loaded = load(tmp_path / "set")
        assert loaded.dataset["seed"] == 0
        np.testing.assert_array_equal(loaded.images, test_set.images)
        save(test_set, tmp_path / "set")
        assert [p.name for p in tmp_path.glob(".set*")] == []

    @pytest.mark.parametrize("name", FILES)
    def test_incomplete_folder(self, test_set: ImageSet, tmp_path: Path, name: str) -> None:
        save(test_set, tmp_path / "set")
        (tmp_path / "set" / name).unlink()
        with pytest.raises(DataError, match=rf"missing {name}.*--pipelines data_ingestion"):
            load(tmp_path / "set")

    def test_missing_folder(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"No prepared images in .*nowhere"):
            load(tmp_path / "nowhere")

    @pytest.mark.parametrize("name", FILES)
    def test_truncated_file(self, test_set: ImageSet, tmp_path: Path, name: str) -> None:
        save(test_set, tmp_path / "set")
        file = tmp_path / "set" / name
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
        with pytest.raises(DataError, match=r"damaged.*--pipelines data_ingestion"):
            load(tmp_path / "set")

    def test_one_flipped_bit(self, test_set: ImageSet, tmp_path: Path) -> None:
        save(test_set, tmp_path / "set")
        file = tmp_path / "set" / "images.npy"
        content = bytearray(file.read_bytes())
        content[5000] ^= 1
        file.write_bytes(content)
        with pytest.raises(DataError, match=r"images\.npy is not what was written"):
            load(tmp_path / "set")


class TestCheckDataset:
    def test_same_parameters_pass(self, test_set: ImageSet, params: DatasetParams) -> None:
        check_dataset(test_set, params, 0)
        check_dataset(test_set, params.model_copy(update={"category": "bolt"}), 0)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"image_size": 48}, r"of dataset\.image_size=32, but you asked for .*=48\."),
            ({"resize": "pad"}, r"resize=square.*resize=pad"),
            ({"calibration_fraction": 0.3}, r"calibration_fraction=0\.1.*=0\.3"),
            ({"category": "nut"}, r"category=bolt.*category=nut"),
            (
                {"root": None, "source": "elpv"},
                r"source=mvtec_ad, .*root=.*source=elpv, .*root=None",
            ),
        ],
    )
    def test_other_dataset(
        self,
        test_set: ImageSet,
        params: DatasetParams,
        change: dict[str, object],
        message: str,
    ) -> None:
        with pytest.raises(StaleArtifactError, match=message) as caught:
            check_dataset(test_set, params.model_copy(update=change), 0)
        assert "kedro run --pipelines data_ingestion" in str(caught.value)

    def test_other_seed(self, test_set: ImageSet, params: DatasetParams) -> None:
        with pytest.raises(StaleArtifactError, match=r"of seed=0, but you asked for seed=1"):
            check_dataset(test_set, params, 1)

    def test_another_root_with_the_same_category(
        self, test_set: ImageSet, params: DatasetParams, tmp_path: Path
    ) -> None:
        other = params.model_copy(update={"root": tmp_path / "other", "category": "bolt"})
        with pytest.raises(StaleArtifactError, match=r"root=.*mvtec, .*root=.*other"):
            check_dataset(test_set, other, 0)

    def test_roots_compare_resolved(
        self,
        test_set: ImageSet,
        params: DatasetParams,
        mvtec_root: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.chdir(mvtec_root)
        (mvtec_root.parent / "link").symlink_to(mvtec_root)
        for root in (Path(), Path("bolt/.."), Path("../link")):
            check_dataset(test_set, params.model_copy(update={"root": root}), 0)

    def test_relative_root_fits_another_checkout(
        self,
        params: DatasetParams,
        mvtec_root: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        relative = params.model_copy(update={"root": Path("mvtec"), "category": "bolt"})
        monkeypatch.chdir(mvtec_root.parent)
        prepared = prepare(relative, 0, "test")
        (tmp_path / "clone").mkdir()
        monkeypatch.chdir(tmp_path / "clone")  # the raw data need not be there
        check_dataset(prepared, relative, 0)

    def test_default_category_of_elpv_is_mono(self, elpv_root: Path) -> None:
        params = DatasetParams(root=elpv_root, image_size=32)
        prepared = prepare(params, 0, "test")
        check_dataset(prepared, params.model_copy(update={"category": "mono"}), 0)
        with pytest.raises(StaleArtifactError, match=r"category=mono.*category=poly"):
            check_dataset(prepared, params.model_copy(update={"category": "poly"}), 0)

    def test_default_category_that_became_ambiguous(
        self, test_set: ImageSet, params: DatasetParams, mvtec_root: Path
    ) -> None:
        (mvtec_root / "nut" / "train" / "good").mkdir(parents=True)
        with pytest.raises(ParameterError, match="bolt, nut"):
            check_dataset(test_set, params, 0)


@pytest.mark.skipif(
    importlib.util.find_spec("elpv_dataset") is None, reason="elpv-dataset is not installed"
)
class TestRealData:
    def test_packaged_elpv(self, tmp_path: Path) -> None:
        params = DatasetParams(image_size=32)
        reading = read_dataset(params, 0, tmp_path / "decoded")
        manifest = make_manifest(reading, params)
        assert manifest["split"].value_counts().to_dict() == {
            "test": 460,
            "train": 397,
            "excluded": 173,
            "calibration": 44,
        }
        save(image_set.prepare(manifest, reading, params, 0, "calibration"), tmp_path / "set")
        loaded = load(tmp_path / "set")
        check_dataset(loaded, params, 0)
        assert loaded.images.shape == (44, 32, 32, 3)
        assert loaded.dataset["root"] is None


class TestToothbrush:
    def test_masks_keep_their_area_and_every_defect(self, test_datasets: Path) -> None:
        params = DatasetParams(source="mvtec_ad", root=test_datasets / "mvtec_ad", image_size=64)
        prepared = prepare(params, 0, "test")
        coverage = prepared.masks.mean(axis=(1, 2))
        expected = prepared.table["mask_coverage"].fillna(0).to_numpy()
        assert (coverage[expected > 0] > 0).all()
        assert coverage.sum() == pytest.approx(expected.sum(), rel=0.05)
