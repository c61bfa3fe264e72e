import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from daf_pipelines.parameters import SynthesisParams
from daf_pipelines.training import initialise
from daf_pipelines.training.batches import Batch, Batches, TeacherCache, fit_channel_statistics

CPU = torch.device("cpu")


def make(images, **changes):
    values = {
        "synthesis": SynthesisParams(strategy="simple_texture"),
        "textures": None,
        "seed": 0,
        "phase": 0,
        "batch_size": 4,
        "device": CPU,
    }
    return Batches(images, **(values | changes))


def fields(batch):
    return batch.indices, batch.normals, batch.outliers, batch.masks


def equal(first, second):
    return all(torch.equal(a, b) for a, b in zip(fields(first), fields(second), strict=True))


def numbered(count):
    """Images whose pixels are their position in the set."""
    return torch.arange(count, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 32, 32)


class TestBatch:
    def test_normals_are_the_images_and_outliers_differ_inside_the_mask(self, normals):
        batch = make(normals)[0]
        assert torch.equal(batch.normals, normals[batch.indices].float() / 255)
        assert batch.outliers.shape == (4, 3, 64, 64)
        assert batch.masks.shape == (4, 1, 64, 64)
        assert set(batch.masks.unique().tolist()) == {0, 1}
        outside = (batch.masks == 0).expand_as(batch.normals)
        assert torch.equal(batch.outliers[outside], batch.normals[outside])
        # Every training image gets an outlier.
        assert (batch.outliers != batch.normals).flatten(1).any(dim=1).all()
        assert batch.masks.flatten(1).any(dim=1).all()

    def test_textures_and_grey_matching_are_passed_on(self):
        grey, red = numbered(4) + 100, torch.zeros(1, 3, 64, 64, dtype=torch.uint8)
        red[:, 0] = 255
        coloured, matched = (
            make(
                grey,
                textures=red,
                synthesis=SynthesisParams(strategy="draem", match_grey=match_grey),
            )[0].outliers
            for match_grey in (False, True)
        )
        assert not torch.equal(coloured[:, 0], coloured[:, 1])
        assert torch.equal(matched[:, 0], matched[:, 1])


class TestShuffling:
    def order(self, shuffle, epochs=2):
        """What is chosen, epoch by epoch: of 6 images, 4 a batch."""
        batches = make(numbered(6), shuffle=shuffle)
        return [
            torch.cat([batches[2 * e].indices, batches[2 * e + 1].indices]).tolist()
            for e in range(epochs)
        ]

    def test_off_the_order_is_that_of_the_images_every_epoch(self):
        assert self.order(shuffle=False) == [[0, 1, 2, 3, 4, 5, 0, 1]] * 2

    def test_on_it_is_another_one_every_epoch(self):
        first, second = self.order(shuffle=True)
        for order in (first, second):
            assert sorted(order[:6]) == [0, 1, 2, 3, 4, 5]
            assert order[6:] == order[:2]
        assert first != second
        assert first[:6] != [0, 1, 2, 3, 4, 5]

    def test_outliers_still_change_with_the_epoch(self, normals):
        batches = make(normals, shuffle=False)
        first, second = batches[0], batches[batches.steps_per_epoch]
        assert torch.equal(first.normals, second.normals)
        assert not torch.equal(first.outliers, second.outliers)


class TestPadding:
    def test_outliers_lie_on_the_images(self, normals):
        boxes = [(3 * i, 0, 3 * i + 20, 64) for i in range(6)]
        batches = make(normals, boxes=boxes)
        for step in range(6):
            batch = batches[step]
            assert batch.masks.flatten(1).any(dim=1).all()
            for index, mask in zip(batch.indices.tolist(), batch.masks, strict=True):
                rows = mask[0].any(dim=1).nonzero()
                assert 3 * index <= rows.min()
                assert rows.max() < 3 * index + 20

    def test_without_padding_boxes_change_nothing(self, normals):
        whole = make(normals, boxes=[(0, 0, 64, 64)] * 6)
        assert equal(whole[1], make(normals)[1])


