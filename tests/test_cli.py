"""The command line as a user meets it: every mistake ends in one clear message."""

import errno
import importlib
import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pandas as pd
import pytest
from click.testing import Result
from kedro.io import DatasetError
from PIL import Image

from daf_pipelines.__main__ import main
from daf_pipelines.cli import _explain, _without_traceback
from daf_pipelines.datasets import TextDataset
from daf_pipelines.locks import locked
from small_project import ROOT, SmallProject

PATIENCE_SECONDS = 60


def message(result: Result) -> str:
    """The one message that a run ends with: exit status 1, and nothing else that alarms."""
    assert result.exit_code == 1, result.output
    assert isinstance(result.exception, SystemExit), result.exception
    assert result.output.count("Error: ") == 1
    for alarm in ("Traceback", "ERROR", "WARNING"):
        assert alarm not in result.output
    return result.output.split("Error: ")[1].strip()


def written(project: SmallProject) -> set[str]:
    """Files of the project."""
    folder = project.path("")
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


class TestParameters:
    @pytest.mark.parametrize(
        ("changes", "expected"),
        [
            ({"datset": {"source": "elpv"}}, ["datset: unknown parameter", "dataset"]),
            ({"dataset": {"sise": 64}}, ["dataset.sise: unknown parameter", "image_size"]),
            (
                {"model": {"teacher": {"wights": "hub"}}},
                ["model.teacher.wights: unknown parameter", "backbone, weights"],
            ),
            ({"dataset": {"image_size": "big"}}, ["dataset.image_size", "integer", "'big'"]),
            ({"dataset": {"image_size": 100}}, ["dataset.image_size", "multiple of 16", "100"]),
            ({"dataset": "elpv"}, ["dataset:", "a section", "'elpv'"]),
            ({"seed": "zero"}, ["seed", "integer", "'zero'"]),
            ({"seed": -1}, ["seed", "greater than or equal to 0", "-1"]),
            (
                {"model": {"discrepancy": {"structure": "ssin"}}},
                ["model.discrepancy.structure", "'ssim', 'squared' or 'none'", "'ssin'"],
            ),
            (
                {"model": {"discrepancy": {"structure": "none", "cosine": False}}},
                ["model.discrepancy: structure: none and cosine: false", "set one of them"],
            ),
            (
                {"threshold": {"pixel": {"rule": "fixed"}}},
                ["threshold.pixel", "`value` goes with `rule: fixed`"],
            ),
            ({"decoder_training": {"warm_up": 99}}, ["decoder_training", "warm_up", "99"]),
            (
                {"scoring": {"discrepancy_weight": 0, "segmentation_weight": 0}},
                ["scoring: discrepancy_weight", "both 0", "above 0"],
            ),
            (
                {"decoder_training": {"length": 0}},
                ["decoder_training.length: 0", "set scoring.segmentation_weight to 0; got 30"],
            ),
            ({"inference": {"images": 3}}, ["inference.images", "3"]),
            ({"synthesis": {"strategy": "drem"}}, ["synthesis.strategy", "drem", "draem"]),
            (
                {"synthesis": {"strategies": {"own": {"mask": "perlin", "contnt": "x"}}}},
                ["synthesis.strategies.own.contnt: unknown parameter", "content"],
            ),
            (
                {"synthesis": {"strategies": {"own": {"mask": "perlin", "content": 3}}}},
                ["synthesis.strategies.own.content", "3"],
            ),
            (
                {
                    "synthesis": {
                        "strategy": "own",
                        "strategies": {"own": {"mask": "perlim", "content": "plain_colour"}},
                    }
                },
                ["synthesis.strategies.own.mask: unknown mask 'perlim'", "perlin"],
            ),
            ({"dataset": {"source": "elpw"}}, ["dataset.source", "elpw", "elpv"]),
            ({"dataset": {"category": "mona"}}, ["dataset.category", "mona", "mono"]),
            ({"model": {"student": {"backbone": "resnet19"}}}, ["resnet19", "resnet18"]),
            ({"model": {"teacher": {"backbone": "resnet19"}}}, ["resnet19"]),
            (
                {"model": {"student": {"backbone": "vit_base_patch16_224"}}},
                ["vit_base_patch16_224", "4, 8 and 16"],
            ),
            (
                {"model": {"teacher": {"weights": "missing.safetensors"}}},
                ["model.teacher: weights", "missing.safetensors"],
            ),
            ({"synthesis": {"texture_root": "no/such/folder"}}, ["no/such/folder"]),
            ({"decoder_training": {"device": "gpu"}}, ["device", "gpu", "cuda:0"]),
        ],
        ids=str,
    )
    def test_mistake(
        self, project: SmallProject, changes: dict[str, Any], expected: list[str]
    ) -> None:
        text = message(project.invoke(**changes))
        assert all(part in text for part in expected), text
        assert len(text) < 600
        assert not project.path("06_models").exists()
        assert project.runs() == []

    def test_all_mistakes_at_once(self, project: SmallProject) -> None:
        text = message(
            project.invoke(seed="zero", scoring={"weight": 1}, threshold={"image": {"value": 2}})
        )
        assert all(part in text for part in ("seed:", "scoring.weight:", "threshold.image:"))


