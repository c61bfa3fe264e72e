"""The training loop of a phase: optimiser, schedule, progress, checkpoints, history."""

import logging
import math
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from daf_pipelines.errors import DAFError, ParameterError, first_line
from daf_pipelines.parameters import PhaseParams
from daf_pipelines.training.batches import Batch, Batches
from daf_pipelines.training.checkpoints import BackgroundWriter, Checkpoint
from daf_pipelines.training.history import History
from daf_pipelines.training.interruption import Interruption, TrainingInterruptedError
from daf_pipelines.training.observers import tell
from daf_pipelines.training.progress import Progress, Timer
from daf_pipelines.training.schedules import learning_rate, total_steps

LOG = logging.getLogger(__name__)
FETCH_EVERY_SECONDS = 1.0
TELL_EVERY_SECONDS = 15.0
REMEDY = "Lower learning_rate, or use precision: float32."

Losses = dict[str, Tensor]


@dataclass(frozen=True)
class PhaseResult:
    """What a phase leaves beside the trained weights.

    Attributes:
        history: one row a step: ``step``, ``epoch``, ``learning_rate`` and each loss term.
        seconds: time spent on it and on what it needs, over all sessions of a resumed phase.
    """

    history: pd.DataFrame
    seconds: float


class TrainingDivergedError(DAFError):
    """A loss, or a weight, is no longer finite."""


