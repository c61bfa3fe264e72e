"""The page and the figures of a study, read again."""

import re

import numpy as np
import pandas as pd
import pytest
from html_page import Page, decoded
from matplotlib.figure import Figure

from daf_pipelines.reporting.study_figures import (
    disagreement_figure,
    heatmap_figure,
    slope_figure,
)
from daf_pipelines.reporting.study_page import slopes, study_page
from daf_pipelines.reporting.study_pictures import disputed
from daf_pipelines.reporting.study_tables import matrix
from daf_pipelines.study.disagreement import disagreement, pictured
from made_up_runs import encoded, make_images
from made_up_study import made_study, read_out_of

HOSTILE = "</style><script>alert('x')</script> & \"q\" {{ 7 * 7 }} 划痕"
METHODS = ("daf", "daf_without_cue", "draem", "patchcore")
STRATEGIES = ("draem", "nsa", "simple_texture")
COMMAND = "kedro run --pipelines robustness_study"
ELPV = ("elpv", "mono")


def quality(method, strategy, seed):
    shift = {"draem": -0.8, "simple_texture": 0.8}.get(strategy, 0)
    return 1.5 + shift * (method != "daf")


def study(**changes):
    facts = {"strategies": STRATEGIES, "methods": METHODS, "normal": 24, "anomalous": 16}
    facts["transfer"] = {"draem": 0.8, "nsa": 0.7, "simple_texture": 0.9}
    return made_study(quality, **(facts | changes))


def thumbnails_of(cells, side=32, noise=0):
    """Thumbnails by run; a detector's heat is as bright as its name is long."""
    images = make_images(side=side)
    found = {}
    for cell in cells:
        level = 5 * len(f"{cell.method}{cell.strategy}")
        rng = np.random.default_rng(level)
        heat = (level + rng.integers(0, noise + 1, (side, side))).astype(np.uint8)
        found[cell.run_id] = pd.DataFrame(
            {
                "path": images["paths"],
                "label": cell.truth,
                "defect_type": np.where(cell.truth == 1, "crack", "good"),
                "image": [encoded(picture, "jpeg") for picture in images["pictures"]],
                "heat": [encoded(heat, "png")] * len(images["paths"]),
                "mask": [encoded(255 * m, "png") if m.any() else None for m in images["masks"]],
            }
        ).sample(frac=1, random_state=1)  # in no order
    return found


def page_of(cells, images=None, limit=3):
    found = disputed(cells, thumbnails_of(cells) if images is None else images, limit)
    return study_page(read_out_of(cells, 200), found, COMMAND, "2026-11-29")


def words(page):
    return " ".join(page.text.split())


@pytest.fixture(scope="module")
def cells():
    return study()


@pytest.fixture(scope="module")
def html(cells):
    return page_of(cells)


