"""The tables and the plot of benchmarks/realism.py."""

import datetime
import itertools
import math
import os
import platform
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.path import Path as Line
from matplotlib.patheffects import withStroke
from matplotlib.transforms import Bbox
from PIL import Image

# Colours of Okabe and Ito, safe for colour-blind readers.
STYLES = {
    "strategy": {"color": "#0072B2", "marker": "o", "label": "strategy"},
    "real type": {"color": "#D55E00", "marker": "^", "label": "real defects of one type"},
    "control": {"color": "#4D4D4D", "marker": "s", "label": "normals without a defect"},
}
LEVELS = {"1": "level 1 (stride 4)", "2": "level 2 (stride 8)", "3": "level 3 (stride 16)"}
POINT = 7.0  # room around a point that labels keep free, pixels
OVERLAP, CROSSING = 10_000, 60  # what they count for, pixels of distance from the point
RINGS, ANGLES = range(6, 126, 6), 24  # places that are tried for a label around its point, pixels
LEADER = 13.0  # labels farther away than this are led to their point


def draw_figure(results: pd.DataFrame, file: Path) -> None:
    """A panel for each dataset and level.

    Args:
        results: The rows of docs/realism.csv.
        file: Where the picture goes, PNG.
    """
    datasets = list(dict.fromkeys(results["dataset"]))
    figure = Figure(figsize=(17, 5.9 * len(datasets) + 0.5), dpi=100, layout="constrained")
    axes = figure.subplots(len(datasets), len(LEVELS), squeeze=False)
    panels = []
    for (dataset, level), ax in zip(itertools.product(datasets, LEVELS), axes.flat, strict=True):
        rows = results[(results["dataset"] == dataset) & (results["level"] == level)]
        panels.append((ax, draw_panel(ax, rows)))
        ax.set_title(f"{dataset}, {LEVELS[level]}", fontsize=11)
    figure.supxlabel("distance to normals, d(·, N)", fontsize=11)
    figure.supylabel("distance to real defects, d(·, R)", fontsize=11)
    handles = dict(zip(*reversed(axes.flat[0].get_legend_handles_labels()), strict=True))
    figure.legend(
        handles.values(), handles.keys(), loc="outside upper center", ncols=7, frameon=False
    )
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    figure.set_layout_engine("none")
    for ax, points in panels:
        add_labels(ax, points)
    canvas.draw()
    picture = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    picture.quantize(256, dither=Image.Dither.NONE).save(file, optimize=True)  # a third of the size


def draw_panel(ax: Axes, rows: pd.DataFrame) -> pd.DataFrame:
    """Points with their intervals, and what they are read against; returns the points."""
    table = rows.pivot_table(
        index=["kind", "population"], columns="measure", values=["value", "low", "high"]
    )
    between = float(table.loc[("real", "real defects"), ("value", "to normals")])
    points = table.drop(index="real", level="kind")
    x, y = (points.xs(f"to {of}", axis=1, level="measure") for of in ("normals", "real"))
    for kind, style in STYLES.items():
        if kind in x.index:
            draw_points(ax, x.loc[kind], y.loc[kind], style)
    ax.set_xlim(-0.04 * x["value"].max(), 1.12 * x["value"].max())
    top = 1.12 * max(y["value"].max(), between)
    ax.set_ylim(-0.04 * top, top)
    draw_bounds(ax, between)
    return pd.DataFrame({"x": x["value"], "y": y["value"]}).reset_index()


def draw_points(ax: Axes, x: pd.DataFrame, y: pd.DataFrame, style: dict[str, str]) -> None:
    """Points of one kind; the intervals are thin, and lie behind."""
    bars = [np.abs(v[["low", "high"]].sub(v["value"], axis=0)).T for v in (x, y)]
    ax.errorbar(
        x["value"], y["value"], bars[1], bars[0], fmt="none", ecolor=style["color"], alpha=0.25
    )
    ax.scatter(x["value"], y["value"], s=34, linewidths=0.5, edgecolors="white", zorder=3, **style)


def draw_bounds(ax: Axes, between: float) -> None:
    """Where no point can be, the triangle inequality; and the distance of real from normal."""
    right, top = ax.get_xlim()[1], ax.get_ylim()[1]
    x = np.array([0, between, right])
    grey = {"color": "0.93", "linewidth": 0, "zorder": 0}
    ax.fill_between(x, -top, np.abs(x - between), label="not possible", **grey)
    ax.fill_between(x, x + between, 2 * (top + right), **grey)
    line = {"color": "0.45", "linewidth": 1, "linestyle": "--", "zorder": 1}
    ax.axvline(between, label="d(R, N)", **line)
    ax.axhline(between, **line)
    ax.scatter(between, 0, s=130, marker="*", color="#D55E00", zorder=3, label="real defects")


