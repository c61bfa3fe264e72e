import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from daf_pipelines.errors import ParameterError
from daf_pipelines.synthesis import STRATEGIES, Strategy, outlier_key, synthesise
from daf_pipelines.synthesis.masks import box_masks

NAMES = sorted(STRATEGIES)
KEYS = st.integers(0, 2**63 - 1)
SIZES = st.tuples(st.integers(32, 75), st.integers(32, 75))


def random_images(count, height, width, channels=3):
    generator = torch.Generator().manual_seed(count + height + width)
    return torch.rand(count, channels, height, width, generator=generator)


def random_bank(height=64, width=64):
    return torch.from_numpy(
        np.random.default_rng(0).integers(0, 256, (5, 3, height, width), dtype=np.uint8)
    )


class TestInvariants:
    @settings(max_examples=60, deadline=None)
    @given(
        name=st.sampled_from(NAMES),
        size=SIZES,
        channels=st.integers(1, 3),
        keys=st.lists(KEYS, min_size=1, max_size=4),
        with_bank=st.booleans(),
    )
    def test_hold_for_all_sizes_and_keys(self, name, size, channels, keys, with_bank):
        images = random_images(len(keys), *size, channels)
        before = images.clone()
        bank = random_bank() if with_bank else None
        outliers = synthesise(images, name, keys, bank)
        assert torch.equal(images, before)
        assert outliers.images.shape == images.shape
        assert outliers.masks.shape == (len(keys), 1, *size)
        assert outliers.images.dtype == outliers.masks.dtype == torch.float32
        assert set(outliers.masks.unique().tolist()) <= {0.0, 1.0}
        assert (outliers.masks.flatten(1).sum(dim=1) > 0).all()
        assert outliers.images.isfinite().all()
        assert outliers.images.min() >= 0
        assert outliers.images.max() <= 1
        outside = (outliers.masks == 0).expand_as(images)
        assert torch.equal(outliers.images[outside], images[outside])

    @pytest.mark.parametrize("name", NAMES)
    def test_something_changes_inside(self, name):
        images = random_images(8, 64, 64)
        outliers = synthesise(images, name, range(8), random_bank())
        changed = (outliers.images != images).any(dim=1, keepdim=True)
        share = (changed & (outliers.masks > 0)).flatten(1).sum(1) / outliers.masks.flatten(1).sum(
            1
        )
        assert (share > 0.5).all()

    def test_extreme_images(self):
        images = torch.stack([torch.zeros(3, 40, 40), torch.ones(3, 40, 40)])
        for name in NAMES:
            outliers = synthesise(images, name, [1, 2])
            assert outliers.images.isfinite().all()
            assert outliers.images.min() >= 0
            assert outliers.images.max() <= 1


class TestDeterminism:
    @settings(max_examples=25, deadline=None)
    @given(
        name=st.sampled_from(NAMES),
        size=SIZES,
        seed=st.integers(0, 1000),
        order=st.permutations(range(9)),
        with_bank=st.booleans(),
    )
    def test_same_key_same_outlier_whatever_the_batch(self, name, size, seed, order, with_bank):
        images = random_images(9, *size)
        keys = [outlier_key(seed, i) for i in range(9)]
        bank = random_bank(size[0], 64) if with_bank else None
        together = synthesise(images, name, keys, bank)
        shuffled = synthesise(images[order], name, [keys[i] for i in order], bank)
        assert torch.equal(shuffled.images, together.images[order])
        assert torch.equal(shuffled.masks, together.masks[order])
        for i in (0, 8):
            alone = synthesise(images[i : i + 1], name, keys[i : i + 1], bank)
            assert torch.equal(alone.images[0], together.images[i])
            assert torch.equal(alone.masks[0], together.masks[i])

    @pytest.mark.parametrize("name", NAMES)
    def test_number_of_threads_does_not_matter(self, name):
        images, keys = random_images(6, 130, 97), range(6)
        threads = torch.get_num_threads()
        try:
            torch.set_num_threads(1)
            one = synthesise(images, name, keys, random_bank())
            torch.set_num_threads(2)
            two = synthesise(images, name, keys, random_bank())
        finally:
            torch.set_num_threads(threads)
        assert torch.equal(one.images, two.images)

    @pytest.mark.parametrize("name", NAMES)
    def test_other_key_other_outlier(self, name):
        images = random_images(1, 64, 64).expand(20, -1, -1, -1)
        outliers = synthesise(images, name, range(20)).images
        assert len({tuple(image.flatten().tolist()) for image in outliers}) == 20

    def test_global_random_state_is_left_alone(self):
        torch.manual_seed(0)
        np.random.seed(0)  # noqa: NPY002 - the global state is what is tested
        expected = torch.rand(1), np.random.rand()  # noqa: NPY002
        torch.manual_seed(0)
        np.random.seed(0)  # noqa: NPY002
        for name in NAMES:
            synthesise(random_images(2, 40, 40), name, [1, 2])
        assert (torch.rand(1), np.random.rand()) == expected  # noqa: NPY002


