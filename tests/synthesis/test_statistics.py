import numpy as np
import pandas as pd
import pytest
import torch

from daf_pipelines.synthesis import mask_statistics, summarise
from daf_pipelines.synthesis.statistics import CELLS, position_map


@pytest.fixture
def table():
    masks = torch.zeros(2, 1, 10, 20)
    masks[0, 0, 0, 0] = masks[0, 0, 1, 1] = 1  # diagonal neighbours: one region
    masks[1, 0, 2:4, 5:10] = 1
    masks[1, 0, 9, 19] = 1
    originals = torch.full((2, 3, 10, 20), 0.5)
    images = originals.clone()
    images[0, :, 0, 0] = 1.0
    images[1, 0, 2:4, 5:10] = 0.2
    return mask_statistics(masks, images, originals)


def test_by_hand(table):
    assert list(table.columns) == ["area", "regions", "contrast", "centroid_x", "centroid_y"]
    assert table["area"].tolist() == [2 / 200, 11 / 200]
    assert table["regions"].tolist() == [1, 2]
    assert table["contrast"].tolist() == pytest.approx([0.25, 0.1 * 10 / 11])
    x = [(0 + 1) / 2, (2 * (5 + 6 + 7 + 8 + 9) + 19) / 11]
    y = [(0 + 1) / 2, (5 * (2 + 3) + 9) / 11]
    assert table["centroid_x"].tolist() == pytest.approx([(v + 0.5) / 20 for v in x])
    assert table["centroid_y"].tolist() == pytest.approx([(v + 0.5) / 10 for v in y])


def test_summary(table):
    summary = summarise(table)
    assert set(summary) == set(table.columns)
    assert list(summary["area"]) == ["mean", "q05", "q25", "q50", "q75", "q95"]
    assert summary["regions"]["mean"] == 1.5
    assert summary["regions"]["q25"] == 1.25


def test_padding_is_no_part_of_the_image(table):
    masks, images, originals = (torch.zeros(2, c, 20, 20) for c in (1, 3, 3))
    masks[0, 0, 5, 0] = masks[0, 0, 6, 1] = 1
    masks[1, 0, 7:9, 5:10] = masks[1, 0, 14, 19] = 1
    images[0, :, 5, 0] = 0.5
    images[1, 0, 7:9, 5:10] = 0.3
    found = mask_statistics(masks, images, originals, [(5, 0, 15, 20)] * 2)
    pd.testing.assert_frame_equal(found, table)


class TestPositionMap:
    def test_mean_of_the_masks(self):
        masks = np.zeros((2, CELLS, CELLS), np.uint8)
        masks[0, 3:5] = masks[1, 4:6] = 1
        shares = position_map(masks)[:, 0]
        assert np.flatnonzero(shares).tolist() == [3, 4, 5]
        assert shares[3:6].tolist() == [0.5, 1, 0.5]
        np.testing.assert_array_equal(position_map(masks[:1])[:, 0], masks[0, :, 0])

    def test_each_image_spans_the_grid(self):
        wide, small = np.zeros((CELLS, 4 * CELLS)), np.zeros((CELLS // 4, CELLS // 2))
        wide[:, : 2 * CELLS] = 1
        small[:, : CELLS // 4] = 1
        shares = position_map([wide, small])
        assert (shares[:, : CELLS // 2] == 1).all()
        assert (shares[:, CELLS // 2 :] == 0).all()

    @pytest.mark.parametrize("shape", [(100, 75), (32, 31), (256, 256), (5, 900)])
    def test_the_mean_is_about_the_area(self, shape):
        masks = np.random.default_rng(0).random((3, *shape)) < 0.2
        assert position_map(masks).mean() == pytest.approx(masks.mean(), rel=0.02)
