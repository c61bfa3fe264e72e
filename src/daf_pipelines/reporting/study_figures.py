"""Figures of a study: strategies x methods, each method over strategies, the same images.

Figures are built with matplotlib's object interface: no display and no global state.
"""

from collections.abc import Mapping, Sequence
from textwrap import fill

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from daf_pipelines.reporting.evaluation import SHORT
from daf_pipelines.reporting.figures import header, outline, panels, short, show
from daf_pipelines.reporting.plots import ANOMALOUS, NEUTRAL, NORMAL
from daf_pipelines.reporting.study_pictures import Disputed
from daf_pipelines.reporting.study_tables import (
    FREE,
    PAGE_TARGET,
    SUMMARIES,
    Matrix,
    data_of,
    matrix,
    named,
    of_data,
)
from daf_pipelines.study.readout import Readout
from daf_pipelines.study.results import Data, name_of, ordered

COLUMNS = 3
HEAT = colormaps["cividis"]
DARK = 0.55
"""Of the colour map; above, numbers are black."""
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#4D4D4D", "#999999", "#56B4E9", "#E69F00")
"""Palette of Okabe and Ito: safe for colour-blind readers."""
MARKERS = "osD^vXP"  # fewer than colours: where these come again, they have other markers
WIDE = 9
"""Characters of a line of a method's name."""


def heatmap_figure(readout: Readout, metric: str = PAGE_TARGET) -> Figure:
    """Strategies x methods, a panel for each dataset and category, on one scale of colours.

    The scale is that of the methods that are not hardly trained.

    Args:
        readout: Of a study.
        metric: That the numbers are of, the mean over seeds.
    """
    data = [one for one in data_of(readout) if of_data(readout.table, one)[metric].notna().any()]
    found = {one: matrix(readout, one, metric) for one in data}
    scaled = readout.table[~readout.table["method"].isin(readout.hardly)]
    low = float(scaled[metric].min()) if data else 0.0
    rows = max((len(one.grid) for one in found.values()), default=1)
    columns = max((_width(one) for one in found.values()), default=1)
    figure, axes = _grid(len(data), width=1.9 + 0.72 * columns, height=1.84 + 0.34 * rows)
    for ax, (name, one) in zip(axes, found.items(), strict=True):
        names = [named(readout, method) for method in [*one.grid.columns, *one.free.index]]
        _draw_matrix(ax, one, names, low)
        ax.set_title(f"{name_of(name)}\n{SHORT[metric]}", fontsize=10, loc="left", pad=8)
    return figure


def _width(found: Matrix) -> int:
    return found.grid.shape[1] + len(found.free)


def _draw_matrix(ax: Axes, found: Matrix, methods: Sequence[str], low: float) -> None:
    """The matrix, methods without synthesis beside it, and rows of summaries below."""
    strategies = list(found.grid.index) or ["no synthesis"]
    rows, below = len(strategies), len(SUMMARIES)
    free = np.tile(found.free.to_numpy(float), (rows, 1))
    values = np.hstack([found.grid.to_numpy(float).reshape(rows, -1), free])
    ax.imshow(np.ma.masked_invalid(values), cmap=HEAT, vmin=low, vmax=1, aspect="auto")
    ax.set_facecolor("#EEEEEE")
    for (row, column), value in np.ndenumerate(values[:, : found.grid.shape[1]]):
        _write(ax, column, row, value, low)
    for column, value in enumerate(found.free, start=found.grid.shape[1]):
        _write(ax, column, (rows - 1) / 2, value, low)
        ax.axvline(column - 0.5, color="white", linewidth=3)
    for line, name in enumerate(SUMMARIES, start=rows):
        for column, value in enumerate(found.summaries.loc[name]):
            text = "–" if np.isnan(value) else f"{value:.3f}"
            ax.text(column, line + 0.15, text, ha="center", va="center", fontsize=8)
    ax.fill_between([-0.5, len(methods) - 0.5], rows - 0.5, rows + below - 0.3, color="white")
    ax.set(ylim=(rows + below - 0.4, -0.5), xlim=(-0.5, len(methods) - 0.5))
    places = [*range(rows), *(rows + k + 0.15 for k in range(below))]
    ax.set_yticks(places, [*strategies, *SUMMARIES])
    ax.set_xticks(range(len(methods)), [_wrapped(name) for name in methods])
    ax.tick_params(length=0, labelsize=8, labelbottom=False, labeltop=True)
    ax.spines[:].set_visible(False)


def _wrapped(name: str) -> str:
    return fill(short(name, 30).replace("_", " "), WIDE)


def _write(ax: Axes, x: float, y: float, value: float, low: float) -> None:
    share = (value - low) / (1 - low) if low < 1 else 1.0
    text, colour = f"{value:.3f}", "black" if share > DARK else "white"
    if np.isnan(value):
        text, colour = "–", NEUTRAL
    ax.text(x, y, text, ha="center", va="center", color=colour, fontsize=8)


