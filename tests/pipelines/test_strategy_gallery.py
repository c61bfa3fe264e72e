"""The gallery of all strategies, and what is seen of the chosen one, through real sessions."""

from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from daf_pipelines.sources.image_set import load
from daf_pipelines.synthesis import STRATEGIES
from small_project import SmallProject

OWN = {"lines": {"mask": "scar", "content": "plain_colour", "blending": "hard"}}


@pytest.fixture(scope="module")
def shown(
    elpv_project: SmallProject, tmp_path_factory: pytest.TempPathFactory
) -> tuple[SmallProject, str]:
    """The project with a gallery, and what the command has said."""
    project = elpv_project.copy(tmp_path_factory.mktemp("gallery") / "project")
    result = project.invoke("--pipelines", "strategy_gallery", synthesis={"strategies": OWN})
    assert result.exit_code == 0, result.output
    return project, result.output


@pytest.fixture(scope="module")
def gallery(shown: tuple[SmallProject, str]) -> SmallProject:
    return shown[0]


class TestGallery:
    def test_shows_every_strategy_and_those_of_ones_own(self, gallery: SmallProject) -> None:
        table = pd.read_csv(gallery.path("08_reporting/strategies.csv"))
        assert table["strategy"].tolist() == [*STRATEGIES, "lines"]
        page = gallery.path("08_reporting/strategies.html").read_text(encoding="utf-8")
        HTMLParser().feed(page)
        assert all(f"synthesis.strategy={name}" in page for name in table["strategy"])
        with Image.open(gallery.path("08_reporting/strategies.png")) as picture:
            assert picture.width > 400
            assert picture.height > 50 * len(table)

    def test_is_in_mlflow_with_the_dataset(self, gallery: SmallProject) -> None:
        experiment = gallery.client.get_experiment_by_name("daf-datasets")
        (run,) = gallery.client.search_runs([experiment.experiment_id])
        artifacts = {f.path for f in gallery.client.list_artifacts(run.info.run_id, "strategies")}
        names = ("strategies.csv", "strategies.html", "strategies.png")
        assert artifacts == {f"strategies/{name}" for name in names}

    def test_trains_nothing(self, gallery: SmallProject, elpv_project: SmallProject) -> None:
        assert len(gallery.runs()) == len(elpv_project.runs())

    def test_where_it_is_is_said(self, shown: tuple[SmallProject, str]) -> None:
        assert "strategies.html" in shown[1]

    def test_unknown_operator_is_one_message(self, project: SmallProject) -> None:
        own = {"lines": {"mask": "scars", "content": "plain_colour"}}
        result = project.invoke("--pipelines", "strategy_gallery", synthesis={"strategies": own})
        assert result.exit_code == 1
        assert "did you mean 'scar'?" in result.output
        assert "Traceback" not in result.output


class TestForeground:
    def test_is_cached_and_shown_for_a_strategy_on_the_object(
        self, mvtec_project: SmallProject, tmp_path: Path
    ) -> None:
        project = mvtec_project.copy(tmp_path / "project")
        project.run("outlier_synthesis", synthesis={"foreground": "object"})
        for split in ("train", "calibration"):
            objects = np.load(project.path(f"04_feature/{split}_foregrounds.npy"))
            images = load(project.path(f"03_primary/{split}"))
            assert objects.shape == images.images.shape[:3]
            shares = objects.mean(axis=(1, 2))
            assert (shares > 0.1).all()
            assert (shares < 0.8).all()
        outliers = load(project.path("05_model_input/synthetic_validation"))
        assert outliers.masks is not None
        allowed = objects.repeat(len(outliers) // len(objects), axis=0)
        assert not (outliers.masks.astype(bool) & ~allowed).any()
        with Image.open(project.path("08_reporting/foreground.png")) as picture:
            picture.verify()

    def test_trains_with_it(self, mvtec_project: SmallProject, tmp_path: Path) -> None:
        project = mvtec_project.copy(tmp_path / "project")
        pipelines = ("outlier_synthesis", "teacher_student_training", "decoder_training")
        project.run(*pipelines, synthesis={"strategy": "nsa"})
        assert project.path("06_models/trained").is_dir()

    def test_nothing_is_cached_for_a_strategy_that_does_not_ask(
        self, elpv_project: SmallProject
    ) -> None:
        objects = np.load(elpv_project.path("04_feature/train_foregrounds.npy"))
        assert objects.shape == (0, 64, 64)
