"""One MLflow run an experiment, whatever executed it."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from PIL import Image

from daf_pipelines.metrics import IMAGE_METRICS
from daf_pipelines.pipelines.decoder_training import nodes as decoder_nodes
from daf_pipelines.run_parameters import RunParameters
from daf_pipelines.tracking.run import flatten
from small_project import ROOT, SmallProject


@pytest.fixture
def finished(elpv_project: SmallProject, tmp_path: Path) -> SmallProject:
    """A copy of the finished experiment, free to change."""
    return elpv_project.copy(tmp_path / "project")


def run_ids(project: SmallProject) -> set[str]:
    return {run.info.run_id for run in project.runs()}


def new_run(project: SmallProject, *pipelines: str, **changes: Any) -> str:
    """Id of the one run that the pipelines open."""
    before = run_ids(project)
    project.run(*pipelines, **changes)
    (run_id,) = run_ids(project) - before
    return str(run_id)


def steps(project: SmallProject, run_id: str, metric: str) -> list[int]:
    return [m.step for m in project.client.get_metric_history(run_id, metric)]


class TestContents:
    def test_finished_with_every_parameter(self, elpv_project: SmallProject) -> None:
        (run,) = elpv_project.runs()
        loader = elpv_project.context().config_loader
        expected = flatten(RunParameters.of(loader["parameters"]).experiment())
        assert run.info.status == "FINISHED"
        assert run.data.params == {k: str(v) for k, v in expected.items()}
        assert run.data.params["decoder_training.length"] == "10"
        assert not any(k.startswith(("inference", "data_dir")) for k in run.data.params)

    def test_tags(self, elpv_project: SmallProject) -> None:
        (run,) = elpv_project.runs()
        tags, manifest = (
            run.data.tags,
            pd.read_json(elpv_project.path("08_reporting/dataset.json"), typ="series"),
        )
        assert {k: tags[k] for k in ("dataset", "category", "strategy", "method")} == {
            "dataset": "elpv",
            "category": "mono",
            "strategy": "draem",
            "method": "daf",
        }
        assert tags["data_hash"] == manifest["data_hash"]
        assert (
            re.fullmatch("[0-9a-f]{40}(-dirty)?", tags["git_commit"])
            or not (ROOT / ".git").exists()
        )

    def test_loss_curves_by_step(self, elpv_project: SmallProject) -> None:
        (run,) = elpv_project.runs()
        for phase, losses, length in (
            ("teacher_student", ("kd", "dis"), 20),
            ("decoder", ("seg",), 10),
        ):
            table = pd.read_csv(elpv_project.path(f"08_reporting/{phase}_losses.csv"))
            for name in losses:
                history = elpv_project.client.get_metric_history(run.info.run_id, f"{phase}/{name}")
                assert [m.step for m in history] == list(range(length))
                assert [m.value for m in history] == pytest.approx(table[name].tolist())

    def test_final_metrics_are_those_of_the_report(self, elpv_project: SmallProject) -> None:
        (run,) = elpv_project.runs()
        numbers = {k: elpv_project.metrics()[k] for k in IMAGE_METRICS}
        assert {k: v for k, v in run.data.metrics.items() if "/" not in k} == pytest.approx(numbers)
        assert "pixel_auroc" not in run.data.metrics

    def test_outliers_are_described(self, elpv_project: SmallProject) -> None:
        (run,) = elpv_project.runs()
        table = pd.read_csv(elpv_project.path("08_reporting/mask_statistics.csv"))
        for name in ("area", "regions", "contrast", "centroid_x", "centroid_y"):
            logged = run.data.metrics[f"synthesis/{name}_median"]
            assert logged == pytest.approx(table[name].median())

    def test_pictures_and_tables(self, elpv_project: SmallProject, tmp_path: Path) -> None:
        (run,) = elpv_project.runs()
        folder = Path(elpv_project.client.download_artifacts(run.info.run_id, "", str(tmp_path)))
        pictures = {p.relative_to(folder).as_posix() for p in folder.rglob("*.png")}
        assert pictures >= {
            "synthesis/synthesis_preview.png",
            "synthesis/mask_statistics.png",
            "synthesis/foreground.png",
            "training/validation_outliers.png",
            "evaluation/detections.png",
        }
        for name in pictures:
            with Image.open(folder / name) as picture:
                picture.verify()
        assert (folder / "dataset" / "manifest.parquet").is_file()
        tables = ("image_scores.csv", "thresholds.csv", "image_roc.csv", "report.html")
        assert all((folder / "evaluation" / name).is_file() for name in tables)

    def test_dataset_with_its_hash(self, elpv_project: SmallProject) -> None:
        (run,) = elpv_project.runs()
        (entry,) = run.inputs.dataset_inputs
        assert entry.dataset.name == "elpv-mono"
        assert entry.dataset.digest == run.data.tags["data_hash"][:36]

    def test_artifacts_lie_beside_the_database(self, elpv_project: SmallProject) -> None:
        (run,) = elpv_project.runs()
        expected = (elpv_project.folder / "mlartifacts").as_uri()
        assert run.info.artifact_uri.startswith(expected)


class TestDatasetCard:
    def test_of_ingestion_alone_is_one_run_a_dataset(
        self, project: SmallProject, tmp_path: Path
    ) -> None:
        for seed in (0, 1):
            project.run("data_ingestion", seed=seed)
        experiment = project.client.get_experiment_by_name("daf-datasets")
        (run,) = project.client.search_runs([experiment.experiment_id])
        assert run.info.status == "FINISHED"
        assert run.info.run_name == "elpv-mono"
        summary = json.loads(project.path("08_reporting/dataset.json").read_text())
        assert run.data.tags["data_hash"] == summary["data_hash"]
        (entry,) = run.inputs.dataset_inputs
        assert entry.dataset.digest == summary["data_hash"][:36]
        folder = Path(project.client.download_artifacts(run.info.run_id, "dataset", str(tmp_path)))
        assert {file.name for file in folder.iterdir()} == {
            "data_checks.csv",
            "dataset.html",
            "dataset.json",
            "dataset_card.png",
            "manifest.parquet",
        }
        assert project.runs() == []

    @pytest.mark.parametrize("table", ["experiments", "runs"])
    def test_store_that_refuses(
        self, project: SmallProject, table: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The images are prepared, and the card lies in the files."""
        project.refuse(table)
        result = project.invoke("--pipelines", "data_ingestion")
        assert result.exit_code == 0, result.output
        assert "Dataset card: " in result.output
        assert project.path("08_reporting/dataset.html").is_file()
        assert "MLflow has not recorded the dataset" in caplog.text

    def test_is_part_of_the_experiment(self, elpv_project: SmallProject) -> None:
        (run,) = elpv_project.runs()
        artifacts = elpv_project.client.list_artifacts(run.info.run_id, "dataset")
        assert {"dataset/dataset.html", "dataset/dataset_card.png"} <= {a.path for a in artifacts}


