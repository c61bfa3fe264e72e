import numpy as np
import pytest
import torch
from kornia import enhance
from kornia.geometry import rotate
from PIL import Image, ImageEnhance, ImageOps

from daf_pipelines.synthesis import augmentations
from daf_pipelines.synthesis.augmentations import AUGMENTATIONS, augment_textures
from daf_pipelines.synthesis.levels import Texture, pixels_of


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


@pytest.fixture
def noise():
    """Every value in every channel, in all combinations that there is room for."""
    return np.random.default_rng(0).integers(0, 256, (3, 64, 80), dtype=np.uint8)


def run(augmentation, texture, *values):
    """One augmentation of one texture with given draws."""
    generator = Fixed(*values)
    result = pixels_of(augmentation([Texture(torch.from_numpy(texture))], [generator]))
    assert not generator.values
    assert result.dtype == torch.uint8
    return result[0].numpy().astype(int)


def as_picture(texture):
    return Image.fromarray(texture.transpose(1, 2, 0))


def from_picture(picture):
    return np.asarray(picture).transpose(2, 0, 1).astype(int)


def as_batch(texture):
    return torch.from_numpy(texture)[None].float() / 255


class TestAgainstPillow:
    @pytest.mark.parametrize("factor", [0.0, 0.4, 1.0, 2.9])
    def test_sharpness(self, texture, factor):
        expected = from_picture(ImageEnhance.Sharpness(as_picture(texture)).enhance(factor))
        result = run(augmentations.sharpness, texture, factor)
        # Pillow rounds the smoothed picture before it extrapolates.
        np.testing.assert_allclose(result, expected, atol=2)

    def test_solarise(self, texture):
        expected = from_picture(ImageOps.solarize(as_picture(texture), 100))
        result = run(augmentations.solarise, texture, 0.1, 100.0)
        np.testing.assert_array_equal(result, expected)
        np.testing.assert_array_equal(run(augmentations.solarise, texture, 0.9), texture)

    @pytest.mark.parametrize("bits", [1, 3, 8])
    def test_posterise(self, texture, bits):
        expected = from_picture(ImageOps.posterize(as_picture(texture), bits))
        np.testing.assert_array_equal(run(augmentations.posterise, texture, bits), expected)

    @pytest.mark.parametrize("cutoff", [0, 7, 20])
    def test_autocontrast(self, texture, cutoff):
        expected = from_picture(ImageOps.autocontrast(as_picture(texture), cutoff))
        result = run(augmentations.autocontrast, texture, cutoff)
        np.testing.assert_allclose(result, expected, atol=1)

    def test_equalise(self, texture):
        expected = from_picture(ImageOps.equalize(as_picture(texture)))
        np.testing.assert_array_equal(run(augmentations.equalise, texture), expected)

    def test_affine_away_from_the_border(self, texture):
        picture = as_picture(texture).rotate(20, Image.Resampling.BILINEAR)
        inner = (slice(None), slice(14, -14), slice(14, -14))
        result = run(augmentations.affine, texture, 20)
        # Pillow's bilinear weights are coarser.
        np.testing.assert_allclose(result[inner], from_picture(picture)[inner], atol=3)


