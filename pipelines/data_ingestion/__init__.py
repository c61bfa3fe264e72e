"""The data_ingestion pipeline."""

from daf_pipelines.pipelines.data_ingestion.pipeline import create_pipeline

__all__ = ["create_pipeline"]
