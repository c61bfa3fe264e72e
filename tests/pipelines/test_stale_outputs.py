"""Persisted outputs of another experiment are refused, with what to do."""

from pathlib import Path
from typing import Any

import pytest

from daf_pipelines.errors import StaleArtifactError
from daf_pipelines.pipeline_registry import EXPERIMENT
from small_project import SmallProject


@pytest.fixture(scope="module")
def finished(elpv_project: SmallProject, tmp_path_factory: pytest.TempPathFactory) -> SmallProject:
    return elpv_project.copy(tmp_path_factory.mktemp("stale") / "project")


def refusal(project: SmallProject, *pipelines: str, **changes: Any) -> str:
    """The message; the refused run leaves no trace in MLflow and among the checkpoints."""
    runs = [run.info.run_id for run in project.runs()]
    with pytest.raises(StaleArtifactError) as caught:
        project.run(*pipelines, **changes)
    assert [run.info.run_id for run in project.runs()] == runs
    assert list(project.path("06_models/checkpoints").iterdir()) == []
    return str(caught.value)


class TestPreparedImages:
    @pytest.mark.parametrize(
        ("changes", "named"),
        [
            ({"dataset": {"image_size": 96}}, "dataset.image_size=96"),
            ({"dataset": {"category": "poly"}}, "dataset.category=poly"),
            ({"dataset": {"calibration_fraction": 0.3}}, "dataset.calibration_fraction=0.3"),
        ],
    )
    def test_of_other_parameters(
        self, finished: SmallProject, changes: dict[str, Any], named: str
    ) -> None:
        message = refusal(finished, "teacher_student_training", **changes)
        assert named in message
        assert "kedro run --pipelines data_ingestion" in message

    @pytest.mark.parametrize("pipeline", [*EXPERIMENT[1:], "strategy_transfer"])
    def test_in_every_pipeline(self, finished: SmallProject, pipeline: str) -> None:
        message = refusal(finished, pipeline, seed=7)
        assert "seed=7" in message
        assert "kedro run --pipelines data_ingestion" in message

    def test_of_another_root(self, finished: SmallProject, tmp_path: Path) -> None:
        message = refusal(finished, "teacher_student_training", dataset={"root": str(tmp_path)})
        assert f"dataset.root={tmp_path}" in message
        assert "kedro run --pipelines data_ingestion" in message


class TestOutliers:
    @pytest.mark.parametrize("pipeline", ["teacher_student_training", "decoder_training"])
    def test_of_another_strategy(self, finished: SmallProject, pipeline: str) -> None:
        message = refusal(finished, pipeline, synthesis={"strategy": "cutpaste"})
        assert "cutpaste" in message
        assert "kedro run --pipelines outlier_synthesis" in message

    @pytest.mark.parametrize("changes", [{"validation_repeats": 1}, {"validation_limit": 3}])
    def test_as_many_as_thresholds_are_to_be_set_on(
        self, finished: SmallProject, changes: dict[str, int]
    ) -> None:
        message = refusal(finished, "evaluation", synthesis=changes)
        assert f"{next(iter(changes))}: " in message
        assert "kedro run --pipelines outlier_synthesis" in message


class TestStudent:
    @pytest.mark.parametrize(
        "changes",
        [
            {"teacher_student_training": {"learning_rate": 0.5}},
            {"model": {"auxiliary_heads": False}},
        ],
    )
    def test_of_other_parameters(self, finished: SmallProject, changes: dict[str, Any]) -> None:
        message = refusal(finished, "decoder_training", **changes)
        assert "kedro run --pipelines teacher_student_training" in message

    def test_may_have_been_trained_on_another_device(
        self, finished: SmallProject, tmp_path: Path
    ) -> None:
        elsewhere = {"device": "auto", "checkpoint_every": 3}
        project = finished.copy(tmp_path / "project")
        project.run("decoder_training", teacher_student_training=elsewhere)


class TestTrainedModel:
    @pytest.mark.parametrize(
        "changes",
        [
            {"decoder_training": {"length": 11}},
            {"model": {"decoder": {"width": 24}}},
            {"synthesis": {"strategy": "cutpaste"}},
        ],
    )
    def test_of_other_parameters(self, finished: SmallProject, changes: dict[str, Any]) -> None:
        detector = finished.path("06_models/detector/config.json").stat().st_mtime_ns
        assert "Run kedro run with the same --params" in refusal(finished, "evaluation", **changes)
        assert finished.path("06_models/detector/config.json").stat().st_mtime_ns == detector

    def test_of_other_images(self, finished: SmallProject, tmp_path: Path) -> None:
        project = finished.copy(tmp_path / "project")
        larger = {"dataset": {"image_size": 96}}
        project.run("data_ingestion", "outlier_synthesis", **larger)
        assert "Run kedro run with the same --params" in refusal(project, "evaluation", **larger)

    def test_with_other_synthetic_outliers(self, finished: SmallProject, tmp_path: Path) -> None:
        project = finished.copy(tmp_path / "project")
        project.run("outlier_synthesis", synthesis={"strategy": "cutpaste"})
        message = refusal(project, "evaluation")
        assert "kedro run --pipelines outlier_synthesis" in message
