import contextlib
import copy
import logging
import os
import re
import signal
import threading
import time

import pandas as pd
import pytest
import torch
from torch import nn

from daf_pipelines.errors import DAFError, ParameterError
from daf_pipelines.locks import LockedError
from daf_pipelines.parameters import DecoderTrainingParams
from daf_pipelines.training import loop, progress
from daf_pipelines.training.checkpoints import BackgroundWriter, Checkpoint, CheckpointError
from daf_pipelines.training.interruption import SIGNALS, TrainingInterruptedError
from daf_pipelines.training.loop import TrainingDivergedError, choose_device, run_phase
from daf_pipelines.training.observers import observed
from daf_pipelines.training.schedules import learning_rate

pytestmark = pytest.mark.usefixtures("every_checkpoint")
READY = BackgroundWriter.ready


class Numbers:
    """Batches of numbers: step s gives a tensor that follows from s."""

    steps_per_epoch = 4

    def __getitem__(self, step):
        generator = torch.Generator().manual_seed(step)
        return torch.randn(5, 3, generator=generator, dtype=torch.float64)


class Killed(Exception):  # noqa: N818
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
        self.killed_at, self.began = killed_at, time.monotonic()
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
        return run_phase("toy", *arguments, began=self.began)

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

    def test_not_there_without_a_message(self, monkeypatch):
        def refuse(*_, **__):
            raise AssertionError

        monkeypatch.setattr(torch, "empty", refuse)
        with pytest.raises(ParameterError, match=r"'xpu' is not available \(AssertionError, "):
            choose_device("xpu")


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


class TestUndisturbed:
    def test_weights_are_those_of_a_plain_loop_bit_for_bit(self, tmp_path):
        toy = Toy(tmp_path, checkpoint_every=1)
        plain = copy.deepcopy(toy)
        with observed(lambda *_: None):
            toy.run()
        optimiser = torch.optim.AdamW(
            plain.modules.parameters(), lr=0.05, weight_decay=plain.params.weight_decay
        )
        for step in range(12):
            optimiser.param_groups[0]["lr"] = learning_rate(plain.params, step, 4)
            optimiser.zero_grad()
            terms = plain.terms(Numbers()[step])
            torch.stack(list(terms.values())).sum().backward()
            optimiser.step()
        assert same_weights(toy, plain)


class TestObservers:
    @pytest.fixture
    def told(self):
        found = []
        with observed(lambda phase, history: found.append((phase, len(history)))):
            yield found

    def test_told_at_the_end(self, tmp_path, told):
        Toy(tmp_path).run()
        assert told == [("toy", 12)]

    def test_told_every_few_seconds(self, tmp_path, told, monkeypatch):
        monkeypatch.setattr(loop, "TELL_EVERY_SECONDS", -1.0)
        monkeypatch.setattr(loop, "FETCH_EVERY_SECONDS", -1.0)
        Toy(tmp_path).run()
        assert told == [("toy", n) for n in [*range(1, 13), 12]]

    def test_told_of_all_steps_after_a_resume(self, tmp_path, told):
        with pytest.raises(Killed):
            Toy(tmp_path, killed_at=6).run()
        told.clear()
        Toy(tmp_path).run()
        assert told == [("toy", 12)]

    def test_told_before_an_error_ends_it(self, tmp_path, told):
        toy = Toy(tmp_path)
        toy.losses = lambda batch: {"a": toy.terms(batch)["a"] * (1 if len(told) else float("nan"))}
        with pytest.raises(TrainingDivergedError, match=r"not finite at step 0\. Lower"):
            toy.run()
        assert told == []  # there was no step

    def test_told_of_the_good_steps_before_another_error(self, tmp_path, told):
        toy = Toy(tmp_path)
        terms = toy.terms

        def broken(batch):
            if len(toy.seen) == 6:
                raise RuntimeError("a consequence")
            return {
                k: v * (1 if len(toy.seen) < 5 else float("nan")) for k, v in terms(batch).items()
            }

        toy.terms = broken
        with pytest.raises(TrainingDivergedError):
            toy.run()
        assert told[-1][1] >= 3

    def test_not_told_outside_of_the_block(self, tmp_path):
        found = []
        with observed(lambda *arguments: found.append(arguments)):
            pass
        Toy(tmp_path).run()
        assert found == []


