import copy
import logging

import pandas as pd
import pytest
import torch
from torch import nn

from daf_pipelines.errors import DAFError, ParameterError
from daf_pipelines.parameters import DecoderTrainingParams
from daf_pipelines.training import loop
from daf_pipelines.training.checkpoints import Checkpoint
from daf_pipelines.training.loop import TrainingDivergedError, choose_device, run_phase
from daf_pipelines.training.schedules import learning_rate


class Numbers:
    """Batches of numbers: step s gives a tensor that follows from s."""

    steps_per_epoch = 4

    def __getitem__(self, step):
        generator = torch.Generator().manual_seed(step)
        return torch.randn(5, 3, generator=generator, dtype=torch.float64)


class Killed(BaseException):
    pass


class Toy:
    """A linear layer in double precision, and what it learns."""

    def __init__(self, tmp_path, fingerprint="f0", killed_at=None, **params):
        torch.manual_seed(0)
        self.modules = nn.ModuleDict({"layer": nn.Linear(3, 2).double()})
        self.params = DecoderTrainingParams(
            **({"length": 12, "learning_rate": 0.05, "checkpoint_every": 4} | params)
        )
        self.checkpoint = Checkpoint.of(tmp_path, "toy", fingerprint)
        self.killed_at = killed_at
        self.seen = []

    def losses(self, batch):
        if len(self.seen) == self.killed_at:
            raise Killed
        self.seen.append(batch)
        return self.terms(batch)

    def terms(self, batch):
        found = self.modules["layer"](batch)
        return {"a": (found - batch[:, :2]).square().mean(), "b": found.abs().mean()}

    def run(self):
        arguments = (self.modules, Numbers(), self.losses, self.params, self.checkpoint)
        return run_phase("toy", *arguments)

    @property
    def weights(self):
        return [p.detach() for p in self.modules.parameters()]


def same_weights(first, second):
    return all(torch.equal(a, b) for a, b in zip(first.weights, second.weights, strict=True))


class TestChooseDevice:
    def test_names(self):
        assert choose_device("cpu") == torch.device("cpu")
        auto = "cuda" if torch.cuda.is_available() else "cpu"
        assert choose_device("auto").type == auto

    @pytest.mark.parametrize("name", ["gpu", "cuda:99", ""])
    def test_not_there(self, name):
        with pytest.raises(ParameterError, match=rf"device: '{name}' is not available.*'auto'"):
            choose_device(name)


