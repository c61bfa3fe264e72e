import copy
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure

from daf_pipelines.parameters import DecoderTrainingParams, ScoringParams
from daf_pipelines.scoring.detector import Detector
from daf_pipelines.sources.image_set import ImageSet
from daf_pipelines.training import initialise, loop, pictures, train_decoder
from daf_pipelines.training.observers import observed
from daf_pipelines.training.pictures import OutlierPictures, at_rest

HISTORY = pd.DataFrame({"step": [0, 1, 2]})


def params(**values):
    return DecoderTrainingParams(device="cpu", batch_size=4, length=4, **values)


@pytest.fixture
def outliers(normals):
    """Nine images of which the left half is said to be an outlier."""
    images = normals.permute(0, 2, 3, 1).numpy()[[0, 1, 2, 3, 4, 5, 0, 1, 2]]
    masks = np.zeros(images.shape[:3], np.uint8)
    masks[:, :, :32] = 1
    table = pd.DataFrame({"path": [str(n) for n in range(9)]})
    return ImageSet(table, images, masks, {"resize": "square"})


@pytest.fixture
def model(model_params, normals):
    return initialise(model_params(), normals, 0)


def shown(model, outliers, found):
    return OutlierPictures(model, outliers, ScoringParams(), found.append)


class TestUndisturbed:
    @pytest.mark.parametrize("train_student", [True, False])
    def test_training_is_the_same_bit_for_bit(
        self, model, outliers, training_data, monkeypatch, tmp_path, train_student
    ):
        for name in ("TELL_EVERY_SECONDS", "FETCH_EVERY_SECONDS"):
            monkeypatch.setattr(loop, name, -1.0)
        monkeypatch.setattr(pictures, "SPACING", 0.0)
        monkeypatch.setattr(pictures, "LONGEST_SECONDS", 0.0)
        watched, found = copy.deepcopy(model), []
        with observed(shown(watched, outliers, found)):
            history = train_decoder(
                watched, training_data(), params(train_student=train_student)
            ).history
        assert len(found) == 5  # after each step, and at the end
        alone = train_decoder(
            model, training_data(checkpoints=tmp_path / "b"), params(train_student=train_student)
        ).history
        pd.testing.assert_frame_equal(history, alone, check_exact=True)
        states = watched.state_dict(), model.state_dict()
        assert all(torch.equal(states[0][k], states[1][k]) for k in states[1])

    def test_at_rest_leaves_each_part_in_its_mode(self, model):
        model.train()
        model.student.eval()
        modes = [part.training for part in model.modules()]
        with at_rest(model):
            assert not any(part.training for part in model.modules())
            assert not torch.is_grad_enabled()
        assert [part.training for part in model.modules()] == modes
        assert torch.is_grad_enabled()


class TestPicture:
    def test_shows_the_maps_of_the_detector(self, model, outliers, monkeypatch):
        drawn = []
        monkeypatch.setattr(pictures, "progress_figure", lambda *a: drawn.append(a) or Figure())
        shown(model, outliers, [])("decoder", HISTORY)
        ((images, masks, maps, steps),) = drawn
        rows = [0, 2, 3, 5, 6, 8]
        expected = Detector(copy.deepcopy(model), ScoringParams(), 64).score(outliers.images[rows])
        np.testing.assert_allclose(np.stack(maps), expected.maps, rtol=1e-5, atol=1e-5)
        assert np.array_equal(np.stack(images), outliers.images[rows])
        assert np.array_equal(np.stack(masks), outliers.masks[rows])
        assert steps == 3

    def test_says_what_it_is(self, model, outliers):
        found = []
        shown(model, outliers, found)("decoder", HISTORY)
        (figure,) = found
        assert [len(ax.images) for ax in figure.axes] == [1] * 18
        assert "Held-out images after 3 steps" in [text.get_text() for text in figure.texts]

    def test_of_the_decoder_only(self, model, outliers):
        found = []
        shown(model, outliers, found)("teacher-student", HISTORY)
        assert found == []


class TestCost:
    @pytest.mark.parametrize(("duration", "share"), [(0.001, 0.01), (4.0, 0.02)])
    def test_first_one_early_then_fewer(self, model, outliers, monkeypatch, duration, share):
        now, drawn = [0.0], []
        monkeypatch.setattr(pictures, "time", SimpleNamespace(monotonic=lambda: now[0]))
        watching = shown(model, outliers, [])

        def draw(_):
            drawn.append(now[0])
            now[0] += duration

        monkeypatch.setattr(watching, "_draw", draw)
        while now[0] < 20_000:
            now[0] += 15
            watching("decoder", HISTORY)
        assert drawn[0] == 15
        assert duration * len(drawn) <= share * now[0]
        assert max(np.diff(drawn)) <= 650
        if duration < 1:
            assert len(drawn) > 30
            assert drawn[1] < 50

    def test_failure_does_not_end_the_training(self, model, outliers, training_data, caplog):
        def fail(_):
            raise OSError("No space left on device")

        watching = OutlierPictures(model, outliers, ScoringParams(), fail)
        with observed(watching):
            assert len(train_decoder(model, training_data(), params()).history) == 4
        assert "No picture of the validation outliers (No space left on device)" in caplog.text
