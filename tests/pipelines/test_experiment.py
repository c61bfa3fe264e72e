"""The experiment from images to report, on real images."""

import json
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from daf_pipelines.pipeline_registry import EXPERIMENT
from daf_pipelines.run_parameters import RunParameters
from small_project import SmallProject

IMAGE_METRICS = ("image_auroc", "image_ap")
PIXEL_METRICS = ("pixel_auroc", "pixel_ap", "aupro_030")
PICTURES = (
    "synthesis_preview",
    "mask_statistics",
    "score_histogram",
    "roc",
    "precision_recall",
    "test_images",
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
        assert [metrics[name] for name in PIXEL_METRICS] == [None, None, None]
        assert all("mask" in metrics["not_available"][name] for name in PIXEL_METRICS)

    def test_metrics_of_mvtec_ad(self, mvtec_project: SmallProject) -> None:
        metrics = mvtec_project.metrics()
        assert all(0 <= metrics[name] <= 1 for name in (*IMAGE_METRICS, *PIXEL_METRICS))
        assert (metrics["n_test_normal"], metrics["n_test_anomalous"]) == (3, 5)
        assert metrics["not_available"] == {}

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
        expected = pytest.approx(elpv_project.metrics()["threshold"], abs=1e-5)
        assert staged.metrics()["threshold"] == expected

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
        assert (found["threshold"] - elpv_project.metrics()["threshold"]).abs().max() < 1e-9

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
        assert (model.discrepancy.structure, model.discrepancy.normalise) == ("ssim", "none")
        assert (model.decoder.width, model.auxiliary_heads) == (256, True)
        assert params.teacher_student_training.length == 0
        assert (training.train_student, training.teacher_sees) == (True, "normal")
        assert (training.unit, training.length, training.batch_size) == ("epochs", 1200, 8)
        assert (training.learning_rate, training.weight_decay) == (2e-4, 1e-5)
        assert (training.schedule, training.warm_up) == ("multistep", 50)
        assert (training.milestones, training.gamma) == ((650, 950), 0.2)
        assert params.scoring.model_dump() == {
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
