"""The registered model, loaded where this project is not."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlflow import MlflowClient
from mlflow.models import Model

from daf_pipelines.scoring.detector import Detector
from daf_pipelines.tracking.registry import model_name
from served_model import predict
from small_project import ROOT, SmallProject

NAME = "daf-elpv-mono"
COLUMNS = {"score", "label", "anomalous_area", "raw_score"}


@pytest.fixture(scope="module")
def predicted(
    elpv_project: SmallProject, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """What a clean process predicts for the test images, in the order of their scores."""
    return predict(elpv_project, NAME, tmp_path_factory.mktemp("elsewhere"))


class TestPredictions:
    def test_come_from_the_library_that_travels_with_the_model(
        self, predicted: dict[str, Any]
    ) -> None:
        assert not Path(predicted["library"]).is_relative_to(ROOT / "src")

    def test_scores_are_those_of_the_evaluation(
        self, predicted: dict[str, Any], elpv_project: SmallProject
    ) -> None:
        expected = elpv_project.scores()["score"].tolist()
        assert predicted["table"]["score"] == pytest.approx(expected, abs=1e-5)

    def test_labels_and_areas_are_those_of_the_evaluation(
        self, predicted: dict[str, Any], elpv_project: SmallProject
    ) -> None:
        expected = elpv_project.scores()["predicted"].tolist()
        assert predicted["table"]["label"] == expected
        assert set(expected) == {0, 1}
        for name in ("anomalous_area", "raw_score"):
            values = elpv_project.scores()[name].tolist()
            assert predicted["table"][name] == pytest.approx(values, abs=1e-3)

    def test_anomaly_map_on_demand(
        self, predicted: dict[str, Any], elpv_project: SmallProject
    ) -> None:
        assert set(predicted["table"]) == COLUMNS
        detector = Detector.load(elpv_project.path("06_models/detector"))
        maps = detector.pixel(np.load(elpv_project.path("07_model_output/anomaly_maps.npy")))
        found = np.array(predicted["maps"])
        assert found.shape == (1, 64, 64)
        distances = np.abs(maps - found).max(axis=(1, 2))
        assert distances.min() < 1e-4


class TestRegistration:
    def test_version_belongs_to_the_run(self, elpv_project: SmallProject) -> None:
        (run,) = elpv_project.runs()
        version = elpv_project.client.get_model_version_by_alias(NAME, "candidate")
        assert (int(version.version), version.run_id) == (1, run.info.run_id)

    def test_signature_and_example(self, elpv_project: SmallProject) -> None:
        model = load_metadata(elpv_project)
        assert model.signature.inputs.input_names() == ["image"]
        assert set(model.signature.outputs.input_names()) == COLUMNS
        assert [p.name for p in model.signature.params.params] == ["anomaly_map"]
        assert model.saved_input_example_info is not None

    def test_weights_are_safetensors(self, elpv_project: SmallProject) -> None:
        files = [p for p in model_folder(elpv_project).rglob("*") if p.is_file()]
        assert "model.safetensors" in {p.name for p in files}
        assert not {p.suffix for p in files} & {".pt", ".pth", ".pkl", ".pickle", ".bin"}

    def test_requirements_are_pinned_without_local_builds(self, elpv_project: SmallProject) -> None:
        lines = (model_folder(elpv_project) / "requirements.txt").read_text().split()
        assert any(line.startswith("torch==") for line in lines)
        assert all("==" in line and "+" not in line for line in lines)


class TestName:
    @pytest.mark.parametrize("category", ["housing/left", "lot:9", "../left", "left/", "a b-ü"])
    def test_a_store_takes_any_category(
        self, category: str, empty_store: Path, tmp_path: Path
    ) -> None:
        client = MlflowClient(f"sqlite:///{shutil.copy(empty_store, tmp_path)}")
        name = model_name("daf", {"source": "table", "category": category})
        client.create_registered_model(name)
        assert client.get_registered_model(name).name == name

    def test_what_mlflow_refuses_is_replaced(self) -> None:
        assert model_name("daf", {"source": "elpv", "category": "mono"}) == NAME
        summary = {"source": "table", "category": "housing/left:2"}
        assert model_name("daf", summary) == "daf-table-housing_left_2"


def model_folder(project: SmallProject) -> Path:
    """Files of the registered model."""
    uri = project.client.get_model_version_download_uri(NAME, "1")
    return Path(uri.removeprefix("file://"))


def load_metadata(project: SmallProject) -> Model:
    """The registered model's MLmodel file."""
    return Model.load(str(model_folder(project)))
