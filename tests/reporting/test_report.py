import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from html_page import Page, decoded

from daf_pipelines.metrics import IMAGE_METRICS, METRICS
from daf_pipelines.reporting.evaluation import Evaluation
from daf_pipelines.reporting.report import report_page
from daf_pipelines.reporting.report_pictures import choose_images
from daf_pipelines.reporting.table import NAMES
from daf_pipelines.reporting.words import as_yaml, duration, or_dash, score_text, words

HOSTILE = "</style><script>alert('x')</script> & \"q\" </td> {{ 7 * 7 }} 划痕"
CURVES = {
    "image_roc": ["false_positive_rate", "true_positive_rate"],
    "image_precision_recall": ["recall", "precision"],
    "pixel_roc": ["false_positive_rate", "true_positive_rate"],
    "pixel_precision_recall": ["recall", "precision"],
    "pro": ["false_positive_rate", "per_region_overlap"],
}
PIXEL = [name for name in METRICS if not name.startswith("image")]
RATES = ["false_positive_rate", "recall", "precision", "f1"]


def words_of(html):
    return " ".join(Page(html).text.split())


def make_scores(scores, labels, types=None):
    scores, labels = np.asarray(scores, dtype=float), np.asarray(labels, dtype=int)
    return pd.DataFrame(
        {
            "path": [f"test/{k:04}.png" for k in range(len(scores))],
            "label": labels,
            "defect_type": types or ["dent" if label else "good" for label in labels],
            "group": None,
            "score": scores,
            "raw_score": 3 * scores,
            "predicted": (scores > 0.5).astype(int),
            "anomalous_area": 0.01,
        }
    )


def make_thresholds():
    rows = [
        ["image", "normals", True, 1.5, 0.5, 0.1, 0.9, 0.8, 0.85],
        ["image", "synthetic", False, 1.2, 0.41, 0.2, 0.95, 0.7, 0.8],
        ["image", "best on test", False, 1.3, 0.44, 0.1, 0.95, 0.75, 0.86],
        ["pixel", "normals", True, 0.7, 0.5, 0.001, 0.6, 0.5, 0.55],
    ]
    return pd.DataFrame(rows, columns=["level", "rule", "in_use", "threshold", "score", *RATES])


@pytest.fixture
def make_evaluation():
    """An evaluation of noise; `scores` and `labels` of its test images, anything else replaced."""

    def make(
        scores=(0.1, 0.3, 0.45, 0.7, 0.2, 0.4, 0.6, 0.8, 0.9),
        labels=(0, 0, 0, 0, 1, 1, 1, 1, 1),
        size=(20, 30),
        types=None,
        **others,
    ):
        rng = np.random.default_rng(0)
        table, count = make_scores(scores, labels, types), len(scores)
        masks = np.zeros((count, *size), dtype=np.uint8)
        masks[table["label"] == 1, 5:10, 8:14] = 1
        defects = table[table["label"] == 1]
        names = list(dict.fromkeys(defects["defect_type"]))
        steps = np.linspace(0, 1, 30)
        values = {
            "title": "bolts",
            "metrics": {
                **{name: 0.9 - 0.05 * k for k, name in enumerate(METRICS)},
                "false_positive_rate": 0.25,
                "recall": 0.6,
                "latency_ms": 12.34,
                "model_mib": 45.6,
                "train_seconds": 200.0,
                "experiment": "0123456789abcdef",
                "n_excluded": 2,
                "intervals": {name: [0.4, 0.95] for name in METRICS},
                "macro": dict.fromkeys(METRICS, 0.77),
                "not_available": {},
                "split": {
                    "origin": "drawn",
                    "test_share": 0.2,
                    "seed": 7,
                    "by_group": True,
                    "sizes": {"train": 1200, "test_normal": 4},
                    "repeats": {"within_test": 3, "of_train": 0},
                    "data_hash": "f" * 64,
                },
            },
            "defect_types": pd.DataFrame(
                [[name, 5, *[0.5 + 0.001 * k] * 9] for k, name in enumerate(names)],
                columns=["defect_type", "count", *METRICS],
            ),
            "thresholds": make_thresholds(),
            "curves": {
                stem: pd.DataFrame({x: steps, y: steps**0.5}) for stem, (x, y) in CURVES.items()
            },
            "image_scores": table,
            "calibration_scores": make_scores([0.2, 0.3, 0.8], [0, 0, 1]),
            "regions": pd.DataFrame(
                {
                    "path": defects["path"],
                    "defect_type": defects["defect_type"],
                    "area": 0.02,
                    "overlap": np.linspace(0, 1, len(defects)),
                    "peak": 0.8,
                }
            ),
            "images": rng.integers(0, 256, (count, *size, 3), dtype=np.uint8),
            "maps": rng.random((count, *size), dtype=np.float32),
            "masks": masks,
            "heat_of": lambda pixels: np.clip((pixels - 0.3) / 0.5, 0, 1),
            "heat_range": (0.3, 0.8),
            "facts": {"dataset": {"source": "folder", "category": None}, "empty": {}},
            "parameters": {"training": {"steps": 12, "betas": (0.9, 0.999)}},
            "commands": ["git checkout abc", "kedro run"],
        }
        return Evaluation(**(values | others))

    return make


