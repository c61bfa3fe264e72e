"""A gallery of strategies as one picture: an image in each column, a strategy in each row."""

import textwrap
from collections.abc import Hashable, Mapping
from pathlib import PurePosixPath
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from scipy.ndimage import binary_dilation

from daf_pipelines.reporting.dataset_card import thumbnail
from daf_pipelines.reporting.dataset_overview import Sample, percent
from daf_pipelines.reporting.figures import header, outline, panels, short, show
from daf_pipelines.reporting.names import drawable, fonts
from daf_pipelines.reporting.plots import NEUTRAL
from daf_pipelines.synthesis.gallery import Gallery, Pictures
from daf_pipelines.synthesis.strategies import Mixture, Strategy

LABEL = 2.2  # inches, for the names
SIDE = 1.35  # inches, of a picture
PIXELS = 256
"""A side of the pictures, at most."""


def gallery_figure(gallery: Gallery, title: str) -> Figure:
    """Draws outliers of every strategy on the same normal images.

    Args:
        gallery: The outliers, see :func:`~daf_pipelines.synthesis.gallery.synthesise_gallery`.
        title: First line of the picture.

    Returns:
        The figure: the normal images in the first row, below them a row for each strategy, with
        its name, what it consists of, its statistics, and thin outlines of the masks.
    """
    columns, strips = len(gallery.originals), len(gallery.strategies) + 1
    figure, grid = panels(strips, 1, group=columns, side=SIDE, header=0.68, left=LABEL)
    note = (
        "outline: mask; area (5 to 95 % of the outliers), regions and contrast: medians of more "
        "outliers than are shown"
    )
    header(figure, drawable(short(title, 90)), note)
    _draw_row(grid[0], gallery.originals, None)
    _label(grid[0][0], "normal images", [], [])
    for ax, path in zip(grid[0], gallery.names, strict=True):
        ax.set_title(drawable(short(PurePosixPath(path).name, 24)), fontsize=6.5, color=NEUTRAL)
    statistics = gallery.statistics.to_dict(orient="records")
    rows = zip(grid[1:], gallery.strategies.items(), statistics, strict=True)
    for axes, (name, strategy), row in rows:
        exhibit = gallery.exhibits[name]
        _draw_row(axes, exhibit.outliers, exhibit.masks)
        _label(axes[0], name, recipe(strategy), describe_statistics(row))
    for text in figure.findobj(Text):
        text.set_fontfamily(fonts())
    return figure


def recipe(strategy: Strategy | Mixture) -> list[str]:
    """What a strategy consists of, in a few words each."""
    if isinstance(strategy, Mixture):
        total = sum(strategy.weights.values())
        shares = ", ".join(f"{k} {rounded(w / total)}" for k, w in strategy.weights.items())
        return [f"one of: {shares}"]
    parts = strategy.describe()
    names = [parts[kind]["name"].replace("_", " ") for kind in ("mask", "content", "blending")]
    words = [names[0], *(f"× {name}" for name in names[1:])]
    if strategy.needs_object:
        words.append("on the object")
    if strategy.area != (0.0, 1.0):
        words.append("masks of {} to {}".format(*map(rounded, strategy.area)))
    if strategy.repeats > 1:
        words.append(f"up to {strategy.repeats} times")
    return words


def describe_statistics(row: Mapping[Hashable, Any]) -> list[str]:
    """A row of a gallery's statistics in words: the area, and the others."""
    low, median, high = (rounded(row[f"area_{name}"]) for name in ("q05", "q50", "q95"))
    others = f"regions {row['regions']:.3g}, contrast {row['contrast']:.3f}, {milliseconds(row)}"
    return [f"area {median} ({low.removesuffix(' %')} to {high})", others]


def milliseconds(row: Mapping[Hashable, Any]) -> str:
    """The time an outlier takes, from a row of a gallery's statistics."""
    return f"{max(1, round(1000 * row['seconds'])):,} ms"


def rounded(share: float) -> str:
    """A share in percent, two digits."""
    return percent(float(f"{share:.2g}"))


def _draw_row(axes: list[Axes], pictures: Pictures, masks: Pictures | None) -> None:
    for column, (ax, picture) in enumerate(zip(axes, pictures, strict=True)):
        mask = None if masks is None else masks[column]
        small, inside = thumbnail(Sample("", "", "", picture, mask), PIXELS)
        show(ax, small)
        ax.set_anchor("N")
        if inside is not None:  # around it: a line along the edge of a small one would cover it
            outline(ax, binary_dilation(inside, iterations=2), width=0.5)


def _label(ax: Axes, name: str, parts: list[str], statistics: list[str]) -> None:
    """A row's name, what it consists of and its statistics, left of its first panel."""
    place, figure = ax.get_position(original=True), ax.get_figure(root=True)
    if figure is None:
        return
    width, height = figure.get_size_inches()
    lines = [line for part in parts for line in _wrapped(part)]
    for shift, text, size, weight, colour in (
        (0.02, drawable(short(name, 22)), 9.5, "bold", "black"),
        (0.21, "\n".join(lines), 7.5, "normal", "black"),
        (0.25 + 0.135 * len(lines), "\n".join(statistics), 7, "normal", NEUTRAL),
    ):
        at = 0.08 / width, place.y1 - shift / height
        words = figure.text(*at, text, fontsize=size, fontweight=weight, color=colour)
        words.set(verticalalignment="top", linespacing=1.3)


def _wrapped(text: str) -> list[str]:
    whole = drawable(text).replace(" %", "\N{NO-BREAK SPACE}%")
    return textwrap.wrap(whole, 36, max_lines=4, placeholder=" …")
