import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import label

from daf_pipelines.synthesis.masks import stroke_masks
from daf_pipelines.synthesis.masks.strokes import SEGMENTS, in_segments, random_path

CPU = torch.device("cpu")
POINTS = st.tuples(st.floats(-20, 20), st.floats(-20, 20))
RADII = st.floats(0.5, 6)


def generators(count, seed=0):
    return [np.random.default_rng([seed, i]) for i in range(count)]


def touches_border(mask):
    return bool(mask[[0, -1]].any() or mask[:, [0, -1]].any())


class TestInSegments:
    @settings(deadline=None, max_examples=25)
    @given(
        start=POINTS,
        step=POINTS.filter(lambda p: math.hypot(*p) > 1),
        radii=st.tuples(RADII, RADII),
    )
    def test_equals_the_distance_from_many_points(self, start, step, radii):
        start, step = np.array([start]), np.array([step])
        inside = in_segments(start, start + step, np.array([radii]), CPU)[0]
        reach = len(inside) // 2
        pixels = np.stack(np.mgrid[-reach : reach + 1, -reach : reach + 1], axis=-1)
        shares = np.linspace(0, 1, 501)
        points = start + shares[:, None] * step
        squares = ((pixels[:, :, None] - points) ** 2).sum(axis=-1)
        nearest = squares.argmin(axis=-1)
        beyond = np.sqrt(squares.min(axis=-1)) - (
            radii[0] + shares[nearest] * (radii[1] - radii[0])
        )
        assert inside[torch.from_numpy(beyond < -0.05)].all()
        assert not inside[torch.from_numpy(beyond > 0.05)].any()


class TestRandomPath:
    @given(bend=st.floats(0, 1), kinked=st.sampled_from([0.0, 1.0]), seed=st.integers(0, 9999))
    def test_ends_are_one_apart_and_the_middle_is_the_origin(self, bend, kinked, seed):
        path = random_path(np.random.default_rng(seed), bend, kinked)
        assert path.shape == (SEGMENTS + 1, 2)
        step = path[-1] - path[0]
        assert math.hypot(*step) == pytest.approx(1)
        assert path[SEGMENTS // 2].tolist() == [0, 0]
        distances = (path - path[0]) @ np.array([-step[1], step[0]])
        assert np.abs(distances).max() <= bend + 1e-9

    @given(seed=st.integers(0, 9999))
    def test_curved_is_a_parabola(self, seed):
        path = random_path(np.random.default_rng(seed), 0.5, 0.0)
        np.testing.assert_allclose(np.diff(path, n=3, axis=0), 0, atol=1e-9)
        assert np.abs(np.diff(path, n=2, axis=0)).max() > 0

    @given(seed=st.integers(0, 9999))
    def test_kinked_has_one_to_three_corners(self, seed):
        path = random_path(np.random.default_rng(seed), 0.5, 1.0)
        turns = np.hypot(*np.diff(path, n=2, axis=0).T) > 1e-9
        assert 1 <= turns.sum() <= 3

    def test_some_of_each_and_any_direction(self):
        paths = [random_path(rng, 0.5, 0.3) for rng in generators(400)]
        curved = [np.abs(np.diff(path, n=3, axis=0)).max() < 1e-9 for path in paths]
        assert np.mean(curved) == pytest.approx(0.7, abs=0.08)
        directions = [math.atan2(*(path[-1] - path[0])) for path in paths]
        assert np.histogram(directions, 8, (-math.pi, math.pi))[0].min() > 25


class TestStrokeMasks:
    @settings(max_examples=8, deadline=None)
    @given(width=st.floats(3, 20), length=st.floats(0.2, 0.5), seed=st.integers(0, 999))
    def test_area_of_a_straight_stroke(self, width, length, seed):
        masks = stroke_masks(
            torch.zeros(8, 1, 256, 300),
            generators(8, seed),
            count=(1, 1),
            width=(width, width),
            length=(length, length),
            bend=0.0,
            taper=0.0,
        )
        expected = width * length * 256 + math.pi / 4 * width**2
        for mask in masks[:, 0]:
            if not touches_border(mask):
                # One along an axis may miss or gain a pixel of its width.
                assert int(mask.sum()) == pytest.approx(expected, abs=length * 256 + 15)

    def test_widths_go_with_the_shorter_side_and_lengths_are_shares_of_it(self):
        arguments = {"count": (1, 1), "width": (4, 4), "length": (0.3, 0.3), "bend": 0.0}
        for size in ((256, 300), (512, 600)):
            masks = stroke_masks(torch.zeros(20, 1, *size), generators(20), **arguments, taper=0.0)
            inner = [mask.sum() for mask in masks[:, 0] if not touches_border(mask)]
            scale = size[0] / 256
            expected = scale**2 * (4 * 0.3 * 256 + math.pi * 4)
            assert np.mean(inner) == pytest.approx(expected, rel=0.03)

    def test_ends_taper(self):
        arguments = {"count": (1, 1), "width": (20, 20), "length": (0.5, 0.5), "bend": 0.0}
        areas = []
        for taper in (0.0, 1.0):
            masks = stroke_masks(
                torch.zeros(40, 1, 256, 256), generators(40), **arguments, taper=taper
            )
            areas.append([int(m.sum()) for m in masks[:, 0] if not touches_border(m)])
        assert np.mean(areas[0]) == pytest.approx(20 * 128 + math.pi * 100, rel=0.02)
        assert np.mean(areas[1]) == pytest.approx(20 * 128 / 2, rel=0.05)

    @pytest.mark.parametrize("size", [(32, 32), (33, 200), (256, 256)])
    def test_a_stroke_is_in_one_piece_however_thin(self, size):
        masks = stroke_masks(
            torch.zeros(100, 1, *size), generators(100), count=(1, 1), width=(0.1, 1), taper=1.0
        )
        inner = [mask for mask in masks[:, 0] if not touches_border(mask)]
        assert len(inner) > 30
        for mask in inner:
            assert label(mask, np.ones((3, 3)))[1] == 1

    def test_is_thin(self):
        masks = stroke_masks(torch.zeros(100, 1, 256, 256), generators(100))
        assert float(masks.float().mean(dim=(1, 2, 3)).max()) < 0.03

    def test_number_of_strokes(self):
        masks = stroke_masks(
            torch.zeros(60, 1, 256, 256), generators(60), count=(2, 4), length=(0.04, 0.04)
        )
        parts = np.bincount([label(m[0], np.ones((3, 3)))[1] for m in masks], minlength=5)
        assert parts[2:5].min() >= 10
        assert parts[5:].sum() == 0
        assert parts[:2].sum() <= 5
