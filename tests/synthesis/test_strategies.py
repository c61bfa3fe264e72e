import json
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from daf_pipelines.errors import ParameterError
from daf_pipelines.synthesis import (
    STRATEGIES,
    Mixture,
    Operator,
    Sources,
    Strategy,
    find_strategy,
    outlier_key,
    synthesise,
)
from daf_pipelines.synthesis.blending import BLENDINGS
from daf_pipelines.synthesis.contents import CONTENTS
from daf_pipelines.synthesis.geometry import box_masks
from daf_pipelines.synthesis.masks import MASKS

NAMES = sorted(STRATEGIES)
DRAEM = STRATEGIES["draem"]
NORMALS = torch.zeros(2, 3, 32, 32, dtype=torch.uint8)
KEYS = st.integers(0, 2**63 - 1)
SIZES = st.tuples(st.integers(32, 75), st.integers(32, 75))


def random_images(count, height, width, channels=3):
    generator = torch.Generator().manual_seed(count + height + width)
    return torch.rand(count, channels, height, width, generator=generator)


def random_bank(height=64, width=64):
    return torch.from_numpy(
        np.random.default_rng(0).integers(0, 256, (5, 3, height, width), dtype=np.uint8)
    )


def everything(images):
    """All sources: textures, and the images themselves as normals."""
    return Sources(random_bank(), (images * 255).byte(), range(len(images)))


def combination(mask, content, blending, foreground="none", **values):
    operators = Operator(MASKS[mask]), Operator(CONTENTS[content]), Operator(BLENDINGS[blending])
    return Strategy(*operators, "a combination", foreground, **values)


combinations = st.builds(
    combination,
    mask=st.sampled_from(sorted(MASKS)),
    content=st.sampled_from(sorted(CONTENTS)),
    blending=st.sampled_from(sorted(BLENDINGS)),
    foreground=st.sampled_from(["none", "object"]),
    repeats=st.integers(1, 3),
    area=st.sampled_from([(0.0, 1.0), (0.01, 0.05), (0.1, 0.2), (0.002, 0.5)]),
    tolerance=st.sampled_from([0.0, 1.0]),
)
presets = st.sampled_from(NAMES).map(STRATEGIES.get)


def assert_sound(outliers, images):
    """What holds for every outlier, whatever the strategy."""
    assert outliers.images.shape == images.shape
    assert outliers.masks.shape == (len(images), 1, *images.shape[2:])
    assert outliers.images.dtype == outliers.masks.dtype == torch.float32
    assert set(outliers.masks.unique().tolist()) <= {0.0, 1.0}
    assert (outliers.masks.flatten(1).sum(dim=1) > 0).all()
    assert outliers.images.isfinite().all()
    assert outliers.images.min() >= 0
    assert outliers.images.max() <= 1
    outside = (outliers.masks == 0).expand_as(images)
    assert torch.equal(outliers.images[outside], images[outside])


class TestInvariants:
    @settings(max_examples=150, deadline=None)
    @given(
        strategy=st.one_of(presets, combinations),
        size=SIZES,
        channels=st.integers(1, 3),
        keys=st.lists(KEYS, min_size=1, max_size=4),
        with_sources=st.booleans(),
    )
    def test_hold_for_all_combinations_sizes_and_keys(
        self, strategy, size, channels, keys, with_sources
    ):
        images = random_images(len(keys), *size, channels)
        before = images.clone()
        sources = everything(images) if with_sources else None
        outliers = synthesise(images, strategy, keys, sources)
        assert torch.equal(images, before)
        assert_sound(outliers, images)

    @settings(max_examples=60, deadline=None)
    @given(
        mask=st.sampled_from(sorted(MASKS)),
        area=st.sampled_from([(0.01, 0.02), (0.1, 0.2), (0.5, 0.6)]),
        repeats=st.integers(1, 3),
        size=SIZES,
        keys=st.lists(KEYS, min_size=1, max_size=3),
    )
    def test_areas_are_within_their_bounds(self, mask, area, repeats, size, keys):
        strategy = combination(mask, "plain_colour", "hard", area=area, repeats=repeats)
        outliers = synthesise(random_images(len(keys), *size), strategy, keys)
        shares = outliers.masks.mean(dim=(1, 2, 3))
        pixel = 1 / (size[0] * size[1])
        assert (shares >= area[0] - 1e-6).all()
        assert (shares <= repeats * area[1] + pixel).all()

    @pytest.mark.parametrize("name", NAMES)
    def test_something_changes_inside(self, name):
        images = random_images(8, 64, 64)
        outliers = synthesise(images, STRATEGIES[name], range(8), everything(images))
        changed = (outliers.images != images).any(dim=1, keepdim=True)
        share = (changed & (outliers.masks > 0)).flatten(1).sum(1) / outliers.masks.flatten(1).sum(
            1
        )
        assert (share > 0.5).all()

    @pytest.mark.parametrize("name", NAMES)
    def test_extreme_images(self, name):
        images = torch.stack([torch.zeros(3, 40, 40), torch.ones(3, 40, 40)])
        assert_sound(synthesise(images, STRATEGIES[name], [1, 2]), images)


