"""The robustness study pipeline."""

from daf_pipelines.pipelines.robustness_study.pipeline import create_pipeline

__all__ = ["create_pipeline"]
