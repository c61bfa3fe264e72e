import re

import pandas as pd
import pytest
from html_page import Page, decoded

from daf_pipelines.reporting.dataset_overview import MAX_TYPES, choose_samples
from daf_pipelines.reporting.dataset_page import dataset_page

COUNTS = {
    ("good", "train"): 1200,
    ("good", "test"): 2,
    ("dent", "test"): 3,
    ("odd", "excluded"): 1,
}
HOSTILE = "<script>alert('x')</script> & \"q\" </td> {{ 7 * 7 }} 划痕"


@pytest.fixture
def make_page(make_manifest, make_samples, no_findings):
    def make(counts, findings=no_findings, title="bolts", facts=None, **options):
        manifest = make_manifest(counts, **options)
        samples = make_samples(manifest, choose_samples(manifest))
        return dataset_page(manifest, samples, findings, title, facts or {})

    return make


class TestContent:
    def test_counts(self, make_page):
        cells = Page(make_page(COUNTS)).cells
        assert cells[:5] == [
            ["type", "train", "test", "excluded", "total"],
            ["good", "1,200", "2", "–", "1,202"],
            ["dent", "–", "3", "–", "3"],
            ["odd", "–", "–", "1", "1"],
            ["all", "1,200", "5", "1", "1,206"],
        ]

    def test_facts(self, make_page):
        page = Page(make_page(COUNTS, facts={"source": "folder", "category": None, "seed": 0}))
        assert re.search(r"source\s+folder\s+category\s+not set\s+seed\s+0\s", page.text)

    def test_sizes(self, make_page):
        counts = {("good", "train"): 13, ("dent", "test"): 1}
        sizes = [(20, 10)] * 2 + [(30 + k, 5) for k in range(11)] + [(20, 10)]
        page = Page(make_page(counts, size=sizes))
        start = page.cells.index(["size", "mode", "normal", "anomalous", "total"])
        assert page.cells[start + 1] == ["20 × 10", "RGB", "2", "1", "3"]
        assert page.cells[start + 10][0] == "38 × 5"
        assert "and 2 rarer ones" in page.text
        dark, light = page.all("source")[0]["srcset"], page.all("img")[0]["src"]
        assert decoded(dark).mode == decoded(light).mode == "RGBA"
        assert dark != light

    def test_one_size_needs_no_chart(self, make_page):
        assert not Page(make_page(COUNTS)).all("source")

    def test_areas(self, make_page):
        coverage = {"dent": [0.002, 0.0021, 0.5]}
        page = Page(make_page(COUNTS, coverage=coverage))
        row = next(cells for cells in page.cells if cells[1:2] == ["3"] and len(cells) == 6)
        assert row == ["dent", "3", "0.2 %", "0.21 %", "50 %", ""]
        # Three decades of eight bins from 0.1 % on: log10(2) and log10(500) of them.
        assert page.all("svg")[0]["viewbox"] == "0 0 24 1"
        bars = [(bar["x"], bar["height"]) for bar in page.all("rect")]
        assert bars == [("2", "1.0"), ("21", "0.5")]

    @pytest.mark.parametrize(("area", "decades"), [(1.0, 1), (0.1, 1), (0.01, 2), (6e-8, 8)])
    def test_the_scale_begins_at_a_power_of_ten(self, area, decades, make_page):
        page = Page(make_page(COUNTS, coverage={"dent": [area]}))
        assert page.all("svg")[0]["viewbox"] == f"0 0 {8 * decades} 1"
        assert len(page.all("rect")) == 1
        assert 0 <= int(page.all("rect")[0]["x"]) < 8 * decades

    def test_pictures(self, make_page):
        page = Page(make_page(COUNTS, coverage={"dent": [0.1, 0.2]}))
        shown = page.all("img", loading="lazy")
        assert [image["alt"] for image in shown] == (
            ["good, train"] * 6 + ["good, test"] * 2 + ["dent, test"] * 3 + ["odd, excluded"]
        )
        assert {decoded(image["src"]).size for image in shown} == {(30, 20)}
        outlines = page.all("img", **{"class": "outline"})
        assert [decoded(image["src"]).size for image in outlines] == [(30, 20)] * 2
        assert page.all("figcaption")[0]["title"] == "00000.png"
        assert "8 of 1,202" in page.text

    def test_the_switch_of_outlines_is_only_there_with_some(self, make_page):
        assert Page(make_page(COUNTS, coverage={"dent": [0.1]})).all("input")
        assert not Page(make_page(COUNTS)).all("input")

    def test_of_many_types_the_most_frequent(self, make_page):
        many = {(f"type {k:03}", "test"): 1 + (k < 50) for k in range(120)}
        page = Page(make_page({("good", "train"): 2} | many))
        assert ["other types: 21", "–", "21", "21"] in page.cells
        assert page.text.count("1 of 1") == 0
        assert page.text.count("2 of 2") == MAX_TYPES
        assert "Types not pictured, the rarest: 97." in page.text


