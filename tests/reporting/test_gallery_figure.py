import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.image import imread

from daf_pipelines.reporting.gallery import gallery_figure, recipe
from daf_pipelines.reporting.names import drawable
from daf_pipelines.synthesis import Mixture, Operator, Strategy
from daf_pipelines.synthesis.blending import opacity_blending
from daf_pipelines.synthesis.contents import plain_texture
from daf_pipelines.synthesis.masks import perlin_mask

STRATEGY = Strategy(
    Operator(perlin_mask), Operator(plain_texture), Operator(opacity_blending), "A description."
)
RECIPE = ["perlin", "× plain texture", "× opacity"]


def on(**changes):
    return Strategy(**(vars(STRATEGY) | changes))


def rows_of(figure, columns):
    return [figure.axes[k : k + columns] for k in range(0, len(figure.axes), columns)]


def texts_beside(figure, ax):
    """The texts left of a panel, from top to bottom."""
    place = ax.get_position(original=True)
    return [text for text in figure.texts if place.y0 < text.get_position()[1] <= place.y1]


def words_beside(figure, ax):
    return [text.get_text() for text in texts_beside(figure, ax)]


class TestFigure:
    @pytest.mark.parametrize(("strategies", "images"), [(1, 1), (2, 3), (16, 6)])
    def test_a_row_for_each_strategy_below_the_normal_images(
        self, strategies, images, make_gallery, tmp_path
    ):
        names = [f"s{k}" for k in range(strategies)]
        gallery = make_gallery(names, [f"{k}.png" for k in range(images)])
        figure = gallery_figure(gallery, "bolts")
        first, *rows = rows_of(figure, images)
        expected = [gallery.originals, *(gallery.exhibits[name].outliers for name in names)]
        for row, pictures in zip([first, *rows], expected, strict=True):
            assert len(row) == images
            for ax, picture in zip(row, pictures, strict=True):
                np.testing.assert_array_equal(ax.images[0].get_array(), picture)
        tops = [row[0].get_position().y1 for row in (first, *rows)]
        assert tops == sorted(tops, reverse=True)
        assert [words_beside(figure, row[0])[0] for row in (first, *rows)] == [
            "normal images",
            *names,
        ]
        assert figure.texts[0].get_text() == "bolts"
        figure.savefig(tmp_path / "figure.png")
        assert imread(tmp_path / "figure.png").shape[0] > 150 * strategies

    def test_normal_images_have_their_names(self, make_gallery):
        figure = gallery_figure(make_gallery(names=["x/y/one.png", "two.png"]), "")
        assert [ax.get_title() for ax in figure.axes] == ["one.png", "two.png", *[""] * 4]

    def test_thin_outlines_around_the_masks(self, make_gallery):
        gallery = make_gallery()
        figure = gallery_figure(gallery, "bolts")
        first, *rows = rows_of(figure, 3)
        assert not any(ax.collections for ax in first)
        for row, exhibit in zip(rows, gallery.exhibits.values(), strict=True):
            for ax, mask in zip(row, exhibit.masks, strict=True):
                (contour,) = ax.collections
                assert contour.get_linewidth()[0] < 0.7
                corners = contour.get_paths()[0].get_extents()
                y, x = np.nonzero(mask)
                # Two pixels outside of the mask, and half a pixel more to the edge of that one.
                assert (corners.x0, corners.x1) == (x.min() - 2.5, x.max() + 2.5)
                assert (corners.y0, corners.y1) == (y.min() - 2.5, y.max() + 2.5)

    def test_large_images_are_drawn_smaller(self, make_gallery):
        figure = gallery_figure(make_gallery(size=(300, 512)), "bolts")
        assert {ax.images[0].get_array().shape for ax in figure.axes} == {(150, 256, 3)}

    def test_what_a_strategy_is_and_its_statistics(self, make_gallery):
        figure = gallery_figure(make_gallery({"perlin": STRATEGY}), "bolts")
        assert words_beside(figure, figure.axes[3]) == [
            "perlin",
            "\n".join(RECIPE),
            "area 5.1 % (0.2 to 13 %)\nregions 3.25, contrast 0.125, 12 ms",
        ]

    def test_labels_stay_left_of_the_pictures_and_within_their_rows(self, make_gallery):
        many = Mixture(
            {f"a_long_name_{k}": STRATEGY for k in range(20)},
            {f"a_long_name_{k}": 1 for k in range(20)},
            "Many.",
        )
        full = on(foreground="object", area=(0.001, 0.015), repeats=5)
        figure = gallery_figure(make_gallery({"n" * 80: many, "full": full}), "bolts")
        renderer = FigureCanvasAgg(figure).get_renderer()
        for row in rows_of(figure, 3)[1:]:
            panel = row[0].get_window_extent(renderer)
            texts = texts_beside(figure, row[0])
            assert len(texts) == 3
            for text in texts:
                box = text.get_window_extent(renderer)
                assert box.x1 < panel.x0
                assert panel.y0 < box.y0 < box.y1 < panel.y1 + 1

    def test_any_name(self, make_gallery, tmp_path):
        name = "$a$ <b> 划痕"
        figure = gallery_figure(make_gallery({name: STRATEGY}, names=["\udcff.png"]), name)
        assert words_beside(figure, figure.axes[1])[0] == drawable(name)
        figure.savefig(tmp_path / "figure.png")


class TestRecipe:
    @pytest.mark.parametrize(
        ("changes", "more"),
        [
            ({}, []),
            ({"foreground": "object"}, ["on the object"]),
            ({"area": (0.001, 0.0123)}, ["masks of 0.1 % to 1.2 %"]),
            ({"repeats": 3}, ["up to 3 times"]),
        ],
    )
    def test_of_a_strategy(self, changes, more):
        assert recipe(on(**changes)) == RECIPE + more

    def test_of_a_mixture(self):
        mixture = Mixture({"x": STRATEGY, "y": STRATEGY}, {"x": 1, "y": 3}, "Both.")
        assert recipe(mixture) == ["one of: x 25 %, y 75 %"]
