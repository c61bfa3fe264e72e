"""The gallery of strategies."""

import numpy as np
import pandas as pd
import pytest
import torch

from daf_pipelines.sources.image_set import ImageSet
from daf_pipelines.synthesis import STRATEGIES, Mixture, Operator, Strategy
from daf_pipelines.synthesis import gallery as module
from daf_pipelines.synthesis.blending import hard_paste
from daf_pipelines.synthesis.gallery import synthesise_gallery
from daf_pipelines.synthesis.masks import rectangle_mask

SIZE = 32
NO_TEXTURES = np.empty((0, 3, SIZE, SIZE), np.uint8)


def two_spots(images, draws):
    """A square of 16 pixels, and one pixel; all of it in the middle rows."""
    masks = torch.zeros_like(images[:, :1], dtype=torch.bool)
    masks[:, :, 14:18, 4:8] = masks[:, :, 16, 31] = True
    return masks


def brighter(images, masks, draws, sources):
    """A fixed step above the image, so that the contrast is known."""
    return images + 0.2


def another_normal(images, masks, draws, sources):
    """The image of the pool that is marked as the image's own one."""
    return (sources.normals[sources.own] / 255).to(images.dtype)


HAND_MADE = Strategy(Operator(two_spots), Operator(brighter), Operator(hard_paste), "By hand.")


def make_normals(count, resize="square", sizes=(64, 64)):
    """Images of one grey each, twice their number."""
    images = np.zeros((count, SIZE, SIZE, 3), np.uint8)
    images += 2 * np.arange(count, dtype=np.uint8)[:, None, None, None]
    paths = [f"{k:03}.png" for k in range(count)]
    table = pd.DataFrame({"path": paths, "width": sizes[0], "height": sizes[1]})
    return ImageSet(table, images, None, {"resize": resize})


def make(normals, strategies, seed=0, **options):
    options = {"draws": 8} | options
    return synthesise_gallery(normals, strategies, NO_TEXTURES, seed, **options)


class TestImages:
    @pytest.mark.parametrize(
        ("count", "images", "shown"),
        [
            (60, 6, [0, 10, 20, 30, 40, 50]),
            (6, 6, [0, 1, 2, 3, 4, 5]),
            (3, 6, [0, 0, 1, 1, 2, 2]),
            (1, 2, [0, 0]),
            (7, 3, [0, 2, 4]),
        ],
    )
    def test_evenly_over_the_set(self, count, images, shown):
        gallery = make(make_normals(count), {"a": HAND_MADE}, images=images, draws=60)
        assert gallery.names == [f"{k:03}.png" for k in shown]
        assert [int(image.max()) for image in gallery.originals] == [2 * k for k in shown]

    def test_of_a_large_set_no_more_images_than_draws_are_read(self):
        normals = make_normals(100)
        gallery = make(normals, {"a": HAND_MADE}, images=2, draws=4)
        assert gallery.names == ["000.png", "050.png"]
        assert len(make(normals, {"a": HAND_MADE}, images=6, draws=4).names) == 6

    def test_the_same_ones_for_every_strategy(self):
        gallery = make(make_normals(9), dict(STRATEGIES), images=4)
        assert list(gallery.exhibits) == list(STRATEGIES)
        for exhibit in gallery.exhibits.values():
            assert len(exhibit.outliers) == len(exhibit.masks) == 4
            rows = zip(gallery.originals, exhibit.outliers, exhibit.masks, strict=True)
            for original, outlier, mask in rows:
                assert set(np.unique(mask)) <= {0, 1}
                assert mask.any()
                np.testing.assert_array_equal(outlier[mask == 0], original[mask == 0])

    def test_one_image_gets_several_outliers(self):
        first, second = make(make_normals(1), STRATEGIES, images=2).exhibits["cutpaste"].masks
        assert (first != second).any()

    def test_without_padding(self):
        normals = make_normals(2, "pad", sizes=([64, 16], [32, 64]))
        gallery = make(normals, {"a": HAND_MADE}, images=2)
        shapes = [(16, 32), (32, 8)]
        exhibit = gallery.exhibits["a"]
        for pictures in (gallery.originals, exhibit.outliers, exhibit.masks):
            assert [picture.shape[:2] for picture in pictures] == shapes
        # The second image holds nothing of the spots, and gets one pixel instead.
        assert [mask.sum() for mask in exhibit.masks] == [17, 1]


