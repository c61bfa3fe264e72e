import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy import ndimage

from daf_pipelines.synthesis.blending import (
    BLENDINGS,
    gaussian_blending,
    hard_paste,
    normal_opacity_blending,
    opacity_blending,
)
from daf_pipelines.synthesis.blending.feathered import distances_to_outside, feather
from daf_pipelines.synthesis.operators import Operator


def batch(count, height, width, channels=3):
    """Random images, contents and masks of regions of all sizes, none empty."""
    generator = torch.Generator().manual_seed(1000 * count + 10 * height + width)
    images = torch.rand(count, channels, height, width, generator=generator)
    contents = torch.rand(count, channels, height, width, generator=generator)
    fields = torch.rand(count, 1, height, width, generator=generator).numpy()
    smooth = np.stack([ndimage.gaussian_filter(f, (0, i % 4, i % 4)) for i, f in enumerate(fields)])
    masks = torch.from_numpy(smooth > np.quantile(smooth, 0.6, axis=(2, 3), keepdims=True))
    return images, contents, masks


def generators(count):
    return [np.random.default_rng([7, i]) for i in range(count)]


class TestOpacity:
    def test_is_one_minus_beta_between_a_fifth_and_one(self):
        images, contents = torch.zeros(400, 3, 2, 2), torch.ones(400, 3, 2, 2)
        masks = torch.ones(400, 1, 2, 2, dtype=torch.bool)
        opacity = opacity_blending(images, contents, masks, generators(400))
        assert (opacity == opacity[:, :1, :1, :1]).all()
        values = opacity[:, 0, 0, 0].numpy()
        assert values.min() > 0.2
        assert values.max() <= 1
        # Uniform: its quantiles are those of 1 - U(0, 0.8).
        quantiles = np.quantile(values, [0.01, 0.5, 0.99])
        np.testing.assert_allclose(quantiles, [0.21, 0.6, 0.99], atol=0.05)

    def test_mixes_image_and_content(self):
        image, content = torch.full((1, 1, 2, 2), 0.3), torch.full((1, 1, 2, 2), 0.7)
        beta = np.random.default_rng(1).uniform(0, 0.8)
        mixed = opacity_blending(image, content, image > 0, [np.random.default_rng(1)])
        expected = torch.full((1, 1, 2, 2), beta * 0.3 + (1 - beta) * 0.7)
        torch.testing.assert_close(mixed, expected)

    def test_share_of_the_image_is_within_other_bounds(self):
        images, contents = torch.ones(200, 1, 2, 2), torch.zeros(200, 1, 2, 2)
        share = opacity_blending(
            images, contents, images > 0, generators(200), image_share=(0.5, 0.6)
        )
        assert 0.5 <= share.min() < 0.505
        assert 0.595 < share.max() <= 0.6


class TestNormalOpacity:
    def test_share_of_the_image_is_normal_and_clipped(self):
        images, contents = torch.ones(500, 1, 2, 2), torch.zeros(500, 1, 2, 2)
        masks = images > 0
        share = normal_opacity_blending(images, contents, masks, generators(500), deviation=0.2)[
            :, 0, 0, 0
        ].numpy()
        assert share.min() == np.float32(0.2)
        assert share.max() == np.float32(0.8)
        # The share of a normal distribution beyond 1.5 deviations is 6.7 % on each side.
        assert 0.03 < (share == share.min()).mean() < 0.11
        np.testing.assert_allclose(np.quantile(share, [0.25, 0.75]), [0.365, 0.635], atol=0.04)


def test_hard_paste_is_the_content():
    image, content = torch.zeros(1, 3, 4, 4), torch.rand(1, 3, 4, 4)
    assert torch.equal(hard_paste(image, content, image > 0, []), content)


def profile(distance, sigma):
    """The weight at a distance from a straight border, as documented."""
    return max(0.1, math.erf(distance / (math.sqrt(2) * sigma)) / math.erf(math.sqrt(2)))


