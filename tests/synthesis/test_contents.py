import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate
from torchvision.transforms import functional as tv

from daf_pipelines.synthesis.colour import colour_jitter
from daf_pipelines.synthesis.contents import (
    augmented_self,
    augmented_texture,
    normal_patch,
    own_patch,
    plain_colour,
    plain_texture,
)
from daf_pipelines.synthesis.contents.patches import without_padding
from daf_pipelines.synthesis.geometry import bounding_boxes, box_masks
from daf_pipelines.synthesis.masks import rectangle_mask
from daf_pipelines.synthesis.operators import Sources

NONE = Sources()


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
        contents = own_patch(images, masks, generators(8), NONE, jitter=0.0)
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
        plain = own_patch(images, masks, generators(4), NONE, jitter=0.0)
        jittered = own_patch(images, masks, generators(4), NONE)
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
        contents = own_patch(images, masks, generators(200), NONE, jitter=0.0)
        found = {sources(images[0], content[:, 1:, 1:])[0] for content in contents}
        assert found == {(0, 0), (0, 1), (1, 0)}

    def test_a_box_as_large_as_the_image_stays(self):
        images = random_images(1, channels=1)
        masks = torch.ones(1, 1, 40, 52, dtype=torch.bool)
        assert torch.equal(own_patch(images, masks, generators(1), NONE, jitter=0.0), images)


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


def everywhere(images):
    return torch.ones_like(images[:, :1], dtype=torch.bool)


class TestAugmentedTexture:
    def test_bank_of_another_size_is_resized(self, monkeypatch):
        monkeypatch.setattr(
            "daf_pipelines.synthesis.contents.textures.augment_textures",
            lambda textures, draws, count: textures,
        )
        bank = (random_images(1, size=(30, 35)) * 255).byte()
        images = random_images(1, size=(40, 52))
        contents = augmented_texture(images, everywhere(images), generators(1), Sources(bank))
        expected = interpolate(bank.float(), size=(40, 52), mode="bilinear")
        torch.testing.assert_close(contents * 255, expected, atol=0.51, rtol=0)

    @pytest.mark.parametrize("size", [(40, 52), (64, 64)])
    def test_comes_from_the_bank(self, size, monkeypatch):
        monkeypatch.setattr(
            "daf_pipelines.synthesis.contents.textures.augment_textures",
            lambda textures, draws, count: textures,
        )
        bank = torch.arange(0, 250, 50, dtype=torch.uint8)[:, None, None, None].expand(-1, 3, *size)
        images = random_images(60)
        contents = augmented_texture(images, everywhere(images), generators(60), Sources(bank))
        assert contents.shape == images.shape
        assert set((contents * 255).round().unique().tolist()) == {0, 50, 100, 150, 200}

    def test_without_augmentations_it_is_the_texture(self):
        bank = (random_images(1) * 255).byte()
        images = random_images(2)
        contents = augmented_texture(
            images, everywhere(images), generators(2), Sources(bank), augmentations=0
        )
        assert torch.equal((contents * 255).round().byte(), bank.expand(2, -1, -1, -1))


class TestTextures:
    @pytest.mark.parametrize("operator", [augmented_texture, plain_texture])
    @pytest.mark.parametrize("channels", [1, 2, 3])
    def test_inside_the_masks_as_without_them(self, operator, channels):
        images = random_images(12)[:, :channels]
        masks = images[:, :1] > 0.8
        bank = Sources((random_images(4) * 255).byte())
        whole = operator(images, everywhere(images), generators(12), bank)
        part = operator(images, masks, generators(12), bank)
        assert whole.count_nonzero() > 0.5 * whole.numel()
        assert torch.equal(part, whole * masks)


