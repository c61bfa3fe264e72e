"""The two training phases: teacher-student and decoder.

Staged training runs both. The paper's joint training is a first phase of length 0 and a second
one with ``train_student``.
"""

import functools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from daf_pipelines.errors import DAFError, first_line
from daf_pipelines.models import DAF
from daf_pipelines.models.daf import StudentOutput
from daf_pipelines.models.discrepancy import TeacherFeatures, level_maps
from daf_pipelines.parameters import (
    DecoderTrainingParams,
    ModelParams,
    PhaseParams,
    SynthesisParams,
    TeacherStudentTrainingParams,
    fingerprint,
)
from daf_pipelines.sources.image_set import ImageSet
from daf_pipelines.sources.images import Box
from daf_pipelines.training.batches import Batch, Batches, TeacherCache, fit_channel_statistics
from daf_pipelines.training.checkpoints import Checkpoint
from daf_pipelines.training.loop import Losses, PhaseResult, choose_device, run_phase
from daf_pipelines.training.losses import auxiliary_loss, distillation_loss, segmentation_loss
from daf_pipelines.training.precision import warn_of_emulation

P = TypeVar("P", bound=PhaseParams)
_Train = Callable[[DAF, "TrainingData", P], PhaseResult]
PHASES = ("teacher-student", "decoder")


class TrainingMemoryError(DAFError):
    """The device's memory does not suffice."""


@dataclass(frozen=True)
class TrainingData:
    """What both phases train on.

    Attributes:
        images: normal images ``(N, 3, H, W)``, uint8, N >= 2; on disk where they are memory-mapped.
        textures: texture bank ``(T, 3, h, w)``, uint8, or ``None``.
        synthesis: strategy of the outliers.
        seed: seed of the experiment.
        fingerprint: of everything that decides the outcome; checkpoints carry it.
        checkpoints: folder of the checkpoints.
        boxes: where the images lie, the rest being padding; None: everywhere.
        foregrounds: where the object is in each image, bool ``(N, H, W)``, or ``None``.
        began: when work on the phase began, by ``time.monotonic()``.
    """

    images: Tensor
    textures: Tensor | None
    synthesis: SynthesisParams
    seed: int
    fingerprint: str
    checkpoints: Path
    boxes: Sequence[Box] | None = None
    foregrounds: Tensor | None = None
    began: float = field(default_factory=time.monotonic)

    @classmethod
    def of(
        cls,
        images: ImageSet,
        textures: NDArray[np.uint8],
        foregrounds: NDArray[np.bool_],
        synthesis: SynthesisParams,
        seed: int,
        identity: dict[str, Any],
        checkpoints: Path,
    ) -> "TrainingData":
        """Training data from prepared images; textures and foregrounds may be empty."""
        return cls(
            images=torch.from_numpy(images.images).permute(0, 3, 1, 2),  # mapped, not copied
            textures=torch.from_numpy(textures) if len(textures) else None,
            synthesis=synthesis,
            seed=seed,
            fingerprint=fingerprint(identity),
            checkpoints=checkpoints,
            boxes=images.boxes,
            foregrounds=torch.from_numpy(foregrounds) if len(foregrounds) else None,
        )

    def batches(self, phase: int, params: PhaseParams, device: torch.device) -> Batches:
        """Batches of a phase."""
        return Batches(
            self.images,
            synthesis=self.synthesis,
            textures=self.textures,
            seed=self.seed,
            phase=phase,
            batch_size=params.batch_size,
            device=device,
            shuffle=params.shuffle,
            boxes=self.boxes,
            foregrounds=self.foregrounds,
        )


def initialise(params: ModelParams, images: Tensor, seed: int) -> DAF:
    """An untrained detector: what has no pretrained weights is initialised from ``seed``.

    Args:
        params: the networks.
        images: normal images ``(N, 3, H, W)``, uint8, for the teacher's channel statistics.
        seed: of the random initialisation.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = DAF.pretrained(params).eval()
    if params.discrepancy.normalise == "channel":
        fit_channel_statistics(model, images)
    return model


def _explain_memory(train: _Train[P]) -> _Train[P]:
    """Tell which settings help where the GPU's memory does not suffice."""

    @functools.wraps(train)
    def explained(model: DAF, data: TrainingData, params: P) -> PhaseResult:
        try:
            return train(model, data, params)
        except torch.OutOfMemoryError as error:
            tried = f"batch_size {params.batch_size}, image size {data.images.shape[-1]}"
            precise = params.precision == "float32"
            reason = first_line(error).rstrip(".")
            raise TrainingMemoryError(
                f"Out of GPU memory in {train.__name__} with {tried} and {params.precision}: "
                f"{reason}. Lower the phase's batch_size or dataset.image_size"
                f"{', or set its precision: bfloat16' if precise else ''}; or stop other processes "
                "that use the device."
            ) from error

    return explained


