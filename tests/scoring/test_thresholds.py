from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from daf_pipelines.errors import DataError
from daf_pipelines.scoring.thresholds import (
    fewest_normals,
    normals_threshold,
    synthetic_pixel_threshold,
    synthetic_threshold,
)

finite = st.floats(-1e6, 1e6, width=32)


class TestNormalsThreshold:
    @pytest.mark.parametrize(
        ("n", "rate", "rank"),
        [
            (19, 0.05, 19),
            (20, 0.05, 20),
            (39, 0.05, 38),
            (99, 0.1, 90),
            (99, 0.29, 71),
            (9, 0.7, 3),
        ],
    )
    def test_rank(self, n, rate, rank):
        scores = np.random.default_rng(0).permutation(n) + 1.0
        assert normals_threshold(scores, rate) == rank

    def test_too_few_normals_use_the_largest(self):
        assert normals_threshold(np.arange(18.0), 0.05) == 17

    @pytest.mark.parametrize("rate", [1 / 3, 0.3, 0.1, 0.07, 0.05, 0.011])
    def test_the_number_asked_for_is_the_smallest_that_keeps_the_promise(self, rate):
        # With n held-out images the largest is exceeded with probability 1 / (n + 1).
        needed = fewest_normals(rate)
        assert Fraction(1, needed + 1) <= Fraction(str(rate)) < Fraction(1, needed)

    @settings(max_examples=60)
    @given(st.lists(finite, min_size=2, max_size=60), st.floats(0.02, 0.9))
    def test_guarantee_when_any_image_could_be_the_new_one(self, scores, rate):
        # Exchangeability: each of the n + 1 images is equally likely to be the new one.
        pool = np.array(scores)
        alarms = [new > normals_threshold(np.delete(pool, i), rate) for i, new in enumerate(pool)]
        n = pool.size - 1
        assert np.mean(alarms) <= max(rate, 1 / (n + 1)) + 1e-12

    def test_guarantee_and_tightness_by_simulation(self):
        rng = np.random.default_rng(0)
        n, rate, repeats = 50, 0.1, 4000
        draws = rng.exponential(size=(repeats, n + 1))
        alarms = [row[-1] > normals_threshold(row[:-1], rate) for row in draws]
        expected = 5 / 51  # rank 46 of 51 equally likely places: 5 lie above
        assert np.mean(alarms) == pytest.approx(expected, abs=4 * np.sqrt(0.09 / repeats))

    def test_no_scores(self):
        with pytest.raises(DataError, match="held-out normal images"):
            normals_threshold([], 0.05)

    def test_not_finite(self):
        with pytest.raises(ValueError, match="not finite"):
            normals_threshold([1.0, np.nan], 0.05)


class TestSyntheticThreshold:
    def test_halfway_between_the_classes(self):
        assert synthetic_threshold([1, 2], [4, 5, 6]) == 3

    def test_overlap(self):
        # Above 2.5: three hits, one false alarm, F1 = 6/7; above 4.5: two hits, F1 = 4/5.
        assert synthetic_threshold([1, 2, 4], [3, 5, 6]) == 2.5

    @settings(max_examples=40)
    @given(st.lists(finite, min_size=1, max_size=15), st.lists(finite, min_size=1, max_size=15))
    def test_no_other_threshold_is_better(self, normals, outliers):
        scores = np.array(normals + outliers)
        labels = np.repeat([0, 1], [len(normals), len(outliers)])
        chosen = f1_score(labels, scores > synthetic_threshold(normals, outliers))
        for other in [scores.min() - 1, *scores]:
            assert f1_score(labels, scores > other, zero_division=0) <= chosen + 1e-12

    def test_no_outliers(self):
        with pytest.raises(DataError, match="synthetic outliers"):
            synthetic_threshold([1.0], [])


class TestSyntheticPixelThreshold:
    def test_between_the_classes(self):
        maps = np.array([[[1, 2, 3]], [[1, 7, 9]]], dtype=np.float32)
        masks = np.array([[[0, 0, 0]], [[0, 1, 1]]], dtype=np.uint8)
        threshold = synthetic_pixel_threshold(maps, masks)
        assert ((maps > threshold) == masks).all()

    def test_no_defect(self):
        maps = np.ones((1, 2, 2), dtype=np.float32)
        with pytest.raises(DataError, match="synthetic outliers"):
            synthetic_pixel_threshold(maps, np.zeros((1, 2, 2), dtype=np.uint8))
