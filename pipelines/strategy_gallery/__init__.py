"""The strategy_gallery pipeline."""

from daf_pipelines.pipelines.strategy_gallery.pipeline import create_pipeline

__all__ = ["create_pipeline"]