class TestInterruption:
    @pytest.fixture(autouse=True)
    @staticmethod
    def heeded():
        """A shell ignores SIGINT for what it runs in the background, these tests maybe."""
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        yield
        signal.signal(signal.SIGINT, before)

    def interrupt(self, toy, number, step):
        terms = toy.terms

        def interrupted(batch):
            if len(toy.seen) == step:
                os.kill(os.getpid(), number)
            return terms(batch)

        toy.terms = interrupted
        with pytest.raises(TrainingInterruptedError) as caught:
            toy.run()
        return caught.value

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    @pytest.mark.parametrize("step", [1, 6, 12])
    def test_finishes_the_step_and_goes_on_bit_for_bit(self, tmp_path, number, step):
        undisturbed = Toy(tmp_path / "a")
        expected = undisturbed.run()
        before = [signal.getsignal(n) for n in SIGNALS]
        stopped = Toy(tmp_path / "b")
        error = self.interrupt(stopped, number, step)
        assert [signal.getsignal(n) for n in SIGNALS] == before
        assert error.signal == number
        assert str(error) == (
            f"toy stopped by {signal.Signals(number).name} after step {step} of 12; its state is "
            f"saved in {stopped.checkpoint.path}. The same command goes on from there."
        )
        assert stopped.checkpoint.load()["step"] == step
        resumed = Toy(tmp_path / "b")
        result = resumed.run()
        assert len(resumed.seen) == 12 - step
        assert same_weights(resumed, undisturbed)
        pd.testing.assert_frame_equal(result.history, expected.history, check_exact=True)

    def test_handlers_are_restored(self, tmp_path):
        before = [signal.getsignal(n) for n in SIGNALS]
        Toy(tmp_path / "a").run()
        with pytest.raises(Killed):
            Toy(tmp_path / "b", killed_at=2).run()
        assert [signal.getsignal(n) for n in SIGNALS] == before

    def test_second_one_ends_at_once(self, tmp_path):
        toy = Toy(tmp_path)

        def twice(batch):
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
            pytest.fail("went on")

        toy.terms = twice
        with pytest.raises(KeyboardInterrupt):
            toy.run()
        assert list(tmp_path.iterdir()) == []

    def test_after_the_last_step_it_is_not_lost(self, tmp_path):
        toy = Toy(tmp_path)
        with (
            observed(lambda *_: os.kill(os.getpid(), signal.SIGTERM)),
            pytest.raises(TrainingInterruptedError, match="SIGTERM after step 12 of 12"),
        ):
            toy.run()
        assert toy.checkpoint.load()["step"] == 12

    def test_ignored_signals_stay_ignored(self, tmp_path):
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        toy = Toy(tmp_path)
        toy.losses = lambda batch: os.kill(os.getpid(), signal.SIGINT) or toy.terms(batch)
        assert len(toy.run().history) == 12

    def test_outside_of_the_main_thread_nothing_is_handled(self, tmp_path):
        before = [signal.getsignal(n) for n in SIGNALS]
        toy, seen = Toy(tmp_path), []
        terms = toy.terms
        toy.terms = lambda batch: (
            seen.append([signal.getsignal(n) for n in SIGNALS]) or terms(batch)
        )
        thread = threading.Thread(target=toy.run)
        thread.start()
        thread.join()
        assert seen == [before] * 12
        assert toy.checkpoint.load()["step"] == 12


class TestCost:
    """Of checkpoints."""

    def test_those_that_would_take_too_long_are_left_out(self, tmp_path, monkeypatch):
        monkeypatch.setattr(BackgroundWriter, "ready", READY)
        saved, save = [], Checkpoint.save

        def slow(checkpoint, state):
            saved.append(state["step"])
            time.sleep(0.5)
            save(checkpoint, state)

        monkeypatch.setattr(Checkpoint, "save", slow)
        toy = Toy(tmp_path, checkpoint_every=1)
        toy.run()
        assert saved == [1, 12]
        assert toy.checkpoint.load()["step"] == 12

    def test_training_does_not_wait_for_the_writing(self, tmp_path, monkeypatch):
        monkeypatch.setattr(BackgroundWriter, "ready", READY)
        save, later = Checkpoint.save, threading.Event()

        def slow(checkpoint, state):
            assert later.wait(60)
            save(checkpoint, state)

        monkeypatch.setattr(Checkpoint, "save", slow)
        toy = Toy(tmp_path)
        terms = toy.terms
        toy.terms = lambda batch: (later.set() if len(toy.seen) == 8 else None) or terms(batch)
        assert len(toy.run().history) == 12


