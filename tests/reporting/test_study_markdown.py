"""The Markdown document of a study, read again."""

import re
from pathlib import Path
from statistics import stdev

import pytest

from daf_pipelines.reporting.study_markdown import study_markdown
from daf_pipelines.reporting.study_published import PUBLISHED
from daf_pipelines.study.plan import Study
from daf_pipelines.study.readout import read_out
from made_up_study import made_study, metrics_only, study_of

COMMAND = "kedro run --pipelines robustness_study"
READ_OUT = "2026-11-29, commit 89abcdef"
QUALITY = {"daf": 1.5, "daf_without_cue": 1.2, "draem": 1.0, "patchcore": 1.4}
STRATEGIES = ("draem", "nsa", "simple_texture")
TWO = {"draem": 0.5, "nsa": 0.6}
SHIFT = dict(zip(STRATEGIES, (-0.8, 0.0, 0.8), strict=True))


def quality(method, strategy, seed):
    return QUALITY[method] + SHIFT.get(strategy, 0) * (method != "daf") + 0.05 * seed


def document(cells, replicates=400, study=None, has_pictures=True):
    readout = read_out(cells, replicates, study or study_of(cells))
    return study_markdown(readout, COMMAND, READ_OUT, has_pictures=has_pictures)


def tables(text):
    """Rows of the tables, as lists of cells."""
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in text.splitlines()
        if line.startswith("|")
    ]


@pytest.fixture(scope="module")
def cells():
    return made_study(
        quality,
        data=[("elpv", "mono"), ("mvtec_ad", "toothbrush")],
        strategies=STRATEGIES,
        methods=tuple(QUALITY),
        transfer=dict.fromkeys(STRATEGIES, 0.8),
    )


@pytest.fixture(scope="module")
def text(cells):
    return document(cells)


class TestContent:
    def test_how_it_was_made(self, text):
        assert f"```\n{COMMAND}\n```" in text
        assert "- cells: 20 of 20" in text
        assert "- machines: 2 cores" in text
        assert "- commits of the cells: 01234567" in text
        assert f"- read out: {READ_OUT}" in text
        assert "- trained: 2026-11-28" in text

    def test_the_claim_in_words(self, text):
        assert (
            "Against draem: the claim **holds** on 2 of 2 (elpv mono, mvtec_ad toothbrush)" in text
        )
        assert re.search(
            r"- elpv mono, against draem: the claim \*\*holds\*\*\. .*only draem is", text
        )
        assert "**One seed only**: elpv mono, mvtec_ad toothbrush: tests" in text

    def test_everything_in_one_table(self, cells, text):
        values = [c.metric("image_auroc") for c in cells if c.method == "daf"][:3]
        found = (sum(values) / 3, min(values), stdev(values), max(values) - min(values))
        numbers = [f"{value:.3f}" for value in found]
        assert ["elpv mono", "daf", "3", "1", *numbers, *"––––"] in tables(text)
        (free,) = [c for c in cells if (c.dataset, c.method) == ("elpv", "patchcore")]
        numbers = [f"{free.metric('image_auroc'):.3f}", *"–––"]
        assert ["elpv mono", "patchcore", "–", "1", *numbers, *"––––"] in tables(text)

    def test_the_answer_in_one_table(self, cells, text):
        head = next(row for row in tables(text) if "claim in image AUROC, against draem" in row)
        assert head[:4] == ["data", "daf", "daf_without_cue", "draem"]
        assert len(head) == 6  # without masks, no claim in pixel metrics
        row = next(row for row in tables(text) if row[0] == "elpv mono")
        values = [c.metric("image_auroc") for c in cells if c.method == "draem"][:3]
        assert row[3] == f"{max(values) - min(values):.3f}"
        assert row[-2:] == ["holds", "holds"]

    def test_without_one_strategy(self, cells, text):
        found = tables(text)
        first, second = (k for k, row in enumerate(found) if row[4:5] == ["without"])
        rows = found[second + 2 : second + 2 + 2 * 2 * len(STRATEGIES)]
        decisive = found[first + 2 : first + 2 + 2 * 2]
        assert len({(row[0], row[2]) for row in decisive}) == 4
        assert all(row in rows for row in decisive)
        for row in decisive:  # of what changes the verdict, if anything does
            changing = [r for r in rows if (r[0], r[2]) == (row[0], row[2]) and r[3] != r[5]]
            assert not changing or row in changing
        (row,) = [r for r in rows if (r[0], r[2], r[4]) == ("elpv mono", "draem", "nsa")]
        theirs = [c for c in cells if (c.dataset, c.method) == ("elpv", "draem")]
        values = {cell.strategy: cell.metric("image_auroc") for cell in theirs}
        assert row[-1] == f"{abs(values['draem'] - values['simple_texture']):.3f}"

    def test_a_verdict_that_is_the_work_of_one_strategy(self):
        spoilt = {"draem": 0.3}
        quality = lambda m, s, k: 1.5 if m == "daf" else spoilt.get(s, 1.5)  # noqa: E731
        strategies = ("cutpaste", "draem", "nsa", "simple_texture")
        text = document(made_study(quality, methods=("daf", "draem"), strategies=strategies))
        (row,) = [r for r in tables(text) if r[:1] == ["elpv mono"] and len(r) > 10][:1]
        assert row[3:6] == ["holds", "draem", "has nothing to explain"]

    def test_notes_are_told(self, cells):
        study = study_of(cells).model_copy(update={"notes": ["Not the paper's recipe."]})
        assert "What was tested:\n\n- Not the paper's recipe." in document(cells, study=study)
        assert "What was tested" not in document(cells)

    def test_every_cell_has_its_number(self, cells, text):
        for cell in cells[:10]:
            rows = [row for row in tables(text) if row[0] == (cell.strategy or "no synthesis")]
            assert any(f"{cell.metric('image_auroc'):.3f}" in row for row in rows)

    def test_published_figures(self, cells, text):
        rows = tables(text)
        daf = next(row for row in rows if row[0].startswith("published: DAF"))
        assert daf[-4:] == ["0.975", "0.978", "0.919", "0.622"]
        (ours,) = [
            cell
            for cell in cells
            if (cell.method, cell.strategy, cell.dataset) == ("daf", "simple_texture", "mvtec_ad")
        ]
        here = next(
            row for row in rows if row[:3] == ["here: daf", "simple_texture", "mvtec_ad toothbrush"]
        )
        assert here[3] == f"{ours.metric('image_auroc'):.3f}"
        assert sum(row[0].startswith("published: ") for row in rows) == len(PUBLISHED)

    def test_equal_criteria_do_not_choose(self, text):
        """All detectors are as good on synthetic outliers."""
        assert ["elpv mono", "0", *["all alike"] * 5] in tables(text)

    def test_rows_have_the_width_of_their_table(self, text):
        blocks = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
        assert len(blocks) > 10
        for block in blocks:
            assert len({len(row) for row in tables(block)}) == 1

    def test_figures_lie_beside_it(self, text):
        assert re.findall(r"!\[.*?\]\((.*?)\)", text) == [
            "study_heatmap.png",
            "study_slopes.png",
            "study_disagreement.jpg",
        ]

    def test_no_pictures(self, cells):
        """As in a clone whose store has no runs of the study."""
        text = document(cells, has_pictures=False)
        assert "study_disagreement" not in text
        assert "No pictures: the MLflow store" in text


