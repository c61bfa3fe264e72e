"""Rows of images: outliers, foregrounds, detections; and the heatmap over a single image.

Figures are built with matplotlib's object interface: no display and no global state.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from daf_pipelines.reporting.plots import NEUTRAL

OUTLINE = "#00E5FF"
VEIL = (160, 0, 200)
HEAT = colormaps["inferno"].resampled(256)
HEAT_SPAN = (0.25, 0.95)  # of the colour map: neither black nor nearly white
SAMPLED_PIXELS = 1_000_000
STRIP = 256  # rows

Image = npt.NDArray[np.generic]
Map = npt.NDArray[np.floating]
# Of one size as one array, else one array each.
Images = Image | Sequence[Image]
Maps = Map | Sequence[Map]


def overlay(image: Image, anomaly_map: Map, low: float, high: float) -> npt.NDArray[np.uint8]:
    """Heatmap over the image in grey: the stronger the anomaly, the brighter and the more opaque.

    Args:
        image: RGB image, shape (H, W, 3), uint8 or float in [0, 1].
        anomaly_map: Anomaly map, shape (H, W).
        low: Score at and below which the image shows unchanged.
        high: Score at and above which the heatmap is brightest.

    Returns:
        RGB picture, shape (H, W, 3), uint8.

    Raises:
        ValueError: Image and map differ in size.
    """
    if image.shape[:2] != anomaly_map.shape:
        raise ValueError(
            f"expected an image and a map of one size; got {image.shape}, {anomaly_map.shape}"
        )
    picture = np.empty(image.shape, dtype=np.uint8)
    for start in range(0, len(image), STRIP):  # floats take many times the memory of the image
        rows = slice(start, start + STRIP)
        picture[rows] = _overlay_strip(image[rows], anomaly_map[rows], low, high)
    return picture


def _overlay_strip(
    image: Image, anomaly_map: Map, low: float, high: float
) -> npt.NDArray[np.uint8]:
    # Luma of ITU-R BT.601: a colour in the result then means anomaly, never the object.
    grey = _bytes(image) @ np.array([0.299, 0.587, 0.114], dtype=np.float32)
    heat = np.clip((anomaly_map - low) / (high - low), 0, 1) if high > low else 0 * anomaly_map
    colour = 255 * HEAT(HEAT_SPAN[0] + (HEAT_SPAN[1] - HEAT_SPAN[0]) * heat)[..., :3]
    opacity = 0.9 * heat[..., None] ** 0.75
    blended: Map = (1 - opacity) * grey[..., None] + opacity * colour
    return np.rint(blended).astype(np.uint8)


def colour_range(maps: Maps) -> tuple[float, float]:
    """Range of scores for the heatmaps of one set: from the median to the 99.8 % quantile.

    Args:
        maps: Anomaly maps, N of shape (H, W); of large sets an even sample of pixels is read.

    Returns:
        The lower and the upper end, for :func:`overlay`.
    """
    ends = np.cumsum([0, *(pixels.size for pixels in maps)]).tolist()
    if not ends[-1]:
        return 0.0, 1.0
    step = ends[-1] // SAMPLED_PIXELS | 1  # odd: no column of the images is left out
    # Every step-th pixel of all maps in a row.
    sample = [m.reshape(-1)[-end % step :: step] for m, end in zip(maps, ends, strict=False)]
    low, high = np.quantile(np.concatenate(sample), [0.5, 0.998])
    return float(low), float(high)


def synthesis_preview(
    originals: Images, outliers: Images, masks: Images, title: str = "Synthetic outliers"
) -> Figure:
    """Rows of: original, synthetic outlier, its mask.

    Args:
        originals: Normal images, N of shape (H, W, 3), uint8 or float in [0, 1].
        outliers: Outlier images, as ``originals``.
        masks: Masks of the synthetic defects, N of shape (H, W) in {0, 1}.
        title: First line of the picture.

    Returns:
        The figure, with the area of the mask and the mean absolute difference inside it over each
        row; more than four rows are laid out in two blocks side by side.
    """
    blocks = 2 if len(originals) > 4 else 1
    rows = -(-len(originals) // blocks)
    figure, grid = panels(rows, blocks, group=3, title=0.2, header=0.52)
    header(figure, title, "normal image · outlier · mask, white, on the darkened image")
    for index in range(len(originals)):
        block, row = divmod(index, rows)
        trio = grid[row * blocks + block]
        _preview_row(trio, _bytes(originals[index]), _bytes(outliers[index]), masks[index] != 0)
    return figure


def _preview_row(
    trio: list[Axes],
    original: npt.NDArray[np.uint8],
    outlier: npt.NDArray[np.uint8],
    mask: Image,
) -> None:
    for ax, picture in zip(trio, (original, outlier, _on_dark(original, mask)), strict=True):
        show(ax, picture)
        ax.set_anchor("NW")
    words = f"area {100 * mask.mean():.3g} %"
    if mask.any():
        change = np.abs(outlier.astype(float) - original)[mask].mean() / 255
        words += f" · contrast {change:.3f}"
    trio[0].set_title(words, loc="left", fontsize=7.5, color=NEUTRAL, pad=3)


def _on_dark(image: npt.NDArray[np.uint8], mask: Image) -> npt.NDArray[np.uint8]:
    dark = image // 4
    dark[mask] = 255
    return dark


def progress_figure(outliers: Images, masks: Images, maps: Maps, steps: int) -> Figure:
    """What a detector that is still trained makes of outliers: each with its mask and its heatmap.

    Args:
        outliers: Outlier images, N of shape (H, W, 3), uint8 or float in [0, 1].
        masks: Masks of the synthetic defects, N of shape (H, W) in {0, 1}.
        maps: Anomaly maps, N of shape (H, W); all share one range of colours.
        steps: That it has been trained for.
    """
    columns = 2 if len(outliers) > 1 else 1
    figure, grid = panels(-(-len(outliers) // columns), columns, group=3, header=0.52)
    note = "outlier · mask, white, on the darkened image · anomaly map"
    header(figure, f"Held-out images after {steps} steps", note)
    low, high = colour_range(maps)
    for trio, outlier, mask, pixels in zip(grid, outliers, masks, maps, strict=False):
        image = _bytes(outlier)
        pictures = (image, _on_dark(image, mask != 0), overlay(image, pixels, low, high))
        for ax, picture in zip(trio, pictures, strict=True):
            show(ax, picture)
    return figure


def foreground_figure(images: Images, masks: Images, *, limit: int = 12) -> Figure:
    """Images with the outline of what was taken for the object, the rest veiled.

    They are spread evenly from the smallest share of the picture that is object to the largest, so
    that failures at either end show.

    Args:
        images: Normal images, N of shape (H, W, 3), uint8 or float in [0, 1], at least one.
        masks: Where the object is, N of shape (H, W) in {0, 1} or bool.
        limit: Largest number of images shown.
    """
    shares = np.array([np.count_nonzero(mask) / mask.size for mask in masks])
    places = np.linspace(0, len(shares) - 1, min(limit, len(shares))).round().astype(int)
    shown = np.argsort(shares, kind="stable")[places]
    columns = max(2, min(4, len(shown)))  # two: room for the header
    rows = -(-len(shown) // columns)
    figure, grid = panels(rows, columns, group=1, side=1.8, title=0.2, header=0.56)
    for index, (ax,) in zip(shown.tolist(), grid, strict=False):
        show(ax, _veiled(_bytes(images[index]), masks[index]))
        outline(ax, masks[index])
        ax.set_title(f"{shares[index]:.1%}", loc="left", fontsize=7.5, color=NEUTRAL, pad=3)
    header(
        figure,
        f"Object: {np.median(shares):.0%} of the picture (median)",
        f"{len(shown)} of {len(shares)} shown, by share; all is object in {np.sum(shares == 1)}",
    )
    return figure


def _veiled(image: npt.NDArray[np.uint8], mask: Image) -> npt.NDArray[np.uint8]:
    """The image with a veil over what is not in the mask."""
    picture = image.copy()
    picture[mask == 0] = (picture[mask == 0] * 0.5 + np.multiply(VEIL, 0.5)).astype(np.uint8)
    return picture


def detections_figure(
    images: Images,
    maps: Maps,
    scores: npt.ArrayLike,
    labels: npt.ArrayLike,
    threshold: float,
    *,
    masks: Images | None = None,
    defect_types: Sequence[str] | None = None,
    count: int = 5,
) -> Figure:
    """A few true detections: the image above, its heatmap below.

    They are spread evenly from the weakest detection to the strongest, not picked by looks.

    Args:
        images: Test images, N of shape (H, W, 3), uint8 or float in [0, 1].
        maps: Anomaly maps, N of shape (H, W).
        scores: Image scores, shape (N,).
        labels: 0 normal, 1 anomalous, shape (N,).
        threshold: An image is labelled anomalous when its score is above it.
        masks: Ground truth, N of shape (H, W) in {0, 1}, drawn as outlines; None where unknown.
        defect_types: Name of each image's type for its title, N names.
        count: Largest number of detections shown.
    """
    values, anomalous = np.asarray(scores, dtype=float), np.asarray(labels).astype(bool)
    detected = np.flatnonzero(anomalous & (values > threshold))
    detected = detected[np.argsort(values[detected], kind="stable")]
    places = np.linspace(0, len(detected) - 1, min(count, len(detected))).round().astype(int)
    low, high = colour_range(maps)
    figure, grid = panels(2, max(1, len(places)), group=1, side=1.7, header=0.3, gap=0.06)
    if not len(places):
        grid[0][0].text(0.5, 0, "no defect detected", ha="center", va="center", color=NEUTRAL)
    for column, index in enumerate(detected[places].tolist()):
        above, below = grid[column][0], grid[len(places) + column][0]
        show(above, _bytes(images[index]))
        show(below, overlay(images[index], maps[index], low, high))
        if masks is not None:
            outline(above, masks[index])
        kind = f"{short(defect_types[index])} · " if defect_types is not None else ""
        above.set_title(f"{kind}score {values[index]:.3g}", fontsize=9, color=NEUTRAL)
    return figure


def _bytes(image: Image) -> npt.NDArray[np.uint8]:
    """An image as uint8, from uint8 or from floats in [0, 1]."""
    if image.dtype == np.uint8:
        return image.astype(np.uint8, copy=False)
    return np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)


def panels(
    rows: int,
    columns: int,
    *,
    group: int,
    side: float = 1.25,
    title: float = 0.04,
    header: float = 0.08,
    gap: float = 0.14,
    left: float = 0.08,
) -> tuple[Figure, list[list[Axes]]]:
    """A figure of square panels, in groups side by side; all lengths in inches.

    Returns:
        The figure, and its groups from left to right, row after row, each a list of axes.
    """
    inner, margin = 0.03, 0.08
    width = left + columns * (group * side + (group - 1) * inner + gap) - gap + margin
    height = header + rows * (side + title) + margin
    figure = Figure(figsize=(width, height), dpi=100, facecolor="white")
    groups = []
    for row in range(rows):
        bottom = (height - header - (row + 1) * (side + title)) / height
        for column in range(columns):
            start = left + column * (group * (side + inner) - inner + gap)
            places = [(start + k * (side + inner)) / width for k in range(group)]
            sizes = side / width, side / height
            groups.append([figure.add_axes((place, bottom, *sizes)) for place in places])
    for ax in figure.axes:
        ax.set_axis_off()
    return figure, groups


def show(ax: Axes, picture: npt.NDArray[np.uint8]) -> None:
    """Show a picture in a panel."""
    ax.imshow(picture, interpolation="antialiased")
    ax.autoscale(False)  # an outline along the border leaves the panel as it is


def outline(ax: Axes, mask: Image, width: float = 0.9) -> None:
    """Draw the outline of a mask, also along the border of the image."""
    if mask.any():
        padded = np.pad((mask != 0).astype(np.float32), 1)
        y, x = (np.arange(-1, size + 1) for size in mask.shape)
        ax.contour(x, y, padded, levels=[0.5], colors=[OUTLINE], linewidths=width)


def short(name: str, limit: int = 16) -> str:
    """`name`, cut to at most `limit` characters."""
    return name if len(name) <= limit else f"{name[: limit - 1]}…"


def header(figure: Figure, title: str, note: str) -> None:
    """Write two lines, a title in bold and a note, at the top left of a figure."""
    width, height = figure.get_size_inches()
    figure.text(0.08 / width, 1 - 0.09 / height, title, fontsize=10.5, va="top", fontweight="bold")
    figure.text(0.08 / width, 1 - 0.31 / height, note, fontsize=8, va="top", color=NEUTRAL)
