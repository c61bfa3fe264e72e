import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage
from sklearn.metrics import average_precision_score, roc_auc_score

import plain_metrics
from daf_pipelines.errors import MetricUndefinedError
from daf_pipelines.metrics import aupro, pixel_ap, pixel_auroc, pixel_f1_max, rank_pixels
from daf_pipelines.metrics.pixel import label_regions
from daf_pipelines.metrics.summary import pixel_metrics
from daf_pipelines.sources.images import contents


def aupro_005(maps, masks):
    return aupro(maps, masks, 0.05)


def f1_max(maps, masks):
    return pixel_f1_max(maps, masks)[0]


QUICK = settings(max_examples=40, deadline=None)
METRICS = [pixel_auroc, pixel_ap, f1_max, aupro, aupro_005]


@st.composite
def scored_masks(draw, levels=6):
    shape = draw(st.tuples(st.integers(1, 3), st.integers(1, 6), st.integers(1, 6)))
    masks = draw(arrays(np.uint8, shape, elements=st.integers(0, 1)))
    scores = draw(arrays(np.int64, shape, elements=st.integers(-levels, levels)))
    return (scores / 8).astype(np.float32), masks


both_classes = scored_masks().filter(lambda pair: 0 < pair[1].mean() < 1)


class TestHandComputed:
    def test_perfect_maps(self):
        masks = np.zeros((2, 4, 4), dtype=np.uint8)
        masks[0, 1:3, 1:3] = 1
        for metric in METRICS:
            assert metric(masks.astype(np.float32), masks) == 1
        assert 0 < np.float32(pixel_f1_max(masks.astype(np.float32), masks)[1]) < 1

    def test_constant_maps_score_as_chance(self):
        masks = np.zeros((1, 4, 5), dtype=np.uint8)
        masks[0, 0, :5] = 1
        maps = np.full(masks.shape, 0.3, dtype=np.float32)
        assert pixel_auroc(maps, masks) == 0.5
        assert pixel_ap(maps, masks) == 0.25
        # One straight line from (0, 0) to (1, 1): 0.3 * 0.3 / 2, over 0.3.
        assert aupro(maps, masks) == pytest.approx(0.15)

    def test_small_regions_count_as_much_as_large_ones(self):
        masks = np.array([[[1, 0, 1, 1, 1, 1, 0, 0, 0, 0]]], dtype=np.uint8)
        large_only = np.array([[[0, 1, 9, 9, 9, 9, 1, 1, 1, 1]]], dtype=np.float32)
        # The large region is found at FPR 0, the one-pixel region only after every normal pixel.
        assert aupro(large_only, masks) == 0.5
        assert pixel_auroc(large_only, masks) == pytest.approx(0.8)

    def test_diagonal_neighbours_are_one_region(self):
        masks = np.array([[[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]]], dtype=np.uint8)
        maps = np.zeros(masks.shape, dtype=np.float32)
        maps[0, 2, 3] = 1
        # Two regions, one of them found at once, the other tied with all normal pixels.
        assert aupro(maps, masks, max_fpr=1) == pytest.approx(0.75)

    def test_end_point_is_interpolated(self):
        # 4 normal pixels: the curve goes (0, 0), (0.25, 0), (0.25, 1), (1, 1).
        masks = np.array([[[1, 0, 0, 0, 0]]], dtype=np.uint8)
        maps = np.array([[[3, 4, 2, 1, 0]]], dtype=np.float32)
        assert aupro(maps, masks, max_fpr=0.2) == 0
        assert aupro(maps, masks, max_fpr=0.3) == pytest.approx(0.05 / 0.3)
        assert aupro(maps, masks, max_fpr=1) == pytest.approx(0.75)


