"""Distances between sets of features against independent references and closed forms."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.spatial import KDTree
from scipy.spatial.distance import cdist

from daf_pipelines.synthesis.realism import (
    Population,
    bootstrap_weights,
    covered_cells,
    energy_distances,
    image_distances,
    mean_distances,
    novelties,
    weighted_medians,
)


def ragged(seed: int, images: int, channels: int = 5, shift: float = 0.0) -> list[np.ndarray]:
    """Features of images that have different numbers of them."""
    rng = np.random.default_rng(seed)
    return [rng.normal(shift, 1, (rng.integers(1, 7), channels)) for _ in range(images)]


def population(features: list[np.ndarray], groups: list[str] | None = None) -> Population:
    """Images of a group each, unless groups are given; without resamples."""
    names = np.array([f"{i}-{id(features)}" for i in range(len(features))])
    groups = names if groups is None else np.array(groups)
    return Population(features, groups, np.ones((1, len(features))))


class TestCoveredCells:
    def test_takes_cells_covered_by_half_or_more(self) -> None:
        mask = torch.zeros(1, 1, 8, 12)
        mask[..., :4, :4] = 1  # a whole cell
        mask[..., :2, 4:8] = 1  # half a cell
        mask[..., 4:, 0] = 1  # a quarter of one
        expected = [[[True, True, False], [False, False, False]]]
        assert covered_cells(mask, 2, 3).tolist() == expected

    def test_falls_back_to_the_fullest_cell(self) -> None:
        mask = torch.zeros(2, 1, 8, 8, dtype=torch.bool)
        mask[0, 0, 3, 3:6] = True  # one pixel in one cell, two in the next
        mask[1] = True
        expected = [[[False, True], [False, False]], [[True, True], [True, True]]]
        assert covered_cells(mask, 2, 2).tolist() == expected


class TestImageDistances:
    def test_against_scipy(self) -> None:
        a, b = ragged(0, 9), ragged(1, 13)
        expected = [[cdist(x, y).mean() for y in b] for x in a]
        np.testing.assert_allclose(image_distances(a, b), expected, rtol=1e-9)

    def test_in_several_blocks(self, monkeypatch: pytest.MonkeyPatch) -> None:
        a, b = ragged(0, 400), ragged(1, 400)
        whole = image_distances(a, b)
        monkeypatch.setattr("daf_pipelines.synthesis.realism.BLOCK", 0.1)
        np.testing.assert_allclose(image_distances(a, b), whole, rtol=1e-9)


class TestEnergyDistances:
    @given(
        st.lists(st.floats(-9, 9), min_size=2, max_size=20),
        st.lists(st.floats(-9, 9), min_size=2, max_size=20),
    )
    def test_against_scipy(self, x: list[float], y: list[float]) -> None:
        """Two images with the same features: the pairs of images are those of SciPy's samples."""
        a = population([np.array(x)[:, None]] * 2, ["a", "b"])
        b = population([np.array(y)[:, None]] * 2, ["c", "d"])
        expected = stats.energy_distance(x, y)
        # The root of a difference of sums amplifies their rounding near 0.
        assert energy_distances(a, b)[0] == pytest.approx(expected, rel=1e-6, abs=1e-6)

    def test_of_normal_distributions(self) -> None:
        rng = np.random.default_rng(0)
        a, b = (population(list(rng.normal(mean, 1, (1500, 1, 1)))) for mean in (0, 1.5))
        same = 2 / math.sqrt(math.pi)
        apart = same * math.exp(-(1.5**2) / 4) + 1.5 * math.erf(1.5 / 2)
        expected = math.sqrt(2 * (apart - same))
        assert energy_distances(a, b)[0] == pytest.approx(expected, rel=0.05)

    def test_is_unbiased_where_populations_are_the_same(self) -> None:
        squared = []
        for seed in range(300):
            a, b = population(ragged(seed, 6)), population(ragged(1000 + seed, 6))
            squared.append(2 * mean_distances(a, b) - a.spread - b.spread)
        error = np.std(squared) / math.sqrt(len(squared))
        assert abs(np.mean(squared)) < 3 * error
        assert error < 0.02  # counting an image's distance to itself would add 0.5 or so

    def test_copies_of_one_group_add_nothing(self) -> None:
        features, other = ragged(0, 8), population(ragged(1, 8, shift=1))
        groups = [f"tile {i}" for i in range(8)]
        once, twice = population(features, groups), population(features * 2, groups * 2)
        assert energy_distances(twice, other) == pytest.approx(energy_distances(once, other))
        assert energy_distances(once, other)[0] > 0.5

    def test_groups_are_kept_apart_across_populations(self) -> None:
        features = ragged(0, 3)
        a = population(features[:2], ["x", "y"])
        b = population(features[2:], ["x"])
        expected = cdist(features[1], features[2]).mean()
        assert mean_distances(a, b) == pytest.approx(expected)


class TestBootstrap:
    def test_draws_whole_groups(self) -> None:
        groups = np.array(["b", "a", "b", "c", "a"])
        weights = bootstrap_weights(groups, 50, seed=0)
        assert weights.shape == (51, 5)
        assert (weights[0] == 1).all()
        np.testing.assert_array_equal(weights[:, 0], weights[:, 2])
        np.testing.assert_array_equal(weights[:, 1], weights[:, 4])
        assert (weights[:, [0, 1, 3]].sum(axis=1) == 3).all()
        assert len(np.unique(weights, axis=0)) > 5

    def test_weights_count_as_repeated_images(self) -> None:
        features, groups = ragged(0, 7), np.array(list("abcabca"))
        other = population(ragged(1, 5, shift=0.5))
        weights = np.array([[2.0, 0, 1, 2, 0, 1, 2]])
        weighted = Population(features, groups, weights)
        rows = np.repeat(np.arange(7), weights[0].astype(int))
        repeated = population([features[i] for i in rows], groups[rows].tolist())
        assert energy_distances(weighted, other) == pytest.approx(energy_distances(repeated, other))
        assert novelties(weighted, other) == pytest.approx(novelties(repeated, other))

    def test_intervals_are_as_wide_as_samples_differ(self) -> None:
        estimates, deviations = [], []
        for seed in range(60):
            made = []
            for start, shift in ((0, 0.0), (1000, 0.7)):
                features = ragged(start + seed, 30, shift=shift)
                groups = population(features).groups
                weights = bootstrap_weights(groups, 100, start + seed)
                made.append(Population(features, groups, weights))
            distances = energy_distances(*made)
            estimates.append(distances[0])
            deviations.append(distances[1:].std())
        assert np.mean(deviations) == pytest.approx(np.std(estimates), rel=0.3)


class TestNovelties:
    def test_against_a_tree(self) -> None:
        images, normals = ragged(0, 9), ragged(1, 20)
        nearest = KDTree(np.concatenate(normals)).query
        expected = np.median([nearest(one)[0].mean() for one in images])
        assert novelties(population(images), population(normals)) == pytest.approx(expected)

    @given(
        st.lists(st.tuples(st.floats(-9, 9), st.integers(0, 4)), min_size=1, max_size=12).filter(
            lambda pairs: any(weight for _, weight in pairs)
        )
    )
    def test_weighted_medians_are_medians_of_repeated_values(
        self, pairs: list[tuple[float, int]]
    ) -> None:
        values, weights = (np.array(side) for side in zip(*pairs, strict=True))
        repeated = np.sort(np.repeat(values, weights))
        expected = repeated[(len(repeated) - 1) // 2]
        assert weighted_medians(values, weights[None].astype(float)) == expected
