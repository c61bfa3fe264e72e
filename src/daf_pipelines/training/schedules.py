"""Learning-rate schedules as pure functions of the step."""

import math

from daf_pipelines.parameters import PhaseParams


def total_steps(params: PhaseParams, steps_per_epoch: int) -> int:
    """Length of the phase in optimiser steps."""
    return _in_steps(params.length, params, steps_per_epoch)


def learning_rate(params: PhaseParams, step: int, steps_per_epoch: int) -> float:
    """Learning rate of optimiser step ``step`` (0-based).

    Linear warm-up from 0, times 1 (constant), half a cosine down to 0 over the phase (cosine), or
    ``gamma`` for every milestone passed (multistep; DAF: x0.2 at epochs 650 and 950 of 1200).
    """
    total = total_steps(params, steps_per_epoch)
    warm_up = _in_steps(params.warm_up, params, steps_per_epoch)
    factor = min(1.0, (step + 1) / warm_up) if warm_up else 1.0
    if params.schedule == "cosine":
        factor *= 0.5 * (1 + math.cos(math.pi * step / total))
    elif params.schedule == "multistep":
        passed = sum(step >= _in_steps(m, params, steps_per_epoch) for m in params.milestones)
        factor *= params.gamma**passed
    return params.learning_rate * factor


def _in_steps(value: int, params: PhaseParams, steps_per_epoch: int) -> int:
    return value * steps_per_epoch if params.unit == "epochs" else value
