import os

import numpy as np
import pytest
from PIL import Image

from daf_pipelines.errors import DataError, ParameterError
from daf_pipelines.parameters import InferenceParams
from daf_pipelines.scoring.inference import (
    heatmap_name,
    list_images,
    predict_files,
    write_heatmap,
)
from daf_pipelines.scoring.scale import Scale
from daf_pipelines.sources.images import contents, read_image

MODES = {
    "a_grey.png": ("L", (40, 30)),
    "b_colour.jpg": ("RGB", (123, 77)),
    "c_transparent.png": ("RGBA", (20, 50)),
    "d_palette.gif": ("P", (64, 64)),
    "e_deep.tif": ("I;16", (31, 57)),
    "f_binary.bmp": ("1", (16, 90)),
    "sub/a_grey.png": ("L", (300, 200)),
    "sub/tiny.png": ("RGB", (1, 1)),
}


def random_image(mode, size, seed=0):
    width, height = size
    rng = np.random.default_rng(seed)
    if mode == "I;16":
        return Image.fromarray(rng.integers(0, 65536, (height, width), dtype=np.uint16))
    colours = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(colours).convert(mode)


@pytest.fixture
def folder(tmp_path):
    """Images of several sizes and modes, and one that cannot be read."""
    for seed, (name, (mode, size)) in enumerate(MODES.items()):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        random_image(mode, size, seed).save(path)
    (tmp_path / "in" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and then nothing")
    return tmp_path / "in"


class TestListImages:
    def test_folder_with_its_sub_folders(self, folder):
        (folder / "notes.txt").touch()
        found = list_images(InferenceParams(images=folder))
        expected = {folder / name for name in MODES} | {folder / "broken.png"}
        assert set(found) == expected
        assert found == sorted(found)

    def test_one_file(self, folder):
        file = folder / "a_grey.png"
        assert list_images(InferenceParams(images=file)) == [file]

    def test_list_in_the_given_order(self, folder):
        files = [folder / "sub/tiny.png", folder / "a_grey.png", folder / "none.png"]
        assert list_images(InferenceParams(images=files)) == files

    @pytest.mark.parametrize("images", [None, []])
    def test_none_given(self, images):
        with pytest.raises(ParameterError, match=r"inference\.images is not set.*--params"):
            list_images(InferenceParams(images=images))

    def test_missing_folder(self, tmp_path):
        with pytest.raises(DataError, match=r"inference\.images: .*nowhere does not exist"):
            list_images(InferenceParams(images=tmp_path / "nowhere"))

    def test_empty_folder(self, tmp_path):
        (tmp_path / "notes.txt").touch()
        with pytest.raises(DataError, match=r"inference\.images: .* has no image files.*\.png"):
            list_images(InferenceParams(images=tmp_path))


class TestPredictFiles:
    @pytest.fixture
    def calibrated(self, make_detector, folder):
        """A detector whose threshold lies between the scores of the images."""
        detector = make_detector()
        scores = [self.score(detector, folder / name) for name in MODES]
        detector.image = Scale(float(np.median(scores)), 0.0)
        detector.pixel = Scale(float(np.median(scores)), 0.0)
        return detector

    def score(self, detector, path):
        return detector.score(detector.prepare(path)[0][None]).scores[0]

    @pytest.mark.parametrize("batch_size", [1, 4, 100])
    def test_table(self, calibrated, folder, tmp_path, batch_size):
        paths = list_images(InferenceParams(images=folder))
        table = predict_files(calibrated, paths, tmp_path / "out", batch_size)
        columns = ["path", "score", "label", "anomalous_area", "raw_score", "heatmap", "error"]
        assert list(table.columns) == columns
        assert table["path"].tolist() == [str(p) for p in paths]
        good = table[table["path"] != str(folder / "broken.png")]
        expected = [self.score(calibrated, p) for p in paths if p.name != "broken.png"]
        np.testing.assert_allclose(good["raw_score"].astype(float), expected, rtol=1e-5)
        np.testing.assert_allclose(
            good["score"].astype(float), calibrated.image(expected), rtol=1e-4
        )
        above = (good["score"] > 0.5).astype(int)
        assert good["label"].tolist() == above.tolist()
        assert set(above) == {0, 1}
        assert good["anomalous_area"].between(0, 1).all()
        assert good["anomalous_area"].nunique() > 1
        assert good["error"].isna().all()

    def test_names_that_are_no_text(self, calibrated, tmp_path):
        names = [os.fsdecode(name) for name in (b"caf\xe9.png", b"broken\xff.png")]
        (tmp_path / "images").mkdir()
        random_image("RGB", (40, 30)).save(os.fsencode(tmp_path / "images" / names[0]), "png")
        (tmp_path / "images" / names[1]).write_bytes(b"")
        table = predict_files(
            calibrated, [tmp_path / "images" / n for n in names], tmp_path / "out"
        )
        table.to_csv(tmp_path / "out" / "predictions.csv")
        assert table["path"].str.endswith(("caf\\udce9.png", "broken\\udcff.png")).all()
        assert table["error"].isna().tolist() == [True, False]
        assert (tmp_path / "out" / table["heatmap"][0]).is_file()

    def test_unreadable_file_has_its_reason_and_nothing_else(self, calibrated, folder, tmp_path):
        paths = list_images(InferenceParams(images=folder))
        table = predict_files(calibrated, paths, tmp_path / "out").set_index("path")
        row = table.loc[str(folder / "broken.png")]
        assert "broken.png: not a readable image" in row["error"]
        assert row[["score", "label", "anomalous_area", "heatmap"]].isna().all()

    def test_heatmaps_have_the_size_of_their_image(self, calibrated, folder, tmp_path):
        paths = [folder / name for name in MODES]
        table = predict_files(calibrated, paths, tmp_path / "out")
        for name, heatmap in zip(MODES, table["heatmap"], strict=True):
            with Image.open(tmp_path / "out" / heatmap) as picture:
                assert picture.size == MODES[name][1]
                assert picture.mode == "RGB"
        written = {f"heatmaps/{p.name}" for p in (tmp_path / "out" / "heatmaps").iterdir()}
        assert written == set(table["heatmap"])
        assert len(written) == len(MODES)  # a_grey.png is there twice

    def test_heatmaps_of_other_images_go(self, calibrated, folder, tmp_path):
        first, second = folder / "a_grey.png", folder / "b_colour.jpg"
        for paths in ([first, folder / "broken.png"], [second]):
            table = predict_files(calibrated, paths, tmp_path / "out")
        written = [f"heatmaps/{p.name}" for p in (tmp_path / "out/heatmaps").iterdir()]
        assert written == table["heatmap"].tolist()
        assert [p.name for p in (tmp_path / "out").iterdir()] == ["heatmaps"]

    def test_padded_images(self, make_detector, folder, tmp_path):
        detector = make_detector(resize="pad", image=Scale(1.0), pixel=Scale(1.0))
        paths = [folder / name for name in MODES]
        table = predict_files(detector, paths, tmp_path / "out", batch_size=3)
        for name, score, heatmap in zip(MODES, table["raw_score"], table["heatmap"], strict=True):
            pixels, box = detector.prepare(folder / name)
            scores, maps = detector.score(pixels[None], [box])
            assert score == pytest.approx(scores[0], rel=1e-5)
            (content,) = contents(maps, [box])
            image = read_image(folder / name)
            write_heatmap(image, detector.heat(content), tmp_path / "expected.png")
            found, expected = (
                np.asarray(Image.open(p)).astype(int)
                for p in (tmp_path / "out" / heatmap, tmp_path / "expected.png")
            )
            assert found.shape == image.shape
            np.testing.assert_allclose(found, expected, atol=1)

    def test_orientation_of_the_camera_is_applied(self, calibrated, tmp_path):
        exif = Image.Exif()
        exif[0x0112] = 6  # a quarter turn
        random_image("RGB", (60, 40)).save(tmp_path / "turned.jpg", exif=exif)
        table = predict_files(calibrated, [tmp_path / "turned.jpg"], tmp_path / "out")
        with Image.open(tmp_path / "out" / table.loc[0, "heatmap"]) as picture:
            assert picture.size == (40, 60)

    def test_only_unreadable_files(self, calibrated, folder, tmp_path):
        (tmp_path / "empty.png").touch()
        paths = [folder / "broken.png", tmp_path / "empty.png", tmp_path / "gone.png", tmp_path]
        table = predict_files(calibrated, paths, tmp_path / "out")
        assert table["error"].notna().all()
        assert "0 bytes" in table.loc[1, "error"]
        assert "no such file" in table.loc[2, "error"]
        assert table[["score", "label", "anomalous_area", "heatmap"]].isna().all(axis=None)

    def test_a_file_that_is_named_twice(self, calibrated, folder, tmp_path):
        table = predict_files(calibrated, [folder / "a_grey.png"] * 2, tmp_path / "out")
        assert table.loc[0].equals(table.loc[1])


class TestHeatmapName:
    def test_same_name_in_different_folders(self, tmp_path):
        names = {heatmap_name(tmp_path / f / "cell.png") for f in ("a", "b", "a/b")}
        assert len(names) == 3
        assert all(n.startswith("cell-") and n.endswith(".png") for n in names)

    def test_relative_and_absolute_path_of_one_file(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "cell.png").touch()
        relative = (tmp_path / "cell.png").relative_to(tmp_path)
        assert heatmap_name(relative) == heatmap_name(tmp_path / "cell.png")

    def test_long_names_fit_a_file_system(self, tmp_path):
        for stem in ("x" * 251, "ü" * 125, "電" * 83):
            assert len(heatmap_name(tmp_path / f"{stem}.png").encode()) <= 255


def test_heat_lies_where_the_map_is_high(tmp_path):
    image = np.full((40, 60, 3), (90, 120, 60), np.uint8)
    heat = np.zeros((4, 6), np.float32)
    heat[:, 4:] = 1
    write_heatmap(image, heat, tmp_path / "h.png")
    found = np.asarray(Image.open(tmp_path / "h.png")).astype(int)
    assert found.shape == image.shape
    spread = found.max(axis=2) - found.min(axis=2)
    assert spread[:, :30].max() == 0  # grey where normal
    assert spread[:, 50:].min() > 50  # coloured where not
