import numpy as np
import pytest
import torch
from scipy.ndimage import rotate as scipy_rotate

from daf_pipelines.synthesis.geometry import bounding_boxes, box_masks, rotate


class TestRotate:
    @pytest.mark.parametrize("shape", [(40, 40), (33, 50)])
    def test_equals_scipy(self, shape):
        images = torch.rand(2, 1, *shape, generator=torch.Generator().manual_seed(0))
        rotated = rotate(images, [30, -75])
        inner = slice(4, -4)
        for image, result, degrees in zip(images, rotated, (30, -75), strict=True):
            expected = scipy_rotate(image[0], degrees, reshape=False, order=1, mode="grid-constant")
            np.testing.assert_allclose(result[0][inner, inner], expected[inner, inner], atol=1e-4)

    def test_quarter_turn_of_a_square_moves_every_pixel(self):
        image = torch.arange(36.0).view(1, 1, 6, 6)
        torch.testing.assert_close(
            rotate(image, [90])[0, 0], image[0, 0].rot90(), atol=1e-4, rtol=0
        )


def test_bounding_boxes_by_hand():
    masks = torch.zeros(2, 1, 6, 8, dtype=torch.bool)
    masks[0, 0, 2, 3] = True
    masks[1, 0, 0, 7] = masks[1, 0, 5, 1] = True
    assert bounding_boxes(masks) == [(2, 3, 3, 4), (0, 1, 6, 8)]


class TestBoxMasks:
    def test_by_hand(self):
        masks = box_masks([(0, 1, 2, 3), (-3, 2, 1, 9)], torch.zeros(5, 3, 3, 4))
        assert masks.shape == (2, 1, 3, 4)
        assert masks.dtype == torch.bool
        assert masks[0, 0].int().tolist() == [[0, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0]]
        assert masks[1, 0].int().tolist() == [[0, 0, 1, 1], [0, 0, 0, 0], [0, 0, 0, 0]]
