import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from daf_pipelines.sources.images import content_box, contents, fit_image, read_image
from daf_pipelines.synthesis.foreground import foreground_of, object_masks
from daf_pipelines.synthesis.geometry import box_masks

SIZES = [(256, 256), (128, 192), (300, 200), (64, 64), (32, 32)]


def coordinates(size):
    """Pixel centres, and the shorter side's half as the unit."""
    y, x = (np.arange(n) - (n - 1) / 2 for n in size)
    return y[:, None] * 2 / min(size), x * 2 / min(size)


def shape(name, size):
    y, x = coordinates(size)
    radius = np.hypot(y, x)
    return {
        "disc": radius < 0.6,
        "rectangle": (abs(y) < 0.4) & (abs(x) < 0.65),
        "ring": (radius < 0.8) & (radius > 0.4),
        "two discs": (np.hypot(y, x - 0.45) < 0.35) | (np.hypot(y, x + 0.45) < 0.35),
        "from the edge": (abs(x) < 0.3) & (y > -0.5),
        "wide from the edge": (abs(x) < 0.85) & (y > 0),
        "strip": (abs(x) < 0.3) & (y > -np.inf),
    }[name]


def scene(inside, colours, *, slope=0.0, noise=0.0, seed=0):
    """An image ``(1, C, H, W)`` of an object's and a background's colour."""
    y, x = coordinates(inside.shape)
    levels = np.where(inside, *(np.array(colour)[:, None, None] for colour in colours))
    levels = levels + np.where(inside, 0, slope * (0.3 * y - 0.5 * x))
    levels = levels + noise * np.random.default_rng(seed).normal(size=levels.shape)
    return torch.from_numpy(levels.clip(0, 1).astype(np.float32))[None]


def found(images, valid=None):
    if valid is None:
        valid = torch.ones_like(images[:, :1], dtype=torch.bool)
    masks = object_masks(images, valid)
    assert masks.shape == valid.shape
    assert masks.dtype == torch.bool
    assert not (masks & ~valid).any()
    assert masks.flatten(1).any(dim=1).all()
    return masks[:, 0].numpy()


def iou(found, truth):
    return (found & truth).sum() / (found | truth).sum()


OBJECTS = ["disc", "rectangle", "ring", "two discs", "from the edge"]
BACKGROUNDS = {
    "flat": {},
    "noisy": {"noise": 0.03},
    "gradient": {"slope": 0.2},
    "noisy gradient": {"slope": 0.15, "noise": 0.02},
}


class TestKnownObjects:
    @pytest.mark.parametrize("background", BACKGROUNDS)
    @pytest.mark.parametrize("levels", [(0.75, 0.3), (0.25, 0.7)], ids=["light", "dark"])
    @pytest.mark.parametrize("name", OBJECTS)
    def test_grey(self, name, levels, background):
        truth = shape(name, (256, 256))
        image = scene(truth, [(level,) for level in levels], **BACKGROUNDS[background])
        assert iou(found(image)[0], truth) >= 0.95

    @pytest.mark.parametrize("background", BACKGROUNDS)
    def test_colour_alone_on_a_background_as_bright(self, background):
        truth = shape("disc", (256, 256))
        image = scene(truth, [(0.65, 0.4, 0.45), (0.5, 0.5, 0.5)], **BACKGROUNDS[background])
        assert iou(found(image)[0], truth) >= 0.95
        assert found(image.mean(dim=1, keepdim=True)).all()  # nothing to see without colour

    @pytest.mark.parametrize("size", SIZES)
    @pytest.mark.parametrize("name", ["disc", "rectangle"])
    def test_sizes(self, name, size):
        truth = shape(name, size)
        image = scene(truth, [(0.2, 0.3, 0.2), (0.6, 0.6, 0.5)], noise=0.02)
        assert iou(found(image)[0], truth) >= 0.95

    @pytest.mark.parametrize("levels", [(1.0, 0.0), (0.0, 1.0)])
    def test_extreme_contrast_without_noise_is_exact_where_nothing_is_smoothed(self, levels):
        truth = shape("rectangle", (64, 64))
        image = scene(truth, [(level,) for level in levels])
        np.testing.assert_array_equal(found(image)[0], truth)

    @pytest.mark.parametrize("noise", [0, 0.02])
    @pytest.mark.parametrize("name", ["strip", "wide from the edge"])
    def test_object_that_fills_much_of_a_side(self, name, noise):
        truth = shape(name, (256, 256))
        assert iou(found(scene(truth, [(0.2,), (0.8,)], noise=noise))[0], truth) >= 0.95

    def test_same_object_whatever_the_number_of_channels(self):
        truth = shape("disc", (96, 96))
        grey = scene(truth, [(0.7,), (0.4,)], noise=0.02)
        masks = [found(grey.expand(-1, channels, -1, -1)) for channels in (1, 2, 3)]
        assert iou(masks[0][0], truth) >= 0.95
        for other in masks[1:]:
            np.testing.assert_array_equal(masks[0], other)

    def test_second_channel_of_three_counts(self):
        truth = shape("disc", (96, 96))
        image = scene(truth, [(0.5, 0.3, 0.5), (0.5, 0.6, 0.5)])
        image[:, [0, 2]] += 0.5 - image.mean(dim=1, keepdim=True)
        assert iou(found(image)[0], truth) >= 0.95

    @settings(max_examples=30, deadline=None)
    @given(
        centre=st.tuples(st.integers(45, 82), st.integers(45, 114)),
        radius=st.integers(14, 38),
        level=st.floats(0, 0.5),
        contrast=st.floats(0.3, 0.5),
        seed=st.integers(0, 99),
    )
    def test_discs_anywhere(self, centre, radius, level, contrast, seed):
        y, x = np.ogrid[:128, :160]
        truth = np.hypot(y - centre[0], x - centre[1]) < radius
        image = scene(truth, [(level + contrast,), (level,)], noise=0.02, seed=seed)
        for picture in (image, 1 - image):
            assert iou(found(picture)[0], truth) >= 0.95


