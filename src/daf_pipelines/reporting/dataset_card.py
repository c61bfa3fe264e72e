"""The dataset card as one picture: counts, defect areas, image sizes and a contact sheet."""

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import LogLocator
from PIL import Image

from daf_pipelines.reporting.dataset_overview import (
    MAX_TYPES,
    Sample,
    Samples,
    by_type,
    count_images,
    count_sizes,
    defect_areas,
    describe_findings,
    folded,
    image_kinds,
    percent,
    sizes_differ,
    type_kinds,
)
from daf_pipelines.reporting.figures import header, outline, panels, short, show
from daf_pipelines.reporting.names import drawable, fonts
from daf_pipelines.reporting.plots import ANOMALOUS, NEUTRAL, NORMAL

COLOURS = {"normal": NORMAL, "anomalous": ANOMALOUS, "undecided": NEUTRAL}
COLUMNS = 8
ROW = 0.19  # inches, of the table
PIXELS = 160  # a side of the pictures, which are drawn smaller
SHOWN_AREAS = 200
"""Marks that stand for the areas of one defect type, at most."""


def dataset_card(
    manifest: pd.DataFrame, samples: Samples, findings: pd.DataFrame, title: str
) -> Figure:
    """Draws what a person should see of a dataset before training on it.

    Args:
        manifest: Table as :data:`~daf_pipelines.sources.manifest.MANIFEST` has it.
        samples: The images to show, those of one type together.
        findings: What the checks found: severity, check, file, finding, remedy.
        title: First line of the picture.

    Returns:
        The figure: a table of counts by defect type and split, beside it the areas of the
        defects, the image sizes, and below a contact sheet with the outlines of the masks.
    """
    counts = folded(count_images(manifest), MAX_TYPES)
    table_height = ROW * (len(counts) + 2)
    sizes_height = 2.3 if sizes_differ(manifest) else 0
    groups = by_type(samples)
    slots, rows = _slots([len(group) for group in groups.values()])
    top = 1.15 + max(table_height, sizes_height)
    figure, grid = panels(rows, COLUMNS, group=1, title=0.34, header=top)
    header(figure, drawable(short(title, 120)), _note(manifest, samples, findings))
    _write_counts(_place(figure, 0.08, 4.7, table_height), counts, manifest)
    _draw_areas(_place(figure, 4.95, 2.9, table_height), counts, manifest)
    if sizes_height:
        draw_sizes(_place(figure, 8.5, 2.55, sizes_height), manifest)
    for start, (name, group) in zip(slots, groups.items(), strict=True):
        axes = [cell[0] for cell in grid[start : start + len(group)]]
        _draw_group(axes, group)
        _name_group(axes, name, manifest)
    for text in figure.findobj(Text):
        text.set_fontfamily(fonts())
    return figure


