import base64
import io
import json
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from daf_pipelines.errors import ImageError
from daf_pipelines.sources import decoding
from daf_pipelines.sources.labelme import is_labelme, rasterise


def picture(values: NDArray[Any]) -> str:
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def annotation(*shapes: dict[str, Any], width: Any = 8, height: Any = 6, **more: Any) -> bytes:
    """A file as labelme 5 writes it."""
    content = {"version": "5.5.0", "flags": {}, "shapes": shapes, "imagePath": "a.png"}
    size = {"imageHeight": height, "imageWidth": width}
    return json.dumps(content | {"imageData": None} | size | more, indent=2).encode()


def shape(shape_type: str | None, points: list[list[float]], **more: Any) -> dict[str, Any]:
    common = {"label": "scratch", "group_id": None, "description": "", "flags": {}, "mask": None}
    return common | {"shape_type": shape_type, "points": points} | more


def block(rows: slice, columns: slice) -> NDArray[np.uint8]:
    mask = np.zeros((6, 8), dtype=np.uint8)
    mask[rows, columns] = 1
    return mask


class TestShapes:
    @pytest.mark.parametrize("points", [[[2, 1], [5, 3]], [[5, 1], [2, 3]]])
    def test_rectangle_by_any_two_corners(self, points: list[list[float]]) -> None:
        mask = rasterise(annotation(shape("rectangle", points)), "a.json")
        assert mask.dtype == np.uint8
        np.testing.assert_array_equal(mask, block(slice(1, 4), slice(2, 6)))

    @pytest.mark.parametrize("shape_type", ["polygon", "oriented_rectangle", None])
    def test_polygon(self, shape_type: str | None) -> None:
        points = [[2, 1], [5, 1], [5, 3], [2, 3]]
        mask = rasterise(annotation(shape(shape_type, points)), "a.json")
        np.testing.assert_array_equal(mask, block(slice(1, 4), slice(2, 6)))

    def test_triangle(self) -> None:
        mask = rasterise(annotation(shape("polygon", [[1, 1], [4, 1], [1, 4]])), "a.json")
        expected = np.zeros((6, 8), dtype=np.uint8)
        for row, length in enumerate([4, 3, 2, 1], start=1):
            expected[row, 1 : 1 + length] = 1
        np.testing.assert_array_equal(mask, expected)

    def test_circle_by_its_centre_and_a_point_on_it(self) -> None:
        data = annotation(shape("circle", [[30, 20], [36, 28]]), width=60, height=50)
        mask = rasterise(data, "a.json")
        y, x = np.mgrid[:50, :60]
        distance = np.hypot(x - 30, y - 20)  # the radius is 10
        assert mask[distance <= 9.5].all()
        assert not mask[distance > 10.5].any()

    def test_mask_lies_at_its_box(self) -> None:
        values = np.array([[1, 0, 1], [0, 1, 1]], dtype=np.uint8)
        expected = np.zeros((6, 8), dtype=np.uint8)
        expected[3:5, 2:5] = values
        for pixels in (values, values.astype(bool), values * 255):
            data = annotation(shape("mask", [[2, 3], [4, 4]], mask=picture(pixels)))
            np.testing.assert_array_equal(rasterise(data, "a.json"), expected)

    def test_shapes_are_united_whatever_their_labels(self) -> None:
        data = annotation(
            shape("rectangle", [[0, 0], [3, 2]], label="good"),
            shape("mask", [[2, 2], [3, 3]], mask=picture(np.eye(2, dtype=np.uint8))),
            shape("polygon", [[6, 4], [7, 4], [7, 5], [6, 5]], label="ignore"),
        )
        expected = block(slice(0, 3), slice(0, 4)) | block(slice(4, 6), slice(6, 8))
        expected[2, 2] = expected[3, 3] = 1
        np.testing.assert_array_equal(rasterise(data, "a.json"), expected)

    def test_no_shapes_are_no_defect(self) -> None:
        assert not rasterise(annotation(), "a.json").any()

    def test_what_lies_outside_of_the_image_is_cut(self) -> None:
        data = annotation(shape("rectangle", [[-4, -4], [1, 1]]), shape("circle", [[9, 7], [9, 8]]))
        mask = rasterise(data, "a.json")
        assert mask.shape == (6, 8)
        assert mask[:2, :2].all()

    def test_byte_order_mark_and_imagedata_do_not_matter(self) -> None:
        drawn = shape("rectangle", [[2, 1], [5, 3]])
        data = b"\xef\xbb\xbf\r\n" + annotation(drawn, imageData="AAAA" * 1000)
        assert is_labelme(data)
        np.testing.assert_array_equal(
            rasterise(data, "a.json"), rasterise(annotation(drawn), "a.json")
        )


