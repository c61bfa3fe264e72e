import subprocess
import sys

import numpy as np
import pytest

from daf_pipelines.reporting import figures
from daf_pipelines.reporting.figures import (
    OUTLINE,
    colour_range,
    detections_figure,
    foreground_figure,
    outline,
    overlay,
    panels,
    progress_figure,
    show,
    synthesis_preview,
)
from daf_pipelines.sources.images import contents

SIZE = 16


def make_set(count, defective=()):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, SIZE, SIZE, 3), dtype=np.uint8)
    masks = np.zeros((count, SIZE, SIZE), dtype=np.uint8)
    for index in defective:
        masks[index, 3:8, 3:8] = 1
    maps = (rng.random(masks.shape) + masks).astype(np.float32)
    return images, maps, masks


def titles(figure):
    return [ax.get_title(loc="left") for ax in figure.axes if ax.get_title(loc="left")]


def rows_of(figure):
    """The panels with pictures by threes, down the first block and then down the second."""
    trios = [figure.axes[k : k + 3] for k in range(0, len(figure.axes), 3)]
    places = {id(trio[0]): trio[0].get_position(original=True) for trio in trios}
    shown = [trio for trio in trios if trio[0].images]
    return sorted(shown, key=lambda trio: (places[id(trio[0])].x0, -places[id(trio[0])].y0))


def outlines(figure):
    return sum(bool(ax.collections) for ax in figure.axes)


def draws(figure, tmp_path):
    figure.savefig(tmp_path / "figure.png")
    return 1_000 < (tmp_path / "figure.png").stat().st_size < 1_000_000


class TestOverlay:
    grey = np.full((2, 3, 3), 100, dtype=np.uint8)

    def test_below_low_shows_the_image_unchanged(self):
        heat = np.array([[0.0, 0.1, 0.2], [-5, 0.2, 0.2]])
        picture = overlay(self.grey, heat, low=0.2, high=1)
        assert picture.dtype == np.uint8
        np.testing.assert_array_equal(picture, self.grey)

    def test_colours_of_the_image_turn_grey(self):
        image = np.array([[[255, 0, 0], [0, 255, 0]]], dtype=np.uint8)
        picture = overlay(image, np.zeros((1, 2)), 0, 1)
        np.testing.assert_array_equal(picture, [[[76] * 3, [150] * 3]])

    def test_brighter_with_the_score_and_clipped_above_high(self):
        black = np.zeros((1, 5, 3), dtype=np.uint8)
        picture = overlay(black, np.array([[0, 0.25, 0.5, 1, 7]]), 0, 1)[0].astype(int)
        assert (np.diff(picture.sum(axis=-1)[:4]) > 30).all()
        np.testing.assert_array_equal(picture[3], picture[4])

    def test_floats_as_bytes(self):
        image, maps, _ = make_set(1)
        as_floats = overlay(image[0] / np.float32(255), maps[0], 0, 1)
        np.testing.assert_array_equal(as_floats, overlay(image[0], maps[0], 0, 1))

    @pytest.mark.parametrize("value", [0.0, 3.0])
    def test_constant_map(self, value):
        picture = overlay(self.grey, np.full((2, 3), value), value, value)
        np.testing.assert_array_equal(picture, self.grey)

    def test_sizes(self):
        with pytest.raises(ValueError, match="one size"):
            overlay(self.grey, np.zeros((3, 2)), 0, 1)