class TestContent:
    def test_the_claim(self, html):
        text = words(Page(html))
        assert "Does the claim hold here?" in text
        assert "Against draem: the claim holds on 1 of 1 (elpv mono)" in text
        assert '<span class="verdict holds">holds</span>' in html
        assert "**" not in text

    def test_what_contradicts_it(self):
        swapped = {"daf": "draem", "draem": "daf"}
        cells = [c.model_copy(update={"method": swapped.get(c.method, c.method)}) for c in study()]
        html = page_of(cells, images={})
        assert '<span class="verdict fails">does not hold</span>' in html
        assert "only daf is sensitive" in words(Page(html))

    def test_strategies_x_methods(self, cells, html):
        found = Page(html).cells
        start = next(k for k, row in enumerate(found) if row[0] == "strategy")
        rows = {row[0]: row[1:] for row in found[start : start + len(STRATEGIES) + 1]}
        assert rows["strategy"] == ["daf", "daf without cue", "draem", "patchcore"]
        for name in STRATEGIES:
            expected = [f"{c.metric('image_auroc'):.3f}" for c in cells if c.strategy == name]
            assert rows[name][:3] == expected
        (free,) = [f"{c.metric('image_auroc'):.3f}" for c in cells if c.strategy is None]
        assert rows[STRATEGIES[0]][3:] == [free]

    def test_the_best_has_the_strongest_colour(self, cells, html):
        found = re.findall(r'--share: (\d+)">([\d.]+)<', html.split('class="heat"')[1])
        shares = {text: int(share) for share, text in found}
        numbers = sorted(shares, key=float)
        assert shares[numbers[0]] == 0
        assert shares[numbers[-1]] == max(shares.values()) > 0

    def test_recommendation(self, html):
        text = words(Page(html))
        assert "The primary criterion, mean_other of image AUROC, costs" in text
        assert "too few pairs for a test" in text

    def test_an_unfinished_study(self, cells):
        part = [c for c in cells if c.method != "draem" or c.strategy == "nsa"][:-1]
        text = words(Page(page_of(part)))
        assert "Against draem: no verdict over images" in text
        assert "nan" not in text.split("How it was measured")[0]

    def test_only_methods_without_synthesis(self):
        page = Page(page_of(study(methods=("patchcore", "stfpm"))))
        assert "This study says nothing of it" in words(page)
        assert [row for row in page.cells if row[0] == "no synthesis"]


class TestSlopes:
    def test_heights_are_the_values(self, cells):
        readout = read_out_of(cells, 100)
        found = matrix(readout, ELPV, "image_auroc")
        chart = slopes(found, "image AUROC", METHODS)
        points = {
            one.name: [float(p.split(" ")[1]) for p in one.line[1:].split("L")]
            for one in chart.series
            if not one.dashed
        }
        order = [tick.text for tick in chart.x_ticks]
        assert sorted(order) == sorted(STRATEGIES)
        heights = np.array([100 - y for ys in points.values() for y in ys])
        values = np.array([found.grid[name][s] for name in points for s in order])
        slope, start = np.polyfit(values, heights, 1)
        np.testing.assert_allclose(slope * values + start, heights, atol=0.02)
        assert slope > 0

    def test_a_missing_cell_leaves_a_shorter_line(self, cells):
        part = [c for c in cells if (c.method, c.strategy) != ("draem", "nsa")]
        part = [c for c in part if c.method != "daf" or c.strategy == "nsa"]
        chart = slopes(matrix(read_out_of(part, 100), ELPV, "image_auroc"), "", METHODS)
        by_name = {one.name: one for one in chart.series}
        assert by_name["draem"].line.count("L") == 1
        assert by_name["daf"].dots


class TestPictures:
    def test_the_most_disputed_first(self, cells):
        (found,) = disputed(cells, thumbnails_of(cells), 5).values()
        (by_method,) = pictured(cells).values()
        order = np.argsort(-disagreement(by_method), kind="stable")[:5]
        assert [image.path for image in found] == [f"test/{k:03}.png" for k in order]
        assert [image.is_anomalous for image in found] == (cells[0].truth[order] == 1).tolist()

    def test_heat_is_of_its_detector(self, cells):
        image = disputed(cells, thumbnails_of(cells), 1)[ELPV][0]
        assert list(image.heats) == ["daf", "daf_without_cue"]
        assert list(image.heats["daf"]) == list(STRATEGIES)
        warmth = {
            (method, name): heat.picture[..., 0].mean()
            for method, row in image.heats.items()
            for name, heat in row.items()
        }
        longest, shortest = ("daf_without_cue", "simple_texture"), ("daf", "nsa")
        assert warmth[longest] == max(warmth.values())
        assert warmth[shortest] == min(warmth.values())

    def test_pictures_of_other_images_are_not_used(self, cells):
        thumbnails = thumbnails_of(cells)
        for table in thumbnails.values():
            table["label"] = 1 - table["label"]
        assert disputed(cells, thumbnails, 5) == {}

    def test_missing_pictures_leave_the_others(self, cells):
        thumbnails = thumbnails_of(cells)
        gone = next(c for c in cells if (c.method, c.strategy) == ("daf", "nsa"))
        del thumbnails[gone.run_id]
        image = disputed(cells, thumbnails, 1)[ELPV][0]
        assert list(image.heats["daf"]) == ["draem", "simple_texture"]
        assert list(image.heats["daf_without_cue"]) == list(STRATEGIES)


