"""``kedro run --pipelines robustness_study`` over the files of cells that nobody had to train."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from daf_pipelines.study.results import Cell
from daf_pipelines.tracking.thumbnails import read_thumbnails
from made_up_runs import make_images, make_run, record
from made_up_study import made_study
from small_project import SmallProject

STRATEGIES = ("draem", "nsa")
TABLES = {
    *("study", "study_robustness", "study_comparisons", "study_without_one", "study_seed_tests"),
    *("study_rank_stability", "study_recommendation", "study_regrets", "study_choices"),
}
NEEDS_THREE = "study_without_one"  # strategies
DECLARED = """
name: study
grid:
  dataset: [elpv]
  strategy: [draem, nsa]
  method: [daf, daf_without_cue, teacher_student]
  reference: [patchcore]
  seed: [0]
datasets: { elpv: {} }
strategies: { draem: {}, nsa: {} }
methods: { daf: {}, daf_without_cue: {}, teacher_student: {}, patchcore: {} }
recipe: {}
"""
FIGURES = ("study_heatmap.png", "study_slopes.png", "study_disagreement.jpg")


def quality(method: str, strategy: str, seed: int) -> float:
    return 1.5 if method == "daf" else {"draem": 0.5, "nsa": 2.0, "": 1.0}[strategy]


@pytest.fixture
def project(empty_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SmallProject:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return SmallProject(tmp_path / "project", {"source": "elpv", "root": "unused"}, empty_store)


def make_cells() -> list[Cell]:
    methods = ("daf", "daf_without_cue", "patchcore")
    transfer = {"draem": 0.8, "nsa": 0.9}
    return made_study(
        quality, strategies=STRATEGIES, methods=methods, transfer=transfer, normal=24, anomalous=16
    )


def recorded(project: SmallProject, cells: list[Cell]) -> list[Cell]:
    """The cells as those of runs in the project's store, whose thumbnails are of their labels."""
    experiment = project.client.create_experiment(
        "daf", artifact_location=(project.folder / "mlartifacts").as_uri()
    )
    images = make_images()
    images["labels"] = cells[0].truth
    found = []
    for number, cell in enumerate(cells):
        run = make_run(number, images)
        run_id = record(project.client, experiment, run, project.folder / f"made-{number}")
        found.append(cell.model_copy(update={"run_id": run_id}))
    return found


def study(project: SmallProject, cells: list[Cell]) -> dict[str, Any]:
    folder = project.folder / "study/cells"
    folder.mkdir(parents=True)
    for cell in cells:
        file = folder / f"{cell.declared.name}.json"
        file.write_text(cell.model_dump_json(), encoding="utf-8")
    (project.folder / "study/study.yml").write_text(DECLARED, encoding="utf-8")
    return {"folder": str(project.folder / "study"), "replicates": 200}


class TestPipeline:
    def test_writes_everything(self, project: SmallProject) -> None:
        cells = recorded(project, make_cells())
        project.run("robustness_study", study=study(project, cells))
        table = pd.read_csv(project.path("08_reporting/study.csv"))
        assert table["run_id"].tolist() == [cell.run_id for cell in cells]
        assert table["image_auroc"].tolist() == pytest.approx(
            [cell.metric("image_auroc") for cell in cells], rel=1e-5
        )
        for name in TABLES:
            assert len(pd.read_csv(project.path(f"08_reporting/{name}.csv"))) or name == NEEDS_THREE
        for name in FIGURES:
            with Image.open(project.path(f"08_reporting/{name}")) as figure:
                assert np.array(figure).std() > 5
        (parent,) = [run for run in project.runs() if run.data.tags.get("kind") == "study"]
        kept = project.client.list_artifacts(parent.info.run_id, "study")
        made = {*(f"{name}.csv" for name in TABLES), *FIGURES}
        assert {Path(file.path).name for file in kept} == made | {"study.html", "study.md"}
        summary = project.path("08_reporting/study.md").read_text(encoding="utf-8")
        assert "- cells: 5 of 7" in summary
        assert f"kedro run --pipelines robustness_study --params study.folder={project.folder}" in (
            summary
        )
        page = project.path("08_reporting/study.html").read_text(encoding="utf-8")
        # Of four images the heat of two methods under two strategies.
        assert page.count('alt="heat of ') == 4 * 4

    def test_without_a_store(self, project: SmallProject, caplog: pytest.LogCaptureFixture) -> None:
        """Numbers come from files: a store without the runs costs the pictures only."""
        project.run("robustness_study", study=study(project, make_cells()))
        page = project.path("08_reporting/study.html").read_text(encoding="utf-8")
        assert "heat of" not in page
        assert len(pd.read_csv(project.path("08_reporting/study.csv"))) == 5
        assert "no thumbnails of 4 of 4 runs" in caplog.text

    @pytest.mark.parametrize("table", ["experiments", "runs"])
    def test_store_that_refuses(
        self, project: SmallProject, table: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        project.refuse(table)
        params = study(project, make_cells())
        result = project.invoke("--pipelines", "robustness_study", study=params)
        assert result.exit_code == 0, result.output
        assert "5 cells: " in result.output
        assert "MLflow has not recorded the study" in caplog.text

    def test_outdated_cells_are_left_out(
        self, project: SmallProject, caplog: pytest.LogCaptureFixture
    ) -> None:
        params = study(project, make_cells())
        stage = {"params": {"study.yml": {"strategies.nsa": {"x": 1}}}, "deps": [], "outs": []}
        lock = {"stages": {"cell@elpv-nsa-daf-0": stage}}
        (project.folder / "study/dvc.lock").write_text(yaml.safe_dump(lock), encoding="utf-8")
        project.run("robustness_study", study=params)
        table = pd.read_csv(project.path("08_reporting/study.csv"))
        kept = table.loc[table["method"].eq("daf"), "strategy"].tolist()
        assert (len(table), kept) == (4, ["draem"])
        assert "- cells: 4 of 7" in project.path("08_reporting/study.md").read_text("utf-8")
        assert "Left out: 1 cell with other parameters" in caplog.text
        assert "elpv-nsa-daf-0" in caplog.text

    def test_a_mistake_is_one_message(self, project: SmallProject) -> None:
        result = project.invoke(
            "--pipelines", "robustness_study", study={"folder": str(project.folder / "none")}
        )
        assert result.exit_code == 1
        assert "Traceback" not in result.output
        assert "study.yml not found. Name the folder of a study" in " ".join(result.output.split())


class TestThumbnails:
    def test_of_the_runs_that_have_some(
        self, project: SmallProject, caplog: pytest.LogCaptureFixture
    ) -> None:
        (cell, *_) = recorded(project, make_cells()[:1])
        config = {"uri": project.uri, "experiment": "daf"}
        found = read_thumbnails(config, [cell.run_id, "0" * 32])
        assert list(found) == [cell.run_id]
        assert found[cell.run_id]["label"].tolist() == cell.truth.tolist()
        assert f"no thumbnails of 1 of 2 runs, such as {'0' * 32}" in caplog.text

    def test_of_a_store_that_mlflow_refuses(self, caplog: pytest.LogCaptureFixture) -> None:
        config = {"uri": "ftp://tracking", "experiment": "daf"}
        assert read_thumbnails(config, ["0" * 32]) == {}
        assert "ftp://tracking" in caplog.text
