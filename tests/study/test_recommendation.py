"""Choices made without defects, and their regret, by hand."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from daf_pipelines.reporting.study_markdown import study_markdown
from daf_pipelines.reporting.study_page import study_page
from daf_pipelines.study.recommendation import (
    CRITERIA,
    mean_all,
    mean_other,
    own,
    rank_other,
    recommendation_table,
    regret_summary,
    transfer_results,
    worst_other,
)
from daf_pipelines.study.results import Cell
from daf_pipelines.study.robustness import Measured
from made_up_study import made_cell, made_study, read_out_of

NAMES = ["a", "b", "c"]
RESULTS = pd.DataFrame(
    [[1.0, 0.6, 0.8], [0.9, 1.0, 0.3], [0.7, 0.5, 0.9]], index=NAMES, columns=NAMES
)


def cells_of(quality, transfer, **changes):
    """Cells of DAF by strategy: the quality on real defects, results on synthetic ones."""
    return [
        Cell.model_validate(
            made_cell(quality[name], strategy=name, transfer=transfer.get(name), **changes)
        )
        for name in quality
    ]


def transfer_of(results):
    return {str(name): row.to_dict() for name, row in results.iterrows()}


@pytest.fixture(scope="module")
def cells():
    return cells_of({"a": 1.0, "b": 2.5, "c": 0.2}, transfer_of(RESULTS))


@pytest.fixture(scope="module")
def table(cells):
    table = recommendation_table(Measured(cells, 10))
    return table[table["target"].eq("image_auroc")].set_index("criterion")


class TestCriteria:
    def test_by_hand(self):
        assert mean_other(RESULTS).tolist() == pytest.approx([0.7, 0.6, 0.6])
        assert worst_other(RESULTS).tolist() == pytest.approx([0.6, 0.3, 0.5])
        assert mean_all(RESULTS).tolist() == pytest.approx([0.8, 2.2 / 3, 0.7])
        assert own(RESULTS).tolist() == [1.0, 1.0, 0.9]
        # On a's outliers b is before c, on b's a before c, on c's a before b.
        assert rank_other(RESULTS).tolist() == pytest.approx([1, 0.5, 0])

    @given(arrays(float, (4, 4), elements=st.floats(0, 1)), st.integers(0, 3), st.floats(0, 1))
    def test_own_outliers_do_not_count_among_others(self, values, place, other):
        names = list("abcd")
        before = pd.DataFrame(values, names, names)
        after = before.copy()
        after.iloc[place, place] = other
        for criterion in (mean_other, worst_other, rank_other):
            pd.testing.assert_series_equal(criterion(before), criterion(after))

    @given(arrays(float, (4, 5), elements=st.floats(0, 1)))
    def test_outliers_of_a_strategy_without_detector(self, values):
        results = pd.DataFrame(values, list("abcd"), list("abcde"))
        for name, criterion in CRITERIA.items():
            found = criterion(results)
            assert found.between(0, 1).all(), name

    def test_only_what_all_were_tried_on(self):
        transfer = transfer_of(RESULTS)
        del transfer["b"]["c"]
        found = transfer_results(cells_of(dict.fromkeys(NAMES, 1.0), transfer), "image_auroc")
        assert found.columns.tolist() == ["a", "b"]
        assert found.index.tolist() == NAMES


class TestTable:
    def test_regret_by_hand(self, cells, table):
        a, b, c = (cell.metric("image_auroc") for cell in cells)
        assert b > a > c
        assert set(table["oracle"]) == {"b"}
        assert table.loc["mean_other image_auroc", "chosen"] == "a"
        assert table.loc["mean_other image_auroc", "regret"] == pytest.approx(b - a)
        assert table.loc["always c", "regret"] == pytest.approx(b - c)
        assert table.loc["random", "regret"] == pytest.approx(b - (a + b + c) / 3)

    def test_equally_good_ones_share(self, cells, table):
        a, b, _ = (cell.metric("image_auroc") for cell in cells)
        row = table.loc["own image_auroc"]
        assert row["chosen"] == "a, b"
        assert row["value"] == pytest.approx((a + b) / 2)

    def test_rank_correlation(self, table):
        # a, b, c: criterion 0.6, 0.3, 0.5 has ranks 3, 1, 2; the test split 2, 3, 1.
        assert table.loc["worst_other image_auroc", "rank_correlation"] == pytest.approx(-0.5)
        assert np.isnan(table.loc["always a", "rank_correlation"])

    def test_regret_is_never_negative(self, table):
        assert (table["regret"] >= 0).all()

    def test_only_detectors_that_were_tried(self):
        transfer = transfer_of(RESULTS)
        del transfer["b"]
        table = recommendation_table(
            Measured(cells_of({"a": 1.0, "b": 2.5, "c": 0.2}, transfer), 10)
        )
        assert set(table["candidates"]) == {2}
        assert set(table["oracle"]) == {"a"}

    def test_nothing_to_choose(self):
        cells = made_study(lambda *_: 1.0)
        assert recommendation_table(Measured(cells, 10)).empty
        assert regret_summary(recommendation_table(Measured(cells, 10))).empty


class TestSummary:
    def test_over_datasets(self):
        transfer = transfer_of(RESULTS)
        cells = []
        for k in range(6):
            quality = {"a": 2.5, "b": 1.0, "c": 0.2 + 0.1 * k}
            cells += cells_of(quality, transfer, category=f"{k}" * (k + 1))
        table = recommendation_table(Measured(cells, 10))
        summary = regret_summary(table)
        rows = summary[summary["target"].eq("image_auroc")].set_index("criterion")
        assert (rows["units"] == 6).all()
        best = rows.loc["mean_other image_auroc"]
        assert best["mean_regret"] == best["worst_regret"] == 0
        chance = table[table["criterion"].eq("random") & table["target"].eq("image_auroc")]
        assert best["gain"] == pytest.approx(chance["regret"].mean())
        assert best["p_value"] == pytest.approx(2 / 64)
        assert rows.loc["random", "gain"] == 0
        assert rows["p_value"].notna().sum() == 10  # five criteria of two measures

    def test_a_strategy_that_one_category_lacks_is_no_fixed_choice(self):
        transfer = transfer_of(RESULTS)
        cells = cells_of({"a": 2.5, "b": 1.0, "c": 0.2}, transfer)
        cells += cells_of({"a": 2.5, "b": 1.0}, transfer, category="poly")
        names = set(regret_summary(recommendation_table(Measured(cells, 10)))["criterion"])
        assert {"always a", "always b", "random"} <= names
        assert "always c" not in names


class TestWithoutDefects:
    def test_criteria_choose_all_the_same(self):
        """Good parts only: no metric to hold a choice against, but there is a choice."""
        tried = {
            "draem": {"draem": 0.9, "nsa": 0.6, "cutpaste": 0.7},
            "nsa": {"draem": 0.8, "nsa": 0.9, "cutpaste": 0.8},
            "cutpaste": {"draem": 0.7, "nsa": 0.7, "cutpaste": 0.95},
        }
        cells = []
        for strategy, transfer in tried.items():
            cell = made_cell(strategy=strategy, transfer=transfer)
            good = "0" * len(cell["labels"])
            cells.append(Cell.model_validate(cell | {"labels": good, "metrics": {}}))
        readout = read_out_of(cells, 100)
        assert readout.regrets.empty
        chosen = readout.choices.set_index("criterion")["chosen"]
        assert chosen["mean_other image_auroc"] == "nsa"
        assert chosen["own image_auroc"] == "cutpaste"
        summary = study_markdown(readout, "command", "today", has_pictures=False)
        assert "What a choice costs is not known" in summary
        assert "| elpv mono | 0 | nsa | nsa | nsa | nsa | cutpaste |" in summary
        assert "cutpaste" in study_page(readout, {}, "command", "today")
