"""Poisson blending: the content's gradients between the image's values around the mask."""

from typing import Literal

import torch
from torch import Tensor

from daf_pipelines.synthesis.blending.arrays import Array, array_of, contiguous, double, namespace
from daf_pipelines.synthesis.blending.rectangle import Ends, RectangleSolver, exact_dot
from daf_pipelines.synthesis.geometry import bounding_boxes
from daf_pipelines.synthesis.operators import Draws

Gradients = Literal["mixed", "source"]

TOLERANCE = 2e-4
"""Of the error's energy, the root of the sum of its squared differences between neighbours, with
images in [0, 1]. Values are then off by half of it at most, as measured."""
MOST_STEPS = 500
SHIFT = 0.05
"""Fewest steps on blobs, stars, noise and Perlin masks of all sizes, of 0.01 to 1."""


def poisson_blending(
    images: Tensor,
    contents: Tensor,
    masks: Tensor,
    draws: Draws,  # noqa: ARG001 - one signature for all blendings
    *,
    gradients: Gradients = "mixed",
) -> Tensor:
    """Seamless cloning (Pérez, Gangnet and Blake, "Poisson Image Editing", SIGGRAPH 2003).

    Inside the mask, the picture whose gradients are nearest to the wanted ones and that continues
    the image around it (equations 3 and 4), found per channel from its discrete form (equation 7):
    over the neighbours q of each pixel p, the sum of f_p - f_q is that of v_pq, where v_pq is the
    difference of the content ("source", equation 11) or the larger one of the content's and the
    image's ("mixed", equation 13). As there, a pixel at the picture's border has fewer neighbours:
    nothing is prescribed on that side.

    Departures: what contents are outside the mask is not defined, so between a pixel inside and one
    outside the image's own difference is wanted; a mask of single pixels changes nothing. Where
    the mask is the whole picture, the picture keeps the image's mean. NSA (Schlüter et al., ECCV
    2022; public code ``self_sup_data/self_sup_tasks.py``) blends by OpenCV's ``seamlessClone``,
    which takes the content's gradients further inside only, mixes gradients by another rule, and
    solves on the mask's bounding box.

    The equations are those of the change u = f - I, which is zero outside: A u = b. Where the mask
    is a rectangle they are solved directly; otherwise by conjugate gradients, preconditioned with
    the direct solution on the bounding box, in 10 to 30 steps. Errors are 1e-4 at most.

    Args:
        images: Images I ``(B, C, H, W)`` float32 in [0, 1].
        contents: Contents of the same shape; overwritten.
        masks: Bool masks ``(B, 1, H, W)`` of any shape, none empty.
        draws: Not used.
        gradients: With ``"mixed"`` the image's structure shows through smoother contents, with
            ``"source"`` the content's replaces it.

    Returns:
        Blended batch ``(B, C, H, W)``, which may leave [0, 1]; outside the masks' bounding boxes
        it is the contents.
    """
    height, width = images.shape[-2:]
    boxes = bounding_boxes(masks)
    arrays = map(array_of, (images, contents, masks))
    for image, content, mask, box in zip(*arrays, boxes, strict=True):
        top, left, bottom, right = box
        within = slice(None), slice(top, bottom), slice(left, right)
        ends = (top == 0, bottom == height), (left == 0, right == width)
        own, wanted = contiguous(image[within]), contiguous(content[within])
        inside = mask[within]
        if _is_grey(own) and _is_grey(wanted):  # once for all channels
            own, wanted = own[:1], wanted[:1]
        if inside.all():
            solver = RectangleSolver(own.shape[1:], ends, images.device)
            change = solver(_right_side(own, wanted, None, gradients))
        else:
            right_side = _right_side(own, wanted, inside, gradients)
            change = _conjugate_gradients(right_side, double(inside), ends, images.device)
        change += own
        content[within] = change
    return contents


def _right_side(image: Array, content: Array, inside: Array | None, gradients: Gradients) -> Array:
    """b: by how much v exceeds the image's differences, over each pixel's neighbours in the mask.

    Args:
        image: ``(C, h, w)``.
        content: The same.
        inside: The mask ``(1, h, w)``; None: everywhere.
        gradients: See ``poisson_blending``.

    Returns:
        ``(C, h, w)`` float64.
    """
    total = 0 * image
    for axis in (1, 2):
        wanted = _later(content, axis) - _earlier(content, axis)
        own = _later(image, axis) - _earlier(image, axis)
        excess = wanted - own
        if gradients == "mixed":
            absolute = namespace(image).abs
            excess *= absolute(wanted, out=wanted) >= absolute(own, out=own)
        if inside is not None:
            excess *= _later(inside, axis) & _earlier(inside, axis)
        later, earlier = _later(total, axis), _earlier(total, axis)
        later += excess
        earlier -= excess
    return double(total)


def _conjugate_gradients(
    right_side: Array, inside: Array, ends: tuple[Ends, Ends], device: torch.device
) -> Array:
    """Solve A u = b, where A is minus the Laplacian within the mask, per channel.

    But for its shift the preconditioner exceeds A's inverse, so that the residual's product with
    its preconditioned self bounds the squared energy of the error.
    """
    # The rectangle's change may cross the mask's border within the box; the shift makes it dear.
    borders = (abs(_later(inside, axis) - _earlier(inside, axis)).sum() for axis in (1, 2))
    shift = SHIFT * float(sum(borders) / inside.sum())
    solver = RectangleSolver(inside.shape[1:], ends, device, shift)
    neighbours = _neighbours(inside, ends)
    residual, before = right_side, 1.0
    solution, direction = 0 * right_side, 0 * right_side
    for _ in range(MOST_STEPS):
        preconditioned = solver(residual) * inside
        bound = exact_dot(residual, preconditioned)
        if bound.max() <= TOLERANCE**2:
            break
        direction *= bound / before
        direction += preconditioned
        applied = _laplacian(direction, neighbours)
        applied *= inside
        step = bound / _positive(exact_dot(direction, applied))
        solution += step * direction
        applied *= step
        residual = residual - applied
        before = _positive(bound)
    return solution


def _positive(values: Array) -> Array:
    """The values; 1 for channels where they are zero, as nothing is left to do."""
    return values + (values <= 0)


def _neighbours(inside: Array, ends: tuple[Ends, Ends]) -> Array:
    """How many neighbours each pixel of the box has in the picture."""
    count = 0 * inside + 4
    for axis, free in zip((1, 2), ends, strict=True):
        for place, end in zip((0, -1), free, strict=True):
            count.swapaxes(0, axis)[place] -= float(end)
    return count


def _laplacian(values: Array, neighbours: Array) -> Array:
    """Sum of each pixel's differences from its neighbours."""
    result = values * neighbours
    for axis in (1, 2):
        later, earlier = _later(result, axis), _earlier(result, axis)
        later -= _earlier(values, axis)
        earlier -= _later(values, axis)
    return result


def _is_grey(image: Array) -> bool:
    """Whether all channels are equal; of most coloured images the first row tells."""
    return all(bool((part[1:] == part[:1]).all()) for part in (image[:, :1], image))


def _later(values: Array, axis: int) -> Array:
    """All but the first along an axis."""
    return values[(slice(None),) * axis + (slice(1, None),)]


def _earlier(values: Array, axis: int) -> Array:
    """All but the last along an axis."""
    return values[(slice(None),) * axis + (slice(-1),)]
