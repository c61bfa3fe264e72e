from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from daf_pipelines.errors import DataError
from daf_pipelines.parameters import ThresholdParams
from daf_pipelines.scoring.calibration import calibrate
from daf_pipelines.scoring.detector import Prediction
from daf_pipelines.sources.image_set import ImageSet


class Known:
    """A detector whose answers are given: by the first pixel, an image's position in its set."""

    def __init__(self, normal_scores, outlier_scores, normal_map=1.0, outlier_map=9.0):
        self.answers = {0: (normal_scores, normal_map), 1: (outlier_scores, outlier_map)}

    def score(self, images, boxes):
        assert boxes == [(0, 0, 4, 4)] * len(images)
        if not len(images):
            return Prediction(np.empty(0, np.float32), np.empty((0, 4, 4), np.float32))
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


def run(normals, outliers, image=None, pixel=None, **maps):
    detector = Known(normals, outliers, **maps)
    params = ThresholdParams(image=image or {}, pixel=pixel or {})
    table = calibrate(detector, image_set(len(normals), 0), image_set(len(outliers), 1), params)
    return detector, table


NORMALS = np.random.default_rng(0).permutation(39) / 10
OUTLIERS = np.array([2.05, 3.75, 5, 6, 7, 8, 9, 10.0])


class TestImageThreshold:
    def test_quantile_of_the_normals(self):
        detector, _ = run(NORMALS, OUTLIERS, {"false_positive_rate": 0.05})
        # The 38th of 39, ceil(40 x 0.95).
        assert detector.image.threshold == pytest.approx(3.7)
        assert (detector.image.threshold < NORMALS).mean() <= 0.05
        assert detector.image.typical == pytest.approx(np.median(NORMALS))

    def test_best_f1_between_normals_and_synthetic_outliers(self):
        detector, _ = run(NORMALS, OUTLIERS, {"rule": "synthetic"})
        # Above 3.8: 6 of 8 and no false alarm, F1 12/14. Above 3.7: 7 and one, F1 14/16.
        assert detector.image.threshold == pytest.approx((3.7 + 3.75) / 2)

    def test_fixed(self):
        detector, _ = run(NORMALS, OUTLIERS, {"rule": "fixed", "value": -2.5})
        assert detector.image.threshold == -2.5

    def test_fixed_without_held_out_images(self):
        fixed = {"rule": "fixed", "value": 2.0}
        detector, _ = run([], OUTLIERS, fixed, fixed)
        assert (detector.image(2.0), detector.image(4.0)) == (0.5, 0.75)

    def test_no_held_out_images(self):
        with pytest.raises(DataError, match="held-out normal images"):
            run([], OUTLIERS)

    def test_a_model_that_has_diverged(self):
        with pytest.raises(DataError, match=r"2 of 39 .* training has diverged"):
            run([*NORMALS[:37], np.nan, np.inf], OUTLIERS)


class TestPixelThreshold:
    def test_few_normal_images_have_any_pixel_above(self):
        # Largest pixels of the 39 images are evenly spaced up to 1; the 36th is the threshold.
        detector, _ = run(NORMALS, OUTLIERS, pixel={"false_positive_rate": 0.1})
        peaks = np.linspace(0, 1, 39 * 16, dtype=np.float32).reshape(39, 16).max(axis=1)
        assert detector.pixel.threshold == pytest.approx(peaks[35])
        assert (peaks > detector.pixel.threshold).sum() == 3
        assert detector.pixel.typical == pytest.approx(np.median(peaks))

    def test_best_f1_over_pixels(self):
        masks = np.zeros((8, 4, 4), np.uint8)
        masks[4:] = 1  # the upper half of the outliers' linear scores
        detector = Known(NORMALS, OUTLIERS)
        outliers = replace(image_set(8, 1), masks=masks)
        params = ThresholdParams(pixel={"rule": "synthetic"})
        calibrate(detector, image_set(39, 0), outliers, params)
        maps = np.linspace(0, 9, 128, dtype=np.float32).reshape(8, 4, 4)
        assert ((maps > detector.pixel.threshold) == masks).all()

    def test_synthetic_without_masks(self):
        with pytest.raises(DataError, match="no masks"):
            run(NORMALS, OUTLIERS, pixel={"rule": "synthetic"})


