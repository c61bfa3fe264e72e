import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import rotate as scipy_rotate

from daf_pipelines.synthesis.masks import (
    PLACING_ATTEMPTS,
    bounding_boxes,
    box_masks,
    masks_within,
    perlin_mask,
    perlin_noise,
    rectangle_mask,
    rotate,
)

CPU = torch.device("cpu")


def generators(count, seed=0):
    return [np.random.default_rng([seed, i]) for i in range(count)]


def random_gradients(rng, cells_y, cells_x):
    angles = 2 * math.pi * rng.random((cells_y + 1, cells_x + 1))
    return np.stack((np.cos(angles), np.sin(angles)), axis=-1)


def published_perlin(gradients, shape):
    """Tile the gradients over the pixels and interpolate corner by corner, as DRAEM's perlin.py."""
    cells = gradients.shape[0] - 1, gradients.shape[1] - 1
    repeats = shape[0] // cells[0], shape[1] // cells[1]
    y, x = np.mgrid[0 : shape[0], 0 : shape[1]]
    grid_y, grid_x = (y / repeats[0]) % 1, (x / repeats[1]) % 1

    def corner(down, right):
        part = gradients[down : cells[0] + down, right : cells[1] + right]
        tiled = part.repeat(repeats[0], axis=0).repeat(repeats[1], axis=1)
        return (grid_y - down) * tiled[..., 0] + (grid_x - right) * tiled[..., 1]

    def lerp(start, end, weight):
        return (end - start) * weight + start

    fade_y, fade_x = (6 * t**5 - 15 * t**4 + 10 * t**3 for t in (grid_y, grid_x))
    left = lerp(corner(0, 0), corner(1, 0), fade_y)
    right = lerp(corner(0, 1), corner(1, 1), fade_y)
    return math.sqrt(2) * lerp(left, right, fade_x)


class TestPerlinNoise:
    def test_equals_the_published_code_across_scales_in_one_batch(self):
        rng = np.random.default_rng(0)
        scales = [(1, 1), (32, 2), (4, 16), (1, 32)]
        gradients = [random_gradients(rng, *cells) for cells in scales]
        noise = perlin_noise(gradients, 64, 96, CPU)
        for computed, lattice in zip(noise, gradients, strict=True):
            np.testing.assert_allclose(computed[0], published_perlin(lattice, (64, 96)), atol=1e-5)

    @pytest.mark.parametrize("size", [(33, 47), (50, 41)])
    def test_size_that_the_cells_do_not_divide(self, size):
        lattice = random_gradients(np.random.default_rng(1), 4, 8)
        noise = perlin_noise([lattice], *size, CPU)[0, 0]
        for y, x in [(0, 0), (7, 13), (size[0] - 1, size[1] - 1)]:
            position = y * 4 / size[0], x * 8 / size[1]
            cell = int(position[0]), int(position[1])
            offset = position[0] - cell[0], position[1] - cell[1]
            expected = 0.0
            for down in (0, 1):
                for right in (0, 1):
                    g = lattice[cell[0] + down, cell[1] + right]
                    weights = [
                        t if end else 1 - t
                        for t, end in zip(
                            (6 * t**5 - 15 * t**4 + 10 * t**3 for t in offset),
                            (down, right),
                            strict=True,
                        )
                    ]
                    dot = (offset[0] - down) * g[0] + (offset[1] - right) * g[1]
                    expected += weights[0] * weights[1] * dot
            assert float(noise[y, x]) == pytest.approx(math.sqrt(2) * expected, abs=1e-5)


class TestRotate:
    @pytest.mark.parametrize("shape", [(40, 40), (33, 50)])
    def test_equals_scipy(self, shape):
        images = torch.rand(2, 1, *shape, generator=torch.Generator().manual_seed(0))
        rotated = rotate(images, [30, -75])
        inner = slice(4, -4)
        for image, result, degrees in zip(images, rotated, (30, -75), strict=True):
            expected = scipy_rotate(image[0], degrees, reshape=False, order=1, mode="grid-constant")
            np.testing.assert_allclose(result[0][inner, inner], expected[inner, inner], atol=1e-4)

    def test_quarter_turn_of_a_square_moves_every_pixel(self):
        image = torch.arange(36.0).view(1, 1, 6, 6)
        torch.testing.assert_close(
            rotate(image, [90])[0, 0], image[0, 0].rot90(), atol=1e-4, rtol=0
        )


class TestPerlinMask:
    def test_is_never_empty_even_if_every_attempt_is(self, monkeypatch):
        monkeypatch.setattr("daf_pipelines.synthesis.masks.PERLIN_THRESHOLD", 2.0)
        masks = perlin_mask(torch.zeros(6, 3, 40, 56), generators(6))
        shares = masks.float().mean(dim=(1, 2, 3))
        assert (shares > 0).all()
        assert (shares < 0.5).all()

    def test_only_empty_masks_are_drawn_again(self, monkeypatch):
        images = torch.zeros(200, 1, 32, 32)
        monkeypatch.setattr("daf_pipelines.synthesis.masks.PERLIN_ATTEMPTS", 0)
        once = perlin_mask(images, generators(200))
        monkeypatch.undo()
        again = perlin_mask(images, generators(200))
        different = (once != again).flatten(1).any(dim=1)
        assert 0 < int(different.sum()) < 40


