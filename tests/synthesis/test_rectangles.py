import hashlib
import math

import numpy as np
import pytest
import torch
from scipy import stats

from daf_pipelines.synthesis.geometry import bounding_boxes
from daf_pipelines.synthesis.masks import nsa_rectangle_mask, rectangle_mask, scar_mask


def generators(count, seed=0):
    return [np.random.default_rng([seed, i]) for i in range(count)]


def sides_of(masks):
    """(height, width) of each mask's bounding box."""
    boxes = np.array(bounding_boxes(masks))
    return boxes[:, 2:] - boxes[:, :2]


class TestRectangleMask:
    def test_random_stream_and_result_stay_as_they_were(self):
        masks = rectangle_mask(torch.zeros(4, 3, 33, 200), generators(4))
        digest = hashlib.sha256(np.packbits(masks.numpy()).tobytes()).hexdigest()
        assert digest.startswith("ff91d080a3b00acc")

    def test_published_ranges(self):
        height, width = 200, 160
        masks = rectangle_mask(torch.zeros(300, 3, height, width), generators(300))
        sides = sides_of(masks)
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


class TestScarMask:
    def test_published_ranges(self):
        masks = scar_mask(torch.zeros(400, 3, 256, 256), generators(400), rotation=0)
        height, width = sides_of(masks).T
        np.testing.assert_array_equal(height * width, masks.flatten(1).sum(dim=1))
        # Uniform, up to the rounding to pixels.
        for sides, low, high in ((width, 2, 16), (height, 10, 25)):
            assert sides.min() == low
            assert sides.max() == high
            assert stats.kstest(sides, "uniform", (low, high - low)).statistic < 0.12

    def test_rotation_within_45_degrees_of_upright(self):
        masks = scar_mask(
            torch.zeros(200, 3, 256, 256), generators(200), width=(3, 3), length=(40, 40)
        )
        degrees = []
        for mask in masks[:, 0]:
            y, x = np.nonzero(mask.numpy())
            direction = np.linalg.eigh(np.cov(np.stack((y, x)))).eigenvectors[:, 1]
            degrees.append(math.degrees(math.atan(direction[1] / direction[0])))
        assert stats.kstest(degrees, "uniform", (-45, 90)).statistic < 0.12
        assert np.abs(degrees).max() < 46

    @pytest.mark.parametrize("size", [(64, 64), (40, 90), (300, 100)])
    @pytest.mark.parametrize("rotation", [0.0, 45.0, 180.0])
    def test_lies_wholly_in_the_image(self, size, rotation):
        scale = 256 / min(size)
        masks = scar_mask(
            torch.zeros(300, 1, *size),
            generators(300),
            width=(10 * scale, 10 * scale),
            length=(30 * scale, 30 * scale),
            rotation=rotation,
        )
        pixels = masks.flatten(1).sum(dim=1)
        assert pixels.min() > 270
        assert pixels.max() < 330
        # It comes next to all borders, too.
        marked = masks[:, 0].any(dim=0)
        assert all(e.any() for e in (marked[:2], marked[-2:], marked[:, :2], marked[:, -2:]))

    def test_sizes_go_with_the_shorter_side(self):
        masks = scar_mask(
            torch.zeros(50, 1, 512, 700), generators(50), width=(8, 8), length=(20, 20)
        )
        assert masks.flatten(1).sum(dim=1).float().mean() == pytest.approx(16 * 40, rel=0.02)

    def test_one_larger_than_the_image_is_cut(self):
        masks = scar_mask(torch.zeros(9, 1, 33, 40), generators(9), length=(900, 900), rotation=0)
        assert masks.any(dim=3).all()


class TestNsaRectangleMask:
    def test_sides_are_of_a_clipped_gamma_distribution(self):
        masks = nsa_rectangle_mask(torch.zeros(2000, 1, 150, 200), generators(2000))
        sides = sides_of(masks)
        np.testing.assert_array_equal(sides.prod(axis=1), masks.flatten(1).sum(dim=1))
        gamma = stats.gamma(2, loc=0.06, scale=0.1)
        for pixels, size in zip(sides.T, (150, 200), strict=True):
            share = pixels / size
            assert share.min() >= int(0.06 * size) / size
            assert share.max() == pytest.approx(0.4, abs=1 / size)
            assert np.mean(share > 0.39) == pytest.approx(gamma.sf(0.395), abs=0.03)
            quantiles = (0.1, 0.25, 0.5, 0.75)
            np.testing.assert_allclose(
                np.quantile(share, quantiles), gamma.ppf(quantiles), atol=0.015
            )
        assert abs(np.corrcoef(sides.T)[0, 1]) < 0.1

    def test_bounds_of_each_side(self):
        masks = nsa_rectangle_mask(
            torch.zeros(99, 1, 100, 100), generators(99), height=(0.5, 0.5), width=(0.1, 0.2)
        )
        height, width = sides_of(masks).T
        assert set(height) == {50}
        assert 10 <= width.min() < width.max() <= 20

    def test_lies_anywhere_in_the_image(self):
        masks = nsa_rectangle_mask(torch.zeros(500, 1, 40, 50), generators(500))
        boxes = np.array(bounding_boxes(masks))
        assert boxes[:, :2].min(axis=0).tolist() == [0, 0]
        assert boxes[:, 2:].max(axis=0).tolist() == [40, 50]
        middles = (boxes[:, :2] + boxes[:, 2:]) / 2
        np.testing.assert_allclose(middles.mean(axis=0), [20, 25], atol=1.5)
