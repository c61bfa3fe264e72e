"""Nodes of the teacher_student_training pipeline."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from daf_pipelines.models import DAF
from daf_pipelines.models.trained import TrainedModel
from daf_pipelines.parameters import (
    DatasetParams,
    ModelParams,
    SynthesisParams,
    TeacherStudentTrainingParams,
)
from daf_pipelines.resources import peak_rss_mib
from daf_pipelines.sources.image_set import ImageSet
from daf_pipelines.training import TrainingData, initialise, train_student
from daf_pipelines.training.experiment import check_inputs, student_identity


def train(
    train_images: ImageSet,
    textures: NDArray[np.uint8],
    train_foregrounds: NDArray[np.bool_],
    synthesis_record: dict[str, Any],
    checkpoints: Path,
    dataset: DatasetParams,
    synthesis: SynthesisParams,
    model: ModelParams,
    training: TeacherStudentTrainingParams,
    seed: int,
) -> tuple[TrainedModel[DAF], pd.DataFrame]:
    """Train the student on synthetic outliers to match the teacher on normal pixels."""
    check_inputs(train_images, synthesis_record, dataset, synthesis, seed)
    identity = student_identity(train_images, synthesis, model, training)
    data = TrainingData.of(
        train_images, textures, train_foregrounds, synthesis, seed, identity, checkpoints
    )
    networks = initialise(model, data.images, seed)
    result = train_student(networks, data, training)
    return TrainedModel(networks, identity, result.seconds, peak_rss_mib()), result.history
