import importlib.util
import io
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from daf_pipelines.sources import similarity
from daf_pipelines.sources.elpv import ELPV
from daf_pipelines.sources.images import find_images, read_image, resize_image
from daf_pipelines.sources.similarity import (
    RADIUS,
    compare,
    find_originals,
    nearest_hashes,
    perceptual_hash,
    shrink,
)

Picture = NDArray[np.uint8]

needs_elpv = pytest.mark.skipif(
    importlib.util.find_spec("elpv_dataset") is None, reason="elpv-dataset is not installed"
)


def texture(seed: int, size: int = 160, sigma: float = 2.0) -> NDArray[np.float64]:
    """Smooth noise, standard deviation 1."""
    noise = np.random.default_rng(seed).normal(size=(size, size))
    smooth = ndimage.gaussian_filter(noise, sigma)
    return smooth / smooth.std()


def part(seed: int) -> Picture:
    """One of many parts in the same fixture: a strong common structure, a weak texture."""
    common = 25 * texture(0) + 40 * (np.arange(160) % 40 < 4)
    grey = np.clip(110 + common + 10 * texture(seed), 0, 255).astype(np.uint8)
    return np.repeat(grey[:, :, None], 3, axis=2)


def jpeg(image: Picture, quality: int) -> Picture:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    return np.array(Image.open(file).convert("RGB"))


def resized(image: Picture, factor: float) -> Picture:
    size = (round(image.shape[1] * factor), round(image.shape[0] * factor))
    return np.array(Image.fromarray(image).resize(size, Image.Resampling.LANCZOS))


def brighter(image: Picture, percent: int) -> Picture:
    return np.clip(image * (1 + percent / 100), 0, 255).astype(np.uint8)


COPIES: dict[str, Callable[[Picture], Picture]] = {
    "re-encoded": lambda image: jpeg(image, 75),
    "half the size": lambda image: resized(image, 0.5),
    "larger": lambda image: resized(image, 1.3),
    "brighter": lambda image: brighter(image, 8),
    "darker": lambda image: brighter(image, -8),
    "cropped by 1": lambda image: image[1:, 1:],
    "cropped by 2, re-encoded": lambda image: jpeg(np.ascontiguousarray(image[2:, 2:]), 75),
    "cropped on all sides": lambda image: image[2:-2, 2:-2],
}


def search(
    images: Sequence[Picture], others: Sequence[Picture], size: int = 128
) -> list[int | None]:
    """Position in `others` of the original of each image."""
    files = [*images, *others]
    prepared = np.array([resize_image(np.ascontiguousarray(file), size) for file in files])
    hashes = [perceptual_hash(np.ascontiguousarray(file)) for file in files]
    rows = range(len(images), len(files))
    found = find_originals(range(len(images)), rows, hashes, lambda wanted: prepared[list(wanted)])
    return [None if row is None else row - len(images) for row in found]


def distance(a: str, b: str) -> int:
    return (int(a, 16) ^ int(b, 16)).bit_count()


class TestPerceptualHash:
    def test_bits_are_low_frequencies_above_their_median(self) -> None:
        image = np.repeat(np.random.default_rng(0).integers(0, 256, (64, 64, 1)), 3, axis=2)
        angle = np.pi / 64 * np.outer(np.arange(16), np.arange(64) + 0.5)
        basis = np.cos(angle) * np.where(np.arange(16) == 0, 0.5**0.5, 1)[:, None]
        low = basis @ image[:, :, 0] @ basis.T
        bits = "".join("1" if value else "0" for value in (low > np.median(low)).ravel())
        assert perceptual_hash(image.astype(np.uint8)) == f"{int(bits, 2):064x}"

    @pytest.mark.parametrize("kind", COPIES)
    def test_copies_are_within_the_radius(self, kind: str) -> None:
        image = part(1)
        copy = np.ascontiguousarray(COPIES[kind](image))
        assert distance(perceptual_hash(image), perceptual_hash(copy)) <= RADIUS

    def test_unrelated_images_are_not(self) -> None:
        hashes = [
            perceptual_hash(np.repeat((128 + 40 * texture(s, 90))[:, :, None], 3, 2).astype("u1"))
            for s in range(8)
        ]
        distances = [distance(a, b) for i, a in enumerate(hashes) for b in hashes[:i]]
        assert min(distances) > RADIUS

    def test_blank_images_have_a_hash(self) -> None:
        assert len(perceptual_hash(np.zeros((5, 900, 3), dtype=np.uint8))) == 64


digests = st.lists(st.integers(0, 2**256 - 1).map(lambda n: f"{n:064x}"), max_size=12)


class TestNearestHashes:
    @given(queries=digests, references=digests, count=st.integers(1, 9), pairs=st.integers(1, 40))
    @settings(max_examples=60, deadline=None)
    def test_as_by_brute_force(
        self, queries: list[str], references: list[str], count: int, pairs: int
    ) -> None:
        references = references + references[:3]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(similarity, "_PAIRS", pairs)
            positions, distances = nearest_hashes(queries, references, count)
        expected = [
            sorted((distance(query, other), p) for p, other in enumerate(references))[:count]
            for query in queries
        ]
        found = [
            list(zip(d, p, strict=True))
            for d, p in zip(distances.tolist(), positions.tolist(), strict=True)
        ]
        assert found == expected

    def test_memory_does_not_grow_with_the_pairs(self) -> None:
        digits = np.random.default_rng(0).bytes(32 * 40_000)
        hashes = [digits[32 * i : 32 * i + 32].hex() for i in range(40_000)]
        tracemalloc.start()
        nearest_hashes(hashes[:400], hashes, 8)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        # All pairs at once would take 128 MB for the keys alone.
        assert peak < 40e6


