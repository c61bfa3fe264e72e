"""The teacher_student_training pipeline."""

from daf_pipelines.pipelines.teacher_student_training.pipeline import create_pipeline

__all__ = ["create_pipeline"]