class TestFeather:
    @pytest.mark.parametrize("sigma", [1.0, 3.0, 4.5])
    def test_rises_like_a_blurred_edge_from_a_straight_border(self, sigma):
        masks = torch.zeros(1, 1, 40, 60, dtype=torch.bool)
        masks[..., 20:] = True
        weights = feather(masks, sigma)[0, 0]
        for depth in range(40):
            expected = profile(min(depth + 0.5, 2 * sigma), sigma)
            assert weights[:, 20 + depth].numpy() == pytest.approx(expected, abs=2e-3)

    def test_is_one_in_the_middle_of_everything(self):
        masks = torch.zeros(1, 1, 60, 60, dtype=torch.bool)
        masks[..., 5:50, 5:35] = True
        masks[..., 10, 40:55] = True  # 1 to 3 pixels wide
        masks[..., 20:22, 40:55] = True
        masks[..., 30:33, 40:55] = True
        masks[..., 40:43, 37:40] = True  # small, two pixels beside the large one
        masks[..., 55, 55] = True
        weights = feather(masks, 3.0)[0, 0]
        for middle in ((25, 20), (10, 47), (20, 47), (21, 47), (31, 47), (41, 38), (55, 55)):
            assert weights[middle] == 1
        assert weights[30, 47] > 0.4

    def test_middle_of_an_arm_is_full_away_from_the_body(self):
        masks = torch.zeros(1, 1, 60, 60, dtype=torch.bool)
        masks[..., 10:50, 5:35] = True
        masks[..., 30:33, 35:60] = True
        assert (feather(masks, 3.0)[0, 0, 31, 44:] == 1).all()

    def test_picture_border_is_no_border(self):
        assert (feather(torch.ones(1, 1, 33, 40, dtype=torch.bool), 3.0) == 1).all()

    @settings(max_examples=40, deadline=None)
    @given(st.integers(0, 2**31), st.integers(32, 50), st.integers(32, 50), st.floats(0.1, 12))
    def test_is_zero_outside_and_at_least_a_tenth_inside(self, seed, height, width, sigma):
        rng = np.random.default_rng(seed)
        masks = torch.from_numpy(rng.random((2, 1, height, width)) < rng.uniform(0.05, 0.95))
        weights = feather(masks, sigma)
        assert (weights[~masks] == 0).all()
        assert (weights[masks] >= np.float32(0.1)).all()
        assert weights.max() <= 1

    @settings(max_examples=30, deadline=None)
    @given(st.integers(0, 2**31), st.integers(2, 45), st.integers(2, 45), st.integers(1, 60))
    def test_distances_are_euclidean(self, seed, height, width, cap):
        rng = np.random.default_rng(seed)
        inside = rng.random((height, width)) < rng.uniform(0.5, 1)
        inside[rng.integers(height), rng.integers(width)] = False
        found = distances_to_outside(torch.from_numpy(inside)[None, None].float(), cap)[0, 0]
        expected = ndimage.distance_transform_edt(inside).clip(max=cap)
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-6)


class TestGaussian:
    def test_mixes_by_the_weights(self):
        images, contents, masks = batch(3, 40, 52)
        weights = feather(masks, 2.5 * 40 / 256)
        expected = images + weights * (contents - images)
        blended = gaussian_blending(images, contents, masks, [], sigma=2.5)
        torch.testing.assert_close(blended, expected)

    def test_outside_nothing_changes(self):
        images, contents, masks = batch(4, 64, 64)
        before = images.clone()
        blended = gaussian_blending(images, contents, masks, [], sigma=16)
        assert torch.equal(images, before)
        outside = ~masks.expand_as(images)
        assert torch.equal(blended[outside], images[outside])

    def test_feather_grows_with_the_image(self):
        small = torch.zeros(1, 1, 128, 128, dtype=torch.bool)
        small[..., 32:96, 32:96] = True
        large = small.repeat_interleave(2, 2).repeat_interleave(2, 3)
        weights = [
            gaussian_blending(torch.zeros_like(m, dtype=torch.float32), m.float(), m, [], sigma=6)
            for m in (small, large)
        ]
        coarse = torch.nn.functional.avg_pool2d(weights[1], 2)
        assert (weights[0] - coarse)[..., 64, :].abs().max() < 0.02

    @pytest.mark.parametrize("sigma", [0.0, -1.0, 17.0])
    def test_refuses_other_sigmas(self, sigma):
        with pytest.raises(ValidationError, match="sigma"):
            Operator(gaussian_blending, sigma=sigma)


class TestEveryBlending:
    @pytest.fixture(params=sorted(BLENDINGS))
    def blend(self, request):
        operator = Operator(BLENDINGS[request.param])

        def call(images, contents, masks, seeds):
            draws = [np.random.default_rng(seed) for seed in seeds]
            return operator(images.clone(), contents.clone(), masks.clone(), draws)

        return call

    @pytest.mark.parametrize(("height", "width"), [(33, 61), (96, 96)])
    def test_does_not_depend_on_the_batch(self, blend, height, width):
        parts = batch(5, height, width)
        together = blend(*parts, range(5))
        backwards = blend(*(part.flip(0) for part in parts), reversed(range(5)))
        assert torch.equal(together, backwards.flip(0))
        for i in range(5):
            alone = blend(*(part[i : i + 1] for part in parts), [i])
            assert torch.equal(together[i : i + 1], alone)

    @pytest.mark.parametrize(("height", "width"), [(35, 47), (128, 101)])
    def test_does_not_depend_on_threads(self, blend, height, width):
        parts = batch(4, height, width)
        threads = torch.get_num_threads()
        blended = []
        try:
            for count in (1, 2, 3):
                torch.set_num_threads(count)
                blended.append(blend(*parts, range(4)))
        finally:
            torch.set_num_threads(threads)
        assert torch.equal(blended[0], blended[1])
        assert torch.equal(blended[0], blended[2])

    @pytest.mark.parametrize("channels", [1, 2, 3])
    def test_is_finite_for_all_channel_counts(self, blend, channels):
        blended = blend(*batch(3, 40, 36, channels), range(3))
        assert blended.shape == (3, channels, 40, 36)
        assert blended.dtype == torch.float32
        assert blended.isfinite().all()
