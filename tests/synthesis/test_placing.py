import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import label

from daf_pipelines.synthesis.geometry import box_masks
from daf_pipelines.synthesis.masks import perlin_mask, rectangle_mask, stroke_masks
from daf_pipelines.synthesis.masks.placing import PLACING_ATTEMPTS, empty_rows, masks_within

OPERATORS = [perlin_mask, rectangle_mask, stroke_masks]


def generators(count, seed=0):
    return [np.random.default_rng([seed, i]) for i in range(count)]


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
    @pytest.mark.parametrize("operator", OPERATORS)
    @settings(max_examples=15, deadline=None)
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

    @pytest.mark.parametrize("operator", OPERATORS)
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

    def test_at_last_a_valid_pixel(self):
        valid = box_masks([(0, 4, 1, 8), (20, 2, 31, 40)], torch.zeros(2, 1, 40, 40))
        chosen = set()
        for _ in range(2):
            operator = Scripted([0] * 9, [0] * 9)
            masks = masks_within(operator, valid, operator.draws, valid)
            assert len(operator.asked) == PLACING_ATTEMPTS + 1
            assert not (masks & ~valid).any()
            assert masks.sum((1, 2, 3)).tolist() == [1, 1]
            chosen.add(tuple(masks.flatten().tolist()))
        assert len(chosen) == 1  # drawn from the image's own generator

    def test_inputs_stay_as_they_are(self):
        valid = box_masks([(0, 4, 1, 8)], torch.zeros(1, 1, 8, 8))
        before = valid.clone()
        operator = Scripted([0] * 9)
        masks_within(operator, valid, operator.draws, valid)
        assert torch.equal(valid, before)


class TestArea:
    @pytest.mark.parametrize("operator", OPERATORS)
    @settings(max_examples=15, deadline=None)
    @given(
        boxes=st.lists(boxes_in(40), min_size=1, max_size=4),
        bounds=st.tuples(st.floats(0, 1), st.floats(0, 1)).map(sorted),
        seed=st.integers(0, 999),
    )
    def test_is_within_its_bounds(self, operator, boxes, bounds, seed):
        images = torch.zeros(len(boxes), 3, 40, 40)
        valid = box_masks(boxes, images)
        masks = masks_within(operator, images, generators(len(boxes), seed), valid, tuple(bounds))
        assert not (masks & ~valid).any()
        for mask, space in zip(masks, valid, strict=True):
            pixels, area = int(mask.sum()), int(space.sum())
            # Where no whole number of pixels is within the bounds, one on either side of them.
            assert pixels >= max(1, min(math.ceil(bounds[0] * area), area * bounds[1] // 1))
            assert pixels <= max(1, math.ceil(bounds[0] * area), bounds[1] * area)

    @pytest.mark.parametrize("operator", OPERATORS)
    def test_does_not_depend_on_the_batch(self, operator):
        images = torch.zeros(12, 3, 40, 40)
        valid = box_masks([(i, 2 * i, 25, 40) for i in range(12)], images)
        area = (0.04, 0.06)
        masks = masks_within(operator, images, generators(12), valid, area)
        for i in range(12):
            alone = masks_within(
                operator, images[:1], generators(12)[i : i + 1], valid[i : i + 1], area
            )
            assert torch.equal(alone[0], masks[i])

    def test_a_mask_that_fits_is_not_drawn_again(self):
        valid = torch.ones(2, 1, 8, 8) > 0
        operator = Scripted([5], [3])
        masks = masks_within(operator, valid, operator.draws, valid, (1 / 64, 1 / 64))
        assert operator.asked == [[0, 1]]
        assert masks.nonzero()[:, 3].tolist() == [5, 3]

    def test_a_large_mask_is_cut_to_pixels_next_to_each_other(self):
        valid = torch.ones(1, 1, 9, 9) > 0
        mask = box_masks([(0, 0, 9, 4)], valid)
        found = masks_within(lambda *_: mask.clone(), valid, generators(1), valid, (0, 5 / 81))
        assert int(found.sum()) == 5
        assert not (found & ~mask).any()
        assert label(found[0, 0])[1] == 1

    def test_a_small_mask_becomes_the_pixels_nearest_to_it(self):
        valid = box_masks([(0, 0, 9, 8)], torch.zeros(1, 1, 9, 9))
        mask = box_masks([(4, 4, 5, 5)], valid)
        found = masks_within(lambda *_: mask.clone(), valid, generators(1), valid, (9 / 72, 1))
        assert torch.equal(found, box_masks([(3, 3, 6, 6)], valid))

    def test_a_small_mask_is_not_grown_beyond_the_valid_pixels(self):
        valid = box_masks([(0, 0, 2, 9)], torch.zeros(1, 1, 9, 9))
        mask = box_masks([(0, 0, 1, 1)], valid)
        found = masks_within(lambda *_: mask.clone(), valid, generators(1), valid, (1, 1))
        assert torch.equal(found, valid)


def test_empty_rows():
    masks = torch.zeros(4, 1, 3, 3, dtype=torch.bool)
    masks[1, 0, 2, 2] = masks[2] = True
    assert empty_rows(masks) == [0, 3]