def slope_figure(readout: Readout, metric: str = PAGE_TARGET) -> Figure:
    """A line for each method over the strategies: the flatter, the less it depends on them.

    Without those that are hardly trained, whose line would be far below.

    Strategies are in the order of their mean over methods; dots are single seeds, lines their mean;
    methods without synthesis are dashed.

    Args:
        readout: Of a study.
        metric: On the vertical axis.
    """
    data = [one for one in data_of(readout) if of_data(readout.table, one)[metric].notna().any()]
    methods = ordered(readout.table["method"])  # all of them, so that each keeps its colour
    figure, axes = _grid(len(data), width=4.6, height=3.9)
    for ax, one in zip(axes, data, strict=True):
        _draw_slopes(ax, readout, one, metric, methods)
        ax.set_title(name_of(one), fontsize=10, loc="left")
        ax.set_ylabel(SHORT[metric], fontsize=9)
    handles = {line.get_label(): line for ax in axes for line in ax.get_lines()}
    shown = [name for name in methods if name in handles]
    figure.legend(
        [handles[name] for name in shown],
        shown,
        loc="outside lower center",
        ncols=min(6, max(1, len(shown))),
        frameon=False,
        fontsize=8.5,
    )
    return figure


def _draw_slopes(
    ax: Axes, readout: Readout, data: Data, metric: str, methods: Sequence[str]
) -> None:
    found = matrix(readout, data, metric)
    order = found.trained.mean(axis=1).sort_values().index.tolist()
    places = {name: place for place, name in enumerate(order)}
    part = of_data(readout.table, data)
    part = part[part["strategy"].ne(FREE)]
    for method in methods:
        number = methods.index(method)
        colour = COLOURS[number % len(COLOURS)]
        if method in found.trained:
            means = found.trained[method].reindex(order)
            marker = MARKERS[number % len(MARKERS)]
            ax.plot(range(len(order)), means, color=colour, marker=marker, ms=5, label=method)
            seeds = part[part["method"].eq(method)]
            x = seeds["strategy"].map(places)
            ax.scatter(x, seeds[metric], s=7, color=colour, alpha=0.5, linewidths=0)
        elif method in found.free:
            ax.axhline(found.free[method], color=colour, linestyle="--", label=method)
    names = [short(name, 24) for name in order]
    ax.set_xticks(range(len(order)), names, rotation=30, ha="right", fontsize=8)
    ax.grid(axis="y", color="#E5E5E5", linewidth=0.8)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)
    ax.tick_params(axis="y", labelsize=8.5)


def disagreement_figure(found: Mapping[Data, Sequence[Disputed]]) -> Figure:
    """The same images under every strategy, one method above the other.

    Args:
        found: From :func:`~daf_pipelines.reporting.study_pictures.disputed`; without any, the
            figure says so.
    """
    images = [(data, image) for data, rows in found.items() for image in rows]
    strategies = max((_columns(image) for _, image in images), default=1)
    lines = sum(len(image.heats) for _, image in images)
    figure, grid = panels(max(1, lines), 1, group=1 + strategies, title=0.48, header=0.56)
    note = "share: of the test images that score lower; outline: true defect"
    header(figure, "Images that strategies disagree on", note if images else "no pictures")
    place = 0
    for data, image in images:
        for method in image.heats:
            _draw_disputed(grid[place], data, image, method)
            place += 1
    return figure


def _columns(image: Disputed) -> int:
    return max(len(cells) for cells in image.heats.values())


def _draw_disputed(axes: list[Axes], data: Data, image: Disputed, method: str) -> None:
    show(axes[0], image.picture)
    if image.mask is not None:
        outline(axes[0], image.mask)
    colour = ANOMALOUS if image.is_anomalous else NORMAL
    kind = image.defect_type if image.is_anomalous else "normal"
    _title(axes[0], f"{method}\n{short(name_of(data), 22)}\n{short(kind, 22)}", colour)
    for ax, (name, heat) in zip(axes[1:], image.heats[method].items(), strict=False):
        show(ax, heat.picture)
        _title(ax, f"{short(name, 22)}\n{heat.rank:.0%}", NEUTRAL)


def _title(ax: Axes, text: str, colour: str) -> None:
    ax.set_title(text, loc="left", fontsize=7, color=colour, pad=3)


def _grid(count: int, width: float, height: float) -> tuple[Figure, list[Axes]]:
    """Panels of so many inches, :data:`COLUMNS` in a row."""
    columns = min(COLUMNS, max(1, count))
    rows = max(1, -(-count // columns))
    figure = Figure(
        figsize=(columns * width, rows * height), dpi=120, layout="constrained", facecolor="white"
    )
    return figure, [figure.add_subplot(rows, columns, k + 1) for k in range(count)]