class TestAgainstReferences:
    @QUICK
    @given(both_classes, st.sampled_from([0.01, 0.05, 0.3, 0.5, 1.0]))
    def test_aupro(self, pair, max_fpr):
        value = aupro(*pair, max_fpr=max_fpr)
        assert value == pytest.approx(plain_metrics.aupro(*pair, max_fpr), abs=1e-12)
        assert 0 <= value <= 1

    @QUICK
    @given(both_classes)
    def test_all_of_them(self, pair):
        ranked = rank_pixels(*pair)
        expected = plain_metrics.pixel_metrics(*pair)
        assert pixel_metrics(ranked) == pytest.approx(expected, abs=1e-12)
        assert all(0 <= value <= 1 for value in pixel_metrics(ranked).values())

    @QUICK
    @given(both_classes)
    def test_f1_max_has_its_threshold(self, pair):
        maps, masks = pair
        value, threshold = pixel_f1_max(maps, masks)
        assert plain_metrics.f1(maps.ravel(), masks.ravel() == 1, threshold) == pytest.approx(value)

    @QUICK
    @given(both_classes)
    def test_sklearn(self, pair):
        maps, masks = pair
        expected_ap = average_precision_score(masks.ravel(), maps.ravel())
        assert pixel_auroc(maps, masks) == pytest.approx(roc_auc_score(masks.ravel(), maps.ravel()))
        assert pixel_ap(maps, masks) == pytest.approx(expected_ap)

    @QUICK
    @given(both_classes)
    def test_areas_under_the_curves(self, pair):
        ranked = rank_pixels(*pair)
        fpr, tpr = ranked.roc()
        assert np.trapezoid(tpr, fpr) == pytest.approx(ranked.auroc())
        fpr, overlap = ranked.pro()
        assert np.trapezoid(overlap, fpr) == pytest.approx(ranked.aupro(1))
        for x, y in (ranked.roc(), ranked.pro()):
            assert (x[0], y[0], x[-1], y[-1]) == (0, 0, 1, pytest.approx(1))
            assert (np.diff(x) >= 0).all()
            assert (np.diff(y) >= -1e-12).all()
        recall, precision = ranked.precision_recall()
        assert np.diff(recall, prepend=0) @ precision == pytest.approx(ranked.ap())

    @pytest.mark.parametrize("seed", range(3))
    def test_continuous_scores(self, seed):
        rng = np.random.default_rng(seed)
        masks = (ndimage.gaussian_filter(rng.normal(size=(4, 24, 24)), (0, 2, 2)) > 0.1).astype(
            np.uint8
        )
        maps = (masks * 0.5 + rng.random(masks.shape)).astype(np.float32)
        assert aupro(maps, masks) == pytest.approx(plain_metrics.aupro(maps, masks, 0.3), abs=1e-9)

    def test_never_above_one_with_many_regions(self):
        masks = np.zeros((1, 150, 150), dtype=np.uint8)
        masks[0, ::3, ::3] = 1  # 2500 regions: sums of 1 / 2500 do not end at exactly 1
        for max_fpr in (0.01, 0.3, 0.7, 1.0):
            assert aupro(masks.astype(np.float32), masks, max_fpr) == 1


class TestRegions:
    @QUICK
    @given(
        arrays(
            np.uint8, st.tuples(st.integers(1, 7), st.integers(1, 7)), elements=st.integers(0, 1)
        )
    )
    def test_as_labelled_whole(self, mask):
        expected = ndimage.label(mask, structure=np.ones((3, 3)))[0]
        np.testing.assert_array_equal(label_regions(mask * 255), expected)


class TestMapsOfDifferentSizes:
    """As images with padding have them, which is no pixel."""

    @QUICK
    @given(st.lists(scored_masks(), min_size=1, max_size=3), st.floats(0.05, 1))
    def test_brute_force(self, pairs, max_fpr):
        maps = [scores for pair in pairs for scores in pair[0]]
        masks = [mask for pair in pairs for mask in pair[1]]
        scores, labels = (np.concatenate([a.ravel() for a in arrays]) for arrays in (maps, masks))
        assume(0 < labels.mean() < 1)
        assert pixel_auroc(maps, masks) == pytest.approx(roc_auc_score(labels, scores))
        assert pixel_ap(maps, masks) == pytest.approx(average_precision_score(labels, scores))
        expected = plain_metrics.aupro(maps, masks, max_fpr)
        assert aupro(maps, masks, max_fpr) == pytest.approx(expected, abs=1e-9)

    @pytest.mark.parametrize("metric", METRICS)
    def test_padding_has_no_influence(self, metric):
        rng = np.random.default_rng(0)
        boxes = [(0, 3, 12, 9), (4, 0, 7, 12), (0, 0, 12, 12)]
        maps, masks = np.full((3, 12, 12), np.nan), np.zeros((3, 12, 12), dtype=np.uint8)
        for scores, mask, (top, left, bottom, right) in zip(maps, masks, boxes, strict=True):
            size = bottom - top, right - left
            scores[top:bottom, left:right] = rng.random(size)
            mask[top:bottom, left:right] = rng.random(size) < 0.3
        found = metric(contents(maps, boxes), contents(masks, boxes))
        known = np.isfinite(maps)
        if metric not in (aupro, aupro_005):
            assert found == pytest.approx(metric(maps[known][None, None], masks[known][None, None]))
        with pytest.raises(ValueError, match="not finite"):
            metric(maps, masks)