class TestDeterminism:
    @settings(max_examples=30, deadline=None)
    @given(
        strategy=st.one_of(presets, combinations),
        size=SIZES,
        seed=st.integers(0, 1000),
        order=st.permutations(range(9)),
        with_sources=st.booleans(),
    )
    def test_same_key_same_outlier_whatever_the_batch(
        self, strategy, size, seed, order, with_sources
    ):
        images = random_images(9, *size)
        keys = [outlier_key(seed, i) for i in range(9)]
        sources = everything(images) if with_sources else Sources()

        def made(rows):
            chosen = [keys[i] for i in rows]
            return synthesise(images[rows], strategy, chosen, sources.of(rows))

        together = made(list(range(9)))
        shuffled = made(list(order))
        assert torch.equal(shuffled.images, together.images[list(order)])
        assert torch.equal(shuffled.masks, together.masks[list(order)])
        for i in (0, 8):
            alone = made([i])
            assert torch.equal(alone.images[0], together.images[i])
            assert torch.equal(alone.masks[0], together.masks[i])

    @pytest.mark.parametrize("name", NAMES)
    def test_number_of_threads_does_not_matter(self, name):
        images, keys = random_images(6, 130, 97), range(6)
        threads = torch.get_num_threads()
        try:
            torch.set_num_threads(1)
            one = synthesise(images, STRATEGIES[name], keys, everything(images))
            torch.set_num_threads(2)
            two = synthesise(images, STRATEGIES[name], keys, everything(images))
        finally:
            torch.set_num_threads(threads)
        assert torch.equal(one.images, two.images)

    def test_workers_make_the_same(self):
        images = random_images(6, 64, 64)
        expected = synthesise(images, STRATEGIES["mixed"], range(6), everything(images))
        with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
            parts = list(pool.map(in_worker, [[0, 1, 2], [3, 4, 5]]))
        assert torch.equal(torch.cat([part.images for part in parts]), expected.images)
        assert torch.equal(torch.cat([part.masks for part in parts]), expected.masks)

    @pytest.mark.parametrize("name", NAMES)
    def test_other_key_other_outlier(self, name):
        images = random_images(1, 64, 64).expand(20, -1, -1, -1)
        outliers = synthesise(images, STRATEGIES[name], range(20)).images
        assert len({tuple(image.flatten().tolist()) for image in outliers}) == 20

    @pytest.mark.parametrize("name", NAMES)
    def test_memory_layout_does_not_matter(self, name):
        images = random_images(4, 48, 40)
        turned = images.transpose(2, 3).contiguous().transpose(2, 3)
        first = synthesise(images, STRATEGIES[name], range(4), everything(images))
        second = synthesise(turned, STRATEGIES[name], range(4), everything(images))
        assert torch.equal(first.images, second.images)

    def test_global_random_state_is_left_alone(self):
        torch.manual_seed(0)
        np.random.seed(0)  # noqa: NPY002 - the global state is what is tested
        expected = torch.rand(1), np.random.rand()  # noqa: NPY002
        torch.manual_seed(0)
        np.random.seed(0)  # noqa: NPY002
        for name in NAMES:
            synthesise(random_images(2, 40, 40), STRATEGIES[name], [1, 2])
        assert (torch.rand(1), np.random.rand()) == expected  # noqa: NPY002


def in_worker(rows):
    """Some rows of the batch of ``test_workers_make_the_same``, in a process of its own."""
    torch.set_num_threads(1)
    images = random_images(6, 64, 64)
    return synthesise(images[rows], STRATEGIES["mixed"], rows, everything(images).of(rows))


