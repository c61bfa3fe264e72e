from pathlib import Path

import numpy as np
import pytest
import torch
from kornia.color import hsv_to_rgb, rgb_to_hsv
from kornia.enhance import adjust_gamma
from PIL import Image, ImageEnhance, ImageOps

from daf_pipelines.errors import DataError
from daf_pipelines.synthesis import load_textures, textures
from daf_pipelines.synthesis.textures import (
    AUGMENTATIONS,
    augment_textures,
    plain_textures,
    shift_hsv,
)


class Fixed:
    """A generator whose draws are given."""

    def __init__(self, *values):
        self.values = list(values)

    def uniform(self, low, high, size=None):
        value = np.asarray(self.values.pop(0), dtype=float)
        assert np.all((low <= value) & (value <= high))
        return float(value) if size is None else np.broadcast_to(value, size)

    def random(self):
        return self.values.pop(0)

    def integers(self, low, high=None):
        value = self.values.pop(0)
        assert (0 if high is None else low) <= value < (low if high is None else high)
        return value


def generators(count):
    return [np.random.default_rng([7, i]) for i in range(count)]


@pytest.fixture
def texture():
    """A smooth colour picture with a narrow range of values."""
    y, x = np.mgrid[0:40, 0:56]
    channels = [60 + 2 * y, 90 + x + y, 200 - 3 * x + (7 * y) % 11]
    return np.stack(channels).clip(0, 255).astype(np.uint8)


def run(augmentation, texture, *values):
    result = augmentation(torch.from_numpy(texture)[None], [Fixed(*values)])
    assert result.dtype == torch.uint8
    return result[0].numpy().astype(int)


def as_picture(texture):
    return Image.fromarray(texture.transpose(1, 2, 0))


def from_picture(picture):
    return np.asarray(picture).transpose(2, 0, 1).astype(int)


class TestAugmentations:
    def test_gamma_equals_kornia(self, texture):
        result = run(textures.gamma, texture, 1.7)
        expected = adjust_gamma(torch.from_numpy(texture).float() / 255, 1.7) * 255
        np.testing.assert_allclose(result, expected, atol=0.51)

    def test_brightness(self, texture):
        expected = np.clip(np.rint(texture * 1.2 - 25), 0, 255)
        np.testing.assert_array_equal(run(textures.brightness, texture, 1.2, -25), expected)

    @pytest.mark.parametrize("factor", [0.0, 0.4, 1.0, 2.9])
    def test_sharpness_equals_pillow(self, texture, factor):
        expected = from_picture(ImageEnhance.Sharpness(as_picture(texture)).enhance(factor))
        # Pillow rounds the smoothed picture before it extrapolates.
        np.testing.assert_allclose(run(textures.sharpness, texture, factor), expected, atol=2)

    def test_hue_saturation_equals_kornia(self, texture):
        hsv = rgb_to_hsv(torch.from_numpy(texture).float()[None] / 255)
        hsv[:, 0] = (hsv[:, 0] + 2 * torch.pi * 0.15) % (2 * torch.pi)
        hsv[:, 1] = (hsv[:, 1] - 0.1).clamp(0, 1)
        result = run(textures.hue_saturation, texture, [0.15, -0.1])
        np.testing.assert_allclose(result, 255 * hsv_to_rgb(hsv)[0], atol=0.51)

    def test_solarise_equals_pillow(self, texture):
        result = run(textures.solarise, texture, 0.1, 100.0)
        np.testing.assert_array_equal(
            result, from_picture(ImageOps.solarize(as_picture(texture), 100))
        )
        np.testing.assert_array_equal(run(textures.solarise, texture, 0.9), texture)

    @pytest.mark.parametrize("bits", [1, 3, 8])
    def test_posterise_equals_pillow(self, texture, bits):
        expected = from_picture(ImageOps.posterize(as_picture(texture), bits))
        np.testing.assert_array_equal(run(textures.posterise, texture, bits), expected)

    def test_invert(self, texture):
        np.testing.assert_array_equal(run(textures.invert, texture), 255 - texture.astype(int))

    @pytest.mark.parametrize("cutoff", [0, 7, 20])
    def test_autocontrast_equals_pillow(self, texture, cutoff):
        expected = from_picture(ImageOps.autocontrast(as_picture(texture), cutoff))
        np.testing.assert_allclose(run(textures.autocontrast, texture, cutoff), expected, atol=1)

    def test_equalise_equals_pillow(self, texture):
        expected = from_picture(ImageOps.equalize(as_picture(texture)))
        np.testing.assert_array_equal(run(textures.equalise, texture), expected)

    @pytest.mark.parametrize("augmentation", [textures.autocontrast, textures.equalise])
    def test_uniform_texture_stays(self, augmentation):
        uniform = np.full((3, 32, 32), 77, np.uint8)
        np.testing.assert_array_equal(run(augmentation, uniform, 5), uniform)

    def test_affine_equals_pillow_away_from_the_border(self, texture):
        picture = as_picture(texture).rotate(20, Image.Resampling.BILINEAR)
        inner = (slice(None), slice(14, -14), slice(14, -14))
        result = run(textures.affine, texture, 20)
        # Pillow's bilinear weights are coarser.
        np.testing.assert_allclose(result[inner], from_picture(picture)[inner], atol=3)

    def test_three_different_ones_in_the_drawn_order(self, monkeypatch):
        calls = []

        def recorder(number):
            def augmentation(batch, draws):
                calls.append((number, len(batch)))
                return batch

            return augmentation

        recorders = tuple(recorder(i) for i in range(len(AUGMENTATIONS)))
        monkeypatch.setattr(textures, "AUGMENTATIONS", recorders)
        orders = [rng.permutation(10)[:3] for rng in generators(6)]
        augment_textures(torch.zeros(6, 3, 32, 32, dtype=torch.uint8), generators(6))
        counts = [{i: list(step).count(i) for i in step} for step in zip(*orders, strict=True)]
        assert calls == [pair for step in counts for pair in sorted(step.items())]

    def test_input_is_not_modified(self):
        batch = torch.full((4, 3, 32, 32), 90, dtype=torch.uint8)
        augment_textures(batch, generators(4))
        assert (batch == 90).all()


