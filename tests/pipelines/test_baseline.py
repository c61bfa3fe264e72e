"""Other methods than DAF, from images to the registered model, on real images."""

import importlib.util
import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from mlflow.entities import Run

from daf_pipelines.cli import AT_ONCE
from daf_pipelines.scoring.detector import Detector
from daf_pipelines.sources.image_set import load
from served_model import predict
from small_project import SmallProject

if importlib.util.find_spec("anomalib") is None:  # which takes ten seconds to import
    pytest.skip("the extra baselines is not installed", allow_module_level=True)

PATCHCORE = {"method": "patchcore", "patchcore": {"most_patches": 400}, "device": "cpu"}
DRAEM = {"method": "draem", "draem": {"steps": 2}, "device": "cpu"}
SECONDS = 60


@pytest.fixture(scope="module")
def patchcore(
    elpv_cells: Path, empty_store: Path, tmp_path_factory: pytest.TempPathFactory
) -> SmallProject:
    """The project on ELPV cells after a run of PatchCore."""
    dataset = {"source": "elpv", "root": str(elpv_cells)}
    made = SmallProject(tmp_path_factory.mktemp("patchcore") / "project", dataset, empty_store)
    made.run("baseline", baseline=PATCHCORE)
    return made


@pytest.fixture(scope="module")
def draem(patchcore: SmallProject, tmp_path_factory: pytest.TempPathFactory) -> SmallProject:
    """The same project after a run of DRAEM behind that of PatchCore."""
    made = patchcore.copy(tmp_path_factory.mktemp("draem") / "project")
    made.run("baseline", baseline=DRAEM, synthesis={"strategy": "nsa"})
    return made


def facts(run: Run) -> dict[str, Any]:
    names = ("method", "strategy", "seed", "dataset", "category")
    return {name: run.data.tags[name] for name in names} | {"name": run.info.run_name}


class TestRecord:
    def test_a_method_of_normal_images(self, patchcore: SmallProject) -> None:
        (run,) = patchcore.runs()
        assert run.info.status == "FINISHED"
        assert facts(run) == {
            "method": "patchcore",
            "strategy": "none",
            "seed": "0",
            "dataset": "elpv",
            "category": "mono",
            "name": "patchcore-seed0-elpv-mono",
        }
        assert run.data.params["baseline.patchcore.most_patches"] == "400"
        assert run.data.params["model.teacher.backbone"] == "tf_efficientnet_lite0"
        of_daf = ("model.student", "decoder_training", "scoring", "baseline.draem")
        assert not any(name.startswith(of_daf) for name in run.data.params)
        assert run.data.metrics["image_auroc"] == patchcore.metrics()["image_auroc"]

    def test_a_method_of_outliers(self, draem: SmallProject) -> None:
        run, _ = draem.runs()
        assert facts(run)["method"] == "draem"
        assert facts(run)["strategy"] == "nsa"
        assert facts(run)["name"] == "draem-nsa-seed0-elpv-mono"
        history = draem.client.get_metric_history(run.info.run_id, "baseline/loss")
        assert [metric.step for metric in history] == [0, 1]

    def test_the_report_names_it(self, patchcore: SmallProject) -> None:
        page = patchcore.path("08_reporting/report.html").read_text(encoding="utf-8")
        assert "elpv mono: patchcore" in page
        assert "kedro run --pipelines baseline" in page

    def test_runs_of_several_methods_are_compared(self, draem: SmallProject) -> None:
        draem.run("comparison")
        table = pd.read_csv(draem.path("08_reporting/comparison.csv"), keep_default_na=False)
        assert set(table["method"]) == {"patchcore", "draem"}
        assert set(table["strategy"]) == {"none", "nsa"}