class TestValid:
    @settings(max_examples=60, deadline=None)
    @given(
        strategy=st.one_of(presets, combinations),
        keys=st.lists(KEYS, min_size=2, max_size=4),
        top=st.integers(0, 40),
        height=st.integers(1, 10),
    )
    def test_outliers_lie_there_and_nowhere_else(self, strategy, keys, top, height):
        images = random_images(len(keys), 51, 60)
        valid = box_masks([(top, 0, top + height, 60)] * len(keys), images)
        sources = everything(images)
        outliers = synthesise(images, strategy, keys, sources, valid=valid)
        assert_sound(outliers, images)
        assert not (outliers.masks.bool() & ~valid).any()
        last = synthesise(
            images[-1:], strategy, keys[-1:], sources.of([len(keys) - 1]), valid=valid[-1:]
        )
        assert torch.equal(last.images[0], outliers.images[-1])

    def test_patches_come_from_there(self):
        images = torch.zeros(40, 3, 64, 64)
        images[..., 20:44, :] = 0.5 + random_images(40, 24, 64) / 2
        valid = box_masks([(20, 0, 44, 64)] * 40, images)
        outliers = synthesise(images, STRATEGIES["cutpaste"], range(40), valid=valid)
        # Brightness, contrast and hue change by a tenth each.
        assert outliers.images[..., 20:44, :].min() > 0.3

    @pytest.mark.parametrize("name", NAMES)
    def test_everywhere_is_as_without(self, name):
        images = random_images(8, 40, 50)
        everywhere = torch.ones(8, 1, 40, 50, dtype=torch.bool)
        sources = everything(images)
        found = synthesise(images, STRATEGIES[name], range(8), sources, valid=everywhere)
        expected = synthesise(images, STRATEGIES[name], range(8), sources)
        assert torch.equal(found.images, expected.images)
        assert torch.equal(found.masks, expected.masks)


class TestForeground:
    STRATEGY = combination("perlin", "plain_colour", "hard", "object")

    def test_outliers_lie_on_the_given_object(self):
        images = random_images(20, 64, 64)
        objects = box_masks([(10, 20, 30, 50)] * 20, images)
        outliers = synthesise(images, self.STRATEGY, range(20), foreground=objects)
        assert not (outliers.masks.bool() & ~objects).any()

    def test_strategies_that_do_not_ask_ignore_it(self):
        images = random_images(20, 64, 64)
        objects = box_masks([(10, 20, 30, 50)] * 20, images)
        outliers = synthesise(images, self.STRATEGY.on("none"), range(20), foreground=objects)
        assert (outliers.masks.bool() & ~objects).any()

    def test_without_a_given_object_it_is_found(self):
        images = torch.full((20, 3, 64, 64), 0.1)
        images[:, :, 16:48, 20:44] = 0.9
        outliers = synthesise(images, self.STRATEGY, range(20))
        grown = box_masks([(14, 18, 50, 46)] * 20, images)
        assert not (outliers.masks.bool() & ~grown).any()

    def test_without_an_object_on_the_valid_part_they_lie_everywhere_on_it(self):
        images = random_images(20, 64, 64)
        objects = box_masks([(0, 0, 10, 64)] * 20, images)
        valid = box_masks([(20, 0, 64, 64)] * 20, images)
        outliers = synthesise(images, self.STRATEGY, range(20), valid=valid, foreground=objects)
        assert not (outliers.masks.bool() & ~valid).any()


class TestRepeats:
    def test_each_after_the_first_with_probability_one_half(self):
        strategy = combination("cutpaste_rectangle", "plain_colour", "hard", repeats=3)
        images = random_images(1, 64, 64).expand(400, -1, -1, -1)
        colours = [
            len(image[:, mask[0] > 0].unique(dim=1).T)
            for image, mask in zip(*synthesise(images, strategy, range(400)), strict=True)
        ]
        # An outlier may cover an earlier one, but seldom all of it.
        shares = np.bincount(colours, minlength=4)[1:] / 400
        assert shares == pytest.approx([0.25, 0.5, 0.25], abs=0.07)


class TestTolerance:
    def test_what_hardly_changes_is_not_part_of_the_outlier(self):
        def half_white(images, masks, draws, sources):
            contents = images + 0.5 / 255
            contents[..., :20] = 1
            return contents

        strategy = Strategy(
            Operator(MASKS["cutpaste_rectangle"]),
            Operator(half_white),
            Operator(BLENDINGS["hard"]),
            "half",
            area=(0.1, 0.3),
            tolerance=1.0,
        )
        images = random_images(60, 40, 40) / 2
        wide = synthesise(images, replace(strategy, tolerance=0.0), range(60)).masks.bool()
        outliers = synthesise(images, strategy, range(60))
        crosses = (wide[..., :18].any(dim=(1, 2, 3))) & (wide[..., 22:].any(dim=(1, 2, 3)))
        assert crosses.sum() > 10
        assert not outliers.masks[crosses][..., 20:].any()
        assert_sound(outliers, images)


