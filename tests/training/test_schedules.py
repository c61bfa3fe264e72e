import math

import pytest

from daf_pipelines.parameters import DecoderTrainingParams
from daf_pipelines.training.schedules import learning_rate, total_steps

PAPER = DecoderTrainingParams(
    unit="epochs",
    length=1200,
    learning_rate=2e-4,
    schedule="multistep",
    warm_up=50,
    milestones=(650, 950),
    gamma=0.2,
)


def params(**values):
    return DecoderTrainingParams(**({"length": 100, "learning_rate": 0.1} | values))


class TestTotalSteps:
    def test_units(self):
        assert total_steps(params(length=7), 13) == 7
        assert total_steps(params(length=7, unit="epochs"), 13) == 91
        assert total_steps(PAPER, 30) == 36_000


class TestPaper:
    """1200 epochs, 50 of warm-up, x0.2 at 650 and 950."""

    @pytest.mark.parametrize("per_epoch", [1, 7, 30])
    @pytest.mark.parametrize(
        ("epoch", "rate"),
        [
            (50, 2e-4),
            (649, 2e-4),
            (650, 4e-5),
            (949, 4e-5),
            (950, 8e-6),
            (1199, 8e-6),
        ],
    )
    def test_first_step_of_an_epoch(self, per_epoch, epoch, rate):
        found = learning_rate(PAPER, epoch * per_epoch, per_epoch)
        assert found == pytest.approx(rate, rel=1e-12)

    def test_last_step_before_a_milestone(self):
        assert learning_rate(PAPER, 650 * 7 - 1, 7) == pytest.approx(2e-4)
        assert learning_rate(PAPER, 950 * 7 - 1, 7) == pytest.approx(4e-5)

    def test_warm_up_is_linear_from_0(self):
        rates = [learning_rate(PAPER, step, 10) for step in range(500)]
        assert rates == pytest.approx([2e-4 * (step + 1) / 500 for step in range(500)])
        assert rates[-1] == pytest.approx(2e-4)


class TestCosine:
    def test_ends_and_middle(self):
        cosine = params(schedule="cosine")
        assert learning_rate(cosine, 0, 5) == 0.1
        assert learning_rate(cosine, 50, 5) == pytest.approx(0.05)
        assert learning_rate(cosine, 100, 5) == pytest.approx(0, abs=1e-17)
        assert 0 < learning_rate(cosine, 99, 5) < 0.1 * 3e-4

    def test_quarter(self):
        expected = 0.1 * (1 + math.sqrt(0.5)) / 2
        assert learning_rate(params(schedule="cosine"), 25, 5) == pytest.approx(expected)

    def test_epochs(self):
        by_epoch = params(schedule="cosine", unit="epochs", length=20)
        assert learning_rate(by_epoch, 37, 5) == learning_rate(params(schedule="cosine"), 37, 5)

    def test_with_warm_up(self):
        warm = params(schedule="cosine", warm_up=10)
        plain = params(schedule="cosine")
        assert learning_rate(warm, 4, 1) == pytest.approx(0.5 * learning_rate(plain, 4, 1))
        assert learning_rate(warm, 10, 1) == learning_rate(plain, 10, 1)


def test_constant():
    rates = [learning_rate(params(schedule="constant"), step, 3) for step in (0, 50, 99)]
    assert rates == [0.1, 0.1, 0.1]


def test_steps_as_unit_of_milestones_and_warm_up():
    stepped = params(schedule="multistep", milestones=(30, 60), gamma=0.5, warm_up=4)
    rates = [learning_rate(stepped, step, 10) for step in (0, 3, 29, 30, 59, 60, 99)]
    assert rates == pytest.approx([0.025, 0.1, 0.1, 0.05, 0.05, 0.025, 0.025])
