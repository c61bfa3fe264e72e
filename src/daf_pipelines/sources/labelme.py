"""Masks drawn in labelme (https://github.com/wkentaro/labelme): a JSON file beside the image.

Shapes become pixels as in labelme's own export; their labels do not matter.
"""

import base64
import math
import reprlib
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from pydantic import BaseModel, Field, FiniteFloat, PositiveInt, ValidationError

from daf_pipelines.errors import ImageError
from daf_pipelines.sources.decoding import decode, require_decodable

_BLANK = b"\xef\xbb\xbf \t\r\n"


class _Shape(BaseModel):
    """One outline; of a rectangle and a mask the corners, of a circle the centre and a point."""

    points: list[tuple[FiniteFloat, FiniteFloat]] = Field(min_length=2)
    # None: a polygon, in files of old versions.
    shape_type: Literal["polygon", "oriented_rectangle", "rectangle", "circle", "mask"] | None = (
        None
    )
    mask: str | None = None


class _Annotation(BaseModel):
    """The part of a labelme file that matters here."""

    shapes: list[_Shape]
    width: PositiveInt = Field(alias="imageWidth")
    height: PositiveInt = Field(alias="imageHeight")


def is_labelme(data: bytes) -> bool:
    """Whether a mask is a JSON file; no image begins like one."""
    return data.lstrip(_BLANK)[:1] == b"{"


def rasterise(data: bytes, name: str) -> NDArray[np.uint8]:
    """Draws the shapes of a labelme file: polygons, rectangles, circles and masks.

    Args:
        data: Content of the file.
        name: What error messages call it.

    Returns:
        Mask of shape (imageHeight, imageWidth), 1 within any shape, else 0.

    Raises:
        ImageError: Not a labelme file, a shape without an area, or too large an image.
    """
    try:
        annotation = _Annotation.model_validate_json(data.lstrip(_BLANK))
    except ValidationError as error:
        raise _unreadable(name, _reason(error)) from error
    require_decodable(annotation.width, annotation.height, name)
    canvas = Image.new("L", (annotation.width, annotation.height))
    for index, shape in enumerate(annotation.shapes):
        try:
            _draw(shape, canvas, f"{name}, shapes.{index}.mask")
        except ValueError as error:
            raise _unreadable(name, f"shapes.{index}: {error}") from error
    return np.array(canvas)


def _draw(shape: _Shape, canvas: Image.Image, mask_name: str) -> None:
    _require_near(shape, canvas)
    draw = ImageDraw.Draw(canvas)
    xs, ys = zip(*shape.points, strict=True)
    if shape.shape_type == "rectangle":
        draw.rectangle((min(xs), min(ys), max(xs), max(ys)), fill=1)
    elif shape.shape_type == "circle":
        centre, radius = shape.points[0], math.dist(*_two(shape))
        draw.ellipse([c + r for r in (-radius, radius) for c in centre], fill=1)
    elif shape.shape_type == "mask":
        canvas.paste(1, (round(min(xs)), round(min(ys))), _decode_mask(shape, mask_name))
    else:
        if len(shape.points) < 3:
            raise ValueError("a polygon has at least 3 points")
        draw.polygon(shape.points, fill=1, outline=1)


def _require_near(shape: _Shape, canvas: Image.Image) -> None:
    # Pillow takes minutes to draw a circle of a million pixels' radius.
    for x, y in shape.points:
        if not (abs(x) <= 2 * canvas.width and abs(y) <= 2 * canvas.height):
            raise ValueError(
                f"the point ({x:g}, {y:g}) is far outside of the image of "
                f"{canvas.width}x{canvas.height} pixels"
            )


def _two(shape: _Shape) -> list[tuple[float, float]]:
    if len(shape.points) != 2:
        raise ValueError(f"a {shape.shape_type} has 2 points, not {len(shape.points)}")
    return shape.points


def _decode_mask(shape: _Shape, name: str) -> Image.Image:
    if shape.mask is None:
        raise ValueError("a mask without its picture")
    data = base64.b64decode(shape.mask, validate=True)
    # Pillow pastes where its mask is 255.
    return Image.fromarray(decode(data, name, lambda i: np.array(i.convert("L"))) > 0)


def _reason(error: ValidationError) -> str:
    """The first fault, as "shapes.3.shape_type: ...; got 'point'"."""
    first = error.errors(include_url=False)[0]
    where = ".".join(map(str, first["loc"]))
    return f"{where}: {first['msg']}; got {reprlib.repr(first['input'])}".removeprefix(": ")


def _unreadable(name: str, reason: str) -> ImageError:
    finding = f"not a readable labelme file ({reason})"
    return ImageError(name, "unreadable", finding, "Correct it in labelme or remove it")
