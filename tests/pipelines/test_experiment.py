"""The experiment from images to report, on real images."""

import html
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from daf_pipelines.metrics import IMAGE_METRICS, PIXEL_METRICS
from daf_pipelines.pipeline_registry import EXPERIMENT
from daf_pipelines.reporting.words import score_text
from daf_pipelines.run_parameters import RunParameters
from daf_pipelines.study.plan import merged
from small_project import ROOT, SmallProject

PICTURES = (
    "synthesis_preview",
    "mask_statistics",
    "detections",
)


class TestOutputs:
    def test_metrics_of_elpv(self, elpv_project: SmallProject) -> None:
        metrics = elpv_project.metrics()
        assert all(0 <= metrics[name] <= 1 for name in IMAGE_METRICS)
        assert (metrics["n_test_normal"], metrics["n_test_anomalous"]) == (4, 5)
        assert metrics["n_excluded"] == 2
        assert metrics["train_seconds"] > 0
        assert 100 < metrics["peak_rss_mib"] < 10_000

    def test_metrics_that_need_masks_are_null_with_a_reason(
        self, elpv_project: SmallProject
    ) -> None:
        metrics = elpv_project.metrics()
        assert [metrics[name] for name in PIXEL_METRICS] == [None] * 5
        assert all("mask" in metrics["not_available"][name] for name in PIXEL_METRICS)

    def test_metrics_of_mvtec_ad(self, mvtec_project: SmallProject) -> None:
        metrics = mvtec_project.metrics()
        assert all(0 <= metrics[name] <= 1 for name in (*IMAGE_METRICS, *PIXEL_METRICS))
        assert (metrics["n_test_normal"], metrics["n_test_anomalous"]) == (3, 5)
        assert metrics["not_available"] == {}
        for name, (low, high) in metrics["intervals"].items():
            assert 0 <= low <= metrics[name] <= high <= 1, name

    @pytest.mark.parametrize("name", ["elpv_project", "mvtec_project"])
    def test_one_score_for_every_test_image(
        self, name: str, request: pytest.FixtureRequest
    ) -> None:
        project: SmallProject = request.getfixturevalue(name)
        scores = project.scores()
        manifest = pd.read_parquet(project.path("02_intermediate/manifest.parquet"))
        test = manifest[manifest["split"] == "test"].sort_values("path").reset_index(drop=True)
        assert {"path", "label", "defect_type", "score"} <= set(scores.columns)
        assert scores["path"].tolist() == test["path"].tolist()
        assert scores["label"].tolist() == test["label"].tolist()
        assert scores["defect_type"].tolist() == test["defect_type"].tolist()
        assert scores["score"].nunique() == len(scores)

    @pytest.mark.parametrize("name", PICTURES)
    def test_pictures_can_be_opened(self, elpv_project: SmallProject, name: str) -> None:
        with Image.open(elpv_project.path(f"08_reporting/{name}.png")) as picture:
            picture.verify()
            assert min(picture.size) > 100

    def test_nothing_half_written_or_left_over(self, elpv_project: SmallProject) -> None:
        files = [p for p in elpv_project.path("").rglob("*") if p.is_file()]
        assert not [p for p in files if "tmp" in p.name or "partial" in p.as_posix()]
        assert list(elpv_project.path("06_models/checkpoints").iterdir()) == []


