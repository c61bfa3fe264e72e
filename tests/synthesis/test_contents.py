import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate
from torchvision.transforms import functional as tv

from daf_pipelines.synthesis.contents import (
    augmented_texture,
    colour_jitter,
    own_patch,
    without_padding,
)
from daf_pipelines.synthesis.masks import bounding_boxes, rectangle_mask


def generators(count, seed=3):
    return [np.random.default_rng([seed, i]) for i in range(count)]


def random_images(count, channels=3, size=(40, 52)):
    return torch.rand(count, channels, *size, generator=torch.Generator().manual_seed(1))


def sources(image, patch):
    """All positions at which the image holds exactly that patch."""
    windows = image.unfold(1, patch.shape[1], 1).unfold(2, patch.shape[2], 1)
    equal = (windows == patch[:, None, None]).flatten(3).all(dim=3).all(dim=0)
    return [tuple(position) for position in equal.nonzero().tolist()]


class TestOwnPatch:
    def test_is_a_patch_of_the_same_image_from_elsewhere(self):
        images = random_images(8)
        masks = rectangle_mask(images, generators(8))
        contents = own_patch(images, masks, generators(8), None, jitter=0.0)
        for image, content, (top, left, bottom, right) in zip(
            images, contents, bounding_boxes(masks), strict=True
        ):
            patch = content[:, top:bottom, left:right]
            distances = (image.unfold(1, bottom - top, 1).unfold(2, right - left, 1)).sub(
                patch[:, None, None]
            )
            errors = distances.abs().amax(dim=(0, 3, 4))
            y, x = divmod(int(errors.argmin()), errors.shape[1])
            assert errors[y, x] < 1e-5  # the conversion to hue and back rounds
            assert (y, x) != (top, left)

    def test_jitters_that_patch(self):
        # Two channels: brightness and contrast only, so that the patch is found by its order.
        images = random_images(4, channels=2)
        masks = rectangle_mask(images, generators(4))
        plain = own_patch(images, masks, generators(4), None, jitter=0.0)
        jittered = own_patch(images, masks, generators(4), None)
        for i, (top, left, bottom, right) in enumerate(bounding_boxes(masks)):
            box = (slice(None), slice(top, bottom), slice(left, right))
            assert sources(images[i], plain[i][box]) != [(top, left)]
            assert len(sources(images[i], plain[i][box])) == 1
            change = (jittered[i][box] - plain[i][box]).abs()
            assert 1e-4 < float(change.max()) < 0.25

    def test_position_is_never_the_same(self):
        images = random_images(1, channels=1, size=(32, 32)).expand(200, -1, -1, -1)
        masks = torch.zeros(200, 1, 32, 32, dtype=torch.bool)
        masks[:, :, 1:, 1:] = True  # a box with four possible positions
        contents = own_patch(images, masks, generators(200), None, jitter=0.0)
        found = {sources(images[0], content[:, 1:, 1:])[0] for content in contents}
        assert found == {(0, 0), (0, 1), (1, 0)}

    def test_a_box_as_large_as_the_image_stays(self):
        images = random_images(1, channels=1)
        masks = torch.ones(1, 1, 40, 52, dtype=torch.bool)
        assert torch.equal(own_patch(images, masks, generators(1), None, jitter=0.0), images)


class TestWithoutPadding:
    def test_by_hand(self):
        images = torch.arange(2 * 4 * 4.0).view(2, 1, 4, 4)
        valid = torch.zeros(2, 1, 4, 4, dtype=torch.bool)
        valid[0, :, 1, 1:3] = valid[1] = True
        mirrored = without_padding(images, valid)
        assert mirrored[0, 0].tolist() == [[5, 5, 6, 6]] * 4
        assert torch.equal(mirrored[1], images[1])
        assert images[0, 0, 0].tolist() == [0, 1, 2, 3]


class TestColourJitter:
    def test_equals_torchvision(self):
        patches = [random_images(1, size=(9, 14))[0], random_images(1, size=(20, 5))[0] ** 2]
        jittered = colour_jitter(patches, generators(2), 0.1)
        drawn = [rng.uniform(-0.1, 0.1, size=4) for rng in generators(2)]
        for patch, result, shifts in zip(patches, jittered, drawn, strict=True):
            expected = tv.adjust_brightness(patch, 1 + shifts[0])
            expected = tv.adjust_contrast(expected, 1 + shifts[1])
            expected = tv.adjust_saturation(expected, 1 + shifts[2])
            expected = tv.adjust_hue(expected, shifts[3])
            torch.testing.assert_close(result, expected, atol=1e-3, rtol=0)


class TestAugmentedTexture:
    def test_bank_of_another_size_is_resized(self, monkeypatch):
        monkeypatch.setattr(
            "daf_pipelines.synthesis.contents.augment_textures", lambda batch, draws: batch
        )
        bank = (random_images(1, size=(30, 35)) * 255).byte()
        contents = augmented_texture(
            random_images(1), torch.ones(1, 1, 40, 52), generators(1), bank
        )
        expected = interpolate(bank.float(), size=(40, 52), mode="bilinear")
        torch.testing.assert_close(contents * 255, expected, atol=0.51, rtol=0)

    @pytest.mark.parametrize("size", [(40, 52), (64, 64)])
    def test_comes_from_the_bank(self, size, monkeypatch):
        monkeypatch.setattr(
            "daf_pipelines.synthesis.contents.augment_textures", lambda batch, draws: batch
        )
        bank = torch.arange(0, 250, 50, dtype=torch.uint8)[:, None, None, None].expand(-1, 3, *size)
        images = random_images(60)
        contents = augmented_texture(images, images[:, :1] > 0.5, generators(60), bank)
        assert contents.shape == images.shape
        assert set((contents * 255).round().unique().tolist()) == {0, 50, 100, 150, 200}
