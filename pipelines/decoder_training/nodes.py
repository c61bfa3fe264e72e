"""Nodes of the decoder_training pipeline."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from daf_pipelines.models import DAF
from daf_pipelines.models.trained import TrainedModel
from daf_pipelines.parameters import (
    DatasetParams,
    DecoderTrainingParams,
    ModelParams,
    SynthesisParams,
    TeacherStudentTrainingParams,
)
from daf_pipelines.resources import peak_rss_mib
from daf_pipelines.sources.image_set import ImageSet
from daf_pipelines.training import TrainingData, train_decoder
from daf_pipelines.training.experiment import (
    check_inputs,
    check_student,
    decoder_identity,
    student_identity,
)


def train(
    student: TrainedModel[DAF],
    train_images: ImageSet,
    textures: NDArray[np.uint8],
    train_foregrounds: NDArray[np.bool_],
    synthesis_record: dict[str, Any],
    checkpoints: Path,
    dataset: DatasetParams,
    synthesis: SynthesisParams,
    model: ModelParams,
    student_training: TeacherStudentTrainingParams,
    training: DecoderTrainingParams,
    seed: int,
) -> tuple[TrainedModel[DAF], pd.DataFrame]:
    """Train the decoder to segment synthetic outliers, led by the discrepancy."""
    check_inputs(train_images, synthesis_record, dataset, synthesis, seed)
    wanted = student_identity(train_images, synthesis, model, student_training)
    check_student(student.identity, wanted)
    identity = decoder_identity(wanted, training)
    data = TrainingData.of(
        train_images, textures, train_foregrounds, synthesis, seed, identity, checkpoints
    )
    result = train_decoder(student.model, data, training)
    trained = replace(
        student,
        identity=identity,
        train_seconds=student.train_seconds + result.seconds,
        peak_rss_mib=max(student.peak_rss_mib, peak_rss_mib()),
    )
    return trained, result.history