@pytest.fixture
def without(make_evaluation):
    """An evaluation of which the metrics have a reason instead."""

    def make(reasons, evaluation=None, **others):
        metrics = dict((evaluation or make_evaluation()).metrics)
        metrics |= dict.fromkeys(reasons) | {
            "not_available": reasons,
            "intervals": {n: v for n, v in metrics["intervals"].items() if n not in reasons},
        }
        stems = [stem for stem in CURVES if stem.startswith("image")] if reasons else []
        curves = {
            stem: pd.DataFrame({x: [0.0, 1.0], y: [0.0, 1.0]} if stem in stems else {x: [], y: []})
            for stem, (x, y) in CURVES.items()
        }
        return make_evaluation(**({"metrics": metrics, "curves": curves} | others))

    return make


class TestChoice:
    def test_mistakes_first_the_grossest_leading(self):
        scores = make_scores([0.1, 0.8, 0.6, 0.3, 0.2, 0.9, 0.7], [0, 0, 0, 1, 1, 1, 1])
        choices = choose_images(scores)
        assert [choice.rows for choice in choices] == [[4, 3], [1, 2], [6], [5], [0]]
        assert [choice.mistakes for choice in choices] == [True, True, False, False, False]

    def test_no_image_twice(self):
        rng = np.random.default_rng(0)
        for count in range(40):
            scores = make_scores(rng.random(count), rng.integers(0, 2, count))
            rows = [row for choice in choose_images(scores) for row in choice.rows]
            assert len(rows) == len(set(rows))

    @pytest.mark.parametrize("count", range(1, 8))
    def test_few_images_are_all_shown(self, count):
        choices = choose_images(make_scores(np.linspace(0.6, 0.9, count), [1] * count))
        assert sorted(row for choice in choices for row in choice.rows) == list(range(count))

    def test_the_range_of_detections(self):
        weak, middle, strong = choose_images(make_scores(np.linspace(0.51, 0.99, 101), [1] * 101))
        assert weak.rows == list(range(6))
        assert middle.rows == list(range(47, 53))
        assert strong.rows == list(range(100, 94, -1))
        assert middle.total == 101

    def test_a_score_that_is_no_number_is_last(self):
        scores = make_scores([np.nan, 0.3, 0.2], [1, 1, 1])
        assert choose_images(scores)[0].rows == [2, 1, 0]