class TestPlain:
    def test_colour_is_one_and_uniform_over_all(self):
        images = random_images(400, size=(32, 32))
        contents = plain_colour(images, images[:, :1] > 0.5, generators(400), NONE)
        colours = contents[:, :, :1, :1]
        assert torch.equal(contents, colours.expand_as(contents))
        assert colours.mean() == pytest.approx(0.5, abs=0.05)
        assert colours.std() == pytest.approx(12**-0.5, abs=0.02)

    @pytest.mark.parametrize("kind", ["uniform", "gradient", "stripes", "noise", "perlin"])
    def test_kinds_look_as_they_are_called(self, kind):
        images = random_images(30, size=(64, 64))
        texture = plain_texture(images, everywhere(images), generators(30), NONE, kinds=(kind,))
        levels = torch.tensor([len(image[0].unique()) for image in texture])
        steps = (texture[..., 1:] - texture[..., :-1]).abs().amax(dim=(1, 2, 3))
        if kind == "uniform":
            assert (levels == 1).all()
        elif kind == "stripes":
            assert (levels == 2).all()
        elif kind in ("gradient", "perlin"):
            assert (levels > 4).float().mean() > 0.7
            assert steps.median() < 0.1
        else:
            assert steps.median() > 0.1


class TestNormalPatch:
    BOX = (8, 10, 28, 40)

    def contents(self, sources, count=1, **parameters):
        images = torch.zeros(count, 3, 48, 64)
        masks = box_masks([self.BOX] * count, images)
        return normal_patch(images, masks, generators(count), sources, **parameters)

    def patch(self, contents):
        top, left, bottom, right = self.BOX
        return contents[..., top:bottom, left:right]

    def test_unscaled_patch_is_cut_from_the_other_image(self):
        normals = (random_images(2, size=(48, 64)) * 255).byte()
        normals[0] = 7
        contents = self.contents(Sources(normals=normals, own=[0]), scale=(1, 1))
        # A linear picture stays linear under bilinear resampling, at whatever position.
        ramp = torch.arange(64, dtype=torch.uint8).expand(1, 3, 48, 64)
        steps = self.patch(self.contents(Sources(normals=ramp), scale=(1, 1))).diff(dim=3)
        torch.testing.assert_close(steps, torch.full_like(steps, 1 / 255), atol=1e-5, rtol=0)
        assert self.patch(contents).min() >= 0
        assert not (contents == 7 / 255).all(dim=1).any()
        outside = torch.ones(48, 64, dtype=torch.bool)
        outside[self.BOX[0] : self.BOX[2], self.BOX[1] : self.BOX[3]] = False
        assert (contents[..., outside] == 0).all()

    @pytest.mark.parametrize("factor", [0.7, 1.3])
    def test_is_enlarged_by_the_factor(self, factor):
        ramp = 2 * torch.arange(64, dtype=torch.uint8).expand(1, 3, 48, 64)
        contents = self.contents(Sources(normals=ramp), scale=(factor, factor))
        step = self.patch(contents).diff(dim=3)[..., 1:-1]
        torch.testing.assert_close(step, torch.full_like(step, 2 / 255 / factor), atol=1e-5, rtol=0)

    def test_factors_are_normal_and_clipped(self):
        ramp = torch.arange(64, dtype=torch.uint8).expand(1, 3, 48, 64)
        contents = self.contents(Sources(normals=ramp), count=400)
        steps = 255 * self.patch(contents).diff(dim=3)[:, 0, 5, 10:20].median(dim=1).values
        factors = 1 / steps
        assert factors.min() == pytest.approx(0.7, abs=0.01)
        assert factors.max() == pytest.approx(1.3, abs=0.01)
        # P(N(1, 0.5) < 0.7) = P(N(1, 0.5) > 1.3) = 0.274
        assert (factors < 0.71).float().mean() == pytest.approx(0.274, abs=0.07)
        assert (factors > 1.29).float().mean() == pytest.approx(0.274, abs=0.07)

    def test_never_the_image_itself_and_all_others_alike(self):
        normals = torch.arange(5, dtype=torch.uint8)[:, None, None, None].expand(-1, 3, 48, 64)
        contents = self.contents(Sources(normals=normals, own=[2] * 400), count=400)
        chosen = (255 * self.patch(contents)[:, 0, 0, 0]).round().long()
        counts = torch.bincount(chosen, minlength=5)
        assert counts[2] == 0
        assert (counts[[0, 1, 3, 4]] > 60).all()

    def test_of_an_image_without_others_it_is_its_own(self):
        images = random_images(1, size=(48, 64))
        masks = box_masks([self.BOX], images)
        for sources in (NONE, Sources(normals=torch.zeros(1, 3, 48, 64).byte(), own=[0])):
            contents = normal_patch(images, masks, generators(1), sources)
            assert self.patch(contents).std() > 0.1

    def test_padding_is_not_cut(self):
        normals = torch.zeros(1, 3, 48, 64, dtype=torch.uint8)
        normals[..., 12:36, :] = 200
        contents = self.contents(
            Sources(normals=normals, boxes=[(12, 0, 36, 64)]), count=50, scale=(0.7, 1)
        )
        assert self.patch(contents).min() > 0.35  # at the border half of it is interpolated
        assert (self.patch(contents)[..., 3:-3, :] > 0.75).all()

    def test_prefers_the_object(self):
        normals = torch.zeros(1, 3, 48, 64, dtype=torch.uint8)
        normals[..., 34:64] = 255
        objects = normals[:, :1] > 0
        shares = [
            self.patch(self.contents(Sources(normals=normals, foregrounds=where), count=60))
            .mean(dim=(1, 2, 3))
            .min()
            for where in (None, objects)
        ]
        assert shares[0] < 0.1
        assert shares[1] > 0.2

    def test_jitter_changes_colours(self):
        normals = torch.full((1, 3, 48, 64), 128, dtype=torch.uint8)
        contents = self.contents(Sources(normals=normals), count=20, jitter=0.1)
        values = self.patch(contents)[:, 0, 0, 0]
        assert 0.005 < values.std() < 0.05


