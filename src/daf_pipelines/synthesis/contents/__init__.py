"""Content operators: what an outlier looks like."""

from daf_pipelines.synthesis.contents.own import augmented_self
from daf_pipelines.synthesis.contents.patches import normal_patch, own_patch
from daf_pipelines.synthesis.contents.textures import (
    augmented_texture,
    plain_colour,
    plain_texture,
)
from daf_pipelines.synthesis.operators import ContentFunction, named

CONTENTS: dict[str, ContentFunction] = named(
    {
        "augmented_self": augmented_self,
        "augmented_texture": augmented_texture,
        "normal_patch": normal_patch,
        "own_patch": own_patch,
        "plain_colour": plain_colour,
        "plain_texture": plain_texture,
    }
)
"""The contents by the name that configuration gives them."""

__all__ = [
    "CONTENTS",
    "augmented_self",
    "augmented_texture",
    "normal_patch",
    "own_patch",
    "plain_colour",
    "plain_texture",
]
