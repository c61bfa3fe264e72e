"""The experiment on magnetic tiles of all aspect ratios, which are padded to squares."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from PIL import Image
from sklearn.metrics import average_precision_score, roc_auc_score

from daf_pipelines.scoring.detector import Detector
from daf_pipelines.sources.image_set import ImageSet, load
from daf_pipelines.sources.images import contents
from served_model import predict
from small_project import SmallProject

SIZE = 64


@pytest.fixture(scope="module")
def test_set(padded_project: SmallProject) -> ImageSet:
    return load(padded_project.path("03_primary/test"))


@pytest.fixture(scope="module")
def inside(test_set: ImageSet) -> NDArray[np.bool_]:
    """Which pixels show the images, from their files."""
    root = Path(test_set.dataset["root"])
    pixels = np.zeros((len(test_set), SIZE, SIZE), dtype=bool)
    for part, path in zip(pixels, test_set.table["path"], strict=True):
        with Image.open(root / path) as image:
            width, height = (round(side * SIZE / max(image.size)) for side in image.size)
        part[(SIZE - height) // 2 :, (SIZE - width) // 2 :][:height, :width] = True
    return pixels


@pytest.fixture(scope="module")
def maps(padded_project: SmallProject) -> NDArray[np.float32]:
    array: NDArray[np.float32] = np.load(padded_project.path("07_model_output/anomaly_maps.npy"))
    return array


class TestEvaluation:
    def test_the_images_have_all_aspect_ratios(self, inside: NDArray[np.bool_]) -> None:
        heights, widths = inside.any(axis=2).sum(axis=1), inside.any(axis=1).sum(axis=1)
        assert (np.maximum(heights, widths) == SIZE).all()
        assert heights.min() < SIZE / 2
        assert widths.min() < SIZE / 2

    def test_only_pixels_of_the_images_have_scores(
        self, maps: NDArray[np.float32], inside: NDArray[np.bool_]
    ) -> None:
        np.testing.assert_array_equal(np.isfinite(maps), inside)

    def test_pixel_metrics_are_of_the_images(
        self,
        padded_project: SmallProject,
        test_set: ImageSet,
        maps: NDArray[np.float32],
        inside: NDArray[np.bool_],
    ) -> None:
        metrics = padded_project.metrics()
        assert test_set.masks is not None
        assert not test_set.masks[~inside].any()
        labels, scores = test_set.masks[inside], maps[inside]
        assert metrics["pixel_auroc"] == pytest.approx(roc_auc_score(labels, scores))
        assert metrics["pixel_ap"] == pytest.approx(average_precision_score(labels, scores))
        assert 0 <= metrics["aupro_030"] <= 1
        assert (metrics["n_test_normal"], metrics["n_test_anomalous"]) == (3, 5)

    def test_image_scores_are_of_the_images(
        self,
        padded_project: SmallProject,
        test_set: ImageSet,
        maps: NDArray[np.float32],
        inside: NDArray[np.bool_],
    ) -> None:
        scores = padded_project.scores().set_index("path").loc[test_set.table["path"], "raw_score"]
        for score, pixels, part in zip(scores, maps, inside, strict=True):
            count = round(2000 / 256**2 * part.sum())
            assert score == pytest.approx(np.sort(pixels[part])[-count:].mean(), rel=1e-4)

    def test_synthetic_outliers_lie_on_the_images(self, padded_project: SmallProject) -> None:
        outliers = load(padded_project.path("05_model_input/synthetic_validation"))
        assert outliers.masks is not None
        for mask, (top, left, bottom, right) in zip(outliers.masks, outliers.boxes, strict=True):
            assert mask.any()
            assert mask.sum() == mask[top:bottom, left:right].sum()


class TestInference:
    def test_scores_and_heatmaps(self, padded_project: SmallProject, tiles: Path) -> None:
        padded_project.run("inference", inference={"images": str(tiles / "tile/test")})
        folder = padded_project.path("07_model_output/inference")
        found = pd.read_csv(folder / "predictions.csv")
        names = [Path(path).relative_to(tiles).as_posix() for path in found["path"]]
        expected = padded_project.scores().set_index("path").loc[names]
        assert len(found) == len(expected) == 8
        assert found["score"].to_numpy() == pytest.approx(expected["score"].to_numpy(), abs=1e-5)
        assert found["label"].tolist() == expected["predicted"].tolist()
        for path, heatmap in zip(found["path"], found["heatmap"], strict=True):
            with Image.open(path) as image, Image.open(folder / heatmap) as picture:
                assert picture.size == image.size


class TestRegisteredModel:
    def test_predictions_are_those_of_the_evaluation(
        self,
        padded_project: SmallProject,
        test_set: ImageSet,
        maps: NDArray[np.float32],
        tmp_path: Path,
    ) -> None:
        predicted = predict(padded_project, "daf-mvtec_ad-tile", tmp_path)
        scores = padded_project.scores()
        assert predicted["table"]["score"] == pytest.approx(scores["score"].tolist(), abs=1e-5)
        assert predicted["table"]["label"] == scores["predicted"].tolist()
        pixel = Detector.load(padded_project.path("06_models/detector")).pixel
        place = test_set.table["path"].tolist().index(scores["path"][0])
        (expected,) = contents(pixel(maps[[place]]), [test_set.boxes[place]])
        np.testing.assert_allclose(predicted["maps"][0], expected, rtol=1e-4)
