"""The synthetic validation set of images with padding."""

import numpy as np
import pandas as pd
import pytest

from daf_pipelines.parameters import SynthesisParams
from daf_pipelines.sources.image_set import ImageSet
from daf_pipelines.sources.images import contents
from daf_pipelines.synthesis import STRATEGIES
from daf_pipelines.synthesis.validation import masks_of, set_statistics, synthesise_set

SIZES = [(100, 100), (100, 20), (9, 100)]
NO_TEXTURES = np.empty((0, 3, 64, 64), np.uint8)


@pytest.fixture
def normals():
    images = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
    widths, heights = zip(*SIZES, strict=True)
    table = pd.DataFrame({"path": list("abc"), "width": widths, "height": heights})
    return ImageSet(table, images, None, {"resize": "pad"})


@pytest.mark.parametrize("strategy", sorted(STRATEGIES))
def test_outliers_lie_on_the_images(normals, strategy):
    params = SynthesisParams(strategy=strategy, validation_repeats=4)
    outliers = synthesise_set(normals, NO_TEXTURES, params, 0)
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
    outliers = synthesise_set(normals, NO_TEXTURES, SynthesisParams(validation_repeats=2), 0)
    expected = [mask.mean() for mask in contents(masks_of(outliers), outliers.boxes)]
    assert outliers.table["mask_coverage"].tolist() == pytest.approx(expected)
    assert set_statistics(outliers, normals)["area"].tolist() == pytest.approx(expected)
