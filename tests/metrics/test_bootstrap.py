import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

import plain_metrics
from daf_pipelines.errors import MetricUndefinedError
from daf_pipelines.metrics import (
    count_pixels,
    image_auroc,
    image_replicates,
    interval,
    pixel_replicates,
    rank_pixels,
    resamples,
)
from daf_pipelines.metrics.bootstrap import units_drawn
from daf_pipelines.metrics.summary import image_metrics, pixel_metrics

QUICK = settings(max_examples=40, deadline=None)


@st.composite
def weighted_images(draw):
    """Scores with many ties, labels of both classes, and weights that leave both."""
    labels = draw(
        st.lists(st.integers(0, 1), min_size=2, max_size=12).filter(lambda x: len(set(x)) == 2)
    )
    scores = draw(st.lists(st.integers(0, 5), min_size=len(labels), max_size=len(labels)))
    weights = draw(
        st.lists(st.integers(0, 3), min_size=len(labels), max_size=len(labels)).filter(
            lambda w: {x for x, n in zip(labels, w, strict=True) if n} == {0, 1}
        )
    )
    return np.array(scores) / 4, np.array(labels), np.array(weights)


@pytest.fixture(scope="module")
def realistic():
    """16 images of 96 px, of which 4 are normal: smooth noise, and blurred defects of 0.5 to 3."""
    rng = np.random.default_rng(0)
    masks = np.zeros((16, 96, 96), dtype=np.uint8)
    rows, columns = np.ogrid[:96, :96]
    for mask in masks[4:]:
        for _ in range(rng.integers(1, 4)):
            y, x, radius = rng.integers(8, 88), rng.integers(8, 88), rng.integers(2, 9)
            mask[(rows - y) ** 2 + (columns - x) ** 2 < radius**2] = 1
    noise = ndimage.gaussian_filter(rng.normal(size=masks.shape), (0, 4, 4))
    blurred = ndimage.gaussian_filter(masks.astype(float), (0, 2, 2))
    maps = noise / noise.std() / 3 + blurred * rng.uniform(0.5, 3, (16, 1, 1))
    return maps.astype(np.float32), masks


class TestResamples:
    def test_classes_keep_their_sizes(self):
        labels = np.array([0, 1, 1, 0, 0, 1, 1, 1])
        weights = resamples(labels, 200)
        assert weights.shape == (200, 8)
        assert (weights >= 0).all()
        assert (weights[:, labels == 0].sum(axis=1) == 3).all()
        assert (weights[:, labels == 1].sum(axis=1) == 5).all()
        np.testing.assert_allclose(weights.mean(axis=0), 1, atol=0.25)

    def test_seeded(self):
        labels = [0, 0, 1, 1, 1]
        first, again, other = (resamples(labels, 20, seed) for seed in (3, 3, 4))
        np.testing.assert_array_equal(first, again)
        assert (first != other).any()

    @pytest.mark.parametrize("labels", [[], [0, 0, 0], [1]])
    def test_one_class_or_none(self, labels):
        weights = resamples(labels, 5)
        assert weights.shape == (5, len(labels))
        assert (weights.sum(axis=1) == len(labels)).all()


class TestGroups:
    LABELS = (0, 0, 0, 0, 1, 1, 1, 1)
    GROUPS = ("a", "a", None, "b", "a", "c", "c", np.nan)

    def test_images_of_one_class_go_together(self):
        weights = resamples(self.LABELS, 300, groups=self.GROUPS)
        assert (weights[:, 0] == weights[:, 1]).all()
        assert (weights[:, 5] == weights[:, 6]).all()
        # Of the same name, but of the other class.
        assert (weights[:, 0] != weights[:, 4]).any()
        # As many draws as there are groups and single images: a, one alone, b; a, c, one alone.
        for units in ([0, 2, 3], [4, 5, 7]):
            assert (weights[:, units].sum(axis=1) == 3).all()
            np.testing.assert_allclose(weights[:, units].mean(axis=0), 1, atol=0.15)

    def test_single_images_are_drawn_as_without_groups(self):
        names = [f"part {k}" for k in range(8)]
        plain = resamples(self.LABELS, 20)
        np.testing.assert_array_equal(resamples(self.LABELS, 20, groups=names), plain)
        np.testing.assert_array_equal(resamples(self.LABELS, 20, groups=[None] * 8), plain)

    def test_all_of_one_group_are_drawn_as_images(self):
        plain = resamples(self.LABELS, 20)
        np.testing.assert_array_equal(resamples(self.LABELS, 20, groups=["lot"] * 8), plain)

    def test_count(self):
        assert units_drawn(self.LABELS, self.GROUPS) == (3, 3)
        assert units_drawn(self.LABELS) == (4, 4)
        assert units_drawn([0, 0], ["a", "b"]) == (2, 0)

    def test_metrics_of_groups_drawn_unequally(self):
        """The number of images differs between draws, and so does what a rate is of."""
        rng = np.random.default_rng(0)
        labels, groups = rng.integers(0, 2, 60), rng.choice(list("abcdefgh"), 60)
        scores = np.round(rng.normal(size=60) + labels, 1)
        weights = resamples(labels, 25, groups=groups)
        assert len(set(weights.sum(axis=1))) > 1
        found = image_replicates(scores, labels, weights)
        for k, own in enumerate(weights):
            expected = image_metrics(np.repeat(scores, own), np.repeat(labels, own))
            assert {name: values[k] for name, values in found.items()} == pytest.approx(expected)

    def test_coverage(self):
        """Six near copies of each object, as the magnetic tiles' exposures: with copies drawn one
        by one, intervals of 95 % have the truth about half of the time."""
        truth = 0.76025
        rng = np.random.default_rng(0)
        labels = np.repeat([0, 1], 40)
        groups = np.repeat(np.arange(80), 6)
        covered = {"together": 0, "one by one": 0}
        for number in range(100):
            objects = rng.normal(size=80) + labels
            scores = np.repeat(objects, 6) + rng.normal(scale=0.01, size=480)
            known = np.repeat(labels, 6)
            for name, kept in (("together", groups), ("one by one", None)):
                drawn = image_replicates(scores, known, resamples(known, 300, number, kept))
                low, high = interval(image_auroc(scores, known), drawn["image_auroc"])
                covered[name] += low <= truth <= high
        assert 88 <= covered["together"] <= 100
        assert covered["one by one"] < 75


