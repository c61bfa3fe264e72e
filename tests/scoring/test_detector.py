import io
import json

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage

from daf_pipelines.errors import DataError
from daf_pipelines.parameters import DatasetParams, ScoringParams
from daf_pipelines.scoring.detector import Detector, image_scores
from daf_pipelines.scoring.scale import Scale
from daf_pipelines.sources.images import read_image
from ingested import prepare


def as_tensor(images):
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255


class TestMaps:
    @pytest.mark.parametrize(
        "scoring",
        [
            {},
            {"segmentation_weight": 0.5, "blur_sigma": 9},
            {"discrepancy_weight": 2.5, "blur_sigma": 0.1},
        ],
    )
    @torch.no_grad()
    def test_blurred_sum_of_discrepancy_and_weighted_probability(
        self, make_detector, images, scoring
    ):
        detector = make_detector(scoring)
        params = ScoringParams(**scoring)
        discrepancy, probability = detector.model(as_tensor(images))
        plain = params.discrepancy_weight * discrepancy + params.segmentation_weight * probability
        plain = plain[:, 0].double().numpy()
        sigma = params.blur_sigma * 96 / 256
        found = detector.score(images).maps
        assert found.shape == (5, 96, 96)
        assert found.dtype == np.float32
        for blurred, unblurred in zip(found, plain, strict=True):
            # scipy calls the reflection without repeated edge "mirror".
            expected = ndimage.gaussian_filter(unblurred, sigma, mode="mirror", truncate=4)
            np.testing.assert_allclose(blurred, expected, rtol=1e-5, atol=1e-5)

    @torch.no_grad()
    def test_without_blur(self, make_detector, images):
        detector = make_detector({"blur_sigma": 0})
        discrepancy, probability = detector.model(as_tensor(images))
        expected = (discrepancy + 3 * probability)[:, 0].numpy()
        np.testing.assert_allclose(detector.score(images).maps, expected, rtol=1e-5, atol=1e-6)

    def test_widest_blur_fits_the_smallest_images(self, make_detector):
        detector = make_detector({"blur_sigma": 32})
        ones = torch.ones(1, 1, 32, 32)
        torch.testing.assert_close(detector.combine(ones, 0 * ones), ones)

    def test_a_default_point_is_spread_over_sigma_4_at_256(self, make_detector):
        point = torch.zeros(1, 1, 256, 256)
        point[..., 128, 128] = 1
        found = make_detector().combine(0 * point, point)[0, 0]
        assert found.sum().item() == pytest.approx(3, rel=1e-5)
        offsets = torch.arange(256) - 128.0
        variance = (found.sum(dim=0) * offsets**2).sum() / 3
        assert variance.item() == pytest.approx(16, rel=0.02)


class TestImageScores:
    def test_mean_of_the_50_largest_at_256(self):
        maps = torch.zeros(2, 1, 256, 256)
        maps[0].view(-1)[torch.randperm(256**2)[:50]] = torch.arange(1.0, 51)
        maps[1] = 7
        assert image_scores(maps, ScoringParams()).tolist() == [25.5, 7]

    @pytest.mark.parametrize(
        ("size", "count"), [(512, 200), (256, 50), (128, 12), (64, 3), (32, 1)]
    )
    def test_share_of_the_pixels_is_the_same_at_every_size(self, size, count):
        values = torch.arange(float(size**2)).flip(0)
        found = image_scores(values.view(1, 1, size, size), ScoringParams())
        assert found.item() == pytest.approx(size**2 - 1 - (count - 1) / 2)

    def test_more_than_there_are(self):
        maps = torch.tensor([1.0, 2, 3, 6]).view(1, 1, 2, 2)
        assert image_scores(maps, ScoringParams(top_pixels=10**6)) == 3

    def test_of_the_map_that_is_returned(self, make_detector, images):
        scores, maps = make_detector().score(images)
        count = round(50 * 96**2 / 256**2)
        expected = np.sort(maps.reshape(5, -1))[:, -count:].mean(axis=1)
        np.testing.assert_allclose(scores, expected, rtol=1e-5)
        assert scores.dtype == np.float32
        assert len(set(scores.tolist())) == 5


BOXES = [(0, 0, 96, 96), (20, 0, 77, 96), (0, 35, 96, 61), (20, 0, 77, 96), (47, 0, 48, 96)]


