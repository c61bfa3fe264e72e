"""Runs of a study in MLflow, and stores that several processes make at once."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from daf_pipelines.tracking.run import ExperimentRun
from small_project import ROOT

PARAMETERS = {
    "seed": 0,
    "dataset": {"source": "elpv", "category": None},
    "synthesis": {"strategy": "draem"},
}
CONNECT = """
import sys
from daf_pipelines.tracking.run import check_store
check_store({"uri": sys.argv[1], "artifacts": "artifacts", "experiment": "daf"})
"""


def opened(store: Path, key: str, **tags: str) -> str:
    config = {"uri": f"sqlite:///{store}", "experiment": "daf", "artifacts": "artifacts"}
    run = ExperimentRun.open(
        config, ROOT, PARAMETERS, key, name="elpv-mono", candidates=[], restart=True, tags=tags
    )
    return run.record.run_id


@pytest.fixture
def store(empty_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return Path(shutil.copy(empty_store, tmp_path))


class TestTags:
    def test_own_tags_take_precedence(self, store: Path) -> None:
        run_id = opened(store, "a", line="4", method="mine")
        tags = MlflowClient(f"sqlite:///{store}").get_run(run_id).data.tags
        assert (tags["line"], tags["method"], tags["strategy"]) == ("4", "mine", "draem")
        assert MLFLOW_PARENT_RUN_ID not in tags

    def test_runs_of_a_study_lie_under_one(self, store: Path) -> None:
        client = MlflowClient(f"sqlite:///{store}")
        runs = [opened(store, key, study="first") for key in "bc"]
        runs.append(opened(store, "d", study="second"))
        parents = [client.get_run(run).data.tags[MLFLOW_PARENT_RUN_ID] for run in runs]
        assert parents[0] == parents[1] != parents[2]
        parent = client.get_run(parents[0])
        assert parent.info.run_name == "study-first"
        assert parent.info.status == "FINISHED"
        assert parent.data.tags["kind"] == "study"


def test_processes_that_make_a_store_at_once(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'new.db'}"
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    environment.pop("MLFLOW_TRACKING_URI", None)
    command = [sys.executable, "-c", CONNECT, uri]
    processes = [
        subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    errors = [process.communicate()[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], errors
    assert [path.name for path in tmp_path.iterdir()] == ["new.db"]
