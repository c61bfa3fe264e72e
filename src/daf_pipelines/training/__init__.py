"""Training of the Discrepancy Aware Framework."""

from daf_pipelines.locks import LockedError
from daf_pipelines.training.checkpoints import CheckpointError
from daf_pipelines.training.interruption import TrainingInterruptedError
from daf_pipelines.training.loop import PhaseResult, TrainingDivergedError
from daf_pipelines.training.observers import observed
from daf_pipelines.training.phases import (
    TrainingData,
    TrainingMemoryError,
    initialise,
    train_decoder,
    train_student,
)

__all__ = [
    "CheckpointError",
    "LockedError",
    "PhaseResult",
    "TrainingData",
    "TrainingDivergedError",
    "TrainingInterruptedError",
    "TrainingMemoryError",
    "initialise",
    "observed",
    "train_decoder",
    "train_student",
]