class TestForm:
    def test_nothing_is_fetched(self, html):
        page = Page(html)
        assert len(page.all("img")) >= 3 * 7
        assert all(image["src"].startswith("data:image/") for image in page.all("img"))
        assert decoded(page.all("img")[0]["src"]).size == (32, 32)
        targets = [link["href"] for tag in ("a", "link") for link in page.all(tag)]
        assert all(target.startswith(("#", "data:,")) for target in targets)
        assert not re.search(r"@import|<script|https?:", html)
        policy = page.all("meta", **{"http-equiv": "Content-Security-Policy"})
        assert policy[0]["content"].startswith("default-src 'none'")
        names = {attributes.get("id") for _, attributes in page.elements}
        assert {target[1:] for target in targets if target.startswith("#")} <= names

    def test_any_text(self, cells):
        """Names of a study file are plain; a category is the name of a folder."""

        def make(text):
            facts = dict.fromkeys(("category", "machine", "git_commit"), text)
            return Page(page_of([cell.model_copy(update=facts) for cell in cells], limit=40))

        plain, hostile = make("x"), make(HOSTILE)
        assert [t for t, _ in plain.elements] == [t for t, _ in hostile.elements]
        assert "{{ 7 * 7 }}" in hostile.text

    def test_many_noisy_pictures_are_below_five_megabytes(self):
        cells = study(
            data=[("elpv", "mono"), ("elpv", "poly"), ("elpv", "both")],
            strategies=[f"s{k}" for k in range(8)],
            methods=("daf", "daf_without_cue"),
            transfer=None,
        )
        html = page_of(cells, thumbnails_of(cells, side=128, noise=200), limit=6)
        assert 500_000 < len(html.encode()) < 5_000_000


class TestFigures:
    def test_numbers_of_the_heatmap(self, cells):
        figure = heatmap_figure(read_out_of(cells, 100))
        assert isinstance(figure, Figure)
        (ax,) = figure.axes
        texts = [text.get_text() for text in ax.texts]
        for cell in cells:
            assert f"{cell.metric('image_auroc'):.3f}" in texts

    def test_lines_of_the_slopes(self, cells):
        figure = slope_figure(read_out_of(cells, 100))
        (ax,) = figure.axes
        lines = {line.get_label(): line for line in ax.get_lines()}
        assert list(lines) == list(METHODS)
        names = [tick.get_text() for tick in ax.get_xticklabels()]
        ours = {c.strategy: c.metric("image_auroc") for c in cells if c.method == "draem"}
        assert lines["draem"].get_ydata().tolist() == [ours[name] for name in names]

    def test_one_panel_a_category_and_a_row_a_method(self):
        cells = study(data=[("elpv", "mono"), ("elpv", "poly")])
        readout = read_out_of(cells, 100)
        assert len(heatmap_figure(readout).axes) == len(slope_figure(readout).axes) == 2
        figure = disagreement_figure(disputed(cells, thumbnails_of(cells), 2))
        shown = [ax for ax in figure.axes if ax.images]
        assert len(shown) == 2 * 2 * 2 * (1 + len(STRATEGIES))

    @pytest.mark.parametrize("changes", [{"methods": ("patchcore",)}, {"strategies": ("draem",)}])
    def test_little_of_a_study(self, changes, tmp_path):
        cells = study(**changes)
        readout = read_out_of(cells, 100)
        figures = (heatmap_figure(readout), slope_figure(readout), disagreement_figure({}))
        for number, figure in enumerate(figures):
            figure.savefig(tmp_path / f"{number}.png")
