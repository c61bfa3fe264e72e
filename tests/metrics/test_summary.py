import json

import numpy as np
import pandas as pd
import pytest
import torch

import plain_metrics
from daf_pipelines.metrics import (
    IMAGE_METRICS,
    METRICS,
    PIXEL_METRICS,
    evaluate,
    interval,
    macro_average,
    pixel_replicates,
    rank_pixels,
    resamples,
)
from daf_pipelines.metrics.curves import area_under
from daf_pipelines.metrics.summary import COARSE, CURVES, NO_MASKS, image_metrics, pixel_metrics

TYPES = ["good"] * 4 + ["scratch", "crack", "crack", "scratch", "crack"]


@pytest.fixture
def test_set():
    rng = np.random.default_rng(3)
    masks = np.zeros((9, 8, 8), dtype=np.uint8)
    for k in range(4, 9):
        masks[k, 2:5, k - 4 : k - 2] = masks[k, 6, 6] = 1
    maps = np.round(rng.random(masks.shape) + 0.4 * masks, 2).astype(np.float32)
    labels = np.array([0] * 4 + [1] * 5)
    return np.round(rng.random(9) + 0.5 * labels, 1), labels, TYPES, maps, masks


def assess(*arguments, replicates=100, **options):
    """The evaluation, whose metrics must be JSON without NaN."""
    found = evaluate(*arguments, replicates=replicates, **options)
    text = json.dumps(found.metrics, allow_nan=False)
    assert json.loads(text) == found.metrics
    assert set(found.metrics) == {
        *METRICS,
        "n_test_normal",
        "n_test_anomalous",
        "intervals",
        "macro",
        "not_available",
    }
    undefined = {name for name in METRICS if found.metrics[name] is None}
    assert set(found.metrics["not_available"]) == undefined
    assert set(found.metrics["intervals"]) == set(METRICS) - undefined
    for name, (low, high) in found.metrics["intervals"].items():
        assert 0 <= low <= found.metrics[name] <= high <= 1
    for name, axes in CURVES.items():
        assert tuple(found.curves[name].columns) == axes
        assert len(found.curves[name]) <= 1000
    assert list(found.defect_types.columns) == ["defect_type", "count", *METRICS]
    return found


def choose(test_set, images):
    scores, labels, types, maps, masks = test_set
    return (
        scores[images],
        labels[images],
        list(np.array(types)[images]),
        maps[images],
        masks[images],
    )


