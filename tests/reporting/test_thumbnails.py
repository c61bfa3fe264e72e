import io

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from daf_pipelines.reporting.thumbnails import SIDE, thumbnails


def picture(data):
    return np.asarray(Image.open(io.BytesIO(data)))


def heat(pixels):
    return np.clip(pixels, 0, 1)


@pytest.fixture
def table():
    return pd.DataFrame(
        {"path": ["a.png", "b.png"], "label": [0, 1], "defect_type": ["good", "cut"], "score": 0.5}
    )


class TestThumbnails:
    def test_columns_and_order(self, table):
        images = np.zeros((2, 32, 32, 3), dtype=np.uint8)
        made = thumbnails(table, images, np.zeros((2, 32, 32)), None, heat)
        assert list(made.columns) == ["path", "label", "defect_type", "image", "heat", "mask"]
        assert made["path"].tolist() == ["a.png", "b.png"]
        assert made["mask"].isna().all()

    def test_heat_spans_the_range(self, table):
        maps = np.full((2, 8, 8), [[[-1.0]], [[3.0]]])
        maps[1, :, 4:] = 2.0
        images = np.zeros((2, 8, 8, 3), dtype=np.uint8)
        made = thumbnails(table, images, maps, None, lambda m: np.clip((m - 1) / 2, 0, 1))
        assert (picture(made["heat"][0]) == 0).all()
        heat = picture(made["heat"][1])
        assert (heat[:, :4] == 255).all()
        assert (heat[:, 4:] == 128).all()

    def test_large_and_long_images_are_made_smaller_alike(self, table):
        images = [np.full((300, 600, 3), 90, np.uint8), np.full((40, 20, 3), 90, np.uint8)]
        masks = [np.zeros((300, 600), np.uint8), np.ones((40, 20), np.uint8)]
        maps = [np.zeros(mask.shape) for mask in masks]
        made = thumbnails(table, images, maps, masks, heat)
        for name in ("image", "heat", "mask"):
            assert [picture(data).shape[:2] for data in made[name]] == [(64, SIDE), (40, 20)]
        assert np.abs(picture(made["image"][0]).astype(int) - 90).max() <= 2
        assert (picture(made["mask"][1]) == 255).all()

    def test_no_images(self, table):
        made = thumbnails(table[:0], [], [], None, heat)
        assert len(made) == 0