class TestReport:
    """What people see, from one evaluation of toothbrushes with masks."""

    def test_labels_are_those_of_the_threshold(self, mvtec_project: SmallProject) -> None:
        scores, metrics = mvtec_project.scores(), mvtec_project.metrics()
        above = scores["raw_score"] > metrics["image_threshold"]
        assert (above == scores["predicted"]).all()
        assert (above == (scores["score"] > 0.5)).all()
        wrong = int((scores["predicted"] != scores["label"]).sum())
        assert metrics["n_mistakes"] == wrong
        assert metrics["recall"] == scores.loc[scores["label"] == 1, "predicted"].mean()

    def test_synthetic_outliers(self, mvtec_project: SmallProject) -> None:
        table = pd.read_csv(mvtec_project.path("08_reporting/calibration_scores.csv"))
        metrics = mvtec_project.metrics()
        outliers, normals = (table.loc[table["label"] == k, "raw_score"] for k in (1, 0))
        above = (outliers > metrics["image_threshold"]).mean()
        assert metrics["synthetic_recall"] == pytest.approx(above)
        pairs = [np.sign(a - b) / 2 + 0.5 for a in outliers for b in normals]
        assert metrics["synthetic_image_auroc"] == pytest.approx(np.mean(pairs))
        page = mvtec_project.path("08_reporting/report.html").read_text(encoding="utf-8")
        assert f"AUROC of {score_text(metrics['synthetic_image_auroc'])}: that says" in page
        assert "mvtec_ad toothbrush: daf, outliers of " in page
        (run,) = mvtec_project.runs()
        assert run.data.metrics["synthetic/synthetic_recall"] == pytest.approx(above)

    def test_thresholds_of_every_rule_and_level(self, mvtec_project: SmallProject) -> None:
        table = pd.read_csv(mvtec_project.path("08_reporting/thresholds.csv"))
        rules = ["normals", "synthetic", "best on test"]
        assert table["rule"].tolist() == rules * 2
        assert table.loc[table["in_use"], "rule"].tolist() == ["normals"] * 2
        assert table.loc[table["in_use"], "score"].tolist() == [0.5, 0.5]
        best = table[table["rule"] == "best on test"].set_index("level")["f1"]
        metrics = mvtec_project.metrics()
        assert best["image"] == pytest.approx(metrics["image_f1_max"])
        assert best["pixel"] == pytest.approx(metrics["pixel_f1_max"])
        assert table.groupby("level")["f1"].max().to_dict() == pytest.approx(best.to_dict())

    def test_curves_give_the_metrics(self, mvtec_project: SmallProject) -> None:
        areas = {}
        for name in ("image_roc", "pixel_roc", "pro"):
            curve = pd.read_csv(mvtec_project.path(f"08_reporting/{name}.csv"))
            assert 2 <= len(curve) <= 1002
            x, y = curve.to_numpy().T
            at_limit = 0.3 if name == "pro" else 1.0
            if at_limit not in x:
                y = np.append(y[x < at_limit], np.interp(at_limit, x, y))
                x = np.append(x[x < at_limit], at_limit)
            x, y = x[x <= at_limit], y[x <= at_limit]
            areas[name] = np.trapezoid(y, x) / at_limit
        metrics = mvtec_project.metrics()
        assert areas["image_roc"] == pytest.approx(metrics["image_auroc"])
        assert areas["pixel_roc"] == pytest.approx(metrics["pixel_auroc"], abs=2e-3)
        assert areas["pro"] == pytest.approx(metrics["aupro_030"], abs=2e-3)

    def test_every_region_is_there(self, mvtec_project: SmallProject) -> None:
        regions = pd.read_csv(mvtec_project.path("08_reporting/regions.csv"))
        masks = np.load(mvtec_project.path("03_primary/test/masks.npy"))
        assert regions["area"].sum() * masks[0].size == pytest.approx(masks.sum())
        assert regions["overlap"].between(0, 1).all()

    def test_the_page_shows_the_numbers(self, mvtec_project: SmallProject) -> None:
        page = mvtec_project.path("08_reporting/report.html").read_text(encoding="utf-8")
        assert f"{mvtec_project.metrics()['image_auroc']:.3f}" in page
        assert "https://" not in page
        assert len(page) < 5_000_000

    def test_parameters_of_the_page_make_the_experiment_again(
        self, mvtec_project: SmallProject
    ) -> None:
        page = mvtec_project.path("08_reporting/report.html").read_text(encoding="utf-8")
        text = html.unescape(page.split("<pre", 1)[1].split(">", 1)[1].split("</pre>", 1)[0])
        again = RunParameters.of(merged(defaults(), yaml.safe_load(text)))
        asked = RunParameters.of(merged(defaults(), mvtec_project.params))
        incidental = {"device", "checkpoint_every"}
        for name in ("teacher_student_training", "decoder_training"):
            found, wanted = (
                getattr(p, name).model_dump(exclude=incidental) for p in (again, asked)
            )
            assert found == wanted
        for name in ("seed", "model", "scoring", "threshold"):
            assert getattr(again, name) == getattr(asked, name)
        assert again.dataset.root == asked.dataset.root
        assert again.synthesis.strategy == asked.synthesis.strategy

    def test_thumbnails_are_pictures_of_the_test_images(self, mvtec_project: SmallProject) -> None:
        table = pd.read_parquet(mvtec_project.path("08_reporting/thumbnails.parquet"))
        assert sorted(table["path"]) == mvtec_project.scores()["path"].tolist()
        for row in table.itertuples():
            sizes = {Image.open(io.BytesIO(d)).size for d in (row.image, row.heat, row.mask)}
            assert sizes == {(64, 64)}


