"""Decoding of image files within limits: whatever the file, pixels or an ImageError come out.

The formats are those of :data:`~daf_pipelines.sources.images.SUFFIXES`, told by the content and
not by the name; Pillow's others stay closed, among them those that start other programs. The size
is checked before a pixel is decoded. Decoding takes 10 bytes a pixel beside the file's content (4
in Pillow, 3 in the array, 3 on the way between them), and up to 22 where modes are converted: 3 to
7 GB at the limit.
"""

import io
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from PIL import Image, ImageOps
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.PpmImagePlugin import PpmImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from daf_pipelines.errors import ImageError

MAX_PIXELS = 300_000_000
"""Width x height of the largest image that is decoded; WebP ends at Pillow's limit, 179 million."""

_METADATA = re.compile(r"PIL\.\w+ImagePlugin")


class _Tiff(TiffImageFile):
    """A TIFF file that only :data:`MAX_PIXELS` limits."""

    def load_prepare(self) -> None:
        # Pillow compares with its own limit where it allocates the image itself.
        if self._im is None:
            self.im = Image.new(self.mode, self._tile_size, None).im
        super().load_prepare()


_FORMATS: tuple[type[ImageFile], ...] = (
    PngImageFile,
    JpegImageFile,
    _Tiff,
    BmpImageFile,
    WebPImageFile,
    PpmImageFile,
    GifImageFile,
)


def read_bytes(source: Path | bytes, name: str) -> bytes:
    """Content of an image file.

    Raises:
        ImageError: Missing, empty or unreadable file.
    """
    try:
        data = source.read_bytes() if isinstance(source, Path) else source
    except FileNotFoundError as error:
        remedy = "Correct the path or restore the file"
        raise ImageError(name, "missing_file", "no such file", remedy) from error
    except (OSError, ValueError) as error:  # the latter of a name with a zero byte
        raise _unreadable(name, str(error)) from error
    if not data:
        raise _unreadable(name, "the file is empty, 0 bytes", "empty_file")
    return data


def open_image(data: bytes, name: str) -> ImageFile:
    """Opens an image without decoding its pixels.

    `PIL.Image.open` does the same within Pillow's limit of pixels, a global that other code in the
    process relies on.

    Raises:
        ImageError: Unknown format, broken header, or more than :data:`MAX_PIXELS` pixels.
    """
    _ignore_metadata_warnings()
    for opener in _FORMATS:
        try:
            image = opener(io.BytesIO(data))
        except SyntaxError:  # how Pillow's plugins say that it is not theirs
            continue
        except Exception as error:
            raise _failure(error, data, name) from error
        require_decodable(*image.size, name)
        return image
    check = "truncated" if _ends_early(data) else "unreadable"
    raise _unreadable(name, "its format is unknown or its header is broken", check)


def decode(data: bytes, name: str, convert: Callable[[ImageFile], NDArray[Any]]) -> NDArray[Any]:
    """Opens, decodes, orients and converts an image.

    Raises:
        ImageError: Any of it fails.
    """
    with open_image(data, name) as image:
        try:
            ImageOps.exif_transpose(image, in_place=True)
            return convert(image)
        except Exception as error:  # Pillow's decoders raise nearly anything on broken files.
            raise _failure(error, data, name) from error


def require_decodable(width: int, height: int, name: str) -> None:
    """Checks an image's size against :data:`MAX_PIXELS`.

    Raises:
        ImageError: It is larger.
    """
    if width * height > MAX_PIXELS:
        raise ImageError(
            name,
            "decompression_bomb",
            f"claims {width}x{height} pixels, {width * height:,} in all; up to {MAX_PIXELS:,} are "
            "decoded",
            "Cut or shrink the image, or remove the file if it is not one of yours",
        )


def _failure(error: Exception, data: bytes, name: str) -> ImageError:
    reason = (str(error) or type(error).__name__).removesuffix(".")
    if isinstance(error, Image.DecompressionBombError):
        return _unreadable(name, reason, "decompression_bomb")
    truncated = "truncated" in reason.lower() or _ends_early(data)
    return _unreadable(name, reason, "truncated" if truncated else "unreadable")


def _unreadable(name: str, reason: str, check: str = "unreadable") -> ImageError:
    finding = f"not a readable image ({reason})"
    return ImageError(name, check, finding, "Replace or remove the file")


def _ends_early(data: bytes) -> bool:
    """Whether a WebP or TIFF file is shorter than its header says, which Pillow does not tell."""
    if data.startswith(b"RIFF"):
        return int.from_bytes(data[4:8], "little") + 8 > len(data)
    if data.startswith((b"II*\0", b"MM\0*")):
        return int.from_bytes(data[4:8], "little" if data[0] == ord("I") else "big") >= len(data)
    return False


def _ignore_metadata_warnings() -> None:
    """Silences what Pillow's plugins say of odd metadata, without naming the file."""
    # For good, because restoring the filters after each image would not be safe between threads.
    known = ("ignore", None, UserWarning, _METADATA, 0)
    if known not in warnings.filters:
        warnings.filterwarnings("ignore", category=UserWarning, module=_METADATA.pattern)