class TestContent:
    def test_headline(self, make_evaluation):
        text = words_of(report_page(make_evaluation()))
        assert "9 test images: 5 with a defect, 2 of them missed; 4 normal, 1 of them" in text
        assert "image AUROC 0.900 0.400 to 0.950" in text
        assert "defects found 60.0 % 3 of 5 with a defect" in text
        assert "false alarms 25.0 % 1 of 4 normal" in text
        assert "latency 12.3 ms" in text
        assert "model size 45.6 MiB" in text

    def test_metrics_with_intervals(self, make_evaluation):
        rows = {cells[0]: cells[1:3] for cells in Page(report_page(make_evaluation())).cells}
        value, interval = rows["image AUROC"]
        assert value == "0.900"
        assert interval.startswith("0.400 to 0.950")
        assert [row for row in rows if row in NAMES.values()] == [NAMES[name] for name in METRICS]

    def test_few_images(self, make_evaluation):
        metrics = make_evaluation().metrics
        for normal, anomalous, of_group, value, short in (
            (19, 300, 1, 0.9, METRICS),
            (100, 100, 1, 0.9, ()),
            (100, 100, 1, 0.98, IMAGE_METRICS),  # 3 / 100 from 1: no mistake says little
            (100, 100, 10, 0.9, METRICS),  # ten objects
        ):
            labels = np.repeat([0, 1], [normal, anomalous])
            one = make_evaluation(labels / 2, labels)
            groups = [f"object {k // of_group}" for k in range(len(labels))]
            scores = one.image_scores.assign(group=groups if of_group > 1 else None)
            found = metrics | dict.fromkeys(METRICS, value)
            page = Page(report_page(replace(one, metrics=found, image_scores=scores)))
            rows = {cells[0]: cells for cells in page.cells}
            marked = [name for name in METRICS if "too short" in rows[NAMES[name]][2]]
            assert marked == list(short)
            assert ("Too short is an interval" in " ".join(page.text.split())) == bool(short)

    def test_what_the_rule_of_normals_promises(self, make_evaluation):
        thresholds = make_evaluation().thresholds
        thresholds["promised"] = np.where(thresholds["rule"] == "normals", 1 / 6, np.nan)
        text = words_of(report_page(make_evaluation(thresholds=thresholds)))
        assert "promises at most 16.7 % of good images flagged" in text
        assert "promises at most 16.7 % of good images marked anywhere" in text

    def test_reasons(self, without):
        html = report_page(without(dict.fromkeys(PIXEL, "no masks at all")))
        page = Page(html)
        rows = {cells[0]: cells[1:] for cells in page.cells}
        assert rows["pixel AUROC"] == ["not available: no masks at all"]
        assert rows["image AUROC"][0] == "0.900"
        assert "PRO, regions; ROC, pixels; PR, pixels: not available, no masks at all." in words_of(
            html
        )

    def test_curves(self, make_evaluation):
        page = Page(report_page(make_evaluation()))
        names = [svg["aria-label"] for svg in page.all("svg", role="img")]
        assert names == [
            *("ROC, images", "PR, images", "PRO, regions", "ROC, pixels", "PR, pixels"),
            *("Test images", "What thresholds come from", "Every region"),
        ]
        assert "pixel AP" in page.text
        rings = [path["d"] for path in page.all("path", **{"class": "ring"})]
        assert rings[0] == "M10.0 10.0h0"  # 10 % false positives, 90 % recall

    def test_thresholds(self, make_evaluation):
        page = Page(report_page(make_evaluation()))
        rows = [cells for cells in page.cells if len(cells) == 7]
        assert rows[0][3:] == ["false positives", "recall", "precision", "F1"]
        assert rows[1][1:] == ["1.5", "0.500", "10.0 %", "90.0 %", "80.0 %", "0.850"]
        text = " ".join(page.text.split())
        assert text.count("normals in use from held-out normal images") == 2
        assert "best on test information only" in text
        assert "nobody has it in production" in rows[3][0]

    def test_the_oracle_is_not_among_what_thresholds_come_from(self, make_evaluation):
        text = words_of(report_page(make_evaluation()))
        assert text.count("best on test 0.44") == 1
        assert text.count("synthetic 0.41") == 2
        assert text.count("normals 0.50, in use") == 2

    def test_marked_normals_are_shown_where_known(self, make_evaluation):
        thresholds = make_thresholds().assign(marked_normals=[np.nan] * 3 + [0.25])
        heads = [
            cells
            for cells in Page(report_page(make_evaluation(thresholds=thresholds))).cells
            if cells[0] == "rule"
        ]
        assert ["normal images marked" in cells for cells in heads] == [False, True]

    def test_defect_types_hardest_first(self, make_evaluation):
        types = ["good"] * 4 + ["dent", "dent", "dent", "hole", "hole"]
        evaluation = make_evaluation(types=types)
        table = evaluation.defect_types.assign(image_auroc=[0.9, 0.6])
        page = Page(report_page(make_evaluation(types=types, defect_types=table)))
        start = next(k for k, cells in enumerate(page.cells) if cells[0] == "type")
        names = [cells[0] for cells in page.cells[start + 1 : start + 5]]
        assert names == ["hole", "dent", "mean over types", "all images"]
        assert page.cells[start + 1][2:4] == ["2", "0.600"]
        assert page.cells[start + 3][3] == "0.770"
        assert page.cells[start + 4][1:4] == ["5", "3", "0.900"]

    def test_pictures(self, make_evaluation):
        html = report_page(make_evaluation())
        page = Page(html)
        captions = [
            attributes["title"] for attributes in page.all("figcaption") if attributes.get("title")
        ]
        assert captions[:3] == ["test/0004.png", "test/0005.png", "test/0003.png"]
        assert len(captions) == 9
        shown = page.all("img", loading="lazy")
        assert [image["alt"] for image in shown[:2]] == ["dent, test image", "its heatmap"]
        assert {decoded(image["src"]).size for image in shown} == {(30, 20)}
        assert len(page.all("img", **{"class": "outline"})) == 10  # five masks, twice each
        text = words_of(html)
        places = [text.index(words) for words in (
            "Missed defects 2 of 2 missed defects shown",
            "False alarms 1 of 1 false alarms shown",
            "Weakest detections 1 of 3 detected defects shown",
            "Normal images nearest to the threshold 3 of 3 normal images",
        )]  # fmt: skip
        assert places == sorted(places)

    def test_only_images_shown_are_read(self, make_evaluation):
        class Lazy:
            def __init__(self, values):
                self.values, self.read = values, []

            def __len__(self):
                return len(self.values)

            def __getitem__(self, index):
                self.read.append(index)
                return self.values[index]

        evaluation = make_evaluation(np.linspace(0, 0.49, 500), [0] * 500)
        images, maps = Lazy(evaluation.images), Lazy(evaluation.maps)
        others = {"images": images, "maps": maps, "masks": None}
        report_page(make_evaluation(evaluation.image_scores["score"], [0] * 500, **others))
        assert set(images.read) == set(maps.read) == set(range(494, 500))

    def test_localisation(self, make_evaluation):
        regions = pd.DataFrame(
            {
                "path": "x",
                "defect_type": "dent",
                "area": [0.0005, 0.02, 0.03, 0.1, np.nan],
                "overlap": [0.0, 0.0, 0.5, 1.0, 0.5],
                "peak": 0.7,
            }
        )
        page = Page(report_page(make_evaluation(regions=regions)))
        start = next(k for k, cells in enumerate(page.cells) if cells[0] == "size")
        assert page.cells[start + 1 :] == [
            ["0.01 to 0.1 %", "1", "0 %", "", "0 %"],
            ["1 to 10 %", "3", "50 %", "", "67 %"],
        ]

    def test_split_facts_parameters_and_commands(self, make_evaluation):
        html = report_page(make_evaluation())
        text = words_of(html)
        assert "are drawn at random, 20 % of the normal ones, with seed 7; images of one" in text
        assert "train 1,200 test normal 4 excluded, not used 2" in text
        assert "with the pixels of another 3" in text
        assert "copies of training or held-out images 0" in text
        assert "f" * 64 in text
        assert "source folder category not set" in text
        assert "training 3 min 20 s" in text
        assert "steps: 12" in text
        assert re.search(r"git checkout abc\nkedro run", html)

    def test_a_split_of_the_source(self, make_evaluation):
        metrics = make_evaluation().metrics | {"split": {"origin": "fixed by the source"}}
        assert "The split is fixed by the source." in words_of(
            report_page(make_evaluation(metrics=metrics))
        )


