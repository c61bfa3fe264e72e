"""The decoder_training pipeline."""

from daf_pipelines.pipelines.decoder_training.pipeline import create_pipeline

__all__ = ["create_pipeline"]