class TestParts:
    def test_too_few_draws_are_told(self, cells):
        assert "100 draws cannot make any of them significant" in document(cells, 100)
        assert "Too few draws" not in document(cells)

    def test_too_few_draws_of_pixels_are_told(self):
        """A cell keeps 1,000, however many the read-out makes."""
        drawn = {"pixel_ap": (0.5,) * 1000}
        cells = [
            cell.model_copy(update={"pixel_replicates": drawn, "category": f"c{k}"})
            for k in range(26)
            for cell in metrics_only({"daf": TWO, "draem": TWO})
        ]
        told = "**Too few draws of pixel metrics**"
        assert f"{told}: with 26 tests in one family, 1,000 draws" in document(cells, 2000)
        assert told not in document(cells[: 4 * 25], 2000)

    def test_few_images_are_told(self):
        cells = made_study(quality, methods=("daf", "draem"), strategies=STRATEGIES, anomalous=8)
        text = document(cells)
        assert "**Fewer than 20 test images, or groups, of a class**: on elpv mono" in text
        verdicts = [line for line in text.splitlines() if line.startswith("- elpv mono, against")]
        assert verdicts
        assert all("groups, of a class: p is too small" in line for line in verdicts)

    def test_hardly_trained_methods_are_told(self, cells):
        study = Study.read(Path(__file__).parents[2] / "studies/robustness")
        cells = [cell for cell in cells if cell.dataset == "elpv"]
        told = "**Hardly trained**: of images in training draem saw 80, daf 4,800."
        assert told in document(cells, study=study)
        without = [cell for cell in cells if cell.method != "draem"]
        assert "Hardly trained" not in document(without, study=study)

    def test_one_strategy(self):
        text = document(made_study(quality, methods=("daf", "draem"), strategies=("nsa",)))
        assert "Against draem: no verdict over images. daf and draem have no two" in text
        assert "Against daf_without_cue" not in text
        assert "No two strategies of both methods yet" in text
        assert "What a choice costs is not known" in text
        assert "nan" not in text

    @pytest.mark.parametrize(
        "methods", [("daf",), ("patchcore",), ("daf_without_cue", "draem"), ("daf", "cosine_only")]
    )
    def test_nothing_of_the_claim(self, methods):
        found = made_study(lambda *_: 1.0, methods=methods, strategies=STRATEGIES)
        text = document(found)
        assert "This study says nothing of it: that takes daf, and daf_without_cue or draem" in text
        assert "Against" not in text
        assert "Rules of the verdict" not in text
        is_compared = any(row[0] == "daf − cosine_only" for row in tables(text))
        assert is_compared == ("cosine_only" in methods)
        has_advice = "A strategy is recommended for daf alone" not in text
        assert has_advice == ("For daf, in image AUROC: " in text) == ("daf" in methods)

    def test_missing_cells(self, cells):
        run = [cell for cell in cells if cell.strategy != "nsa" or cell.dataset == "elpv"]
        text = document(run, study=study_of(cells))
        assert "- cells: 17 of 20" in text
        assert ["mvtec_ad toothbrush", "2 of 3", "2 of 3", "2 of 3", "1 of 1"] in tables(text)

    def test_what_is_declared_and_not_begun(self, cells):
        study = Study.read(Path(__file__).parents[2] / "studies/robustness")
        found = [cell for cell in cells if cell.dataset == "elpv" and cell.method == "daf"]
        rows = tables(document(found, study=study))
        missing = ["0 of 18"] * 3 + ["0 of 3"] * 2
        assert ["elpv mono", "3 of 18", *missing] in rows
        assert ["toothbrush", "0 of 18", *missing] in rows

    def test_pixel_metrics_get_no_verdict_over_images(self):
        cells = metrics_only(
            {"daf": {"draem": 0.7, "nsa": 0.8}, "draem": {"draem": 0.1, "nsa": 0.8}}
        )
        text = document(cells)
        assert "In pixel AP:" in text
        part = text.split("In pixel AP:")[1].split("##")[0]
        assert (
            "Against draem: no verdict over images. Over trainings, DAF's "
            "sd is the smaller one in 1 of 1" in part
        )
