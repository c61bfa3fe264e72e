"""Training of another method than DAF."""

from daf_pipelines.pipelines.baseline_training.pipeline import create_pipeline

__all__ = ["create_pipeline"]
