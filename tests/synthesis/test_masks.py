import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from daf_pipelines.synthesis.masks import MASKS
from daf_pipelines.synthesis.masks.areas import smallest
from daf_pipelines.synthesis.masks.windows import Places, column, paint, random_places, window
from daf_pipelines.synthesis.operators import Operator, parameters_of

CPU = torch.device("cpu")
NAMES = sorted(MASKS)
SIZES = [(32, 32), (33, 200), (200, 33), (256, 256)]


def generators(count, seed=0):
    return [np.random.default_rng([seed, i]) for i in range(count)]


@pytest.mark.parametrize("name", NAMES)
class TestEveryMask:
    @pytest.mark.parametrize("size", SIZES)
    def test_is_never_empty_and_never_the_whole_image(self, name, size):
        count = 20 if size == (256, 256) else 100
        masks = MASKS[name](torch.zeros(count, 2, *size), generators(count))
        assert masks.shape == (count, 1, *size)
        assert masks.dtype == torch.bool
        assert masks.flatten(1).any(dim=1).all()
        assert not masks.flatten(1).all(dim=1).any()

    @settings(max_examples=8, deadline=None)
    @given(
        size=st.tuples(st.integers(32, 70), st.integers(32, 200)),
        seed=st.integers(0, 999),
        order=st.permutations(range(7)),
    )
    def test_does_not_depend_on_the_batch(self, name, size, seed, order):
        mask, images = MASKS[name], torch.zeros(7, 3, *size)
        together = mask(images, generators(7, seed))
        shuffled = mask(images, [generators(7, seed)[i] for i in order])
        assert torch.equal(shuffled, together[order])
        for i in range(7):
            alone = mask(images[:1], generators(7, seed)[i : i + 1])
            assert torch.equal(alone[0], together[i])

    def test_number_of_threads_does_not_matter(self, name):
        images, threads = torch.zeros(9, 3, 256, 250), torch.get_num_threads()
        masks = []
        try:
            for number in (1, 2):
                torch.set_num_threads(number)
                masks.append(MASKS[name](images, generators(9)))
        finally:
            torch.set_num_threads(threads)
        assert torch.equal(*masks)

    def test_looks_at_the_size_only(self, name):
        images = torch.rand(5, 3, 40, 50, generator=torch.Generator().manual_seed(0))
        before = images.clone()
        masks = MASKS[name](images, generators(5))
        assert torch.equal(images, before)
        assert torch.equal(masks, MASKS[name](torch.zeros(5, 1, 40, 50), generators(5)))

    def test_other_generators_other_masks(self, name):
        masks = MASKS[name](torch.zeros(20, 1, 64, 64), generators(20))
        # Scars have few pixels here: two may be equal.
        assert len({tuple(mask.flatten().tolist()) for mask in masks}) >= 18

    def test_is_an_operator(self, name):
        operator = Operator(MASKS[name])
        assert set(operator.describe()) == {"name", *parameters_of(MASKS[name])}
        images = torch.zeros(3, 1, 32, 40)
        assert torch.equal(operator(images, generators(3)), MASKS[name](images, generators(3)))


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("perlin", {"scales": ()}),
        ("perlin", {"scales": (0, 2)}),
        ("perlin", {"rotation": 200}),
        ("fractal_perlin", {"area": (0, 0.1)}),
        ("fractal_perlin", {"persistence": 0}),
        ("rectangles", {"count": (3, 1)}),
        ("rectangles", {"count": (0, 1)}),
        ("ellipses", {"aspect": (0, 1)}),
        ("ellipses", {"area": (0.1, 1.5)}),
        ("polygons", {"corners": (2, 5)}),
        ("simple_shapes", {"corner": (3, 5)}),
        ("strokes", {"taper": 1.1}),
        ("blobs", {"irregularity": 1}),
        ("scar", {"width": (16, 2)}),
        ("nsa_rectangle", {"height": (0.1, 1.1)}),
    ],
)
def test_bad_parameters_are_refused(name, parameters):
    with pytest.raises(ValidationError):
        Operator(MASKS[name], **parameters)


class TestSmallest:
    @given(
        rows=st.lists(st.lists(st.integers(-3, 3), min_size=9, max_size=9), min_size=1, max_size=4),
        count=st.integers(1, 9),
    )
    def test_equals_a_stable_sort(self, rows, count):
        values = torch.tensor(rows, dtype=torch.float32)
        expected = torch.zeros_like(values, dtype=torch.bool)
        order = np.argsort(values.numpy(), axis=1, kind="stable")[:, :count]
        for row, chosen in zip(expected, order, strict=True):
            row[torch.from_numpy(chosen)] = True
        assert torch.equal(smallest(values, [count] * len(rows)), expected)

    def test_each_row_has_its_own_number(self):
        values = torch.tensor([[3.0, 1.0, 2.0], [1.0, 1.0, 1.0]])
        assert smallest(values, [2, 1]).int().tolist() == [[0, 1, 1], [1, 0, 0]]


class TestWindows:
    def test_offsets(self):
        y, x = window(np.array([0.5, 1.2]), CPU)
        assert y.tolist() == [[[-2], [-1], [0], [1], [2]]]
        assert x.tolist() == [[[-2, -1, 0, 1, 2]]]
        assert column([3, 4], CPU).tolist() == [[[3]], [[4]]]

    def test_paint_by_hand(self):
        row, column, two = torch.zeros(3, 3, 3, dtype=torch.bool)
        row[1] = column[:, 1] = two[1, 1] = two[0, 0] = True
        shapes = [
            (row, 0, 0, 0),
            (column, 0, 1, 2),
            (two, 1, 2, 3),
            (two, 1, 0, 1),
            (column, 1, 3, 2),
        ]
        places = Places(*np.array([shape[1:] for shape in shapes]).T)
        masks = paint(torch.zeros(3, 1, 3, 4), places, torch.stack([s[0] for s in shapes]))
        assert masks[0, 0].int().tolist() == [[1, 1, 1, 0], [0, 0, 1, 0], [0, 0, 1, 0]]
        assert masks[1, 0].int().tolist() == [[0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 1, 1]]
        assert not masks[2].any()

    def test_places_are_all_pixels_and_all_counts(self):
        places = random_places(torch.zeros(400, 1, 3, 5), generators(400), (1, 3))
        assert set(np.bincount(places.image)) == {1, 2, 3}
        assert len(np.bincount(places.image)) == 400
        assert set(zip(places.y, places.x, strict=True)) == {
            (y, x) for y in range(3) for x in range(5)
        }
        assert (np.diff(places.image) >= 0).all()
