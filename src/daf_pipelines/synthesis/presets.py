"""The presets: strategies by name."""

import difflib
from collections.abc import Iterable, Mapping

from daf_pipelines.errors import ParameterError
from daf_pipelines.synthesis.blending import (
    gaussian_blending,
    hard_paste,
    normal_opacity_blending,
    opacity_blending,
    poisson_blending,
)
from daf_pipelines.synthesis.contents import (
    augmented_self,
    augmented_texture,
    normal_patch,
    own_patch,
    plain_colour,
    plain_texture,
)
from daf_pipelines.synthesis.masks import (
    blob_masks,
    combined_perlin_mask,
    fractal_perlin_mask,
    nsa_rectangle_mask,
    perlin_mask,
    rectangle_mask,
    scar_mask,
    simple_shape_masks,
    stroke_masks,
)
from daf_pipelines.synthesis.operators import Operator
from daf_pipelines.synthesis.strategies import Mixture, Strategy

DRAEM = Strategy(
    Operator(perlin_mask),
    Operator(augmented_texture),
    Operator(opacity_blending),
    "A texture photograph through three random augmentations, within a Perlin mask, at an opacity "
    "of 1 - U(0, 0.8): Zavrtanik et al., DRAEM, ICCV 2021, section 3.3; DRA in DAF. Departure: "
    "plain textures where there is no texture folder.",
)

NSA = Strategy(
    Operator(nsa_rectangle_mask),
    Operator(normal_patch),
    Operator(poisson_blending, gradients="source"),
    "Rescaled patches of another normal image, Poisson-blended with the patches' gradients: "
    "Schlueter et al., NSA, ECCV 2022; NSA in DAF. Up to three patches, on the object. What "
    "changes by a level or less is no outlier, as in its public code, unless nothing else is; its "
    "variants with mixed gradients are blending: poisson. Departures: one setting for all "
    "categories, where the public code has sizes, scales, numbers of patches and shares of object "
    "for each; patches lie on this image's object, there on either's; binary labels only.",
    foreground="object",
    repeats=3,
    tolerance=1.0,
)

SIMPLE_TEXTURE = Strategy(
    Operator(perlin_mask),
    Operator(plain_texture),
    Operator(opacity_blending),
    "A plain texture (one colour, a gradient, stripes or noise) within a Perlin mask, at an "
    "opacity of 1 - U(0, 0.8): Simple Texture of Cai et al., DAF, IEEE TII 2023. The paper names "
    "the idea, not the textures: these are ours.",
)

SIMPLE_SHAPE = Strategy(
    Operator(simple_shape_masks),
    Operator(augmented_texture),
    Operator(opacity_blending),
    "DRAEM's textures within rectangles, ellipses and polygons: Simple Shape of Cai et al., DAF, "
    "IEEE TII 2023. The paper names the idea, not the shapes' sizes: these are ours.",
)

SIMPLE_TEXTURE_SHAPE = Strategy(
    Operator(simple_shape_masks),
    Operator(plain_texture),
    Operator(opacity_blending),
    "Plain textures within rectangles, ellipses and polygons: Simple Texture-Shape of Cai et al., "
    "DAF, IEEE TII 2023, the cheapest of its strategies.",
)

CUTPASTE = Strategy(
    Operator(rectangle_mask),
    Operator(own_patch),
    Operator(hard_paste),
    "A colour-jittered rectangle of the same image pasted at another position: Li et al., "
    "CutPaste, CVPR 2021, section 2.2.",
)

CUTPASTE_SCAR = Strategy(
    Operator(scar_mask),
    Operator(own_patch),
    Operator(hard_paste),
    "A long, thin, rotated strip of the same image pasted at another position: Scar of Li et al., "
    "CutPaste, CVPR 2021, section 2.3. Departure: the mask is rotated, the patch in it is not.",
)

PERLIN_NOISE = Strategy(
    Operator(fractal_perlin_mask),
    Operator(plain_texture, kinds=("perlin",)),
    Operator(opacity_blending),
    "Perlin noise in two colours within a fractal Perlin mask: Perlin, SIGGRAPH 1985, as mask and "
    "as content, without any photograph. No paper's strategy; a cheap one with soft, cloudy looks.",
)

MEMSEG_TEXTURE = Strategy(
    Operator(perlin_mask),
    Operator(augmented_texture, augmentations=0),
    Operator(opacity_blending, image_share=(0.0, 0.85)),
    "A texture photograph within a Perlin mask on the object, at an opacity of U(0.15, 1): the "
    "textural anomalies of Yang et al., MemSeg, arXiv 2205.00908.",
    foreground="object",
)

