"""DRAEM's outliers the published way, one image at a time: what benchmarks/synthesis.py compares.

What ``MVTecDRAEMTrainDataset.augment_image`` of the public code (``data_loader.py``, with
``rand_perlin_2d_np`` of ``perlin.py``) does for each image: read a texture photograph, resize it,
augment it with three of ten operations, Perlin noise in numpy, rotate it, threshold, blend in
floating point. The image itself is given, as it is to ``synthesise``.

The public code augments and rotates with imgaug, which does not run with numpy 2. Here stands what
imgaug 0.4 calls for each operation: lookup tables, colour conversions and warps of OpenCV, and
Pillow for its ``pillike`` ones, without imgaug's own bookkeeping.

Run as a script, this is the process that ``Published`` talks to.
"""

import json
import math
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageOps

try:
    import cv2
except ModuleNotFoundError as error:
    raise SystemExit(
        "The published way reads and resizes with OpenCV, which is not installed. Run "
        '`pip install -c constraints.txt -e ".[bench,samples]"`.'
    ) from error

Pixels = NDArray[np.uint8]
LEVELS = np.arange(256)

# There and back, and which channel is the brightness.
BRIGHTNESS_SPACES = (
    (cv2.COLOR_BGR2YCrCb, cv2.COLOR_YCrCb2BGR, 0),
    (cv2.COLOR_BGR2HSV, cv2.COLOR_HSV2BGR, 2),
    (cv2.COLOR_BGR2HLS, cv2.COLOR_HLS2BGR, 1),
    (cv2.COLOR_BGR2Lab, cv2.COLOR_Lab2BGR, 0),
    (cv2.COLOR_BGR2Luv, cv2.COLOR_Luv2BGR, 0),
    (cv2.COLOR_BGR2YUV, cv2.COLOR_YUV2BGR, 0),
)