@_explain_memory
def train_student(
    model: DAF, data: TrainingData, params: TeacherStudentTrainingParams
) -> PhaseResult:
    """Teacher-student training: L_kd + L_dis, the teacher on x, the student on x~."""
    device = choose_device(params.device)
    model.to(device).to(memory_format=torch.channels_last).train()
    teacher = TeacherCache(model, data.images)

    def losses(batch: Batch) -> Losses:
        with _autocast(params, device):
            student = model.student_features(batch.outliers)
            terms = model.discrepancy(student.projected, teacher(batch))
            return _student_losses(model, student, terms, batch)

    return _run("teacher-student", _student_modules(model), losses, data, params, device)


@_explain_memory
def train_decoder(model: DAF, data: TrainingData, params: DecoderTrainingParams) -> PhaseResult:
    """Decoder training: L_seg, and L_kd + L_dis while the student stays trainable."""
    device = choose_device(params.device)
    model.to(device).to(memory_format=torch.channels_last).train()
    modules = nn.ModuleDict({"decoder": model.decoder})
    if params.train_student:
        modules.update(dict(_student_modules(model).items()))
    else:
        model.student.eval()
    teacher = TeacherCache(model, data.images) if _needs_normals(model, params) else None

    def losses(batch: Batch) -> Losses:
        with _autocast(params, device):
            return _decoder_losses(model, batch, params, teacher)

    return _run("decoder", modules, losses, data, params, device)


def _run(
    name: str,
    modules: nn.ModuleDict,
    losses: Callable[[Batch], Losses],
    data: TrainingData,
    params: PhaseParams,
    device: torch.device,
) -> PhaseResult:
    warn_of_emulation(name, params, device)
    batches = data.batches(PHASES.index(name), params, device)
    checkpoint = Checkpoint.of(data.checkpoints, name, data.fingerprint)
    return run_phase(name, modules, batches, losses, params, checkpoint, data.began)


def _needs_normals(model: DAF, params: DecoderTrainingParams) -> bool:
    return params.train_student or (_has_cue(model) and params.teacher_sees == "normal")


def _has_cue(model: DAF) -> bool:
    return model.params.decoder.cue == "discrepancy"


def _decoder_losses(
    model: DAF, batch: Batch, params: DecoderTrainingParams, teacher: TeacherCache | None
) -> Losses:
    normal = teacher(batch) if teacher else []
    cue = _cue(model, batch, params, normal)
    with torch.set_grad_enabled(params.train_student):
        student = model.student_features(batch.outliers)
        terms = model.discrepancy(student.projected, cue) if cue else []
    logits = model.segment(level_maps(terms), student)
    losses = {"seg": segmentation_loss(logits, batch.masks)}
    if params.train_student:
        if cue is not normal:
            terms = model.discrepancy(student.projected, normal)
        losses |= _student_losses(model, student, terms, batch)
    return losses


def _cue(
    model: DAF, batch: Batch, params: DecoderTrainingParams, normal: list[TeacherFeatures]
) -> list[TeacherFeatures]:
    """What the teacher says for the decoder's cue; nothing without one."""
    if not _has_cue(model):
        return []
    return normal if params.teacher_sees == "normal" else model.teacher_features(batch.outliers)


def _student_losses(
    model: DAF, student: StudentOutput, terms: list[tuple[Tensor, ...]], batch: Batch
) -> Losses:
    losses = {"kd": distillation_loss(terms, batch.masks)}
    heads = model.auxiliary(student)
    if heads:
        losses["dis"] = auxiliary_loss(heads, batch.masks)
    return losses


def _student_modules(model: DAF) -> nn.ModuleDict:
    return nn.ModuleDict(
        {"student": model.student, "projections": model.projections, "heads": model.heads}
    )


def _autocast(params: PhaseParams, device: torch.device) -> torch.autocast:
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=params.precision == "bfloat16")