class TestImageReplicates:
    @QUICK
    @given(weighted_images())
    def test_equal_the_metrics_of_repeated_images(self, case):
        scores, labels, weights = case
        found = image_replicates(scores, labels, weights[None])
        expected = plain_metrics.image_metrics(
            np.repeat(scores, weights), np.repeat(labels, weights)
        )
        assert {name: values.item() for name, values in found.items()} == pytest.approx(expected)

    def test_of_many_resamples(self, monkeypatch):
        monkeypatch.setattr("daf_pipelines.metrics.bootstrap.BLOCK", 200)  # several parts
        rng = np.random.default_rng(0)
        labels = np.arange(45) % 3 == 0
        scores = np.round(rng.normal(size=45) + labels, 1)
        weights = resamples(labels, 25)
        found = image_replicates(scores, labels, weights)
        for k, own in enumerate(weights):
            expected = image_metrics(np.repeat(scores, own), np.repeat(labels, own))
            assert {name: values[k] for name, values in found.items()} == pytest.approx(expected)

    def test_one_class(self):
        with pytest.raises(MetricUndefinedError, match="no anomalous test"):
            image_replicates([1, 2], [0, 0], np.ones((3, 2), int))


class TestCountPixels:
    def test_totals_and_every_threshold(self, realistic):
        maps, masks = realistic
        counts = count_pixels(maps, masks, size=40)
        assert (np.diff(counts.thresholds) < 0).all()
        assert counts.thresholds[-1] == -np.inf
        assert len(counts) == 16
        np.testing.assert_array_equal(counts.defects[:, -1], masks.sum(axis=(1, 2)))
        np.testing.assert_array_equal(counts.normals[:, -1], (masks == 0).sum(axis=(1, 2)))
        for k, (scores, mask) in enumerate(zip(maps, masks, strict=True)):
            regions, number = ndimage.label(mask, np.ones((3, 3)))
            assert counts.overlaps[k, -1] == pytest.approx(number, abs=1e-5)
            for t in range(0, len(counts.thresholds), 7):
                reached = scores >= counts.thresholds[t]
                assert counts.normals[k, t] == (reached & (mask == 0)).sum()
                assert counts.defects[k, t] == (reached & (mask == 1)).sum()
                shares = [reached[regions == r].mean() for r in range(1, number + 1)]
                assert counts.overlaps[k, t] == pytest.approx(sum(shares), abs=1e-5)

    def test_some_of_the_images(self, realistic):
        counts = count_pixels(*realistic, size=30)
        part = counts[np.array([5, 2, 5])]
        assert len(part) == 3
        np.testing.assert_array_equal(part.thresholds, counts.thresholds)
        np.testing.assert_array_equal(part.overlaps[1], counts.overlaps[2])
        np.testing.assert_array_equal(part.normals[0], part.normals[2])

    @pytest.mark.parametrize("kind", [np.float16, np.float64])
    def test_kinds_of_input(self, realistic, kind):
        maps, masks = realistic[0].astype(kind), realistic[1]
        expected = count_pixels(maps.astype(np.float32), masks, size=30)
        lists = (
            [m[:, : 96 - k] for k, m in enumerate(maps)],
            [m[:, : 96 - k] for k, m in enumerate(masks)],
        )
        for found in (
            count_pixels(maps, masks, size=30),
            count_pixels(torch.from_numpy(maps), torch.from_numpy(masks), size=30),
        ):
            for name, value in vars(expected).items():
                np.testing.assert_array_equal(getattr(found, name), value)
        smaller = count_pixels(*lists, size=30)
        np.testing.assert_array_equal(
            smaller.normals[:, -1] + smaller.defects[:, -1], 96 * (96 - np.arange(16))
        )

    def test_scores_are_compared_as_float32(self):
        maps, masks = np.array([[[1 - 1e-12, 1, 0]]]), np.array([[[1, 0, 0]]])
        found = pixel_replicates(count_pixels(maps, masks), np.ones((1, 1), int))
        assert found["pixel_auroc"].item() == rank_pixels(maps, masks).auroc() == 0.75

    @pytest.mark.parametrize(("value", "missing"), [(0, "defect"), (1, "normal")])
    def test_undefined(self, value, missing):
        with pytest.raises(MetricUndefinedError, match=f"no {missing} pixel"):
            count_pixels(np.zeros((2, 3, 3)), np.full((2, 3, 3), value))
        with pytest.raises(MetricUndefinedError):
            count_pixels(np.zeros((0, 3, 3)), np.zeros((0, 3, 3)))


