"""DAF for ``quality.py``: the recipe of conf/base, as long as a budget lasts.

How many steps fit a budget is not known before, and the learning rate has to reach its end: it
falls by the clock, along the cosine of conf/base, and the step that would exceed the budget is not
made. The first phase has a tenth of the time, about its share in conf/base.
"""

import math
from typing import Any

import numpy as np
import torch
from quality_task import Budget, Task, Trained

from daf_pipelines.parameters import (
    DecoderTrainingParams,
    ModelParams,
    PhaseParams,
    ScoringParams,
    SynthesisParams,
    TeacherStudentTrainingParams,
)
from daf_pipelines.scoring.detector import Detector
from daf_pipelines.synthesis.textures import load_textures
from daf_pipelines.training import TrainingData, initialise, train_decoder, train_student
from daf_pipelines.training.batches import Batch, Batches

FIRST_PHASE = 0.1  # of the time that is left when the model is initialised
UNBOUNDED = {"length": 10**6, "checkpoint_every": 10**6, "schedule": "constant"}


class SpentError(Exception):
    """Another step would exceed a phase's time."""


class Clocked:
    """The parameters of a phase that ends at ``end`` seconds of the budget.

    Its learning rate falls along a cosine; whatever else is asked for is that of the parameters.
    """

    def __init__(self, params: PhaseParams, budget: Budget, end: float) -> None:
        self._params, self._budget, self._end = params, budget, end
        self._start = self._before = budget.spent
        self._longest = 0.0
        self.steps = -1

    def __getattr__(self, name: str) -> Any:
        return getattr(self._params, name)

    @property
    def learning_rate(self) -> float:
        """Of the next step."""
        passed = (self._budget.spent - self._start) / (self._end - self._start)
        return self._params.learning_rate * 0.5 * (1 + math.cos(math.pi * min(max(passed, 0), 1)))

    def begin_step(self) -> None:
        """Counts the step before, and raises SpentError where the next one would take too long."""
        now = self._budget.spent
        self.steps += 1
        if self.steps == 0:
            self._start = now
        else:
            self._longest = max(self._longest, now - self._before)
        self._before = now
        if now + self._longest > self._end and self.steps:
            raise SpentError


class ClockedBatches:
    """Batches until a phase's time is spent."""

    def __init__(self, batches: Batches, clocked: Clocked) -> None:
        self.batches, self.clocked = batches, clocked

    def __getattr__(self, name: str) -> Any:
        return getattr(self.batches, name)

    def __getitem__(self, step: int) -> Batch:
        self.clocked.begin_step()
        return self.batches[step]


class ClockedData(TrainingData):
    """Training data for phases with a time."""

    def batches(self, phase: int, params: Any, device: torch.device) -> Any:
        """Batches that end with the phase's time."""
        return ClockedBatches(super().batches(phase, params, device), params)


def daf(task: Task) -> Trained:
    """Both phases of conf/base, and its scoring."""
    size = task.train.images.shape[1]
    synthesis = SynthesisParams(**task.raw["synthesis"])
    textures = load_textures(synthesis.texture_root, size)
    everywhere = np.empty((0, size, size), bool)
    data = ClockedData.of(task.train, textures, everywhere, synthesis, task.seed, {}, task.folder)
    model = initialise(ModelParams(**task.raw["model"]), data.images, task.seed)
    begin = clocked(TeacherStudentTrainingParams, task, FIRST_PHASE)
    until_spent(train_student, model, data, begin)
    rest = clocked(DecoderTrainingParams, task, 1.0)
    until_spent(train_decoder, model, data, rest)
    task.budget.stop()
    scoring = ScoringParams(**task.raw["scoring"])
    detector = Detector(model, scoring, size)
    note = f"{begin.steps} + {rest.steps} steps, "
    note += f"weight {scoring.segmentation_weight:g}, top {scoring.top_pixels}"
    return Trained(detector.score_batch, begin.steps + rest.steps, note)


def clocked(kind: type[PhaseParams], task: Task, share: float) -> Clocked:
    """A phase of conf/base with a share of the time that is left."""
    sections = {TeacherStudentTrainingParams: "teacher_student_training"}
    section = task.raw[sections.get(kind, "decoder_training")]
    end = task.budget.spent + share * task.budget.left
    return Clocked(kind(**section | UNBOUNDED), task.budget, end)


def until_spent(train: Any, model: Any, data: ClockedData, params: Clocked) -> None:
    """Train a phase; its weights stay as its last step left them."""
    try:
        train(model, data, params)
    except SpentError:
        return
