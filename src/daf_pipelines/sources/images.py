"""Reading and resizing of images and masks: the same functions for training, scoring and serving.

Every image becomes 8-bit RGB by fixed rules; none depends on the range of values of the single
image, since its brightness may be the defect:

- 16-bit greyscale is scaled from the full range, 0..65535. A camera with 12 bits in a 16-bit file
  gives dark images; rescale such files once, all alike.
- Floating point in [0, 1] is scaled by 255; with values above 1 it is taken as 0..255.
- 16-bit colour keeps its upper 8 bits, as Pillow reads it.
- Transparency is composited over black, so that a transparent pixel carries no signal, whatever
  colour the file hides in it, as in the black surroundings of cut-out parts.
- The EXIF orientation is applied; of files with several frames, the first counts.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.ImageFile import ImageFile
from scipy import ndimage

from daf_pipelines.errors import DataError, ImageError
from daf_pipelines.parameters import Resize
from daf_pipelines.sources.decoding import decode, read_bytes
from daf_pipelines.sources.labelme import is_labelme, rasterise

Box = tuple[int, int, int, int]
"""Top, left, bottom and right of a part of an image, pixels; bottom and right exclusive."""

SUFFIXES = frozenset(
    {".bmp", ".gif", ".jfif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
)
"""File name suffixes of images, in lower case."""

MASK_SUFFIXES = SUFFIXES | {".json"}
"""File name suffixes of masks, in lower case: images, and labelme's files."""

_EIGHT_CONNECTED = np.ones((3, 3), dtype=int)


def find_images(folder: Path, suffixes: frozenset[str] = SUFFIXES) -> list[Path]:
    """Finds the image files in `folder` and its sub-folders, by suffix, in sorted order.

    Hidden files (as macOS leaves beside the real ones) and hidden folders are passed over.

    Args:
        folder: Where to look.
        suffixes: What counts as an image, in lower case.

    Raises:
        DataError: `folder` is not an existing folder.
    """
    if not folder.is_dir():
        raise DataError(
            f"Expected a folder of images; {folder} is not an existing folder. Correct the path."
        )
    files = (p for p in folder.rglob("*") if p.suffix.lower() in suffixes and p.is_file())
    return sorted(p for p in files if not _is_hidden(p.relative_to(folder)))


def read_image(source: Path | bytes, name: str | None = None) -> NDArray[np.uint8]:
    """Reads an image of one of the formats of :data:`SUFFIXES`, whatever its mode.

    Args:
        source: File, or its content.
        name: What error messages call the image; by default its path.

    Returns:
        RGB image of shape (H, W, 3), orientation applied. An image at the limit of
        :data:`~daf_pipelines.sources.decoding.MAX_PIXELS` takes 3 to 7 GB while it is read.

    Raises:
        ImageError: Missing, empty, truncated or unreadable file, more pixels than the limit, or a
            mode without a known range.
    """
    name = name or (str(source) if isinstance(source, Path) else "image data")
    return decode(read_bytes(source, name), name, _as_rgb)


def read_mask(source: Path | bytes, name: str | None = None) -> NDArray[np.uint8]:
    """Reads a defect mask: an image, a labelme file, or a folder of masks, which are united.

    In an image, a pixel is defective where the brightest of its channels lies above half of the
    file's range (above 127), which drops the soft edges of masks and the ringing of JPEG. In a
    lossless file that stays below half of the range everywhere, as masks of class numbers do
    (0 and 1; VisA's 0, 1, 2, ...), it is defective where it is not 0.

    Args:
        source: File, its content, or folder.
        name: What error messages call the mask; by default its path.

    Returns:
        Mask of shape (H, W), 1 where defective, else 0.

    Raises:
        ImageError: As :func:`read_image`; a folder without masks, or of masks of several sizes.
    """
    name = name or (str(source) if isinstance(source, Path) else "mask data")
    if isinstance(source, Path) and source.is_dir():
        return _unite(source, name)
    data = read_bytes(source, name)
    if is_labelme(data):
        return rasterise(data, name)
    return decode(data, name, lambda image: _as_mask(image, _is_lossy(image, data)))


