"""Training that is asked to stop saves, says how to go on, and is gone on with in its run."""

import os
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from mlflow.entities import Run

from daf_pipelines.cli import AT_ONCE
from daf_pipelines.scoring.detector import Detector
from small_project import LIMIT_SECONDS, SmallProject

OFTEN = {"teacher_student_training": {"checkpoint_every": 1}}  # does not change what comes out


def curve(project: SmallProject, run_id: str) -> list[int]:
    return [m.step for m in project.client.get_metric_history(run_id, "teacher_student/kd")]


def check_stopped(
    project: SmallProject, process: "subprocess.Popen[str]", number: signal.Signals
) -> Run:
    """It has said where it stopped and how to go on, and its run is recorded up to there."""
    output, _ = process.communicate(timeout=LIMIT_SECONDS)
    assert process.returncode == 128 + number, output
    (step,) = re.findall(rf"stopped by {number.name} after step (\d+) of 20", output)
    assert "The same command goes on from there." in output
    for alarm in ("Traceback", "Error", "WARNING", "\r", "\x1b"):  # it goes into a file
        assert alarm not in output
    (run,) = project.runs()
    assert run.info.status == "KILLED"
    assert curve(project, run.info.run_id) == list(range(int(step)))
    return run


def test_stopped_and_gone_on_with(project: SmallProject, elpv_project: SmallProject) -> None:
    with project.training(**OFTEN) as process:
        # Others are refused meanwhile, of this experiment or not, and do not disturb it.
        process.send_signal(signal.SIGSTOP)
        for changes in ({}, {"seed": 1}, {"synthesis": {"strategy": "nsa"}}):
            refused = project.invoke(**OFTEN, **changes)
            assert refused.exit_code == 1, refused.output
            told = f"{project.path('')} is already being worked on by process {process.pid}"
            assert told in refused.output
            assert "Traceback" not in refused.output
        process.send_signal(signal.SIGINT)  # pending until it goes on
        process.send_signal(signal.SIGCONT)
        stopped = check_stopped(project, process, signal.SIGINT)

    result = project.invoke(**OFTEN)
    assert result.exit_code == 0, result.output
    (run,) = project.runs()
    assert (run.info.run_id, run.info.status) == (stopped.info.run_id, "FINISHED")
    assert curve(project, run.info.run_id) == list(range(20))
    pd.testing.assert_frame_equal(project.scores(), elpv_project.scores(), rtol=0, atol=1e-5)
    assert list(project.path("06_models/checkpoints").iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_stopped_outside_of_training(
    elpv_project: SmallProject,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: signal.Signals,
) -> None:
    project = elpv_project.copy(tmp_path / "project")

    def stop(*_: Any) -> None:
        (run,) = project.runs()
        assert run.info.status == "RUNNING"
        os.kill(os.getpid(), number)
        time.sleep(LIMIT_SECONDS)

    monkeypatch.setattr(Detector, "score", stop)
    before = signal.getsignal(signal.SIGTERM)
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        result = project.invoke("--pipelines", "evaluation")
    finally:
        signal.signal(signal.SIGINT, previous)
    assert result.exit_code == 128 + number, result.output
    assert result.output.splitlines()[-1] == AT_ONCE
    assert "Traceback" not in result.output
    (run,) = project.runs()
    assert run.info.status == "KILLED"
    assert not list(project.path("").rglob("*.lock"))
    assert signal.getsignal(signal.SIGTERM) == before


def test_unwritable_checkpoints_are_found_before_training(project: SmallProject) -> None:
    project.path("06_models").mkdir(parents=True)
    project.path("06_models/checkpoints").write_text("a file where the folder should be")
    result = project.invoke()
    assert result.exit_code == 1, result.output
    (message,) = re.findall(r"Error: (.*)", result.output)
    assert f"The folder {project.path('06_models/checkpoints')} cannot be made" in message
    assert "data_dir" in message
    assert project.runs() == []
