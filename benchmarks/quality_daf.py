"""DAF for ``quality.py``: the recipe of conf/base, as long as a budget lasts.

The learning rate has to reach its end, so the number of steps is set before training: a few steps
on a copy of the model are timed, inside the budget, and the two phases share what is left as they
do in conf/base. The second phase is set anew after the first, by what that took. The score's
fusion is chosen on held-out normals and synthetic outliers, outside the budget.
"""

import copy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from quality_task import Budget, Task, Trained, to_tensor
from recipe import on_synthetic, with_criterion

from daf_pipelines.models import DAF
from daf_pipelines.parameters import (
    DecoderTrainingParams,
    ModelParams,
    ScoringParams,
    SynthesisParams,
    TeacherStudentTrainingParams,
)
from daf_pipelines.scoring.detector import Detector
from daf_pipelines.synthesis.textures import load_textures
from daf_pipelines.training import TrainingData, initialise, train_decoder, train_student

TRIAL_IMAGES = 16
SHORT, LONG = 2, 6  # steps of a trial; what the longer one takes more is the price of a step
MARGIN = 0.02  # of the budget, against steps that turn out dearer than the trial's


@dataclass(frozen=True)
class Prices:
    """Processor seconds of a step of each phase, and of the teacher's features of all images."""

    student: float
    decoder: float
    teacher: float


def daf(task: Task) -> Trained:
    """Both phases of conf/base, then the choice of the fusion."""
    textures = load_textures(task.raw["synthesis"]["texture_root"], task.train.images.shape[1])
    data = training_data(task, textures)
    model = initialise(ModelParams(**task.raw["model"]), data.images, task.seed)
    prices = measure_prices(model, data, task)
    lengths = train(model, data, task, prices)
    task.budget.stop()
    detector = Detector(model, ScoringParams(), task.train.images.shape[1])
    detector.scoring = choose_scoring(detector, task, textures)
    chosen = f"weight {detector.scoring.segmentation_weight:g}, top {detector.scoring.top_pixels}"
    note = f"{lengths[0]} + {lengths[1]} steps, {chosen}"
    return Trained(detector.score_batch, sum(lengths), note)


def training_data(task: Task, textures: np.ndarray) -> TrainingData:
    everywhere = np.empty((0, *task.train.images.shape[1:3]), bool)
    synthesis = SynthesisParams(**task.raw["synthesis"])
    return TrainingData.of(task.train, textures, everywhere, synthesis, task.seed, {}, task.folder)


def train(model: DAF, data: TrainingData, task: Task, prices: Prices) -> tuple[int, int]:
    """Trains both phases and returns their lengths."""
    ratio = second(task.raw).length / first(task.raw).length
    left = task.budget.left - MARGIN * task.budget.seconds - 2 * prices.teacher
    begin = max(1, int(left / (prices.student + ratio * prices.decoder)))
    before = task.budget.spent
    train_student(model, data, first(task.raw, begin))
    dearer = (task.budget.spent - before) / (begin * prices.student + prices.teacher)
    left = task.budget.left - MARGIN * task.budget.seconds - dearer * prices.teacher
    rest = max(1, int(left / (dearer * prices.decoder)))
    train_decoder(model, data, second(task.raw, rest))
    return begin, rest


def first(raw: dict[str, Any], length: int | None = None) -> TeacherStudentTrainingParams:
    """The first phase of conf/base, of any length in steps."""
    changes = {} if length is None else {"length": length}
    return TeacherStudentTrainingParams(**raw["teacher_student_training"] | changes)


def second(raw: dict[str, Any], length: int | None = None) -> DecoderTrainingParams:
    """The second phase of conf/base, of any length in steps."""
    changes = {} if length is None else {"length": length}
    return DecoderTrainingParams(**raw["decoder_training"] | changes)


def measure_prices(model: DAF, data: TrainingData, task: Task) -> Prices:
    """Trains copies of the model for a few steps, on a few images: their teacher's cost little."""
    few = replace(data, images=data.images[:TRIAL_IMAGES], boxes=(data.boxes or [])[:TRIAL_IMAGES])
    student, decoder = ([], [])
    for steps in (SHORT, LONG):
        trial = replace(few, checkpoints=task.folder / f"trial {steps}")
        copied = copy.deepcopy(model)
        before = task.budget.spent
        train_student(copied, trial, first(task.raw, steps))
        student.append(task.budget.spent - before)
        before = task.budget.spent
        train_decoder(copied, trial, second(task.raw, steps))
        decoder.append(task.budget.spent - before)
    by_image = teacher_seconds(model, task) / TRIAL_IMAGES
    return Prices(step_price(student), step_price(decoder), by_image * len(data.images))


def step_price(seconds: list[float]) -> float:
    return max(seconds[1] - seconds[0], 1e-3) / (LONG - SHORT)


def teacher_seconds(model: DAF, task: Task) -> float:
    """Of the teacher's features of a few images."""
    clock = Budget(0)
    model.teach(to_tensor(task.train.images[:TRIAL_IMAGES]))
    return clock.spent


def choose_scoring(detector: Detector, task: Task, textures: np.ndarray) -> ScoringParams:
    """The fusion that does best on held-out normals and synthetic outliers."""
    rows = pd.DataFrame(on_synthetic(detector, task.train, task.held_out, textures))
    best = with_criterion(rows).sort_values("criterion").iloc[-1]
    return ScoringParams(
        segmentation_weight=float(best["segmentation_weight"]), top_pixels=int(best["top_pixels"])
    )
