"""The comparison pipeline."""

from daf_pipelines.pipelines.comparison.pipeline import create_pipeline

__all__ = ["create_pipeline"]