class TestMixture:
    def test_draws_by_weight(self):
        def flat(value):
            def content(images, masks, draws, sources):
                return torch.full_like(images, value)

            return Strategy(
                Operator(MASKS["cutpaste_rectangle"]),
                Operator(content),
                Operator(BLENDINGS["hard"]),
                "flat",
            )

        mixture = Mixture({"black": flat(0.0), "white": flat(1.0)}, {"black": 1, "white": 3}, "")
        images = torch.full((400, 1, 32, 32), 0.5)
        outliers = synthesise(images, mixture, range(400)).images
        white = (outliers.flatten(1).amax(dim=1) == 1).float().mean()
        assert float(white) == pytest.approx(0.75, abs=0.06)

    def test_order_in_a_configuration_decides_nothing(self):
        images = random_images(12, 48, 48)
        parts = {name: STRATEGIES[name] for name in ("draem", "cutpaste")}
        weights = {"draem": 1, "cutpaste": 2}
        first = synthesise(images, Mixture(parts, weights, ""), range(12))
        turned = {name: parts[name] for name in ("cutpaste", "draem")}
        second = synthesise(images, Mixture(turned, weights, ""), range(12))
        assert torch.equal(first.images, second.images)


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
            find_strategy("cut_past")
        assert "unknown strategy 'cut_past'; did you mean 'cutpaste'?" in str(caught.value)
        assert ", ".join(NAMES) in str(caught.value)

    @pytest.mark.parametrize("name", NAMES)
    def test_describe_themselves(self, name):
        described = STRATEGIES[name].describe()
        assert json.loads(json.dumps(described)) == described
        assert len(STRATEGIES[name].description) > 40
        others = [STRATEGIES[other].describe() for other in NAMES if other != name]
        assert described not in others

    def test_own_combination(self):
        def left_half(images, draws):
            masks = torch.zeros(len(images), 1, *images.shape[-2:], dtype=torch.bool)
            masks[..., : images.shape[-1] // 2] = True
            return masks

        def white(images, masks, draws, sources):
            return torch.full_like(images, 1.5)

        def paste(images, contents, masks, draws):
            return contents

        images = random_images(2, 32, 40)
        own = Strategy(Operator(left_half), Operator(white), Operator(paste), "white")
        outliers = synthesise(images, own, [0, 1])
        assert (outliers.images[..., :20] == 1).all()
        assert torch.equal(outliers.images[..., 20:], images[..., 20:])

    def test_draem_uses_the_bank(self):
        images = random_images(4, 64, 64)
        with_bank = synthesise(images, STRATEGIES["draem"], range(4), Sources(random_bank()))
        without = synthesise(images, STRATEGIES["draem"], range(4))
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
            (torch.full((1, 3, 64, 64), 255.0), r"values in \[0, 1\]"),
            (torch.zeros(0, 3, 64, 64), "at least one"),
        ],
    )
    def test_images(self, images, message):
        with pytest.raises(ValueError, match=message):
            synthesise(images, DRAEM, [0])

    def test_keys(self):
        with pytest.raises(ValueError, match="keys: expected one per image, 2; got 1"):
            synthesise(torch.zeros(2, 3, 32, 32), DRAEM, [0])

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
            synthesise(torch.zeros(2, 3, 32, 32), DRAEM, [0, 1], valid=valid)

    @pytest.mark.parametrize("bank", [torch.zeros(2, 3, 32, 32), torch.zeros(2, 32, 32).byte()])
    def test_textures(self, bank):
        with pytest.raises(ValueError, match="textures: expected"):
            synthesise(torch.zeros(1, 3, 32, 32), DRAEM, [0], Sources(bank))

    @pytest.mark.parametrize(
        ("sources", "message"),
        [
            (
                Sources(normals=torch.zeros(2, 3, 32, 33).byte()),
                r"normals: expected \(N, 3, 32, 32",
            ),
            (Sources(normals=torch.zeros(2, 3, 32, 32)), "float32"),
            (Sources(own=[1, 2]), "own: expected one per image, 1; got 2"),
            (Sources(torch.zeros(0, 3, 8, 8).byte()), "textures: expected at least one"),
            (Sources(normals=NORMALS, own=[2]), "own: expected positions among 2 normals"),
            (Sources(normals=NORMALS, boxes=[(0, 0, 1, 1)]), "boxes: expected one per normal, 2"),
            (
                Sources(normals=NORMALS, foregrounds=torch.ones(2, 32, 32).bool()),
                r"foregrounds: expected \(2, 1, 32, 32\) bool",
            ),
        ],
    )
    def test_sources(self, sources, message):
        with pytest.raises(ValueError, match=message):
            synthesise(torch.zeros(1, 3, 32, 32), DRAEM, [0], sources)

    def test_foreground(self):
        with pytest.raises(ValueError, match=r"foreground: expected \(1, 1, 32, 32\) bool"):
            synthesise(torch.zeros(1, 3, 32, 32), DRAEM, [0], foreground=torch.ones(1, 32, 32))
