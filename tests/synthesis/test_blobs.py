import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import label

from daf_pipelines.synthesis.masks import blob_masks, blobs

CPU = torch.device("cpu")


def generators(count, seed=0):
    return [np.random.default_rng([seed, i]) for i in range(count)]


def touches_border(mask):
    return bool(mask[[0, -1]].any() or mask[:, [0, -1]].any())


class TestLevels:
    @settings(deadline=None)
    @given(seed=st.integers(0, 999), irregularity=st.floats(0, 0.9), radius=st.integers(1, 40))
    def test_equal_the_outline_in_polar_coordinates(self, seed, irregularity, radius):
        waves = np.array([blobs._random_waves(rng, irregularity) for rng in generators(3, seed)])
        levels = blobs._levels(waves, np.array([radius, 1.0, 1.0]), CPU)
        assert levels.shape == (3, 2 * radius + 1, 2 * radius + 1)
        y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
        angle = np.arctan2(y, x)
        for level, own in zip(levels, waves, strict=True):
            outline = 1 + sum(
                abs(wave) * np.cos(k * angle + np.angle(wave)) for k, wave in enumerate(own, 2)
            )
            np.testing.assert_allclose(level, (x**2 + y**2) / outline**2, rtol=2e-4)

    def test_amplitudes_have_at_most_the_sum_asked_for(self):
        waves = np.array([blobs._random_waves(rng, 0.6) for rng in generators(500)])
        sums = np.abs(waves).sum(axis=1)
        assert 0.55 < sums.max() <= 0.6
        assert sums.min() < 0.05

    def test_finer_waves_are_weaker(self):
        waves = np.array([blobs._random_waves(rng, 0.6) for rng in generators(2000)])
        means = np.abs(waves).mean(axis=0)
        np.testing.assert_allclose(means / means[0], [1, 2 / 3, 2 / 4, 2 / 5], atol=0.06)


class TestBlobMasks:
    @settings(max_examples=15, deadline=None)
    @given(
        size=st.tuples(st.integers(32, 120), st.integers(32, 120)),
        share=st.floats(1e-4, 0.2),
        irregularity=st.floats(0, 0.9),
        seed=st.integers(0, 999),
    )
    def test_area_is_exact_unless_cut_off(self, size, share, irregularity, seed):
        masks = blob_masks(
            torch.zeros(12, 1, *size),
            generators(12, seed),
            count=(1, 1),
            area=(share, share),
            irregularity=irregularity,
        )
        pixels = max(1, share * size[0] * size[1])
        for mask in masks[:, 0]:
            if touches_border(mask):
                assert 1 <= mask.sum() <= pixels + 0.5001
            else:
                assert float(mask.sum()) == pytest.approx(pixels, abs=0.5001)

    def test_areas_fill_their_range(self):
        masks = blob_masks(
            torch.zeros(300, 1, 128, 128), generators(300), count=(1, 1), area=(0.01, 0.04)
        )
        shares = [float(m.float().mean()) for m in masks[:, 0] if not touches_border(m)]
        assert 0.0099 < min(shares) < 0.013
        assert 0.037 < max(shares) < 0.0401

    def test_without_irregularity_a_disc(self):
        masks = blob_masks(
            torch.zeros(20, 1, 100, 100),
            generators(20),
            count=(1, 1),
            area=(0.0317, 0.0317),  # 317 pixels: all within 10 of the centre
            irregularity=0.0,
        )
        y, x = np.mgrid[-10:11, -10:11]
        disc = torch.from_numpy(x**2 + y**2 <= 100)
        for mask in masks[:, 0]:
            if not touches_border(mask):
                rows, columns = mask.any(dim=1), mask.any(dim=0)
                assert torch.equal(mask[rows][:, columns], disc)

    def test_is_in_one_piece(self):
        masks = blob_masks(torch.zeros(60, 1, 256, 256), generators(60), count=(1, 1))
        for mask in masks[:, 0]:
            if not touches_border(mask):
                assert label(mask)[1] == 1

    @pytest.mark.parametrize("irregularity", [0.0, 0.4, 0.9])
    def test_a_small_blob_beside_a_large_one_stays_as_it_is(self, irregularity):
        """The large one's window is larger: no pixel of it may be nearer than those of the own."""
        images = torch.zeros(30, 1, 64, 64)
        arguments = {"count": (1, 2), "area": (2e-4, 0.4), "irregularity": irregularity}
        together = blob_masks(images, generators(30), **arguments)
        for i in range(30):
            alone = blob_masks(images[:1], generators(30)[i : i + 1], **arguments)
            assert torch.equal(alone[0], together[i])

    def test_number_of_blobs(self):
        masks = blob_masks(
            torch.zeros(60, 1, 256, 256), generators(60), count=(2, 4), area=(1e-3, 1e-3)
        )
        parts = np.bincount([label(m[0], np.ones((3, 3)))[1] for m in masks], minlength=5)
        assert parts[2:5].min() >= 10
        assert parts[5:].sum() == 0
        assert parts[:2].sum() <= 5
