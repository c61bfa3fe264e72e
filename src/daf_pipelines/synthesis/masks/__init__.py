"""Mask operators: where an outlier lies."""

from daf_pipelines.synthesis.masks.blobs import blob_masks
from daf_pipelines.synthesis.masks.perlin import (
    combined_perlin_mask,
    fractal_perlin_mask,
    perlin_mask,
)
from daf_pipelines.synthesis.masks.rectangles import nsa_rectangle_mask, rectangle_mask, scar_mask
from daf_pipelines.synthesis.masks.shapes import (
    ellipse_masks,
    polygon_masks,
    rectangle_masks,
    simple_shape_masks,
)
from daf_pipelines.synthesis.masks.strokes import stroke_masks
from daf_pipelines.synthesis.operators import MaskFunction, named

MASKS: dict[str, MaskFunction] = named(
    {
        "perlin": perlin_mask,
        "combined_perlin": combined_perlin_mask,
        "fractal_perlin": fractal_perlin_mask,
        "rectangles": rectangle_masks,
        "ellipses": ellipse_masks,
        "polygons": polygon_masks,
        "simple_shapes": simple_shape_masks,
        "strokes": stroke_masks,
        "blobs": blob_masks,
        "cutpaste_rectangle": rectangle_mask,
        "scar": scar_mask,
        "nsa_rectangle": nsa_rectangle_mask,
    }
)
"""The mask operators by their names in configuration."""

__all__ = [
    "MASKS",
    "blob_masks",
    "combined_perlin_mask",
    "ellipse_masks",
    "fractal_perlin_mask",
    "nsa_rectangle_mask",
    "perlin_mask",
    "polygon_masks",
    "rectangle_mask",
    "rectangle_masks",
    "scar_mask",
    "simple_shape_masks",
    "stroke_masks",
]