class TestFailures:
    @pytest.mark.parametrize(
        ("data", "reason"),
        [
            (b"{", r"Invalid JSON"),
            (b'{"images": []}', r"shapes: Field required"),
            (annotation(width=None), r"imageWidth: Input should be a valid integer; got None"),
            (annotation(height=0), r"imageHeight: Input should be greater than 0; got 0"),
            (
                annotation(shape("rectangle", [[0, 0], [1, 1]]), shape("line", [[0, 0], [1, 1]])),
                r"shapes\.1\.shape_type: Input should be 'polygon'.*got 'line'",
            ),
            (
                annotation(shape("linestrip", [[0, 0], [1, 1]])),
                r"shapes\.0\.shape_type: .*'rectangle', 'circle' or 'mask'; got 'linestrip'",
            ),
            (annotation(shape("point", [[0, 0]])), r"shapes\.0\.points: .*at least 2"),
            (annotation(shape("polygon", [[0, 0], [1, 1]])), r"shapes\.0: .*at least 3 points"),
            (annotation(shape("circle", [[0, 0]] * 3)), r"shapes\.0: a circle has 2 points, not 3"),
            (annotation(shape("rectangle", [[0, 0], [1]])), r"shapes\.0\.points\.1"),
            (
                annotation(shape("circle", [[0, 0], [1e9, 0]])),
                r"shapes\.0: the point \(1e\+09, 0\) is far outside of the image of 8x6",
            ),
            (annotation(shape("mask", [[0, 0], [1, 1]])), r"a mask without its picture"),
            (annotation(shape("mask", [[0, 0], [1, 1]], mask="?")), r"shapes\.0: .*base64"),
        ],
    )
    def test_reason(self, data: bytes, reason: str) -> None:
        with pytest.raises(
            ImageError,
            match=rf"a\.json: not a readable labelme file \(.*{reason}.*Correct it in labelme",
        ) as caught:
            rasterise(data, "a.json")
        assert caught.value.check == "unreadable"

    def test_infinite_coordinates(self) -> None:
        data = annotation(shape("rectangle", [[0, 0], [float("inf"), 1]]))
        with pytest.raises(ImageError, match=r"a\.json: not a readable labelme file"):
            rasterise(data, "a.json")

    def test_broken_picture_of_a_mask(self) -> None:
        broken = base64.b64encode(b"not an image").decode()
        with pytest.raises(ImageError, match=r"a\.json, shapes\.0\.mask: not a readable image"):
            rasterise(annotation(shape("mask", [[0, 0], [1, 1]], mask=broken)), "a.json")

    def test_too_large(self) -> None:
        side = decoding.MAX_PIXELS
        with pytest.raises(ImageError, match="claims 300000000x2 pixels") as caught:
            rasterise(annotation(width=side, height=2), "a.json")
        assert caught.value.check == "decompression_bomb"


@pytest.mark.parametrize("data", [b"", b"\x89PNG", b"P5 {", b"BM{"])
def test_images_are_not_labelme(data: bytes) -> None:
    assert not is_labelme(data)
