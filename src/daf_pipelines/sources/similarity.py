"""Copies among images that look alike: the same picture in files that differ.

Two stages. Perceptual hashes name the few images that a picture may be a copy of; alone they
cannot tell a copy from another part in the same fixture. These candidates are then laid over the
picture, with shift, scale and contrast fitted, and what remains decides.

Light on purpose (NumPy, SciPy and Pillow): processes that only read images import it.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import fft, ndimage

Floats: TypeAlias = NDArray[np.float32]
Pixels: TypeAlias = Callable[[Sequence[int]], NDArray[np.uint8]]
"""Gives prepared RGB images of shape (N, H, W, 3) by row number."""

NEIGHBOURS = 32
"""How many of the nearest hashes show what different images of a dataset leave unexplained."""
CANDIDATES = 8
"""How many of these, the nearest, may be the original."""
RADIUS = 64
"""Bits, of 256, by which the hash of an original may differ."""
MAX_RATIO = 0.1
"""What an original leaves unexplained of its copy, relative to the median neighbour."""
MAX_RESIDUAL = 1.0
"""The same, as root mean square in 8-bit grey levels; larger ones pass at `SURE_RATIO`."""
SURE_RATIO = 0.005

_PAIRS = 2**19
_HASH_SIDE, _HASH_WORDS = 16, 4
_FINE, _EDGE, _SIDE, _MARGIN = 128, 8, 64, 3
_BANDS = ((1.5, 6.0), (0.0, 3.0), (0.0, 3.0))
_RAMP = np.linspace(-1, 1, _SIDE, dtype=np.float32)


def perceptual_hash(image: NDArray[np.uint8]) -> str:
    """Hashes what an image looks like: similar images have similar hashes.

    The bits tell which of the 16 x 16 lowest frequencies of the cosine transform, at 64 x 64
    pixels, lie above their median (pHash, Zauner, "Implementation and Benchmarking of Perceptual
    Image Hash Functions", 2010). Its 8 x 8 are too few where all images are aligned: many
    toothbrushes share all 64 bits.

    Args:
        image: RGB image of shape (H, W, 3).

    Returns:
        256 bits as 64 hexadecimal digits.
    """
    side = 4 * _HASH_SIDE
    grey = Image.fromarray(image).convert("L")
    small = grey.resize((side, side), Image.Resampling.BILINEAR, reducing_gap=2.0)
    low = fft.dctn(np.asarray(small, dtype=np.float64), norm="ortho")[:_HASH_SIDE, :_HASH_SIDE]
    return np.packbits(low > np.median(low)).tobytes().hex()


def nearest_hashes(
    queries: Sequence[str], references: Sequence[str], count: int
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Finds the nearest hashes by comparing all, in memory that does not grow with the pairs.

    Args:
        queries: Q hashes of :func:`perceptual_hash`.
        references: R hashes.
        count: Neighbours to find, at least 1.

    Returns:
        Positions in `references` and distances in bits, each of shape (Q, min(count, R)), the
        nearest first, and of equally near ones the first in `references`.
    """
    count = min(count, len(references))
    found = np.empty((len(queries), count), dtype=np.int64)
    if not count:
        return found, found
    asked, known = _words(queries), np.ascontiguousarray(_words(references).T)
    step = max(1, _PAIRS // len(references))
    for start in range(0, len(queries), step):
        # With the position in the low bits, no two keys are equal.
        keys = _distances(asked[start : start + step], known).astype(np.int64) << 32
        keys |= np.arange(len(references))
        found[start : start + step] = np.sort(np.partition(keys, count - 1)[:, :count])
    return found & 0xFFFFFFFF, found >> 32


def find_originals(
    images: Sequence[int], others: Sequence[int], hashes: Sequence[str], pixels: Pixels
) -> Iterator[int | None]:
    """Finds, for each image, another one that it is a copy of.

    A copy is re-encoded, resized, a little brighter or darker, or cropped by a few pixels. The
    thresholds were set on real images, with copies made of them, and tests hold what came out
    (`tests/sources/test_similarity.py`): of toothbrushes all copies are found, and of the others
    only a brush that was photographed twice; of ELPV's cells over 80 % of each kind of copy, and
    of the others below 1 %, clean neighbours in a module; of magnetic tiles many under another
    exposure, but not all.

    Of more than some 15 copies of one picture in `others` none is found, since then they are
    what is usual there.

    Args:
        images: Rows of the images.
        others: Rows of the possible originals.
        hashes: Perceptual hash of every row.
        pixels: Gives the pictures of rows.

    Yields:
        For each image the row of its original, None where there is none.
    """
    nearest, bits = nearest_hashes(
        [hashes[row] for row in images], [hashes[row] for row in others], NEIGHBOURS
    )
    neighbours = np.asarray(others, dtype=np.intp)[nearest].tolist()
    candidates = np.minimum((bits <= RADIUS).sum(axis=1), CANDIDATES).tolist()
    for image, rows, count in zip(images, neighbours, candidates, strict=True):
        yield _find_original(image, rows, count, pixels) if count else None


def _find_original(
    image: int, neighbours: list[int], candidates: int, pixels: Pixels
) -> int | None:
    picture = shrink(pixels([image]))[0]
    residuals, variance = compare(shrink(pixels(neighbours[:candidates])), picture)
    best = int(residuals.argmin())
    # The usual residual is at most the variance: often it need not be known.
    if not _is_copy(residuals[best], variance):
        return None
    original = neighbours.pop(best)
    if neighbours:
        usual = float(np.median(compare(shrink(pixels(neighbours)), picture)[0]))
        if not _is_copy(residuals[best], usual):
            return None
    return original


def _is_copy(residual: float, usual: float) -> bool:
    """Whether a mean square residual is that of a copy, beside that of other images."""
    return residual < MAX_RATIO * usual and residual < max(MAX_RESIDUAL**2, SURE_RATIO * usual)


def shrink(images: NDArray[np.uint8]) -> Floats:
    """Brings RGB images (N, H, W, 3) to 128 x 128 pixels, grey, with an edge: (N, 144, 144)."""
    size = (_FINE, _FINE)
    small = [
        Image.fromarray(i).convert("L").resize(size, Image.Resampling.BILINEAR) for i in images
    ]
    edge = ((0, 0), (_EDGE, _EDGE), (_EDGE, _EDGE))
    return np.pad(np.array(small, dtype=np.float32), edge, mode="edge")


def compare(references: Floats, picture: Floats) -> tuple[Floats, float]:
    """Lays each reference over a picture and measures what it does not explain.

    What is explained is the picture's detail d, the picture less its Gaussian blur (sigma 3 at
    64 x 64 pixels, which takes away the lighting), by the reference's detail r:

        d = g r + (a + b x) dr/dx + (c + e y) dr/dy,    x, y in [-1, 1],

    fitted by least squares. That is the contrast g and, to first order, shift and scale, by which
    the reference is then sampled anew; of three fits the first is coarse.

    Args:
        references: Pictures of :func:`shrink`, shape (P, 144, 144).
        picture: Another one, shape (144, 144).

    Returns:
        Mean square of d that each reference leaves unexplained, shape (P,), and of d itself,
        which is the largest that they can be.
    """
    motion = np.zeros((len(references), 4), dtype=np.float32)
    still = _sampled(picture[None], motion[:1])
    for fine, coarse in _BANDS:
        detail = _inner(_detail(still, fine, coarse))[0]
        moved = _detail(_sampled(references, motion), fine, coarse)
        weights, residuals = _fit(_regressors(moved), detail)
        contrast = np.where(weights[:, :1] > 0.3, weights[:, :1], 1)
        motion += np.clip(weights[:, 1:] / contrast, -2, 2)
    variance = float(np.square(detail).mean())
    # A picture's negative explains nothing of it.
    return np.where(weights[:, 0] > 0, residuals, variance), variance


def _words(hashes: Sequence[str]) -> NDArray[np.uint64]:
    """The hashes as rows of 64-bit words, shape (N, 4)."""
    data = np.frombuffer(bytes.fromhex("".join(hashes)), dtype=np.uint64)
    return data.reshape(len(hashes), _HASH_WORDS)


def _distances(asked: NDArray[np.uint64], known: NDArray[np.uint64]) -> NDArray[np.uint16]:
    """Bits that differ, shape (Q, R), of words of shape (Q, 4) and (4, R)."""
    distances = np.zeros((len(asked), known.shape[1]), dtype=np.uint16)
    for word in range(_HASH_WORDS):
        distances += np.bitwise_count(asked[:, word, None] ^ known[word])
    return distances


def _sampled(pictures: Floats, motion: Floats) -> Floats:
    """Pictures (P, 144, 144) less their edge at 64 x 64, moved by (P, 4): see :func:`compare`."""
    half = _FINE / 2
    centre = half + _EDGE + motion[:, :2] * (_FINE / _SIDE)
    reach = half + motion[:, 2:] * (_FINE / _SIDE)
    boxes = np.clip(np.hstack([centre - reach, centre + reach]), 0, _FINE + 2 * _EDGE)
    samples = [
        Image.fromarray(picture).resize((_SIDE, _SIDE), Image.Resampling.BILINEAR, tuple(box))
        for picture, box in zip(pictures, boxes.tolist(), strict=True)
    ]
    return np.array(samples, dtype=np.float32)


def _detail(pictures: Floats, fine: float, coarse: float) -> Floats:
    """Difference of two Gaussian blurs of (P, 64, 64)."""
    sharp, blurred = (
        ndimage.gaussian_filter(pictures, sigma, mode="nearest", axes=(1, 2))
        for sigma in (fine, coarse)
    )
    detail: Floats = sharp - blurred
    return detail


def _inner(images: Floats) -> Floats:
    """Pixels off the border, where shifts bring in what is not there: (..., H, W) to (..., M)."""
    inner = images[..., _MARGIN:-_MARGIN, _MARGIN:-_MARGIN]
    return inner.reshape(*images.shape[:-2], -1)


def _regressors(detail: Floats) -> Floats:
    """Detail and its changes by shift and scale, of (P, 64, 64): shape (P, 5, M)."""
    down, across = np.gradient(detail, axis=(1, 2))
    changes = [detail, across, down, across * _RAMP, down * _RAMP[:, None]]
    return _inner(np.stack(changes, axis=1))


def _fit(regressors: Floats, target: Floats) -> tuple[Floats, Floats]:
    """Least squares: weights (P, 5) and mean square residuals (P,)."""
    # Not as matrix products, whose threads cost more than they gain at this size.
    products = np.einsum("pim,pjm->pij", regressors, regressors)
    right = np.einsum("pim,m->pi", regressors, target)
    # So little that it matters only where a reference has no detail.
    ridge = 1e-5 * np.trace(products, axis1=1, axis2=2) + 1e-6
    products += ridge[:, None, None] * np.eye(products.shape[1], dtype=np.float32)
    weights: Floats = np.linalg.solve(products, right[..., None])[..., 0]
    residual = target - np.einsum("pi,pim->pm", weights, regressors)
    return weights, np.square(residual).mean(axis=1)
