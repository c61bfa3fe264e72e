"""What the pipelines can reach, read off their graph."""

from itertools import pairwise

import pytest
from kedro.pipeline import Pipeline

from daf_pipelines.pipeline_registry import BASELINE, EXPERIMENT, experiment, register_pipelines

# Folders that a node works in; nothing makes them.
FOLDERS = {"checkpoints", "decoded_images", "inference_folder"}
ABOUT_TEST_IMAGES = {"test_images"} | experiment().from_inputs("test_images").all_outputs()


@pytest.fixture(scope="module")
def pipelines() -> dict[str, Pipeline]:
    from kedro.framework.project import configure_project

    configure_project("daf_pipelines")
    return register_pipelines()


def data_inputs(pipeline: Pipeline) -> set[str]:
    return {name for name in pipeline.inputs() if not name.startswith("params:")}


class TestTestSplit:
    @pytest.mark.parametrize(
        "made",
        [
            "textures",
            "synthetic_validation",
            "student",
            "trained_model",
            "detector",
            "calibration_scores",
        ],
    )
    def test_nothing_that_decides_a_detector_reads_it(self, made: str) -> None:
        ancestors = experiment().to_outputs(made)
        read = set().union(*(node.inputs for node in ancestors.nodes))
        assert not read & ABOUT_TEST_IMAGES

    def test_only_scoring_and_reporting_read_it(self, pipelines: dict[str, Pipeline]) -> None:
        readers = {
            (name, node.func.__name__)
            for name in {*EXPERIMENT, *BASELINE, "inference"}
            for node in pipelines[name].nodes
            if "test_images" in node.inputs
        }
        assert readers == {
            ("evaluation", "score_test_images"),
            ("evaluation", "compute_metrics"),
            ("evaluation", "draw"),
            ("evaluation", "report"),
        }

    def test_the_manifest_ends_with_ingestion(self) -> None:
        """It lists the test images with their labels."""
        of_manifest, of_reading, of_checks = (
            {n.func.__name__ for n in experiment().nodes if name in n.inputs}
            for name in ("manifest", "reading", "data_checks")
        )
        assert of_manifest == {"prepare_images", "summarise", "describe"}
        assert of_reading == {"make_manifest", "prepare_images", "summarise", "describe"}
        assert of_checks == {"summarise", "describe"}
        of_summary = {n.func.__name__ for n in experiment().nodes if "dataset_summary" in n.inputs}
        assert of_summary == {"describe", "compute_metrics", "report"}


class TestOrder:
    def test_default_is_the_experiment(self, pipelines: dict[str, Pipeline]) -> None:
        nodes = {node.name for name in EXPERIMENT for node in pipelines[name].nodes}
        assert {node.name for node in pipelines["__default__"].nodes} == nodes
        others = {"inference", "strategy_gallery", "strategy_transfer", "comparison"}
        others |= {"robustness_study", "baseline", "__default__"}
        assert set(pipelines) == {*EXPERIMENT, *BASELINE, *others}

    def test_each_pipeline_needs_only_what_the_ones_before_have_made(
        self, pipelines: dict[str, Pipeline]
    ) -> None:
        made = set(FOLDERS)
        for name in (*EXPERIMENT, "inference"):
            assert data_inputs(pipelines[name]) <= made, name
            made |= pipelines[name].all_outputs()

    def test_another_method_takes_the_place_of_both_phases(
        self, pipelines: dict[str, Pipeline]
    ) -> None:
        made = set(FOLDERS)
        for name in BASELINE:
            assert data_inputs(pipelines[name]) <= made, name
            made |= pipelines[name].all_outputs()
        assert {n.name for n in pipelines["baseline"].nodes} == {
            n.name for name in BASELINE for n in pipelines[name].nodes
        }

    def test_each_needs_the_one_before(self, pipelines: dict[str, Pipeline]) -> None:
        for before, after in pairwise(EXPERIMENT):
            assert data_inputs(pipelines[after]) & pipelines[before].all_outputs(), after
        assert "detector" in data_inputs(pipelines["inference"])

    def test_a_comparison_needs_only_the_tracking_store(
        self, pipelines: dict[str, Pipeline]
    ) -> None:
        assert data_inputs(pipelines["comparison"]) == {"tracking_store"}
        assert not pipelines["comparison"].all_outputs() & experiment().all_outputs()

    def test_a_study_needs_only_its_files_and_the_tracking_store(
        self, pipelines: dict[str, Pipeline]
    ) -> None:
        assert data_inputs(pipelines["robustness_study"]) == {"tracking_store"}
        assert not pipelines["robustness_study"].all_outputs() & experiment().all_outputs()

    def test_the_default_run_needs_parameters_only(self, pipelines: dict[str, Pipeline]) -> None:
        assert data_inputs(pipelines["__default__"]) == {"checkpoints", "decoded_images"}