class TestOptions:
    def test_unknown_pipeline(self, project: SmallProject) -> None:
        text = message(project.invoke("--pipelines", "data_ingestion,evaluatoin"))
        assert "evaluatoin" in text
        assert "Did you mean 'evaluation'" in text

    def test_unknown_environment(self, project: SmallProject) -> None:
        assert "conf/papr" in message(project.invoke("--env", "papr"))

    @pytest.mark.parametrize(
        ("pipeline", "remedy"),
        [
            ("outlier_synthesis", "kedro run --pipelines data_ingestion"),
            ("teacher_student_training", "kedro run --pipelines data_ingestion"),
            ("decoder_training", "kedro run"),
            ("evaluation", "kedro run"),
            ("inference", "kedro run"),
        ],
    )
    def test_pipeline_without_what_it_starts_from(
        self, project: SmallProject, pipeline: str, remedy: str
    ) -> None:
        text = message(project.invoke("--pipelines", pipeline))
        assert remedy in text
        assert str(project.folder) in text
        assert project.runs() == []

    def test_what_comes_after_the_training_is_checked_before_it(
        self, project: SmallProject
    ) -> None:
        text = message(project.invoke("--pipelines", "__default__,inference"))
        assert "inference.images is not set" in text
        tried = {"transfer": {"strategies": {"nsa": {"foregruond": "object"}}}}
        text = message(project.invoke("--pipelines", "__default__,strategy_transfer", **tried))
        assert "transfer.strategies.nsa.foregruond" in text
        assert project.runs() == []

    @pytest.mark.parametrize("name", ["textures.npy", "synthesis.json"])
    def test_missing_file_between_stages(
        self, elpv_project: SmallProject, tmp_path: Path, name: str
    ) -> None:
        project = elpv_project.copy(tmp_path / "project")
        project.path(f"04_feature/{name}").unlink()
        text = message(project.invoke("--pipelines", "teacher_student_training"))
        assert f"{name} not found. Run the pipelines before this one: kedro run" in text

    @pytest.mark.parametrize(
        ("images", "expected"),
        [
            (None, "inference.images is not set"),
            ("no/such/folder", "no/such/folder"),
            ("", "no image"),
        ],
    )
    def test_inference_without_images(
        self, elpv_project: SmallProject, tmp_path: Path, images: str | None, expected: str
    ) -> None:
        given = {} if images is None else {"inference": {"images": images or str(tmp_path)}}
        text = message(elpv_project.invoke("--pipelines", "inference", **given))
        assert expected in text


def made(files: set[str]) -> set[str]:
    """Without the textures, which do not wait for images, and what a run goes on from."""
    return {
        f for f in files if not f.startswith(("04_feature/textures", "02_intermediate/decoded"))
    }


def defective(root: Path, name: str) -> Path:
    return root / "toothbrush" / "test" / "defective" / name


def zero_bytes(root: Path) -> str:
    first(root / "toothbrush/train/good").write_bytes(b"")
    return "0 bytes"


def truncated(root: Path) -> str:
    file = first(root / "toothbrush/test/good")
    file.write_bytes(file.read_bytes()[:5000])
    return file.name


def no_image(root: Path) -> str:
    first(root / "toothbrush/train/good").write_text("a text")
    return "not a readable image"


def mask_without_image(root: Path) -> str:
    first(root / "toothbrush/test/defective").unlink()
    return "a mask without its image"


def mask_of_another_size(root: Path) -> str:
    file = first(root / "toothbrush/ground_truth/defective")
    Image.open(file).resize((100, 80)).save(file)
    return "100x80"


