"""The smoke study on a few real cells: run, stopped, resumed, changed, broken."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from mlflow import MlflowClient
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from daf_pipelines.metrics import METRICS
from daf_pipelines.study.outdated import outdated
from daf_pipelines.study.plan import STUDY_FILE, Study, merged
from daf_pipelines.study.results import read_cells
from project_copy import ProjectCopy, copy_project, invert

SMOKE = "studies/smoke"
KEDRO = (sys.executable, "-m", "kedro", "run")
STUDY = (sys.executable, "-m", "daf_pipelines.study")


@pytest.fixture
def project(elpv_cells: Path, empty_store: Path, tmp_path: Path) -> ProjectCopy:
    copy = copy_project(tmp_path / "project", elpv_cells, empty_store)
    change(copy, {"datasets": {"elpv": {"root": "data/01_raw/cells"}}, "grid": {"method": ["daf"]}})
    copy.commit()
    return copy


def change(project: ProjectCopy, changes: dict[str, Any]) -> None:
    file = project.folder / SMOKE / STUDY_FILE
    study = merged(yaml.safe_load(file.read_text(encoding="utf-8")), changes)
    file.write_text(yaml.safe_dump(study, sort_keys=False), encoding="utf-8")


def to_run(project: ProjectCopy) -> set[str]:
    return set(project.execute(*STUDY, "list", SMOKE).split())


def outdated_cells(project: ProjectCopy) -> set[str]:
    folder = project.folder / SMOKE
    return {cell.name for cell in outdated(folder, Study.read(folder))}


def cells(project: ProjectCopy) -> dict[str, dict[str, Any]]:
    files = sorted((project.folder / SMOKE / "cells").glob("*.json"))
    return {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in files}


def check_cells(project: ProjectCopy, declared: set[str]) -> None:
    found = cells(project)
    assert set(found) == declared
    read = read_cells(project.folder / SMOKE / "cells", Study.read(project.folder / SMOKE).cells())
    assert {cell.declared.name for cell in read} == declared
    for cell in found.values():
        assert cell["metrics"].keys() >= set(METRICS)
        assert len(cell["labels"]) == len(cell["scores"]) > 0
        assert set(cell["labels"]) == {"0", "1"}
        assert [row["strategy"] for row in cell["transfer"]] == ["cutpaste", "simple_texture"]
        assert cell["category"] == "mono"
    assert len({cell["test_images"] for cell in found.values()}) == 1
    assert len({tuple(cell["scores"]) for cell in found.values()}) == len(found)
    work = project.folder / "data/study/smoke"
    assert not [path for path in work.iterdir() if path.is_dir() and path.name != "decoded"]


def check_runs(project: ProjectCopy) -> None:
    """Each cell is a run under that of the study, with tags to group and filter by."""
    runs = project.runs()
    (parent,) = [run for run in runs if run.data.tags.get("kind") == "study"]
    finished = [run for run in runs if run.info.status == "FINISHED" and run is not parent]
    by_id = {run.info.run_id: run for run in finished}
    for name, cell in cells(project).items():
        tags = by_id[cell["run_id"]].data.tags
        assert tags[MLFLOW_PARENT_RUN_ID] == parent.info.run_id
        told = {"cell": name, "study": "smoke", "strategy": cell["strategy"]}
        assert told.items() <= tags.items()
        assert tags["method"] == cell["method"]
        assert tags["dataset"] == "elpv"
    client = MlflowClient(f"sqlite:///{project.folder / 'mlflow.db'}")
    assert not client.search_registered_models()


def stop_when(project: ProjectCopy, ready: Callable[[], bool]) -> str:
    """Start the study, interrupt it, and return what it says."""
    environment = {**os.environ, "PYTHONPATH": str(project.folder / "src")}
    with subprocess.Popen(
        [*STUDY, "run", SMOKE, "--workers", "2"],
        cwd=project.folder,
        env={k: v for k, v in environment.items() if not k.startswith("MLFLOW_")},
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        while not ready():
            assert process.poll() is None
            time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        assert process.wait() == 1
        assert process.stderr is not None
        return process.stderr.read()


class TestSmokeStudy:
    def test_run_stopped_resumed_changed_broken(self, project: ProjectCopy) -> None:
        declared = {"elpv-simple_texture-daf-0", "elpv-cutpaste-daf-0"}
        logs = project.folder / "data/study/smoke"

        def trains() -> bool:
            return any("train_student" in log.read_text() for log in logs.glob("*/log.txt"))

        message = stop_when(project, trains)
        assert "Error: Stopped by SIGINT; 0 of 2 cells were finished." in message
        assert cells(project) == {}

        project.execute(*STUDY, "run", SMOKE)
        check_cells(project, declared)
        check_runs(project)
        readout = f"study.folder={SMOKE},study.replicates=100"
        project.execute(*KEDRO, "--pipelines", "robustness_study", "--params", readout)
        document = (project.folder / "data/08_reporting/study.md").read_text(encoding="utf-8")
        assert "- cells: 2 of 2" in document
        assert "This study says nothing of it" in document  # DAF alone
        assert to_run(project) == set()
        # In git, so that they are known as finished in every clone.
        made = {f"{SMOKE}/cells/{name}.json" for name in declared}
        assert set(project.commit()) == made | {f"{SMOKE}/dvc.lock", f"{SMOKE}/data/elpv.json"}

        change(project, {"strategies": {"simple_texture": {"match_grey": False}}})
        assert to_run(project) == outdated_cells(project) == {"elpv-simple_texture-daf-0"}

        # A cell that cannot work does not keep the others from it.
        change(project, {"methods": {"broken": {"decoder_training": {"learning_rate": 1e30}}}})
        change(project, {"grid": {"strategy": ["simple_texture"], "method": ["broken", "daf"]}})
        before = cells(project)
        message = project.execute(*STUDY, "run", SMOKE, expect=1)
        assert "1 cell failed twice; the others are finished." in message
        assert message.count("elpv-simple_texture-broken-0 failed, and is tried again later") == 1
        assert "not finite" in message
        after = cells(project)
        assert set(after) == set(before)
        changed = [name for name in after if after[name]["scores"] != before[name]["scores"]]
        assert changed == ["elpv-simple_texture-daf-0"]

        invert(sorted((project.cells / "images").iterdir())[0])
        project.commit()
        assert to_run(project) == {"elpv-simple_texture-broken-0"}  # the images are not looked at
        assert project.execute("git", "status", "--porcelain") == ""
        project.dvc("--cd", SMOKE, "repro", "--single-item", "data@elpv")
        assert to_run(project) == {f"elpv-simple_texture-{name}-0" for name in ("broken", "daf")}
        assert outdated_cells(project) == {"elpv-simple_texture-daf-0"}

        # Where the images are gone, what git has of them stays.
        change(project, {"datasets": {"elpv": {"root": "data/01_raw/nowhere"}}})
        message = project.execute(*STUDY, "run", SMOKE, expect=1)
        assert "Error: Left out are the cells of elpv: " in message
        assert (project.folder / SMOKE / "data/elpv.json").exists()
