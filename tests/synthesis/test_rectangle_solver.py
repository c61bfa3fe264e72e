import itertools

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from daf_pipelines.synthesis.blending.rectangle import RectangleSolver, exact_dot, rounded

CPU = torch.device("cpu")


def laplacian(height, width, ends):
    """Minus the five-point Laplacian, dense; by the definition of its ends."""
    matrix = np.zeros((height, width, height, width))
    size = height, width
    for place in np.ndindex(size):
        for axis, step in itertools.product((0, 1), (-1, 1)):
            other = list(place)
            other[axis] += step
            if 0 <= other[axis] < size[axis]:
                matrix[place][place] += 1
                matrix[place][tuple(other)] -= 1
            elif not ends[axis][step > 0]:
                matrix[place][place] += 1
    return matrix.reshape(height * width, -1)


class TestRectangleSolver:
    BOTH = tuple(itertools.product((False, True), repeat=2))

    @settings(max_examples=100, deadline=None)
    @given(
        height=st.integers(1, 14),
        width=st.integers(1, 14),
        down=st.sampled_from(BOTH),
        across=st.sampled_from(BOTH),
        seed=st.integers(0, 2**31),
    )
    def test_solves(self, height, width, down, across, seed):
        wanted = np.random.default_rng(seed).normal(size=(2, height, width))
        matrix = laplacian(height, width, (down, across))
        if all(down + across):  # solutions have mean zero
            wanted -= wanted.mean(axis=(1, 2), keepdims=True)
        right_side = (matrix @ wanted.reshape(2, -1, 1)).reshape(wanted.shape)
        solved = RectangleSolver((height, width), (down, across), CPU)(right_side)
        np.testing.assert_allclose(solved, wanted, atol=1e-4)

    @pytest.mark.parametrize("ends", BOTH)
    def test_solves_with_a_shift(self, ends):
        wanted = np.random.default_rng(11).normal(size=(2, 7, 10))
        matrix = laplacian(7, 10, (ends, (True, True))) + 0.25 * np.eye(70)
        right_side = (matrix @ wanted.reshape(2, -1, 1)).reshape(wanted.shape)
        solved = RectangleSolver((7, 10), (ends, (True, True)), CPU, shift=0.25)(right_side)
        np.testing.assert_allclose(solved, wanted, atol=1e-5)


class TestExactness:
    """What makes solutions independent of threads and of the device."""

    @pytest.mark.parametrize("ends", [(False, False), (False, True), (True, True)])
    def test_direct_solutions_do_not_depend_on_threads(self, ends):
        generator = torch.Generator().manual_seed(0)
        threads = torch.get_num_threads()
        try:
            for height, width in ((9, 139), (2, 271), (95, 97), (183, 43), (259, 72), (200, 200)):
                right_side = torch.rand(3, height, width, generator=generator).double().numpy()
                solver = RectangleSolver((height, width), (ends, (False, False)), CPU)
                solved = []
                for count in (1, 2, 4):
                    torch.set_num_threads(count)
                    solved.append(solver(right_side))
                assert np.array_equal(solved[0], solved[1])
                assert np.array_equal(solved[0], solved[2])
        finally:
            torch.set_num_threads(threads)

    @settings(max_examples=50, deadline=None)
    @given(st.integers(0, 2**31), st.integers(1, 52), st.floats(1e-9, 1e9))
    @example(468, 52, 23.0)  # the largest value and its anchor lie around a power of two
    def test_rounded_values_are_multiples_of_a_power_of_two(self, seed, bits, scale):
        rng = np.random.default_rng(seed)
        values = rng.normal(size=200) * scale * 10.0 ** rng.uniform(-9, 0, 200)
        grid = rounded(values.copy(), bits)
        largest = np.abs(values).max()
        assert np.abs(grid - values).max() <= (2.0 ** (1 - bits) + 2.0**-53) * largest
        # Of all powers of two, one divides them all and is at most 2**bits times in the largest.
        unit = 2.0 ** (np.floor(np.log2(largest)) - bits)
        units = (unit * 2.0**k for k in range(3))
        assert any(
            (grid / u == np.rint(grid / u)).all() and np.abs(grid / u).max() <= 2.0**bits
            for u in units
        )

    def test_sums_do_not_depend_on_the_order(self):
        rng = np.random.default_rng(9)
        first, second = rng.normal(size=(2, 2, 50, 60)) * 10.0 ** rng.uniform(-6, 3, (2, 2, 50, 60))
        expected = exact_dot(first, second)
        np.testing.assert_allclose(expected[:, 0, 0], (first * second).sum((1, 2)), rtol=1e-7)
        for _ in range(20):
            order = rng.permutation(3000)
            shuffled = (
                part.reshape(2, -1)[:, order].reshape(2, 50, 60) for part in (first, second)
            )
            assert np.array_equal(exact_dot(*shuffled), expected)