def same_in_train_and_test(root: Path) -> str:
    shutil.copy(first(root / "toothbrush/train/good"), root / "toothbrush/test/good/again.png")
    return "same content as the training image"


def no_normals(root: Path) -> str:
    for file in (root / "toothbrush/train/good").iterdir():
        file.unlink()
    return "at least 2 are needed"


def one_normal(root: Path) -> str:
    for file in sorted((root / "toothbrush/train/good").iterdir())[1:]:
        file.unlink()
    return "only 1 normal image"


def no_train_folder(root: Path) -> str:
    shutil.rmtree(root / "toothbrush/train")
    return "train/good"


def no_category(root: Path) -> str:
    shutil.rmtree(root / "toothbrush")
    return "Expected MVTec AD's layout"


def no_root(root: Path) -> str:
    shutil.rmtree(root)
    return "not an existing folder"


def first(folder: Path) -> Path:
    return min(folder.iterdir())


class TestImages:
    @pytest.mark.parametrize(
        "spoil",
        [
            zero_bytes,
            truncated,
            no_image,
            mask_without_image,
            mask_of_another_size,
            same_in_train_and_test,
            no_normals,
            one_normal,
            no_train_folder,
            no_category,
            no_root,
        ],
    )
    def test_bad_dataset(
        self, spoil: Any, toothbrushes: Path, empty_store: Path, tmp_path: Path
    ) -> None:
        root = tmp_path / "images"
        shutil.copytree(toothbrushes, root)
        expected = spoil(root)
        dataset = {"source": "mvtec_ad", "root": str(root)}
        project = SmallProject(tmp_path / "project", dataset, empty_store)
        text = message(project.invoke())
        assert expected in text
        assert str(root) in text
        assert made(written(project)) <= {"08_reporting/data_checks.csv"}
        assert project.runs() == []

    def test_two_normals_are_enough(
        self, toothbrushes: Path, empty_store: Path, tmp_path: Path
    ) -> None:
        root = tmp_path / "images"
        shutil.copytree(toothbrushes, root)
        for file in sorted((root / "toothbrush/train/good").iterdir())[2:]:
            file.unlink()
        dataset = {"source": "mvtec_ad", "root": str(root)}
        project = SmallProject(tmp_path / "project", dataset, empty_store)
        length = {"length": 2}
        result = project.invoke(teacher_student_training=length, decoder_training=length)
        assert result.exit_code == 0, result.output
        assert len(project.scores()) == 8

    def test_bad_dataset_leaves_the_prepared_one(
        self, elpv_project: SmallProject, elpv_cells: Path, tmp_path: Path
    ) -> None:
        project = elpv_project.copy(tmp_path / "project")
        root = tmp_path / "cells"
        shutil.copytree(elpv_cells, root)
        first(root / "images").write_bytes(b"")
        before = {name: project.path(name).stat().st_mtime_ns for name in written(project)}
        text = message(project.invoke(dataset={"root": str(root)}))
        assert "0 bytes" in text
        after = {name: project.path(name).stat().st_mtime_ns for name in written(project)}
        changed = {name for name in after if after[name] != before.get(name)}
        assert made(changed) == {"08_reporting/data_checks.csv"}


def refusing(number: int) -> Callable[..., None]:
    """In place of a function that takes a path first: its user may not."""

    def refuse(path: Path, *_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number), str(path))

    return refuse