def defaults() -> dict[str, Any]:
    """The parameters of conf/base."""
    text = (ROOT / "conf/base/parameters.yml").read_text(encoding="utf-8")
    values: dict[str, Any] = yaml.safe_load(text)
    return values


@pytest.fixture(scope="module")
def staged(
    elpv_project: SmallProject, empty_store: Path, tmp_path_factory: pytest.TempPathFactory
) -> SmallProject:
    """The experiment of ``elpv_project``, one pipeline a session."""
    folder = tmp_path_factory.mktemp("staged")
    project = SmallProject(folder, elpv_project.params["dataset"], empty_store)
    for name in EXPERIMENT:
        project.run(name)
    return project


class TestStageByStage:
    def test_scores_are_those_of_the_full_run(
        self, staged: SmallProject, elpv_project: SmallProject
    ) -> None:
        pd.testing.assert_frame_equal(staged.scores(), elpv_project.scores(), rtol=0, atol=1e-5)

    def test_threshold_is_that_of_the_full_run(
        self, staged: SmallProject, elpv_project: SmallProject
    ) -> None:
        for name in ("image_threshold", "pixel_threshold"):
            expected = pytest.approx(elpv_project.metrics()[name], abs=1e-4)
            assert staged.metrics()[name] == expected

    def test_is_one_mlflow_run_with_the_same_contents(
        self, staged: SmallProject, elpv_project: SmallProject
    ) -> None:
        (run,), (whole,) = staged.runs(), elpv_project.runs()
        assert run.info.status == "FINISHED"
        different = {"data_dir", "mlflow.user", "mlflow.runName"}
        assert {k: v for k, v in run.data.tags.items() if k not in different} == {
            k: v for k, v in whole.data.tags.items() if k not in different
        }
        assert run.data.params == whole.data.params
        assert run.data.metrics.keys() == whole.data.metrics.keys()
        assert artifacts(staged) == artifacts(elpv_project)
        (entry,), (other,) = run.inputs.dataset_inputs, whole.inputs.dataset_inputs
        assert entry.dataset.digest == other.dataset.digest


def artifacts(project: SmallProject) -> set[str]:
    """Paths of the artifacts of the project's only run."""
    (run,) = project.runs()

    def walk(folder: str | None) -> set[str]:
        entries = project.client.list_artifacts(run.info.run_id, folder)
        return set().union(*(walk(e.path) if e.is_dir else {e.path} for e in entries))

    return walk(None)


@pytest.fixture(scope="module")
def predictions(elpv_project: SmallProject) -> pd.DataFrame:
    root = elpv_project.params["dataset"]["root"]
    elpv_project.run("inference", inference={"images": f"{root}/images"})
    return pd.read_csv(elpv_project.path("07_model_output/inference/predictions.csv"))


