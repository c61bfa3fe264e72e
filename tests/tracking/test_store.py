"""Which MLflow store is used, and where its artifacts go."""

from pathlib import Path

import pytest
from kedro.config import OmegaConfigLoader
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project

from daf_pipelines.errors import ParameterError
from daf_pipelines.settings import CONFIG_LOADER_ARGS
from daf_pipelines.tracking.run import (
    ExperimentRun,
    RunRecord,
    _artifact_location,
    flatten,
    tracking_uri,
)
from small_project import ROOT, SmallProject

CONFIG = {"uri": "sqlite:///configured.db", "experiment": "daf", "artifacts": "mlartifacts"}
PARAMETERS = {
    "seed": 0,
    "dataset": {"source": "elpv", "category": None},
    "synthesis": {"strategy": "draem"},
}


class TestTrackingURI:
    def test_variable_wins_over_the_configuration(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://tracking:5000")
        assert tracking_uri(CONFIG) == "http://tracking:5000"

    @pytest.mark.parametrize("value", [None, ""])
    def test_configured_without_the_variable(
        self, value: str | None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
        if value is not None:
            monkeypatch.setenv("MLFLOW_TRACKING_URI", value)
        assert tracking_uri(CONFIG) == "sqlite:///configured.db"

    def test_default_store_lies_where_the_command_runs(
        self, elpv_project: SmallProject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        project = elpv_project.copy(tmp_path / "project")
        before = len(project.runs())
        monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
        monkeypatch.chdir(project.folder)
        bootstrap_project(ROOT)
        with KedroSession.create(ROOT, runtime_params=project.params) as session:
            session.run(pipeline_names=["teacher_student_training"])
        assert len(project.runs()) == before + 1

    def test_local_configuration_changes_single_values(self, tmp_path: Path) -> None:
        for env, text in (
            ("base", (ROOT / "conf" / "base" / "tracking.yml").read_text()),
            ("local", "tracking:\n  uri: http://tracking:5000\n"),
        ):
            (tmp_path / env).mkdir()
            (tmp_path / env / "tracking.yml").write_text(text)
        tracking = OmegaConfigLoader(str(tmp_path), **CONFIG_LOADER_ARGS)["tracking"]["tracking"]
        assert tracking["uri"] == "http://tracking:5000"
        assert {"experiment", "alias", "artifacts"} <= set(tracking)

    def test_store_that_mlflow_refuses(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", "ftp://tracking")
        with pytest.raises(ParameterError, match=r"ftp://tracking.*MLFLOW_TRACKING_URI"):
            ExperimentRun.open(CONFIG, tmp_path, PARAMETERS, "key", "elpv-mono", [], restart=True)


class TestArtifacts:
    def test_beside_a_local_database(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        expected = (tmp_path / "mlartifacts").as_uri()
        assert _artifact_location("sqlite:///mlflow.db", "mlartifacts") == expected
        assert _artifact_location(f"sqlite:///{tmp_path}/mlflow.db", "mlartifacts") == expected

    def test_in_an_absolute_folder(self, tmp_path: Path) -> None:
        location = _artifact_location("sqlite:////elsewhere/mlflow.db", str(tmp_path))
        assert location == tmp_path.as_uri()

    def test_where_the_server_keeps_them(self) -> None:
        assert _artifact_location("http://tracking:5000", "mlartifacts") is None


class TestRecord:
    def test_round_trip(self, tmp_path: Path) -> None:
        record = RunRecord("abc", "0123")
        record.write(tmp_path / "model", "record.json")
        assert RunRecord.read(tmp_path / "model" / "record.json") == record
        assert RunRecord.read(tmp_path / "missing.json") is None

    @pytest.fixture
    def store(self, empty_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        file = tmp_path / "mlflow.db"
        file.write_bytes(empty_store.read_bytes())
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{file}")
        return file

    def test_of_another_store_opens_a_new_run(self, store: Path, tmp_path: Path) -> None:
        RunRecord("0" * 32, "key").write(tmp_path, "record.json")
        run = ExperimentRun.open(
            CONFIG,
            tmp_path,
            PARAMETERS,
            "key",
            "elpv-mono",
            [tmp_path / "record.json"],
            restart=False,
        )
        assert run.is_new
        assert run.record.run_id != "0" * 32

    @pytest.mark.parametrize(
        ("status", "key", "restart", "goes_on"),
        [
            ("FAILED", "key", True, True),
            ("FAILED", "key", False, True),
            ("FINISHED", "key", False, True),
            ("FINISHED", "key", True, False),
            ("FAILED", "other", False, False),
        ],
    )
    def test_decides_which_run_goes_on(
        self, store: Path, tmp_path: Path, status: str, key: str, restart: bool, goes_on: bool
    ) -> None:
        first = ExperimentRun.open(
            CONFIG, tmp_path, PARAMETERS, "key", "elpv-mono", [], restart=True
        )
        first.record.write(tmp_path, "record.json")
        first.close(status)
        candidates = [tmp_path / "missing.json", tmp_path / "record.json"]
        second = ExperimentRun.open(
            CONFIG, tmp_path, PARAMETERS, key, "elpv-mono", candidates, restart
        )
        assert (second.record.run_id == first.record.run_id) is goes_on
        assert second.is_new is not goes_on
        assert second.client.get_run(second.record.run_id).info.status == "RUNNING"

    def test_deleted_run_is_left_alone(self, store: Path, tmp_path: Path) -> None:
        first = ExperimentRun.open(
            CONFIG, tmp_path, PARAMETERS, "key", "elpv-mono", [], restart=True
        )
        first.record.write(tmp_path, "record.json")
        first.discard()
        candidates = [tmp_path / "record.json"]
        assert ExperimentRun.open(
            CONFIG, tmp_path, PARAMETERS, "key", "elpv-mono", candidates, False
        ).is_new


def test_flatten() -> None:
    nested = {"seed": 0, "model": {"teacher": {"weights": "hub"}, "heads": True}, "empty": {}}
    assert flatten(nested) == {"seed": 0, "model.teacher.weights": "hub", "model.heads": True}
