import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.path import Path as Outline
from scipy.ndimage import label

from daf_pipelines.synthesis.masks import (
    ellipse_masks,
    polygon_masks,
    rectangle_masks,
    simple_shape_masks,
)
from daf_pipelines.synthesis.masks.shapes import (
    in_ellipses,
    in_polygons,
    in_rectangles,
    random_polygon,
)

CPU = torch.device("cpu")
OPERATORS = [rectangle_masks, ellipse_masks, polygon_masks, simple_shape_masks]
SIDES = st.tuples(st.floats(1, 60), st.floats(1, 60))
ANGLES = st.floats(0, 2 * math.pi)


def generators(count, seed=0):
    return [np.random.default_rng([seed, i]) for i in range(count)]


def offsets(inside):
    """(y, x) of a window's pixels from its centre, ``(K, K, 2)``."""
    reach = inside.shape[-1] // 2
    return np.stack(np.mgrid[-reach : reach + 1, -reach : reach + 1], axis=-1)


def assert_filled(inside, contains):
    """Exactly what the reference contains, but for pixels on the outline up to rounding."""
    pixels = offsets(inside)
    inner, outer = contains(pixels * (1 + 1e-4)), contains(pixels * (1 - 1e-4))
    assert not (inner & ~inside.numpy()).any()
    assert not (inside.numpy() & ~outer).any()


def polygon_contains(corners):
    def contains(pixels):
        flat = pixels.reshape(-1, 2)
        return Outline(corners, closed=False).contains_points(flat).reshape(pixels.shape[:2])

    return contains


def doubled_area(corners):
    y, x = corners.T
    return x * np.roll(y, -1) - y * np.roll(x, -1)


class TestInRectangles:
    @settings(deadline=None)
    @given(sides=SIDES, angle=ANGLES)
    def test_equals_matplotlib(self, sides, angle):
        inside = in_rectangles(np.array([sides]), np.array([angle]), CPU)[0]
        a, b = sides[0] / 2, sides[1] / 2
        along = np.array([math.sin(angle), math.cos(angle)])
        across = np.array([math.cos(angle), -math.sin(angle)])
        corners = np.array(
            [s * a * along + t * b * across for s, t in [(-1, -1), (-1, 1), (1, 1), (1, -1)]]
        )
        assert_filled(inside, polygon_contains(corners))

    @given(sides=st.tuples(st.integers(1, 30), st.integers(1, 30)))
    def test_upright_has_as_many_pixels_as_its_sides_say(self, sides):
        inside = in_rectangles(np.array([sides], float), np.zeros(1), CPU)[0]
        assert inside.any(dim=0).sum() == sides[0]
        assert inside.any(dim=1).sum() == sides[1]
        assert inside.sum() == sides[0] * sides[1]

    def test_a_side_is_a_pixel_at_least(self):
        inside = in_rectangles(np.array([[0.1, 0.2], [9, 0.01]]), np.zeros(2), CPU)
        assert inside.flatten(1).sum(dim=1).tolist() == [1, 9]


class TestInEllipses:
    @settings(deadline=None)
    @given(axes=SIDES, angle=ANGLES)
    def test_equals_brute_force(self, axes, angle):
        inside = in_ellipses(np.array([axes]), np.array([angle]), CPU)[0]
        turn = np.exp(-1j * angle)

        def contains(pixels):
            turned = (pixels[..., 1] + 1j * pixels[..., 0]) * turn
            return np.abs(turned.real / axes[0] + 1j * turned.imag / axes[1]) <= 0.5

        assert_filled(inside, contains)

    @settings(deadline=None)
    @given(axes=st.tuples(st.floats(40, 120), st.floats(40, 120)), angle=ANGLES)
    def test_area(self, axes, angle):
        inside = in_ellipses(np.array([axes]), np.array([angle]), CPU)
        assert int(inside.sum()) == pytest.approx(math.pi / 4 * axes[0] * axes[1], rel=0.03)


class TestInPolygons:
    @settings(deadline=None)
    @given(
        corners=st.lists(st.integers(3, 9), min_size=1, max_size=4),
        side=st.floats(0.2, 60),
        seed=st.integers(0, 999),
    )
    def test_equals_matplotlib(self, corners, side, seed):
        rng = np.random.default_rng(seed)
        polygons = [side * random_polygon(rng, number) for number in corners]
        for inside, polygon in zip(in_polygons(polygons, CPU), polygons, strict=True):
            assert_filled(inside, polygon_contains(polygon))
            reach = len(inside) // 2
            assert inside[reach, reach]

    def test_a_hollow_corner_by_hand(self):
        arrow = np.array([[-2.5, -2.5], [-2.5, 2.5], [0.5, 0.25], [2.5, 2.5], [2.5, -2.5]])
        inside = in_polygons([arrow], CPU)[0, 2:-2, 2:-2]
        assert inside.int().tolist() == [
            [1, 1, 1, 1, 1],
            [1, 1, 1, 1, 0],
            [1, 1, 1, 0, 0],
            [1, 1, 1, 0, 0],
            [1, 1, 1, 1, 0],
        ]


