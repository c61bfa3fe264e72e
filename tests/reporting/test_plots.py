import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from daf_pipelines.reporting import (
    loss_curves,
    mask_statistics_figure,
    precision_recall_figure,
    roc_curve_figure,
    score_histogram,
)


@pytest.fixture
def scored():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], [40, 25])
    return rng.normal(size=65) + labels, labels


def legend(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def draws(figure, tmp_path):
    """Rendering the figure succeeds, and makes a file of modest size."""
    figure.savefig(tmp_path / "figure.png")
    return 1_000 < (tmp_path / "figure.png").stat().st_size < 1_000_000


class TestScoreHistogram:
    def test_counts_of_classes_and_mistakes(self, tmp_path):
        figure = score_histogram([0.1, 0.2, 0.9, 0.4, 0.8], [0, 0, 0, 1, 1], threshold=0.5)
        assert legend(figure) == [
            "normal: 3, false alarms: 1",
            "anomalous: 2, missed: 1",
            "threshold 0.5",
        ]
        assert draws(figure, tmp_path)

    def test_a_score_on_the_threshold_is_normal(self):
        assert legend(score_histogram([0.5], [1], 0.5))[1] == "anomalous: 1, missed: 1"

    def test_every_image_is_in_a_bar(self, scored):
        scores, labels = scored
        (ax,) = score_histogram(scores, labels, threshold=9.0).axes
        heights = sum(bar.get_height() for bars in ax.containers for bar in bars)
        assert heights == len(scores)

    def test_one_class_with_one_value(self, tmp_path):
        assert draws(score_histogram([0.3, 0.3], [0, 0], 0.3), tmp_path)


class TestCurves:
    def test_roc(self, scored, tmp_path):
        scores, labels = scored
        figure = roc_curve_figure(scores, labels)
        (ax,) = figure.axes
        x, y = ax.lines[1].get_data()
        assert np.trapezoid(y, x) == pytest.approx(roc_auc_score(labels, scores))
        assert ax.get_title() == f"image AUROC {roc_auc_score(labels, scores):.3f}"
        assert draws(figure, tmp_path)

    def test_precision_recall(self, scored, tmp_path):
        scores, labels = scored
        figure = precision_recall_figure(scores, labels)
        (ax,) = figure.axes
        steps = ax.lines[1]
        recall, precision = steps.get_data()
        assert steps.get_drawstyle() == "steps-post"  # each precision from its recall to the next
        area = -np.sum(np.diff(recall) * precision[:-1])
        assert area == pytest.approx(average_precision_score(labels, scores))
        assert ax.lines[0].get_ydata()[0] == pytest.approx(25 / 65)
        assert draws(figure, tmp_path)

    @pytest.mark.parametrize("make", [roc_curve_figure, precision_recall_figure])
    def test_one_class_gives_the_reason(self, make):
        (ax,) = make([0.1, 0.2], [0, 0]).axes
        assert "the test images are all normal" in ax.texts[0].get_text()
        assert not ax.lines


class TestLossCurves:
    def test_one_panel_a_term(self, tmp_path):
        steps = np.arange(1, 101)
        history = pd.DataFrame(
            {"step": steps, "phase": "decoder", "total": 1 / steps, "segmentation": 2 / steps}
        )
        figure = loss_curves(history)
        assert [ax.get_title() for ax in figure.axes] == ["total", "segmentation"]
        recorded, smooth = figure.axes[0].lines
        np.testing.assert_array_equal(recorded.get_xdata(), steps)
        np.testing.assert_array_equal(recorded.get_ydata(), 1 / steps)
        assert smooth.get_ydata()[50] == pytest.approx(np.mean(1 / steps[48:53]), rel=0.05)
        assert draws(figure, tmp_path)

    def test_one_step(self, tmp_path):
        assert draws(loss_curves(pd.DataFrame({"step": [1], "total": [0.5]})), tmp_path)

    def test_no_step(self, tmp_path):
        empty = pd.DataFrame({"step": [], "total": []}, dtype=float)
        assert len(loss_curves(empty).axes) == 1


class TestMaskStatistics:
    positions = np.linspace(0, 0.5, 16).reshape(4, 4)

    def figure(self, **columns):
        table = {"area": [0.001, 0.01, 0.1], "regions": [1, 2, 7], "contrast": [0.1, 0.25, 0.3]}
        table |= {"centroid_x": 0.5} | columns
        return mask_statistics_figure(pd.DataFrame(table), self.positions)

    def test_medians(self, tmp_path):
        figure = self.figure()
        assert [ax.get_title() for ax in figure.axes[:4]] == [
            "area: median 1 %",
            "count: median 2",
            "contrast: median 0.250",
            "position: masks that cover a place",
        ]
        places = [ax.lines[0].get_xdata()[0] for ax in figure.axes[:3]]
        assert places == [1, 2, 0.25]
        assert draws(figure, tmp_path)

    def test_every_mask_counts(self):
        rng = np.random.default_rng(0)
        figure = self.figure(
            area=10 ** rng.uniform(-5, 0, 100),
            regions=rng.integers(1, 200, 100),
            contrast=rng.random(100),
            centroid_x=0.5,
        )
        counts = [sum(bar.get_height() for bar in ax.patches) for ax in figure.axes[:3]]
        assert counts == [100, 100, 100]

    def test_areas_on_a_logarithmic_scale(self):
        area = self.figure().axes[0]
        assert area.get_xscale() == "log"
        heights = [bar.get_height() for bar in area.patches]
        assert [k for k, height in enumerate(heights) if height] == [0, 12, len(heights) - 1]

    def test_one_bin_per_region(self):
        heights = [bar.get_height() for bar in self.figure().axes[1].patches]
        assert heights == [1, 1, 0, 0, 0, 0, 1]

    def test_position_is_a_map_from_the_top_left(self):
        position, bar = self.figure().axes[3:]
        (image,) = position.images
        np.testing.assert_array_equal(image.get_array(), 100 * self.positions)
        assert image.get_clim() == (0, 50)
        assert position.get_ylim() == (1, 0)
        assert bar.yaxis.get_major_formatter()(12.5) == "12.5 %"

    @pytest.mark.parametrize("area", [1.0, 1e-6])
    def test_one_mask(self, area, tmp_path):
        figure = self.figure(area=[area], regions=[1], contrast=[0.0])
        assert draws(figure, tmp_path)
