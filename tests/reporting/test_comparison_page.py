"""The page of a comparison, read again."""

import re
from dataclasses import replace

import numpy as np
import pytest
from html_page import Page, decoded

from daf_pipelines.comparison import MACRO, comparison_table, seeds_table
from daf_pipelines.reporting.comparison_page import comparison_page
from daf_pipelines.reporting.comparison_pictures import side_by_side
from made_up_runs import make_images, make_run

HOSTILE = "</style><script>alert('x')</script> & \"q\" {{ 7 * 7 }} 划痕"


@pytest.fixture(scope="module")
def images():
    return make_images()


def page_of(runs, baseline=0):
    table = comparison_table(runs, runs[baseline].run_id, 100, 0)
    return comparison_page(runs, table, seeds_table(runs), 100)


def words(page):
    return " ".join(page.text.split())


def cells(page, first):
    """The rows of the page's tables that begin with a word."""
    return [row for row in page.cells if row and row[0].startswith(first)]


class TestContent:
    def test_runs_and_what_differs(self, images):
        runs = [
            make_run(0, images, strategy="draem"),
            make_run(1, images, strategy="nsa", seed=3, missing=("thumbnails",)),
        ]
        page = Page(page_of(runs))
        assert words(page).startswith("2 runs on elpv mono")
        assert cells(page, "B nsa-seed3-elpv-mono") == [
            [
                *("B nsa-seed3-elpv-mono", runs[1].run_id[:8], "2026-01-01 01:00"),
                *("181", "41.5", "63.2", "thumbnails"),
            ]
        ]
        assert cells(page, "seed") == [["seed", "0", "3"]]
        assert cells(page, "synthesis.strategy") == [["synthesis.strategy", "draem", "nsa"]]
        assert not cells(page, "dataset.category")

    def test_equal_runs(self, images):
        text = words(Page(page_of([make_run(0, images), make_run(1, images)])))
        assert "all parameters and tags are equal" in text

    def test_metrics_with_the_best(self, images):
        runs = [make_run(k, images, quality=3 * k, strategy="ab"[k]) for k in (0, 1)]
        html = page_of(runs)
        page = Page(html)
        better, worse = (f"{run.metrics['image_auroc']:.3f}" for run in (runs[1], runs[0]))
        assert any(better in row[1] and "0.500 to 0.900" in row[1] for row in cells(page, "B b"))
        assert any(worse in row[1] for row in cells(page, "A a"))
        found = re.findall(r'class="best" data-name="([^"]+)"><span class="number">(.*?)<', html)
        assert dict(found)["image AUROC"] == better
        assert len(found) == 3
        # What nobody has is no column, and is told.
        assert re.search(r"recall at 5 %, .*AUPRO 5 %: not recorded", words(page))
        assert 'data-name="recall at 5 % false alarms"' not in html

    def test_differences(self):
        images = make_images(60, 24)
        runs = [make_run(0, images), make_run(1, images, quality=4, strategy="nsa")]
        table = comparison_table(runs, runs[0].run_id, 100, 0)
        row = table[(table["run_id"] == runs[1].run_id) & (table["metric"] == "image_ap")].iloc[0]
        html = page_of(runs)
        better = re.findall(r'<td class="better">(.*?)</td>', html)
        assert f"{row['delta']:+.3f}" in better
        assert f"{row['p_holm']:.3f}" in better
        assert "All on the same test images" in words(Page(html))
        turned = re.findall(r'<td class="worse">(.*?)</td>', page_of(runs, baseline=1))
        assert f"−{row['delta']:.3f}" in turned

    def test_few_images_get_no_verdict(self, images):
        html = page_of([make_run(0, images), make_run(1, images, quality=4, strategy="nsa")])
        assert "are too small, and nothing is marked" in words(Page(html))
        assert not re.findall(r'<td class="(?:better|worse)">', html)

    def test_data_that_differ_under_the_same_paths(self, images):
        runs = [make_run(k, images) for k in range(2)]
        assert "hashes of the data differ" not in words(Page(page_of(runs)))
        other = replace(runs[1], tags={**runs[1].tags, "data_hash": "0" * 64})
        assert "hashes of the data differ" in words(Page(page_of([runs[0], other])))

    def test_common_images(self, images):
        runs = [make_run(0, images), make_run(1, images, rows=np.arange(6, 30))]
        text = words(Page(page_of(runs)))
        assert "B: 24 images, of its 24 and 40 of the baseline" in text
        assert "All on the same test images" not in text

    def test_few_images(self, images):
        runs = [make_run(k, images) for k in range(2)]
        assert "These are few images of a class" in words(Page(page_of(runs)))  # 16 anomalous
        many = make_images(50, 25)
        runs = [make_run(k, many) for k in range(2)]
        assert "These are few images of a class" not in words(Page(page_of(runs)))

    def test_why_there_is_no_difference(self, images):
        runs = [
            make_run(0, images, rows=np.r_[:8, 16:28]),
            make_run(1, images, rows=np.r_[8:16, 28:40]),
        ]
        text = words(Page(page_of(runs)))
        assert "no test image in common with draem-seed0-elpv-mono" in text
        assert "B: 0 images, of its 20 and 20 of the baseline" in text
        assert "The same images under each model" not in text

    def test_categories_and_seeds(self, images):
        runs = [
            make_run(k, images, category="ab"[k % 2], seed=k // 2, metrics={"image_ap": 0.1 * k})
            for k in range(4)
        ]
        html = page_of(runs)
        page = Page(html)
        assert words(page).startswith("4 runs on 2 categories")
        (row,) = cells(page, f"elpv {MACRO}: draem, daf")
        assert row[1:] == ["2", "0.150 ± 0.141"]
        assert html.count('id="outlines"') == 1

    def test_runs_without_anything_but_metrics(self, images):
        bare = {"scores": None, "pixel_counts": None, "thumbnails": None, "curves": {}}
        html = page_of([make_run(k, images, intervals={}, **bare) for k in range(2)])
        text = words(Page(html))
        assert "recorded without image scores" in text
        assert "ROC" not in text.replace("AUROC", "")
        assert html.count("<img") == 0


class TestPictures:
    def test_the_most_disputed_first(self, images):
        runs = [make_run(k, images, quality=1 + k) for k in range(3)]
        (rows,) = side_by_side({("elpv", "mono"): runs}).values()
        assert len(rows) == 20
        division = [min(row.flagged, row.tested - row.flagged) for row in rows]
        assert division == sorted(division, reverse=True)
        assert division[0] == 1
        spread = [
            max(m.score for m in row.models) - min(m.score for m in row.models)
            for row in rows
            if min(row.flagged, row.tested - row.flagged) == 0
        ]
        assert spread == sorted(spread, reverse=True)

    def test_verdicts(self, images):
        runs = [make_run(k, images, quality=1 + k) for k in range(3)]
        (rows,) = side_by_side({("elpv", "mono"): runs}).values()
        scores = [run.scores.set_index("path")["score"] for run in runs]
        for row in rows:
            for shown, known in zip(row.models, scores, strict=True):
                assert shown.score == known[row.path]
                assert shown.is_wrong == ((shown.score > 0.5) != row.is_anomalous)
                assert shown.is_wrong == (shown.verdict in ("missed", "false alarm"))
                assert decoded(shown.picture).size == (32, 32)
                assert bool(shown.outline) == row.is_anomalous

    def test_a_model_that_was_not_tested_on_it(self, images):
        runs = [make_run(0, images), make_run(1, images), make_run(2, images, rows=np.arange(12))]
        (rows,) = side_by_side({("elpv", "mono"): runs}).values()
        absent = [row for row in rows if int(row.path[5:8]) >= 12]
        assert absent
        assert all(row.models[2].verdict == "not tested on it" for row in absent)
        assert all(row.tested == 2 for row in absent)

    def test_heat_lies_on_its_model(self, images):
        """Heat is bright where the model's own map is."""
        runs = [make_run(0, images), make_run(1, images)]
        (rows,) = side_by_side({("elpv", "mono"): runs}).values()
        pictures = [np.array(decoded(m.picture)) for m in rows[0].models]
        assert (pictures[0] != pictures[1]).any()


class TestForm:
    def test_nothing_is_fetched(self, images):
        html = page_of([make_run(k, images) for k in range(2)])
        page = Page(html)
        assert all(image["src"].startswith("data:image/") for image in page.all("img"))
        targets = [link["href"] for tag in ("a", "link") for link in page.all(tag)]
        assert all(target.startswith(("#", "data:,")) for target in targets)
        assert not re.search(r"@import|<script|https?:", html)
        policy = page.all("meta", **{"http-equiv": "Content-Security-Policy"})
        assert policy[0]["content"].startswith("default-src 'none'")
        names = {attributes.get("id") for _, attributes in page.elements}
        assert {target[1:] for target in targets if target.startswith("#")} <= names

    def test_any_text(self, images):
        def make(text):
            tags = {"dataset": text, "category": text, "strategy": text, "method": text}
            runs = [
                make_run(k, images, name=text, tags=tags, parameters={"seed": "0", "x": text * k})
                for k in range(2)
            ]
            return Page(page_of(runs))

        plain, hostile = make("x"), make(HOSTILE)
        assert [tag for tag, _ in plain.elements] == [tag for tag, _ in hostile.elements]
        assert "{{ 7 * 7 }}" in hostile.text

    def test_many_noisy_runs_are_below_five_megabytes(self):
        images = make_images(60, 30, side=128)
        images["pictures"] = np.random.default_rng(0).integers(
            0, 256, images["pictures"].shape, dtype=np.uint8
        )
        runs = [make_run(k, images, strategy=f"s{k}") for k in range(12)]
        html = page_of(runs)
        assert 1_000_000 < len(html.encode()) < 5_000_000
        assert "Heat of the first 10 models only" in words(Page(html))