class TestRandomPolygon:
    @given(corners=st.integers(3, 12), seed=st.integers(0, 9999))
    def test_sees_all_of_itself_and_has_area_one(self, corners, seed):
        polygon = random_polygon(np.random.default_rng(seed), corners)
        assert polygon.shape == (corners, 2)
        triangles = doubled_area(polygon)
        assert (triangles > 0).all()
        assert triangles.sum() == pytest.approx(2)
        angles = np.unwrap(np.arctan2(*np.vstack((polygon, polygon[:1])).T))
        assert angles[-1] - angles[0] == pytest.approx(2 * math.pi)


@pytest.mark.parametrize("operator", OPERATORS)
class TestOperators:
    @settings(max_examples=5, deadline=None)
    @given(share=st.floats(0.02, 0.05), seed=st.integers(0, 999))
    def test_area_of_what_is_not_cut_off(self, operator, share, seed):
        images = torch.zeros(12, 1, 300, 350)
        masks = operator(images, generators(12, seed), count=(1, 1), area=(share, share))
        border = torch.ones(300, 350, dtype=torch.bool)
        border[1:-1, 1:-1] = False
        for mask in masks[:, 0]:
            if (mask & border).any():
                assert mask.sum() < 1.03 * share * mask.numel()
            else:
                assert float(mask.float().mean()) == pytest.approx(share, rel=0.03)
                # The tip of a sharp corner may miss pixels in between.
                parts = np.bincount(label(mask)[0].ravel())[1:]
                assert parts.max() > 0.99 * parts.sum()

    def test_number_of_shapes(self, operator):
        # Small ones seldom overlap or touch the border: as many parts as shapes, mostly.
        images = torch.zeros(60, 1, 256, 256)
        masks = operator(images, generators(60), count=(2, 4), area=(1e-3, 1e-3))
        parts = np.bincount([label(mask[0], np.ones((3, 3)))[1] for mask in masks], minlength=5)
        assert parts[2:5].min() >= 10
        assert parts[5:].sum() == 0
        assert parts[:2].sum() <= 5

    def test_areas_fill_their_range(self, operator):
        images = torch.zeros(300, 1, 128, 128)
        masks = operator(images, generators(300), count=(1, 1), area=(0.01, 0.04))
        inner = ~(masks[:, 0, [0, -1]].any(dim=(1, 2)) | masks[:, 0, :, [0, -1]].any(dim=(1, 2)))
        shares = masks[inner].float().mean(dim=(1, 2, 3))
        assert 0.009 < shares.min() < 0.013
        assert 0.036 < shares.max() < 0.042

    def test_tiny_shapes_are_a_few_pixels(self, operator):
        masks = operator(torch.zeros(200, 1, 32, 32), generators(200), area=(1e-6, 1e-6))
        pixels = masks.flatten(1).sum(dim=1)
        assert pixels.min() >= 1
        assert pixels.max() <= 6


class TestElongation:
    @pytest.mark.parametrize("operator", [rectangle_masks, ellipse_masks])
    def test_aspect_and_any_rotation(self, operator):
        images = torch.zeros(200, 1, 200, 200)
        masks = operator(images, generators(200), count=(1, 1), area=(0.02, 0.02), aspect=(3, 3))
        angles = []
        for mask in masks[:, 0]:
            y, x = np.nonzero(mask.numpy())
            if min(y.min(), x.min()) == 0 or max(y.max(), x.max()) == 199:
                continue
            values, vectors = np.linalg.eigh(np.cov(np.stack((y, x))))
            assert math.sqrt(values[1] / values[0]) == pytest.approx(3, rel=0.05)
            angles.append(math.atan2(*vectors[:, 1]) % math.pi)
        quarters = np.bincount((np.array(angles) // (math.pi / 4)).astype(int), minlength=4)
        assert quarters.min() > 0.15 * len(angles)


def test_polygons_have_all_numbers_of_corners(monkeypatch):
    drawn = []

    def spy(rng, corners):
        drawn.append(corners)
        return random_polygon(rng, corners)

    monkeypatch.setattr("daf_pipelines.synthesis.masks.shapes.random_polygon", spy)
    polygon_masks(torch.zeros(60, 1, 32, 32), generators(60), corners=(4, 6))
    assert set(drawn) == {4, 5, 6}


def test_simple_shapes_are_of_all_kinds():
    images = torch.zeros(300, 1, 128, 128)
    area = (0.05, 0.05)
    masks = simple_shape_masks(
        images, generators(300), count=(1, 1), area=area, aspect=(1, 1), corners=(3, 3)
    )
    kinds = []
    for mask in masks[:, 0]:
        y, x = np.nonzero(mask.numpy())
        if min(y.min(), x.min()) == 0 or max(y.max(), x.max()) == 127:
            continue
        # Spread of an area A: disc A / 4 pi, square A / 12, any triangle A / 6 sqrt(3).
        spread = math.sqrt(np.linalg.det(np.cov(np.stack((y, x))))) / len(y)
        kinds.append(int(np.digitize(spread, (0.0815, 0.09))))
    counts = np.bincount(kinds, minlength=3) / len(kinds)
    assert counts.min() > 0.22
    assert counts.max() < 0.45
