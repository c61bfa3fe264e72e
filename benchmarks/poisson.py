"""Poisson blending against OpenCV's seamlessClone: time on one core, differences, residuals.

Pairs of real images at 256 x 256; a patch of one is blended into the other at another place, as in
NSA: rectangles with sides of 25 to 60 % of the image, and blobs of the same extent. OpenCV is given
the mask grown by one pixel, of which it leaves the outermost pixels unchanged, so that both solve
for the same pixels of a rectangle. Both get what they work on in their own format (bytes, channels
last; floats, channels first), in memory; batches of eight, in turn. Times are the processor's,
since machines are shared; the figure is the median over the batches of the ratio of times.

What differs, in grey levels of 255 within the mask:
- "same equations": OpenCV's result and OpenCV's equations solved by ours, on rectangles. They are
  not the published ones: content's gradients count from three pixels inside, and where gradients
  are mixed, |horizontal - vertical| of a pixel decides. OpenCV cuts off decimals: 1 is agreement.
- "difference": OpenCV's result and ours, which solves the published equations (Pérez et al., 2003,
  equations 7, 11 and 13); beside it by how much ours differs from the image.
- "residual": by how much each, in bytes, misses the published equations, root mean square; rounding
  to bytes alone makes 1.3.

    pip install -c constraints.txt -e ".[bench,samples]"
    python benchmarks/poisson.py --image docs/images/poisson.png
    python benchmarks/poisson.py --root path/to/colour/images
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from daf_pipelines.sources.elpv import ELPV
from daf_pipelines.sources.images import find_images, fit_image, read_image
from daf_pipelines.synthesis.blending import poisson_blending
from daf_pipelines.synthesis.blending.rectangle import RectangleSolver

try:
    import cv2
except ModuleNotFoundError as error:
    raise SystemExit(
        "What this compares with is OpenCV, which is not installed. Run "
        '`pip install -c constraints.txt -e ".[bench,samples]"`.'
    ) from error

SIZE = 256
BATCH = 8
SIDES = 0.25, 0.6
MARGIN = 3
Bytes = NDArray[np.uint8]
Levels = NDArray[np.float64]
Mask = NDArray[np.bool_]
Gradients = Literal["mixed", "source"]
Shape = Literal["rectangle", "blob"]
FLAGS = {"mixed": cv2.MIXED_CLONE, "source": cv2.NORMAL_CLONE}


class Batch(NamedTuple):
    """What is blended: bytes, channels last."""

    images: Bytes
    contents: Bytes
    masks: Mask


def load_images(root: Path | None, count: int) -> Bytes:
    """Images of a folder, or packaged cells of ELPV."""
    files = find_images(root or ELPV().default_root() / "images")
    chosen = files[:: max(1, len(files) // count)][:count]
    return np.stack([fit_image(read_image(file), SIZE, "square") for file in chosen])


def batches(images: Bytes, shape: Shape, count: int, seed: int = 0) -> Iterator[Batch]:
    """Batches of pairs of different images, of which one is the content of the other."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        masks = [random_mask(rng, shape) for _ in range(BATCH)]
        pairs = np.stack([rng.choice(len(images), 2, replace=False) for _ in masks])
        contents = [moved(images[i], mask, rng) for i, mask in zip(pairs[:, 1], masks, strict=True)]
        yield Batch(images[pairs[:, 0]], np.stack(contents), np.stack(masks))


def moved(image: Bytes, mask: Mask, rng: np.random.Generator) -> Bytes:
    """The image shifted, so that the mask's box shows a random part of it."""
    places = [np.flatnonzero(mask.any(axis)) for axis in (1, 0)]
    shifts = [int(place[0] - rng.integers(SIZE - len(place) + 1)) for place in places]
    return np.roll(image, shifts, (0, 1))


def random_mask(rng: np.random.Generator, shape: Shape) -> Mask:
    """A rectangle or a blob, at least two pixels from the border, where OpenCV cannot blend."""
    height, width = (rng.uniform(*SIDES, 2) * SIZE).astype(int)
    top, left = (int(rng.integers(2, SIZE - side - 1)) for side in (height, width))
    mask = np.zeros((SIZE, SIZE), dtype=bool)
    box = mask[top : top + height, left : left + width]
    box[:] = True
    if shape == "blob":
        y, x = np.mgrid[-1 : 1 : 1j * height, -1 : 1 : 1j * width]
        waves, phase = rng.integers(2, 6), rng.uniform(0, 2 * np.pi)
        box[:] = np.hypot(y, x) <= 0.8 + 0.2 * np.cos(waves * np.arctan2(y, x) + phase)
    return mask


