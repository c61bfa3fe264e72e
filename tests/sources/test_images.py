import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from daf_pipelines.errors import DataError, ImageError
from daf_pipelines.sources.images import (
    content_box,
    contents,
    find_images,
    fit_image,
    fit_mask,
    read_image,
    read_mask,
    resize_image,
    resize_mask,
)

GREY = np.array([[0, 10, 200], [255, 128, 1]], dtype=np.uint8)
COLOUR = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255]], [[9, 8, 7], [0, 0, 0], [50] * 3]])
COLOUR = COLOUR.astype(np.uint8)


def encode(image: Image.Image, file_format: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def grey_rgb(values: NDArray[Any]) -> NDArray[np.uint8]:
    return np.stack([values] * 3, axis=-1).astype(np.uint8)


def png_16_bit_rgb(values: NDArray[np.uint16]) -> bytes:
    """A PNG file of 16-bit colour, which Pillow does not write."""
    height, width, _ = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in chunks
    )


def tiff(tags: dict[int, list[int]], data: bytes) -> bytes:
    """A little-endian TIFF file of 32-bit tags; `data` begins at byte 8."""
    extra, entries = b"", b""
    extra_start = 8 + len(data) + 2 + 12 * len(tags) + 4
    for tag, values in sorted(tags.items()):
        packed = struct.pack(f"<{len(values)}I", *values)
        if len(values) > 1:
            packed, extra = struct.pack("<I", extra_start + len(extra)), extra + packed
        entries += struct.pack("<HHI", tag, 4, len(values)) + packed
    directory = struct.pack("<H", len(tags)) + entries + bytes(4)
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + directory + extra


def tiff_16_bit_rgb(values: NDArray[np.uint16]) -> bytes:
    """A TIFF file of 16-bit colour, which Pillow does not write."""
    height, width, _ = values.shape
    data = values.astype("<u2").tobytes()
    size = {256: [width], 257: [height], 258: [16] * 3, 259: [1], 262: [2], 277: [3]}
    return tiff(size | {273: [8], 278: [height], 279: [len(data)]}, data)


