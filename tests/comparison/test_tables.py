"""The tables: values of the runs, baselines, seeds and macro averages."""

from typing import Any

import numpy as np
import pytest

from daf_pipelines.comparison import (
    MACRO,
    best,
    choose_baselines,
    comparison_table,
    differences,
    distinct_names,
    seeds_table,
)
from daf_pipelines.metrics import METRICS
from made_up_runs import make_run


class TestComparisonTable:
    def test_one_row_per_run_and_metric(self, images: dict[str, Any]) -> None:
        runs = [make_run(k, images, seed=k) for k in range(3)]
        table = comparison_table(runs, runs[0].run_id, 100, 0)
        assert table["run_id"].tolist() == [r.run_id for r in runs for _ in METRICS]
        assert table["metric"].tolist() == list(METRICS) * 3
        assert table["seed"].tolist() == [k for k in range(3) for _ in METRICS]
        first = table[table["metric"] == "image_auroc"]
        assert first["value"].tolist() == [run.metrics["image_auroc"] for run in runs]
        assert first["low"].tolist() == [0.5] * 3
        assert first["delta"].isna().tolist() == [True, False, False]
        assert first["common_images"].tolist()[1:] == [40, 40]
        assert set(table["baseline"]) == {runs[0].run_id}

    def test_what_is_not_recorded_has_a_reason(self, images: dict[str, Any]) -> None:
        runs = [make_run(0, images), make_run(1, images, reasons={"aupro_030": "no masks"})]
        table = comparison_table(runs, runs[0].run_id, 100, 0).set_index(["run_id", "metric"])
        assert table.loc[(runs[1].run_id, "image_ap"), "reason"] == ""
        assert table.loc[(runs[0].run_id, "aupro_030"), "reason"] == "not recorded"
        # The difference is there, from what was kept of the pixels.
        assert table.loc[(runs[1].run_id, "aupro_030"), "reason"] == "no masks"

    def test_p_values_are_adjusted_over_all_comparisons_of_a_metric(
        self, images: dict[str, Any]
    ) -> None:
        runs = [make_run(k, images, quality=1 + k, category="ab"[k % 2]) for k in range(6)]
        table = comparison_table(runs, runs[0].run_id, 100, 0)
        for _, rows in table.groupby("metric"):
            p_values = rows["p_value"].dropna()
            assert len(p_values) == 4
            smallest = rows.loc[p_values.idxmin()]
            assert smallest["p_holm"] == pytest.approx(min(1, 4 * smallest["p_value"]))
            assert (rows["p_holm"].dropna() >= p_values).all()

    def test_best(self, images: dict[str, Any]) -> None:
        runs = [make_run(k, images, quality=3 * k) for k in (0, 1)]
        alone = make_run(5, images, category="poly")
        table = comparison_table([*runs, alone], runs[0].run_id, 100, 0)
        marked = table[best(table)]
        assert set(marked["run_id"]) == {runs[1].run_id}
        assert set(marked["metric"]) == {"image_auroc", "image_ap", "pixel_auroc"}


class TestBaselines:
    def test_elsewhere_the_same_configuration_and_seed(self, images: dict[str, Any]) -> None:
        runs = [
            make_run(0, images, strategy="draem", category="b"),
            make_run(1, images, strategy="nsa", seed=0, category="b"),
            make_run(2, images, strategy="nsa", seed=1, category="b"),
            make_run(3, images, strategy="nsa", seed=1, category="a"),
            make_run(4, images, strategy="draem", category="c"),
            make_run(5, images, strategy="cutpaste", category="c"),
        ]
        chosen = choose_baselines(runs, runs[3].run_id)
        assert {data[1]: run.run_id for data, run in chosen.items()} == {
            "b": runs[2].run_id,
            "a": runs[3].run_id,
            "c": runs[4].run_id,  # the oldest
        }


class TestSeeds:
    def test_mean_and_deviation(self, images: dict[str, Any]) -> None:
        runs = [make_run(k, images, seed=k, metrics={"image_ap": v}) for k, v in enumerate((1, 4))]
        other = make_run(9, images, strategy="nsa", metrics={"image_ap": 0.5})
        table = seeds_table([*runs, other]).set_index("strategy")
        assert table["metric"].tolist() == ["image_ap"] * 2
        assert table.loc["draem", ["mean", "std", "seeds"]].tolist() == pytest.approx(
            [2.5, np.std([1, 4], ddof=1), 2]
        )
        assert table.loc["nsa", "seeds"] == 1
        assert np.isnan(table.loc["nsa", "std"])

    def test_other_parameters_are_another_configuration(self, images: dict[str, Any]) -> None:
        runs = [
            make_run(k, images, seed=k, parameters={"seed": str(k), "scoring.blur": str(k)})
            for k in range(2)
        ]
        table = seeds_table(runs)
        assert set(table["seeds"]) == {1}
        assert table["configuration"].nunique() == 2

    def test_of_one_seed_the_newest_counts(self, images: dict[str, Any]) -> None:
        runs = [make_run(k, images, metrics={"image_ap": k / 4}) for k in (2, 1)]
        (row,) = seeds_table(runs).to_dict(orient="records")
        assert (row["mean"], row["seeds"]) == (0.5, 1)

    def test_macro_average_of_what_ran_on_all_categories(self, images: dict[str, Any]) -> None:
        values = {("a", 0): 0.1, ("b", 0): 0.3, ("a", 1): 0.5, ("b", 1): 0.7, ("a", 2): 0.9}
        runs = [
            make_run(k, images, category=c, seed=s, metrics={"image_ap": v})
            for k, ((c, s), v) in enumerate(values.items())
        ]
        runs.append(make_run(9, images, strategy="nsa", category="a", metrics={"image_ap": 0.2}))
        table = seeds_table(runs)
        (macro,) = table[table["category"] == MACRO].to_dict(orient="records")
        assert (macro["strategy"], macro["seeds"]) == ("draem", 2)
        assert macro["mean"] == pytest.approx(0.4)
        assert macro["std"] == pytest.approx(np.std([0.2, 0.6], ddof=1))


class TestNames:
    def test_are_distinct(self, images: dict[str, Any]) -> None:
        runs = [make_run(0, images), make_run(1, images), make_run(2, images, strategy="nsa")]
        names = distinct_names(runs)
        assert len(set(names.values())) == 3
        assert names[runs[2].run_id] == "nsa-seed0-elpv-mono"
        assert names[runs[1].run_id] == f"draem-seed0-elpv-mono ({runs[1].run_id[:8]})"

    def test_only_what_differs(self, images: dict[str, Any]) -> None:
        runs = [make_run(0, images), make_run(1, images, strategy="nsa", category="poly")]
        table = differences(runs)
        assert table.index.tolist() == ["dataset.category", "synthesis.strategy"]
        assert table.loc["synthesis.strategy"].tolist() == ["draem", "nsa"]
        assert differences(runs[:1]).empty