class TestHoles:
    def mark(self, radius, level):
        """A light disc on dark ground with a mark in it."""
        size = (256, 256)
        y, x = coordinates(size)
        disc, mark = shape("disc", size), np.hypot(y, x) < radius
        image = scene(disc, [(0.8,), (0.2,)], noise=0.01)
        image[0, 0, mark] = level
        return found(image)[0], disc, mark

    def test_large_hole_to_the_background_stays_open(self):
        mask, disc, hole = self.mark(0.25, 0.2)
        assert iou(mask, disc & ~hole) >= 0.95
        assert mask[hole].mean() < 0.05

    def test_small_hole_is_filled(self):
        mask, disc, _ = self.mark(0.1, 0.2)
        assert mask[shape("disc", (256, 256))].mean() > 0.99
        assert iou(mask, disc) >= 0.95

    def test_small_notch_at_the_edge_of_the_picture_stays_open(self):
        truth = shape("from the edge", (256, 256))
        truth[236:, 118:138] = False
        mask = found(scene(truth, [(0.8,), (0.2,)]))[0]
        assert not mask[240:, 122:134].any()

    @pytest.mark.parametrize("level", [0.1, 0.28])
    def test_large_mark_that_is_not_of_the_background_s_colour_is_object(self, level):
        mask, disc, mark = self.mark(0.25, level)
        assert mask[mark].all()
        assert iou(mask, disc) >= 0.95


class TestClutter:
    def test_dust_is_no_object(self):
        truth = shape("disc", (256, 256))
        image = scene(truth, [(0.8,), (0.2,)], noise=0.02)
        clean = found(image)
        rng = np.random.default_rng(0)
        for y, x in rng.integers(0, 250, (40, 2)):
            image[0, 0, y : y + 4, x : x + 4] = 0.9
        mask = found(image)[0]
        assert ndimage.label(mask)[1] == 1
        assert iou(mask, clean[0]) > 0.97

    def test_narrow_gap_is_closed(self):
        truth = shape("rectangle", (256, 256))
        image = scene(truth, [(0.8,), (0.2,)])
        image[..., 126:130] = 0.2
        mask = found(image)[0]
        assert mask[90:166, 120:136].all()
        assert iou(mask, truth) >= 0.98


