import re

import numpy as np
import pytest
from html_page import Page

from daf_pipelines.reporting.charts import (
    MAX_POINTS,
    PALETTE,
    histogram,
    intervals,
    line_chart,
    scatter,
    thinned,
)
from daf_pipelines.reporting.embedding import page_template

HOSTILE = "<script>alert('x')</script> & \"q\" {{ 7 * 7 }} \udc80"


def points(path):
    """The corners of a path of absolute M, L, H and V."""
    x = y = 0.0
    found = []
    for letter, numbers in re.findall(r"([MLHV])([-\d. ]+)", path):
        values = [float(number) for number in numbers.split()]
        x = values[0] if letter in "MLH" else x
        y = values[-1] if letter in "MLV" else y
        found.append((x, y))
    return found


def drawn(chart, **options):
    page = page_template("charts.html").module.chart(chart, **options)
    return str(page)


class TestThinning:
    @pytest.mark.parametrize("seed", range(3))
    def test_the_shape_stays(self, seed):
        rng = np.random.default_rng(seed)
        x, y = 100 * np.sort(rng.random((2, 1000)) ** 3, axis=1)
        kept = thinned(x, y)
        assert len(kept) <= MAX_POINTS
        assert kept[0] == 0
        assert kept[-1] == 999
        assert (np.diff(kept) > 0).all()
        assert np.abs(np.interp(x, x[kept], y[kept]) - y).max() < 0.7

    def test_a_stair_keeps_its_corners(self):
        x, y = np.repeat([0.0, 30, 60, 100], 100), np.repeat([0.0, 20, 90, 100], 100)
        x = np.concatenate([x[50:], np.full(50, 100.0)])
        kept = thinned(x, y)
        corners = {(a, b) for a, b in zip(x, y, strict=True)}
        assert {(x[k], y[k]) for k in kept} == corners

    def test_a_straight_line_is_two_points(self):
        assert thinned(np.linspace(0, 100, 500), np.linspace(0, 50, 500)).tolist() == [0, 499]

    @pytest.mark.parametrize("count", [0, 1, 2])
    def test_few_points(self, count):
        assert thinned(np.zeros(count), np.zeros(count)).tolist() == list(range(count))

    def test_all_in_one_place(self):
        assert thinned(np.ones(10), np.ones(10)).tolist() == [0, 9]


class TestLineChart:
    def test_coordinates(self):
        (series,) = line_chart({"a": ([0, 0.25, 1], [0, 0.8, 1])}, "x", "y").series
        assert points(series.line) == [(0, 100), (25, 20), (100, 0)]
        assert series.fill == ""

    def test_an_order_from_the_right(self):
        (series,) = line_chart({"a": ([1, 0.25, 0], [0.5, 0.8, 1])}, "x", "y").series
        assert points(series.line) == [(0, 0), (25, 20), (100, 50)]

    def test_a_limit_cuts_by_interpolation(self):
        chart = line_chart({"a": ([0, 0.2, 0.6], [0, 0.5, 0.9])}, "x", "y", x_limit=0.4)
        assert points(chart.series[0].line) == [(0, 100), (50, 50), (100, pytest.approx(30))]
        assert [tick.text for tick in chart.x_ticks] == ["0", "0.1", "0.2", "0.3", "0.4"]

    def test_not_a_number_is_left_out(self):
        (series,) = line_chart({"a": ([0, np.nan, 1], [0, 0.8, 1])}, "x", "y").series
        assert points(series.line) == [(0, 100), (100, 0)]

    def test_without_points(self):
        chart = line_chart({"a": ([], []), "b": ([np.nan], [1.0])}, "x", "y", fill=True)
        assert chart.empty
        html = drawn(chart, nothing="no masks")
        assert "no masks" in html
        assert "a: none" in html

    def test_rules_and_marks(self):
        chart = line_chart(
            {"a": ([0, 1], [0, 1])},
            "x",
            "y",
            x_limit=0.5,
            rules={"in": 0.1, "out": 0.7, "nan": np.nan},
            marks={"a": (0.25, 0.75), "nan": (np.nan, 0.1)},
        )
        assert [(rule.name, rule.place) for rule in chart.rules] == [("in", 20)]
        (mark,) = chart.marks
        assert (mark.x, mark.y, mark.colour) == (50, 25, PALETTE[0])

    def test_ten_series_look_different(self):
        chart = line_chart({str(k): ([0, 1], [0, 1]) for k in range(10)}, "x", "y")
        assert len({series.colour for series in chart.series}) == 10
        assert [series.dashed for series in chart.series] == [False] * 5 + [True] * 5