def opencv(batch: Batch, gradients: Gradients) -> Bytes:
    """The batch blended by seamlessClone."""
    blended = np.empty_like(batch.images)
    for index, (image, content, mask) in enumerate(zip(*batch, strict=True)):
        grown = cv2.dilate(mask.astype(np.uint8) * 255, np.ones((3, 3), np.uint8))
        left, top, width, height = cv2.boundingRect(grown)
        centre = left + width // 2, top + height // 2
        blended[index] = cv2.seamlessClone(content, image, grown, centre, FLAGS[gradients])
    return blended


def ours(batch: Batch, gradients: Gradients) -> Callable[[], torch.Tensor]:
    """A function that blends the batch by ``poisson_blending``."""
    images, contents = (
        torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous() / 255 for pixels in batch[:2]
    )
    masks = torch.from_numpy(batch.masks)[:, None]
    return lambda: poisson_blending(images, contents, masks, [], gradients=gradients)


def levels(blended: torch.Tensor) -> Levels:
    """Grey levels with decimals, channels last."""
    return blended.clamp(0, 1).mul(255).permute(0, 2, 3, 1).double().numpy()


def seconds(function: Callable[[], object]) -> float:
    """Processor time that a call takes."""
    began = time.process_time()
    function()
    return time.process_time() - began


def speed(images: Bytes, shape: Shape, gradients: Gradients, count: int) -> dict[str, float]:
    """Median milliseconds an image of both, in turn, and the median of their ratios."""
    times = []
    for batch in batches(images, shape, count + 1):
        other = seconds(lambda batch=batch: opencv(batch, gradients))
        times.append((other, seconds(ours(batch, gradients))))
    times = times[1:]  # the first one warms up
    return {
        "opencv_ms": 1000 * statistics.median(other for other, _ in times) / BATCH,
        "ours_ms": 1000 * statistics.median(own for _, own in times) / BATCH,
        "speedup": statistics.median(other / own for other, own in times),
    }


def forward(values: Levels, axis: int) -> Levels:
    """Differences to the next pixel, zero at the last."""
    return np.diff(values, axis=axis, append=values.take([-1], axis))


def opencv_equations(image: Levels, content: Levels, mask: Mask, gradients: Gradients) -> Levels:
    """The equations of seamlessClone on a rectangle, solved by the project's solver."""
    y, x = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    box = slice(y[0] - 1, y[-1] + 2), slice(x[0] - 1, x[-1] + 2)
    own, wanted = ([forward(part[box], axis) for axis in (0, 1)] for part in (image, content))
    deep = np.zeros(own[0].shape, dtype=bool)
    deep[MARGIN:-MARGIN, MARGIN:-MARGIN] = True
    if gradients == "mixed":
        deep &= np.abs(wanted[1] - wanted[0]) > np.abs(own[1] - own[0])
    down, across = (np.where(deep, w - o, 0) for w, o in zip(wanted, own, strict=True))
    divergence = (down[1:] - down[:-1])[:-1, 1:-1] + (across[:, 1:] - across[:, :-1])[1:-1, :-1]
    right_side = np.ascontiguousarray(-divergence.transpose(2, 0, 1))
    held = (False, False), (False, False)
    change = RectangleSolver(right_side.shape[1:], held, torch.device("cpu"))(right_side)
    blended = image.copy()
    blended[box][1:-1, 1:-1] += change.transpose(1, 2, 0)
    return blended.clip(0, 255)


