"""Curves and histograms of a run.

Figures are built with matplotlib's object interface: no display and no global state. Colours tell
normal from anomalous everywhere, safe for colour-blind readers (palette of Okabe and Ito).
"""

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator
from sklearn.metrics import precision_recall_curve, roc_curve

from daf_pipelines.errors import MetricUndefinedError
from daf_pipelines.metrics.image import check_scores, image_ap, image_auroc

NORMAL, ANOMALOUS, NEUTRAL = "#0072B2", "#D55E00", "#4D4D4D"


def score_histogram(scores: npt.ArrayLike, labels: npt.ArrayLike, threshold: float) -> Figure:
    """Histogram of the image scores of either class, with the threshold.

    Args:
        scores: Image scores, shape (N,).
        labels: 0 normal, 1 anomalous, shape (N,).
        threshold: An image is labelled anomalous when its score is above it.
    """
    values, anomalous = np.asarray(scores, dtype=float), np.asarray(labels).astype(bool)
    flagged = values > threshold
    figure, (ax,) = _axes(1, width=6.4, height=3.9)
    edges = np.histogram_bin_edges(np.append(values, threshold), bins=40).tolist()
    for chosen, name, colour, wrong in (
        (~anomalous, "normal", NORMAL, f"false alarms: {np.sum(flagged & ~anomalous)}"),
        (anomalous, "anomalous", ANOMALOUS, f"missed: {np.sum(~flagged & anomalous)}"),
    ):
        ax.hist(values[chosen], edges, color=colour, alpha=0.3)
        label = f"{name}: {np.sum(chosen)}, {wrong}"
        ax.hist(values[chosen], edges, color=colour, histtype="step", linewidth=1.5, label=label)
    ax.axvline(threshold, color="black", linestyle="--", label=f"threshold {threshold:.4g}")
    ax.set(xlabel="image score", ylabel="images")
    figure.legend(loc="outside upper center", ncols=3, frameon=False, fontsize=9)
    return figure


def roc_curve_figure(scores: npt.ArrayLike, labels: npt.ArrayLike) -> Figure:
    """ROC curve of the image scores, or the reason why there is none.

    Args:
        scores: Image scores, shape (N,).
        labels: 0 normal, 1 anomalous, shape (N,).
    """
    figure, ax = _unit_square("false positive rate", "true positive rate")
    try:
        values, anomalous = check_scores(scores, labels)
    except MetricUndefinedError as reason:
        return _without_curve(figure, ax, f"No ROC curve:\n{reason}")
    fpr, tpr, _ = roc_curve(anomalous, values)
    ax.plot([0, 1], [0, 1], color=NEUTRAL, linestyle=":", linewidth=1, label="chance")
    ax.fill_between(fpr, tpr, color=ANOMALOUS, alpha=0.1, linewidth=0)
    ax.plot(fpr, tpr, color=ANOMALOUS, linewidth=2, label="detector", clip_on=False)
    ax.set_title(f"image AUROC {image_auroc(values, anomalous):.3f}", fontsize=11)
    ax.legend(frameon=False, fontsize=9, loc="lower right")
    return figure


def precision_recall_figure(scores: npt.ArrayLike, labels: npt.ArrayLike) -> Figure:
    """Precision-recall curve of the image scores, or the reason why there is none.

    Args:
        scores: Image scores, shape (N,).
        labels: 0 normal, 1 anomalous, shape (N,).
    """
    figure, ax = _unit_square("recall", "precision")
    try:
        values, anomalous = check_scores(scores, labels)
    except MetricUndefinedError as reason:
        return _without_curve(figure, ax, f"No precision-recall curve:\n{reason}")
    precision, recall, _ = precision_recall_curve(anomalous, values)
    ax.axhline(anomalous.mean(), color=NEUTRAL, linestyle=":", linewidth=1, label="chance")
    ax.fill_between(recall, precision, step="post", color=ANOMALOUS, alpha=0.1, linewidth=0)
    ax.step(recall, precision, where="post", color=ANOMALOUS, linewidth=2, label="detector")
    ax.set_title(f"image AP {image_ap(values, anomalous):.3f}", fontsize=11)
    ax.legend(frameon=False, fontsize=9, loc="lower left")
    return figure


def loss_curves(history: pd.DataFrame) -> Figure:
    """One panel a loss term over the training steps: as recorded, and smoothed.

    Args:
        history: Column ``step``, and one numeric column per loss term.
    """
    terms = [name for name in history.select_dtypes("number").columns if name != "step"]
    window = max(1, len(history) // 20)
    figure, panels = _axes(len(terms), width=3.3, height=2.5)
    for ax, term in zip(panels, terms, strict=True):
        smooth = history[term].rolling(window, center=True, min_periods=1).mean()
        ax.plot(history["step"], history[term], color=NORMAL, alpha=0.3, linewidth=0.8)
        ax.plot(history["step"], smooth, color=NORMAL, linewidth=1.8)
        ax.set_title(str(term), fontsize=10)
        ax.set_xlabel("step")
    return figure


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


def _unit_square(x_label: str, y_label: str) -> tuple[Figure, Axes]:
    figure, (ax,) = _axes(1, width=4.2, height=4.2)
    ax.set(xlim=(0, 1), ylim=(0, 1.01), xlabel=x_label, ylabel=y_label, aspect="equal")
    ax.grid(alpha=0.25, linewidth=0.6)
    return figure, ax


def _without_curve(figure: Figure, ax: Axes, why: str) -> Figure:
    ax.set_axis_off()
    ax.text(0.5, 0.5, why, ha="center", va="center", color=NEUTRAL, fontsize=9)
    return figure
