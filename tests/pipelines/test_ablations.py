"""Experiments with a part of the method left out."""

import pandas as pd
import pytest
from safetensors.torch import load_file
from sklearn.metrics import roc_auc_score

from small_project import SmallProject


def test_without_a_trained_decoder(project: SmallProject) -> None:
    project.run(decoder_training={"length": 0}, scoring={"segmentation_weight": 0})
    student, trained = (
        load_file(project.path(f"06_models/{name}/model.safetensors"))
        for name in ("student", "trained")
    )
    assert student.keys() == trained.keys()
    assert all(value.equal(student[name]) for name, value in trained.items())
    history = pd.read_csv(project.path("08_reporting/decoder_losses.csv"))
    assert history.columns.tolist() == ["step", "epoch", "learning_rate"]
    assert len(history) == 0

    scores = project.scores()
    assert scores["raw_score"].is_unique
    auroc = roc_auc_score(scores["label"], scores["raw_score"])
    assert project.metrics()["image_auroc"] == pytest.approx(auroc)
    assert project.path("08_reporting/report.html").is_file()
    (run,) = project.runs()
    assert run.info.status == "FINISHED"
    curves = {key.partition("/")[0] for key in run.data.metrics}
    assert "teacher_student" in curves
    assert "decoder" not in curves


def test_without_a_cue(project: SmallProject) -> None:
    project.run(
        model={"decoder": {"cue": "none"}},
        scoring={"discrepancy_weight": 0, "segmentation_weight": 1},
    )
    detector = load_file(project.path("06_models/detector/model.safetensors"))
    assert any(name.startswith("decoder.conv3") for name in detector)
    assert not any(name.startswith("decoder.fusion") for name in detector)
    assert project.scores()["raw_score"].between(0, 1).all()  # the mean of probabilities