def textures(rng, size=(128, 128)):
    y, x = coordinates(size)
    white = rng.normal(size=size)
    stripes = np.sin(20 * x + 0 * y)
    return {
        "constant": np.zeros(size),
        "noise": 0.1 * white,
        "soft noise": 2 * ndimage.gaussian_filter(white, 6),
        "gradient": 0.3 * y + 0.2 * x,
        "vignette": 0.01 * white - 0.2 * (y**2 + x**2),
        "spot of light": 0.01 * white + 0.4 * np.exp(-3 * (y**2 + x**2)),
        "brushed": 0.2 * ndimage.gaussian_filter(white, (20, 0)),
        "fine stripes": 0.2 * np.sign(stripes) + 0.02 * white,
        "chequered": 0.2 * np.sign(stripes * np.sin(20 * y)) + 0.02 * white,
        "one dark side": 0.05 * white - 0.4 * (x > 0.8),
        "dark corners": 0.02 * white - 0.3 * (abs(x) + abs(y) > 1.75),
    }


class TestEverything:
    @pytest.mark.parametrize("seed", range(3))
    @pytest.mark.parametrize("name", textures(np.random.default_rng()))
    def test_on_textures(self, name, seed):
        levels = 0.5 + textures(np.random.default_rng(seed))[name]
        image = torch.from_numpy(levels.clip(0, 1).astype(np.float32))[None, None]
        assert found(image).all()
        assert found(image.expand(-1, 3, -1, -1)).all()

    @pytest.mark.parametrize("radius", [0.1, 1.35])
    def test_where_the_object_is_implausibly_small_or_large(self, radius):
        y, x = coordinates((256, 256))
        assert found(scene(np.hypot(y, x) < radius, [(0.8,), (0.2,)])).all()

    def test_where_most_of_the_border_is_object(self):
        y, x = coordinates((128, 128))
        assert found(scene(abs(x) + 0 * y < 0.7, [(0.8,), (0.2,)])).all()


class TestPadding:
    @settings(max_examples=25, deadline=None)
    @given(
        size=st.tuples(st.integers(16, 90), st.integers(16, 90)),
        before=st.tuples(st.integers(0, 30), st.integers(0, 30)),
        after=st.tuples(st.integers(0, 30), st.integers(0, 30)),
        padding=st.sampled_from([0.0, 0.5, 1.0]),
        seed=st.integers(0, 99),
    )
    def test_counts_for_nothing(self, size, before, after, padding, seed):
        inside = shape("disc", size)
        image = scene(inside, [(0.3, 0.2, 0.2), (0.6, 0.6, 0.7)], noise=0.02, seed=seed)
        (top, left), (bottom, right) = before, after
        pad = (left, right, top, bottom)
        padded = torch.nn.functional.pad(image, pad, value=padding)
        box = (top, left, top + size[0], left + size[1])
        masks = found(padded, box_masks([box], padded))
        (cut,) = contents(masks, [box])
        np.testing.assert_array_equal(cut, found(image)[0])

    def test_padding_of_the_object_s_colour_around_a_texture(self):
        rng = np.random.default_rng(0)
        image = torch.zeros(1, 1, 128, 128)
        valid = box_masks([(0, 30, 128, 90)], image)
        texture = torch.from_numpy(0.5 + 0.05 * rng.normal(size=image.shape)).float()
        image = torch.where(valid, texture, image)
        np.testing.assert_array_equal(found(image, valid), valid[0].numpy())

    def test_valid_area_that_is_no_box(self):
        y, x = coordinates((256, 256))
        truth = np.hypot(y - 0.35, x + 0.35) < 0.2
        image = scene(truth, [(0.8,), (0.4,)], noise=0.02)
        valid = torch.from_numpy(y > x)[None, None]
        image[~valid] = 0
        assert iou(found(image, valid)[0], truth) >= 0.95

    @pytest.mark.filterwarnings("error")
    @pytest.mark.parametrize("box", [(10, 0, 11, 64), (5, 20, 60, 21), (3, 3, 18, 60)])
    def test_narrow_image_is_all_object(self, box):
        image = scene(shape("disc", (64, 64)), [(0.8,), (0.2,)])
        valid = box_masks([box], image)
        np.testing.assert_array_equal(found(image, valid), valid[:, 0])


