"""The outlier_synthesis pipeline."""

from daf_pipelines.pipelines.outlier_synthesis.pipeline import create_pipeline

__all__ = ["create_pipeline"]
