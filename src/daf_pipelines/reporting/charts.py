"""Small charts for web pages: what ``templates/charts.html`` draws as inline SVG.

A chart's own coordinates run from 0 to 100, x to the right and y *downwards*, whatever the size it
is shown at: lines and dots keep their width in pixels, and words are HTML beside the drawing, so
all is crisp at any width. Colours are CSS variables, which follow the page's light or dark theme.
"""

import heapq
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from daf_pipelines.reporting.dataset_overview import percent

MAX_POINTS = 200
TOLERANCE = 0.1
"""How far a thinned line may lie from the full one, of 100: a third of a pixel."""
MAX_DOTS = 2000
PALETTE = tuple(f"--series-{number}" for number in range(1, 11))
"""Colours for up to ten series; those from the sixth on are dashed too, for the colour-blind."""

Array = npt.NDArray[np.float64]
Values = npt.ArrayLike


@dataclass(frozen=True)
class Tick:
    """A number on an axis; `place` from 0 to 100."""

    place: float
    text: str


@dataclass(frozen=True)
class Series:
    """What is drawn of one series.

    Attributes:
        name: For the legend.
        colour: CSS variable.
        dashed: Whether the line is.
        line: Path of the line, "" where there are no values.
        fill: Path of the area below it, "" for none.
        dots: Path of dots, each a line of no length, "" for none.
    """

    name: str
    colour: str
    dashed: bool = False
    line: str = ""
    fill: str = ""
    dots: str = ""

    @property
    def empty(self) -> bool:
        """Whether there is nothing to draw."""
        return not (self.line or self.dots)


@dataclass(frozen=True)
class Rule:
    """A vertical line across the chart, such as a threshold; `strong` is the one in use."""

    name: str
    place: float
    strong: bool = False


@dataclass(frozen=True)
class Mark:
    """A ring around a point of the chart, such as an operating point."""

    name: str
    x: float
    y: float
    colour: str = "--ink"


@dataclass(frozen=True)
class Chart:
    """A chart with two axes, for the macro ``chart``."""

    x_label: str
    y_label: str
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    series: list[Series]
    rules: list[Rule]
    marks: list[Mark]
    diagonal: bool = False

    @property
    def empty(self) -> bool:
        """Whether no series has anything to draw."""
        return all(one.empty for one in self.series)


