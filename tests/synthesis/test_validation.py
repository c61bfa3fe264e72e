"""The synthetic validation set of images with padding."""

import numpy as np
import pandas as pd
import pytest
import torch

from daf_pipelines.parameters import SynthesisParams
from daf_pipelines.sources.image_set import ImageSet
from daf_pipelines.sources.images import contents
from daf_pipelines.synthesis import STRATEGIES, Sources
from daf_pipelines.synthesis.validation import (
    masks_of,
    set_statistics,
    sources_of,
    synthesise_set,
    validation_rows,
)

SIZES = [(100, 100), (100, 20), (9, 100)]
NO_OBJECTS = np.empty((0, 64, 64), np.bool_)


@pytest.fixture
def normals():
    images = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
    widths, heights = zip(*SIZES, strict=True)
    table = pd.DataFrame({"path": list("abc"), "width": widths, "height": heights})
    return ImageSet(table, images, None, {"resize": "pad"})


@pytest.mark.parametrize("strategy", sorted(STRATEGIES))
def test_outliers_lie_on_the_images(normals, strategy):
    params = SynthesisParams(strategy=strategy, validation_repeats=4)
    outliers = synthesise_set(normals, NO_OBJECTS, Sources(), params, 0)
    assert outliers.boxes == [box for box in normals.boxes for _ in range(4)]
    originals = normals.images.repeat(4, axis=0)
    changed = (outliers.images != originals).any(axis=3)
    for mask, change, (top, left, bottom, right) in zip(
        masks_of(outliers), changed, outliers.boxes, strict=True
    ):
        content = slice(top, bottom), slice(left, right)
        assert mask[content].any()
        assert mask.sum() == mask[content].sum()
        assert change.sum() == change[content].sum()


def test_areas_are_shares_of_the_images(normals):
    params = SynthesisParams(validation_repeats=2)
    outliers = synthesise_set(normals, NO_OBJECTS, Sources(), params, 0)
    expected = [mask.mean() for mask in contents(masks_of(outliers), outliers.boxes)]
    assert outliers.table["mask_coverage"].tolist() == pytest.approx(expected)
    found = set_statistics(outliers, normals, params)["area"]
    assert found.tolist() == pytest.approx(expected)


def test_outliers_lie_on_the_objects(normals):
    objects = np.zeros((3, 64, 64), np.bool_)
    objects[:, 28:36, 30:34] = True
    params = SynthesisParams(foreground="object", validation_repeats=8)
    masks = masks_of(synthesise_set(normals, objects, Sources(), params, 0))
    assert masks.any(axis=(1, 2)).all()
    assert not (masks.astype(bool) & ~objects.repeat(8, axis=0)).any()


class TestSize:
    @pytest.mark.parametrize(
        ("count", "repeats", "limit", "expected"),
        [
            (3, 2, 1000, [0, 0, 1, 1, 2, 2]),
            (9, 2, 6, [0, 0, 4, 4, 8, 8]),
            (9, 2, 5, [0, 0, 8, 8]),
            (2, 4, 3, [0, 0, 0]),
            (1, 1, 1, [0]),
        ],
    )
    def test_images_are_taken_evenly_up_to_the_limit(self, count, repeats, limit, expected):
        params = SynthesisParams(validation_repeats=repeats, validation_limit=limit)
        assert validation_rows(count, params).tolist() == expected

    def test_of_a_set(self, normals):
        params = SynthesisParams(validation_repeats=2, validation_limit=4)
        outliers = synthesise_set(normals, NO_OBJECTS, Sources(), params, 0)
        assert outliers.table["path"].tolist() == ["a#0", "a#1", "c#0", "c#1"]
        assert len(outliers.images) == len(masks_of(outliers)) == 4


class TestSources:
    def test_are_the_training_images_and_the_bank(self, normals):
        bank, objects = np.ones((2, 3, 8, 8), np.uint8), np.ones((3, 64, 64), np.bool_)
        sources = sources_of(normals, bank, objects)
        assert torch.equal(sources.textures, torch.from_numpy(bank))
        assert sources.normals[1, 2, 5, 7] == normals.images[1, 5, 7, 2]
        assert sources.boxes == normals.boxes
        assert sources.foregrounds.shape == (3, 1, 64, 64)

    def test_may_be_empty(self, normals):
        sources = sources_of(normals, np.empty((0, 3, 8, 8), np.uint8), NO_OBJECTS)
        assert sources.textures is None
        assert sources.foregrounds is None
