"""The project's own Kedro datasets: what is loaded is what was saved."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from kedro.config import OmegaConfigLoader
from kedro.io import DataCatalog
from kedro.io.core import DatasetError

from daf_pipelines.datasets import (
    ArrayDataset,
    DetectorDataset,
    FolderDataset,
    ImageSetDataset,
    ManifestDataset,
    TextDataset,
    TrainedModelDataset,
)
from daf_pipelines.errors import DataError
from daf_pipelines.models import DAF
from daf_pipelines.models.trained import TrainedModel
from daf_pipelines.parameters import (
    DecoderParams,
    DiscrepancyParams,
    ModelParams,
    ScoringParams,
    TeacherParams,
)
from daf_pipelines.reporting.evaluation import read_image_scores
from daf_pipelines.scoring.detector import Detector
from daf_pipelines.scoring.scale import Scale
from daf_pipelines.sources.image_set import ImageSet
from daf_pipelines.sources.manifest import MANIFEST

MODEL = ModelParams(
    teacher=TeacherParams(backbone="resnet18", weights="hub"),
    discrepancy=DiscrepancyParams(structure="squared"),
    decoder=DecoderParams(width=8),
)
IDENTITY = {"seed": 3, "dataset": {"root": None, "image_size": 64}}


@pytest.fixture(scope="module")
def model() -> DAF:
    torch.manual_seed(0)
    return DAF(MODEL)


def image_set() -> ImageSet:
    draw = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "path": ["a.png", "b.png"],
            "mask_path": [None, "b_mask.png"],
            "split": "test",
            "label": pd.array([0, 1], dtype="Int64"),
            "defect_type": ["good", "NA"],
            "category": "bolt",
            "group": None,
            "width": 20,
            "height": 10,
            "mode": "L",
            "content_hash": ["0" * 64, "1" * 64],
            "mask_hash": [None, "2" * 64],
            "mask_coverage": [None, 0.25],
        }
    )
    images = draw.integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    masks = draw.integers(0, 2, (2, 32, 32), dtype=np.uint8)
    return ImageSet(table, images, masks, {"source": "mvtec_ad", "seed": 0})


class TestRoundTrip:
    def test_images(self, tmp_path: Path) -> None:
        dataset, original = ImageSetDataset(str(tmp_path / "train")), image_set()
        dataset.save(original)
        loaded = dataset.load()
        np.testing.assert_array_equal(loaded.images, original.images)
        np.testing.assert_array_equal(loaded.masks, original.masks)
        assert loaded.dataset == original.dataset
        assert loaded.table["path"].tolist() == ["a.png", "b.png"]
        assert loaded.table["defect_type"].tolist() == ["good", "NA"]
        assert isinstance(loaded.images, np.memmap)

    def test_trained_model(self, model: DAF, tmp_path: Path) -> None:
        dataset = TrainedModelDataset(str(tmp_path / "student"))
        dataset.save(TrainedModel(model, IDENTITY, 12.5, 800.0))
        loaded = dataset.load()
        assert (loaded.identity, loaded.train_seconds, loaded.peak_rss_mib) == (
            IDENTITY,
            12.5,
            800.0,
        )
        assert loaded.model.params == MODEL
        expected = model.state_dict()
        found = loaded.model.state_dict()
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[name], expected[name]) for name in expected)

    def test_detector_scores_as_before(self, model: DAF, tmp_path: Path) -> None:
        dataset = DetectorDataset(str(tmp_path / "detector"))
        detector = Detector(
            model,
            ScoringParams(),
            64,
            image=Scale(1.5, 0.5),
            heat_from=0.125,
            metadata={"strategy": "draem"},
        )
        images = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
        expected = detector.score(images)
        dataset.save(detector)
        loaded = dataset.load()
        found = loaded.score(images)
        np.testing.assert_array_equal(found.scores, expected.scores)
        np.testing.assert_array_equal(found.maps, expected.maps)
        assert (loaded.image, loaded.heat_from) == (Scale(1.5, 0.5), 0.125)
        assert (loaded.image_size, loaded.metadata) == (64, {"strategy": "draem"})

    def test_array(self, tmp_path: Path) -> None:
        dataset = ArrayDataset(str(tmp_path / "new" / "maps.npy"))
        array = np.random.default_rng(0).random((3, 4, 5), dtype=np.float32)
        dataset.save(array)
        loaded = dataset.load()
        np.testing.assert_array_equal(loaded, array)
        assert isinstance(loaded, np.memmap)
        assert [p.name for p in (tmp_path / "new").iterdir()] == ["maps.npy"]

    def test_manifest_byte_for_byte(self, tmp_path: Path) -> None:
        table = image_set().table
        for name in ("one", "two"):
            ManifestDataset(str(tmp_path / name)).save(table.copy())
        assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
        loaded = ManifestDataset(str(tmp_path / "one")).load()
        pd.testing.assert_frame_equal(loaded, MANIFEST.validate(table))

    def test_text(self, tmp_path: Path) -> None:
        dataset = TextDataset(str(tmp_path / "page.html"))
        dataset.save("<p>é</p>")
        assert dataset.load() == "<p>é</p>"
        assert [file.name for file in tmp_path.iterdir()] == ["page.html"]

    def test_folder(self, tmp_path: Path) -> None:
        dataset = FolderDataset(str(tmp_path / "checkpoints"))
        assert not dataset.exists()
        assert dataset.load() == tmp_path / "checkpoints"
        assert dataset.exists()
        dataset.save(tmp_path / "checkpoints")
        with pytest.raises(DatasetError, match="expected the folder"):
            dataset.save(tmp_path)


class TestFaults:
    @pytest.mark.parametrize(
        "kind",
        [
            ImageSetDataset,
            TrainedModelDataset,
            DetectorDataset,
            ArrayDataset,
            ManifestDataset,
            TextDataset,
        ],
    )
    def test_missing(self, kind: Any, tmp_path: Path) -> None:
        dataset = kind(str(tmp_path / "missing"))
        assert not dataset.exists()
        with pytest.raises(DatasetError, match="kedro run") as caught:
            dataset.load()
        assert isinstance(caught.value.__cause__, DataError)

    def test_impossible_manifest_leaves_the_previous_one(self, tmp_path: Path) -> None:
        dataset = ManifestDataset(str(tmp_path / "manifest.parquet"))
        dataset.save(image_set().table)
        with pytest.raises(DatasetError, match="train and calibration hold normals only"):
            dataset.save(image_set().table.assign(split="train"))
        assert dataset.load()["split"].tolist() == ["test", "test"]
        assert [p.name for p in tmp_path.iterdir()] == ["manifest.parquet"]

    def test_failed_write_leaves_the_previous_array(self, tmp_path: Path) -> None:
        dataset = ArrayDataset(str(tmp_path / "maps.npy"))
        dataset.save(np.arange(3))
        with pytest.raises(DatasetError):
            dataset.save(np.array([object()]))  # would need pickle
        np.testing.assert_array_equal(dataset.load(), np.arange(3))
        assert [p.name for p in tmp_path.iterdir()] == ["maps.npy"]


def test_in_a_catalog(tmp_path: Path) -> None:
    entry = {
        "type": "daf_pipelines.datasets.ArrayDataset",
        "filepath": str(tmp_path / "maps.npy"),
        "metadata": {"mlflow": "evaluation"},
    }
    catalog = DataCatalog.from_config({"maps": entry})
    catalog.save("maps", np.ones(2))
    assert catalog.load("maps").tolist() == [1, 1]
    assert catalog["maps"].metadata == {"mlflow": "evaluation"}
    assert "maps.npy" in str(catalog["maps"])


class TestNames:
    """Tables of an evaluation go through files from node to node."""

    TABLE = pd.DataFrame(
        {
            "path": ["a.png", "b.png", "c.png", "d.png"],
            "defect_type": ["NA", "1", "2", None],
            "group": ["07", "7", "None", None],
            "score": [0.1, 0.2, np.nan, 0.4],
        }
    )

    def saved(self, folder: Path, name: str) -> Path:
        conf = Path(__file__).parents[1] / "conf"
        loader = OmegaConfigLoader(
            str(conf), base_env="base", default_run_env="base", runtime_params={"data_dir": folder}
        )
        catalog = DataCatalog.from_config({name: loader["catalog"][name]})
        catalog.save(name, self.TABLE)
        self.check(catalog.load(name))
        (file,) = folder.rglob("*.csv")
        return file

    def check(self, table: pd.DataFrame) -> None:
        for name in ("path", "defect_type", "group"):
            found = [None if pd.isna(value) else value for value in table[name]]
            assert found == [None if pd.isna(value) else value for value in self.TABLE[name]]
        assert table["score"].dtype == float

    @pytest.mark.parametrize("name", ["image_scores", "defect_type_metrics", "region_metrics"])
    def test_stay_texts(self, tmp_path: Path, name: str) -> None:
        self.saved(tmp_path, name)

    def test_read_back_from_a_run(self, tmp_path: Path) -> None:
        self.check(read_image_scores(self.saved(tmp_path, "image_scores")))