class TestPixelReplicates:
    def test_weights_of_one_are_close_to_the_exact_metrics(self, realistic):
        found = pixel_replicates(count_pixels(*realistic), np.ones((1, 16), int))
        expected = pixel_metrics(rank_pixels(*realistic))
        assert 0.5 < expected["aupro_005"] < expected["aupro_030"] < 0.99  # neither trivial
        assert {name: v.item() for name, v in found.items()} == pytest.approx(expected, abs=2e-3)

    def test_resamples_are_close_to_repeated_images(self, realistic, monkeypatch):
        monkeypatch.setattr("daf_pipelines.metrics.bootstrap.BLOCK", 3000)  # several parts
        maps, masks = realistic
        weights = resamples(masks.any(axis=(1, 2)), 10)
        found = pixel_replicates(count_pixels(maps, masks), weights)
        for k, own in enumerate(weights):
            repeated = np.repeat(maps, own, axis=0), np.repeat(masks, own, axis=0)
            expected = pixel_metrics(rank_pixels(*repeated))
            assert {name: v[k] for name, v in found.items()} == pytest.approx(expected, abs=2e-3)

    @QUICK
    @given(st.integers(0, 10_000), st.lists(st.integers(0, 3), min_size=3, max_size=3))
    def test_exact_where_every_score_is_a_threshold(self, seed, weights):
        rng = np.random.default_rng(seed)
        maps = (rng.integers(0, 6, (3, 5, 6)) / 4).astype(np.float32)
        masks = rng.integers(0, 2, maps.shape)
        if not any(weights):
            return
        found = pixel_replicates(count_pixels(maps, masks, 2000), np.array([weights]))
        repeated = [np.repeat(array, weights, axis=0) for array in (maps, masks)]
        expected = plain_metrics.pixel_metrics(*repeated)
        assert {name: v.item() for name, v in found.items()} == pytest.approx(expected, abs=1e-6)

    def test_a_resample_without_defects_is_undefined(self):
        maps, masks = np.arange(18.0).reshape(2, 3, 3), np.zeros((2, 3, 3), int)
        masks[1, 1] = 1
        found = pixel_replicates(count_pixels(maps, masks), np.array([[2, 0], [1, 1]]))
        for values in found.values():
            assert np.isnan(values[0])
            assert np.isfinite(values[1])


class TestInterval:
    def test_percentiles(self):
        replicates = np.linspace(0.4, 0.6, 201)
        assert interval(0.5, replicates) == (pytest.approx(0.405), pytest.approx(0.595))

    def test_shifted_to_the_exact_value(self):
        replicates = np.linspace(0.4, 0.6, 201)
        low, high = interval(0.51, replicates, centre=0.5)
        assert (low, high) == (pytest.approx(0.415), pytest.approx(0.605))

    def test_within_zero_and_one(self):
        assert interval(1.0, np.linspace(0.9, 1, 11), centre=0.9)[1] == 1
        assert interval(0.0, np.linspace(0, 0.1, 11), centre=0.1)[0] == 0

    def test_contains_the_value(self):
        # As for a largest F1, whose replicates are optimistic.
        assert interval(0.5, np.linspace(0.6, 0.8, 50))[0] == 0.5
        assert interval(0.5, np.linspace(0.2, 0.4, 50))[1] == 0.5

    def test_undefined_replicates_do_not_count(self):
        low, high = interval(0.5, np.array([np.nan, 0.4, 0.6, np.nan]))
        assert (low, high) == (pytest.approx(0.405), pytest.approx(0.595))


def test_coverage_of_the_image_auroc():
    """Two normal distributions whose means lie one standard deviation apart; 40 images each."""
    truth = 0.76025  # the normal distribution function at 1 / sqrt(2)
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 40)
    covered = 0
    for number in range(300):
        scores = rng.normal(size=80) + labels
        drawn = image_replicates(scores, labels, resamples(labels, 300, seed=number))
        low, high = interval(image_auroc(scores, labels), drawn["image_auroc"])
        covered += low <= truth <= high
    assert 0.90 <= covered / 300 <= 0.98