def draw_sizes(ax: Axes, manifest: pd.DataFrame) -> None:
    """Draws a dot for each image size, anomalous ones over normal ones.

    A size that only one of the two has would give the label away.
    """
    sizes = manifest[["width", "height"]]
    largest = int(sizes.to_numpy().max())
    step = max(1, largest // 100)
    kinds = image_kinds(manifest)
    for kind, colour in COLOURS.items():
        dots = sizes[kinds == kind]
        dots = dots[~(dots // step).duplicated()]  # others would lie on these
        if len(dots):
            ax.scatter(
                dots["width"], dots["height"], s=9, color=colour, alpha=0.75, lw=0, label=kind
            )
    ax.plot([0, largest], [0, largest], color=NEUTRAL, linestyle=":", linewidth=0.8, zorder=0)
    limits = (0, 1.05 * largest)
    ax.set(xlim=limits, ylim=limits, aspect="equal", xlabel="width, pixels", ylabel="height")
    ax.legend(frameon=False, fontsize=8, loc="lower left", bbox_to_anchor=(0, 1), ncols=3)


def thumbnail(
    sample: Sample, side: int
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8] | None]:
    """A sample's picture and mask, made so small that they fit into a square; never enlarged.

    Returns:
        Picture, shape (h, w, 3), and mask, shape (h, w) in {0, 1}: 1 where any defect is.
    """
    height, width = sample.picture.shape[:2]
    scale = min(1.0, side / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    picture = Image.fromarray(sample.picture).resize(size, Image.Resampling.LANCZOS)
    if sample.mask is None:
        return np.array(picture), None
    share = Image.fromarray((sample.mask != 0).astype(np.float32))
    mask = np.array(share.resize(size, Image.Resampling.BOX)) > 0
    return np.array(picture), mask.astype(np.uint8)


def _note(manifest: pd.DataFrame, samples: Samples, findings: pd.DataFrame) -> str:
    parts = [f"{len(manifest):,} images", *_only_size(manifest), describe_findings(findings)]
    if any(sample.mask is not None for sample in samples):
        parts.append("outline: mask of the defect")
    left_out = manifest["defect_type"].nunique() - len(by_type(samples))
    if left_out > 0:
        parts.append(f"types not pictured, the rarest: {left_out}")
    return "; ".join(parts)


def _slots(sizes: list[int]) -> tuple[list[int], int]:
    """Where each group of panels starts, and the number of rows.

    A group that the rest of its row cannot hold starts the next one.
    """
    starts, end = [], 0
    for size in sizes:
        if end % COLUMNS + size > COLUMNS:
            end += -end % COLUMNS
        starts.append(end)
        end += size
    return starts, -(-end // COLUMNS)


def _place(figure: Figure, left: float, width: float, height: float) -> Axes:
    """Axes below the header, at a place given in inches from the left."""
    across, down = figure.get_size_inches()
    bottom = 1 - (0.6 + height) / down
    ax = figure.add_axes((left / across, bottom, width / across, height / down))
    ax.spines[["top", "right"]].set_visible(False)
    ax.tick_params(labelsize=8)
    ax.xaxis.label.set_fontsize(8.5)
    ax.yaxis.label.set_fontsize(8.5)
    return ax


def _write_counts(ax: Axes, counts: pd.DataFrame, manifest: pd.DataFrame) -> None:
    """A table of the counts, with sums; row `k` at height `k` as in :func:`_draw_areas`."""
    ax.set_axis_off()
    ax.set(xlim=(0, 1), ylim=(len(counts) + 0.5, -1.5))
    table = counts.assign(total=counts.sum(axis="columns"))
    kinds = type_kinds(manifest)
    places = np.linspace(0.98 - 0.145 * (len(table.columns) - 1), 0.98, len(table.columns))
    for place, split in zip(places, table.columns, strict=True):
        ax.text(place, -1, split, ha="right", va="center", fontsize=8, color=NEUTRAL)
    for row, (name, numbers) in enumerate(table.iterrows()):
        colour = COLOURS[kinds.get(str(name), "undecided")]
        ax.text(0, row, drawable(short(str(name), 20)), va="center", fontsize=8.5, color=colour)
        for place, number in zip(places, numbers, strict=True):
            shown = f"{number:,}" if number else "–"
            ax.text(place, row, shown, ha="right", va="center", fontsize=8.5)


def _draw_areas(ax: Axes, counts: pd.DataFrame, manifest: pd.DataFrame) -> None:
    """A line of marks for the defect areas of each type, with their median, on a log scale."""
    areas = {
        name: values for name, values in defect_areas(manifest).items() if name in counts.index
    }
    if not areas:
        _without_axes(ax, "no masks of defects")
        return
    ax.set(xscale="log", ylim=(len(counts) + 0.5, -1.5), yticks=[])
    ax.spines["left"].set_visible(False)
    for row, name in enumerate(counts.index):
        if name not in areas:
            continue
        marks = np.quantile(areas[name], np.linspace(0, 1, min(SHOWN_AREAS, len(areas[name]))))
        ax.plot(marks, np.full(len(marks), row), "|", color=ANOMALOUS, alpha=0.4, markersize=8)
        ax.plot(np.median(areas[name]), row, "|", color="black", markersize=11, markeredgewidth=2)
    ax.xaxis.set_major_locator(LogLocator(numticks=5))
    ax.xaxis.set_major_formatter(lambda share, _: percent(share))
    ax.set_xlabel("area of the defect, share of the image; black: median")


def _draw_group(axes: list[Axes], group: list[Sample]) -> None:
    """The pictures of one defect type with their masks and splits."""
    for ax, sample in zip(axes, group, strict=True):
        picture, mask = thumbnail(sample, PIXELS)
        show(ax, picture)
        ax.set_anchor("NW")
        if mask is not None:
            outline(ax, mask)
        ax.set_title(sample.split, loc="left", fontsize=7, color=NEUTRAL, pad=2)


def _name_group(axes: list[Axes], name: str, manifest: pd.DataFrame) -> None:
    """Name and number of images of a defect type over its first picture."""
    place, figure = axes[0].get_position(original=True), axes[0].get_figure(root=True)
    if figure is None:
        return
    total = int((manifest["defect_type"] == name).sum())
    limit = 12 + 18 * (min(COLUMNS, len(axes)) - 1)
    figure.text(
        place.x0,
        place.y1 + 0.15 / figure.get_size_inches()[1],
        f"{drawable(short(name, limit))} · {total:,}",
        fontsize=8.5,
        fontweight="bold",
        color=COLOURS[type_kinds(manifest)[name]],
    )


def _only_size(manifest: pd.DataFrame) -> list[str]:
    """The size of the images in words, if it is only one."""
    if manifest.empty or sizes_differ(manifest):
        return []
    width, height = manifest[["width", "height"]].iloc[0]
    return [f"all {width} × {height} pixels, {', '.join(count_sizes(manifest)['mode'])}"]


def _without_axes(ax: Axes, words: str) -> None:
    ax.set_axis_off()
    ax.text(0.5, 0.5, words, ha="center", va="center", color=NEUTRAL, fontsize=9)
