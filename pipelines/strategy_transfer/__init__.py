"""The strategy_transfer pipeline."""

from daf_pipelines.pipelines.strategy_transfer.pipeline import create_pipeline

__all__ = ["create_pipeline"]