class TestDetector:
    @pytest.mark.parametrize("name", ["patchcore", "draem"])
    def test_reloaded_it_scores_as_in_the_evaluation(
        self, name: str, request: pytest.FixtureRequest
    ) -> None:
        project: SmallProject = request.getfixturevalue(name)
        detector = Detector.load(project.path("06_models/detector"))
        images = load(project.path("03_primary/test"))
        found = detector.score(images.images, images.boxes)
        table = pd.read_csv(project.path("08_reporting/image_scores.csv"))
        assert table["path"].tolist() == images.table["path"].tolist()
        np.testing.assert_allclose(found.scores, table["raw_score"], rtol=1e-4)
        maps = np.load(project.path("07_model_output/anomaly_maps.npy"))
        np.testing.assert_allclose(found.maps, maps, rtol=1e-4)

    def test_registered_it_scores_as_in_the_evaluation(
        self, patchcore: SmallProject, tmp_path: Path
    ) -> None:
        name = "patchcore-elpv-mono"
        predicted = predict(patchcore, name, tmp_path)["table"]
        scores = patchcore.scores()
        assert predicted["score"] == pytest.approx(scores["score"].tolist(), abs=1e-4)
        assert predicted["label"] == scores["predicted"].tolist()
        folder = patchcore.client.get_model_version_download_uri(name, "1")
        requirements = Path(folder.removeprefix("file://")) / "requirements.txt"
        assert "anomalib==" in requirements.read_text(encoding="utf-8")


def test_another_strategy_leaves_a_method_of_normal_images_as_it_is(
    patchcore: SmallProject, tmp_path: Path
) -> None:
    project = patchcore.copy(tmp_path / "project")
    changes = {"synthesis": {"strategy": "cutpaste"}, "baseline": PATCHCORE}
    project.run("outlier_synthesis", "evaluation", **changes)
    pd.testing.assert_frame_equal(project.scores(), patchcore.scores(), rtol=0, atol=1e-4)
    assert {facts(run)["strategy"] for run in project.runs()} == {"none"}


class TestRefusals:
    @pytest.mark.parametrize(
        "baseline", [PATCHCORE | {"patchcore": {"coreset": 0.2}}, DRAEM], ids=["coreset", "method"]
    )
    def test_a_model_of_other_parameters_is_not_evaluated(
        self, patchcore: SmallProject, tmp_path: Path, baseline: dict[str, Any]
    ) -> None:
        project = patchcore.copy(tmp_path / "project")
        result = project.invoke("--pipelines", "evaluation", baseline=baseline)
        assert result.exit_code == 1
        assert "The trained model comes from another experiment (baseline: " in result.output
        assert "Run kedro run --pipelines baseline with the same --params." in result.output

    def test_without_anomalib_no_node_runs(
        self, project: SmallProject, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        find = importlib.util.find_spec
        missing = {"anomalib"}
        monkeypatch.setattr(
            importlib.util, "find_spec", lambda n, *p: None if n in missing else find(n, *p)
        )
        result = project.invoke("--pipelines", "baseline")
        assert result.exit_code == 1
        assert "Traceback" not in result.output
        assert 'pip install -c constraints.txt -e ".[samples,baselines]".' in result.output
        assert not project.path("02_intermediate").exists()


def test_interrupt(
    patchcore: SmallProject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One message, and the same command trains anew in the same MLflow run."""
    project = patchcore.copy(tmp_path / "project")

    def stop(*_: Any) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(SECONDS)

    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with monkeypatch.context() as patch:
            patch.setattr("daf_pipelines.baselines.training.train_baseline", stop)
            result = project.invoke("--pipelines", "baseline", baseline=PATCHCORE, seed=1)
    finally:
        signal.signal(signal.SIGINT, previous)
    assert result.exit_code == 128 + signal.SIGINT
    assert result.output.splitlines()[-1] == AT_ONCE
    stopped, _ = project.runs()
    assert stopped.info.status == "KILLED"

    project.run("baseline", baseline=PATCHCORE, seed=1)
    run, _ = project.runs()
    assert (run.info.run_id, run.info.status) == (stopped.info.run_id, "FINISHED")