class TestColourRange:
    def test_quantiles(self):
        assert colour_range(np.linspace(0, 1, 1000).reshape(10, 10, 10)) == pytest.approx(
            (0.5, 0.998)
        )

    def test_the_sample_of_a_large_set_is_even(self):
        columns = np.tile(np.linspace(0, 1, 256, dtype=np.float32), (60, 256, 1))
        assert colour_range(columns) == pytest.approx((0.5, 0.998), abs=0.01)

    @pytest.mark.parametrize("pixels", [10**6, 1000, 37])
    def test_maps_of_different_sizes_count_by_their_pixels(self, pixels, monkeypatch):
        monkeypatch.setattr(figures, "SAMPLED_PIXELS", pixels)
        rng = np.random.default_rng(0)
        maps = [rng.random(rng.integers(1, 40, 2)) for _ in range(12)]
        flat = np.concatenate([m.ravel() for m in maps])
        sample = flat[:: flat.size // pixels | 1]
        assert colour_range(maps) == tuple(np.quantile(sample, [0.5, 0.998]))

    def test_no_maps(self):
        assert colour_range([]) == colour_range(np.empty((0, 4, 4))) == (0, 1)


def without_padding(arrays, boxes=((0, 0, SIZE, SIZE), (2, 0, 11, SIZE), (0, 5, SIZE, 9))):
    return contents(arrays, boxes)


class TestImagesOfDifferentSizes:
    def test_detections(self, tmp_path):
        images, maps, masks = (without_padding(a) for a in make_set(3, defective=(1, 2)))
        figure = detections_figure(images, maps, [0.1, 0.9, 0.8], [0, 1, 1], 0.5, masks=masks)
        shown = [ax.images[0].get_array().shape[:2] for ax in figure.axes]
        assert shown == [(SIZE, 4), (9, SIZE), (SIZE, 4), (9, SIZE)]
        assert draws(figure, tmp_path)

    def test_preview(self, tmp_path):
        images, _, masks = (without_padding(a) for a in make_set(3, defective=(0, 1, 2)))
        figure = synthesis_preview(images, images, masks)
        assert draws(figure, tmp_path)
        shown = [ax.images[0].get_array().shape[:2] for ax in figure.axes]
        assert shown == [image.shape[:2] for image in images for _ in range(3)]

    def test_foreground(self, tmp_path):
        images, _, masks = (without_padding(a) for a in make_set(3, defective=(0, 1, 2)))
        figure = foreground_figure(images, masks)
        shown = [ax.images[0].get_array().shape[:2] for ax in figure.axes if ax.images]
        assert shown == [(SIZE, SIZE), (9, SIZE), (SIZE, 4)]
        assert titles(figure) == ["9.8%", "17.4%", "23.4%"]  # 25, 25 and 15 pixels
        assert draws(figure, tmp_path)


class TestProgressFigure:
    @pytest.mark.parametrize("count", [1, 6])
    def test_outlier_mask_and_map(self, tmp_path, count):
        images, maps, masks = make_set(count, defective=range(count))
        figure = progress_figure(images, masks, maps, 250)
        assert "after 250 steps" in figure.texts[0].get_text()
        pictures = [np.asarray(ax.images[0].get_array()) for ax in figure.axes if ax.images]
        assert len(pictures) == 3 * count
        low, high = colour_range(maps)
        for index in range(count):
            outlier, mask, heat = pictures[3 * index : 3 * index + 3]
            assert np.array_equal(outlier, images[index])
            assert np.array_equal((mask == 255).all(-1), masks[index] == 1)
            assert np.array_equal(heat, overlay(images[index], maps[index], low, high))
        assert draws(figure, tmp_path)

    def test_without_padding(self, tmp_path):
        images, maps, masks = (without_padding(a) for a in make_set(3, defective=(0, 1, 2)))
        assert draws(progress_figure(images, masks, maps, 1), tmp_path)


class TestDetectionsFigure:
    def shown(self, count, scores, labels, **options):
        images, maps, masks = make_set(len(scores))
        figure = detections_figure(
            images, maps, scores, labels, 0.5, masks=masks, count=count, **options
        )
        return [ax.get_title() for ax in figure.axes if ax.get_title()], figure

    def test_only_true_detections_spread_over_their_scores(self, tmp_path):
        scores = np.array([0.9, 0.95, 0.6, 0.7, 0.3, 0.8, 1.0])
        labels = np.array([1, 0, 1, 1, 1, 1, 1])
        names, figure = self.shown(3, scores, labels)
        assert names == ["score 0.6", "score 0.8", "score 1"]
        assert draws(figure, tmp_path)

    def test_image_above_heatmap(self):
        images, maps, _ = make_set(2)
        _, figure = self.shown(5, [0.1, 0.9], [0, 1], defect_types=["good", "crack"])
        above, below = figure.axes
        assert above.get_title() == "crack · score 0.9"
        np.testing.assert_array_equal(above.images[0].get_array(), images[1])
        expected = overlay(images[1], maps[1], *colour_range(maps))
        np.testing.assert_array_equal(below.images[0].get_array(), expected)
        assert above.get_position().y0 > below.get_position().y1

    def test_nothing_detected(self, tmp_path):
        names, figure = self.shown(3, [0.9, 0.1], [0, 1])
        assert names == []
        assert figure.axes[0].texts[0].get_text() == "no defect detected"
        assert draws(figure, tmp_path)


class TestSynthesisPreview:
    @pytest.mark.parametrize("count", [1, 4, 7, 10])
    def test_rows_of_original_outlier_and_mask(self, count, tmp_path):
        originals, _, masks = make_set(count, defective=range(count))
        outliers = 255 - originals
        figure = synthesis_preview(originals, outliers, masks)
        rows = rows_of(figure)
        assert len(rows) == count
        expected = zip(originals, outliers, masks, strict=True)
        for row, (original, outlier, mask) in zip(rows, expected, strict=True):
            shown = [np.asarray(ax.images[0].get_array()) for ax in row]
            np.testing.assert_array_equal(shown[0], original)
            np.testing.assert_array_equal(shown[1], outlier)
            assert (shown[2][mask == 1] == 255).all()
            np.testing.assert_array_equal(shown[2][mask == 0], original[mask == 0] // 4)
            places = [ax.get_position() for ax in row]
            assert places[0].y0 == pytest.approx(places[1].y0) == pytest.approx(places[2].y0)
            assert places[0].x1 < places[1].x0 < places[1].x1 < places[2].x0
        assert draws(figure, tmp_path)

    def test_area_and_contrast_over_each_row(self):
        originals = np.full((2, SIZE, SIZE, 3), 100, dtype=np.uint8)
        outliers, masks = originals.copy(), np.zeros((2, SIZE, SIZE), dtype=np.uint8)
        masks[0, :4, :4] = masks[1] = 1
        outliers[0, :4, :4] = 49  # 51 of 255 less
        outliers[1, ..., 0] = 253  # 153 of 255 more, in one of three channels
        figure = synthesis_preview(originals, outliers, masks, "Strategy draem")
        assert titles(figure) == ["area 6.25 % · contrast 0.200", "area 100 % · contrast 0.200"]
        assert figure.texts[0].get_text() == "Strategy draem"

    def test_without_a_mask(self):
        originals, _, masks = make_set(1)
        assert titles(synthesis_preview(originals, originals, masks)) == ["area 0 %"]

    def test_floats(self):
        originals, _, masks = make_set(1, defective=[0])
        for images in (originals, originals / 255):
            figure = synthesis_preview(images, 1 - originals / 255, masks)
            shown = [np.asarray(ax.images[0].get_array()) for ax in figure.axes]
            np.testing.assert_array_equal(shown[0], originals[0])
            np.testing.assert_array_equal(shown[1], 255 - originals[0])


class TestOutline:
    def test_along_the_border_it_is_closed_and_keeps_the_panel(self):
        images, _, masks = make_set(1)
        masks[:] = 1
        _, ((ax,),) = panels(1, 1, group=1)
        show(ax, images[0])
        outline(ax, masks[0], width=0.5)
        (contour,) = ax.collections
        (path,) = contour.get_paths()
        corners = path.get_extents()
        assert (corners.x0, corners.x1) == (-0.5, SIZE - 0.5)
        assert ax.get_xlim() == (-0.5, SIZE - 0.5)
        assert contour.get_edgecolor()[0][1] == pytest.approx(int(OUTLINE[3:5], 16) / 255)
        assert contour.get_linewidth().tolist() == [0.5]


def test_panels_leave_room_at_the_left():
    for left in (0.08, 2):
        figure, ((ax,),) = panels(1, 1, group=1, side=1, left=left)
        width, _ = figure.get_size_inches()
        assert ax.get_position().x0 * width == pytest.approx(left)
        assert (1 - ax.get_position().x1) * width == pytest.approx(0.08)


class TestForegroundFigure:
    def shares(self, *rows):
        """Images of which so many rows are object."""
        images, _, masks = make_set(len(rows))
        for mask, count in zip(masks, rows, strict=True):
            mask[:count] = 1
        return images, masks

    def test_from_the_smallest_share_to_the_largest(self, tmp_path):
        images, masks = self.shares(16, 4, 0, 12, 8)
        figure = foreground_figure(images, masks, limit=3)
        assert titles(figure) == ["0.0%", "50.0%", "100.0%"]
        assert outlines(figure) == 2
        assert [text.get_text() for text in figure.texts] == [
            "Object: 50% of the picture (median)",
            "3 of 5 shown, by share; all is object in 1",
        ]
        assert draws(figure, tmp_path)

    @pytest.mark.parametrize(("count", "shown"), [(1, 1), (2, 2), (5, 5), (12, 12), (30, 12)])
    def test_at_most_twelve_each_once(self, count, shown, tmp_path):
        images, masks = self.shares(*[i % 17 for i in range(count)])
        figure = foreground_figure(images, masks)
        pictures = [
            np.asarray(ax.images[0].get_array()).tobytes() for ax in figure.axes if ax.images
        ]
        assert len(pictures) == len(set(pictures)) == shown
        assert draws(figure, tmp_path)

    @pytest.mark.parametrize("dtype", [np.uint8, bool])
    def test_the_object_shows_unchanged_and_the_rest_veiled(self, dtype):
        images, masks = self.shares(6)
        before = images.copy()
        picture = foreground_figure(images, masks.astype(dtype)).axes[0].images[0].get_array()
        np.testing.assert_array_equal(picture[:6], images[0, :6])
        veiled = (images[0, 6:].astype(int) + figures.VEIL) // 2
        np.testing.assert_array_equal(picture[6:], veiled)
        np.testing.assert_array_equal(images, before)

    def test_floats(self):
        images, masks = self.shares(SIZE)
        figure = foreground_figure(images / 255, masks)
        np.testing.assert_array_equal(figure.axes[0].images[0].get_array(), images[0])


def test_no_global_plotting_state_is_touched():
    code = "import sys, daf_pipelines.reporting; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