class TestValid:
    @settings(max_examples=40, deadline=None)
    @given(
        name=st.sampled_from(NAMES),
        keys=st.lists(KEYS, min_size=2, max_size=4),
        top=st.integers(0, 40),
        height=st.integers(1, 10),
    )
    def test_outliers_lie_there_and_nowhere_else(self, name, keys, top, height):
        images = random_images(len(keys), 51, 60)
        valid = box_masks([(top, 0, top + height, 60)] * len(keys), images)
        outliers = synthesise(images, name, keys, valid=valid)
        assert not (outliers.masks.bool() & ~valid).any()
        assert outliers.masks.flatten(1).any(dim=1).all()
        outside = (outliers.masks == 0).expand_as(images)
        assert torch.equal(outliers.images[outside], images[outside])
        last = synthesise(images[-1:], name, keys[-1:], valid=valid[-1:])
        assert torch.equal(last.images[0], outliers.images[-1])

    def test_patches_come_from_there(self):
        images = torch.zeros(40, 3, 64, 64)
        images[..., 20:44, :] = 0.5 + random_images(40, 24, 64) / 2
        valid = box_masks([(20, 0, 44, 64)] * 40, images)
        outliers = synthesise(images, "cutpaste", range(40), valid=valid)
        # Brightness, contrast and hue change by a tenth each.
        assert outliers.images[..., 20:44, :].min() > 0.3

    @pytest.mark.parametrize("name", NAMES)
    def test_everywhere_is_as_without(self, name):
        images = random_images(8, 40, 50)
        everywhere = torch.ones(8, 1, 40, 50, dtype=torch.bool)
        found = synthesise(images, name, range(8), random_bank(), valid=everywhere)
        expected = synthesise(images, name, range(8), random_bank())
        assert torch.equal(found.images, expected.images)
        assert torch.equal(found.masks, expected.masks)


class TestOutlierKey:
    def test_known_values_stay(self):
        assert outlier_key(0) == 7896617691693857887
        assert outlier_key(42, 3, 17) == 5709688046007004946

    def test_has_63_bits_and_tells_all_counters_apart(self):
        counters = [(), (0,), (0, 0), (1,), (0, 1), (1, 0), (1, 0, 0)]
        keys = [outlier_key(seed, *c) for seed in (0, 1, 2**40) for c in counters]
        assert len(set(keys)) == len(keys)
        assert all(0 <= key < 2**63 for key in keys)


class TestStrategies:
    def test_unknown_name_lists_all_and_the_nearest(self):
        with pytest.raises(ParameterError) as caught:
            synthesise(random_images(1, 32, 32), "cut_past", [0])
        assert "unknown strategy 'cut_past'; did you mean 'cutpaste'?" in str(caught.value)
        assert "cutpaste, draem, simple_texture" in str(caught.value)

    def test_own_combination(self):
        def left_half(images, draws):
            masks = torch.zeros(len(images), 1, *images.shape[-2:], dtype=torch.bool)
            masks[..., : images.shape[-1] // 2] = True
            return masks

        def white(images, masks, draws, textures):
            return torch.full_like(images, 1.5)

        def paste(images, contents, masks, draws):
            return contents

        images = random_images(2, 32, 40)
        outliers = synthesise(images, Strategy(left_half, white, paste, "white"), [0, 1])
        assert (outliers.images[..., :20] == 1).all()
        assert torch.equal(outliers.images[..., 20:], images[..., 20:])

    def test_draem_uses_the_bank(self):
        images = random_images(4, 64, 64)
        with_bank = synthesise(images, "draem", range(4), random_bank())
        without = synthesise(images, "draem", range(4))
        assert torch.equal(with_bank.masks, without.masks)
        assert not torch.equal(with_bank.images, without.images)


class TestArguments:
    @pytest.mark.parametrize(
        ("images", "message"),
        [
            (torch.zeros(1, 3, 31, 64), "32 pixels"),
            (torch.zeros(1, 4, 64, 64), "1 to 3"),
            (torch.zeros(3, 64, 64), "1 to 3"),
            (torch.zeros(1, 3, 64, 64, dtype=torch.uint8), "float32"),
        ],
    )
    def test_images(self, images, message):
        with pytest.raises(ValueError, match=message):
            synthesise(images, "draem", [0])

    def test_keys(self):
        with pytest.raises(ValueError, match="keys: expected one per image, 2; got 1"):
            synthesise(torch.zeros(2, 3, 32, 32), "draem", [0])

    @pytest.mark.parametrize(
        ("valid", "message"),
        [
            (torch.ones(2, 1, 32, 32), r"expected \(2, 1, 32, 32\) bool; got .* torch.float32"),
            (torch.ones(2, 3, 32, 32).bool(), r"got \(2, 3, 32, 32\)"),
            (torch.ones(1, 1, 32, 32).bool(), r"got \(1, 1, 32, 32\)"),
            (torch.tensor([1, 0])[:, None, None, None].expand(2, 1, 32, 32).bool(), "every image"),
        ],
    )
    def test_valid(self, valid, message):
        with pytest.raises(ValueError, match=message):
            synthesise(torch.zeros(2, 3, 32, 32), "draem", [0, 1], valid=valid)

    @pytest.mark.parametrize("bank", [torch.zeros(2, 3, 32, 32), torch.zeros(2, 32, 32).byte()])
    def test_textures(self, bank):
        with pytest.raises(ValueError, match="textures: expected"):
            synthesise(torch.zeros(1, 3, 32, 32), "draem", [0], bank)
