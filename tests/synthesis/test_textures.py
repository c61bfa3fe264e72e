from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from daf_pipelines.errors import DataError
from daf_pipelines.synthesis import load_textures
from daf_pipelines.synthesis.levels import pixels_of
from daf_pipelines.synthesis.textures import plain_textures


def generators(count):
    return [np.random.default_rng([7, i]) for i in range(count)]


class TestPlainTextures:
    def test_each_is_a_mixture_of_two_colours(self):
        batch = pixels_of(plain_textures(generators(60), 48, 33, torch.device("cpu"))).float()
        assert batch.shape == (60, 3, 48, 33)
        colours = []
        for texture in batch:
            points = texture.flatten(1).T.numpy()
            # On a line in colour space: after the first, no direction explains more than rounding.
            assert np.linalg.svd(points - points.mean(0), compute_uv=False)[1] < 40
            colours.append(len(np.unique(points, axis=0)))
        assert 1 in colours  # uniform
        assert 2 in colours  # stripes
        assert max(colours) > 100  # noise


class TestLoadTextures:
    def test_without_a_folder_there_is_no_bank(self):
        assert load_textures(None, 64).shape == (0, 3, 64, 64)

    def test_reads_sub_folders_in_order(self, tmp_path):
        for name, colour in (("b/2.png", (0, 255, 0)), ("a/1.png", (255, 0, 0))):
            (tmp_path / name).parent.mkdir()
            Image.new("RGB", (50, 70), colour).save(tmp_path / name)
        bank = load_textures(tmp_path, 32)
        assert bank.shape == (2, 3, 32, 32)
        assert bank.dtype == np.uint8
        np.testing.assert_array_equal(bank[:, :, 5, 5], [[255, 0, 0], [0, 255, 0]])

    def test_missing_folder(self, tmp_path):
        with pytest.raises(DataError, match=r"texture_root: expected a folder.*nowhere.*plain"):
            load_textures(tmp_path / "nowhere", 32)

    def test_folder_without_images(self, tmp_path):
        (tmp_path / "readme.txt").write_text("nothing")
        with pytest.raises(DataError, match="texture_root: no image in"):
            load_textures(tmp_path, 32)

    def test_real_photographs(self, test_datasets: Path):
        bank = load_textures(test_datasets / "dtd" / "banded", 64)
        assert bank.shape == (30, 3, 64, 64)
        assert bank.std() > 20
