"""An experiment on good parts alone: nothing to test on, yet a detector with a threshold."""

import math
import shutil
from pathlib import Path

import pandas as pd
import pytest

from small_project import SmallProject


@pytest.fixture(scope="module")
def widgets(
    elpv_cells: Path, empty_store: Path, tmp_path_factory: pytest.TempPathFactory
) -> SmallProject:
    """The project on ten good parts, after ``kedro run``."""
    root = tmp_path_factory.mktemp("my-parts")
    good = root / "widget" / "train" / "good"
    good.mkdir(parents=True)
    labels = pd.read_csv(elpv_cells / "labels.csv", sep=r"\s+", header=None)
    for path in labels[labels[1] == 0][0][:10]:
        shutil.copy(elpv_cells / path, good)
    dataset = {"source": "mvtec_ad", "root": str(root)}
    made = SmallProject(tmp_path_factory.mktemp("widgets") / "project", dataset, empty_store)
    made.run()
    return made


class TestNormalsOnly:
    def test_metrics_say_why_there_are_none(self, widgets: SmallProject) -> None:
        metrics = widgets.metrics()
        assert (metrics["n_test_normal"], metrics["n_test_anomalous"]) == (0, 0)
        for name in ("image_auroc", "image_ap", "pixel_auroc", "pixel_ap", "aupro_030"):
            assert metrics[name] is None
            assert metrics["not_available"][name]

    def test_no_image_scores(self, widgets: SmallProject) -> None:
        scores = widgets.scores()
        assert len(scores) == 0
        assert {"path", "label", "defect_type", "score"} <= set(scores.columns)

    def test_detector_judges_new_images(self, widgets: SmallProject, elpv_cells: Path) -> None:
        images = sorted((elpv_cells / "images").iterdir())[:2]
        folder = widgets.folder / "new"
        folder.mkdir()
        for image in images:
            shutil.copy(image, folder)
        widgets.run("inference", inference={"images": str(folder)})
        table = pd.read_csv(widgets.path("07_model_output/inference/predictions.csv"))
        assert table["score"].notna().all()
        assert math.isfinite(widgets.metrics()["image_threshold"])
        above = table["raw_score"] > widgets.metrics()["image_threshold"]
        assert ((table["score"] > 0.5) == above).all()

    def test_the_run_is_finished_with_its_model(self, widgets: SmallProject) -> None:
        (run,) = widgets.runs()
        assert run.info.status == "FINISHED"
        assert widgets.client.get_model_version_by_alias("daf-mvtec_ad-widget", "candidate")
