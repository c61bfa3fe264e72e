"""Web pages that need nothing else, neither files nor network: templates and pictures in them."""

import base64
import io
from collections.abc import Mapping, Sequence
from typing import TypedDict, TypeVar

import numpy as np
import numpy.typing as npt
from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from matplotlib.colors import to_rgb
from PIL import Image
from scipy import ndimage

from daf_pipelines.reporting.dataset_card import thumbnail
from daf_pipelines.reporting.dataset_overview import Sample, percent
from daf_pipelines.reporting.figures import OUTLINE, short
from daf_pipelines.reporting.names import readable

PICTURE_BYTES = 3_500_000
"""What the pictures may take, encoded; they are made smaller until they fit."""
SIDES = (256, 192, 128, 96)

Group = TypeVar("Group")


class Embedded(TypedDict):
    """A picture for a page: data URIs of it and of its outline, "" where there is no defect."""

    path: str
    split: str
    picture: str
    outline: str


def page_template(name: str) -> Template:
    """A template of this package, in which every text is made :func:`readable` and is escaped."""
    environment = Environment(
        loader=PackageLoader("daf_pipelines.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )
    environment.filters |= {"number": "{:,}".format, "percent": percent, "short": short}
    return environment.get_template(name)


def _shown(value: object) -> object:
    """A value as a template shows it; what a macro made consists of such values already."""
    return readable(value) if isinstance(value, str) and not hasattr(value, "__html__") else value


def embed(
    groups: Mapping[Group, Sequence[Sample]], *, thin: bool = False
) -> dict[Group, list[Embedded]]:
    """The pictures of a page, as large as its size allows.

    Args:
        groups: The pictures by any name, in the order of the page.
        thin: Whether outlines are one pixel wide, whatever the pictures' size.
    """
    for side in SIDES:
        sheets = {
            name: [_embedded(sample, side, thin) for sample in group]
            for name, group in groups.items()
        }
        pictures = [picture for sheet in sheets.values() for picture in sheet]
        if sum(len(p["picture"]) + len(p["outline"]) for p in pictures) <= PICTURE_BYTES:
            break
    return sheets


def as_uri(data: bytes, kind: str) -> str:
    """A file as a data URI.

    Args:
        data: Its content.
        kind: "png" or "jpeg".
    """
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def _embedded(sample: Sample, side: int, thin: bool = False) -> Embedded:
    """A sample with its picture and, where there is a defect in its mask, the outline."""
    picture, mask = thumbnail(sample, side)
    width = 1 if thin else max(1, max(picture.shape) // 110)
    data = io.BytesIO()
    Image.fromarray(picture).save(data, format="jpeg", quality=85)
    return {
        "path": sample.path,
        "split": sample.split,
        "picture": as_uri(data.getvalue(), "jpeg"),
        "outline": "" if mask is None or not mask.any() else as_uri(_outline(mask, width), "png"),
    }


def _outline(mask: npt.NDArray[np.uint8], width: int) -> bytes:
    """The outline of a mask, bright with a dark edge, as a picture that is transparent elsewhere.

    It runs outside of the defect, so as to hide nothing of it, and inside along the border.
    """
    defect = np.pad(mask.astype(bool), 1)
    outside = np.pad(np.zeros(mask.shape, dtype=bool), 1, constant_values=True)
    bright = ndimage.binary_dilation(defect, iterations=width)
    dark = ndimage.binary_dilation(bright, iterations=width)
    along_border = defect & ndimage.binary_dilation(outside, iterations=width)
    kinds = np.zeros(defect.shape, dtype=np.uint8)
    kinds[dark & ~bright] = 1
    kinds[bright & ~defect | along_border] = 2
    picture = Image.fromarray(kinds[1:-1, 1:-1], mode="P")
    picture.putpalette([0, 0, 0, 0, 0, 0, *(round(255 * part) for part in to_rgb(OUTLINE))])
    data = io.BytesIO()
    picture.save(data, format="png", transparency=bytes([0, 140, 255]))
    return data.getvalue()