class TestExplanations:
    def test_full_disk_while_an_output_is_saved(self) -> None:
        error = DatasetError("Failed while saving data to dataset")
        error.__cause__ = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "a/student.pt")
        text = _explain(error)
        assert text is not None
        assert text.startswith("No space left on device: a/student.pt. Free space")
        assert "the same command goes on from the last checkpoint" in text

    @pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR])
    def test_folder_of_a_lock_that_cannot_be_written(
        self, number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        lock = tmp_path / "inference.lock"

        def run(**_: object) -> None:
            with monkeypatch.context() as patch:
                patch.setattr(os, "open", refusing(number))
                with locked(lock, "Inference"):
                    raise AssertionError

        with pytest.raises(click.ClickException) as caught:
            _without_traceback(run)(pipelines=[], pipeline=None)
        text = caught.value.format_message()
        assert text.startswith(f"{os.strerror(number)}: {lock}. Make it readable, and writable")
        assert "another folder" in text
        assert "--params data_dir=FOLDER" in text

    def test_output_that_cannot_be_written(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        page = TextDataset(filepath=str(tmp_path / "comparison.html"))
        monkeypatch.setattr(Path, "mkdir", refusing(errno.EACCES))
        with pytest.raises(DatasetError) as caught:
            page.save("a page")
        text = _explain(caught.value)
        assert text is not None
        assert text.startswith(f"Permission denied: {tmp_path}. Make it readable, and writable")

    def test_other_errors_keep_their_traceback(self) -> None:
        assert _explain(OSError(errno.EIO, "Input/output error")) is None
        assert _explain(OSError(errno.EPERM, "Operation not permitted")) is None  # of no file

    def test_stopped_at_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def stopped(**_: object) -> None:
            raise KeyboardInterrupt

        with pytest.raises(click.exceptions.Exit) as caught:
            _without_traceback(stopped)(pipelines=[], pipeline=None)
        assert caught.value.exit_code == 130


class TestInference:
    def test_unreadable_file_is_reported_and_the_rest_scored(
        self, elpv_project: SmallProject, tmp_path: Path
    ) -> None:
        cells = Path(elpv_project.params["dataset"]["root"]) / "images"
        shutil.copy(first(cells), tmp_path / "a.png")
        (tmp_path / "b.png").write_bytes(b"")
        Image.open(first(cells)).resize((333, 77)).convert("RGBA").save(tmp_path / "c.tiff")
        images = {"inference": {"images": str(tmp_path)}}
        result = elpv_project.invoke("--pipelines", "inference", **images)
        assert result.exit_code == 0, result.output
        assert "3 images: " in result.output
        assert "1 unreadable" in result.output
        table = pd.read_csv(elpv_project.path("07_model_output/inference/predictions.csv"))
        assert table["path"].tolist() == [str(tmp_path / n) for n in ("a.png", "b.png", "c.tiff")]
        assert table["score"].isna().tolist() == [False, True, False]
        assert table["label"].isna().tolist() == [False, True, False]
        assert "0 bytes" in table["error"][1]
        heatmap = elpv_project.path("07_model_output/inference") / table["heatmap"][2]
        assert Image.open(heatmap).size == (333, 77)


class TestResults:
    def test_ends_with_a_table(self, elpv_project: SmallProject, tmp_path: Path) -> None:
        project = elpv_project.copy(tmp_path / "project")
        result = project.invoke("--pipelines", "evaluation")
        assert result.exit_code == 0, result.output
        assert f"{project.metrics()['image_auroc']:.4f}" in result.output
        assert str(project.path("08_reporting")) in result.output
        assert f"mlflow ui --backend-store-uri {project.uri}" in result.output


def execute(
    command: list[str], project: SmallProject, folder: Path = ROOT
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=folder,
        env=project.environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_SECONDS,
    )


class TestProcesses:
    @pytest.mark.skipif(sys.platform != "linux", reason="other systems have another OpenMP")
    def test_waiting_threads_spin_for_a_moment(
        self, project: SmallProject, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
        monkeypatch.setenv("OMP_DISPLAY_ENV", "verbose")  # told when torch is imported
        result = execute(project.command(synthesis={"strategy": "drem"}), project)
        assert "GOMP_SPINCOUNT = '20000'" in result.stderr

    def test_kedro_run_with_a_mistake(self, project: SmallProject) -> None:
        result = execute(project.command(synthesis={"strategy": "drem"}), project)
        assert result.returncode == 1
        output = result.stdout + result.stderr
        assert output.count("Error: synthesis.strategy: unknown strategy 'drem'") == 1
        assert "Traceback" not in output

    def test_module_runs_a_pipeline(self, project: SmallProject) -> None:
        arguments = project.arguments("--pipelines", "data_ingestion")[1:]
        result = execute([sys.executable, "-m", "daf_pipelines", *arguments], project)
        assert result.returncode == 0, result.stdout + result.stderr
        summary = json.loads(project.path("08_reporting/dataset.json").read_text())
        assert sum(summary["images"]["train"].values()) == 9

    def test_module_outside_of_the_project(self, project: SmallProject, tmp_path: Path) -> None:
        result = execute([sys.executable, "-m", "daf_pipelines"], project, tmp_path)
        assert result.returncode == 1
        output = result.stdout + result.stderr
        assert "Traceback" not in output
        assert "conf" in output


def test_command_of_the_installed_package_is_the_module() -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    module, _, function = scripts["daf-pipelines"].partition(":")
    assert getattr(importlib.import_module(module), function) is main
