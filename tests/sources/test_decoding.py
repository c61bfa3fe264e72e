import io
import pickle
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from daf_pipelines.errors import DataError, ImageError
from daf_pipelines.sources import decoding
from daf_pipelines.sources.decoding import open_image, read_bytes
from daf_pipelines.sources.images import read_image

NOISE = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)


def encode(file_format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(NOISE).save(buffer, file_format, **options)
    return buffer.getvalue()


def failure(data: bytes) -> ImageError:
    with pytest.raises(ImageError) as caught:
        read_image(data, "part.png")
    return caught.value


class TestFailures:
    def test_parts_make_up_the_message(self) -> None:
        error = failure(b"")
        assert (error.name, error.check) == ("part.png", "empty_file")
        assert error.finding == "not a readable image (the file is empty, 0 bytes)"
        assert error.remedy == "Replace or remove the file"
        assert str(error) == f"part.png: {error.finding}. {error.remedy}."
        assert isinstance(error, DataError)

    def test_survives_the_way_out_of_another_process(self) -> None:
        error = failure(b"")
        copy = pickle.loads(pickle.dumps(error))
        assert vars(copy) == vars(error)
        assert str(copy) == str(error)

    def test_missing_file(self, tmp_path: Path) -> None:
        with pytest.raises(ImageError, match="no such file") as caught:
            read_bytes(tmp_path / "a.png", "a.png")
        assert caught.value.check == "missing_file"

    def test_folder_in_place_of_a_file(self, tmp_path: Path) -> None:
        with pytest.raises(ImageError, match="directory") as caught:
            read_image(tmp_path)
        assert caught.value.check == "unreadable"

    @pytest.mark.parametrize(
        ("file_format", "options"),
        [
            ("PNG", {}),
            ("JPEG", {}),
            ("JPEG", {"progressive": True}),
            ("TIFF", {}),
            ("TIFF", {"compression": "tiff_lzw"}),
            ("BMP", {}),
            ("WEBP", {}),
            ("GIF", {}),
            ("PPM", {}),
        ],
    )
    def test_file_cut_among_its_pixels_is_truncated(
        self, file_format: str, options: dict[str, Any]
    ) -> None:
        data = encode(file_format, **options)
        assert failure(data[: len(data) * 3 // 4]).check == "truncated"

    @pytest.mark.parametrize("data", [b"not an image", b"\x89PNG\r\n\x1a\nand no more"])
    def test_unknown_content_is_unreadable(self, data: bytes) -> None:
        assert failure(data).check == "unreadable"

    @pytest.mark.parametrize("file_format", ["EPS", "ICO", "PDF", "TGA"])
    def test_other_formats_of_pillow_stay_closed(self, file_format: str) -> None:
        assert "its format is unknown" in failure(encode(file_format)).finding


class TestLimit:
    @pytest.mark.parametrize("file_format", ["PNG", "JPEG", "TIFF", "BMP", "WEBP", "GIF", "PPM"])
    def test_larger_images_are_refused_by_their_header(
        self, monkeypatch: pytest.MonkeyPatch, file_format: str
    ) -> None:
        data = encode(file_format)
        monkeypatch.setattr(decoding, "MAX_PIXELS", 600)
        assert read_image(data).shape == (20, 30, 3)
        monkeypatch.setattr(decoding, "MAX_PIXELS", 599)
        monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("a pixel was decoded"))
        error = failure(data)
        assert error.check == "decompression_bomb"
        assert "claims 30x20 pixels, 600 in all; up to 599 are decoded" in error.finding

    @pytest.mark.parametrize(
        ("file_format", "options"),
        [
            ("PNG", {}),
            ("JPEG", {}),
            ("TIFF", {}),
            ("TIFF", {"compression": "tiff_lzw"}),
            ("BMP", {}),
            ("GIF", {}),
            ("PPM", {}),
        ],
    )
    def test_limit_of_pillow_does_not_interfere(
        self, monkeypatch: pytest.MonkeyPatch, file_format: str, options: dict[str, Any]
    ) -> None:
        data = encode(file_format, **options)
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert read_image(data).shape == (20, 30, 3)
        assert Image.MAX_IMAGE_PIXELS == 10
        with pytest.raises(Image.DecompressionBombError):
            Image.open(io.BytesIO(data))

    def test_limit_of_pillow_ends_webp(self, monkeypatch: pytest.MonkeyPatch) -> None:
        data = encode("WEBP")
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
        assert failure(data).check == "decompression_bomb"


class TestOpenImage:
    def test_size_and_mode_without_decoding(self, monkeypatch: pytest.MonkeyPatch) -> None:
        data = encode("PNG")
        monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("a pixel was decoded"))
        with open_image(data, "a.png") as image:
            assert (image.size, image.mode, image.format) == ((30, 20), "RGB", "PNG")

    def test_odd_metadata_is_passed_over_and_other_warnings_are_not(self) -> None:
        exif = b"Exif\0\0II*\0\x08\0\0\0\x02\0\x12\x01"  # announces two tags and holds half of one
        data = encode("JPEG", exif=exif)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            Image.open(io.BytesIO(data)).getexif()
            assert ["Corrupt EXIF data" in str(w.message) for w in caught] == [True]
            caught.clear()
            assert read_image(data).shape == (20, 30, 3)
            filters = list(warnings.filters)
            read_image(data)
            assert warnings.filters == filters
            warnings.warn("mine", UserWarning, stacklevel=1)
        assert [str(w.message) for w in caught] == ["mine"]