def content_box(width: int, height: int, size: int, resize: Resize) -> Box:
    """Where an image lies in the square that it is prepared as.

    Args:
        width: Width of the image, pixels.
        height: Height of the image, pixels.
        size: Side of the square, pixels.
        resize: "square": all of it, the aspect ratio is lost, as in DAF. "pad": the largest box
            of the image's aspect ratio (1 pixel at least), in the middle.
    """
    if resize == "square":
        return 0, 0, size, size
    rows, columns = (max(1, round(side * size / max(width, height))) for side in (height, width))
    top, left = (size - rows) // 2, (size - columns) // 2
    return top, left, top + rows, left + columns


def fit_image(image: NDArray[np.uint8], size: int, resize: Resize) -> NDArray[np.uint8]:
    """Prepares an image: resized into its :func:`content_box`, black around it.

    Black is the same around every image and, as a transparent pixel, carries no signal; padding
    that goes on with the image would repeat a defect at its edge.

    Args:
        image: RGB image of shape (H, W, 3).
        size: Side of the square, pixels.
        resize: As in :func:`content_box`.

    Returns:
        RGB image of shape (size, size, 3).
    """
    height, width = image.shape[:2]
    top, left, bottom, right = content_box(width, height, size, resize)
    content = resize_image(image, (bottom - top, right - left))
    return np.pad(content, ((top, size - bottom), (left, size - right), (0, 0)))


def fit_mask(mask: NDArray[np.uint8], size: int, resize: Resize) -> NDArray[np.uint8]:
    """Prepares a mask as :func:`fit_image` its image; nothing is defective around the image.

    Args:
        mask: Mask of shape (H, W), 1 where defective, else 0.
        size: Side of the square, pixels.
        resize: As in :func:`content_box`.

    Returns:
        Mask of shape (size, size), 1 where defective, else 0.
    """
    height, width = mask.shape
    top, left, bottom, right = content_box(width, height, size, resize)
    content = resize_mask(mask, (bottom - top, right - left))
    return np.pad(content, ((top, size - bottom), (left, size - right)))


def contents(pixels: NDArray[Any], boxes: Sequence[Box]) -> list[NDArray[Any]]:
    """Each of `pixels` (N, H, W, ...) inside its box, without padding, as views."""
    return [
        whole[top:bottom, left:right]
        for whole, (top, left, bottom, right) in zip(pixels, boxes, strict=True)
    ]


def resize_image(image: NDArray[np.uint8], size: int | tuple[int, int]) -> NDArray[np.uint8]:
    """Resizes bilinearly with antialiasing.

    Args:
        image: RGB image of shape (H, W, 3).
        size: Side of a square, or height and width, pixels.

    Returns:
        RGB image of that size.
    """
    height, width = (size, size) if isinstance(size, int) else size
    resized = Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR)
    return np.array(resized)


def resize_mask(mask: NDArray[np.uint8], size: int | tuple[int, int]) -> NDArray[np.uint8]:
    """Resizes a mask without losing a defect.

    A pixel is defective where at least half of its area is, which keeps the defects' areas. A
    defect too thin or too small to reach half of any pixel, apart from larger ones, keeps all
    pixels that it touches: pixel metrics are computed at this size, and would otherwise count hits
    on it as false alarms.

    Args:
        mask: Mask of shape (H, W), 1 where defective, else 0.
        size: Side of a square, or height and width, pixels.

    Returns:
        Mask of that size, 1 where defective, else 0.
    """
    height, width = mask.shape
    rows, columns = (size, size) if isinstance(size, int) else size
    if not mask.any():
        return np.zeros((rows, columns), dtype=np.uint8)
    area = _binned(_binned(mask.astype(np.int64), rows).T, columns).T
    touched, kept = area > 0, area >= height * width / 2
    regions, _ = ndimage.label(touched, structure=_EIGHT_CONNECTED)
    lost = touched & ~np.isin(regions, np.unique(regions[kept]))
    resized: NDArray[np.uint8] = (kept | lost).astype(np.uint8)
    return resized


