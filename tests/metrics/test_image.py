import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from daf_pipelines.errors import MetricUndefinedError
from daf_pipelines.metrics import image_ap, image_auroc, image_f1_max

METRICS = [image_auroc, image_ap, image_f1_max]

# Few distinct scores, so that most sets have ties within and across the classes.
two_classes = st.lists(
    st.tuples(st.integers(0, 6).map(lambda i: i / 4), st.integers(0, 1)), min_size=2, max_size=20
).filter(lambda rows: len({label for _, label in rows}) == 2)


class TestHandComputed:
    def test_perfect_separation(self):
        scores, labels = [0.1, 0.2, 0.8, 0.9], [0, 0, 1, 1]
        assert image_auroc(scores, labels) == 1
        assert image_ap(scores, labels) == 1
        assert image_f1_max(scores, labels) == (1, pytest.approx(0.5))

    def test_one_inversion(self):
        scores, labels = [1, 2, 3, 4], [0, 1, 0, 1]
        assert image_auroc(scores, labels) == pytest.approx(3 / 4)
        assert image_ap(scores, labels) == pytest.approx((1 + 2 / 3) / 2)
        # Above 3.5: F1 = 2/3; above 1.5: two hits, one false alarm, F1 = 4/5.
        assert image_f1_max(scores, labels) == (pytest.approx(0.8), 1.5)

    def test_all_tied(self):
        scores, labels = [5, 5, 5, 5], [0, 0, 0, 1]
        assert image_auroc(scores, labels) == 0.5
        assert image_ap(scores, labels) == 0.25
        f1, threshold = image_f1_max(scores, labels)
        assert f1 == pytest.approx(2 / 5)
        assert threshold < 5

    def test_f1_takes_the_lowest_of_equally_good_thresholds(self):
        # Above 3.5: 2 * 1 / (1 + 2); above 0.5, everything: 2 * 2 / (4 + 2). Both are 2/3.
        f1, threshold = image_f1_max([4, 3, 2, 1], [1, 0, 0, 1])
        assert f1 == pytest.approx(2 / 3)
        assert threshold < 1

    def test_threshold_separates_neighbouring_floats(self):
        low = 1.0
        high = np.nextafter(low, 2)
        f1, threshold = image_f1_max([low, high], [0, 1])
        assert f1 == 1
        assert low <= threshold < high


class TestAgainstReferences:
    @settings(max_examples=40)
    @given(two_classes)
    def test_auroc_and_ap(self, rows):
        scores, labels = map(np.array, zip(*rows, strict=True))
        assert image_auroc(scores, labels) == pytest.approx(roc_auc_score(labels, scores))
        assert image_ap(scores, labels) == pytest.approx(average_precision_score(labels, scores))

    @settings(max_examples=40)
    @given(two_classes)
    def test_f1_max_is_the_best_of_all_thresholds(self, rows):
        scores, labels = map(np.array, zip(*rows, strict=True))
        candidates = [f1_score(labels, scores > t) for t in [-1, *scores[scores < scores.max()]]]
        f1, threshold = image_f1_max(scores, labels)
        assert f1 == pytest.approx(max(candidates))
        assert f1_score(labels, scores > threshold) == pytest.approx(f1)


@pytest.mark.parametrize("metric", METRICS)
class TestErrors:
    def test_one_class(self, metric):
        with pytest.raises(MetricUndefinedError, match="all normal"):
            metric([0.1, 0.2], [0, 0])
        with pytest.raises(MetricUndefinedError, match="all anomalous"):
            metric([0.1, 0.2], [1, 1])

    def test_empty(self, metric):
        with pytest.raises(MetricUndefinedError, match="no test images"):
            metric([], [])

    def test_not_finite(self, metric):
        with pytest.raises(ValueError, match="1 of 2 scores are not finite"):
            metric([0.1, np.nan], [0, 1])

    def test_shapes(self, metric):
        with pytest.raises(ValueError, match="one shape"):
            metric([0.1, 0.2, 0.3], [0, 1])
