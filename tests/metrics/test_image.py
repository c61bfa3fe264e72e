import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

import plain_metrics
from daf_pipelines.errors import MetricUndefinedError
from daf_pipelines.metrics import (
    image_ap,
    image_auroc,
    image_f1_max,
    image_precision_recall,
    image_recall,
    image_roc,
)


def recall_005(scores, labels):
    return image_recall(scores, labels, 0.05)


QUICK = settings(max_examples=40, deadline=None)
METRICS = [image_auroc, image_ap, image_f1_max, recall_005]
RATES = [0, 0.01, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.99]

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

    def test_recall(self):
        scores, labels = [1, 2, 3, 4, 0, 3, 3.5, 5], [0, 0, 0, 0, 1, 1, 1, 1]
        assert image_recall(scores, labels, 0) == 1 / 4
        assert image_recall(scores, labels, 0.24) == 1 / 4
        # One of four may be flagged: above 3, which is a normal image's score and a defect's.
        assert image_recall(scores, labels, 0.25) == 2 / 4
        assert image_recall(scores, labels, 0.5) == 3 / 4

    @pytest.mark.parametrize(("n_normal", "rate", "allowed"), [(100, 0.29, 29), (20, 0.05, 1)])
    def test_recall_counts_false_alarms_as_written(self, n_normal, rate, allowed):
        # 100 * 0.29 is 28.999... in floating point.
        scores = [*range(n_normal), *(np.arange(n_normal) + 0.5)]
        labels = [0] * n_normal + [1] * n_normal
        assert image_recall(scores, labels, rate) == (allowed + 1) / n_normal


class TestAgainstReferences:
    @QUICK
    @given(two_classes, st.sampled_from(RATES))
    def test_brute_force(self, rows, rate):
        scores, labels = map(np.array, zip(*rows, strict=True))
        positive = labels == 1
        assert image_auroc(scores, labels) == pytest.approx(plain_metrics.auroc(scores, positive))
        assert image_ap(scores, labels) == pytest.approx(plain_metrics.ap(scores, positive))
        assert image_recall(scores, labels, rate) == pytest.approx(
            plain_metrics.recall(scores, positive, rate), abs=1e-12
        )
        value, threshold = image_f1_max(scores, labels)
        assert value == pytest.approx(plain_metrics.f1_max(scores, positive))
        assert plain_metrics.f1(scores, positive, threshold) == pytest.approx(value)

    @QUICK
    @given(two_classes)
    def test_sklearn(self, rows):
        scores, labels = map(np.array, zip(*rows, strict=True))
        assert image_auroc(scores, labels) == pytest.approx(roc_auc_score(labels, scores))
        assert image_ap(scores, labels) == pytest.approx(average_precision_score(labels, scores))
        value, threshold = image_f1_max(scores, labels)
        assert value == pytest.approx(f1_score(labels, scores > threshold))

    @QUICK
    @given(two_classes)
    def test_areas_under_the_curves(self, rows):
        scores, labels = map(np.array, zip(*rows, strict=True))
        fpr, tpr = image_roc(scores, labels)
        assert np.trapezoid(tpr, fpr) == pytest.approx(image_auroc(scores, labels))
        recall, precision = image_precision_recall(scores, labels)
        assert (recall[0], recall[-1]) == (0, 1)
        steps = np.diff(recall) @ precision[1:]
        assert steps == pytest.approx(image_ap(scores, labels))


@pytest.mark.parametrize("metric", METRICS)
class TestInvariances:
    @QUICK
    @given(two_classes)
    def test_increasing_transforms(self, metric, rows):
        scores, labels = map(np.array, zip(*rows, strict=True))
        assert first(metric(np.exp(scores) - 9, labels)) == first(metric(scores, labels))

    @QUICK
    @given(two_classes, st.randoms(use_true_random=False))
    def test_order_of_the_images(self, metric, rows, random):
        shuffled = random.sample(rows, len(rows))
        values = [first(metric(*map(np.array, zip(*r, strict=True)))) for r in (rows, shuffled)]
        assert values[0] == pytest.approx(values[1], abs=1e-12)

    @QUICK
    @given(two_classes)
    def test_between_zero_and_one(self, metric, rows):
        assert 0 <= first(metric(*map(np.array, zip(*rows, strict=True)))) <= 1


def first(found):
    """The value, without the threshold."""
    return found[0] if isinstance(found, tuple) else found


@pytest.mark.parametrize("metric", METRICS)
class TestErrors:
    def test_one_class(self, metric):
        with pytest.raises(MetricUndefinedError, match="no anomalous test"):
            metric([0.1, 0.2], [0, 0])
        with pytest.raises(MetricUndefinedError, match="no normal test"):
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


@pytest.mark.parametrize("rate", [-0.1, 1, 1.5])
def test_recall_at_an_impossible_rate(rate):
    with pytest.raises(ValueError, match="false-positive rate"):
        image_recall([1, 2], [0, 1], rate)