class TestKeys:
    def same(self, first, second):
        assert first.names == second.names
        pd.testing.assert_frame_equal(
            first.statistics.drop(columns="seconds"), second.statistics.drop(columns="seconds")
        )
        for one, other in zip(first.exhibits.values(), second.exhibits.values(), strict=True):
            np.testing.assert_array_equal(one.outliers, other.outliers)
            np.testing.assert_array_equal(one.masks, other.masks)
            np.testing.assert_array_equal(one.positions, other.positions)

    def test_the_same_seed_the_same_gallery(self):
        normals = make_normals(5)
        self.same(make(normals, STRATEGIES, 3), make(normals, STRATEGIES, 3))

    def test_another_seed_another_gallery(self):
        normals = make_normals(5)
        masks = [make(normals, STRATEGIES, k).exhibits["draem"].masks for k in (0, 1)]
        assert (np.array(masks[0]) != np.array(masks[1])).any()

    def test_a_strategy_does_not_depend_on_the_others(self):
        normals, name = make_normals(5), "cutpaste"
        alone = make(normals, {name: STRATEGIES[name]}).exhibits[name]
        among = make(normals, STRATEGIES).exhibits[name]
        np.testing.assert_array_equal(alone.outliers, among.outliers)

    def test_outliers_are_as_different_as_their_keys_beyond_one_batch(self):
        mask = Strategy(Operator(rectangle_mask), Operator(brighter), Operator(hard_paste), "")
        positions = make(make_normals(1), {"a": mask}, draws=64).exhibits["a"].positions
        covered = np.unique(positions * 64).size
        assert covered > 8  # the same 16 keys over and over give multiples of four only
        assert (np.rint(positions * 64) % 4).any()


class TestStatistics:
    def test_by_hand(self):
        gallery = make(make_normals(4), {"a": HAND_MADE, "b": HAND_MADE}, draws=20)
        assert gallery.statistics["strategy"].tolist() == ["a", "b"]
        row = gallery.statistics.iloc[0]
        assert row["draws"] == 20
        for quantile in ("area_q05", "area_q25", "area_q50", "area_q75", "area_q95"):
            assert row[quantile] == 17 / SIZE**2
        assert row["regions"] == 2
        assert row["contrast"] == pytest.approx(0.2)
        assert 0 < row["seconds"] < 1
        expected = two_spots(torch.zeros(1, 3, SIZE, SIZE), None)[0, 0].double().numpy()
        np.testing.assert_array_equal(gallery.exhibits["a"].positions, expected)

    def test_areas_are_shares_of_the_images_without_padding(self):
        normals = make_normals(2, "pad", sizes=(64, 32))
        row = make(normals, {"a": HAND_MADE}).statistics.iloc[0]
        assert row["area_q50"] == 17 / (16 * SIZE)

    def test_quantiles(self):
        part = STRATEGIES["cutpaste"]
        statistics = make(make_normals(4), {"a": part, "b": part}, draws=40).statistics
        quantiles = statistics.filter(like="area").iloc[0].tolist()
        assert quantiles == sorted(set(quantiles))

    def test_mixtures(self):
        mixture = Mixture({"x": HAND_MADE, "y": STRATEGIES["cutpaste"]}, {"x": 1, "y": 9}, "Both.")
        row = make(make_normals(4), {"m": mixture}, draws=40).statistics.iloc[0]
        assert row["regions"] == 1
        assert row["area_q05"] == 17 / SIZE**2 < row["area_q50"]


class TestSources:
    def test_the_pool_is_the_set_and_knows_each_image(self):
        strategy = Strategy(
            Operator(two_spots), Operator(another_normal), Operator(hard_paste), "Itself."
        )
        gallery = make(make_normals(30), {"a": strategy}, images=5)
        np.testing.assert_array_equal(gallery.exhibits["a"].outliers, gallery.originals)
        assert gallery.statistics["contrast"][0] == 0

    def test_textures(self):
        textures = np.zeros((1, 3, SIZE, SIZE), np.uint8)
        bank = {"a": STRATEGIES["draem"]}
        plain = make(make_normals(3), bank).exhibits["a"].outliers
        black = synthesise_gallery(make_normals(3), bank, textures, 0, draws=8)
        assert (np.array(plain) != np.array(black.exhibits["a"].outliers)).any()

    def test_grey_images_get_grey_outliers_unless_they_need_not(self):
        for match_grey in (True, False):
            gallery = make(make_normals(3), STRATEGIES, match_grey=match_grey)
            outliers = np.array(gallery.exhibits["simple_texture"].outliers)
            assert (outliers == outliers[..., :1]).all() == match_grey

    def test_objects_are_found_once_for_those_who_ask(self, monkeypatch):
        found = []

        def mark(images, boxes):
            """Of the image of grey 2 k the column k is the object."""
            objects = np.zeros(images.shape[:3], bool)
            columns = images[:, 0, 0, 0] // 2
            objects[np.arange(len(images)), :, columns] = True
            found.append(len(objects))
            return objects

        monkeypatch.setattr(module, "foreground_of", mark)
        part = STRATEGIES["cutpaste"]
        make(make_normals(12), {"a": part}, images=4)
        assert found == []
        strategies = {"everywhere": part, "a": part.on("object"), "b": part.on("object")}
        gallery = make(make_normals(12), strategies, images=4, draws=12)
        assert found == [12]
        columns = {
            name: [set(np.flatnonzero(mask.any(axis=0))) for mask in exhibit.masks]
            for name, exhibit in gallery.exhibits.items()
        }
        assert columns["a"] == columns["b"] == [{0}, {3}, {6}, {9}]
        assert columns["everywhere"] != columns["a"]

    def test_only_those_who_ask_see_the_objects(self):
        seen = []

        def content(images, masks, draws, sources):
            seen.append(sources.foregrounds is not None)
            return images

        strategy = Strategy(Operator(two_spots), Operator(content), Operator(hard_paste), "")
        make(make_normals(3), {"a": strategy, "b": strategy.on("object")})
        assert seen == [False, False, True, True]
