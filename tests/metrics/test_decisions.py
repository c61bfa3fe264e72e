import numpy as np
import pandas as pd
import pytest
import torch

from daf_pipelines.metrics import image_f1_max, pixel_f1_max
from daf_pipelines.metrics.decisions import find_regions, image_decisions, pixel_decisions

UNDEFINED = pytest.approx(np.nan, nan_ok=True)


class TestImageDecisions:
    def test_hand_computed(self):
        table = image_decisions(
            [1, 2, 3, 4, 2, 3, 5], [0, 0, 0, 0, 1, 1, 1], {"low": 2, "high": 4.5, "none": 9}
        )
        assert table.to_dict("records") == [
            # Equal to the threshold is not above it.
            {
                "rule": "low",
                "threshold": 2,
                "false_positive_rate": 2 / 4,
                "recall": 2 / 3,
                "precision": 2 / 4,
                "f1": pytest.approx(4 / 7),
            },
            {
                "rule": "high",
                "threshold": 4.5,
                "false_positive_rate": 0,
                "recall": 1 / 3,
                "precision": 1,
                "f1": 2 / 4,
            },
            {
                "rule": "none",
                "threshold": 9,
                "false_positive_rate": 0,
                "recall": 0,
                "precision": UNDEFINED,
                "f1": 0,
            },
        ]

    def test_the_best_threshold_gives_the_best_f1(self):
        rng = np.random.default_rng(0)
        labels = rng.integers(0, 2, 60)
        scores = np.round(rng.normal(size=60) + labels, 1)
        f1, threshold = image_f1_max(scores, labels)
        assert image_decisions(scores, labels, {"best": threshold})["f1"].item() == f1

    def test_no_normals(self):
        (row,) = image_decisions([1, 2], [1, 1], {"x": 1.5}).to_dict("records")
        assert (row["recall"], row["precision"]) == (0.5, 1)
        assert np.isnan(row["false_positive_rate"])

    def test_no_anomalous(self):
        (row,) = image_decisions([1, 2], [0, 0], {"x": 1.5}).to_dict("records")
        assert row["false_positive_rate"] == 0.5
        assert np.isnan([row["recall"], row["precision"], row["f1"]]).all()

    def test_no_images_and_no_thresholds(self):
        table = image_decisions([], [], {"x": 0.0})
        assert table.iloc[0, 2:].isna().all()
        empty = image_decisions([1], [0], {})
        assert empty.empty
        assert list(empty.columns) == list(table.columns)


@pytest.fixture
def images():
    """A normal image and one with two defects, of which they are 2 and 1 pixels large."""
    maps = [np.array([[1, 2], [3, 4]], np.float32), np.array([[5, 6, 0], [0, 0, 2]], np.float32)]
    masks = [np.zeros((2, 2), np.uint8), np.array([[1, 1, 0], [0, 0, 0]], np.uint8)]
    masks[1][1, 2] = 0
    return maps, masks


class TestPixelDecisions:
    def test_hand_computed(self, images):
        table = pixel_decisions(*images, [0, 1], {"a": 1.5, "b": 5, "c": 4})
        a, b, c = table.to_dict("records")
        assert a == {
            "rule": "a",
            "threshold": 1.5,
            "false_positive_rate": 4 / 8,  # 2, 3, 4 and the other image's 2
            "recall": 1,
            "precision": 2 / 6,
            "f1": pytest.approx(4 / 8),
            "marked_normals": 1,
        }
        assert (b["recall"], b["precision"], b["marked_normals"]) == (0.5, 1, 0)
        assert c["marked_normals"] == 0  # its largest is 4, which is not above 4

    def test_without_masks_only_normal_images_count(self, images):
        (row,) = pixel_decisions(images[0], None, [0, 1], {"a": 1.5}).to_dict("records")
        assert (row["false_positive_rate"], row["marked_normals"]) == (3 / 4, 1)
        assert np.isnan([row["recall"], row["precision"], row["f1"]]).all()

    def test_no_normals(self, images):
        maps, masks = (part[1:] for part in images)
        (row,) = pixel_decisions(maps, masks, [1], {"a": 1.5}).to_dict("records")
        assert (row["false_positive_rate"], row["recall"]) == (1 / 4, 1)
        assert np.isnan(row["marked_normals"])
        without = pixel_decisions(maps, None, [1], {"a": 1.5})
        assert without.iloc[0, 2:].isna().all()

    def test_no_anomalous(self, images):
        maps, masks = (part[:1] for part in images)
        for given in (masks, None):
            (row,) = pixel_decisions(maps, given, [0], {"a": 3}).to_dict("records")
            assert row["false_positive_rate"] == 1 / 4
            assert np.isnan([row["recall"], row["precision"], row["f1"]]).all()

    @pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
    def test_the_best_threshold_gives_the_best_f1(self, kind):
        rng = np.random.default_rng(0)
        masks = (rng.random((5, 12, 12)) < 0.2).astype(np.uint8)
        maps = (np.round(rng.normal(size=masks.shape), 1) + masks).astype(kind)
        f1, threshold = pixel_f1_max(maps, masks)
        for given in (maps, torch.from_numpy(maps)):
            table = pixel_decisions(given, masks, [1] * 5, {"best": threshold})
            assert table["f1"].item() == pytest.approx(f1)


class TestFindRegions:
    @pytest.mark.parametrize("convert", [list, np.array, lambda m: torch.from_numpy(np.array(m))])
    def test_hand_computed(self, convert):
        masks = np.zeros((2, 3, 4), np.uint8)
        masks[1] = [[1, 0, 0, 1], [0, 1, 0, 0], [0, 0, 0, 1]]  # diagonal neighbours are one
        maps = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
        table = find_regions(convert(maps), convert(masks), ["a", "b"], ["good", "hole"], 12)
        expected = pd.DataFrame(
            [
                ["b", "hole", 2 / 12, 0.5, 17],
                ["b", "hole", 1 / 12, 1, 15],
                ["b", "hole", 1 / 12, 1, 23],
            ],
            columns=["path", "defect_type", "area", "overlap", "peak"],
        )
        pd.testing.assert_frame_equal(table, expected, check_dtype=False)

    def test_without_masks_or_regions(self):
        maps = np.zeros((2, 3, 3), np.float32)
        for masks in (None, np.zeros(maps.shape, np.uint8)):
            table = find_regions(maps, masks, ["a", "b"], ["good", "hole"], 0)
            assert table.empty
            assert list(table.columns) == ["path", "defect_type", "area", "overlap", "peak"]