def residuals(batch: Batch, blended: Levels, gradients: Gradients) -> Levels:
    """By how much the pixels of the masks miss the published equations."""
    missed = []
    for image, content, mask, result in zip(*batch, blended, strict=True):
        composed = np.where(mask[..., None], result, image).astype(float)
        total = np.zeros(image.shape)
        for axis in (0, 1):
            own, wanted = (np.diff(part.astype(float), axis=axis) for part in (image, content))
            if gradients == "mixed":
                wanted = np.where(np.abs(own) > np.abs(wanted), own, wanted)
            both = np.delete(mask, 0, axis) & np.delete(mask, -1, axis)
            excess = np.diff(composed, axis=axis) - np.where(both[..., None], wanted, own)
            zero = np.zeros_like(total.take([0], axis))
            total -= np.diff(excess, axis=axis, prepend=zero, append=zero)
        missed.append(total[mask])
    return np.concatenate(missed)


def quality(images: Bytes, shape: Shape, gradients: Gradients, count: int) -> dict[str, float]:
    """How much the results differ, and how well each solves the published equations."""
    same, difference, change = [], [], []
    missed: dict[str, list[Levels]] = {"opencv": [], "ours": []}
    for batch in batches(images, shape, count):
        other, own = opencv(batch, gradients), levels(ours(batch, gradients)())
        difference.append(np.abs(other - own)[batch.masks])
        change.append(np.abs(own - batch.images)[batch.masks])
        missed["opencv"].append(residuals(batch, other, gradients))
        missed["ours"].append(residuals(batch, own.round(), gradients))
        if shape == "rectangle":
            floats = batch.images.astype(float), batch.contents.astype(float), batch.masks
            solved = [opencv_equations(*part, gradients) for part in zip(*floats, strict=True)]
            same.append(np.abs(np.stack(solved) - other)[batch.masks].max())
    differences = np.concatenate(difference)
    return {
        **({"same_equations_max": float(max(same))} if same else {}),
        "difference_mean": float(differences.mean()),
        "difference_p99": float(np.quantile(differences, 0.99)),
        "difference_max": float(differences.max()),
        "change_mean": float(np.concatenate(change).mean()),
        **{
            f"residual_{name}": float(np.sqrt(np.mean(np.concatenate(parts) ** 2)))
            for name, parts in missed.items()
        },
    }


def draw(images: Bytes, file: Path, tile: int = 176) -> None:
    """Image, pasted patch, OpenCV, ours, and their difference x 8 within the mask; a row each."""
    rows = []
    for shape in ("rectangle", "blob"):
        batch = next(batches(images, shape, 1, seed=3))
        other, own = opencv(batch, "mixed"), levels(ours(batch, "mixed")()).round()
        for index in range(2):
            image, mask = batch.images[index], batch.masks[index][..., None]
            results = (part[index] for part in (batch.contents, other, own))
            tiles = [image, *(np.where(mask, part, image) for part in results)]
            tiles.append(np.where(mask, 8 * np.abs(own - other)[index], 0))
            y, x = ndimage.center_of_mass(mask[..., 0])
            top, left = (int(np.clip(at - tile / 2, 0, SIZE - tile)) for at in (y, x))
            rows.append(np.hstack([t[top : top + tile, left : left + tile] for t in tiles]))
    picture = np.vstack(rows).clip(0, 255).astype(np.uint8)
    grey = (picture == picture[..., :1]).all()
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture[..., 0] if grey else picture).save(file, optimize=True)


def use_one_core() -> None:
    """Bind this process to a core, with one thread."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    torch.set_num_threads(1)
    cv2.setNumThreads(1)


def measure(root: Path | None, count: int) -> dict[str, dict[str, float]]:
    """All figures, by shape and gradients. Binds the process to one core."""
    use_one_core()
    images = load_images(root, 64)
    found: dict[str, dict[str, float]] = {}
    for shape in ("rectangle", "blob"):
        for gradients in ("mixed", "source"):
            figures = speed(images, shape, gradients, count)
            figures |= quality(images, shape, gradients, 4)
            found[f"{shape}, {gradients}"] = {k: round(v, 3) for k, v in figures.items()}
            print(f"{shape}, {gradients}:", found[f"{shape}, {gradients}"], flush=True)
    return found


def main() -> None:
    """Measure, and print a JSON object last."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, help="folder of images; default: packaged ELPV cells")
    parser.add_argument("--batches", type=int, default=30)
    parser.add_argument("--image", type=Path, help="draw examples to this file")
    arguments = parser.parse_args()
    found: dict[str, Any] = measure(arguments.root, arguments.batches)
    if arguments.image:
        draw(load_images(arguments.root, 64), arguments.image)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