class TestDegenerate:
    def test_no_test_images(self, without):
        reasons = dict.fromkeys([*METRICS, "recall", "false_positive_rate"], "there is no image")
        nan = make_thresholds().assign(**dict.fromkeys(RATES, np.nan))
        html = report_page(without(reasons, scores=(), labels=(), thresholds=nan, masks=None))
        text = words_of(html)
        assert "There are no test images: nothing could be measured." in text
        assert text.count("not available") >= len(METRICS)
        assert "nan" not in text.lower().split()
        assert not Page(html).all("img")

    def test_only_normals(self, without):
        reasons = dict.fromkeys(METRICS, "there are no anomalous test images")
        evaluation = without(reasons, scores=(0.1, 0.2), labels=(0, 0), masks=None)
        metrics = {**evaluation.metrics, "recall": None, "macro": {}}
        html = report_page(
            without(reasons, scores=(0.1, 0.2), labels=(0, 0), masks=None, metrics=metrics)
        )
        text = words_of(html)
        assert "2 test images: none with a defect; 2 normal, 0 of them flagged" in text
        assert "defects found not available there is no test image with a defect" in text
        assert "There are no test images with a defect." in text
        assert (
            "Localisation by defect size Not available: there are no anomalous test images." in text
        )

    def test_without_masks(self, make_evaluation):
        page = Page(report_page(make_evaluation(masks=None)))
        assert not page.all("img", **{"class": "outline"})
        assert not page.all("input")

    def test_some_masks(self, make_evaluation):
        masks = [None] * 8 + [np.ones((20, 30), dtype=np.uint8)]
        page = Page(report_page(make_evaluation(masks=masks)))
        assert len(page.all("img", **{"class": "outline"})) == 2

    def test_coarse_masks_are_a_caution(self, without):
        evaluation = without(dict.fromkeys(PIXEL, "the masks are coarse"))
        assert "To be read with care: the masks are coarse." in words_of(report_page(evaluation))

    def test_empty_tables(self, make_evaluation):
        empty = {
            name: getattr(make_evaluation(), name).iloc[:0]
            for name in ("defect_types", "thresholds", "calibration_scores", "regions")
        }
        metrics = {"image_auroc": 0.5}
        html = report_page(
            make_evaluation(
                **empty, curves={}, facts={}, parameters={}, commands=[], metrics=metrics
            )
        )
        assert "not measured" in Page(html).text

    def test_seventy_types(self, make_evaluation):
        types = ["good"] * 10 + [f"type {k:02}" for k in range(70)]
        html = report_page(
            make_evaluation([0.3] * 10 + [0.7] * 70, [0] * 10 + [1] * 70, types=types)
        )
        names = [cells[0] for cells in Page(html).cells]
        assert [name for name in names if name.startswith("type ")] == types[10:]

    def test_no_number_anywhere(self, make_evaluation):
        evaluation = make_evaluation()
        nan = {
            name: getattr(evaluation, name).assign(
                **dict.fromkeys(getattr(evaluation, name).select_dtypes("float").columns, np.nan)
            )
            for name in (
                "defect_types",
                "thresholds",
                "image_scores",
                "calibration_scores",
                "regions",
            )
        }
        html = report_page(
            make_evaluation(
                **nan,
                maps=np.full_like(evaluation.maps, np.nan),
                curves={n: table * np.nan for n, table in evaluation.curves.items()},
                metrics={**evaluation.metrics, **dict.fromkeys(METRICS, float("nan"))},
            )
        )
        assert "no score" in html
        assert "aN" not in re.sub(r"base64,[^\"]*", "", html)

    def test_images_of_many_sizes(self, make_evaluation):
        sizes = [(10, 400), (300, 20), (1, 1), (600, 800)] * 3
        rng = np.random.default_rng(0)
        html = report_page(
            make_evaluation(
                np.linspace(0.1, 0.9, 12),
                [0, 1] * 6,
                images=[rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes],
                maps=[rng.random(size, dtype=np.float32) for size in sizes],
                masks=[(rng.random(size) > 0.9).astype(np.uint8) for size in sizes],
            )
        )
        shown = [decoded(image["src"]).size for image in Page(html).all("img", loading="lazy")]
        assert (256, 192) in shown
        assert max(max(size) for size in shown) == 256

    def test_what_does_not_belong_together(self, make_evaluation):
        maps = make_evaluation().maps[:3]
        with pytest.raises(ValueError, match="expected 9 maps, as image scores; got 3"):
            make_evaluation(maps=maps)