class TestFindings:
    def test_none(self, make_page):
        page = Page(make_page(COUNTS))
        assert "The checks found nothing." in page.text
        assert "Mend" not in page.text

    def test_without_columns(self, make_page):
        assert "The checks found nothing." in Page(make_page(COUNTS, pd.DataFrame())).text

    def test_errors_first_and_a_hundred_at_most(self, make_page, no_findings):
        findings = pd.DataFrame(
            [("warning", "near_duplicate", f"{k}.png", "alike", "Keep one") for k in range(150)]
            + [("error", "unreadable", "x.png", "0 bytes", "Restore it")],
            columns=no_findings.columns,
        )
        page = Page(make_page(COUNTS, findings))
        rows = [cells for cells in page.cells if cells[0] in ("error", "warning")]
        assert rows[0] == ["error", "unreadable", "x.png", "0 bytes", "Restore it"]
        assert rows[1] == ["warning", "near duplicate", "0.png", "alike", "Keep one"]
        assert [row[2] for row in rows[1:]] == [f"{k}.png" for k in range(99)]
        assert "and 51 more" in page.text
        assert page.text.count("The checks found 1 error and 150 warnings") == 2


class TestAdvice:
    def test_without_defects(self, make_page):
        assert "only measured on test images" in Page(make_page({("good", "train"): 3})).text

    def test_without_masks(self, make_page):
        text = " ".join(Page(make_page(COUNTS, coverage={"dent": [0.1]})).text.split())
        assert "2 test images with a defect have no mask" in text
        assert "only measured on test images" not in text

    def test_with_masks(self, make_page):
        text = Page(make_page(COUNTS, coverage={"dent": [0.1] * 3})).text
        assert "have no mask" not in text
        assert "dataset.image_size" in text


class TestForm:
    def test_nothing_is_fetched(self, make_page):
        sizes = [(20 + k % 3, 30) for k in range(sum(COUNTS.values()))]
        html = make_page(COUNTS, coverage={"dent": [0.1]}, size=sizes)
        page = Page(html)
        sources = [
            attrs[name] for _, attrs in page.elements for name in ("src", "srcset") if name in attrs
        ]
        assert sources
        assert all(source.startswith("data:image/") for source in sources)
        targets = [link["href"] for tag in ("a", "link") for link in page.all(tag)]
        assert all(target.startswith(("#", "data:,")) for target in targets)
        assert not re.search(r"url\(|@import|<script|https?:", html)
        policy = page.all("meta", **{"http-equiv": "Content-Security-Policy"})
        assert policy[0]["content"].startswith("default-src 'none'")

    def test_links_lead_to_sections(self, make_page):
        page = Page(make_page(COUNTS))
        names = {attrs.get("id") for _, attrs in page.elements}
        assert {link["href"][1:] for link in page.all("a")} <= names

    def test_any_text(self, make_page, no_findings):
        findings = pd.DataFrame([["error"] + [HOSTILE] * 4], columns=no_findings.columns)
        plain = Page(make_page({("good", "train"): 2, ("x", "test"): 1}, coverage={"x": [0.1]}))
        hostile = Page(
            make_page(
                {("good", "train"): 2, (HOSTILE, "test"): 1},
                findings,
                title=HOSTILE,
                facts={HOSTILE: HOSTILE, "root": "a\udcff"},
                coverage={HOSTILE: [0.1]},
            )
        )
        assert {tag for tag, _ in hostile.elements} - {tag for tag, _ in plain.elements} <= {
            "b",
            "dd",
            "dt",
        }
        # Title twice, fact twice, counts, areas and pictures by type, four columns of the finding.
        assert hostile.text.count(HOSTILE) == 11
        assert "a\ufffd" in hostile.text

    def test_it_encodes_whatever_the_names_hold(self, make_page):
        make_page(COUNTS, title="\udcff", facts={"\udc80": "\ud800"}).encode("utf-8")

    def test_no_image(self, make_page):
        assert "There is no mask with a defect." in Page(make_page({})).text