class TestInference:
    def test_scores_are_those_of_the_evaluation(
        self, predictions: pd.DataFrame, elpv_project: SmallProject
    ) -> None:
        scores = elpv_project.scores()
        assert len(predictions) == 21
        names = predictions["path"].str.extract(r"(images/cell\d+\.png)$")[0]
        found = predictions.set_index(names).loc[scores["path"]]
        assert found["score"].to_numpy() == pytest.approx(scores["score"].to_numpy(), abs=1e-5)
        assert found["label"].tolist() == scores["predicted"].tolist()
        areas = scores["anomalous_area"].to_numpy()
        assert found["anomalous_area"].to_numpy() == pytest.approx(areas, abs=1e-3)

    def test_every_image_has_a_heatmap_of_its_size(
        self, predictions: pd.DataFrame, elpv_project: SmallProject
    ) -> None:
        folder = elpv_project.path("07_model_output/inference")
        for name in predictions["heatmap"]:
            with Image.open(folder / name) as picture:
                assert picture.size == (300, 300)

    def test_makes_no_mlflow_run(
        self, predictions: pd.DataFrame, elpv_project: SmallProject
    ) -> None:
        assert len(elpv_project.runs()) == 1


class TestPaperRecipe:
    def test_parameters_are_the_published_ones(self, project: SmallProject) -> None:
        project.params = {}
        params = RunParameters.of(project.context(env="paper").config_loader["parameters"])
        model, training = params.model, params.decoder_training
        assert params.dataset.image_size == 256
        assert params.synthesis.strategy == "simple_texture"
        assert (model.teacher.backbone, model.student.backbone) == ("resnet18", "resnet18")
        assert model.student.weights == "none"
        assert model.discrepancy.model_dump() == {
            "structure": "ssim",
            "cosine": True,
            "normalise": "none",
        }
        assert (model.input.channels, model.input.normalise) == ("rgb", "backbone")
        assert (model.decoder.width, model.decoder.cue) == (256, "discrepancy")
        assert model.auxiliary_heads
        assert params.teacher_student_training.length == 0
        assert (training.train_student, training.teacher_sees) == (True, "normal")
        assert training.shuffle
        assert (training.unit, training.length, training.batch_size) == ("epochs", 1200, 8)
        assert (training.learning_rate, training.weight_decay) == (2e-4, 1e-5)
        assert (training.schedule, training.warm_up) == ("multistep", 50)
        assert (training.milestones, training.gamma) == ((650, 950), 0.2)
        assert params.scoring.model_dump() == {
            "discrepancy_weight": 1.0,
            "segmentation_weight": 3.0,
            "blur_sigma": 4.0,
            "top_pixels": 50,
        }

    def test_trains_jointly(self, project: SmallProject, resnet18_weights: str) -> None:
        short = {"unit": "steps", "batch_size": 2, "warm_up": 1, "milestones": [2]}
        project.run(
            env="paper",
            dataset={"image_size": 96},
            model={"teacher": {"weights": resnet18_weights}, "decoder": {"width": 16}},
            teacher_student_training={"length": 0},
            decoder_training={**short, "length": 3},
        )
        history = pd.read_csv(project.path("08_reporting/decoder_losses.csv"))
        assert {"seg", "kd", "dis"} <= set(history.columns)
        assert history["learning_rate"].tolist() == pytest.approx([2e-4, 2e-4, 4e-5])
        before, after = (
            project.path(f"06_models/{name}/model.safetensors") for name in ("student", "trained")
        )
        from safetensors.torch import load_file

        changed = [k for k, v in load_file(after).items() if not v.equal(load_file(before)[k])]
        assert any(k.startswith("student.") for k in changed)
        assert not any(k.startswith("teacher.") for k in changed)
        config = json.loads(project.path("06_models/detector/config.json").read_text())
        assert config["image_size"] == 96


@pytest.fixture
def resnet18_weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A local file of (random) ResNet-18 weights."""
    import timm
    from safetensors.torch import save_file

    file = tmp_path_factory.mktemp("weights") / "resnet18.safetensors"
    save_file(timm.create_model("resnet18").state_dict(), file)
    return str(file)
