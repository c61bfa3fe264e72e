"""A detector is made without the test split: it comes out the same where there is none on disk."""

import json
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file

from daf_pipelines.pipeline_registry import experiment
from small_project import SmallProject


@pytest.fixture(scope="module")
def blind(
    elpv_project: SmallProject, empty_store: Path, tmp_path_factory: pytest.TempPathFactory
) -> SmallProject:
    """``elpv_project`` again, with the test images deleted after ingestion."""
    folder = tmp_path_factory.mktemp("blind")
    project = SmallProject(folder, elpv_project.params["dataset"], empty_store)
    project.run("data_ingestion")
    shutil.rmtree(project.path("03_primary/test"))
    shutil.rmtree(project.path("02_intermediate/decoded"))
    for name in ("outlier_synthesis", "teacher_student_training", "decoder_training"):
        project.run(name)
    project.run("evaluation", to_outputs=["detector", "calibration_scores"])
    return project


class TestWithoutTestImages:
    def test_the_detector_is_the_same(
        self, blind: SmallProject, elpv_project: SmallProject
    ) -> None:
        found, expected = (p.path("06_models/detector") for p in (blind, elpv_project))
        weights, others = (load_file(f / "model.safetensors") for f in (found, expected))
        assert weights.keys() == others.keys()
        assert all((weights[name] - others[name]).abs().max() < 1e-5 for name in weights)

    def test_so_are_its_thresholds(self, blind: SmallProject, elpv_project: SmallProject) -> None:
        found, expected = (
            json.loads((p.path("06_models/detector") / "config.json").read_text())
            for p in (blind, elpv_project)
        )
        for level in ("image", "pixel"):
            assert found[level] == pytest.approx(expected[level], abs=1e-4)
            assert found["thresholds"][level] == pytest.approx(
                expected["thresholds"][level], abs=1e-4
            )

    def test_test_images_were_really_not_there(self, blind: SmallProject) -> None:
        assert not blind.path("03_primary/test").exists()
        assert not blind.path("08_reporting/image_scores.csv").exists()


def test_the_report_of_a_run_is_not_an_input_of_anything() -> None:
    of_report = {"evaluation_report", "threshold_metrics", "thumbnails", "pixel_counts"}
    readers = {n.func.__name__ for n in experiment().nodes if of_report & set(n.inputs)}
    assert readers == {"report"}
