"""Synthesis of outliers from normal images: strategies of mask, content, blending, foreground."""

from daf_pipelines.synthesis.operators import Operator, Sources
from daf_pipelines.synthesis.presets import STRATEGIES, find_strategy
from daf_pipelines.synthesis.statistics import mask_statistics, summarise
from daf_pipelines.synthesis.strategies import (
    Mixture,
    Outliers,
    Strategy,
    outlier_key,
    synthesise,
)
from daf_pipelines.synthesis.textures import load_textures

__all__ = [
    "STRATEGIES",
    "Mixture",
    "Operator",
    "Outliers",
    "Sources",
    "Strategy",
    "find_strategy",
    "load_textures",
    "mask_statistics",
    "outlier_key",
    "summarise",
    "synthesise",
]