class TestDefined:
    def test_agrees_with_the_definitions(self, test_set):
        scores, labels, _, maps, masks = test_set
        found = assess(*test_set).metrics
        expected = plain_metrics.image_metrics(scores, labels) | plain_metrics.pixel_metrics(
            maps, masks
        )
        assert {name: found[name] for name in METRICS} == pytest.approx(expected)
        assert (found["n_test_normal"], found["n_test_anomalous"]) == (4, 5)
        assert found["not_available"] == {}

    def test_each_type_against_all_normals(self, test_set):
        scores, labels, types, maps, masks = test_set
        table = assess(*test_set).defect_types
        assert table["defect_type"].tolist() == ["crack", "scratch"]
        assert table["count"].tolist() == [3, 2]
        for row in table.to_dict("records"):
            chosen = [k for k, kind in enumerate(types) if kind in ("good", row["defect_type"])]
            expected = image_metrics(scores[chosen], labels[chosen]) | pixel_metrics(
                rank_pixels(maps[chosen], masks[chosen])
            )
            assert {name: row[name] for name in METRICS} == pytest.approx(expected)

    def test_macro_is_the_mean_over_types(self, test_set):
        found = assess(*test_set)
        expected = found.defect_types[[*METRICS]].mean().to_dict()
        assert found.metrics["macro"] == pytest.approx(expected)

    def test_intervals_are_around_the_exact_values(self, test_set):
        # On the grid the replicates are all off by about as much as weights of 1 are.
        found = assess(*test_set)
        ones, drawn = (
            pixel_replicates(found.pixel_counts, weights)
            for weights in (np.ones((1, 9), int), resamples(test_set[1], 100))
        )
        for name, value in pixel_metrics(rank_pixels(*test_set[3:])).items():
            low, high = interval(value, drawn[name], ones[name].item())
            assert found.metrics["intervals"][name] == pytest.approx([low, high], abs=1e-12)

    def test_curves_have_the_areas(self, test_set):
        found = assess(*test_set)
        for curve, metric, limit in (
            ("image_roc", "image_auroc", 1),
            ("pixel_roc", "pixel_auroc", 1),
            ("pro", "aupro_030", 0.3),
            ("pro", "aupro_005", 0.05),
        ):
            area = area_under(*found.curves[curve].to_numpy().T, limit) / limit
            assert area == pytest.approx(found.metrics[metric], abs=1e-6)

    def test_the_best_thresholds(self, test_set):
        scores, labels, _, maps, masks = test_set
        found = assess(*test_set)
        assert plain_metrics.f1(scores, labels == 1, found.best["image"]) == pytest.approx(
            found.metrics["image_f1_max"]
        )
        assert plain_metrics.f1(maps.ravel(), masks.ravel() == 1, found.best["pixel"]) == (
            pytest.approx(found.metrics["pixel_f1_max"])
        )

    def test_the_same_again(self, test_set):
        assert assess(*test_set).metrics == assess(*test_set).metrics

    def test_lists_and_tensors(self, test_set):
        *image_level, maps, masks = test_set
        expected = assess(*test_set).metrics
        assert assess(*image_level, list(maps), list(masks)).metrics == expected
        tensors = torch.from_numpy(maps), torch.from_numpy(masks)
        assert assess(*image_level, *tensors).metrics == expected

    def test_maps_of_different_sizes(self, test_set):
        *image_level, maps, masks = test_set
        parts = [[m[: 8 - k % 2] for k, m in enumerate(array)] for array in (maps, masks)]
        found = assess(*image_level, *parts).metrics
        expected = plain_metrics.pixel_metrics(*parts)
        assert {name: found[name] for name in PIXEL_METRICS} == pytest.approx(expected)

    def test_curves_of_many_points_are_thinned(self):
        rng = np.random.default_rng(0)
        masks = rng.integers(0, 2, (4, 64, 64))
        masks[:2] = 0
        maps = rng.random(masks.shape) + 0.5 * masks
        found = assess([1, 2, 2, 3], [0, 0, 1, 1], ["x"] * 4, maps, masks)
        assert 700 < len(found.curves["pixel_roc"]) <= 1000

    def test_more_replicates_leave_the_values(self, test_set):
        found, other = (assess(*test_set, replicates=n).metrics for n in (100, 200))
        assert found["intervals"] != other["intervals"]
        assert [found[name] for name in METRICS] == [other[name] for name in METRICS]


class TestUndefined:
    @pytest.mark.parametrize(
        ("masks", "localised", "reason"), [(False, True, NO_MASKS), (True, False, COARSE)]
    )
    def test_no_masks_or_coarse_ones(self, test_set, masks, localised, reason):
        *rest, own = test_set
        found = assess(*rest, own if masks else None, localised=localised)
        assert found.metrics["not_available"] == dict.fromkeys(PIXEL_METRICS, reason)
        assert found.pixel_counts is None
        assert set(found.best) == {"image"}
        assert found.curves["pro"].empty
        assert found.defect_types[[*PIXEL_METRICS]].isna().all(axis=None)
        assert set(found.metrics["macro"]) == set(IMAGE_METRICS)

    def test_only_normals(self, test_set):
        found = assess(*choose(test_set, np.arange(4)))
        reasons = found.metrics["not_available"]
        assert reasons["image_ap"] == "there are no anomalous test images"
        assert reasons["pixel_ap"] == "there are no anomalous test images"
        assert (found.metrics["n_test_normal"], found.metrics["n_test_anomalous"]) == (4, 0)
        assert found.defect_types.empty
        assert (found.best, found.metrics["macro"], found.metrics["intervals"]) == ({}, {}, {})

    def test_only_anomalous(self, test_set):
        chosen = choose(test_set, np.arange(4, 9))
        found = assess(*chosen)
        reasons = found.metrics["not_available"]
        assert reasons == dict.fromkeys(IMAGE_METRICS, "there are no normal test images")
        expected = plain_metrics.pixel_metrics(*chosen[3:])
        assert {name: found.metrics[name] for name in PIXEL_METRICS} == pytest.approx(expected)
        assert found.defect_types["image_auroc"].isna().all()

    def test_no_images(self):
        nothing = np.zeros((0, 4, 4), dtype=np.float32)
        for masks in (nothing, None):
            found = assess([], [], [], nothing, masks)
            assert set(found.metrics["not_available"]) == set(METRICS)
            assert found.metrics["not_available"]["image_auroc"] == "there are no test images"
            assert found.metrics["n_test_normal"] == 0
            assert found.defect_types.empty

    def test_a_type_whose_masks_are_empty(self, test_set):
        masks = test_set[4].copy()
        masks[[4, 7]] = 0
        found = assess(*test_set[:4], masks)
        table = found.defect_types.set_index("defect_type")
        assert table.loc["scratch", [*PIXEL_METRICS]].isna().all()
        assert table.loc["scratch", [*IMAGE_METRICS]].notna().all()
        assert found.metrics["macro"]["aupro_030"] == table.loc["crack", "aupro_030"]
        assert found.metrics["not_available"] == {}

    def test_a_single_image_with_a_defect_pixel(self, test_set):
        # Many resamples have none at all.
        masks = np.zeros_like(test_set[4])
        masks[8, 3, 3] = 1
        assert assess(*test_set[:4], masks).metrics["pixel_auroc"] is not None

    @pytest.mark.parametrize("value", [0, 1])
    def test_masks_without_contrast(self, test_set, value):
        found = assess(*test_set[:4], np.full_like(test_set[4], value))
        missing = "normal" if value else "defect"
        assert found.metrics["not_available"] == dict.fromkeys(
            PIXEL_METRICS, f"the masks have no {missing} pixel"
        )

    def test_defects_that_fill_their_images(self, test_set):
        masks = test_set[4].copy()
        masks[4:] = 1
        found = assess(*test_set[:4], masks)
        expected = plain_metrics.pixel_metrics(test_set[3], masks)
        assert {name: found.metrics[name] for name in PIXEL_METRICS} == pytest.approx(expected)

    def test_defects_that_fill_their_images_without_normals(self, test_set):
        *rest, masks = choose(test_set, np.arange(4, 9))
        found = assess(*rest, np.ones_like(masks))
        assert set(found.metrics["not_available"]) == set(METRICS)
        assert found.defect_types.empty

    def test_one_image_of_each_class(self, test_set):
        found = assess(*choose(test_set, np.array([0, 4])))
        assert found.metrics["not_available"] == {}

    def test_a_type_named_as_the_normals(self, test_set):
        scores, labels, _, maps, masks = test_set
        table = assess(scores, labels, ["good"] * 9, maps, masks).defect_types
        assert table[["defect_type", "count"]].to_numpy().tolist() == [["good", 5]]


