import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy import ndimage, sparse

from daf_pipelines.synthesis.blending import poisson as module
from daf_pipelines.synthesis.blending import poisson_blending
from daf_pipelines.synthesis.blending import rectangle as rectangle_module
from daf_pipelines.synthesis.blending.arrays import array_of
from daf_pipelines.synthesis.operators import Operator

CPU = torch.device("cpu")
SHAPES = ("rectangle", "border", "whole", "blob", "ring", "two", "noise", "line")
GRADIENTS = ("mixed", "source")


def solution(image, content, mask, gradients):
    """The published equations of one channel, written out pixel by pixel and solved directly."""
    number = np.cumsum(mask).reshape(mask.shape) - 1
    entries, right = [], np.zeros(mask.sum())
    for y, x in np.argwhere(mask):
        row = number[y, x]
        for p, q in ((y, x + 1), (y + 1, x), (y, x - 1), (y - 1, x)):
            if not (0 <= p < mask.shape[0] and 0 <= q < mask.shape[1]):
                continue
            own, wanted = image[y, x] - image[p, q], content[y, x] - content[p, q]
            entries.append((row, row, 1.0))
            if mask[p, q]:
                entries.append((row, number[p, q], -1.0))
                is_own = gradients == "mixed" and abs(own) > abs(wanted)
                right[row] += own if is_own else wanted
            else:
                right[row] += image[p, q] + own
    if mask.all():  # defined up to a constant: the mean is the image's
        entries += [(0, column, 1.0) for column in range(len(right))]
        right[0] += image.sum()
    rows, columns, values = zip(*entries, strict=True)
    matrix = sparse.csc_matrix((values, (rows, columns)))
    blended = image.copy()
    blended[mask] = sparse.linalg.spsolve(matrix, right)
    return blended