class TestInvariances:
    @QUICK
    @given(both_classes)
    def test_increasing_transforms_change_nothing(self, pair):
        maps, masks = pair
        for metric in METRICS:
            assert metric(np.exp(maps), masks) == metric(maps, masks)

    @QUICK
    @given(both_classes, st.integers(0, 5))
    def test_order_of_the_images(self, pair, seed):
        order = np.random.default_rng(seed).permutation(len(pair[0]))
        for metric in METRICS:
            shuffled = metric(*(array[order] for array in pair))
            assert shuffled == pytest.approx(metric(*pair), abs=1e-12)

    def test_inputs_are_left_alone(self):
        rng = np.random.default_rng(0)
        maps, masks = rng.random((2, 5, 5)), rng.integers(0, 2, (2, 5, 5))
        before = maps.copy(), masks.copy()
        aupro(maps, masks)
        np.testing.assert_array_equal(maps, before[0])
        np.testing.assert_array_equal(masks, before[1])


class TestKindsOfInput:
    @pytest.fixture
    def pair(self):
        rng = np.random.default_rng(0)
        masks = (rng.random((4, 9, 7)) < 0.2).astype(np.uint8)
        masks[1] = 0
        return np.round(rng.normal(size=masks.shape) + masks, 1).astype(np.float32), masks

    @QUICK
    @given(both_classes)
    def test_tensors(self, pair):
        maps, masks = pair
        for of_masks in (masks, torch.from_numpy(masks), torch.from_numpy(masks != 0)):
            found = pixel_metrics(rank_pixels(torch.from_numpy(maps), of_masks))
            assert found == pytest.approx(pixel_metrics(rank_pixels(maps, masks)), abs=1e-12)

    def test_lists_of_tensors_that_track_gradients(self, pair):
        maps = [torch.from_numpy(m[: 9 - k]).requires_grad_() for k, m in enumerate(pair[0])]
        masks = [m[: 9 - k] for k, m in enumerate(pair[1])]
        expected = plain_metrics.pixel_metrics([as_numpy(m) for m in maps], masks)
        assert pixel_metrics(rank_pixels(maps, masks)) == pytest.approx(expected)

    @pytest.mark.filterwarnings("error")
    @pytest.mark.parametrize("kind", [np.float16, np.float64])
    @pytest.mark.parametrize("convert", [np.asarray, torch.from_numpy])
    def test_precisions(self, pair, kind, convert):
        maps, masks = pair
        maps = (maps * 8192).astype(kind)  # the sum of an image is beyond float16
        found = pixel_metrics(rank_pixels(convert(maps), masks))
        assert found == pytest.approx(plain_metrics.pixel_metrics(maps, masks))

    def test_scores_are_compared_as_float32(self):
        maps = np.array([[[1, 1 + 1e-12, 0]]])
        assert pixel_auroc(maps, np.array([[[0, 1, 0]]])) == 0.75

    def test_memory_mapped(self, pair, tmp_path):
        for name, array in zip(("maps", "masks"), pair, strict=True):
            np.save(tmp_path / f"{name}.npy", array)
        mapped = [np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in ("maps", "masks")]
        assert pixel_metrics(rank_pixels(*mapped)) == pixel_metrics(rank_pixels(*pair))

    def test_any_mask_value_but_zero_is_a_defect(self, pair):
        maps, masks = pair
        expected = pixel_metrics(rank_pixels(maps, masks))
        for values in (masks * 255, masks != 0, masks * 0.5):
            assert pixel_metrics(rank_pixels(maps, values)) == expected


def as_numpy(tensor):
    return tensor.detach().numpy()


@pytest.mark.parametrize("metric", METRICS)
class TestErrors:
    def test_no_defect_pixel(self, metric):
        with pytest.raises(MetricUndefinedError, match="no defect pixel"):
            metric(np.zeros((2, 3, 3)), np.zeros((2, 3, 3)))

    def test_no_normal_pixel(self, metric):
        with pytest.raises(MetricUndefinedError, match="no normal pixel"):
            metric(np.zeros((2, 3, 3)), np.ones((2, 3, 3)))

    def test_empty(self, metric):
        with pytest.raises(MetricUndefinedError):
            metric(np.zeros((0, 3, 3)), np.zeros((0, 3, 3)))

    def test_not_finite(self, metric):
        maps = np.zeros((1, 3, 3))
        maps[0, 1, 1] = np.nan
        with pytest.raises(ValueError, match="not finite"):
            metric(maps, np.eye(3)[None])

    def test_shapes(self, metric):
        with pytest.raises(ValueError, match="one shape"):
            metric(np.zeros((1, 3, 3)), np.zeros((1, 3, 4)))
        with pytest.raises(ValueError, match="one shape"):
            metric(np.zeros((1, 9)), np.zeros((1, 9)))
        with pytest.raises(ValueError, match="as many maps as masks; got 1, 2"):
            metric(np.zeros((1, 3, 3)), np.zeros((2, 3, 3)))


@pytest.mark.parametrize("max_fpr", [0, -0.1, 1.1])
def test_max_fpr_out_of_range(max_fpr):
    with pytest.raises(ValueError, match="max_fpr"):
        aupro(np.eye(3)[None], np.eye(3)[None], max_fpr)
