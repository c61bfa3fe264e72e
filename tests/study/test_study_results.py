"""Cells read back, and what is refused."""

import pandas as pd
import pytest

from daf_pipelines.errors import DataError
from daf_pipelines.study import plan
from daf_pipelines.study.results import missing_cells, name_of, ordered, read_cells, study_table
from made_up_study import made_cell, made_study, write_cell


def read(tmp_path, *cells):
    return read_cells(tmp_path, [write_cell(facts, tmp_path) for facts in cells])


def refusal(tmp_path, *cells):
    with pytest.raises(DataError) as caught:
        read(tmp_path, *cells)
    return str(caught.value)


class TestReading:
    def test_gives_back_what_was_written(self, tmp_path):
        facts = made_cell(strategy="nsa", transfer={"nsa": 0.9, "draem": 0.8})
        (cell,) = read(tmp_path, facts)
        assert cell.model_dump(mode="json") == facts
        assert cell.metric("image_auroc") == facts["metrics"]["image_auroc"]
        assert pd.isna(cell.metric("pixel_ap"))
        assert cell.truth.tolist() == [int(label) for label in facts["labels"]]

    def test_is_in_the_order_of_tables(self, tmp_path):
        keys = [("stfpm", None, 0), ("daf", "nsa", 0), ("daf", "draem", 1), ("daf", "draem", 0)]
        cells = [made_cell(method=m, strategy=s, seed=k) for m, s, k in keys]
        found = read(tmp_path, *cells)
        assert [(c.method, c.strategy, c.seed) for c in found] == [
            ("daf", "draem", 0),
            ("daf", "draem", 1),
            ("daf", "nsa", 0),
            ("stfpm", None, 0),
        ]

    def test_of_what_is_declared(self, tmp_path):
        kept = plan.Cell("elpv", "nsa", "daf", 0)
        for facts in (made_cell(strategy="nsa"), made_cell(strategy="draem", test_images="others")):
            write_cell(facts, tmp_path)
        (cell,) = read_cells(tmp_path, [kept, plan.Cell("elpv", None, "stfpm", 0)])
        assert cell.declared == kept

    def test_without_any_test_image(self, tmp_path):
        """A line's own pictures, all of good parts, none of them set aside."""
        facts = made_cell() | {"labels": "", "scores": [], "metrics": {}}
        (cell,) = read(tmp_path, facts)
        assert cell.truth.shape == (0,)

    def test_fields_of_later_versions_are_left_out(self, tmp_path):
        (cell,) = read(tmp_path, made_cell() | {"comment": "later"})
        assert not hasattr(cell, "comment")


class TestMistakes:
    def test_no_cells(self, tmp_path):
        assert "has no cells" in refusal(tmp_path)

    def test_not_json(self, tmp_path):
        cell = write_cell(made_cell(), tmp_path)
        (tmp_path / f"{cell.name}.json").write_text('{"dataset": "elpv"', encoding="utf-8")
        with pytest.raises(DataError, match=r"daf-0\.json is no cell of a study.*run its cell"):
            read_cells(tmp_path, [cell])

    def test_every_fault_is_told(self, tmp_path):
        facts = {k: v for k, v in made_cell().items() if k != "category"}
        message = refusal(tmp_path, facts | {"seed": -1, "labels": "01x"})
        assert "category: Field required" in message
        assert "seed: " in message
        assert "labels: " in message

    def test_a_metric_out_of_range(self, tmp_path):
        facts = made_cell()
        facts["metrics"]["pixel_ap"] = 62.2
        assert "pixel_ap must be null or from 0 to 1; got 62.2" in refusal(tmp_path, facts)

    def test_not_a_finite_score(self, tmp_path):
        facts = made_cell()
        facts["scores"][3] = float("nan")
        assert "scores.3: " in refusal(tmp_path, facts)

    def test_labels_without_scores(self, tmp_path):
        facts = made_cell()
        assert "got 99 for 100" in refusal(tmp_path, facts | {"scores": facts["scores"][1:]})

    def test_scores_in_another_order(self, tmp_path):
        facts = made_cell(quality=3)
        message = refusal(tmp_path, facts | {"scores": sorted(facts["scores"])})
        assert "not in one order" in message

    def test_a_strategy_twice_in_transfer(self, tmp_path):
        entry = {"strategy": "nsa", "image_auroc": 0.9}
        assert "each strategy once" in refusal(tmp_path, made_cell() | {"transfer": [entry, entry]})

    def test_a_file_by_the_name_of_another_cell(self, tmp_path):
        write_cell(made_cell(), tmp_path)
        other = plan.Cell("elpv", "nsa", "daf", 0)
        (tmp_path / "elpv-draem-daf-0.json").rename(tmp_path / f"{other.name}.json")
        with pytest.raises(
            DataError, match=r"nsa-daf-0\.json is of another cell, elpv, mono, draem"
        ):
            read_cells(tmp_path, [other])

    def test_other_test_images(self, tmp_path):
        message = refusal(tmp_path, made_cell(), made_cell(strategy="nsa", test_images="others"))
        assert "were not tested on the same images" in message

    def test_other_labels(self, tmp_path):
        message = refusal(tmp_path, made_cell(), made_cell(strategy="nsa", anomalous=20, normal=80))
        assert "not with the same labels" in message

    def test_other_groups(self, tmp_path):
        grouped = made_cell(strategy="nsa") | {"groups": [k // 2 for k in range(100)]}
        assert "labels and groups" in refusal(tmp_path, made_cell(), grouped)

    def test_groups_without_labels(self, tmp_path):
        assert "got 99 for 100" in refusal(tmp_path, made_cell() | {"groups": [0] * 99})

    def test_each_seed_may_have_its_own_split(self, tmp_path):
        cells = [made_cell(), made_cell(seed=1, test_images="others")]
        assert len(read(tmp_path, *cells)) == 2


class TestTable:
    def test_one_row_a_cell(self):
        cells = made_study(
            lambda *_: 1.0, methods=("daf", "patchcore"), strategies=("draem", "nsa")
        )
        table = study_table(cells)
        assert table[["strategy", "method"]].to_numpy().tolist() == [
            ["draem", "daf"],
            ["nsa", "daf"],
            ["", "patchcore"],
        ]
        assert table["image_auroc"].tolist() == [c.metric("image_auroc") for c in cells]
        assert table["pixel_ap"].isna().all()
        assert table["run_id"].tolist() == [cell.run_id for cell in cells]

    def test_what_is_missing(self):
        cells = made_study(lambda *_: 1.0, strategies=("draem",), methods=("daf", "patchcore"))
        declared = [cell.declared for cell in cells]
        assert missing_cells(cells, declared).empty
        more = [plan.Cell("elpv", "nsa", "daf", 0), plan.Cell("tiles", None, "stfpm", 1)]
        assert missing_cells(cells, [*declared, *more]).to_numpy().tolist() == [
            ["elpv", "mono", "nsa", "daf", 0],
            ["tiles", "", "", "stfpm", 1],
        ]

    def test_order_of_methods(self):
        assert ordered(["zeta", "patchcore", "alpha", "daf", "daf"]) == [
            *("daf", "patchcore", "alpha", "zeta")
        ]

    def test_names(self):
        assert name_of(("elpv", "mono")) == "elpv mono"
        assert name_of(("magnetic_tile", "magnetic_tile")) == "magnetic_tile"