def tiled_tiff(values: NDArray[np.uint8]) -> bytes:
    """A greyscale TIFF file of 16 x 16 tiles, which Pillow does not write."""
    height, width = values.shape
    padded = np.pad(values, ((0, -height % 16), (0, -width % 16)))
    tiles = padded.reshape(padded.shape[0] // 16, 16, -1, 16).swapaxes(1, 2).reshape(-1, 256)
    size = {256: [width], 257: [height], 258: [8], 259: [1], 262: [1], 277: [1]}
    layout = {322: [16], 323: [16], 325: [256] * len(tiles)}
    offsets = [8 + 256 * index for index in range(len(tiles))]
    return tiff(size | layout | {324: offsets}, tiles.tobytes())


class TestReadImage:
    @pytest.mark.parametrize("file_format", ["PNG", "BMP", "TIFF", "PPM", "GIF"])
    def test_greyscale(self, file_format: str) -> None:
        image = read_image(encode(Image.fromarray(GREY), file_format))
        assert image.dtype == np.uint8
        np.testing.assert_array_equal(image, grey_rgb(GREY))

    @pytest.mark.parametrize(
        ("file_format", "options"),
        [
            ("PNG", {}),
            ("BMP", {}),
            ("PPM", {}),
            ("TIFF", {}),
            ("TIFF", {"compression": "tiff_lzw"}),
            ("TIFF", {"compression": "tiff_adobe_deflate"}),
            ("TIFF", {"strip_size": 9}),  # a strip a row
            ("TIFF", {"big_tiff": True}),
            ("WEBP", {"lossless": True}),
        ],
    )
    def test_colour_is_rgb(self, file_format: str, options: dict[str, Any]) -> None:
        data = encode(Image.fromarray(COLOUR), file_format, **options)
        np.testing.assert_array_equal(read_image(data), COLOUR)

    def test_bilevel(self) -> None:
        data = encode(Image.fromarray(GREY > 100))
        np.testing.assert_array_equal(read_image(data), grey_rgb((GREY > 100) * 255))

    @pytest.mark.parametrize("file_format", ["PNG", "TIFF", "PPM"])
    def test_16_bit_uses_the_full_range_whatever_the_image_holds(self, file_format: str) -> None:
        values = np.array([[0, 257, 4095], [32768, 65278, 65535]], dtype=np.uint16)
        image = read_image(encode(Image.fromarray(values), file_format))
        np.testing.assert_array_equal(image, grey_rgb(np.array([[0, 1, 16], [128, 254, 255]])))
        dark = read_image(encode(Image.fromarray(values // 257), file_format))
        assert dark.max() == 1

    def test_16_bit_is_rounded(self) -> None:
        values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
        image = read_image(encode(Image.fromarray(values)))
        np.testing.assert_array_equal(image, grey_rgb(np.rint(values / 257)))

    def test_16_bit_big_endian_tiff(self) -> None:
        image = Image.frombytes("I;16B", (2, 1), bytes([0, 0, 128, 0]))
        data = encode(image, "TIFF")
        np.testing.assert_array_equal(read_image(data), grey_rgb(np.array([[0, 128]])))

    @pytest.mark.parametrize("build", [png_16_bit_rgb, tiff_16_bit_rgb])
    def test_16_bit_colour_keeps_its_upper_bits(self, build: Any) -> None:
        values = np.array([[[0, 257, 0xABCD], [0xFFFF, 0x8000, 0x00FF]]], dtype=np.uint16)
        np.testing.assert_array_equal(read_image(build(values)), values >> 8)

    def test_tiled_tiff(self) -> None:
        values = np.random.default_rng(0).integers(0, 256, (40, 24), dtype=np.uint8)
        np.testing.assert_array_equal(read_image(tiled_tiff(values)), grey_rgb(values))

    def test_32_bit_integers_count_as_16_bit(self) -> None:
        data = encode(Image.fromarray(np.array([[0, 65535]], dtype=np.int32)), "TIFF")
        np.testing.assert_array_equal(read_image(data), grey_rgb(np.array([[0, 255]])))

    def test_32_bit_integers_beyond_16_bit_have_no_known_range(self) -> None:
        data = encode(Image.fromarray(np.array([[0, 70000]], dtype=np.int32)), "TIFF")
        with pytest.raises(DataError, match=r"scan\.tif.*70000.*8 or 16 bits"):
            read_image(data, "scan.tif")

    @pytest.mark.parametrize(
        ("values", "expected"),
        [
            ([0.0, 0.5, 1.0], [0, 128, 255]),
            ([0.0, 99.6, 300.0], [0, 100, 255]),
            ([-np.inf, np.nan, 1.0], [0, 0, 255]),
        ],
    )
    def test_floating_point(self, values: list[float], expected: list[int]) -> None:
        data = encode(Image.fromarray(np.array([values], dtype=np.float32)), "TIFF")
        np.testing.assert_array_equal(read_image(data), grey_rgb(np.array([expected])))

    @pytest.mark.parametrize("file_format", ["PNG", "BMP", "GIF", "TIFF"])
    def test_palette(self, file_format: str) -> None:
        palette = Image.fromarray(np.array([[0, 1, 2]], dtype=np.uint8)).convert("P")
        palette.putpalette([255, 0, 0, 0, 255, 0, 1, 2, 3])
        np.testing.assert_array_equal(
            read_image(encode(palette, file_format)), [[[255, 0, 0], [0, 255, 0], [1, 2, 3]]]
        )

    def test_transparent_palette_entry_is_black(self) -> None:
        palette = Image.fromarray(np.array([[0, 1]], dtype=np.uint8)).convert("P")
        palette.putpalette([255, 0, 0, 0, 255, 0])
        data = encode(palette, transparency=0)
        np.testing.assert_array_equal(read_image(data), [[[0, 0, 0], [0, 255, 0]]])

    @pytest.mark.parametrize(
        ("file_format", "options"),
        [("PNG", {}), ("TIFF", {}), ("WEBP", {"lossless": True, "exact": True})],
    )
    def test_alpha_is_composited_over_black(
        self, file_format: str, options: dict[str, Any]
    ) -> None:
        rgba = np.array(
            [[[200, 100, 50, 0], [200, 100, 50, 51], [200, 100, 50, 255]]], dtype=np.uint8
        )
        expected = [[[0, 0, 0], [40, 20, 10], [200, 100, 50]]]
        data = encode(Image.fromarray(rgba), file_format, **options)
        np.testing.assert_array_equal(read_image(data), expected)

    def test_grey_with_alpha(self) -> None:
        image = Image.merge("LA", [Image.new("L", (2, 1), 200), Image.new("L", (2, 1), 255)])
        image.putpixel((0, 0), (200, 0))
        np.testing.assert_array_equal(read_image(encode(image)), grey_rgb(np.array([[0, 200]])))

    def test_cmyk(self) -> None:
        cmyk = Image.new("CMYK", (4, 4), (0, 255, 255, 0))
        np.testing.assert_array_equal(
            read_image(encode(cmyk, "TIFF")), np.tile([255, 0, 0], (4, 4, 1))
        )
        jpeg = read_image(encode(cmyk, "JPEG", quality=100))
        np.testing.assert_allclose(jpeg, np.tile([255, 0, 0], (4, 4, 1)), atol=4)

    @pytest.mark.parametrize(
        ("orientation", "undo"),
        [(3, lambda a: np.rot90(a, 2)), (6, lambda a: np.rot90(a, -1)), (8, np.rot90)],
    )
    @pytest.mark.parametrize("file_format", ["JPEG", "PNG", "TIFF", "WEBP"])
    def test_exif_orientation_is_applied(
        self, file_format: str, orientation: int, undo: Any
    ) -> None:
        stored = np.zeros((16, 32), dtype=np.uint8)
        stored[:8, :8] = 255
        exif = Image.Exif()
        exif[0x0112] = orientation
        image = read_image(encode(Image.fromarray(stored), file_format, exif=exif))
        assert image.shape[:2] == undo(stored).shape
        np.testing.assert_array_equal(image[..., 0] > 127, undo(stored) > 127)

    def test_jpeg_of_several_pictures_is_its_first(self) -> None:
        views = [Image.new("L", (16, 8), value) for value in (40, 90)]
        data = encode(views[0], "MPO", save_all=True, append_images=views[1:])
        np.testing.assert_array_equal(read_image(data), grey_rgb(np.full((8, 16), 40)))

    def test_first_frame_of_several(self) -> None:
        frames = [Image.new("L", (3, 2), value) for value in (40, 90)]
        data = encode(frames[0], "TIFF", save_all=True, append_images=frames[1:])
        np.testing.assert_array_equal(read_image(data), grey_rgb(np.full((2, 3), 40)))

    def test_file_and_its_bytes_read_alike_into_a_writable_array(self, tmp_path: Path) -> None:
        path = tmp_path / "a.png"
        path.write_bytes(encode(Image.fromarray(COLOUR)))
        image = read_image(path)
        np.testing.assert_array_equal(image, read_image(path.read_bytes()))
        assert image.flags.writeable

    @pytest.mark.parametrize(
        ("data", "reason"),
        [
            (b"", "empty, 0 bytes"),
            (b"not an image", "format is unknown"),
            (encode(Image.effect_noise((64, 64), 50))[:1500], "truncated"),
            (encode(Image.effect_noise((64, 64), 50), "JPEG")[:700], "truncated"),
        ],
    )
    def test_broken_file_is_named_with_reason_and_remedy(
        self, tmp_path: Path, data: bytes, reason: str
    ) -> None:
        path = tmp_path / "broken.png"
        path.write_bytes(data)
        with pytest.raises(DataError, match=rf"broken\.png.*{reason}.*Replace or remove"):
            read_image(path)
        with pytest.raises(DataError, match=rf"upload 7.*{reason}"):
            read_image(data, "upload 7")

    def test_missing_file(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"nowhere\.png: no such file"):
            read_image(tmp_path / "nowhere.png")


class TestReadMask:
    @pytest.mark.parametrize(
        ("values", "expected"),
        [
            ([0, 255, 255], [0, 1, 1]),
            ([0, 1, 1], [0, 1, 1]),
            ([0, 127, 128], [0, 0, 1]),
            ([0, 3, 2], [0, 1, 1]),  # class numbers, as in VisA
            ([0, 1, 127], [0, 1, 1]),
            ([1, 2, 255], [0, 0, 1]),
            ([0, 0, 0], [0, 0, 0]),
        ],
    )
    @pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
    def test_threshold(self, values: list[int], expected: list[int], dtype: Any) -> None:
        mask = read_mask(encode(Image.fromarray(np.array([values], dtype=dtype))))
        assert mask.dtype == np.uint8
        np.testing.assert_array_equal(mask, [expected])

    @pytest.mark.parametrize(
        ("values", "expected"), [([0, 300, 65535], [0, 0, 1]), ([0, 300, 32767], [0, 1, 1])]
    )
    def test_16_bit_full_range(self, values: list[int], expected: list[int]) -> None:
        data = encode(Image.fromarray(np.array([values], dtype=np.uint16)))
        np.testing.assert_array_equal(read_mask(data), [expected])

    def test_coloured_palette_and_bilevel(self) -> None:
        palette = Image.fromarray(np.array([[0, 1]], dtype=np.uint8)).convert("P")
        palette.putpalette([0, 0, 0, 128, 0, 0])  # as in PASCAL VOC
        np.testing.assert_array_equal(read_mask(encode(palette)), [[0, 1]])
        bilevel = Image.fromarray(np.array([[False, True]]))
        np.testing.assert_array_equal(read_mask(encode(bilevel)), [[0, 1]])

    def test_jpeg_ringing_is_dropped(self) -> None:
        mask = np.zeros((32, 32), dtype=np.uint8)
        mask[5:20, 9:27] = 255
        data = encode(Image.fromarray(mask), "JPEG", quality=70)
        assert len(np.unique(np.asarray(Image.open(io.BytesIO(data))))) > 2
        np.testing.assert_array_equal(read_mask(data), mask // 255)

    @pytest.mark.parametrize(
        ("file_format", "options"),
        [
            ("JPEG", {"quality": 95}),
            ("WEBP", {"quality": 95}),
            ("WEBP", {"quality": 95, "exif": b"Exif\0\0"}),
            ("TIFF", {"compression": "jpeg"}),
        ],
    )
    def test_dark_values_of_a_lossy_file_are_ringing(
        self, file_format: str, options: dict[str, Any]
    ) -> None:
        mask = np.zeros((32, 32), dtype=np.uint8)
        mask[5:20, 9:27] = 60
        assert not read_mask(encode(Image.fromarray(mask), file_format, **options)).any()

    @pytest.mark.parametrize("exif", [b"", b"Exif\0\0"])
    def test_lossless_webp_may_hold_class_numbers(self, exif: bytes) -> None:
        mask = np.zeros((32, 32), dtype=np.uint8)
        mask[5:20, 9:27] = 3
        data = encode(Image.fromarray(mask), "WEBP", lossless=True, exif=exif)
        np.testing.assert_array_equal(read_mask(data), mask // 3)

    def test_transparency_of_a_grey_mask_is_black(self) -> None:
        grey = Image.fromarray(np.array([[200, 255, 0]], dtype=np.uint8))
        np.testing.assert_array_equal(read_mask(encode(grey, transparency=200)), [[0, 1, 0]])

    def test_labelme_file_and_its_content(self, tmp_path: Path) -> None:
        path = tmp_path / "a.json"
        path.write_text(
            '{"imageWidth": 4, "imageHeight": 2, "shapes": '
            '[{"shape_type": "rectangle", "points": [[1, 0], [2, 0]]}]}'
        )
        expected = [[0, 1, 1, 0], [0, 0, 0, 0]]
        np.testing.assert_array_equal(read_mask(path), expected)
        np.testing.assert_array_equal(read_mask(path.read_bytes()), expected)

    def test_broken_file(self) -> None:
        with pytest.raises(DataError, match="m_mask: not a readable image"):
            read_mask(b"", "m_mask")


class TestReadMaskFolder:
    def test_union(self, tmp_path: Path) -> None:
        for name, values in [("000.png", [255, 0, 0]), ("001.png", [0, 0, 254])]:
            (tmp_path / name).write_bytes(
                encode(Image.fromarray(np.array([values], dtype=np.uint8)))
            )
        np.testing.assert_array_equal(read_mask(tmp_path), [[1, 0, 1]])

    def test_masks_of_several_sizes(self, tmp_path: Path) -> None:
        for index, size in enumerate([(3, 2), (2, 3)]):
            (tmp_path / f"{index}.png").write_bytes(encode(Image.new("L", size)))
        with pytest.raises(ImageError, match=r"masks of different sizes, 3x2 and 2x3 pixels"):
            read_mask(tmp_path, "ground_truth/000")

    def test_no_mask(self, tmp_path: Path) -> None:
        (tmp_path / "notes.txt").touch()
        with pytest.raises(ImageError, match=r"000: a folder for masks, without any image"):
            read_mask(tmp_path, "000")

    def test_broken_mask_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "001.png").touch()
        with pytest.raises(ImageError, match=r"ground_truth/000/001\.png: .*0 bytes"):
            read_mask(tmp_path, "ground_truth/000")


class TestResizeImage:
    def test_square_whatever_the_aspect_ratio(self) -> None:
        image = resize_image(np.full((10, 30, 3), (3, 2, 1), dtype=np.uint8), 16)
        assert image.dtype == np.uint8
        np.testing.assert_array_equal(image, np.tile(np.uint8([3, 2, 1]), (16, 16, 1)))

    def test_antialiased(self) -> None:
        stripes = np.zeros((64, 64, 3), dtype=np.uint8)
        stripes[:, ::2] = 254
        np.testing.assert_allclose(resize_image(stripes, 16)[:, 1:-1], 127, atol=2)

    def test_same_size_is_unchanged(self) -> None:
        image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
        np.testing.assert_array_equal(resize_image(image, 32), image)


class TestResizeMask:
    def test_half_of_the_area_decides(self) -> None:
        mask = np.zeros((8, 8), dtype=np.uint8)
        mask[0:4, 0:4] = 1  # one whole pixel
        mask[0:4, 4:6] = 1  # half of its neighbour
        mask[4, 0:4] = 1  # a quarter of the one below, part of the same defect
        np.testing.assert_array_equal(resize_mask(mask, 2), [[1, 1], [0, 0]])

    def test_thin_defect_survives_beside_a_large_one(self) -> None:
        mask = np.zeros((64, 64), dtype=np.uint8)
        mask[:16, :16] = 1
        mask[40, 8:60] = 1
        expected = np.zeros((16, 16), dtype=np.uint8)
        expected[:4, :4] = 1
        expected[10, 2:15] = 1
        np.testing.assert_array_equal(resize_mask(mask, 16), expected)

    def test_upscaling_repeats_pixels(self) -> None:
        mask = np.array([[1, 0], [0, 1]], dtype=np.uint8)
        np.testing.assert_array_equal(resize_mask(mask, 8), np.kron(mask, np.ones((4, 4))))

    @settings(max_examples=60, deadline=None)
    @given(
        height=st.integers(4, 60),
        width=st.integers(4, 60),
        seed=st.integers(0, 10_000),
        count=st.integers(0, 6),
    )
    def test_no_defect_is_lost(self, height: int, width: int, seed: int, count: int) -> None:
        generator = np.random.default_rng(seed)
        mask = np.zeros((height, width), dtype=np.uint8)
        for _ in range(count):
            y, x = generator.integers(height), generator.integers(width)
            mask[y : y + generator.integers(1, 30), x : x + generator.integers(1, 4)] = 1
        resized = resize_mask(mask, 16)
        fine = np.kron(mask, np.ones((16, 16)))  # divides into 16 x 16 blocks of height x width
        coverage = fine.reshape(16, height, 16, width).mean(axis=(1, 3))
        assert set(np.unique(resized)) <= {0, 1}
        assert resized[coverage >= 0.5].all()
        assert not resized[coverage == 0].any()
        regions, found = ndimage.label(coverage > 0, structure=np.ones((3, 3)))
        assert all(resized[regions == region].any() for region in range(1, found + 1))


class TestFindImages:
    def test_recursive_sorted_known_suffixes_only(self, tmp_path: Path) -> None:
        names = ["b.PNG", "a/z.jpeg", "a/b.TIF", "c.bmp", "notes.txt", "._b.png", ".cache/d.png"]
        for name in names:
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).touch()
        (tmp_path / "folder.png").mkdir()
        found = [p.relative_to(tmp_path).as_posix() for p in find_images(tmp_path)]
        assert found == ["a/b.TIF", "a/z.jpeg", "b.PNG", "c.bmp"]

    def test_hidden_parent_of_the_folder_does_not_matter(self, tmp_path: Path) -> None:
        folder = tmp_path / ".hidden"
        folder.mkdir()
        (folder / "a.png").touch()
        assert find_images(folder) == [folder / "a.png"]

    def test_missing_folder(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="nowhere is not an existing folder"):
            find_images(tmp_path / "nowhere")


sides = st.integers(1, 300)


class TestContentBox:
    @given(width=sides, height=sides, size=st.integers(1, 128))
    def test_square_is_all_of_it(self, width: int, height: int, size: int) -> None:
        assert content_box(width, height, size, "square") == (0, 0, size, size)

    @given(width=sides, height=sides, size=st.integers(1, 128))
    def test_largest_centred_box_of_the_aspect_ratio(
        self, width: int, height: int, size: int
    ) -> None:
        top, left, bottom, right = content_box(width, height, size, "pad")
        assert 0 <= top < bottom <= size
        assert 0 <= left < right <= size
        assert max(bottom - top, right - left) == size
        assert abs(top - (size - bottom)) <= 1
        assert abs(left - (size - right)) <= 1
        scale = size / max(width, height)
        assert abs((bottom - top) - height * scale) <= 0.5 or bottom - top == 1
        assert abs((right - left) - width * scale) <= 0.5 or right - left == 1

    @pytest.mark.parametrize(
        ("width", "height", "box"),
        [
            (200, 100, (16, 0, 48, 64)),
            (100, 200, (0, 16, 64, 48)),
            (30, 30, (0, 0, 64, 64)),
            (5000, 1, (31, 0, 32, 64)),
        ],
    )
    def test_by_hand(self, width: int, height: int, box: tuple[int, int, int, int]) -> None:
        assert content_box(width, height, 64, "pad") == box


class TestFit:
    @settings(max_examples=40, deadline=None)
    @given(width=sides, height=sides, seed=st.integers(0, 99))
    def test_content_is_the_plain_resize(self, width: int, height: int, seed: int) -> None:
        generator = np.random.default_rng(seed)
        image = generator.integers(0, 256, (height, width, 3), dtype=np.uint8)
        mask = (generator.random((height, width)) < 0.1).astype(np.uint8)
        top, left, bottom, right = content_box(width, height, 48, "pad")
        fitted, fitted_mask = fit_image(image, 48, "pad"), fit_mask(mask, 48, "pad")
        assert fitted.shape == (48, 48, 3)
        assert fitted_mask.shape == (48, 48)
        assert fitted.dtype == fitted_mask.dtype == np.uint8
        whole = slice(top, bottom), slice(left, right)
        size = (bottom - top, right - left)
        np.testing.assert_array_equal(fitted[whole], resize_image(image, size))
        np.testing.assert_array_equal(fitted_mask[whole], resize_mask(mask, size))
        fitted_mask[whole] = 0
        assert not fitted_mask.any()

    def test_black_around_the_image(self) -> None:
        fitted = fit_image(np.full((5, 10, 3), 7, dtype=np.uint8), 8, "pad")
        np.testing.assert_array_equal(fitted[..., 1].mean(axis=1), [0, 0, 7, 7, 7, 7, 0, 0])

    @given(width=sides, height=sides)
    def test_square_is_the_plain_resize(self, width: int, height: int) -> None:
        generator = np.random.default_rng(0)
        image = generator.integers(0, 256, (height, width, 3), dtype=np.uint8)
        mask = image[..., 0] // 128
        np.testing.assert_array_equal(fit_image(image, 32, "square"), resize_image(image, 32))
        np.testing.assert_array_equal(fit_mask(mask, 32, "square"), resize_mask(mask, 32))

    def test_height_and_width_are_not_mixed_up(self) -> None:
        image = np.zeros((20, 10, 3), dtype=np.uint8)
        image[:10] = 200
        mask = image[..., 0] // 200
        assert resize_image(image, (8, 4)).shape == (8, 4, 3)
        np.testing.assert_array_equal(resize_mask(mask, (8, 4)), [[1] * 4] * 4 + [[0] * 4] * 4)


def test_contents_are_views_of_the_boxes() -> None:
    pixels = np.arange(2 * 4 * 4).reshape(2, 4, 4)
    whole, part = contents(pixels, [(0, 0, 4, 4), (1, 2, 3, 4)])
    np.testing.assert_array_equal(whole, pixels[0])
    np.testing.assert_array_equal(part, [[22, 23], [26, 27]])
    assert np.shares_memory(part, pixels)
    with pytest.raises(ValueError, match="zip"):
        contents(pixels, [(0, 0, 4, 4)])