class TestAgainstKornia:
    """Kornia's operations in floating point agree to a level or two of 255."""

    @pytest.mark.parametrize("exponents", [(0.5, 1.0, 2.0), (1.7, 1.7, 1.7)])
    def test_gamma(self, noise, exponents):
        result = run(augmentations.gamma, noise, np.array(exponents)[:, None])
        channels = zip(as_batch(noise)[0], exponents, strict=True)
        expected = [255 * enhance.adjust_gamma(c[None, None], power)[0, 0] for c, power in channels]
        np.testing.assert_allclose(result, np.stack(expected), atol=0.51)

    @pytest.mark.parametrize(("factor", "shift"), [(1.2, -25.0), (0.8, 30.0)])
    def test_brightness(self, noise, factor, shift):
        # Clipped only after both, hence without kornia's own clipping.
        scaled = enhance.adjust_brightness_accumulative(as_batch(noise), factor, clip_output=False)
        expected = 255 * enhance.adjust_brightness(scaled, shift / 255)
        result = run(augmentations.brightness, noise, factor, shift)
        np.testing.assert_allclose(result, expected[0], atol=0.51)

    @pytest.mark.parametrize("factor", [0.0, 0.4, 1.0, 2.9])
    def test_sharpness(self, noise, factor):
        expected = 255 * enhance.sharpness(as_batch(noise), factor)[0]
        result = run(augmentations.sharpness, noise, factor)
        np.testing.assert_allclose(result, expected, atol=0.51)

    @pytest.mark.parametrize("turns", [-50 / 255, 0.0, 0.15])
    def test_hue(self, noise, turns):
        expected = 255 * enhance.adjust_hue(as_batch(noise), 2 * torch.pi * turns)[0]
        result = run(augmentations.hue_saturation, noise, [turns, 0.0])
        np.testing.assert_allclose(result, expected, atol=0.51)

    def test_saturation(self):
        # Kornia multiplies the saturation, DRAEM's imgaug adds to it: the same for one colour.
        colour = np.broadcast_to(np.uint8([[[200]], [[150]], [[100]]]), (3, 32, 32)).copy()
        expected = 255 * enhance.adjust_saturation(as_batch(colour), 0.6 / 0.5)[0]
        result = run(augmentations.hue_saturation, colour, [0.0, 0.1])
        np.testing.assert_allclose(result, expected, atol=0.51)

    @pytest.mark.parametrize("threshold", [32.0, 100.0, 128.0])
    def test_solarise(self, noise, threshold):
        expected = 255 * enhance.solarize(as_batch(noise), threshold / 255)[0]
        # Half a level less: whether a value at the threshold is inverted must not hang on rounding.
        result = run(augmentations.solarise, noise, 0.1, max(threshold - 0.5, 32))
        np.testing.assert_allclose(result, expected, atol=0.51)

    @pytest.mark.parametrize("bits", [1, 4, 8])
    def test_posterise(self, noise, bits):
        # Half a level more: kornia cuts to levels, and v / 255 x 255 may be just below v.
        expected = enhance.posterize((as_batch(noise) + 0.5 / 255).clamp(max=1), bits)[0] * 255
        result = run(augmentations.posterise, noise, bits)
        np.testing.assert_allclose(result, expected, atol=0.51)

    def test_invert(self, noise):
        expected = 255 * enhance.invert(as_batch(noise))[0]
        np.testing.assert_allclose(run(augmentations.invert, noise), expected, atol=0.01)

    def test_autocontrast_without_a_cutoff(self, texture):
        expected = 255 * enhance.normalize_min_max(as_batch(texture))[0]
        result = run(augmentations.autocontrast, texture, 0)
        # Pillow's tables, and ours, cut to levels.
        np.testing.assert_allclose(result, expected, atol=1.01)

    def test_equalise(self, texture):
        expected = 255 * enhance.equalize(as_batch(texture))[0]
        np.testing.assert_allclose(run(augmentations.equalise, texture), expected, atol=1.01)

    @pytest.mark.parametrize("angle", [-45.0, 20.0])
    def test_affine(self, texture, angle):
        expected = 255 * rotate(as_batch(texture), torch.tensor([angle]))[0]
        result = run(augmentations.affine, texture, angle)
        # Beyond the corners of the texture both are black, but for the last half pixel.
        inside = rotate(torch.ones(1, 3, 40, 56), torch.tensor([angle]))[0] == 1
        np.testing.assert_allclose(result[inside], expected[inside], atol=0.52)


class TestSingleTextures:
    def test_brightness(self, texture):
        expected = np.clip(np.rint(texture * 1.2 - 25), 0, 255)
        np.testing.assert_array_equal(run(augmentations.brightness, texture, 1.2, -25), expected)

    @pytest.mark.parametrize(
        ("augmentation", "draws"), [(augmentations.autocontrast, [5]), (augmentations.equalise, [])]
    )
    def test_uniform_texture_stays(self, augmentation, draws):
        uniform = np.full((3, 32, 32), 77, np.uint8)
        np.testing.assert_array_equal(run(augmentation, uniform, *draws), uniform)


class TestAugmentTextures:
    def test_three_different_ones_in_the_drawn_order(self, monkeypatch):
        calls = []

        def recorder(number):
            def augmentation(textures, draws):
                calls.append((number, len(textures)))
                return textures

            return augmentation

        recorders = tuple(recorder(i) for i in range(len(AUGMENTATIONS)))
        monkeypatch.setattr(augmentations, "AUGMENTATIONS", recorders)
        orders = [rng.permutation(10)[:3] for rng in generators(6)]
        augment_textures([Texture(torch.zeros(3, 32, 32))] * 6, generators(6))
        counts = [{i: list(step).count(i) for i in step} for step in zip(*orders, strict=True)]
        assert calls == [pair for step in counts for pair in sorted(step.items())]

    @pytest.mark.parametrize("count", [0, 1, 3, 10])
    def test_equals_one_operation_after_the_other(self, count, texture):
        stored = [torch.from_numpy(t.copy()) for t in (texture, texture[:, ::-1], 255 - texture)]
        expected = []
        for own, rng in zip(stored, generators(3), strict=True):
            augmented = own
            # All pixels after every operation, none of them put off.
            for number in rng.permutation(10)[:count]:
                augmented = pixels_of(AUGMENTATIONS[number]([Texture(augmented)], [rng]))[0]
            expected.append(augmented)
        result = augment_textures([Texture(own) for own in stored], generators(3), count)
        assert torch.equal(pixels_of(result), torch.stack(expected))

    def test_some_pixels_are_those_of_all(self, texture):
        textures = [Texture(torch.from_numpy(texture))] * 20
        chosen = torch.tensor([0, 7, 8, 55, 56, 1000, 2239])
        for augmented in augment_textures(textures, generators(20)):
            assert torch.equal(augmented.pixels(chosen), augmented.pixels()[:, chosen])

    def test_input_is_not_modified(self):
        stored = torch.full((3, 32, 32), 90, dtype=torch.uint8)
        pixels_of(augment_textures([Texture(stored)] * 4, generators(4)))
        assert (stored == 90).all()