class TestOptimisation:
    @pytest.mark.parametrize(
        "params",
        [
            {"schedule": "constant", "weight_decay": 0.1},
            {"schedule": "multistep", "milestones": (5, 9), "warm_up": 3},
            {"schedule": "cosine", "unit": "epochs", "length": 3},
        ],
    )
    def test_equals_adamw_by_hand(self, tmp_path, params):
        toy = Toy(tmp_path, **params)
        plain = copy.deepcopy(toy)
        history = toy.run().history
        betas, eps, decay = (0.9, 0.999), 1e-8, toy.params.weight_decay
        weights = list(plain.modules.parameters())
        first = [torch.zeros_like(w) for w in weights]
        second = [torch.zeros_like(w) for w in weights]
        for step in range(12):
            terms = plain.terms(Numbers()[step])
            gradients = torch.autograd.grad(sum(terms.values()), weights)
            rate = learning_rate(plain.params, step, 4)
            with torch.no_grad():
                for w, g, m, v in zip(weights, gradients, first, second, strict=True):
                    w.mul_(1 - rate * decay)
                    m.mul_(betas[0]).add_((1 - betas[0]) * g)
                    v.mul_(betas[1]).add_((1 - betas[1]) * g * g)
                    unbiased = m / (1 - betas[0] ** (step + 1))
                    scale = (v / (1 - betas[1] ** (step + 1))).sqrt() + eps
                    w.sub_(rate * unbiased / scale)
            assert history.loc[step, "a"] == pytest.approx(terms["a"].item(), rel=1e-9)
            assert history.loc[step, "b"] == pytest.approx(terms["b"].item(), rel=1e-9)
            assert history.loc[step, "learning_rate"] == rate
        for found, expected in zip(toy.weights, weights, strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


class TestHistory:
    def test_a_row_a_step(self, tmp_path):
        result = Toy(tmp_path, schedule="constant").run()
        assert list(result.history.columns) == ["step", "epoch", "learning_rate", "a", "b"]
        assert result.history["step"].tolist() == list(range(12))
        assert result.history["epoch"].tolist() == [0] * 4 + [1] * 4 + [2] * 4
        assert result.seconds > 0
        assert result.history["a"].iloc[-1] < result.history["a"].iloc[0]

    def test_of_no_steps_can_be_written_and_read(self, tmp_path):
        toy = Toy(tmp_path)
        toy.params = toy.params.model_copy(update={"length": 0})
        before = copy.deepcopy(toy)
        history = toy.run().history
        assert same_weights(toy, before)
        history.to_csv(tmp_path / "h.csv", index=False)
        assert list(pd.read_csv(tmp_path / "h.csv").columns) == ["step", "epoch", "learning_rate"]

    def test_progress_is_logged_where_no_bar_is_shown(self, tmp_path, monkeypatch, caplog):
        monkeypatch.setattr(loop, "LOG_EVERY_SECONDS", -1.0)
        with caplog.at_level(logging.INFO):
            Toy(tmp_path).run()
        lines = [r.getMessage() for r in caplog.records if "step 12 of 12" in r.getMessage()]
        assert len(lines) == 1
        assert lines[0].startswith("toy: step 12 of 12, a 0.")
        assert lines[0].endswith("0 s left")


class TestResume:
    @pytest.mark.parametrize("killed_at", [4, 6, 11])
    def test_ends_in_the_weights_of_an_undisturbed_run(self, tmp_path, killed_at):
        undisturbed = Toy(tmp_path / "a")
        expected = undisturbed.run()
        killed = Toy(tmp_path / "b", killed_at=killed_at)
        with pytest.raises(Killed):
            killed.run()
        resumed = Toy(tmp_path / "b")
        result = resumed.run()
        assert len(resumed.seen) == 12 - killed_at // 4 * 4
        assert same_weights(resumed, undisturbed)
        pd.testing.assert_frame_equal(result.history, expected.history, check_exact=True)

    def test_before_the_first_checkpoint_it_starts_again(self, tmp_path):
        with pytest.raises(Killed):
            Toy(tmp_path, killed_at=3).run()
        resumed = Toy(tmp_path)
        resumed.run()
        assert len(resumed.seen) == 12

    def test_finished_phase_is_not_trained_again(self, tmp_path):
        first, second = Toy(tmp_path), Toy(tmp_path)
        history = first.run().history
        again = second.run()
        assert second.seen == []
        assert same_weights(first, second)
        pd.testing.assert_frame_equal(again.history, history)

    def test_last_step_is_always_kept(self, tmp_path):
        toy = Toy(tmp_path, length=7, checkpoint_every=4)
        toy.run()
        assert toy.checkpoint.load()["step"] == 7

    def test_time_of_all_sessions_counts(self, tmp_path):
        with pytest.raises(Killed):
            Toy(tmp_path, killed_at=9).run()
        toy = Toy(tmp_path)
        state = toy.checkpoint.load()
        assert state["seconds"] > 0
        toy.checkpoint.save(state | {"seconds": 1000.0})
        assert toy.run().seconds > 1000

    def test_it_says_so(self, tmp_path, caplog):
        with pytest.raises(Killed):
            Toy(tmp_path, killed_at=9).run()
        with caplog.at_level(logging.INFO):
            Toy(tmp_path).run()
        assert "toy resumes at step 8 of 12" in caplog.text

    def test_another_experiment_starts_anew(self, tmp_path):
        Toy(tmp_path).run()
        other = Toy(tmp_path, fingerprint="f1")
        other.run()
        assert len(other.seen) == 12


class TestDivergence:
    @pytest.mark.parametrize("value", ["nan", "inf"])
    def test_names_the_loss_and_the_step(self, tmp_path, value):
        toy = Toy(tmp_path)
        terms = toy.terms

        def broken(batch):
            found = terms(batch)
            factor = float(value) if len(toy.seen) == 6 else 1.0
            return found | {"b": found["b"] * factor}

        toy.terms = broken
        with pytest.raises(TrainingDivergedError) as caught:
            toy.run()
        assert isinstance(caught.value, DAFError)
        assert "toy: the loss b is not finite at step 5" in str(caught.value)
        assert "learning_rate" in str(caught.value)
        # What was spoilt is not kept.
        state = toy.checkpoint.load()
        assert state["step"] == 4
        assert all(v.isfinite().all() for v in state["modules"].values())