class TestNoRun:
    def test_of_synthesis_alone(self, project: SmallProject) -> None:
        project.run("data_ingestion")
        project.run("outlier_synthesis")
        assert project.runs() == []
        assert not project.path("06_models").exists()

    def test_of_missing_inputs(self, project: SmallProject) -> None:
        assert project.invoke("--pipelines", "decoder_training").exit_code == 1
        assert project.runs() == []


class TestFailure:
    def test_training_goes_on_in_the_same_run(
        self, project: SmallProject, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*_: Any) -> None:
            raise RuntimeError("out of memory")

        with monkeypatch.context() as patch:
            patch.setattr(decoder_nodes, "train_decoder", fail)
            with pytest.raises(RuntimeError, match="out of memory"):
                project.run()
        (failed,) = project.runs()
        assert failed.info.status == "FAILED"
        assert steps(project, failed.info.run_id, "teacher_student/kd") == list(range(20))

        project.run()
        (run,) = project.runs()
        assert (run.info.run_id, run.info.status) == (failed.info.run_id, "FINISHED")
        assert run.data.metrics["image_auroc"] == project.metrics()["image_auroc"]


class TestNextExperiment:
    def test_other_decoder_parameters(self, finished: SmallProject) -> None:
        (first,) = run_ids(finished)
        checkpoints = finished.path("06_models/checkpoints")
        foreign = {f"decoder-{'0' * 16}.pt", f"run-{'0' * 16}.json"}
        for name in foreign:
            (checkpoints / name).write_text("of another experiment")
        changed = {"decoder_training": {"length": 7}}
        second = new_run(finished, "decoder_training", **changed)
        own = {p.name for p in checkpoints.iterdir()} - foreign
        assert {name.split("-")[0] for name in own} == {"decoder", "run"}
        assert steps(finished, second, "teacher_student/kd") == list(range(20))
        assert steps(finished, second, "decoder/seg") == list(range(7))
        tags = finished.client.get_run(second).data.tags
        assert tags["data_hash"] == finished.client.get_run(first).data.tags["data_hash"]
        assert "synthesis/synthesis_preview.png" in {
            a.path for a in finished.client.list_artifacts(second, "synthesis")
        }

        finished.run("evaluation", **changed)
        assert run_ids(finished) == {first, second}
        assert "image_auroc" in finished.client.get_run(second).data.metrics
        assert {p.name for p in checkpoints.iterdir()} == foreign  # its own are removed

        # The student belongs to the first experiment, too.
        finished.run("decoder_training")
        assert run_ids(finished) == {first, second}

    def test_evaluation_again(self, finished: SmallProject) -> None:
        (first,) = run_ids(finished)
        finished.run("evaluation")
        assert run_ids(finished) == {first}
        assert finished.client.get_run(first).info.status == "FINISHED"
        assert len(steps(finished, first, "image_auroc")) == 2
        version = finished.client.get_model_version_by_alias("daf-elpv-mono", "candidate")
        assert int(version.version) == 2

    def test_other_threshold(self, finished: SmallProject) -> None:
        (first,) = run_ids(finished)
        changed = {"threshold": {"image": {"rule": "synthetic"}}}
        second = new_run(finished, "evaluation", **changed)
        assert steps(finished, second, "decoder/seg") == list(range(10))
        finished.run("evaluation", **changed)
        assert run_ids(finished) == {first, second}

    def test_trained_again(self, finished: SmallProject) -> None:
        (first,) = run_ids(finished)
        second = new_run(finished, "teacher_student_training")
        assert steps(finished, second, "teacher_student/kd") == list(range(20))
        finished.run("decoder_training")
        assert run_ids(finished) == {first, second}
        assert steps(finished, second, "decoder/seg") == list(range(10))
        assert len(steps(finished, first, "decoder/seg")) == 10

    def test_other_images_under_the_same_parameters(
        self, project: SmallProject, elpv_cells: Path, tmp_path: Path
    ) -> None:
        root = tmp_path / "cells"
        shutil.copytree(elpv_cells, root)
        early = ("data_ingestion", "outlier_synthesis", "teacher_student_training")
        project.run(*early, dataset={"root": str(root)})
        (first,) = run_ids(project)
        lines = (root / "labels.csv").read_text().splitlines(keepends=True)
        (root / "labels.csv").write_text("".join(lines[1:]))
        second = new_run(project, *early, dataset={"root": str(root)})
        hashes = [project.client.get_run(r).data.tags["data_hash"] for r in (first, second)]
        assert hashes[0] != hashes[1]