MEMSEG_STRUCTURE = Strategy(
    Operator(perlin_mask),
    Operator(augmented_self),
    Operator(opacity_blending, image_share=(0.0, 0.85)),
    "The image itself, mirrored, augmented and with its parts in random order, within a Perlin "
    "mask on the object, at an opacity of U(0.15, 1): the structural anomalies of Yang et al., "
    "MemSeg, arXiv 2205.00908.",
    foreground="object",
)

GLASS = Strategy(
    Operator(combined_perlin_mask),
    Operator(augmented_texture),
    Operator(normal_opacity_blending),
    "Texture photographs within one Perlin mask, or the union or the intersection of two, on the "
    "object, at an opacity of N(0.5, 0.1): local anomaly synthesis of Chen et al., GLASS, ECCV "
    "2024. Departures: DRAEM's augmentations; its anomalies in feature space, which "
    "are no images, are not part of it.",
    foreground="object",
)

DESTSEG = Strategy(
    Operator(perlin_mask),
    Operator(augmented_texture, augmentations=0),
    Operator(opacity_blending),
    "DRAEM without augmentations of the texture, as in the public code of Zhang et al., DeSTSeg, "
    "CVPR 2023.",
)

SCRATCHES = Strategy(
    Operator(stroke_masks),
    Operator(plain_colour),
    Operator(gaussian_blending, sigma=1.0),
    "Thin, curved strokes in one colour with soft borders: scratches, hairs, fibres and fine "
    "cracks. No paper's strategy.",
    foreground="object",
)

STAINS = Strategy(
    Operator(blob_masks),
    Operator(plain_texture, kinds=("uniform", "gradient", "perlin")),
    Operator(gaussian_blending),
    "Smooth blobs that fade into the image: stains, dirt and discolouration. No paper's strategy.",
    foreground="object",
)

MIXED = Mixture(
    {
        "draem": DRAEM,
        "nsa": NSA,
        "simple_texture_shape": SIMPLE_TEXTURE_SHAPE,
        "cutpaste": CUTPASTE,
        "cutpaste_scar": CUTPASTE_SCAR,
    },
    {"draem": 1, "nsa": 1, "simple_texture_shape": 1, "cutpaste": 1, "cutpaste_scar": 1},
    "One of draem, nsa, simple_texture_shape, cutpaste and cutpaste_scar for each image, all "
    "alike: what they have in common is that they are unlike each other.",
)

STRATEGIES: dict[str, Strategy | Mixture] = {
    "draem": DRAEM,
    "nsa": NSA,
    "simple_texture": SIMPLE_TEXTURE,
    "simple_shape": SIMPLE_SHAPE,
    "simple_texture_shape": SIMPLE_TEXTURE_SHAPE,
    "cutpaste": CUTPASTE,
    "cutpaste_scar": CUTPASTE_SCAR,
    "perlin_noise": PERLIN_NOISE,
    "memseg_texture": MEMSEG_TEXTURE,
    "memseg_structure": MEMSEG_STRUCTURE,
    "memseg": Mixture(
        {"texture": MEMSEG_TEXTURE, "structure": MEMSEG_STRUCTURE},
        {"texture": 1, "structure": 1},
        "Textural and structural anomalies in equal shares: Yang et al., MemSeg, arXiv 2205.00908, "
        "their simulation of anomalies.",
    ),
    "glass": GLASS,
    "destseg": DESTSEG,
    "scratches": SCRATCHES,
    "stains": STAINS,
    "mixed": MIXED,
}
"""The presets by name.

RealNet (Zhang et al., CVPR 2024) has none of its own: its anomalies come from a diffusion model, or
else are, in its public code, those of ``draem`` on the object.
"""


def find_strategy(
    name: str, others: Mapping[str, Strategy | Mixture] | None = None
) -> Strategy | Mixture:
    """The strategy of that name, a preset or one of ``others``.

    Raises:
        ParameterError: There is none; the message lists the names and the nearest one.
    """
    known = STRATEGIES | dict(others or {})
    if name not in known:
        raise unknown_name("synthesis.strategy", "strategy", name, known)
    return known[name]


def unknown_name(where: str, kind: str, name: str, known: Iterable[str]) -> ParameterError:
    """The error for a name that is not among the known ones."""
    names = sorted(known)
    nearest = difflib.get_close_matches(name, names, n=1)
    hint = f"; did you mean '{nearest[0]}'?" if nearest else "."
    return ParameterError(f"{where}: unknown {kind} '{name}'{hint} Known: {', '.join(names)}.")
