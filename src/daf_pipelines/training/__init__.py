"""Training of the Discrepancy Aware Framework."""

from daf_pipelines.training.loop import PhaseResult, TrainingDivergedError
from daf_pipelines.training.phases import TrainingData, initialise, train_decoder, train_student

__all__ = [
    "PhaseResult",
    "TrainingData",
    "TrainingDivergedError",
    "initialise",
    "train_decoder",
    "train_student",
]
