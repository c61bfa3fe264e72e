import numpy as np
import pandas as pd
import pytest

from daf_pipelines.parameters import ThresholdParams
from daf_pipelines.scoring.calibration import calibrate
from daf_pipelines.scoring.detector import Prediction
from daf_pipelines.sources.image_set import ImageSet


class Known:
    """A detector whose answers are given: by the first pixel, an image's position in its set."""

    threshold = float("inf")
    heat_range = (0.0, 1.0)

    def __init__(self, normal_scores, outlier_scores, normal_map=1.0, outlier_map=9.0):
        self.answers = {0: (normal_scores, normal_map), 1: (outlier_scores, outlier_map)}

    def score(self, images, boxes):
        assert boxes == [(0, 0, 4, 4)] * len(images)
        scores, level = self.answers[int(images[0, 0, 0, 0])]
        assert len(images) == len(scores)
        maps = np.linspace(0, level, len(scores) * 16, dtype=np.float32)
        return Prediction(np.asarray(scores, np.float32), maps.reshape(-1, 4, 4))


def image_set(count, label):
    kind = "draem" if label else "good"
    table = pd.DataFrame(
        {
            "path": [f"{kind}{i}.png" for i in range(count)],
            "label": label,
            "defect_type": kind,
            "category": "bolt",
        }
    )
    return ImageSet(table, np.full((count, 4, 4, 3), label, np.uint8), None, {})


def run(normals, outliers, params, **maps):
    detector = Known(normals, outliers, **maps)
    table = calibrate(detector, image_set(len(normals), 0), image_set(len(outliers), 1), params)
    return detector, table


NORMALS = np.random.default_rng(0).permutation(39) / 10
OUTLIERS = np.array([2.05, 3.75, 5, 6, 7, 8, 9, 10.0])


class TestThreshold:
    def test_quantile_of_the_normals(self):
        detector, _ = run(NORMALS, OUTLIERS, ThresholdParams(false_positive_rate=0.05))
        # The 38th of 39, ceil(40 x 0.95).
        assert detector.threshold == pytest.approx(3.7)
        assert (detector.threshold < NORMALS).mean() <= 0.05

    def test_best_f1_between_normals_and_synthetic_outliers(self):
        detector, _ = run(NORMALS, OUTLIERS, ThresholdParams(rule="synthetic"))
        # Above 3.8: 6 of 8 and no false alarm, F1 12/14. Above 3.7: 7 and one, F1 14/16.
        assert detector.threshold == pytest.approx((3.7 + 3.75) / 2)

    def test_fixed(self):
        detector, _ = run(NORMALS, OUTLIERS, ThresholdParams(rule="fixed", value=-2.5))
        assert detector.threshold == -2.5


class TestHeatRange:
    def test_from_what_normals_stay_below_to_what_outliers_reach(self):
        detector, _ = run(NORMALS, OUTLIERS, ThresholdParams(), normal_map=1, outlier_map=9)
        assert detector.heat_range == pytest.approx((0.99, 8.91), abs=1e-4)

    def test_never_narrower_than_the_normals(self):
        detector, _ = run(NORMALS, OUTLIERS, ThresholdParams(), normal_map=1, outlier_map=1.2)
        assert detector.heat_range == pytest.approx((0.99, 1.98), abs=1e-4)


def test_padding_is_no_part_of_the_heat_range(make_detector, images):
    table = pd.DataFrame(
        {"path": list("abcde"), "label": 0, "defect_type": "good", "width": 10, "height": 4}
    )
    normals = ImageSet(table, images, None, {"resize": "pad"})
    outliers = ImageSet(table, 255 - images, None, {"resize": "pad"})
    detector = make_detector()
    scores = calibrate(detector, normals, outliers, ThresholdParams())["score"]
    quiet, loud = (detector.score(s.images, [(29, 0, 67, 96)] * 5) for s in (normals, outliers))
    np.testing.assert_array_equal(scores, [*quiet.scores, *loud.scores])
    low, high = (np.quantile(p.maps[:, 29:67], 0.99) for p in (quiet, loud))
    assert detector.heat_range == pytest.approx((low, max(high, 2 * low)))


def test_table_of_the_scores():
    _, table = run(NORMALS, OUTLIERS, ThresholdParams())
    assert list(table.columns) == ["path", "label", "defect_type", "score"]
    assert table["path"].tolist() == [f"good{i}.png" for i in range(39)] + [
        f"draem{i}.png" for i in range(8)
    ]
    assert table["label"].tolist() == [0] * 39 + [1] * 8
    np.testing.assert_allclose(table["score"], np.concatenate([NORMALS, OUTLIERS]), rtol=1e-6)
    assert table.index.tolist() == list(range(47))


def test_a_real_detector(make_detector, images):
    detector = make_detector()
    table = pd.DataFrame({"path": list("abcde"), "label": 0, "defect_type": "good"})
    normals = ImageSet(table, images, None, {})
    outliers = ImageSet(table.assign(label=1), 255 - images, None, {})
    scores = calibrate(detector, normals, outliers, ThresholdParams())["score"]
    assert detector.threshold == pytest.approx(scores[:5].max())
    low, high = detector.heat_range
    assert 0 < low < high