def choose_device(name: str) -> torch.device:
    """The device that a parameter names; ``auto`` is CUDA where there is one.

    Raises:
        ParameterError: no such device on this machine.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ParameterError(
            f"device: '{name}' is not available ({first_line(error)}). Expected 'auto', "
            "'cpu', or a device of this machine as 'cuda:0'."
        ) from error


def run_phase(
    name: str,
    modules: nn.ModuleDict,
    batches: Batches,
    losses_of: Callable[[Batch], Losses],
    params: PhaseParams,
    checkpoint: Checkpoint,
    began: float,
) -> PhaseResult:
    """Train ``modules`` for the phase's length, resuming from ``checkpoint`` where it exists.

    Args:
        name: shown beside the progress bar.
        modules: what is trained, in training mode; their state is what checkpoints hold.
        batches: training data by step.
        losses_of: loss terms of a batch; their sum is minimised.
        params: length, optimiser and schedule.
        checkpoint: where the state is kept.
        began: when work on the phase began, by ``time.monotonic()``: what was prepared for it is
            part of its time.

    The first SIGINT or SIGTERM ends it after the step at hand, with a checkpoint.

    Raises:
        CheckpointError: the state cannot be written, or one that is there not be read.
        LockedError: another process trains the same.
        TrainingDivergedError: a loss term, or a weight, is not finite.
        TrainingInterruptedError: SIGINT or SIGTERM asked for it.
    """
    training = _Training(name, modules, batches, losses_of, params, began)
    with checkpoint.reserved(), Interruption() as interruption:
        try:
            _train(training, checkpoint, interruption)
        except Exception:
            try:
                training.fetch()  # its losses may tell why
            finally:
                tell(name, training.history)
            raise
        tell(name, training.history)
    if interruption.received:  # after the last step
        raise _interrupted(training, checkpoint, interruption.received)
    return PhaseResult(training.history.frame(), training.seconds)


def _train(training: "_Training", checkpoint: Checkpoint, interruption: Interruption) -> None:
    """Make all steps that are left; what is due after each of them waits for its losses."""
    state, params = checkpoint.load(), training.params
    if state is not None:
        training.resume(state)
        done = (training.name, training.done, training.steps, checkpoint.path)
        LOG.info("%s resumes at step %d of %d (%s)", *done)
    fetching, telling = Timer(FETCH_EVERY_SECONDS), Timer(TELL_EVERY_SECONDS)
    progress = Progress(training.name, training.done, training.steps, params.batch_size)
    with BackgroundWriter(checkpoint) as writer, progress:
        while training.done < training.steps:
            training.advance()
            stop = interruption.received  # read once: a signal may arrive at any moment
            ends = stop is not None or training.done == training.steps
            save = ends or (training.done % params.checkpoint_every == 0 and writer.ready)
            if not save and not fetching.due():
                continue
            training.fetch()
            progress.show(training.done, training.history.last)
            if save:
                writer.save(training.state())
            if ends:
                writer.wait()
            writer.check()
            if stop:
                raise _interrupted(training, checkpoint, stop)
            if telling.due():
                tell(training.name, training.history)


class _Training:
    """A phase at work: what is trained, and what the steps so far led to.

    Losses stay on the device until they are fetched, many steps at once: to wait for them at each
    step would leave a GPU without work.

    Attributes:
        steps: of the phase.
        done: steps so far, over all sessions.
        history: of the steps whose losses were fetched.
    """

    def __init__(
        self,
        name: str,
        modules: nn.ModuleDict,
        batches: Batches,
        losses_of: Callable[[Batch], Losses],
        params: PhaseParams,
        began: float,
    ) -> None:
        self.name, self.params = name, params
        self.steps = total_steps(params, batches.steps_per_epoch)
        self.done = 0
        self.history = History()
        self._modules, self._batches, self._losses_of = modules, batches, losses_of
        self._optimiser = torch.optim.AdamW(
            modules.parameters(), lr=params.learning_rate, weight_decay=params.weight_decay
        )
        self._began = began
        self._unfetched: list[tuple[tuple[int, int, float], Tensor]] = []

    @property
    def seconds(self) -> float:
        """Time spent training, over all sessions."""
        return time.monotonic() - self._began

    def resume(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint's state."""
        self._modules.load_state_dict(state["modules"])
        self._optimiser.load_state_dict(state["optimiser"])
        self.done = state["step"]
        self.history = History.of(state["history"])
        self._began -= state["seconds"]

    def state(self) -> dict[str, Any]:
        """For a checkpoint. It shares the tensors that are trained.

        Raises:
            TrainingDivergedError: a weight is not finite.
        """
        self._check_weights()
        return {
            "modules": self._modules.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "step": self.done,
            "history": self.history.state(),
            "seconds": self.seconds,
        }

    def advance(self) -> None:
        """Make a step."""
        step, per_epoch = self.done, self._batches.steps_per_epoch
        rate = learning_rate(self.params, step, per_epoch)
        losses = self._losses_of(self._batches[step])
        for group in self._optimiser.param_groups:
            group["lr"] = rate
        self._optimiser.zero_grad(set_to_none=True)
        terms = torch.stack(list(losses.values()))
        terms.sum().backward()  # type: ignore[no-untyped-call]
        self._optimiser.step()
        self.history.terms = list(losses)
        self._unfetched.append(((step, step // per_epoch, rate), terms.detach()))
        self.done += 1

    def fetch(self) -> None:
        """Bring the losses of the last steps into the history, in one transfer.

        Raises:
            TrainingDivergedError: one is not finite.
        """
        if not self._unfetched:
            return
        steps, terms = zip(*self._unfetched, strict=True)
        self._unfetched = []
        losses = torch.stack(terms).cpu()
        finite = losses.isfinite()
        good = int(finite.all(dim=1).long().cumprod(0).sum())  # steps before the first wrong one
        self.history.append(steps[:good], losses[:good])
        if good < len(steps):
            names = zip(self.history.terms, finite[good].tolist(), strict=True)
            wrong = ", ".join(name for name, is_finite in names if not is_finite)
            raise self._diverged(f"the loss {wrong} is not finite at step {steps[good][0]}")

    def _check_weights(self) -> None:
        tensors = [v for v in self._modules.state_dict().values() if v.is_floating_point()]
        if not nn.utils.get_total_norm(tensors, math.inf).isfinite():
            raise self._diverged(f"weights are not finite after step {self.done - 1}")

    def _diverged(self, what: str) -> TrainingDivergedError:
        losses = ", ".join(f"{k} {v:.4g}" for k, v in self.history.last.items())
        before = f" (before: {losses})" if losses else ""
        return TrainingDivergedError(f"{self.name}: {what}{before}. {REMEDY}")


def _interrupted(
    training: _Training, checkpoint: Checkpoint, stop: signal.Signals
) -> TrainingInterruptedError:
    return TrainingInterruptedError(
        f"{training.name} stopped by {stop.name} after step {training.done} of {training.steps}; "
        f"its state is saved in {checkpoint.path}. The same command goes on from there.",
        stop,
    )
