import numpy as np
import pandas as pd
import pytest

from daf_pipelines.reporting.plots import mask_statistics_figure


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