class TestOrder:
    @settings(max_examples=25, deadline=None)
    @given(st.integers(2, 20), st.integers(2, 9), st.integers(0, 5))
    def test_every_image_once_an_epoch_and_the_last_batch_is_filled(self, count, size, epoch):
        batches = make(numbered(count), batch_size=size)
        per_epoch = batches.steps_per_epoch
        assert per_epoch == int(np.ceil(count / size))
        steps = range(epoch * per_epoch, (epoch + 1) * per_epoch)
        seen = [batches[step].indices.tolist() for step in steps]
        assert {len(indices) for indices in seen} == {size}
        flat = [index for indices in seen for index in indices]
        assert sorted(flat[:count]) == list(range(count))
        fill = flat[count:]
        assert fill == (flat * size)[: len(fill)]

    def test_shuffled_anew(self):
        batches = make(numbered(12), batch_size=12)
        orders = {tuple(batches[epoch].indices.tolist()) for epoch in range(4)}
        assert len(orders) == 4

    def test_small_set_repeats_images_with_other_outliers(self, normals):
        batch = make(normals[:2], batch_size=4)[0]
        assert sorted(batch.indices.tolist()) == [0, 0, 1, 1]
        first, second = (batch.indices == 0).nonzero().flatten().tolist()
        assert not torch.equal(batch.outliers[first], batch.outliers[second])


class TestPureFunction:
    def test_of_seed_phase_and_step(self, normals):
        asked_in_order = [make(normals)[step] for step in range(3)]
        batches = make(normals)
        for step in (2, 0, 1, 2):
            assert equal(batches[step], asked_in_order[step])

    def test_the_global_random_state_plays_no_part(self, normals):
        torch.manual_seed(0)
        np.random.seed(0)  # noqa: NPY002
        first = make(normals)[1]
        torch.manual_seed(1)
        np.random.seed(1)  # noqa: NPY002
        assert equal(make(normals)[1], first)

    @pytest.mark.parametrize("change", [{"seed": 1}, {"phase": 1}])
    def test_seed_and_phase_change_outliers(self, normals, change):
        first, second = make(normals, batch_size=6)[0], make(normals, batch_size=6, **change)[0]
        self.assert_all_differ(first, second)

    def test_epochs_have_other_outliers(self, normals):
        batches = make(normals, batch_size=6)
        self.assert_all_differ(batches[0], batches[1])

    def assert_all_differ(self, first, second):
        for image in range(6):
            a = first.outliers[first.indices == image]
            b = second.outliers[second.indices == image]
            assert not torch.equal(a, b)