class TestPadding:
    def test_maps_are_nan_in_it_and_nowhere_else(self, make_detector, images):
        scores, maps = make_detector().score(images, BOXES)
        for pixels, (top, left, bottom, right) in zip(maps, BOXES, strict=True):
            inside = np.zeros((96, 96), dtype=bool)
            inside[top:bottom, left:right] = True
            np.testing.assert_array_equal(np.isfinite(pixels), inside)
        assert np.isfinite(scores).all()

    @pytest.mark.parametrize("scoring", [{}, {"blur_sigma": 9, "top_pixels": 2000}])
    @pytest.mark.parametrize("padding", [0, 1e9, float("nan"), -float("inf")])
    def test_what_the_networks_say_of_it_does_not_matter(self, make_detector, scoring, padding):
        detector = make_detector(scoring)
        outputs = torch.rand(2, 5, 1, 96, 96, generator=torch.Generator().manual_seed(0))
        other = torch.full_like(outputs, padding)
        for i, (top, left, bottom, right) in enumerate(BOXES):
            content = (slice(None), i, slice(None), slice(top, bottom), slice(left, right))
            other[content] = outputs[content]
        expected, found = (detector.combine(*o, BOXES) for o in (outputs, other))
        torch.testing.assert_close(found, expected, rtol=0, atol=0, equal_nan=True)
        scores = image_scores(found, detector.scoring, BOXES)
        assert torch.equal(scores, image_scores(expected, detector.scoring, BOXES))
        assert scores.isfinite().all()

    @pytest.mark.parametrize("scoring", [{}, {"top_pixels": 2000, "segmentation_weight": 1}])
    def test_scores_are_those_of_the_content_alone(self, make_detector, scoring):
        detector = make_detector(scoring)
        params = ScoringParams(**scoring)
        outputs = torch.rand(2, 5, 1, 96, 96, generator=torch.Generator().manual_seed(0))
        maps = detector.combine(*outputs, BOXES)
        scores = image_scores(maps, params, BOXES)
        plain = (outputs[0] + params.segmentation_weight * outputs[1])[:, 0].double().numpy()
        for i, (top, left, bottom, right) in enumerate(BOXES[:4]):
            content = plain[i, top:bottom, left:right]
            blurred = ndimage.gaussian_filter(content, 1.5, mode="mirror", truncate=4)
            np.testing.assert_allclose(maps[i, 0, top:bottom, left:right], blurred, rtol=1e-5)
            count = round(params.top_pixels * content.size / 256**2)
            expected = np.sort(blurred.ravel())[-count:].mean()
            assert scores[i].item() == pytest.approx(expected, rel=1e-5)

    @pytest.mark.parametrize("box", [(16, 0, 17, 32), (0, 9, 32, 11), (16, 0, 22, 32)])
    def test_widest_blur_of_the_thinnest_content(self, make_detector, box):
        detector = make_detector({"blur_sigma": 32})
        top, left, bottom, right = box
        maps = torch.full((1, 1, 32, 32), torch.nan)
        maps[..., top:bottom, left:right] = 2
        found = detector.combine(maps, 0 * maps, [box])
        torch.testing.assert_close(found, maps, equal_nan=True)

    @pytest.mark.parametrize("batch_size", [1, 2, 16])
    def test_batch_size_does_not_matter(self, make_detector, images, batch_size):
        detector = make_detector()
        expected = detector.score_batch(images, BOXES)
        found = detector.score(images, BOXES, batch_size)
        np.testing.assert_allclose(found.scores, expected.scores, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(found.maps, expected.maps, rtol=1e-5, atol=1e-5)

    def test_without_padding_boxes_change_nothing(self, make_detector, images):
        detector = make_detector()
        for found, expected in zip(
            detector.score(images, [(0, 0, 96, 96)] * 5), detector.score(images), strict=True
        ):
            np.testing.assert_array_equal(found, expected)

    def test_another_number_of_boxes(self, make_detector, images):
        with pytest.raises(ValueError, match="one per image, 5; got 4"):
            make_detector().score_batch(images, BOXES[:4])

    def test_no_images(self, make_detector, images):
        scores, maps = make_detector().score(images[:0], [])
        assert (scores.shape, maps.shape) == ((0,), (0, 96, 96))


class TestScore:
    @pytest.mark.parametrize("batch_size", [1, 2, 16])
    def test_batch_size_does_not_matter(self, make_detector, images, batch_size):
        detector = make_detector()
        expected = detector.score_batch(images)
        found = detector.score(images, batch_size=batch_size)
        np.testing.assert_allclose(found.scores, expected.scores, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(found.maps, expected.maps, rtol=1e-5, atol=1e-5)

    def test_read_only_images_are_left_alone(self, make_detector, images, recwarn):
        images.flags.writeable = False
        before = images.copy()
        make_detector().score(images)
        np.testing.assert_array_equal(images, before)
        assert not [w for w in recwarn if "writ" in str(w.message)]

    def test_a_model_in_training_mode_is_set_to_evaluation(self, make_detector, images):
        detector = make_detector()
        again = Detector(detector.model.train(), detector.scoring, 96)
        state = {k: v.clone() for k, v in again.model.state_dict().items()}
        again.score(images)
        assert all(torch.equal(v, state[k]) for k, v in again.model.state_dict().items())


class TestHeat:
    def test_from_nothing_to_brightest(self, make_detector):
        detector = make_detector(pixel=Scale(2.0, 1.0), heat_from=0.25)
        # Calibrated 0.25, 0.5, 0.95 and beyond either end; NaN is padding.
        heat = detector.heat(np.array([1, 2, 11, 0, 99, np.nan], dtype=np.float32))
        np.testing.assert_allclose(heat, [0, 0.25 / 0.7, 1, 0, 1, np.nan], rtol=1e-6)


class TestSaveAndLoad:
    def test_scores_are_identical(self, make_detector, images, tmp_path):
        saved = make_detector({"top_pixels": 20, "blur_sigma": 2})
        saved.save(tmp_path / "d")
        loaded = Detector.load(tmp_path / "d")
        for a, b in zip(saved.score(images), loaded.score(images), strict=True):
            np.testing.assert_array_equal(a, b)

    def test_everything_else_travels_with_it(self, make_detector, tmp_path):
        saved = make_detector(
            image=Scale(1 / 3, 0.1),
            pixel=Scale(2 / 3, 0.2),
            thresholds={"image": {"normals": 1 / 3, "synthetic": 0.4}, "pixel": {}},
            heat_from=0.125,
            metadata={"dataset": {"seed": 0}, "n": None},
            resize="pad",
        )
        saved.save(tmp_path / "d")
        loaded = Detector.load(tmp_path / "d")
        for name in ("image", "pixel", "thresholds", "heat_from", "metadata"):
            assert getattr(loaded, name) == getattr(saved, name), name
        for name in ("image_size", "resize", "scoring"):
            assert getattr(loaded, name) == getattr(saved, name), name
        assert loaded.model.params == saved.model.params
        assert not loaded.model.training
        assert json.loads((tmp_path / "d" / "config.json").read_text())["image_size"] == 96

    def test_saved_in_another_format(self, make_detector, tmp_path):
        make_detector().save(tmp_path / "d")
        file = tmp_path / "d" / "config.json"
        config = json.loads(file.read_text())
        del config["pixel"]
        file.write_text(json.dumps(config))
        with pytest.raises(DataError, match=r"another version.*: pixel not found.*evaluation"):
            Detector.load(tmp_path / "d")

    def test_uncalibrated(self, make_detector, tmp_path):
        make_detector().save(tmp_path / "d")
        with pytest.raises(ValueError, match="without a threshold"):
            Detector.load(tmp_path / "d").image.labels([1e30])

    def test_missing(self, tmp_path):
        with pytest.raises(DataError, match="holds no trained model"):
            Detector.load(tmp_path / "none")


class TestPrepare:
    """One path for pixels: what is scored is what was trained on."""

    @pytest.fixture
    def root(self, tmp_path):
        rng = np.random.default_rng(0)
        shapes = {
            "grey.png": (40, 60),
            "rgb.png": (50, 30, 3),
            "rgba.png": (45, 45, 4),
            "deep.png": (33, 70),
            "photo.jpg": (64, 48, 3),
        }
        for name, shape in shapes.items():
            path = tmp_path / "bolt" / "train" / "good" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            dtype = np.uint16 if name == "deep.png" else np.uint8
            pixels = rng.integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)
            Image.fromarray(pixels).save(path)
        for folder, seed in [("good", 1), ("dent", 2)]:
            path = tmp_path / "bolt" / "test" / folder / "000.png"
            path.parent.mkdir(parents=True)
            Image.fromarray(np.full((9, 9), 40 * seed, np.uint8)).save(path)
        mask = tmp_path / "bolt" / "ground_truth" / "dent" / "000_mask.png"
        mask.parent.mkdir(parents=True)
        Image.fromarray(np.eye(9, dtype=np.uint8) * 255).save(mask)
        return tmp_path

    @pytest.mark.parametrize("resize", ["square", "pad"])
    def test_equals_the_prepared_image_set(self, make_detector, root, resize):
        params = DatasetParams(
            source="mvtec_ad", root=root, category="bolt", image_size=96, resize=resize
        )
        detector = make_detector(resize=resize)
        seen = set()
        for split in ("train", "calibration"):
            images = prepare(params, 0, split)
            for path, pixels, box in zip(
                images.table["path"], images.images, images.boxes, strict=True
            ):
                encoded = (root / path).read_bytes()
                for image in (root / path, encoded, read_image(encoded)):
                    found, where = detector.prepare(image)
                    np.testing.assert_array_equal(found, pixels)
                    assert where == box
                assert found.shape == (96, 96, 3)
                seen.add(path.rpartition("/")[2])
        assert seen == {"grey.png", "rgb.png", "rgba.png", "deep.png", "photo.jpg"}

    def test_unreadable(self, make_detector):
        with pytest.raises(DataError, match="not a readable image"):
            make_detector().prepare(b"no image")

    def test_bytes(self, make_detector):
        buffer = io.BytesIO()
        Image.new("RGB", (96, 96), (10, 20, 30)).save(buffer, "png")
        pixels, _ = make_detector().prepare(buffer.getvalue())
        assert pixels[5, 5].tolist() == [10, 20, 30]