def random_mask(rng, shape, height, width):
    mask = np.zeros((height, width), dtype=bool)
    y, x = np.ogrid[:height, :width]
    away = np.hypot((y - height / 2) / height, (x - width / 2) / width)
    top, left = rng.integers(1, 5, 2)
    if shape == "rectangle":
        mask[top : -int(rng.integers(1, 9)), left : -int(rng.integers(1, 9))] = True
    elif shape == "border":
        mask[: int(rng.integers(4, height)), left:] = True
    elif shape == "whole":
        mask[:] = True
    elif shape == "blob":
        smooth = ndimage.gaussian_filter(rng.random((height, width)), 3)
        mask = smooth > np.quantile(smooth, rng.uniform(0.1, 0.9))
    elif shape == "ring":
        mask = (away < 0.45) & (away > 0.2)
    elif shape == "two":
        mask[top:9, left:12], mask[15:-3, 14:] = True, True
    elif shape == "noise":
        mask = rng.random((height, width)) < rng.uniform(0.1, 0.95)
    else:
        mask[height // 2, 3:-3] = True
    return mask


def random_problem(rng, shape, height, width, channels=1):
    """Image, content ``(1, C, H, W)`` and mask, with the content of another brightness."""
    generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
    image = torch.rand(1, channels, height, width, generator=generator)
    content = torch.rand(1, channels, height, width, generator=generator) * 0.7 + 0.3
    mask = torch.from_numpy(random_mask(rng, shape, height, width))[None, None]
    return image, content, mask


def blend(image, content, mask, gradients="mixed"):
    return poisson_blending(image.clone(), content.clone(), mask, [], gradients=gradients)


class TestEquations:
    @settings(max_examples=120, deadline=None)
    @given(
        seed=st.integers(0, 2**31),
        shape=st.sampled_from(SHAPES),
        height=st.integers(24, 34),
        width=st.integers(24, 34),
        channels=st.integers(1, 2),
        gradients=st.sampled_from(GRADIENTS),
    )
    def test_are_solved(self, seed, shape, height, width, channels, gradients):
        rng = np.random.default_rng(seed)
        image, content, mask = random_problem(rng, shape, height, width, channels)
        blended = blend(image, content, mask, gradients)
        for channel in range(channels):
            arrays = (part[0, channel].double().numpy() for part in (image, content))
            expected = solution(*arrays, mask[0, 0].numpy(), gradients)
            inside = mask[0, 0].numpy()
            found = blended[0, channel].numpy()
            np.testing.assert_allclose(found[inside], expected[inside], atol=1e-4)

    def test_of_two_pixels(self):
        # 4 u - w = 0 - 0.4 and 4 w - u = 0.4 - 0.
        image, content = torch.full((1, 1, 32, 32), 0.5), torch.zeros(1, 1, 32, 32)
        content[..., 10, 11] = 0.4
        mask = torch.zeros(1, 1, 32, 32, dtype=torch.bool)
        mask[..., 10, 10:12] = True
        blended = blend(image, content, mask)[0, 0, 10, 10:12]
        np.testing.assert_allclose(blended.numpy(), [0.5 - 0.08, 0.5 + 0.08], atol=1e-6)

    def test_do_not_read_contents_outside(self):
        rng = np.random.default_rng(0)
        for shape in SHAPES:
            image, content, mask = random_problem(rng, shape, 32, 40)
            other = torch.where(mask, content, torch.rand_like(content))
            first, second = blend(image, content, mask), blend(image, other, mask)
            assert torch.equal(first[mask], second[mask])

    @pytest.mark.parametrize("gradients", GRADIENTS)
    def test_at_the_size_of_training(self, gradients):
        """Far more unknowns than in the other cases: a rectangle and a star."""
        rng = np.random.default_rng(1)
        image, content, mask = random_problem(rng, "rectangle", 150, 170)
        y, x = np.ogrid[:150, :170]
        angle, away = np.arctan2(y - 75, x - 85), np.hypot(y - 75, x - 85)
        star = torch.from_numpy(away < 50 + 20 * np.cos(5 * angle))[None, None]
        for inside in (mask, star):
            blended = blend(image, content, inside, gradients)[0, 0].numpy()
            arrays = (part[0, 0].double().numpy() for part in (image, content))
            where = inside[0, 0].numpy()
            expected = solution(*arrays, where, gradients)
            np.testing.assert_allclose(blended[where], expected[where], atol=2e-4)


class TestGradients:
    @pytest.mark.parametrize("shape", SHAPES)
    def test_source_does_not_see_the_brightness(self, shape):
        image, _, mask = random_problem(np.random.default_rng(2), shape, 40, 36, 3)
        blended = blend(image, image + 0.3, mask, "source")
        inside = mask.expand_as(image)
        torch.testing.assert_close(blended[inside], image[inside], atol=1e-4, rtol=0)

    @pytest.mark.parametrize("shape", SHAPES)
    def test_mixed_keeps_the_image_where_the_content_is_flat(self, shape):
        image, content, mask = random_problem(np.random.default_rng(3), shape, 40, 36, 3)
        blended = blend(image, torch.full_like(content, 0.9), mask, "mixed")
        inside = mask.expand_as(image)
        assert torch.equal(blended[inside], image[inside])

    def test_source_replaces_structure_that_mixed_keeps(self):
        image, _, mask = random_problem(np.random.default_rng(4), "rectangle", 40, 40)
        flat = torch.full_like(image, 0.9)
        source = blend(image, flat, mask, "source")
        middle = (..., slice(12, 28), slice(12, 28))
        assert source[middle].std() < 0.2 * image[middle].std()

    def test_agree_where_the_content_has_the_larger_ones(self):
        rng = np.random.default_rng(5)
        for shape in SHAPES:
            image, content, mask = random_problem(rng, shape, 32, 32)
            flat = torch.full_like(image, 0.5)
            assert torch.equal(
                blend(flat, content, mask, "mixed")[mask],
                blend(flat, content, mask, "source")[mask],
            )

    def test_refuses_others(self):
        with pytest.raises(ValidationError, match="gradients"):
            Operator(poisson_blending, gradients="all")


class TestWholePicture:
    def test_keeps_the_mean(self):
        image, content, mask = random_problem(np.random.default_rng(6), "whole", 37, 48, 3)
        blended = blend(image, content, mask, "source")
        shift = (image - content).mean(dim=(2, 3), keepdim=True)
        torch.testing.assert_close(blended, content + shift, atol=1e-4, rtol=0)


class TestExactness:
    """What makes the result independent of the batch, of threads and of the device."""

    @pytest.mark.parametrize("shape", SHAPES)
    def test_tensors_and_arrays_give_the_same(self, shape, monkeypatch):
        problem = random_problem(np.random.default_rng(7), shape, 40, 53, 3)
        arrays = blend(*problem)
        for part in (module, rectangle_module):
            monkeypatch.setattr(part, "array_of", lambda tensor: tensor)
        assert array_of(arrays) is not arrays  # otherwise nothing was compared
        assert torch.equal(blend(*problem), arrays)

    @pytest.mark.parametrize("shape", SHAPES)
    def test_grey_images_are_solved_as_one_channel(self, shape):
        image, content, mask = random_problem(np.random.default_rng(8), shape, 40, 53)
        three = blend(image.expand(-1, 3, -1, -1), content.expand(-1, 3, -1, -1), mask)
        one = blend(image, content, mask)
        inside = mask.expand_as(three)
        assert torch.equal(three[inside], one.expand_as(three)[inside])

    @pytest.mark.parametrize("shape", SHAPES)
    def test_channels_do_not_mix(self, shape):
        image, content, mask = random_problem(np.random.default_rng(12), shape, 36, 40, 3)
        grey = image[:, :1].expand(-1, 3, -1, -1)
        blended = blend(grey, content, mask)
        for channel in range(3):
            alone = blend(image[:, :1], content[:, channel : channel + 1], mask)
            found = blended[:, channel : channel + 1]
            torch.testing.assert_close(found[mask], alone[mask], atol=2e-4, rtol=0)

    def test_images_and_masks_stay(self):
        image, content, mask = random_problem(np.random.default_rng(10), "blob", 32, 32)
        before = image.clone(), mask.clone()
        poisson_blending(image, content, mask, [])
        assert torch.equal(image, before[0])
        assert torch.equal(mask, before[1])