def _binned(values: NDArray[np.int64], bins: int) -> NDArray[np.int64]:
    """Sums of rows (L, M) over `bins` equal intervals, parts of rows counted as such.

    In units of 1 / `bins` of a row: whole numbers, so that comparisons of areas are exact (Pillow's
    box filter weighs pixels by where their centres lie).
    """
    cumulative = np.zeros((len(values) + 1, values.shape[1]), dtype=np.int64)
    np.cumsum(values, axis=0, out=cumulative[1:])
    row, part = np.divmod(np.arange(bins + 1) * len(values), bins)
    beyond = np.append(values, np.zeros_like(values[:1]), axis=0)[row] * part[:, None]
    sums: NDArray[np.int64] = np.diff(bins * cumulative[row] + beyond, axis=0)
    return sums


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _unite(folder: Path, name: str) -> NDArray[np.uint8]:
    """The union of the masks in a folder, one a defect, as MVTec LOCO has it."""
    united: NDArray[np.uint8] | None = None
    for path in find_images(folder):
        mask = read_mask(path, f"{name}/{path.relative_to(folder).as_posix()}")
        united = mask if united is None else united
        if mask.shape != united.shape:
            sizes = " and ".join(f"{m.shape[1]}x{m.shape[0]}" for m in (united, mask))
            finding = f"a folder of masks of different sizes, {sizes} pixels"
            raise ImageError(name, "unreadable", finding, "Give all the size of their image")
        united |= mask
    if united is None:
        finding = "a folder for masks, without any image file"
        raise ImageError(name, "unreadable", finding, "Restore the masks or remove the folder")
    return united


def _as_rgb(image: Image.Image) -> NDArray[np.uint8]:
    if image.mode.startswith("I"):
        # Divided by 257 and rounded, in half of the memory that floating point takes.
        return _grey_to_rgb((_integers(image).astype(np.uint32) + 128) // 257)
    if image.mode == "F":
        values = np.nan_to_num(np.array(image), copy=False).clip(0, 255)
        return _grey_to_rgb(np.rint(values * 255 if values.max() <= 1 else values))
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", rgba.size, (0, 0, 0, 255)), rgba)
    return np.array(image if image.mode == "RGB" else image.convert("RGB"))


def _as_mask(image: Image.Image, lossy: bool) -> NDArray[np.uint8]:
    values = _brightest(image)
    highest = values.max()
    # 16-bit files often hold 8-bit masks.
    half = 127 if highest <= 255 else 32767
    threshold = 0 if highest <= half and not lossy else half
    return (values > threshold).astype(np.uint8)


def _brightest(image: Image.Image) -> NDArray[Any]:
    """The brightest channel of each pixel, with up to 16 bits."""
    if image.mode.startswith("I"):
        return _integers(image)
    if image.mode in {"1", "L"} and not image.has_transparency_data:
        return np.asarray(image.convert("L"))
    brightest: NDArray[np.uint8] = _as_rgb(image).max(axis=2)
    return brightest


def _is_lossy(image: ImageFile, data: bytes) -> bool:
    """Whether pixels may differ from those that were saved."""
    if image.format == "WEBP":
        return b"VP8L" not in _webp_chunks(data)
    return image.format == "JPEG" or image.info.get("compression") in {"jpeg", "tiff_jpeg"}


def _webp_chunks(data: bytes) -> Iterator[bytes]:
    """Names of the chunks of a WebP file; https://www.rfc-editor.org/rfc/rfc9649."""
    position = 12
    while position < len(data):
        yield data[position : position + 4]
        size = int.from_bytes(data[position + 4 : position + 8], "little")
        position += 8 + size + size % 2


def _integers(image: Image.Image) -> NDArray[Any]:
    """Greyscale values of the integer modes, which hold 16 bits in up to 32."""
    values = np.asarray(image)
    if values.min() < 0 or values.max() > 65535:
        raise ValueError(
            f"32-bit values from {values.min()} to {values.max()}; save it with 8 or 16 bits"
        )
    return values


def _grey_to_rgb(values: NDArray[Any]) -> NDArray[np.uint8]:
    return np.repeat(values.astype(np.uint8)[:, :, None], 3, axis=2)