@dataclass(frozen=True)
class Interval:
    """A value with its interval on an :class:`Intervals` scale, all from 0 to 100.

    Attributes:
        value: Place of the value.
        low: Place of the lower end; that of the value where there is no interval.
        high: Place of the upper end, likewise.
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Intervals:
    """Values with intervals on one scale, for the macros ``interval_scale`` and ``interval``.

    Attributes:
        ticks: Of the scale.
        rows: By name; None where there is no value.
        reference: Place of a line to compare with, such as that of no difference.
    """

    ticks: list[Tick]
    rows: dict[str, Interval | None]
    reference: float | None = None


def line_chart(
    series: Mapping[str, tuple[Values, Values]],
    x_label: str,
    y_label: str,
    *,
    x_limit: float = 1.0,
    fill: bool = False,
    diagonal: bool = False,
    rules: Mapping[str, float] | None = None,
    marks: Mapping[str, tuple[float, float]] | None = None,
    colours: Mapping[str, str] | None = None,
) -> Chart:
    """Curves in the unit square: ROC, precision over recall, PRO.

    Args:
        series: By name, x in one direction and y, shape (N,) each, in [0, 1]; where either is NaN,
            the point is left out. A series without points stays in the legend.
        x_label: Name of the x axis.
        y_label: Name of the y axis.
        x_limit: Largest x shown, in (0, 1]; curves are cut there, by interpolation.
        fill: Whether to fill the area below the curves, lightly.
        diagonal: Whether to draw y = x.
        rules: x of vertical lines, by name.
        marks: Points to draw a ring around, (x, y) by name, such as operating points; a name that
            is also a series' has its colour. Those that are NaN or beyond the limit are left out.
        colours: CSS variables by series, in place of :data:`PALETTE`.
    """
    colour = _colours(series, colours)
    drawn = [
        _curve(name, colour[name], *_clean(x, y), x_limit, fill, _dashed(number, colours))
        for number, (name, (x, y)) in enumerate(series.items())
    ]
    return Chart(
        x_label,
        y_label,
        _ticks(0, x_limit),
        _ticks(0, 1),
        drawn,
        _rules(rules, (0, x_limit)),
        [
            Mark(name, _round(100 * x / x_limit), _round(100 - 100 * y), colour.get(name, "--ink"))
            for name, (x, y) in (marks or {}).items()
            if 0 <= x <= x_limit and 0 <= y <= 1
        ],
        diagonal and x_limit == 1,
    )


def histogram(
    groups: Mapping[str, Values],
    x_label: str,
    *,
    rules: Mapping[str, float] | None = None,
    strong: str | None = None,
    colours: Mapping[str, str] | None = None,
    bins: int = 40,
) -> Chart:
    """Histograms of scores in [0, 1], over each other; heights are shares of each group.

    Args:
        groups: Scores by the name of the group, shape (N,) each; NaN are left out.
        x_label: Name of the x axis.
        rules: Thresholds, by name.
        strong: The name of the one in use.
        colours: CSS variables by group, in place of :data:`PALETTE`.
        bins: Number of bars.
    """
    shares = {name: _shares(values, bins) for name, values in groups.items()}
    top = max([0.01, *(float(share.max()) for share in shares.values())])
    ticks = _ticks(0, 1, count=4, scale=top, as_percent=True)
    colour = _colours(groups, colours)
    drawn = [
        Series(name, colour[name], False, *(_steps(share / top) if share.any() else ("", "")))
        for name, share in shares.items()
    ]
    lines = _rules(rules, (0, 1), strong)
    return Chart(x_label, "share of the images", _ticks(0, 1), ticks, drawn, lines, [])


def scatter(
    groups: Mapping[str, tuple[Values, Values]],
    x_label: str,
    y_label: str,
    *,
    colours: Mapping[str, str] | None = None,
) -> Chart:
    """Dots: x a share on a logarithmic scale in percent, y in [0, 1].

    Args:
        groups: x and y by name, shape (N,) each; pairs with a NaN or x <= 0 are left out, and of
            more than :data:`MAX_DOTS` in a group an even sample is drawn.
        x_label: Name of the x axis.
        y_label: Name of the y axis.
        colours: CSS variables by group, in place of :data:`PALETTE`.
    """
    points = {name: _clean(x, y) for name, (x, y) in groups.items()}
    points = {name: (x[x > 0], y[x > 0]) for name, (x, y) in points.items()}
    smallest = min([0.1, *(float(x.min()) for x, _ in points.values() if len(x))])
    decades = max(1, int(np.ceil(-np.log10(smallest) - 1e-9)))
    colour = _colours(groups, colours)
    drawn = []
    for name, (x, y) in points.items():
        kept = np.linspace(0, len(x) - 1, min(len(x), MAX_DOTS)).round().astype(int)
        places = 100 * (1 + np.log10(x[kept]) / decades), 100 - 100 * y[kept]
        drawn.append(Series(name, colour[name], dots=_dots(*places)))
    exponents = range(-decades, 1, -(-decades // 4))
    x_ticks = [
        Tick(_round(100 * (1 + exponent / decades)), percent(10.0**exponent))
        for exponent in exponents
    ]
    return Chart(x_label, y_label, x_ticks, _ticks(0, 1), drawn, [], [])


def intervals(
    rows: Mapping[str, tuple[float | None, float | None, float | None]],
    *,
    reference: float | None = None,
    least: float = 0.1,
) -> Intervals:
    """Values with their intervals, on one scale that just holds them all.

    Args:
        rows: By name, value, lower and upper end; None or NaN where there is none.
        reference: A value that the scale holds too and that is marked, such as 0 for differences.
        least: What the scale spans at least.
    """
    known = {name: triple for name, row in rows.items() if (triple := _triple(*row))}
    ends = [end for triple in known.values() for end in triple]
    ends += [] if reference is None else [reference]
    low, high = _nice_range(min(ends, default=0.0), max(ends, default=1.0), least)

    def place(value: float) -> float:
        return _round(100 * (value - low) / (high - low))

    return Intervals(
        _ticks(low, high, count=4),
        {n: Interval(*map(place, known[n])) if n in known else None for n in rows},
        None if reference is None else place(reference),
    )


def thinned(x: Array, y: Array, limit: int = MAX_POINTS) -> npt.NDArray[np.intp]:
    """Which points of a line to keep so that its shape stays.

    Starting from both ends, the point farthest from the line so far is added, until all lie within
    :data:`TOLERANCE` of it.

    Args:
        x: Of the points, shape (N,).
        y: Of the points, shape (N,), on the same scale.
        limit: Largest number of points kept, at least 2.

    Returns:
        Positions in order, at most `limit`.
    """
    last = len(x) - 1
    if last < 2:
        return np.arange(len(x))
    kept = [0, last]
    waiting = [_farthest(x, y, 0, last)]
    while waiting and len(kept) < limit:
        distance, middle, start, end = heapq.heappop(waiting)
        if -distance < TOLERANCE:
            break
        kept.append(middle)
        for part in ((start, middle), (middle, end)):
            if part[1] - part[0] > 1:
                heapq.heappush(waiting, _farthest(x, y, *part))
    return np.sort(np.array(kept))


def _farthest(x: Array, y: Array, start: int, end: int) -> tuple[float, int, int, int]:
    """The point between two that lies farthest from the line through them; negative distance."""
    inner = slice(start + 1, end)
    along, up = x[end] - x[start], y[end] - y[start]
    px, py = x[inner] - x[start], y[inner] - y[start]
    length = along * along + up * up
    share = np.clip((px * along + py * up) / length, 0, 1) if length else np.zeros(len(px))
    distance = np.hypot(px - share * along, py - share * up)
    farthest = int(distance.argmax())
    return -float(distance[farthest]), start + 1 + farthest, start, end


def _curve(
    name: str, colour: str, x: Array, y: Array, limit: float, fill: bool, dashed: bool
) -> Series:
    """A curve as a series, cut at x = `limit`."""
    if len(x) and x[0] > x[-1]:
        x, y = x[::-1], y[::-1]
    inside = int(np.searchsorted(x, limit, side="right"))
    if 0 < inside < len(x):
        end = np.interp(limit, x[inside - 1 : inside + 1], y[inside - 1 : inside + 1])
        x, y = np.append(x[:inside], limit), np.append(y[:inside], end)
    if not len(x) or not inside:
        return Series(name, colour, dashed)
    x, y = 100 * x / limit, 100 - 100 * y
    kept = thinned(x, y)
    line = _path(x[kept], y[kept])
    area = f"M{_short(x[0])} 100L{line[1:]}V100Z" if fill else ""
    return Series(name, colour, dashed, line, area)


def _shares(values: Values, bins: int) -> Array:
    """Which share of the values is in each bin of [0, 1]."""
    finite = np.asarray(values, dtype=np.float64).reshape(-1)
    finite = np.clip(finite[np.isfinite(finite)], 0, 1)
    counts, _ = np.histogram(finite, bins=bins, range=(0, 1))
    return counts / max(1, len(finite))


def _steps(heights: Array) -> tuple[str, str]:
    """Bars side by side as an outline and as an area; where there are none, on the ground."""
    edges = np.linspace(0, 100, len(heights) + 1)
    parts = [f"M0 {_short(100 - 100 * heights[0])}"]
    for height, end in zip(heights, edges[1:], strict=True):
        parts.append(f"V{_short(100 - 100 * height)}H{_short(end)}")
    line = "".join(parts)
    return line, f"{line}V100H0Z"


def _clean(x: Values, y: Values) -> tuple[Array, Array]:
    """The pairs of which both are finite."""
    first, second = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    finite = np.isfinite(first) & np.isfinite(second)
    return first[finite], second[finite]


def _path(x: Array, y: Array) -> str:
    points = (f"{_short(a)} {_short(b)}" for a, b in zip(x, y, strict=True))
    return "M" + "L".join(points) if len(x) else ""


def _dots(x: Array, y: Array) -> str:
    """Lines of no length: their round ends are dots of one size, however the chart is stretched."""
    points = dict.fromkeys(
        f"M{_short(a)} {_short(b)}h0" for a, b in zip(x.round(1), y.round(1), strict=True)
    )
    return "".join(points)


def _rules(
    rules: Mapping[str, float] | None, span: tuple[float, float], strong: str | None = None
) -> list[Rule]:
    low, high = span
    return [
        Rule(name, _round(100 * (value - low) / (high - low)), name == strong)
        for name, value in (rules or {}).items()
        if low <= value <= high  # not NaN
    ]


def _colours(names: Mapping[str, object], given: Mapping[str, str] | None) -> dict[str, str]:
    palette = {name: PALETTE[number % len(PALETTE)] for number, name in enumerate(names)}
    return palette | dict(given or {})


def _dashed(number: int, given: Mapping[str, str] | None) -> bool:
    return not given and number % len(PALETTE) >= len(PALETTE) // 2


def _triple(
    value: float | None, low: float | None, high: float | None
) -> tuple[float, float, float] | None:
    if value is None or not np.isfinite(value):
        return None
    ends = [value if end is None or not np.isfinite(end) else end for end in (low, high)]
    return float(value), float(min(ends[0], value)), float(max(ends[1], value))


def _step(span: float, count: int) -> float:
    """A step of 1, 2 or 5 times a power of ten that divides `span` into about `count` parts."""
    power = 10.0 ** np.floor(np.log10(span / count))
    return float(min(power * f for f in (1, 2, 5, 10) if power * f * count >= span * 0.999))


def _nice_range(low: float, high: float, least: float) -> tuple[float, float]:
    """The smallest range between whole steps that holds both ends."""
    if high - low < least:
        middle = (low + high) / 2
        low, high = min(low, middle - least / 2), max(high, middle + least / 2)
        if low < 1 < high and middle <= 1:  # scores end at 1
            low, high = 1 - least, 1.0
    step = _step(high - low, 4)
    return float(np.floor(low / step + 1e-9)) * step, float(np.ceil(high / step - 1e-9)) * step


def _ticks(
    low: float, high: float, count: int = 5, scale: float = 1.0, as_percent: bool = False
) -> list[Tick]:
    """Ticks at whole steps of low .. high, which are multiplied with `scale` in words."""
    step = _step((high - low) * scale, count) / scale
    whole = np.arange(np.ceil(low / step - 1e-6), np.floor(high / step + 1e-6) + 1)
    return [
        Tick(
            _round(100 * (n - low) / (high - low)),
            percent(round(n * scale, 10)) if as_percent else f"{round(n * scale, 10):g}",
        )
        for n in (whole * step + 0.0).tolist()  # no -0
    ]


def _round(value: float) -> float:
    return round(float(value), 2)


def _short(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")