class TestAllRules:
    def test_each_is_recorded(self):
        fixed = {"rule": "fixed", "value": 7.0, "false_positive_rate": 0.1}
        detector, _ = run(NORMALS, OUTLIERS, fixed)
        assert list(detector.thresholds) == ["image", "pixel"]
        assert detector.thresholds["image"] == {
            "fixed": 7.0,
            "normals": pytest.approx(3.5),
            "synthetic": pytest.approx((3.7 + 3.75) / 2),
        }

    def test_one_that_lacks_what_it_needs_is_left_out(self):
        detector, _ = run(NORMALS, [])
        assert list(detector.thresholds["image"]) == ["normals"]
        assert list(detector.thresholds["pixel"]) == ["normals"]  # there are no masks

    def test_too_few_normals_say_so_once(self, caplog):
        run(NORMALS[:18], OUTLIERS)
        (record,) = caplog.records
        assert "18 held-out" in record.getMessage()
        assert "At least 19 are needed" in record.getMessage()
        caplog.clear()
        run(NORMALS[:19], OUTLIERS)
        assert not caplog.records


class TestHeat:
    def test_begins_above_nearly_all_normal_pixels(self):
        detector, _ = run(NORMALS, OUTLIERS)
        low = np.quantile(np.linspace(0, 1, 39 * 16, dtype=np.float32), 0.99)
        assert detector.heat_from == pytest.approx(min(float(detector.pixel(low)), 0.45))

    def test_there_is_some_at_the_threshold(self):
        fixed = {"rule": "fixed", "value": 0.1}  # most normal pixels are above
        detector, _ = run(NORMALS, OUTLIERS, pixel=fixed)
        assert detector.heat_from == 0.45


def test_padding_is_no_part_of_what_is_calibrated(make_detector, images):
    table = pd.DataFrame(
        {"path": list("abcde"), "label": 0, "defect_type": "good", "width": 10, "height": 4}
    )
    normals = ImageSet(table, images, None, {"resize": "pad"})
    outliers = ImageSet(table, 255 - images, None, {"resize": "pad"})
    detector = make_detector()
    scores = calibrate(detector, normals, outliers, ThresholdParams())["raw_score"]
    quiet, loud = (detector.score(s.images, [(29, 0, 67, 96)] * 5) for s in (normals, outliers))
    np.testing.assert_array_equal(scores, [*quiet.scores, *loud.scores])
    peaks = quiet.maps[:, 29:67].max(axis=(1, 2))
    assert detector.pixel.threshold == pytest.approx(peaks.max())
    low = detector.pixel(np.quantile(quiet.maps[:, 29:67], 0.99))
    assert detector.heat_from == pytest.approx(min(float(low), 0.45))


def test_table_of_the_scores():
    _, table = run(NORMALS, OUTLIERS)
    assert list(table.columns) == ["path", "label", "defect_type", "score", "raw_score"]
    assert table["path"].tolist() == [f"good{i}.png" for i in range(39)] + [
        f"draem{i}.png" for i in range(8)
    ]
    assert table["label"].tolist() == [0] * 39 + [1] * 8
    scores = np.concatenate([NORMALS, OUTLIERS])
    np.testing.assert_allclose(table["raw_score"], scores, rtol=1e-6)
    assert ((table["score"] > 0.5) == (scores > 3.72)).all()
    assert table.index.tolist() == list(range(47))


def test_a_real_detector(make_detector, images):
    detector = make_detector()
    table = pd.DataFrame({"path": list("abcde"), "label": 0, "defect_type": "good"})
    normals = ImageSet(table, images, None, {})
    outliers = ImageSet(table.assign(label=1), 255 - images, None, {})
    scores = calibrate(detector, normals, outliers, ThresholdParams())["raw_score"]
    assert detector.image.threshold == pytest.approx(scores[:5].max())
    assert 0 < detector.heat_from <= 0.45
