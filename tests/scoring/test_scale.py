import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daf_pipelines.scoring.scale import Scale

finite = st.floats(-1e6, 1e6, width=32)


class TestScale:
    def test_landmarks(self):
        scale = Scale(threshold=5, typical=3)
        # The threshold, a typical good part, as far above, and 9 times as far below and above.
        found = scale([5, 3, 7, 5 - 18, 5 + 18])
        np.testing.assert_allclose(found, [0.5, 0.25, 0.75, 0.05, 0.95])

    @given(st.lists(finite, min_size=2), finite, finite)
    def test_in_order_and_within_0_and_1(self, raw, threshold, typical):
        values = np.sort(np.array(raw, dtype=np.float32))
        scores = Scale(threshold, typical)(values)
        assert scores.dtype == np.float64
        assert ((scores >= 0) & (scores <= 1)).all()
        assert (np.diff(scores) >= 0).all()

    @given(st.lists(st.integers(-10_000, 10_000), min_size=2, unique=True))
    def test_no_two_scores_become_equal(self, raw):
        scores = Scale(threshold=7.5, typical=3)(np.sort(raw).astype(np.float32) / 128)
        assert (np.diff(scores) > 0).all()

    @given(finite, finite, finite)
    def test_labels_are_what_the_score_says(self, raw, threshold, typical):
        scale = Scale(threshold, typical)
        assert scale.labels(raw) == (scale(raw) > 0.5)
        assert not scale.labels(threshold)

    def test_strictly_above_the_threshold(self):
        found = Scale(threshold=0.5).labels([0.4, 0.5, np.nextafter(0.5, 1), 3])
        assert found.tolist() == [0, 0, 1, 1]
        assert found.dtype == np.int64

    def test_single_precision_scores_at_a_threshold_from_them(self):
        score = np.float32(0.1)
        assert Scale(threshold=float(score)).labels(np.array([score])).tolist() == [0]

    @pytest.mark.parametrize(("threshold", "unit"), [(4.0, 4.0), (0.0, 1.0), (-2.0, 2.0)])
    def test_a_threshold_that_is_the_typical_score(self, threshold, unit):
        scale = Scale(threshold, threshold)
        assert scale([threshold - unit, threshold, threshold + unit]).tolist() == [0.25, 0.5, 0.75]

    def test_shape_and_padding_stay(self):
        maps = np.full((2, 3, 4), np.nan, dtype=np.float32)
        maps[0, 0, 0] = 1
        scores = Scale(1.0, 0.0)(maps)
        assert scores.shape == maps.shape
        assert scores[0, 0, 0] == 0.5
        assert np.isnan(scores).sum() == maps.size - 1

    def test_without_a_threshold(self):
        with pytest.raises(ValueError, match="without a threshold"):
            Scale()([1.0])
