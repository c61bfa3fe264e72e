import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from daf_pipelines.synthesis.levels import LEVELS, Texture, pixels_of, table, to_uint8


def random_values(seed=0, channels=3, height=33, width=40):
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.integers(0, 256, (channels, height, width), dtype=np.uint8))


def random_table(seed=0):
    return np.random.default_rng([1, seed]).integers(0, 256, (3, 256), dtype=np.uint8)


def looked_up(pixels, entries):
    return np.stack([own[channel] for own, channel in zip(entries, pixels, strict=True)])


def swap_channels(pixels):
    return pixels.flip(0)


class TestTexture:
    @given(st.lists(st.integers(-2, 5), max_size=5))
    def test_operations_in_a_row(self, seeds):
        texture = Texture(random_values())
        expected = texture.stored.flatten(1).numpy()
        for seed in seeds:
            if seed < 0:
                texture, expected = texture.through(swap_channels), expected[::-1]
            else:
                texture = texture.through(random_table(seed))
                expected = looked_up(expected, random_table(seed))
        np.testing.assert_array_equal(texture.pixels(), expected)
        assert torch.equal(texture.settled().pixels(), texture.pixels())

    def test_tables_in_a_row_are_one(self):
        texture = Texture(random_values())
        for operation in (random_table(0), random_table(1), swap_channels, random_table(2)):
            texture = texture.through(operation)
        assert len(texture.pending) == 3

    def test_chosen_pixels(self):
        texture = Texture(random_values(), (random_table(), swap_channels))
        chosen = torch.tensor([3, 40, 41, 1319])
        assert torch.equal(texture.pixels(chosen), texture.pixels()[:, chosen])
        assert texture.pixels(chosen[:0]).shape == (3, 0)

    def test_grey_values_get_a_colour(self):
        texture = Texture(random_values(channels=1), (random_table(),))
        three = texture.stored.expand(3, -1, -1).flatten(1).numpy()
        np.testing.assert_array_equal(texture.pixels(), looked_up(three, random_table()))

    @pytest.mark.parametrize("channels", [1, 3])
    # A table that is not one to one: several values fall on one.
    @pytest.mark.parametrize("pending", [(), (random_table() // 7,)])
    def test_histograms_are_those_of_the_pixels(self, channels, pending):
        texture = Texture(random_values(channels=channels), pending)
        expected = [np.bincount(c, minlength=256) for c in texture.pixels().numpy()]
        np.testing.assert_array_equal(texture.histograms(), expected)

    def test_settled_leaves_tables_pending(self):
        texture = Texture(random_values(), (random_table(),))
        assert texture.settled() is texture
        assert texture.through(swap_channels).settled().pending == ()


def test_pixels_of_several_textures():
    textures = [Texture(random_values(i), (random_table(i),)) for i in range(3)]
    textures.append(Texture(random_values(3)))
    result = pixels_of(textures)
    assert result.shape == (4, 3, 33, 40)
    assert result.dtype == torch.uint8
    for pixels, texture in zip(result, textures, strict=True):
        assert torch.equal(pixels.flatten(1), texture.pixels())


def test_table_rounds_and_clips():
    values = np.linspace(-3, 260, 256)
    np.testing.assert_array_equal(table(values), [np.clip(np.rint(values), 0, 255)] * 3)
    assert table(LEVELS[None] + np.arange(3)[:, None]).shape == (3, 256)


def test_to_uint8_rounds_and_clips():
    values = torch.tensor([-2.0, 0.4, 0.6, 254.6, 255.4, 300.0])
    assert to_uint8(values).tolist() == [0, 0, 1, 255, 255, 255]
