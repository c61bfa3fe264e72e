"""Reading and resizing of images and masks: the same functions for training, scoring and serving.

Every image becomes 8-bit RGB by fixed rules; none depends on the range of values of the single
image, since its brightness may be the defect:

- 16-bit greyscale is scaled from the full range, 0..65535. A camera with 12 bits in a 16-bit file
  gives dark images; rescale such files once, all alike.
- Floating point in [0, 1] is scaled by 255; with values above 1 it is taken as 0..255.
- Transparency is composited over black, so that a transparent pixel carries no signal, whatever
  colour the file hides in it, as in the black surroundings of cut-out parts.
- The EXIF orientation is applied; of files with several frames, the first counts.
"""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from scipy import ndimage

from daf_pipelines.errors import DataError

SUFFIXES = frozenset(
    {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
)
"""File name suffixes of images, in lower case."""

_EIGHT_CONNECTED = np.ones((3, 3), dtype=int)


def find_images(folder: Path) -> list[Path]:
    """Finds the image files in `folder` and its sub-folders, by suffix, in sorted order.

    Hidden files (as macOS leaves beside the real ones) and hidden folders are passed over.

    Raises:
        DataError: `folder` is not an existing folder.
    """
    if not folder.is_dir():
        raise DataError(
            f"Expected a folder of images; {folder} is not an existing folder. Correct the path."
        )
    files = (p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
    return sorted(p for p in files if not _is_hidden(p.relative_to(folder)))


def read_image(source: Path | bytes, name: str | None = None) -> NDArray[np.uint8]:
    """Reads an image of any format and mode that Pillow knows.

    Args:
        source: File, or its content.
        name: What error messages call the image; by default its path.

    Returns:
        RGB image of shape (H, W, 3), orientation applied.

    Raises:
        DataError: Missing, empty, truncated or unreadable file, or a mode without a known range.
    """
    name = name or (str(source) if isinstance(source, Path) else "image data")
    return _decoded(source, name, _as_rgb)


def read_mask(source: Path | bytes, name: str | None = None) -> NDArray[np.uint8]:
    """Reads a defect mask.

    A pixel is defective where the brightest of its channels lies above half of the file's range
    (above 127, which drops JPEG ringing), or is 1 in masks that hold nothing above 1.

    Args:
        source: File, or its content.
        name: What error messages call the mask; by default its path.

    Returns:
        Mask of shape (H, W), 1 where defective, else 0.

    Raises:
        DataError: As :func:`read_image`.
    """
    name = name or (str(source) if isinstance(source, Path) else "mask data")
    values = _decoded(source, name, _as_mask_values)
    highest = values.max()
    # 16-bit files often hold 8-bit masks.
    threshold = 0 if highest <= 1 else 127 if highest <= 255 else 32767
    return (values > threshold).astype(np.uint8)


def resize_image(image: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Resizes to a square, bilinearly with antialiasing; the aspect ratio is not kept, as in DAF.

    Args:
        image: RGB image of shape (H, W, 3).
        size: Side of the result, pixels.

    Returns:
        RGB image of shape (size, size, 3).
    """
    resized = Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR)
    return np.array(resized)


def resize_mask(mask: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Resizes a mask to a square without losing a defect.

    A pixel is defective where at least half of its area is, which keeps the defects' areas. A
    defect too thin or too small to reach half of any pixel, apart from larger ones, keeps all
    pixels that it touches: pixel metrics are computed at this size, and would otherwise count hits
    on it as false alarms.

    Args:
        mask: Mask of shape (H, W), 1 where defective, else 0.
        size: Side of the result, pixels.

    Returns:
        Mask of shape (size, size), 1 where defective, else 0.
    """
    height, width = mask.shape
    area = _overlaps(height, size) @ mask.astype(np.float64) @ _overlaps(width, size).T
    touched, kept = area > 0, area >= height * width / 2
    regions, _ = ndimage.label(touched, structure=_EIGHT_CONNECTED)
    lost = touched & ~np.isin(regions, np.unique(regions[kept]))
    resized: NDArray[np.uint8] = (kept | lost).astype(np.uint8)
    return resized


def _overlaps(length: int, size: int) -> NDArray[np.float64]:
    """Overlap of each of `size` equal intervals with each of `length`, in 1/size of the latter.

    Whole numbers, so that sums and comparisons of areas are exact (Pillow's box filter weighs
    pixels by where their centres lie). Shape (size, length); every row sums to `length`.
    """
    target, source = np.arange(size)[:, None] * length, np.arange(length)[None, :] * size
    overlap = np.minimum(target + length, source + size) - np.maximum(target, source)
    positive: NDArray[np.float64] = np.maximum(overlap, 0).astype(np.float64)
    return positive


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _decoded(
    source: Path | bytes, name: str, convert: Callable[[Image.Image], NDArray[Any]]
) -> NDArray[Any]:
    """Opens, decodes, orients and converts an image; any failure names it in a DataError."""
    try:
        data = source.read_bytes() if isinstance(source, Path) else source
        if not data:
            raise ValueError("the file is empty, 0 bytes")
        with Image.open(io.BytesIO(data)) as image:
            return convert(ImageOps.exif_transpose(image))
    except FileNotFoundError as error:
        raise DataError(f"{name}: no such file. Correct the path or restore the file.") from error
    except UnidentifiedImageError as error:
        raise _unreadable(name, "its format is unknown or its header is broken") from error
    except Exception as error:  # Pillow's decoders raise nearly anything on broken files.
        raise _unreadable(name, str(error) or type(error).__name__) from error


def _unreadable(name: str, reason: str) -> DataError:
    return DataError(f"{name}: not a readable image ({reason}). Replace or remove the file.")


def _as_rgb(image: Image.Image) -> NDArray[np.uint8]:
    if image.mode.startswith("I"):
        return _grey_to_rgb(_integers(image) / 257)
    if image.mode == "F":
        values = np.nan_to_num(np.asarray(image))
        return _grey_to_rgb(values * 255 if values.max() <= 1 else values)
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", rgba.size, (0, 0, 0, 255)), rgba)
    return np.array(image.convert("RGB"))


def _as_mask_values(image: Image.Image) -> NDArray[Any]:
    return _integers(image) if image.mode.startswith("I") else _as_rgb(image).max(axis=2)


def _integers(image: Image.Image) -> NDArray[Any]:
    """Greyscale values of the integer modes, which hold 16 bits in up to 32."""
    values = np.asarray(image)
    if values.min() < 0 or values.max() > 65535:
        raise ValueError(
            f"32-bit values from {values.min()} to {values.max()}; save it with 8 or 16 bits"
        )
    return values


def _grey_to_rgb(values: NDArray[Any]) -> NDArray[np.uint8]:
    grey = np.rint(np.clip(values, 0, 255)).astype(np.uint8)
    return np.repeat(grey[:, :, None], 3, axis=2)