class TestTeacherCache:
    # 32, 64 and 128 channels and a length at 24, 12 and 6 pixels a side, 6 images, 4 bytes each
    FEATURES_MIB = 6 * 4 * (33 * 24**2 + 65 * 12**2 + 129 * 6**2) / 2**20

    @pytest.fixture(scope="class")
    @classmethod
    def larger(cls, normals):
        return torch.nn.functional.interpolate(normals, size=(96, 96))

    @pytest.mark.parametrize("structure", ["squared", "ssim"])
    @pytest.mark.parametrize("normalise", ["none", "channel"])
    @pytest.mark.parametrize("limit", [0, FEATURES_MIB, 1024])
    def test_equals_computing_anew(self, larger, model_params, limit, normalise, structure):
        discrepancy = {"structure": structure, "normalise": normalise}
        model = initialise(model_params(discrepancy=discrepancy), larger, 0).train()
        cache = TeacherCache(model, larger, limit)
        batch = make(larger)[0]
        found, expected = cache(batch), model.teacher_features(larger[batch.indices].float() / 255)
        for a, b in zip(found, expected, strict=True):
            assert (a.moments is None) == (structure == "squared" or limit == self.FEATURES_MIB)
            for x, y in zip(a.tensors(), b.tensors(), strict=False):
                assert not x.requires_grad
                torch.testing.assert_close(x, y, atol=1e-5, rtol=1e-5)

    @pytest.mark.parametrize(("share", "kept"), [(1, 2), (0.999, None)])
    def test_limit_is_compared_with_all_features(self, larger, model_params, share, kept):
        model = initialise(model_params(), larger, 0)
        levels = TeacherCache(model, larger, share * self.FEATURES_MIB).levels
        assert (levels and len(levels[0])) == kept

    def test_moments_are_dropped_first(self, larger, model_params):
        ssim = {"structure": "ssim", "normalise": "none"}
        model = initialise(model_params(discrepancy=ssim), larger, 0)
        kept = [
            levels and len(levels[0])
            for limit in (1024, self.FEATURES_MIB, 0.999 * self.FEATURES_MIB)
            for levels in [TeacherCache(model, larger, limit).levels]
        ]
        assert kept == [5, 2, None]

    def test_the_teacher_is_asked_once_an_image(self, normals, model_params, monkeypatch):
        model = initialise(model_params(), normals, 0)
        asked = []
        forward = model.teacher.forward
        monkeypatch.setattr(model.teacher, "forward", lambda x: asked.append(len(x)) or forward(x))
        cache = TeacherCache(model, normals)
        after = len(asked)
        for step in range(5):
            cache(make(normals)[step])
        assert len(asked) == after
        assert sum(asked) <= 6 + 1


class TestChannelStatistics:
    def test_equal_numpy(self, normals, model_params):
        many = torch.cat([normals] * 7)[:37]  # more than one chunk, the last one incomplete
        model = initialise(model_params(), normals, 0)
        fit_channel_statistics(model, many)
        with torch.no_grad():
            features = [f.double().numpy() for f in model.teacher(many.float() / 255)]
        for level, f in enumerate(features):
            mean, std = f.mean(axis=(0, 2, 3)), f.std(axis=(0, 2, 3))
            std = np.maximum(std, 0.01 * std.mean())  # some channels are dead
            found = [
                model.discrepancy.get_buffer(f"{name}_{level}").flatten().numpy()
                for name in ("mean", "std")
            ]
            np.testing.assert_allclose(found[0], mean, rtol=1e-5, atol=1e-6)
            np.testing.assert_allclose(found[1], std, rtol=1e-4, atol=1e-6)

    def test_small_deviations_from_a_large_mean(self, normals, model_params, monkeypatch):
        model = initialise(model_params(), normals, 0)
        noise = [torch.randn(6, c, 8, 8) for c in model.teacher.channels]
        shifted = [1000 + n for n in noise]
        monkeypatch.setattr(model.teacher, "forward", lambda x: shifted)
        fit_channel_statistics(model, normals)
        expected = shifted[0].double().std(dim=(0, 2, 3), correction=0).float()
        torch.testing.assert_close(model.discrepancy.std_0.flatten(), expected, rtol=1e-4, atol=0)

    def test_dead_channels_do_not_outweigh_the_others(self, normals, model_params, monkeypatch):
        model = initialise(model_params(discrepancy={"normalise": "channel"}), normals, 0)
        features = [torch.randn(6, c, 8, 8) for c in model.teacher.channels]
        for f in features:
            f[:, 3] = 5
        monkeypatch.setattr(model.teacher, "forward", lambda x: features)
        fit_channel_statistics(model, normals)
        stirred = [f + 1 for f in features]
        for found in model.discrepancy.normalise(stirred):
            assert found[:, 3].abs().max() < 110
            torch.testing.assert_close(found[:, 2].std(), torch.tensor(1.0), atol=0.01, rtol=0)


def test_batch_holds_what_it_is_given():
    tensors = [torch.rand(2, 1) for _ in range(4)]
    assert fields(Batch(*tensors)) == tuple(tensors)
