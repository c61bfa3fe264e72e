"""`conf/paper` is the published method: against its equations, in float64, with ResNet-18.

Only the size of the training images and the teacher's weights, which a hub has, are others.
"""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from kedro.config import OmegaConfigLoader
from torch import nn
from torch.nn import functional as F

import plain_daf
from daf_pipelines.models import DAF
from daf_pipelines.run_parameters import RunParameters
from daf_pipelines.scoring.detector import Detector, image_scores
from daf_pipelines.training import TrainingData, observed, phases, train_decoder
from daf_pipelines.training.batches import Batch

ROOT = Path(__file__).parents[1]
STEPS = 2


@pytest.fixture(scope="module")
def paper():
    """The parameters of `kedro run --env paper`."""
    loader = OmegaConfigLoader(
        str(ROOT / "conf"),
        base_env="base",
        default_run_env="paper",
        merge_strategy={"parameters": "soft"},
    )
    return RunParameters.of(loader["parameters"])


def randomise(model):
    """Batch norms as after some training: at first the last one of a residual block is 0."""
    for norm in (m for m in model.modules() if isinstance(m, nn.BatchNorm2d)):
        norm.weight.data.uniform_(0.5, 1.5)
        norm.bias.data.normal_(0, 0.1)
        norm.running_mean.normal_(0, 0.1)
        norm.running_var.uniform_(0.5, 1.5)


@pytest.fixture(scope="module")
def model(paper):
    """In evaluation mode; copy it before training."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = DAF(paper.model)
        randomise(made)
    return made.double().eval()


def some_images(count, size):
    """Smooth random colours, uint8 (count, 3, size, size)."""
    coarse = torch.rand(count, 3, 12, 12, generator=torch.Generator().manual_seed(3))
    images = F.interpolate(coarse, size=(size, size), mode="bicubic")
    return (255 * images.clamp(0, 1)).to(torch.uint8)


def close(found, expected, tolerance=1e-9):
    assert found.dtype == expected.dtype == torch.float64
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


class TestForward:
    """Of 256 x 256 pixels, at which blur and top pixels have the paper's numbers."""

    @pytest.fixture(scope="class")
    @classmethod
    def images(cls):
        return some_images(1, 256)

    @pytest.fixture(scope="class")
    @classmethod
    @torch.no_grad()
    def expected(cls, model, images):
        """Features of both networks, discrepancy maps, segmentation probability."""
        x = images.double() / 255
        teacher = plain_daf.resnet18(model.teacher, x)
        student = plain_daf.resnet18(model.student, x)
        return teacher, student, *plain_daf.outputs(model.decoder, teacher, student)

    @torch.no_grad()
    def test_features_and_maps_of_every_level(self, model, images, expected):
        teacher, student, maps, _ = expected
        x = images.double() / 255
        found_teacher, found = model.teacher_features(x), model.student_features(x)
        terms = model.discrepancy(found.projected, found_teacher)
        assert [f.shape[1:] for f in maps] == [(64, 64, 64), (128, 32, 32), (256, 16, 16)]
        for level in range(3):
            close(found_teacher[level].features, teacher[level])
            close(found.features[level], student[level])
            close(sum(terms[level]), maps[level])

    @torch.no_grad()
    def test_probability_anomaly_map_and_score(self, paper, model, images, expected):
        detector = Detector(model, paper.scoring, paper.dataset.image_size)
        *_, maps, probability = expected
        anomaly_map = plain_daf.anomaly_map(maps, probability)
        score = plain_daf.image_score(anomaly_map)
        outputs = model(images.double() / 255)
        close(outputs[1], probability)
        found = detector.combine(*outputs)
        close(found, anomaly_map)
        close(image_scores(found, paper.scoring), score)

        prediction = detector.score(images.permute(0, 2, 3, 1).numpy())  # in single precision
        np.testing.assert_allclose(prediction.maps, anomaly_map[:, 0].numpy(), rtol=1e-5)
        np.testing.assert_allclose(prediction.scores, score.numpy(), rtol=1e-5)


class Enough(Exception):  # noqa: N818
    """Ends the training of 1200 epochs."""


@pytest.fixture
def data(paper, tmp_path):
    return TrainingData(some_images(12, 96), None, paper.synthesis, 0, "f0", tmp_path)


class TestJointTraining:
    """Losses, gradients, weights and running statistics, step by step."""

    @pytest.fixture
    def training(self, paper):
        assert paper.teacher_student_training.length == 0
        return paper.decoder_training.model_copy(update={"device": "cpu"})

    @pytest.fixture
    def batches(self, data, training, monkeypatch):
        """The first batches, in float64, as training will get them; then it ends."""
        batch_of = phases.Batches.__getitem__

        def double(batches, step):
            batch = batch_of(batches, step)
            images = (batch.normals.double(), batch.outliers.double(), batch.masks.double())
            return Batch(batch.indices, *images)

        monkeypatch.setattr(phases.Batches, "__getitem__", double)
        made = data.batches(1, training, torch.device("cpu"))
        return [made[step] for step in range(STEPS)]

    def train(self, model, data, training, monkeypatch):
        """The state and the gradients after each step, and the history of losses."""
        states, histories = [], []
        batch_of = phases.Batches.__getitem__

        def watch(batches, step):
            if step:
                gradients = {k: p.grad for k, p in model.named_parameters() if p.grad is not None}
                states.append(copy.deepcopy((model.state_dict(), gradients)))
            if step == STEPS:
                raise Enough
            return batch_of(batches, step)

        monkeypatch.setattr(phases.Batches, "__getitem__", watch)
        with pytest.raises(Enough), observed(lambda _, history: histories.append(history)):
            train_decoder(model, data, training)
        return states, histories[-1]

    def test_equals_the_equations(self, model, data, training, batches, monkeypatch):
        plain = copy.deepcopy(model).train()
        states, history = self.train(copy.deepcopy(model), data, training, monkeypatch)
        names = [k for k, p in plain.named_parameters() if p.requires_grad]
        assert {name.partition(".")[0] for name in names} == {"student", "heads", "decoder"}
        optimiser = plain_daf.AdamW([plain.get_parameter(name) for name in names], decay=1e-5)
        for step, batch in enumerate(batches):
            assert len(batch.masks) == 8
            images = (batch.normals, batch.outliers, batch.masks)
            losses = plain_daf.training_losses(plain, *images, features_of=plain_daf.resnet18)
            expected = torch.autograd.grad(sum(losses.values()), optimiser.parameters)
            rate = 2e-4 * (step + 1) / (50 * 2)  # 50 epochs of warm-up, 2 steps each
            optimiser.step(expected, rate)

            for name, loss in losses.items():
                assert history.loc[step, name] == pytest.approx(loss.item(), rel=1e-9), name
            assert history.loc[step, "learning_rate"] == pytest.approx(rate, rel=1e-12)
            state, gradients = states[step]
            assert gradients.keys() == set(names)
            for name, gradient in zip(names, expected, strict=True):
                close(gradients[name], gradient)
            for name, value in plain.state_dict().items():
                if not name.endswith("num_batches_tracked"):
                    # Adam's steps are as long as the rate, which is tiny here.
                    error = (state[name] - value).abs().max()
                    assert error <= (1e-8 * rate if name in names else 1e-12), (step, name)
