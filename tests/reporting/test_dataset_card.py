import warnings

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from daf_pipelines.parameters import DatasetParams
from daf_pipelines.reporting.dataset_card import COLUMNS, dataset_card, draw_sizes, thumbnail
from daf_pipelines.reporting.dataset_overview import Sample, choose_samples
from daf_pipelines.reporting.plots import ANOMALOUS, NEUTRAL, NORMAL
from daf_pipelines.sources.images import read_image, read_mask
from ingested import build_manifest

COUNTS = {("good", "train"): 5, ("good", "test"): 2, ("dent", "test"): 3, ("odd", "excluded"): 1}
HOSTILE = (r"$\frac$ <b>", "划痕 🙂", "a" * 300, "two\nlines", "\u202e")


def pictures(figure):
    return [ax for ax in figure.axes if ax.images]


def table(figure):
    (ax,) = (ax for ax in figure.axes if "total" in [text.get_text() for text in ax.texts])
    return ax.texts


def areas(figure):
    (ax,) = (ax for ax in figure.axes if ax.get_xscale() == "log")
    return ax


def words(texts):
    return [text.get_text() for text in texts]


def draws(figure, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure.savefig(tmp_path / "card.png")
    return (tmp_path / "card.png").stat().st_size > 1_000


@pytest.fixture
def make_card(make_manifest, make_samples, no_findings):
    def make(counts, findings=no_findings, title="bolts", per_type=8, **options):
        manifest = make_manifest(counts, **options)
        samples = make_samples(manifest, choose_samples(manifest, per_type))
        return dataset_card(manifest, samples, findings, title)

    return make


class TestDatasetCard:
    def test_table_of_counts(self, make_card):
        texts = table(make_card(COUNTS))
        cells = words(texts)
        assert cells[:4] == ["train", "test", "excluded", "total"]
        assert cells[4:9] == ["good", "5", "2", "–", "7"]
        assert cells[9:14] == ["dent", "–", "3", "–", "3"]
        assert cells[14:] == ["odd", "–", "–", "1", "1"]
        assert [texts[k].get_color() for k in (4, 9, 14)] == [NORMAL, ANOMALOUS, NEUTRAL]

    def test_pictures_with_their_splits_and_outlines(self, make_card):
        figure = make_card(COUNTS, coverage={"dent": [0.1, 0.2]})
        shown = pictures(figure)
        splits = [ax.get_title(loc="left") for ax in shown]
        assert splits == ["train"] * 5 + ["test"] * 5 + ["excluded"]
        assert [bool(ax.collections) for ax in shown] == [False] * 7 + [True] * 2 + [False] * 2

    def test_names_and_numbers_over_the_pictures(self, make_card):
        figure = make_card(COUNTS | {("good", "train"): 1200})
        names = words(figure.texts[2:])
        assert names == ["good · 1,202", "dent · 3", "odd · 1"]

    def test_a_type_starts_a_new_row_rather_than_breaking(self, make_card):
        shown = pictures(
            make_card({("good", "train"): 5, ("dent", "test"): 4, ("hole", "test"): 2})
        )
        places = [ax.get_position(original=True) for ax in shown]
        rows = np.unique([-place.y0 for place in places], return_inverse=True)[1]
        assert rows.tolist() == [0] * 5 + [1] * 6
        lefts = [place.x0 for place in places]
        assert lefts[0] == lefts[5]
        assert lefts[9] > lefts[8]

    def test_more_of_a_type_than_fit_into_a_row(self, make_manifest, make_samples, no_findings):
        manifest = make_manifest({("good", "train"): COLUMNS + 2})
        samples = make_samples(manifest, range(COLUMNS + 2))
        assert len(pictures(dataset_card(manifest, samples, no_findings, "t"))) == COLUMNS + 2

    def test_areas(self, make_card):
        figure = make_card(COUNTS, coverage={"dent": [0.1, 0.02, 0.01]})
        marks, median = areas(figure).lines
        np.testing.assert_allclose(marks.get_xdata(), [0.01, 0.02, 0.1])
        assert set(marks.get_ydata()) == {1}  # beside the second row of the table
        assert median.get_xdata() == [0.02]

    def test_many_areas_keep_their_range_and_median(self, make_card):
        values = np.geomspace(1e-6, 1, 1001)
        counts = {("good", "train"): 2, ("dent", "test"): 1001}
        marks, median = areas(make_card(counts, coverage={"dent": values})).lines
        assert len(marks.get_xdata()) == 200
        assert marks.get_xdata()[[0, -1]] == pytest.approx([1e-6, 1])
        assert median.get_xdata()[0] == pytest.approx(1e-3)

    def test_no_masks(self, make_card, tmp_path):
        figure = make_card(COUNTS)
        assert ["no masks of defects"] in [words(ax.texts) for ax in figure.axes]
        assert draws(figure, tmp_path)

    def test_title_and_note(self, make_card):
        findings = pd.DataFrame({"severity": ["warning", "error"]})
        figure = make_card(COUNTS, findings, coverage={"dent": [0.1]})
        assert words(figure.texts[:2]) == [
            "bolts",
            "11 images; all 30 × 20 pixels, RGB; the checks found 1 error and 1 warning; "
            "outline: mask of the defect",
        ]

    def test_of_many_types_the_most_frequent(self, make_card):
        many = {(f"type {k:02}", "test"): 40 - k for k in range(40)}
        figure = make_card({("good", "train"): 2} | many, per_type=1)
        cells = words(table(figure))
        assert "type 22" in cells
        assert "type 23" not in cells
        assert cells[-4:] == ["other types: 17", "–", "153", "153"]
        assert words(figure.texts)[1].endswith("types not pictured, the rarest: 17")
        assert len(pictures(figure)) == 24

    @pytest.mark.parametrize(
        "counts", [{}, {("good", "train"): 1}, {(f"t{k}", "test"): 1 for k in range(9)}]
    )
    def test_little_data(self, counts, make_card, tmp_path):
        figure = make_card(counts)
        assert len(pictures(figure)) == sum(counts.values())
        assert draws(figure, tmp_path)

    def test_any_name(self, make_card, tmp_path):
        counts = {("good", "train"): 2} | {(name, "test"): 1 for name in HOSTILE}
        figure = make_card(counts, title="$\\x$ \udcff划" + "b" * 500)
        assert len(pictures(figure)) == 2 + len(HOSTILE)
        assert draws(figure, tmp_path)

    def test_real_images(self, toothbrushes, no_findings, tmp_path):
        params = DatasetParams(source="mvtec_ad", root=toothbrushes)
        manifest = build_manifest(params, seed=0)
        samples = [
            Sample(
                row.path,
                row.split,
                row.defect_type,
                read_image(toothbrushes / row.path),
                None if pd.isna(row.mask_path) else read_mask(toothbrushes / row.mask_path),
            )
            for row in manifest.iloc[choose_samples(manifest)].itertuples()
        ]
        figure = dataset_card(manifest, samples, no_findings, "toothbrush")
        assert sum(bool(ax.collections) for ax in pictures(figure)) == 5
        assert draws(figure, tmp_path)


class TestDrawSizes:
    def dots(self, make_manifest, counts, sizes):
        ax = Figure().add_subplot()
        draw_sizes(ax, make_manifest(counts, size=sizes))
        return ax.collections

    def test_a_dot_for_each_size_and_kind(self, make_manifest):
        counts = {("good", "train"): 3, ("dent", "test"): 2}
        sizes = [(30, 20), (30, 20), (40, 50), (30, 20), (10, 60)]
        normal, anomalous = self.dots(make_manifest, counts, sizes)
        assert normal.get_offsets().tolist() == [[30, 20], [40, 50]]
        assert anomalous.get_offsets().tolist() == [[30, 20], [10, 60]]
        assert normal.get_facecolor()[0][:3].tolist() == list(to_rgba(NORMAL)[:3])

    def test_dots_on_one_another_are_drawn_once(self, make_manifest):
        sizes = [(1000, 1000), (1001, 1001), (1000 + 20, 1000)]
        (normal,) = self.dots(make_manifest, {("good", "train"): 3}, sizes)
        assert normal.get_offsets().tolist() == [[1000, 1000], [1020, 1000]]


class TestThumbnail:
    def sample(self, height, width, defect):
        picture = np.full((height, width, 3), 77, dtype=np.uint8)
        mask = np.zeros((height, width), dtype=np.uint8)
        mask[defect] = 255
        return Sample("a.png", "test", "dent", picture, mask)

    def test_fits_and_keeps_its_proportions(self):
        picture, mask = thumbnail(self.sample(400, 1000, (0, 0)), 100)
        assert picture.shape == (40, 100, 3)
        assert mask.shape == (40, 100)
        assert (picture == 77).all()

    @pytest.mark.parametrize("defect", [(0, 0), (1234, 987), (1999, 1799)])
    def test_a_defect_of_one_pixel_stays(self, defect):
        _, mask = thumbnail(self.sample(2000, 1800, defect), 100)
        assert mask.dtype == np.uint8
        assert np.argwhere(mask).tolist() == [[defect[0] // 20, defect[1] // 20]]
        assert mask.max() == 1

    def test_small_and_very_long_images(self):
        assert thumbnail(self.sample(7, 5, (0, 0)), 100)[0].shape == (7, 5, 3)
        assert thumbnail(self.sample(1, 5000, (0, 0)), 100)[0].shape == (1, 100, 3)