class TestCompare:
    def test_a_moved_picture_with_another_contrast_is_explained(self) -> None:
        wide = (120 + 30 * texture(3, 140)).astype(np.uint8)
        first, second = wide[4:132, 4:132], (wide[6:134, 3:131] * 0.7).astype(np.uint8)
        pictures = shrink(np.stack([first, second])[..., None].repeat(3, axis=3))
        residuals, variance = compare(pictures[:1], pictures[1])
        assert residuals[0] < 0.01 * variance

    def test_the_variance_bounds_what_is_unexplained(self) -> None:
        grey = np.stack([128 + 30 * texture(seed, 128) for seed in range(4)])
        images = np.concatenate([grey, 255 - grey[:1], grey[:1] * 0 + 90]).astype(np.uint8)
        pictures = shrink(images[..., None].repeat(3, axis=3))
        residuals, variance = compare(pictures, pictures[0])
        assert residuals[0] == pytest.approx(0, abs=1e-3)
        assert (residuals[1:4] > 0.9 * variance).all()
        # Neither its negative nor a blank one explains anything.
        assert residuals[4:] == pytest.approx([variance] * 2, rel=1e-4)
        assert (residuals <= variance * (1 + 1e-5)).all()

    def test_flat_pictures(self) -> None:
        pictures = shrink(np.full((2, 64, 64, 3), 200, dtype=np.uint8))
        residuals, variance = compare(pictures[:1], pictures[1])
        assert residuals[0] == variance == 0


class TestFindOriginals:
    @pytest.mark.parametrize("size", [64, 128, 224])
    def test_copies_among_aligned_parts(self, size: int) -> None:
        others = [part(seed) for seed in range(1, 31)]
        images = [copy(others[5 + i]) for i, copy in enumerate(COPIES.values())]
        assert search(images, others, size) == list(range(5, 5 + len(COPIES)))

    def test_aligned_parts_are_no_copies(self) -> None:
        images = [part(seed) for seed in range(100, 130)]
        assert search(images, [part(seed) for seed in range(1, 31)]) == [None] * 30

    def test_blank_images_are_no_copies(self) -> None:
        blank = [np.full((80, 80, 3), level, dtype=np.uint8) for level in (0, 90, 90, 255)]
        assert search(blank, [*blank, part(1)]) == [None] * 4

    @pytest.mark.parametrize("count", [1, 2])
    def test_few_others(self, count: int) -> None:
        others = [part(seed) for seed in range(1, 1 + count)]
        assert search([jpeg(part(1), 80), part(9)], others) == [0, None]

    def test_nothing_to_search(self) -> None:
        assert search([part(1)], []) == [None]
        assert search([], [part(1)]) == []

    def test_one_that_is_shown_by_most_is_usual(self) -> None:
        others = [jpeg(part(1), quality) for quality in range(60, 90)]
        assert search([part(1)], others) == [None]


def share_found(images: list[Picture], others: list[Picture]) -> dict[str, float]:
    """Share of each kind of copies of `images`, which are among `others`, that is found."""
    found = search([copy(image) for copy in COPIES.values() for image in images], others)
    kinds = np.reshape([row is not None for row in found], (len(COPIES), len(images)))
    return dict(zip(COPIES, kinds.mean(axis=1).tolist(), strict=True))


class TestRealData:
    def test_toothbrushes(self, test_datasets: Path) -> None:
        root = test_datasets / "mvtec_ad" / "toothbrush"
        train, test = (find_images(root / split) for split in ("train", "test"))
        others = [*map(read_image, train)]
        originals = search([*map(read_image, test)], others)
        # One brush was photographed twice; all others only look alike.
        assert [
            (image.relative_to(root).as_posix(), train[row].relative_to(root).as_posix())
            for image, row in zip(test, originals, strict=True)
            if row is not None
        ] == [("test/good/002.png", "train/good/011.png")]
        assert min(share_found(others[::8], others).values()) == 1

    @needs_elpv
    def test_solar_cells(self) -> None:
        root = ELPV().default_root()
        rows = ELPV().list_images(root, "mono").rows
        train, test = (
            [read_image(root / row.path) for row in rows if row.split == split]
            for split in ("train", "test")
        )
        # Cells of one module that are as good as equal.
        assert sum(row is not None for row in search(test, train)) <= 0.01 * len(test)
        assert min(share_found(train[::30], train).values()) > 0.8

    def test_magnetic_tiles_under_several_exposures(self, test_datasets: Path) -> None:
        files = find_images(test_datasets / "magnetic_tile" / "MT_Free")
        files = [file for file in files if file.suffix == ".jpg"]
        numbers = [int(file.stem.rpartition("_")[2]) for file in files]
        pictures = [*map(read_image, files)]
        found = search(pictures[::5], pictures[1::5] + pictures[2::5])
        others = numbers[1::5] + numbers[2::5]
        gaps = [
            abs(number - others[row])
            for number, row in zip(numbers[::5], found, strict=True)
            if row is not None
        ]
        # The exposures of one tile were taken, and numbered up to 359,542, one after the other.
        assert len(gaps) > 60
        assert np.mean(np.array(gaps) < 250) > 0.9