class TestInvariants:
    def batch(self):
        names = ["disc", "ring", "strip", "two discs"]
        scenes = [
            scene(shape(name, (96, 80)), [(0.7, 0.6, 0.3), (0.4, 0.4, 0.4)], noise=0.03, seed=i)
            for i, name in enumerate(names)
        ]
        noise = torch.rand(1, 3, 96, 80, generator=torch.Generator().manual_seed(0))
        images = torch.cat([*scenes, noise])
        boxes = [(0, 0, 96, 80), (3, 5, 90, 80), (0, 0, 96, 80), (0, 8, 96, 72), (20, 0, 96, 80)]
        return images, box_masks(boxes, images)

    def test_batch_and_order_do_not_matter(self):
        images, valid = self.batch()
        masks = object_masks(images, valid)
        order = [3, 0, 4, 2, 1]
        assert torch.equal(object_masks(images[order], valid[order]), masks[order])
        for i in range(len(images)):
            assert torch.equal(object_masks(images[i : i + 1], valid[i : i + 1])[0], masks[i])

    def test_memory_layout_and_threads_do_not_matter(self):
        images, valid = self.batch()
        masks = object_masks(images, valid)
        threads = torch.get_num_threads()
        torch.set_num_threads(1 if threads > 1 else 2)
        try:
            again = object_masks(images.contiguous(memory_format=torch.channels_last), valid)
        finally:
            torch.set_num_threads(threads)
        assert torch.equal(again, masks)

    def test_input_stays_as_it_is(self):
        images, valid = self.batch()
        before = images.clone(), valid.clone()
        object_masks(images, valid)
        assert torch.equal(images, before[0])
        assert torch.equal(valid, before[1])


class TestForegroundOf:
    boxes = ((0, 0, 64, 64), (8, 0, 56, 64), (0, 10, 64, 54))

    def images(self):
        inside = shape("disc", (64, 64))
        scenes = [
            scene(inside, [(0.7, 0.3, 0.3), (0.4,) * 3], noise=0.02, seed=i) for i in (1, 2, 3)
        ]
        return (torch.cat(scenes) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()

    @pytest.mark.parametrize("batch", [1, 2, 32])
    def test_equals_the_masks_of_the_images_in_training(self, batch):
        images = self.images()
        pixels = torch.from_numpy(images).permute(0, 3, 1, 2) / 255
        expected = object_masks(pixels, box_masks(self.boxes, pixels))[:, 0].numpy()
        masks = foreground_of(images, self.boxes, batch)
        assert masks.dtype == bool
        np.testing.assert_array_equal(masks, expected)
        assert 0 < masks.mean() < 0.5

    def test_read_only_images(self):
        images = self.images()
        images.flags.writeable = False
        assert foreground_of(images, self.boxes).any()

    def test_no_images(self):
        assert foreground_of(np.empty((0, 64, 64, 3), np.uint8), []).shape == (0, 64, 64)


def prepared(files, size, resize):
    pictures = [read_image(file) for file in files]
    boxes = [content_box(p.shape[1], p.shape[0], size, resize) for p in pictures]
    return np.stack([fit_image(p, size, resize) for p in pictures]), boxes


def shares(images, boxes):
    masks = foreground_of(images, boxes)
    return masks, np.array([mask.mean() for mask in contents(masks, boxes)])


class TestRealImages:
    """Normal images of training only."""

    def test_heads_of_toothbrushes(self, test_datasets):
        files = sorted((test_datasets / "mvtec_ad/toothbrush/train/good").iterdir())
        masks, covered = shares(*prepared(files, 128, "square"))
        assert len(masks) == 48
        assert covered.min() > 0.27
        assert covered.max() < 0.32
        for mask in masks:
            assert ndimage.label(mask)[1] == ndimage.label(~mask)[1] == 1  # no parts, no holes
            assert mask[64, 48:80].all()  # the bristles
            assert mask[-1, 58:70].all()  # the handle, which leaves the picture
            assert not mask[0].any()
            assert not mask[:, :25].any()
            assert not mask[:, -25:].any()

    @pytest.mark.parametrize("resize", ["square", "pad"])
    def test_magnetic_tiles_fill_the_picture(self, test_datasets, resize):
        files = sorted((test_datasets / "magnetic_tile/MT_Free/Imgs").glob("*.jpg"))[::16]
        _, covered = shares(*prepared(files, 128, resize))
        assert np.mean(covered > 0.9) > 0.95

    def test_solar_cells_fill_the_picture(self, elpv_cells):
        labels = (line.split() for line in (elpv_cells / "labels.csv").read_text().splitlines())
        files = [elpv_cells / path for path, probability, _ in labels if float(probability) == 0]
        _, covered = shares(*prepared(files, 128, "square"))
        assert covered.min() > 0.8
