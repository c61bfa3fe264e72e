import json

import numpy as np
import pytest

from daf_pipelines.metrics import (
    aupro,
    evaluate,
    image_ap,
    image_auroc,
    image_f1_max,
    per_defect_type,
    pixel_ap,
    pixel_auroc,
)

PIXEL = {"pixel_auroc", "pixel_ap", "aupro_030"}
IMAGE = {"image_auroc", "image_ap", "image_f1_max"}


@pytest.fixture
def test_set():
    rng = np.random.default_rng(3)
    labels = np.array([0, 0, 0, 1, 1])
    masks = np.zeros((5, 8, 8), dtype=np.uint8)
    masks[3, 2:5, 2:4] = masks[4, 6, 6] = 1
    maps = (rng.random(masks.shape) + 0.4 * masks).astype(np.float32)
    return rng.random(5).astype(np.float32), labels, maps, masks


class TestEvaluate:
    def test_agrees_with_the_single_metrics(self, test_set):
        scores, labels, maps, masks = test_set
        assert evaluate(*test_set) == {
            "image_auroc": image_auroc(scores, labels),
            "image_ap": image_ap(scores, labels),
            "image_f1_max": image_f1_max(scores, labels)[0],
            "pixel_auroc": pixel_auroc(maps, masks),
            "pixel_ap": pixel_ap(maps, masks),
            "aupro_030": aupro(maps, masks, 0.3),
            "n_test_normal": 3,
            "n_test_anomalous": 2,
            "not_available": {},
        }

    def test_survives_json(self, test_set):
        report = evaluate(*test_set)
        assert json.loads(json.dumps(report)) == report

    def test_no_masks(self, test_set):
        report = evaluate(*test_set[:3], None)
        assert report["image_auroc"] is not None
        assert {name for name, value in report.items() if value is None} == PIXEL
        assert set(report["not_available"]) == PIXEL
        assert "mask" in report["not_available"]["aupro_030"]

    def test_only_normals(self, test_set):
        scores, labels, maps, masks = test_set
        report = evaluate(scores[:3], labels[:3], maps[:3], masks[:3])
        assert set(report["not_available"]) == IMAGE | PIXEL
        assert report["not_available"]["image_ap"] == "the test images are all normal"
        assert (report["n_test_normal"], report["n_test_anomalous"]) == (3, 0)

    def test_no_images(self):
        nothing = np.zeros((0, 4, 4), dtype=np.float32)
        report = evaluate([], [], nothing, nothing)
        assert set(report["not_available"]) == IMAGE | PIXEL
        assert report["n_test_normal"] == 0

    def test_a_score_that_is_not_a_number_is_an_error(self, test_set):
        scores, labels, maps, masks = test_set
        with pytest.raises(ValueError, match="not finite"):
            evaluate(np.full_like(scores, np.nan), labels, maps, masks)


class TestPerDefectType:
    def test_each_type_against_all_normals(self):
        table = per_defect_type(
            [1, 2, 3, 2.5, 0, 4], [0, 0, 0, 1, 1, 1], ["good"] * 3 + ["scratch", "crack", "crack"]
        )
        assert table.to_dict("records") == [
            {"defect_type": "crack", "image_auroc": 0.5, "count": 2},
            {"defect_type": "scratch", "image_auroc": pytest.approx(2 / 3), "count": 1},
        ]

    def test_a_defect_type_named_as_the_normals(self):
        table = per_defect_type([1, 2], [0, 1], ["good", "good"])
        assert table.to_dict("records") == [{"defect_type": "good", "image_auroc": 1.0, "count": 1}]

    @pytest.mark.parametrize(("scores", "labels"), [([], []), ([1, 2], [1, 1]), ([1, 2], [0, 0])])
    def test_without_both_classes_there_are_no_rows(self, scores, labels):
        table = per_defect_type(scores, labels, ["crack"] * len(scores))
        assert list(table.columns) == ["defect_type", "image_auroc", "count"]
        assert table.empty

    def test_shapes(self):
        with pytest.raises(ValueError, match="2 defect types"):
            per_defect_type([1, 2], [0, 1], ["good"])
