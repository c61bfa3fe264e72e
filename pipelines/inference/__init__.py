"""The inference pipeline."""

from daf_pipelines.pipelines.inference.pipeline import create_pipeline

__all__ = ["create_pipeline"]