class TestAugmentedSelf:
    def contents(self, images, **parameters):
        masks = images[:, :1] > 0.5
        return augmented_self(images, masks, generators(len(images)), NONE, **parameters)

    def test_parts_are_those_of_the_image(self):
        images = (random_images(3, size=(40, 64)) * 255).round() / 255
        contents = self.contents(images, augmentations=0)
        assert not torch.equal(contents, images)
        for image, content in zip(images, contents, strict=True):
            assert torch.equal(image.flatten(1).sort().values, content.flatten(1).sort().values)
            whole = image.unfold(1, 10, 10).unfold(2, 8, 8).permute(1, 2, 0, 3, 4).flatten(0, 1)
            parts = content.unfold(1, 10, 10).unfold(2, 8, 8).permute(1, 2, 0, 3, 4).flatten(0, 1)
            flips = [(), (1,), (2,), (1, 2)]
            assert any(
                {p.flatten().numpy().tobytes() for p in parts}
                == {p.flip(f).flatten().numpy().tobytes() for p in whole}
                for f in flips
            )

    def test_one_part_is_mirrored_only(self):
        images = (random_images(40, size=(33, 47)) * 255).round() / 255
        contents = self.contents(images, rows=1, columns=1, augmentations=0)
        seen = set()
        for image, content in zip(images, contents, strict=True):
            mirrored = [torch.equal(content, image.flip(f)) for f in [(), (1,), (2,), (1, 2)]]
            assert sum(mirrored) == 1
            seen.add(mirrored.index(True))
        assert seen == {0, 1, 2, 3}

    def test_channels_stay_apart(self):
        images = random_images(4, channels=2)
        images[:, 0] = 0
        contents = self.contents(images, augmentations=0)
        assert (contents[:, 0] == 0).all()
        assert contents[:, 1].std() > 0.1

    @pytest.mark.parametrize("channels", [1, 2, 3])
    def test_is_augmented(self, channels):
        images = random_images(6, channels=channels)
        contents = self.contents(images)
        assert contents.shape == images.shape
        assert (contents.mean(dim=(1, 2, 3)) - images.mean(dim=(1, 2, 3))).abs().max() > 0.02
