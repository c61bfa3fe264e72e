import re

import numpy as np
import pytest
import yaml
from html_page import Page, decoded

from daf_pipelines.reporting.gallery_page import gallery_page
from daf_pipelines.synthesis import STRATEGIES, Strategy

HOSTILE = "</style><script>alert('x')</script> & \"q\" </section> {{ 7 * 7 }} 划痕"


@pytest.fixture
def make_page(make_gallery):
    def make(*args, title="bolts", **options):
        return gallery_page(make_gallery(*args, **options), title, ["dataset.root=my parts"])

    return make


def pictures(page, kind):
    return [attributes["src"] for attributes in page.all("img") if attributes.get("class") == kind]


def words(page):
    return " ".join(page.text.split())


class TestContent:
    def test_strategies_in_their_order(self, make_page):
        names = ["zeta", "alpha", "mid"]
        page = Page(make_page(names))
        (start,) = (match.end() for match in re.finditer("parameters of your dataset", page.text))
        places = [[m.start() for m in re.finditer(name, page.text)] for name in names]
        assert all(len(found) == 4 for found in places)  # link, heading, command, table
        assert all(found[0] > start for found in places)
        for column in zip(*places, strict=True):
            assert list(column) == sorted(column)
        assert [cells[0] for cells in page.cells[1:]] == names

    def test_pictures(self, make_page, make_gallery):
        gallery, page = make_gallery(), Page(make_page())
        shown = [np.array(decoded(source)) for source in pictures(page, "outlier")]
        expected = [picture for e in gallery.exhibits.values() for picture in e.outliers]
        assert len(shown) == len(expected) == 6
        for picture, outlier in zip(shown, expected, strict=True):
            assert picture.shape == outlier.shape
        outlines = [decoded(source).convert("RGBA") for source in pictures(page, "outline")]
        masks = [mask for e in gallery.exhibits.values() for mask in e.masks]
        for line, mask in zip(outlines, masks, strict=True):
            opaque = np.array(line)[..., 3] == 255
            assert opaque.any()
            assert not (opaque & (mask == 1)).any()

    def test_an_outlier_lies_on_its_normal_image(self, make_page):
        html = make_page()
        page = Page(html)
        rules = re.findall(r"\.n(\d) \{ background-image: url\((data:image/jpeg;.*?)\); \}", html)
        assert [number for number, _ in rules] == ["0", "1", "2"]
        assert len({uri for _, uri in rules}) == 3
        assert all(decoded(uri).size == (30, 20) for _, uri in rules)
        frames = [d["class"] for d in page.all("div") if "frame" in d.get("class", "").split()]
        assert frames == [f"frame n{k}" for _ in range(3) for k in range(3)]

    def test_what_a_strategy_is_and_how_to_use_it(self, make_page):
        page = Page(make_page(dict(STRATEGIES)))
        text = words(page)
        for name, strategy in STRATEGIES.items():
            assert strategy.description in text
            assert f"kedro run --params 'dataset.root=my parts,synthesis.strategy={name}' " in text
        assert "cutpaste rectangle × own patch × hard" in text

    def test_all_parameters(self, make_gallery):
        gallery = make_gallery()
        html = gallery_page(gallery, "bolts", [])
        definitions = re.findall(r"<pre>(.*?)</pre>", html, flags=re.DOTALL)
        assert [yaml.safe_load(text) for text in definitions] == [
            strategy.describe() for strategy in gallery.strategies.values()
        ]

    def test_statistics(self, make_page):
        page = Page(make_page())
        assert page.cells == [
            ["strategy", "100 %10 %1 %0.1 %", "median area", "regions", "contrast", "time"],
            ["first", "", "5.1 %", "3.25", "0.125", "12 ms"],
            ["second", "", "10 %", "3.25", "0.125", "12 ms"],
        ]
        assert "area 5.1 %, mostly 0.2 % to 13 %" in words(page)
        assert "Of 64 outliers of each strategy" in words(page)

    def test_spans_of_the_areas(self, make_page):
        page = Page(make_page(["only"]))
        spans = [(float(r["x"]), float(r["width"])) for r in page.all("rect")]
        # From 0.1 to 100 %: three decades. 0.2 to 13.33 %, 1 to 10 %, and 5.12 %.
        assert spans[:2] == [(10.0, 60.8), (33.3, 33.4)]
        assert spans[2] == pytest.approx((56.8, 0.4))

    def test_positions(self, make_page):
        page = Page(make_page(["only"]))
        (source,) = (image["src"] for image in page.all("img") if "class" not in image)
        brightness = np.array(decoded(source)).sum(axis=2)
        assert np.unravel_index(brightness.argmax(), brightness.shape) == (0, 1)
        assert "brightest: 20 % of them" in words(page)


class TestForm:
    def test_nothing_is_fetched(self, make_page):
        html = make_page()
        page = Page(html)
        sources = [image["src"] for image in page.all("img")]
        sources += re.findall(r"url\((.*?)\)", html)
        assert all(source.startswith("data:image/") for source in sources)
        targets = [link["href"] for tag in ("a", "link") for link in page.all(tag)]
        assert all(target.startswith(("#", "data:,")) for target in targets)
        assert not re.search(r"@import|<script|https?:", html)
        policy = page.all("meta", **{"http-equiv": "Content-Security-Policy"})
        assert policy[0]["content"].startswith("default-src 'none'")

    def test_links_lead_to_sections(self, make_page):
        page = Page(make_page())
        names = {attributes.get("id") for _, attributes in page.elements}
        targets = {link["href"][1:] for link in page.all("a")}
        assert targets == {"strategy-1", "strategy-2", "numbers"}
        assert targets <= names

    def test_outlines_and_outliers_can_be_switched_off(self, make_page):
        html = make_page()
        for name, hidden in (("outlines", ".outline"), ("normals", ".outlier")):
            assert Page(html).all("input", id=name, type="checkbox")
            assert re.search(rf"body:has\(#{name}:(not\(:checked\)|checked)\) \{hidden}\b", html)

    def test_any_text(self, make_gallery, make_page):
        plain = Page(make_page(["x"], ["a.png"]))
        operators = [STRATEGIES["draem"].mask, STRATEGIES["draem"].content]
        strategy = Strategy(*operators, STRATEGIES["draem"].blending, HOSTILE)
        gallery = make_gallery({HOSTILE: strategy}, names=[HOSTILE])
        hostile = Page(gallery_page(gallery, HOSTILE, []))
        tags = [[tag for tag, _ in page.elements] for page in (plain, hostile)]
        assert tags[0] == tags[1]
        # Title twice, and the name as a heading and the description; links and table cut it.
        assert hostile.text.count(HOSTILE) == 4
        assert hostile.all("img")[1]["alt"] == f"{HOSTILE} on {HOSTILE}"

    def test_a_name_that_a_shell_would_read(self, make_page):
        html = make_page(["a b; rm $x"])
        assert "kedro run --params 'dataset.root=my parts,synthesis.strategy=a b; rm $x'" in words(
            Page(html)
        )

    def test_it_encodes_whatever_the_names_hold(self, make_page):
        make_page(["x"], ["\udc80.png"], title="\ud800").encode("utf-8")

    def test_sixteen_strategies_are_below_five_megabytes(self, make_page):
        names = [f"s{k}" for k in range(16)]
        html = make_page(names, [f"{k}.png" for k in range(6)], size=(256, 256))  # noise: the worst
        assert 1_000_000 < len(html.encode()) < 5_000_000
