"""Synthesis of outliers from normal images: strategies composed of mask, content and blending."""

from daf_pipelines.synthesis.statistics import mask_statistics, summarise
from daf_pipelines.synthesis.strategies import (
    STRATEGIES,
    Outliers,
    Strategy,
    find_strategy,
    outlier_key,
    synthesise,
)
from daf_pipelines.synthesis.textures import load_textures

__all__ = [
    "STRATEGIES",
    "Outliers",
    "Strategy",
    "find_strategy",
    "load_textures",
    "mask_statistics",
    "outlier_key",
    "summarise",
    "synthesise",
]