class TestForm:
    def test_nothing_is_fetched(self, make_evaluation):
        html = report_page(make_evaluation())
        page = Page(html)
        assert html.startswith("<!doctype html>")
        assert all(image["src"].startswith("data:image/") for image in page.all("img"))
        targets = [link["href"] for tag in ("a", "link") for link in page.all(tag)]
        assert all(target.startswith(("#", "data:,")) for target in targets)
        assert not re.search(r"url\(|@import|<script|https?:", html)
        policy = page.all("meta", **{"http-equiv": "Content-Security-Policy"})
        assert policy[0]["content"].startswith("default-src 'none'")

    def test_links_lead_to_sections(self, make_evaluation):
        page = Page(report_page(make_evaluation()))
        names = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
        assert {link["href"][1:] for link in page.all("a")} <= set(names)
        assert len(names) == len(set(names))

    def test_any_text(self, make_evaluation):
        def make(text):
            types = ["good"] * 4 + [text] * 5
            metrics = make_evaluation().metrics | {"not_available": {"aupro_005": text}}
            metrics |= {"aupro_005": None, "experiment": text}
            metrics["split"] = {"origin": text, "repeats": {"of_train": 1}, "data_hash": text}
            scores = make_evaluation(types=types).image_scores.assign(path=f"{text}/{text}")
            return Page(
                report_page(
                    make_evaluation(
                        types=types,
                        title=text,
                        metrics=metrics,
                        image_scores=scores,
                        facts={text: {text: text}},
                        parameters={text: text},
                        commands=[text],
                    )
                )
            )

        plain, hostile = make("x"), make(HOSTILE)
        assert [tag for tag, _ in plain.elements] == [tag for tag, _ in hostile.elements]
        assert not hostile.all("script")
        assert hostile.text.count(HOSTILE) > 10

    def test_it_encodes_whatever_the_names_hold(self, make_evaluation):
        name = "\udcff\ud800"
        names = pd.Series([name] * 9, dtype=object)
        scores = make_evaluation().image_scores.assign(path=names, defect_type=names)
        regions = pd.DataFrame({"defect_type": names, "area": 0.1, "overlap": 0.5})
        types = make_evaluation().defect_types.assign(defect_type=names[:1])
        evaluation = make_evaluation(
            title=name,
            image_scores=scores,
            regions=regions,
            defect_types=types,
            facts={name: {name: name}},
            parameters={name: [name]},
            commands=[name],
        )
        report_page(evaluation).encode("utf-8")

    def test_ten_thousand_images_are_below_five_megabytes(self, make_evaluation):
        rng = np.random.default_rng(0)
        count, size = 10_000, (256, 256)
        scores, labels = rng.random(count), rng.integers(0, 2, count)
        noise = rng.integers(0, 256, (*size, 3), dtype=np.uint8)  # the worst to compress
        html = report_page(
            make_evaluation(
                scores,
                labels,
                size=(1, 1),
                types=[f"type {k % 150}" if label else "good" for k, label in enumerate(labels)],
                images=[noise] * count,
                maps=[rng.random(size, dtype=np.float32)] * count,
                masks=[(rng.random(size) > 0.5).astype(np.uint8)] * count,
                regions=pd.DataFrame(
                    {
                        "path": "x",
                        "defect_type": [f"type {k % 150}" for k in range(20_000)],
                        "area": 10 ** rng.uniform(-5, 0, 20_000),
                        "overlap": rng.random(20_000),
                        "peak": 0.5,
                    }
                ),
            )
        )
        assert 1_000_000 < len(html.encode()) < 5_000_000
        assert "and 50 easier types" in Page(html).text


class TestWords:
    @pytest.mark.parametrize(
        ("value", "expected"),
        [
            (0.98765, "0.988"),
            (1.0, "1.000"),
            (0.99951, "0.9995"),
            (0.999999, "0.9999"),
            (0, "0.000"),
        ],
    )
    def test_scores(self, value, expected):
        assert score_text(value) == expected

    @pytest.mark.parametrize(
        ("seconds", "expected"),
        [(3.456, "3.46 s"), (59.9, "59.9 s"), (60, "1 min 0 s"), (3725, "1 h 2 min")],
    )
    def test_durations(self, seconds, expected):
        assert duration(seconds) == expected

    def test_values(self):
        assert words({"a": [1, None], "b": True}) == "a: 1, not set, b: yes"
        assert or_dash(float("nan"), "{:.2f}".format) == "–"

    def test_yaml_of_what_it_does_not_have(self):
        assert as_yaml({"a": (1, 2), 3: {"b": np.float64(0.5), "c": object}}) == (
            "a:\n- 1\n- 2\n'3':\n  b: 0.5\n  c: <class 'object'>\n"
        )
