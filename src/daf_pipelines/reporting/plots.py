"""What the masks of synthetic outliers are like, as a figure.

Figures are built with matplotlib's object interface: no display and no global state. Colours tell
normal from anomalous everywhere, safe for colour-blind readers (palette of Okabe and Ito).
"""

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator

NORMAL, ANOMALOUS, NEUTRAL = "#0072B2", "#D55E00", "#4D4D4D"


def mask_statistics_figure(table: pd.DataFrame, positions: npt.NDArray[np.floating]) -> Figure:
    """Distributions of the masks' area, number of regions, contrast and position.

    Args:
        table: One row per mask, with the columns ``area``, ``regions`` and ``contrast`` of
            ``synthesis.mask_statistics``.
        positions: How much of each cell of a grid over the image the masks cover on average, see
            ``synthesis.statistics.position_map``.

    Returns:
        The figure: a histogram each with its median, the areas on a logarithmic scale, and the
        map of positions.
    """
    figure, (area, regions, contrast, position) = _axes(4, width=3.6, height=2.9, columns=2)
    percent = table["area"] * 100
    edges = np.geomspace(percent.min() / 1.1, percent.max() * 1.1, 25).tolist()
    _histogram(area, percent, edges, "area: median {:.3g} %")
    area.set(xscale="log", xlabel="percent of the image")
    area.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=6))
    area.xaxis.set_major_formatter("{x:g}")
    area.minorticks_off()
    _histogram(regions, table["regions"], _bins(table["regions"]), "count: median {:.3g}")
    regions.set(xlabel="regions of a mask", xlim=(0, max(10, 1.05 * table["regions"].max())))
    _histogram(contrast, table["contrast"], _bins(table["contrast"]), "contrast: median {:.3f}")
    contrast.set(xlabel="mean difference inside the mask", xlim=(0, None))
    _draw_positions(figure, position, positions)
    return figure


def _histogram(ax: Axes, values: "pd.Series[float]", bins: int | list[float], title: str) -> None:
    ax.hist(values, bins=bins, color=NORMAL, alpha=0.75)
    ax.axvline(values.median(), color="black", linestyle="--", linewidth=1.2)
    ax.set_title(title.format(values.median()), fontsize=10)
    ax.set_ylabel("masks")
    ax.yaxis.set_major_locator(MaxNLocator(6, integer=True))


def _draw_positions(figure: Figure, ax: Axes, positions: npt.NDArray[np.floating]) -> None:
    """The map of positions, on a scale of its own that begins at 0."""
    drawn = ax.imshow(100 * positions, cmap="viridis", vmin=0, extent=(0, 1, 1, 0))
    bar = figure.colorbar(drawn, ax=ax, format="{x:g} %")
    bar.ax.tick_params(labelsize=8.5)
    ax.set(xlabel="left to right", ylabel="top to bottom")
    ax.set_title("position: masks that cover a place", fontsize=10)


def _bins(values: "pd.Series[float]") -> int | list[float]:
    """One bin per integer where there are few; else a number of equal bins."""
    span = values.max() - values.min()
    if pd.api.types.is_integer_dtype(values) and span < 24:
        return [float(edge) - 0.5 for edge in np.arange(values.min(), values.max() + 2)]
    return 24


def _axes(count: int, width: float, height: float, columns: int = 3) -> tuple[Figure, list[Axes]]:
    """``count`` panels of ``width`` x ``height`` inches, without boxes, ``columns`` in a row."""
    columns = max(1, min(columns, count))
    rows = max(1, -(-count // columns))
    figure = Figure(
        figsize=(columns * width, rows * height), dpi=120, layout="constrained", facecolor="white"
    )
    panels = [figure.add_subplot(rows, columns, k + 1) for k in range(count)]
    for ax in panels:
        ax.spines[["top", "right"]].set_visible(False)
        ax.tick_params(labelsize=8.5)
        ax.margins(x=0.02)
    return figure, panels
