import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daf_pipelines.metrics.curves import area_under, f1_scores, thin


def rising(rng, count, ties=0.3):
    """A curve from (0, 0) to (1, 1), with steps straight up and straight to the right."""
    steps = rng.random((2, count)) ** 4 * (rng.random((2, count)) > ties)
    x, y = np.concatenate([np.zeros((2, 1)), steps.cumsum(axis=1)], axis=1)
    return x / x[-1], y / y[-1]


class TestAreaUnder:
    @settings(max_examples=50, deadline=None)
    @given(st.integers(0, 10_000), st.integers(5, 60), st.floats(0.001, 1))
    def test_numeric_integration(self, seed, count, limit):
        x, y = rising(np.random.default_rng(seed), count)
        places = (np.arange(100_000) + 0.5) / 100_000 * limit
        numeric = np.interp(places, x, y).mean() * limit
        assert area_under(x, y, limit) == pytest.approx(numeric, abs=1e-4)

    def test_many_curves_at_once(self):
        curves = [rising(np.random.default_rng(seed), 20) for seed in range(4)]
        x, y = (np.array(axis) for axis in zip(*curves, strict=True))
        found = area_under(x, y, 0.3)
        assert found.shape == (4,)
        np.testing.assert_allclose(found, [area_under(*curve, 0.3) for curve in curves])

    def test_hand_computed(self):
        x, y = np.array([0, 0, 0.5, 1]), np.array([0, 0.5, 0.5, 1])
        assert area_under(x, y) == pytest.approx(0.5 * 0.5 + 0.5 * 0.75)
        assert area_under(x, y, 0.25) == pytest.approx(0.125)
        # At 0.75 the curve has climbed to 0.75.
        assert area_under(x, y, 0.75) == pytest.approx(0.25 + 0.25 * 0.625)

    def test_a_vertical_step_has_no_area(self):
        assert area_under(np.array([0.0, 0, 0, 1]), np.array([0.0, 0.3, 1, 1]), 0.1) == 0.1


class TestThin:
    @pytest.mark.parametrize("seed", range(5))
    @pytest.mark.parametrize("count", [50, 1000])
    def test_keeps_ends_and_area(self, seed, count):
        curve = rising(np.random.default_rng(seed), 30_000)
        x, y = thin(curve, count)
        assert len(x) <= count
        assert (x[0], y[0], x[-1], y[-1]) == (0, 0, 1, 1)
        assert set(zip(x, y, strict=True)) <= set(zip(*curve, strict=True))
        for limit in (0.05, 0.3, 1.0):
            tolerance = 1 / count  # at 1,000 points 1e-3
            assert area_under(x, y, limit) == pytest.approx(
                area_under(*curve, limit), abs=tolerance
            )

    def test_a_step_of_a_perfect_detector(self):
        x = np.concatenate([np.zeros(5000), np.linspace(0, 1, 5000)])
        y = np.concatenate([np.linspace(0, 1, 5000), np.ones(5000)])
        assert area_under(*thin((x, y))) == pytest.approx(1, abs=1e-3)

    def test_points_that_crowd_in_a_corner(self):
        x = np.concatenate([np.linspace(0, 0.01, 29_000), np.linspace(0.01, 1, 200)[1:]])
        y = np.sin(x * np.pi / 2) ** 0.5
        assert area_under(*thin((x, y))) == pytest.approx(area_under(x, y), abs=1e-3)

    def test_an_end_that_stands_still(self):
        x, y = (
            np.append(np.linspace(0, 1, 3000), [1, 1]),
            np.append(np.linspace(0, 1, 3000), [1, 1]),
        )
        assert len(thin((x, y), 1000)[0]) <= 1000

    def test_short_curves_stay(self):
        curve = np.array([0.0, 0.5, 1]), np.array([1.0, 0.5, 0.2])
        assert thin(curve, 3) is curve


def test_f1_scores_broadcast():
    hits, false_alarms = np.array([[1, 2], [0, 3]]), np.array([[0, 3], [1, 1]])
    found = f1_scores(hits, false_alarms, np.array([[2], [3]]))
    # 2 TP / (2 TP + FP + FN): row by row
    np.testing.assert_allclose(found, [[2 / 3, 4 / 7], [0, 6 / 7]])