def test_shift_by_a_full_turn_and_nothing_is_the_identity():
    images = torch.rand(1, 3, 20, 20)
    for turns in (0.0, 1.0, -1.0):
        shifted = shift_hsv(images, torch.tensor(turns), torch.tensor(0.0))
        torch.testing.assert_close(shifted, images, atol=1e-5, rtol=0)


class TestPlainTextures:
    def test_each_is_a_mixture_of_two_colours(self):
        batch = plain_textures(generators(60), 48, 33, torch.device("cpu")).float()
        assert batch.shape == (60, 3, 48, 33)
        colours = []
        for texture in batch:
            points = texture.flatten(1).T.numpy()
            # On a line in colour space: after the first, no direction explains more than rounding.
            assert np.linalg.svd(points - points.mean(0), compute_uv=False)[1] < 40
            colours.append(len(np.unique(points, axis=0)))
        assert 1 in colours  # uniform
        assert 2 in colours  # stripes
        assert max(colours) > 100  # noise


class TestLoadTextures:
    def test_without_a_folder_there_is_no_bank(self):
        assert load_textures(None, 64) is None

    def test_reads_sub_folders_in_order(self, tmp_path):
        for name, colour in (("b/2.png", (0, 255, 0)), ("a/1.png", (255, 0, 0))):
            (tmp_path / name).parent.mkdir()
            Image.new("RGB", (50, 70), colour).save(tmp_path / name)
        bank = load_textures(tmp_path, 32)
        assert bank.shape == (2, 3, 32, 32)
        assert bank.dtype == np.uint8
        np.testing.assert_array_equal(bank[:, :, 5, 5], [[255, 0, 0], [0, 255, 0]])

    def test_missing_folder(self, tmp_path):
        with pytest.raises(DataError, match=r"texture_root: expected a folder.*nowhere.*plain"):
            load_textures(tmp_path / "nowhere", 32)

    def test_folder_without_images(self, tmp_path):
        (tmp_path / "readme.txt").write_text("nothing")
        with pytest.raises(DataError, match="texture_root: no image in"):
            load_textures(tmp_path, 32)

    def test_real_photographs(self, test_datasets: Path):
        bank = load_textures(test_datasets / "dtd" / "banded", 64)
        assert bank.shape == (30, 3, 64, 64)
        assert bank.std() > 20
