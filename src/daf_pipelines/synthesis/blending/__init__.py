"""Blending operators: how contents and images are combined inside the masks."""

from daf_pipelines.synthesis.blending.feathered import gaussian_blending
from daf_pipelines.synthesis.blending.opacity import (
    hard_paste,
    normal_opacity_blending,
    opacity_blending,
)
from daf_pipelines.synthesis.blending.poisson import poisson_blending
from daf_pipelines.synthesis.operators import BlendingFunction, named

BLENDINGS: dict[str, BlendingFunction] = named(
    {
        "gaussian": gaussian_blending,
        "hard": hard_paste,
        "normal_opacity": normal_opacity_blending,
        "opacity": opacity_blending,
        "poisson": poisson_blending,
    }
)
"""The blending operators by their names in configuration."""

__all__ = [
    "BLENDINGS",
    "gaussian_blending",
    "hard_paste",
    "normal_opacity_blending",
    "opacity_blending",
    "poisson_blending",
]