class Published:
    """Outliers of the published way, in a process of its own.

    Args:
        images: Files of normal images.
        textures: Files of texture photographs.
        size: Side of the images, pixels.
        kept_heap: Whether the process keeps the memory that it has freed; by default the system
            takes numpy's arrays of a few MB back after each operation.
    """

    def __init__(
        self, images: Sequence[Path], textures: Sequence[Path], size: int, kept_heap: bool
    ) -> None:
        self.process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        names = ([str(path) for path in paths] for paths in (images, textures))
        self._ask([*names, size, kept_heap])

    def seconds(self, count: int) -> float:
        """Seconds of processor time an image."""
        return self._ask(count) / count

    def close(self) -> None:
        """End the process."""
        self.process.communicate()

    def _ask(self, question: Any) -> Any:
        self.process.stdin.write(json.dumps(question) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


def main() -> None:
    """Answer the questions of ``Published``, one a line."""
    images, textures, size, kept_heap = json.loads(sys.stdin.readline())
    cv2.setNumThreads(1)
    rng = np.random.default_rng(0)
    normals = [read(path, size).astype(np.float32) / 255.0 for path in images]
    if kept_heap:
        np.ones(31 * 2**20, np.uint8)  # glibc keeps freed memory up to the largest block so far
    print(json.dumps(len(normals)), flush=True)
    for line in sys.stdin:
        began = time.process_time()
        for number in rng.integers(len(normals), size=json.loads(line)):
            outlier(normals[number], textures, rng)
        print(json.dumps(time.process_time() - began), flush=True)


def read(path: str, size: int) -> Pixels:
    return cv2.resize(cv2.imread(path), (size, size))


def outlier(
    image: NDArray[np.float32], textures: Sequence[str], rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """An outlier image and its mask, channels first, of an image ``(S, S, 3)`` in [0, 1]."""
    size = len(image)
    texture = read(textures[rng.integers(len(textures))], size)
    for number in rng.choice(len(AUGMENTATIONS), 3, replace=False):
        texture = AUGMENTATIONS[number](texture, rng)
    cells = 2 ** rng.integers(0, 6), 2 ** rng.integers(0, 6)
    noise = rotated(perlin_noise((size, size), cells, rng), rng.uniform(-90, 90))
    mask = np.where(noise > 0.5, np.ones_like(noise), np.zeros_like(noise))[:, :, None]
    content = texture.astype(np.float32) * mask / 255.0
    beta = rng.random() * 0.8
    blended = image * (1 - mask) + (1 - beta) * content + beta * image * mask
    blended, mask = blended.astype(np.float32), mask.astype(np.float32)
    blended = mask * blended + (1 - mask) * image
    return np.transpose(blended, (2, 0, 1)), np.transpose(mask, (2, 0, 1))


def perlin_noise(
    shape: tuple[int, int], cells: tuple[int, int], rng: np.random.Generator
) -> NDArray[np.float64]:
    """Perlin noise of numbers of cells that divide the shape."""
    steps = cells[0] / shape[0], cells[1] / shape[1]
    grid = np.mgrid[0 : cells[0] : steps[0], 0 : cells[1] : steps[1]].transpose(1, 2, 0) % 1
    angles = 2 * math.pi * rng.random((cells[0] + 1, cells[1] + 1))
    gradients = np.stack((np.cos(angles), np.sin(angles)), axis=-1)

    def corner(y: int, x: int) -> NDArray[np.float64]:
        tiles = gradients[y : y + cells[0], x : x + cells[1]]
        tiles = np.repeat(tiles, shape[0] // cells[0], axis=0)
        tiles = np.repeat(tiles, shape[1] // cells[1], axis=1)
        offsets = np.stack((grid[..., 0] - y, grid[..., 1] - x), axis=-1)
        return (offsets * tiles).sum(axis=-1)

    fade = 6 * grid**5 - 15 * grid**4 + 10 * grid**3
    left = lerp(corner(0, 0), corner(1, 0), fade[..., 0])
    right = lerp(corner(0, 1), corner(1, 1), fade[..., 0])
    return math.sqrt(2) * lerp(left, right, fade[..., 1])


def lerp(start: Any, end: Any, weight: Any) -> Any:
    return (end - start) * weight + start


def rotated(pixels: NDArray[Any], degrees: float) -> NDArray[Any]:
    """``Affine(rotate)``: bilinear, zeros outside."""
    height, width = pixels.shape[:2]
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, 1)
    return cv2.warpAffine(pixels, matrix, (width, height), flags=cv2.INTER_LINEAR)


def looked_up(texture: Pixels, values: NDArray[Any]) -> Pixels:
    """Tables ``(256,)``, or ``(256, channels)``, of new values."""
    table = np.clip(values, 0, 255).astype(np.uint8)
    return cv2.LUT(texture, table[None] if table.ndim == 2 else table)


def gamma(texture: Pixels, rng: np.random.Generator) -> Pixels:
    """``GammaContrast((0.5, 2.0), per_channel=True)``."""
    return looked_up(texture, 255 * (LEVELS[:, None] / 255) ** rng.uniform(0.5, 2, size=3))


def brightness(texture: Pixels, rng: np.random.Generator) -> Pixels:
    """``MultiplyAndAddToBrightness(mul=(0.8, 1.2), add=(-30, 30))``."""
    there, back, channel = BRIGHTNESS_SPACES[rng.integers(len(BRIGHTNESS_SPACES))]
    converted = cv2.cvtColor(texture, there)
    table = LEVELS * rng.uniform(0.8, 1.2) + rng.uniform(-30, 30)
    converted[..., channel] = looked_up(np.ascontiguousarray(converted[..., channel]), table)
    return cv2.cvtColor(converted, back)


def sharpness(texture: Pixels, rng: np.random.Generator) -> Pixels:
    """``pillike.EnhanceSharpness()``."""
    enhancer = ImageEnhance.Sharpness(Image.fromarray(texture))
    return np.array(enhancer.enhance(rng.uniform(0, 3)))


def hue_saturation(texture: Pixels, rng: np.random.Generator) -> Pixels:
    """``AddToHueAndSaturation((-50, 50), per_channel=True)``; OpenCV's hue has 180 levels."""
    hue, saturation = rng.integers(-50, 51) * 90 // 255, rng.integers(-50, 51)
    tables = np.stack(((LEVELS + hue) % 180, np.clip(LEVELS + saturation, 0, 255), LEVELS), axis=-1)
    converted = looked_up(cv2.cvtColor(texture, cv2.COLOR_BGR2HSV), tables)
    return cv2.cvtColor(converted, cv2.COLOR_HSV2BGR)


def solarise(texture: Pixels, rng: np.random.Generator) -> Pixels:
    """``Solarize(0.5, threshold=(32, 128))``."""
    if rng.random() < 0.5:
        return texture
    threshold = rng.uniform(32, 128)
    return looked_up(texture, np.where(threshold > LEVELS, LEVELS, 255 - LEVELS))


def posterise(texture: Pixels, rng: np.random.Generator) -> Pixels:
    """``Posterize()``."""
    bits = 8 - rng.integers(1, 9)
    return looked_up(texture, LEVELS >> bits << bits)


def invert(texture: Pixels, rng: np.random.Generator) -> Pixels:  # noqa: ARG001
    """``Invert()``."""
    return looked_up(texture, 255 - LEVELS)


def autocontrast(texture: Pixels, rng: np.random.Generator) -> Pixels:
    """``pillike.Autocontrast()``."""
    return np.array(ImageOps.autocontrast(Image.fromarray(texture), int(rng.integers(21))))


def equalise(texture: Pixels, rng: np.random.Generator) -> Pixels:  # noqa: ARG001
    """``pillike.Equalize()``."""
    return np.array(ImageOps.equalize(Image.fromarray(texture)))


def affine(texture: Pixels, rng: np.random.Generator) -> Pixels:
    """``Affine(rotate=(-45, 45))``."""
    return rotated(texture, rng.uniform(-45, 45))


AUGMENTATIONS: tuple[Callable[[Pixels, np.random.Generator], Pixels], ...] = (
    gamma,
    brightness,
    sharpness,
    hue_saturation,
    solarise,
    posterise,
    invert,
    autocontrast,
    equalise,
    affine,
)


if __name__ == "__main__":
    main()
