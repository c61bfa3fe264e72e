import hashlib
import math

import numpy as np
import pytest
import torch
from scipy.ndimage import label

from daf_pipelines.synthesis.masks import fractal_perlin_mask, perlin, perlin_mask
from daf_pipelines.synthesis.masks.perlin import fractal_noise, perlin_noise

CPU = torch.device("cpu")


def generators(count, seed=0):
    return [np.random.default_rng([seed, i]) for i in range(count)]


def random_gradients(rng, cells_y, cells_x):
    angles = 2 * math.pi * rng.random((cells_y + 1, cells_x + 1))
    return np.stack((np.cos(angles), np.sin(angles)), axis=-1)


def published_perlin(gradients, shape):
    """Tile the gradients over the pixels and interpolate corner by corner, as DRAEM's perlin.py."""
    cells = gradients.shape[0] - 1, gradients.shape[1] - 1
    repeats = shape[0] // cells[0], shape[1] // cells[1]
    y, x = np.mgrid[0 : shape[0], 0 : shape[1]]
    grid_y, grid_x = (y / repeats[0]) % 1, (x / repeats[1]) % 1

    def corner(down, right):
        part = gradients[down : cells[0] + down, right : cells[1] + right]
        tiled = part.repeat(repeats[0], axis=0).repeat(repeats[1], axis=1)
        return (grid_y - down) * tiled[..., 0] + (grid_x - right) * tiled[..., 1]

    def lerp(start, end, weight):
        return (end - start) * weight + start

    fade_y, fade_x = (6 * t**5 - 15 * t**4 + 10 * t**3 for t in (grid_y, grid_x))
    left = lerp(corner(0, 0), corner(1, 0), fade_y)
    right = lerp(corner(0, 1), corner(1, 1), fade_y)
    return math.sqrt(2) * lerp(left, right, fade_x)


class TestPerlinNoise:
    def test_equals_the_published_code_across_scales_in_one_batch(self):
        rng = np.random.default_rng(0)
        scales = [(1, 1), (32, 2), (4, 16), (1, 32)]
        gradients = [random_gradients(rng, *cells) for cells in scales]
        noise = perlin_noise(gradients, 64, 96, CPU)
        for computed, lattice in zip(noise, gradients, strict=True):
            np.testing.assert_allclose(computed[0], published_perlin(lattice, (64, 96)), atol=1e-5)

    @pytest.mark.parametrize("size", [(33, 47), (50, 41)])
    def test_size_that_the_cells_do_not_divide(self, size):
        lattice = random_gradients(np.random.default_rng(1), 4, 8)
        noise = perlin_noise([lattice], *size, CPU)[0, 0]
        for y, x in [(0, 0), (7, 13), (size[0] - 1, size[1] - 1)]:
            position = y * 4 / size[0], x * 8 / size[1]
            cell = int(position[0]), int(position[1])
            offset = position[0] - cell[0], position[1] - cell[1]
            expected = 0.0
            for down in (0, 1):
                for right in (0, 1):
                    g = lattice[cell[0] + down, cell[1] + right]
                    weights = [
                        t if end else 1 - t
                        for t, end in zip(
                            (6 * t**5 - 15 * t**4 + 10 * t**3 for t in offset),
                            (down, right),
                            strict=True,
                        )
                    ]
                    dot = (offset[0] - down) * g[0] + (offset[1] - right) * g[1]
                    expected += weights[0] * weights[1] * dot
            assert float(noise[y, x]) == pytest.approx(math.sqrt(2) * expected, abs=1e-5)


class TestPerlinMask:
    def test_random_stream_and_result_stay_as_they_were(self):
        masks = perlin_mask(torch.zeros(4, 3, 33, 200), generators(4))
        digest = hashlib.sha256(np.packbits(masks.numpy()).tobytes()).hexdigest()
        assert digest.startswith("831b6cb86b699e78")

    def test_is_never_empty_even_if_every_attempt_is(self):
        masks = perlin_mask(torch.zeros(6, 3, 40, 56), generators(6), threshold=2.0)
        shares = masks.float().mean(dim=(1, 2, 3))
        assert (shares > 0).all()
        assert (shares < 0.5).all()

    def test_only_empty_masks_are_drawn_again(self, monkeypatch):
        images = torch.zeros(200, 1, 32, 32)
        monkeypatch.setattr("daf_pipelines.synthesis.masks.perlin.PERLIN_ATTEMPTS", 0)
        once = perlin_mask(images, generators(200))
        monkeypatch.undo()
        again = perlin_mask(images, generators(200))
        different = (once != again).flatten(1).any(dim=1)
        assert 0 < int(different.sum()) < 40

    def test_a_higher_threshold_cuts_the_same_noise_higher(self):
        images = torch.zeros(30, 1, 64, 64)
        low = perlin_mask(images, generators(30), scales=(4, 8), threshold=0.2)
        high = perlin_mask(images, generators(30), scales=(4, 8), threshold=0.4)
        assert not (high & ~low).any()
        assert (high.flatten(1).sum(dim=1) < low.flatten(1).sum(dim=1)).all()

    def test_more_cells_more_spots(self):
        images = torch.zeros(10, 1, 128, 128)
        spots = [
            sum(label(mask[0])[1] for mask in perlin_mask(images, generators(10), scales=(cells,)))
            for cells in (2, 8, 32)
        ]
        assert spots[0] * 5 < spots[1]
        assert spots[1] * 5 < spots[2]

    def test_without_rotation_spots_are_as_long_as_cells_are(self):
        # 2 x 32 cells: upright spots; turned by up to 90 degrees, lengths mix.
        images = torch.zeros(60, 1, 128, 128)

        def elongations(rotation):
            masks = perlin_mask(images, generators(60), scales=(2, 32), rotation=rotation)
            runs_y = (masks[:, :, 1:] & masks[:, :, :-1]).flatten(1).sum(dim=1)
            runs_x = (masks[..., 1:] & masks[..., :-1]).flatten(1).sum(dim=1)
            ratios = (runs_y / runs_x).log2().abs()
            return sorted(ratios.tolist())

        upright, turned = elongations(0.0), elongations(90.0)
        # Half of the images have other numbers of cells on their axes.
        assert np.mean(upright[30:]) > 1.5 * np.mean(turned[30:])


