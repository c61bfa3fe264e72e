"""A killed training goes on where its last checkpoint is."""

import re
import signal
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from small_project import SmallProject


@pytest.fixture(scope="module")
def killed(
    elpv_project: SmallProject, empty_store: Path, tmp_path_factory: pytest.TempPathFactory
) -> SmallProject:
    """The experiment of ``elpv_project``, killed while the student was trained."""
    folder = tmp_path_factory.mktemp("killed")
    project = SmallProject(folder, elpv_project.params["dataset"], empty_store)
    with project.training() as process:
        process.kill()
        assert process.wait() == -signal.SIGKILL
    return project


def test_killed_run_resumes_with_the_same_command(
    killed: SmallProject, elpv_project: SmallProject
) -> None:
    (before,) = killed.runs()
    assert before.info.status == "RUNNING"
    assert not killed.path("06_models/student").exists()

    result = killed.invoke()
    assert result.exit_code == 0, result.output
    resumed = re.search(r"teacher-student resumes at step (\d+) of 20", result.output)
    assert resumed is not None
    assert int(resumed[1]) in {5, 10, 15}

    (run,) = killed.runs()
    assert (run.info.run_id, run.info.status) == (before.info.run_id, "FINISHED")
    history = killed.client.get_metric_history(run.info.run_id, "teacher_student/kd")
    assert [m.step for m in history] == list(range(20))
    networks = [
        load_file(project.path("06_models/detector/model.safetensors"))
        for project in (killed, elpv_project)
    ]
    assert networks[0].keys() == networks[1].keys()
    assert all(torch.equal(tensor, networks[1][name]) for name, tensor in networks[0].items())
    pd.testing.assert_frame_equal(killed.scores(), elpv_project.scores(), rtol=0, atol=1e-5)
    for phase in ("teacher_student", "decoder"):
        losses = [
            pd.read_csv(project.path(f"08_reporting/{phase}_losses.csv"))
            for project in (killed, elpv_project)
        ]
        pd.testing.assert_frame_equal(*losses, rtol=1e-4)
    assert list(killed.path("06_models/checkpoints").iterdir()) == []