class TestRectangleMask:
    def test_published_ranges(self):
        height, width = 200, 160
        masks = rectangle_mask(torch.zeros(300, 3, height, width), generators(300))
        boxes = np.array(bounding_boxes(masks))
        sides = boxes[:, 2:] - boxes[:, :2]
        areas = sides.prod(axis=1) / (height * width)
        np.testing.assert_allclose(areas, masks.float().mean(dim=(1, 2, 3)), atol=1e-6)
        assert areas.min() > 0.019
        assert areas.max() < 0.152
        assert np.quantile(areas, 0.5) == pytest.approx(0.085, abs=0.015)
        aspects = sides[:, 1] / sides[:, 0]
        assert aspects.min() > 0.28
        assert aspects.max() < 3.5
        assert np.mean(aspects < 1) == pytest.approx(0.5, abs=0.1)

    def test_is_cut_to_an_elongated_image(self):
        masks = rectangle_mask(torch.zeros(50, 3, 32, 640), generators(50))
        assert (masks.flatten(1).sum(dim=1) > 0).all()


def test_bounding_boxes_by_hand():
    masks = torch.zeros(2, 1, 6, 8, dtype=torch.bool)
    masks[0, 0, 2, 3] = True
    masks[1, 0, 0, 7] = masks[1, 0, 5, 1] = True
    assert bounding_boxes(masks) == [(2, 3, 3, 4), (0, 1, 6, 8)]


class TestBoxMasks:
    def test_by_hand(self):
        masks = box_masks([(0, 1, 2, 3), (-3, 2, 1, 9)], torch.zeros(5, 3, 3, 4))
        assert masks.shape == (2, 1, 3, 4)
        assert masks.dtype == torch.bool
        assert masks[0, 0].int().tolist() == [[0, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0]]
        assert masks[1, 0].int().tolist() == [[0, 0, 1, 1], [0, 0, 0, 0], [0, 0, 0, 0]]


@st.composite
def boxes_in(draw, size):
    top, bottom = sorted(draw(st.lists(st.integers(0, size), min_size=2, max_size=2, unique=True)))
    left, right = sorted(draw(st.lists(st.integers(0, size), min_size=2, max_size=2, unique=True)))
    return top, left, bottom, right


class Scripted:
    """A mask operator that puts one pixel where a list says, for each image its own list."""

    def __init__(self, *places):
        self.places = [iter(p) for p in places]
        self.draws = generators(len(places))
        self.asked = []

    def __call__(self, images, draws):
        chosen = [self.draws.index(rng) for rng in draws]
        self.asked.append(chosen)
        masks = torch.zeros(len(images), 1, *images.shape[-2:], dtype=torch.bool)
        for mask, i in zip(masks, chosen, strict=True):
            mask[0, 0, next(self.places[i])] = True
        return masks


class TestMasksWithin:
    @pytest.mark.parametrize("operator", [perlin_mask, rectangle_mask])
    @settings(max_examples=30, deadline=None)
    @given(boxes=st.lists(boxes_in(40), min_size=2, max_size=5), seed=st.integers(0, 999))
    def test_inside_never_empty_and_independent_of_the_batch(self, operator, boxes, seed):
        images = torch.zeros(len(boxes), 3, 40, 40)
        valid = box_masks(boxes, images)
        masks = masks_within(operator, images, generators(len(boxes), seed), valid)
        assert masks.dtype == torch.bool
        assert not (masks & ~valid).any()
        assert masks.flatten(1).any(dim=1).all()
        for i in range(len(boxes)):
            draws = generators(len(boxes), seed)[i : i + 1]
            alone = masks_within(operator, images[:1], draws, valid[i : i + 1])
            assert torch.equal(alone[0], masks[i])

    @pytest.mark.parametrize("operator", [perlin_mask, rectangle_mask])
    def test_where_all_is_valid_the_masks_stay(self, operator):
        images = torch.zeros(9, 3, 40, 40)
        found = masks_within(operator, images, generators(9), torch.ones(9, 1, 40, 40) > 0)
        assert torch.equal(found, operator(images, generators(9)))

    def test_masks_are_cut(self):
        valid = box_masks([(0, 0, 4, 5)], torch.zeros(1, 1, 8, 8))
        found = masks_within(
            lambda images, _: torch.ones(1, 1, 8, 8) > 0, valid, generators(1), valid
        )
        assert torch.equal(found, valid)

    def test_only_empty_masks_are_drawn_again(self):
        valid = box_masks([(0, 4, 1, 8)] * 3, torch.zeros(3, 1, 8, 8))
        operator = Scripted([5], [0, 1, 6], [3, 7])
        masks = masks_within(operator, valid, operator.draws, valid)
        assert masks.nonzero()[:, 3].tolist() == [5, 6, 7]
        assert operator.asked == [[0, 1, 2], [1, 2], [1]]

    def test_at_last_a_patch_of_the_valid_pixels(self):
        valid = box_masks([(0, 4, 1, 8), (20, 2, 31, 40)], torch.zeros(2, 1, 40, 40))
        patches = set()
        for _ in range(2):
            operator = Scripted([0] * 9, [0] * 9)
            masks = masks_within(operator, valid, operator.draws, valid)
            assert len(operator.asked) == PLACING_ATTEMPTS + 1
            assert not (masks & ~valid).any()
            assert ((masks.sum((1, 2, 3)) > 0) & (masks.sum((1, 2, 3)) <= 64)).all()
            patches.add(tuple(masks.flatten().tolist()))
        assert len(patches) == 1  # drawn from the image's own generator