def random_octaves(rng, cells_y, cells_x, number):
    return [random_gradients(rng, cells_y << o, cells_x << o) for o in range(number)]


class TestFractalNoise:
    def test_equals_the_published_sum_of_octaves(self):
        rng = np.random.default_rng(2)
        images = [
            random_octaves(rng, *arguments) for arguments in [(1, 4, 4), (2, 1, 1), (4, 2, 3)]
        ]
        noise = fractal_noise(images, 0.7, torch.zeros(3, 1, 64, 96))
        for computed, octaves in zip(noise, images, strict=True):
            parts = [published_perlin(lattice, (64, 96)) for lattice in octaves]
            expected = sum(0.7**i * part for i, part in enumerate(parts))
            np.testing.assert_allclose(computed[0], expected, atol=2e-5)


class TestFractalPerlinMask:
    @pytest.mark.parametrize("size", [(32, 32), (33, 200), (100, 90)])
    def test_area_is_exact(self, size):
        masks = fractal_perlin_mask(torch.zeros(9, 1, *size), generators(9), area=(0.07, 0.07))
        assert masks.flatten(1).sum(dim=1).tolist() == [round(0.07 * size[0] * size[1])] * 9

    def test_area_is_drawn_within_its_bounds(self):
        masks = fractal_perlin_mask(torch.zeros(200, 1, 32, 32), generators(200))
        shares = masks.float().mean(dim=(1, 2, 3))
        assert 0.019 < shares.min() < 0.03
        assert 0.11 < shares.max() < 0.121
        assert float(shares.median()) == pytest.approx(0.07, abs=0.01)

    def test_a_tiny_area_is_a_pixel(self):
        masks = fractal_perlin_mask(torch.zeros(5, 1, 32, 32), generators(5), area=(1e-6, 1e-6))
        assert masks.flatten(1).sum(dim=1).tolist() == [1] * 5

    def test_a_larger_area_is_more_of_the_same_noise(self):
        images = torch.zeros(20, 1, 64, 64)
        small = fractal_perlin_mask(images, generators(20), area=(0.03, 0.03))
        large = fractal_perlin_mask(images, generators(20), area=(0.3, 0.3))
        assert not (small & ~large).any()

    def test_more_octaves_rougher_outlines(self):
        def outline(octaves, persistence):
            masks = fractal_perlin_mask(
                torch.zeros(20, 1, 128, 128),
                generators(20),
                octaves=(octaves, octaves),
                persistence=persistence,
                area=(0.1, 0.1),
            )
            return int((masks[..., 1:] != masks[..., :-1]).sum())

        assert outline(1, 0.5) < outline(3, 0.5) < outline(5, 0.5) < outline(5, 1.0)

    def test_is_the_highest_part(self, monkeypatch):
        noise = torch.linspace(-1, 1, 900).view(1, 1, 30, 30).expand(5, -1, -1, -1)
        monkeypatch.setattr(perlin, "fractal_noise", lambda *_: noise)
        images = torch.zeros(5, 1, 30, 30)
        masks = fractal_perlin_mask(images, generators(5), area=(0.1, 0.1), rotation=0.0)
        assert masks[:, :, 27:].all()
        assert not masks[:, :, :27].any()

    def test_octaves_and_cells(self):
        drawn = [perlin._random_octaves(rng, (1, 4), (2, 5), 24, 12) for rng in generators(200)]
        assert {len(octaves) for octaves in drawn} == {2, 3, 4, 5}
        first = {octaves[0].shape[:2] for octaves in drawn}
        assert first == {(2, 2), (2, 5), (5, 2), (5, 5)}
        for octaves in drawn:
            cells_y, cells_x = (np.array([o.shape[axis] - 1 for o in octaves]) for axis in (0, 1))
            assert (cells_y[1:] == np.minimum(2 * cells_y[:-1], 24)).all()
            assert (cells_x[1:] == np.minimum(2 * cells_x[:-1], 12)).all()

    def test_cells_have_two_pixels_at_least(self, monkeypatch):
        # Noise of 32 cells on 32 pixels is 0 on all of them.
        seen = []

        def spy(octaves, persistence, images):
            seen.append(fractal_noise(octaves, persistence, images))
            return seen[-1]

        monkeypatch.setattr(perlin, "fractal_noise", spy)
        fractal_perlin_mask(torch.zeros(6, 1, 32, 33), generators(6), scales=(32,))
        assert (seen[0].flatten(1).std(dim=1) > 0.05).all()