class TestErrors:
    def test_not_finite(self, test_set):
        scores, labels, types, maps, masks = test_set
        with pytest.raises(ValueError, match="not finite"):
            evaluate(np.full_like(scores, np.nan), labels, types, maps, masks)
        with pytest.raises(ValueError, match="not finite"):
            evaluate(scores, labels, types, np.full_like(maps, np.inf), masks)

    def test_shapes(self, test_set):
        scores, labels, types, maps, masks = test_set
        with pytest.raises(ValueError, match="expected 9 defect types"):
            evaluate(scores, labels, types[:3], maps, masks)
        with pytest.raises(ValueError, match="one shape"):
            evaluate(scores[:3], labels, types, maps, masks)
        for wrong in ((maps[:8], masks), (maps, masks[:8]), (np.tile(maps, (2, 1, 1)),) * 2):
            with pytest.raises(ValueError, match="expected 9 maps and masks"):
                evaluate(scores, labels, types, *wrong)


class TestMacroAverage:
    def test_rows_that_lack_a_metric_do_not_count(self):
        table = pd.DataFrame({"image_auroc": [0.5, 1.0, np.nan], "image_ap": [np.nan] * 3})
        assert macro_average(table, ["image_auroc", "image_ap"]) == {"image_auroc": 0.75}

    def test_no_rows(self):
        assert macro_average(pd.DataFrame(columns=["image_auroc"]), ["image_auroc"]) == {}


def test_intervals_of_groups():
    """Four near copies of each image: the metrics are those of the images, and so are intervals."""
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 30)
    scores = rng.normal(size=60) + labels
    maps, masks = np.zeros((60, 4, 4), np.float32), np.zeros((60, 4, 4), np.uint8)
    masks[30:, 1:3, 1:3] = 1
    maps += scores[:, None, None] / 4 + rng.random(maps.shape) + masks

    def width(repeats, groups):
        test_set = (np.repeat(x, repeats, axis=0) for x in (scores, labels, labels, maps, masks))
        found = assess(*test_set, groups=groups, replicates=400).metrics
        return {name: np.ptp(found["intervals"][name]) for name in ("image_auroc", "pixel_ap")}

    single, copies = width(1, None), width(4, None)
    together = width(4, np.repeat(np.arange(60), 4).astype(str))
    for name, of_images in single.items():
        assert together[name] == pytest.approx(of_images, rel=0.2)
        assert copies[name] < 0.65 * of_images
