"""The training loop of a phase: optimiser, schedule, progress, checkpoints, history."""

import logging
import math
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd
import torch
from torch import Tensor, nn
from tqdm import tqdm

from daf_pipelines.errors import DAFError, ParameterError
from daf_pipelines.parameters import PhaseParams
from daf_pipelines.training.batches import Batch, Batches
from daf_pipelines.training.checkpoints import Checkpoint
from daf_pipelines.training.interruption import Interruption, TrainingInterruptedError
from daf_pipelines.training.observers import tell
from daf_pipelines.training.schedules import learning_rate, total_steps

LOG = logging.getLogger(__name__)
LOG_EVERY_SECONDS = 30.0
TELL_EVERY_SECONDS = 15.0
HISTORY = ["step", "epoch", "learning_rate"]  # and a column for each loss term

Losses = dict[str, Tensor]


@dataclass(frozen=True)
class PhaseResult:
    """What a phase leaves beside the trained weights.

    Attributes:
        history: one row a step: ``step``, ``epoch``, ``learning_rate`` and each loss term.
        seconds: time spent training, over all sessions of a resumed phase.
    """

    history: pd.DataFrame
    seconds: float


class TrainingDivergedError(DAFError):
    """A loss is no longer finite."""


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
            f"device: '{name}' is not available ({str(error).splitlines()[0]}). Expected 'auto', "
            "'cpu', or a device of this machine as 'cuda:0'."
        ) from error


def run_phase(
    name: str,
    modules: nn.ModuleDict,
    batches: Batches,
    losses_of: Callable[[Batch], Losses],
    params: PhaseParams,
    checkpoint: Checkpoint,
) -> PhaseResult:
    """Train ``modules`` for the phase's length, resuming from ``checkpoint`` where it exists.

    Args:
        name: shown beside the progress bar.
        modules: what is trained, in training mode; their state is what checkpoints hold.
        batches: training data by step.
        losses_of: loss terms of a batch; their sum is minimised.
        params: length, optimiser and schedule.
        checkpoint: where the state is kept.

    The first SIGINT or SIGTERM ends it after the step at hand, with a checkpoint.

    Raises:
        CheckpointError: the state cannot be written.
        LockedError: another process trains the same.
        TrainingDivergedError: a loss term is not finite.
        TrainingInterruptedError: SIGINT or SIGTERM asked for it.
    """
    with checkpoint.reserved(), Interruption() as interruption:
        result = _run(name, modules, batches, losses_of, params, checkpoint, interruption)
    if interruption.received:  # after the last step
        steps = len(result.history)
        raise _interrupted(name, steps - 1, steps, checkpoint, interruption.received)
    return result


def _run(
    name: str,
    modules: nn.ModuleDict,
    batches: Batches,
    losses_of: Callable[[Batch], Losses],
    params: PhaseParams,
    checkpoint: Checkpoint,
    interruption: Interruption,
) -> PhaseResult:
    optimiser = torch.optim.AdamW(
        modules.parameters(), lr=params.learning_rate, weight_decay=params.weight_decay
    )
    steps = total_steps(params, batches.steps_per_epoch)
    start, rows, seconds = _resume(checkpoint, modules, optimiser)
    if start:
        LOG.info("%s resumes at step %d of %d (%s)", name, start, steps, checkpoint.path)
    began = logged = told = time.monotonic()
    try:
        with tqdm(range(start, steps), name, steps, initial=start, disable=None) as bar:
            for step in bar:
                rate = learning_rate(params, step, batches.steps_per_epoch)
                terms = _step(optimiser, rate, losses_of(batches[step]))
                _check_finite(name, step, terms, rows)
                epoch = step // batches.steps_per_epoch
                rows.append({"step": step, "epoch": epoch, "learning_rate": rate, **terms})
                bar.set_postfix({k: f"{v:.3f}" for k, v in terms.items()}, refresh=False)
                now = time.monotonic()
                if bar.disable and now - logged > LOG_EVERY_SECONDS:
                    logged = now
                    _log_progress(name, step, steps, terms, (now - began) / (step + 1 - start))
                due = (step + 1) % params.checkpoint_every == 0 or step + 1 == steps
                stop = interruption.received  # read once: a signal may arrive at any moment
                if due or stop:
                    spent = seconds + now - began
                    checkpoint.save(_state(modules, optimiser, step + 1, rows, spent))
                if stop:
                    raise _interrupted(name, step, steps, checkpoint, stop)
                if now - told > TELL_EVERY_SECONDS:
                    told = now
                    tell(name, rows)
    except Exception:
        tell(name, rows)
        raise
    tell(name, rows)
    # A phase of no steps has a history, too: one that can be written and read.
    history = pd.DataFrame(rows, columns=None if rows else HISTORY)
    return PhaseResult(history, seconds + time.monotonic() - began)


def _step(optimiser: torch.optim.Optimizer, rate: float, losses: Losses) -> dict[str, float]:
    for group in optimiser.param_groups:
        group["lr"] = rate
    optimiser.zero_grad(set_to_none=True)
    torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
    optimiser.step()
    return {k: float(v.detach()) for k, v in losses.items()}


def _check_finite(
    name: str, step: int, terms: dict[str, float], rows: list[dict[str, float]]
) -> None:
    wrong = [k for k, v in terms.items() if not math.isfinite(v)]
    if wrong:
        raise TrainingDivergedError(
            f"{name}: the loss {', '.join(wrong)} is not finite at step {step}{_last(rows)}. Lower "
            "learning_rate, or use precision: float32."
        )


def _last(rows: list[dict[str, float]]) -> str:
    if not rows:
        return ""
    losses = {k: v for k, v in rows[-1].items() if k not in HISTORY}
    return f" (before: {', '.join(f'{k} {v:.4g}' for k, v in losses.items())})"


def _interrupted(
    name: str, step: int, steps: int, checkpoint: Checkpoint, stop: signal.Signals
) -> TrainingInterruptedError:
    return TrainingInterruptedError(
        f"{name} stopped by {stop.name} after step {step + 1} of {steps}; its state is saved in "
        f"{checkpoint.path}. The same command goes on from there.",
        stop,
    )


def _log_progress(
    name: str, step: int, steps: int, terms: dict[str, float], seconds_per_step: float
) -> None:
    LOG.info(
        "%s: step %d of %d, %s, %.0f s left",
        name,
        step + 1,
        steps,
        ", ".join(f"{k} {v:.3f}" for k, v in terms.items()),
        (steps - step - 1) * seconds_per_step,
    )


def _state(
    modules: nn.ModuleDict,
    optimiser: torch.optim.Optimizer,
    step: int,
    rows: list[dict[str, float]],
    seconds: float,
) -> dict[str, object]:
    return {
        "modules": modules.state_dict(),
        "optimiser": optimiser.state_dict(),
        "step": step,
        "rows": rows,
        "seconds": seconds,
    }


def _resume(
    checkpoint: Checkpoint, modules: nn.ModuleDict, optimiser: torch.optim.Optimizer
) -> tuple[int, list[dict[str, float]], float]:
    state = checkpoint.load()
    if state is None:
        return 0, [], 0.0
    modules.load_state_dict(state["modules"])
    optimiser.load_state_dict(state["optimiser"])
    return state["step"], state["rows"], state["seconds"]