class TestHistogram:
    def test_heights_are_shares_of_the_group(self):
        groups = {"few": [0.1, 0.9], "many": np.full(100, 0.9), "none": [np.nan]}
        few, many, none = histogram(groups, "score", bins=2).series
        assert points(few.line)[1:] == [(0, 50), (50, 50), (50, 50), (100, 50)]
        assert points(many.line)[1:] == [(0, 100), (50, 100), (50, 0), (100, 0)]
        assert none.empty

    def test_the_ends_are_included(self):
        (series,) = histogram({"a": [0.0, 1.0, -0.1, 1.1]}, "score", bins=4).series
        assert {y for x, y in points(series.line) if x in (25, 100)} >= {0}

    def test_thresholds(self):
        chart = histogram({"a": [0.5]}, "score", rules={"x": 0.4, "y": 0.5}, strong="y")
        assert [(r.name, r.place, r.strong) for r in chart.rules] == [
            ("x", 40, False),
            ("y", 50, True),
        ]

    def test_ticks_are_percent(self):
        chart = histogram({"a": np.linspace(0, 1, 1000)}, "score", bins=20)
        assert [tick.text for tick in chart.y_ticks][:2] == ["0 %", "2 %"]


class TestScatter:
    def test_logarithmic(self):
        chart = scatter({"a": ([0.001, 0.1, 0, np.nan], [0, 1, 0.5, 0.5])}, "area", "overlap")
        assert points(chart.series[0].dots) == [(0, 100), (66.7, 0)]
        assert [tick.text for tick in chart.x_ticks] == ["0.1 %", "1 %", "10 %", "100 %"]

    def test_many_points_stay_small(self):
        x = np.random.default_rng(0).random((2, 100_000))
        assert len(scatter({"a": (x[0], x[1])}, "area", "overlap").series[0].dots) < 40_000

    def test_none(self):
        assert scatter({"a": ([], [])}, "area", "overlap").empty


class TestIntervals:
    def test_one_scale(self):
        scale = intervals({"a": (0.9, 0.8, 0.95), "b": (0.7, None, None), "c": (None, None, None)})
        assert (scale.ticks[0].text, scale.ticks[-1].text) == ("0.7", "1")
        a, b, c = scale.rows.values()
        assert (a.value, a.low, a.high) == pytest.approx((66.67, 33.33, 83.33))
        assert (b.value, b.low, b.high) == (0, 0, 0)
        assert c is None

    @pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
    def test_one_value(self, value):
        scale = intervals({"a": (value, np.nan, np.nan)})
        assert 0 <= scale.rows["a"].value <= 100
        assert float(scale.ticks[-1].text) <= 1

    def test_differences(self):
        scale = intervals({"a": (-0.02, -0.05, 0.01)}, reference=0.0)
        assert scale.rows["a"].value < scale.reference < scale.rows["a"].high
        assert "0" in [tick.text for tick in scale.ticks]

    def test_nothing(self):
        assert intervals({"a": (None, None, None)}).rows == {"a": None}


class TestMacros:
    def test_any_name(self):
        chart = line_chart(
            {HOSTILE: ([0, 1], [0, 1])}, HOSTILE, HOSTILE, rules={HOSTILE: 0.5}, diagonal=True
        )
        html = drawn(chart, name=HOSTILE, square=True)
        page = Page(html)
        assert page.text.count("<script>alert('x')</script> & \"q\" {{ 7 * 7 }} \ufffd") == 5
        assert not page.all("script")

    def test_in_a_page(self):
        """What macros made is not escaped once more."""
        module = page_template("charts.html").module
        rows = intervals({"a": (0.5, 0.4, 0.6), "b": (None, None, None)})
        for html in (
            module.interval_scale(rows),
            module.interval(rows, "a"),
            module.interval(rows, "b"),
            module.bar(0.5),
        ):
            assert Page(str(html)).elements