def add_labels(ax: Axes, points: pd.DataFrame) -> None:
    """A name beside each point, overlapping neither points nor names."""
    places = ax.transData.transform(points[["x", "y"]].to_numpy())
    texts = [ax.text(0, 0, name, fontsize=9) for name in points["population"]]
    sizes = [text.get_window_extent().size for text in texts]
    frame = ax.get_window_extent()
    to_data = ax.transData.inverted()
    for text, (box, leader), kind in zip(
        texts, label_boxes(places, sizes, frame), points["kind"], strict=True
    ):
        text.set(position=to_data.transform((box.min + box.max) / 2), ha="center", va="center")
        text.set(color=STYLES[kind]["color"], zorder=4)
        text.set_path_effects([withStroke(linewidth=2.5, foreground="white", alpha=0.8)])
        if math.dist(*leader.vertices) > LEADER:
            ax.plot(*to_data.transform(leader.vertices).T, color="0.5", linewidth=0.7, zorder=2)


def label_boxes(
    places: np.ndarray, sizes: Sequence[np.ndarray], frame: Bbox
) -> list[tuple[Bbox, Line]]:
    """A place for each point's label, the most crowded points first.

    Near the point, on no other label and no point, with few leading lines across labels.

    Returns:
        The label's box, and the line that leads from the point to it.
    """
    taken = [Bbox([place - POINT, place + POINT]) for place in places]
    distances = np.sort(np.linalg.norm(places[:, None] - places, axis=-1))
    chosen: dict[int, tuple[Bbox, Line]] = {}

    def cost(candidate: tuple[Bbox, Line]) -> float:
        box, leader = candidate
        crossed = sum(
            leader.intersects_bbox(other) + line.intersects_bbox(box)
            for other, line in chosen.values()
        )
        length = math.dist(*leader.vertices)
        return OVERLAP * box.count_overlaps(taken) + CROSSING * crossed + length

    for i in np.argsort(distances[:, : len(places) // 3 + 1].sum(axis=1)).tolist():
        chosen[i] = min(candidates(places[i], sizes[i], frame), key=cost)
        taken.append(chosen[i][0])
    return [chosen[i] for i in range(len(places))]


def candidates(place: np.ndarray, size: np.ndarray, frame: Bbox) -> Iterator[tuple[Bbox, Line]]:
    """Boxes of a label around its point, within the frame, from near to far, and their lines."""
    angles = np.linspace(0, 2 * math.pi, ANGLES, endpoint=False)
    for radius, angle in itertools.product(RINGS, angles):
        centre = place + np.array([math.cos(angle), math.sin(angle)]) * (radius + size / 2)
        box = Bbox([centre - size / 2, centre + size / 2])
        if (box.min > frame.min + 2).all() and (box.max < frame.max - 2).all():
            yield box, Line([place, np.clip(place, box.min, box.max)])


def write_tables(results: pd.DataFrame, note: str, page: Path) -> None:
    """Put the tables between the page's two marks, in place of the previous ones."""
    parts = [f"Measured on {datetime.date.today():%d %B %Y}, {machine()}, {note}"]
    for dataset, rows in results[results["level"] == "mean"].groupby("dataset", sort=False):
        parts += [f"### {dataset.capitalize()}", to_markdown(main_table(rows))]
        if (rows["kind"] == "real type").any():
            parts += ["d to each type of real defect:", to_markdown(type_table(rows))]
    text = "\n\n".join(["<!-- results -->", *parts, "<!-- end of results -->"])
    old = page.read_text(encoding="utf-8")
    pattern = re.compile("<!-- results -->.*<!-- end of results -->", re.DOTALL)
    page.write_text(pattern.sub(lambda _: text, old), encoding="utf-8")


def main_table(rows: pd.DataFrame) -> pd.DataFrame:
    """The three measures of each population, with their intervals."""
    columns = {"to normals": "d(·, N)", "to real": "d(·, R)", "novelty": "novelty"}
    cells = rows.assign(
        cell=[
            f"{r.value:.2f} [{r.low:.2f}, {r.high:.2f}]" if r.low < r.high else f"{r.value:.0f}"
            for r in rows.itertuples()
        ]
    )
    table = wide(cells, "cell", ["images", "groups"])[list(columns)]
    return table.rename(columns=columns).reset_index(["images", "groups"])


def type_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Distances to each type of real defect."""
    kinds = rows.loc[rows["kind"] == "real type", "population"].unique()
    cells = rows.assign(cell=rows["value"].map("{:.2f}".format))
    table = wide(cells, "cell", [])[[f"to {kind}" for kind in kinds]]
    return table.rename(columns=lambda name: name.removeprefix("to "))


def wide(cells: pd.DataFrame, values: str, more: list[str]) -> pd.DataFrame:
    """A row for each population, in the order of the rows; a column for each measure."""
    table = cells.pivot_table(
        index=["population", *more], columns="measure", values=values, aggfunc="first", sort=False
    )
    return table.fillna("")


def to_markdown(table: pd.DataFrame) -> str:
    """A Markdown table; pandas' own needs one more package."""
    lines = [[table.index.name, *table.columns], ["---"] * (1 + table.shape[1])]
    lines += [list(map(str, row)) for row in table.itertuples()]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def machine() -> str:
    """Cores and processor."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{os.cpu_count()} cores, {names[0] if names else platform.processor()}"