class TestDisk:
    def test_full_in_training_and_gone_on_with(self, tmp_path, small_disk):
        undisturbed = Toy(tmp_path / "a")
        undisturbed.run()
        toy, large = Toy(small_disk), small_disk / "large"
        terms = toy.terms

        def fill(batch):
            if len(toy.seen) == 6:
                while not toy.checkpoint.path.exists():  # that of step 4, written meanwhile
                    time.sleep(0.001)
                with contextlib.suppress(OSError):
                    large.write_bytes(bytes(2**20))
            return terms(batch)

        toy.terms = fill
        with pytest.raises(CheckpointError, match="the same command goes on from step 4"):
            toy.run()
        assert {p.name for p in small_disk.iterdir()} == {toy.checkpoint.path.name, "large"}
        large.unlink()
        resumed = Toy(small_disk)
        resumed.run()
        assert len(resumed.seen) == 8
        assert same_weights(resumed, undisturbed)

    def test_unwritable_before_the_first_step(self, tmp_path):
        (tmp_path / "file").touch()
        toy = Toy(tmp_path / "file")
        with pytest.raises(CheckpointError, match="Nothing has been trained yet"):
            toy.run()
        assert toy.seen == []

    def test_two_at_once(self, tmp_path):
        toy, second = Toy(tmp_path), Toy(tmp_path)
        terms = toy.terms

        def meanwhile(batch):
            with pytest.raises(LockedError, match=f"by process {os.getpid()}"):
                second.run()
            return terms(batch)

        toy.terms = meanwhile
        assert len(toy.run().history) == 12
        assert second.seen == []


class TestHistory:
    def test_a_row_a_step(self, tmp_path):
        result = Toy(tmp_path, schedule="constant").run()
        assert list(result.history.columns) == ["step", "epoch", "learning_rate", "a", "b"]
        assert result.history["step"].tolist() == list(range(12))
        assert result.history["epoch"].tolist() == [0] * 4 + [1] * 4 + [2] * 4
        assert result.seconds > 0
        assert result.history["a"].iloc[-1] < result.history["a"].iloc[0]

    def test_what_is_prepared_is_part_of_its_time(self, tmp_path):
        toy = Toy(tmp_path)
        toy.began -= 50
        assert toy.run().seconds > 50

    def test_of_no_steps_can_be_written_and_read(self, tmp_path):
        toy = Toy(tmp_path)
        toy.params = toy.params.model_copy(update={"length": 0})
        before = copy.deepcopy(toy)
        history = toy.run().history
        assert same_weights(toy, before)
        history.to_csv(tmp_path / "h.csv", index=False)
        assert list(pd.read_csv(tmp_path / "h.csv").columns) == ["step", "epoch", "learning_rate"]

    def test_progress_is_logged_where_no_bar_is_shown(self, tmp_path, monkeypatch, caplog):
        monkeypatch.setattr(progress, "LOG_EVERY_SECONDS", -1.0)
        monkeypatch.setattr(loop, "FETCH_EVERY_SECONDS", -1.0)
        with caplog.at_level(logging.INFO):
            Toy(tmp_path).run()
        lines = [r.getMessage() for r in caplog.records if "images/s" in r.getMessage()]
        assert [line.split(",")[0] for line in lines] == [
            f"toy: step {n} of 12" for n in range(1, 13)
        ]
        assert re.fullmatch(
            r"toy: step 12 of 12, a 0\.\d{3}, b 0\.\d{3}, [\d.e+]+ images/s, 0 s left", lines[-1]
        )


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
        assert "toy: the loss b is not finite at step 5 (before: a 0." in str(caught.value)
        assert "learning_rate" in str(caught.value)
        # What was spoilt is not kept.
        state = toy.checkpoint.load()
        assert state["step"] == 4
        assert all(v.isfinite().all() for v in state["modules"].values())

    def test_weights_that_a_finite_loss_has_spoilt_are_not_kept(self, tmp_path):
        toy = Toy(tmp_path)
        terms = toy.terms

        def steep(batch):
            found = terms(batch)
            if len(toy.seen) == 8:
                found["b"] = found["b"] + (0 * toy.modules["layer"].bias).sqrt().sum()
            return found

        toy.terms = steep
        with pytest.raises(TrainingDivergedError, match=r"weights are not finite after step 7 \("):
            toy.run()
        assert toy.checkpoint.load()["step"] == 4

    def test_found_where_another_error_follows_from_it(self, tmp_path):
        toy = Toy(tmp_path)
        terms = toy.terms

        def broken(batch):
            if len(toy.seen) == 3:
                raise RuntimeError("a consequence")
            return {k: v * float("nan") for k, v in terms(batch).items()}

        toy.terms = broken
        with pytest.raises(TrainingDivergedError, match="the loss a, b is not finite at step 0"):
            toy.run()


class Unreadable(Numbers):
    def __getitem__(self, step):
        return super().__getitem__(step).to("meta")


def test_a_step_does_not_wait_for_its_losses(tmp_path):
    toy = Toy(tmp_path)
    training = loop._Training(
        "toy", toy.modules.to("meta"), Unreadable(), toy.losses, toy.params, 0.0
    )
    for _ in range(3):
        training.advance()  # on a device whose values nobody can read
    with pytest.raises(NotImplementedError, match="no data"):
        training.fetch()
