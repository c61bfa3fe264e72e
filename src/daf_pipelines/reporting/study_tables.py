"""The tables of a study as people read them: in words, for Markdown and the page."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from daf_pipelines.reporting.evaluation import SHORT
from daf_pipelines.reporting.study_advice import DEFAULT, criterion_name
from daf_pipelines.reporting.words import or_dash
from daf_pipelines.study.claim import SIGNIFICANT, decide, p_text, signed
from daf_pipelines.study.readout import Readout
from daf_pipelines.study.recommendation import ALWAYS, PRIMARY, RANDOM
from daf_pipelines.study.results import Cell, Data, name_of, ordered
from daf_pipelines.study.robustness import STATISTICS, complete_seeds

SHOWN = ("image_auroc", "pixel_ap", "aupro_030")
"""The metrics of tables for people; the CSV files have all of them."""
PAGE_TARGET = "image_auroc"
FREE = ""
"""In place of a strategy, of a method that does without synthesis."""
OVERVIEW = ("image_auroc", "pixel_ap")
SUMMARIES = ("mean", "worst", "sd", "range")
TESTED = ("value", "worst", "sd")


@dataclass(frozen=True)
class Table:
    """A table in words.

    Attributes:
        columns: Its head.
        rows: A text for each column.
    """

    columns: list[str]
    rows: list[list[str]]


@dataclass(frozen=True, eq=False)
class Matrix:
    """A metric by strategy (rows) and method (columns), the mean over its complete seeds.

    Attributes:
        grid: Strategies x methods, NaN where there is no cell.
        free: The metric of methods without synthesis, by method.
        summaries: Of :data:`SUMMARIES` (rows) by method; NaN without strategies.
        trained: The grid without methods that are hardly trained: scales and orders are of these.
    """

    grid: pd.DataFrame
    free: "pd.Series[float]"
    summaries: pd.DataFrame
    trained: pd.DataFrame


def named(readout: Readout, method: str) -> str:
    """A method in tables, with what nobody may overlook."""
    return f"{method} (hardly trained)" if method in readout.hardly else method


def data_of(readout: Readout) -> list[Data]:
    """Datasets and categories of the study."""
    return list(dict.fromkeys(cell.data for cell in readout.cells))


def metrics_of(readout: Readout, data: Data) -> list[str]:
    """Those of :data:`SHOWN` that a dataset and category has."""
    part = of_data(readout.table, data)
    return [name for name in SHOWN if part[name].notna().any()]


def of_data(table: pd.DataFrame, data: Data) -> pd.DataFrame:
    """The rows of one dataset and category."""
    return table[table["dataset"].eq(data[0]) & table["category"].eq(data[1])]


def matrix(readout: Readout, data: Data, metric: str) -> Matrix:
    """Strategies x methods."""
    own: dict[str, list[Cell]] = {}
    for cell in readout.cells:
        if cell.data == data:
            own.setdefault(cell.method, []).append(cell)
    rows = [
        {"method": method, "strategy": name, "value": cell.metric(metric)}
        for method, cells in own.items()
        for seed in complete_seeds(cells, metric).values()
        for name, cell in seed.items()
    ]
    means = pd.DataFrame(rows, columns=["method", "strategy", "value"]).pivot_table(
        index="strategy", columns="method", values="value"
    )
    means = means.reindex(columns=ordered(own))
    free = means.reindex([FREE]).T[FREE].dropna()
    values = means.drop(index=FREE, errors="ignore").drop(columns=free.index)
    summaries = _summaries(readout, data, metric).reindex(columns=values.columns)
    trained = values.drop(columns=readout.hardly, errors="ignore")
    return Matrix(values, free, summaries, trained)


def _summaries(readout: Readout, data: Data, metric: str) -> pd.DataFrame:
    rows = averaged(readout, data, metric)
    return rows.set_index("method")[list(SUMMARIES)].T


def averaged(readout: Readout, data: Data, metric: str) -> pd.DataFrame:
    """Rows of the robustness table over seeds."""
    table = of_data(readout.robustness, data)
    return table[table["metric"].eq(metric) & table["seed"].isna()]


def answer(readout: Readout) -> Table:
    """How far each method ranges over strategies, and whether the claim holds, by metric."""
    verdicts = {(one.data, one.metric, one.other): one.verdict for one in readout.verdicts}
    others = ordered(other for _, _, other in verdicts)
    asked = [(m, o) for m in SHOWN for o in others if any(key[1:] == (m, o) for key in verdicts)]
    tables = {data: averaged(readout, data, PAGE_TARGET) for data in data_of(readout)}
    ranges = {data: one.set_index("method")["range"].dropna() for data, one in tables.items()}
    methods = ordered(m for one in ranges.values() for m in one.index if m not in readout.hardly)
    rows = [
        [name_of(data), *(or_dash(ranges[data].get(name), "{:.3f}".format) for name in methods)]
        + [verdicts.get((data, *one), "–") for one in asked]
        for data in ranges
        if len(ranges[data])
    ]
    heads = [f"claim in {SHORT[metric]}, against {other}" for metric, other in asked]
    return Table(["data", *methods, *heads], rows)


def without_one(readout: Readout, *, decisive: bool = False) -> Table:
    """The comparison of spreads without one strategy at a time, and what the verdict were then.

    Args:
        readout: Of a study.
        decisive: Of each comparison the one strategy only without which the verdict is another; of
            several, or none, that whose absence changes the difference of sd most.
    """
    rows = []
    for metric in SHOWN:
        sds, spans = (_by_comparison(readout.without_one, metric, s) for s in ("sd", "range"))
        whole = _by_comparison(readout.comparisons, metric, "sd")
        verdicts: dict[tuple[str, ...], str] = {
            (*one.data, one.other): one.verdict for one in readout.verdicts if one.metric == metric
        }
        then = {
            about: decide(sd | {"p_holm": sd["p_value"]}, spans[about])
            for about, sd in sds.items()
            if about[:3] in verdicts
        }
        shown = list(then)
        if decisive:
            change = {about: abs(sds[about]["delta"] - whole[about[:3]]["delta"]) for about in then}
            rank = {about: (then[about] != verdicts[about[:3]], change[about]) for about in then}
            compared = dict.fromkeys(about[:3] for about in then)
            shown = [max((a for a in then if a[:3] == of), key=rank.__getitem__) for of in compared]
        for about in shown:
            dataset, category, other, left_out = about
            pair = sds[about], spans[about]
            numbers = [f"{one[side]:.3f}" for one in pair for side in ("value", "other_value")]
            names = name_of((dataset, category)), SHORT[metric], other, verdicts[about[:3]]
            rows.append([*names, left_out, then[about], _delta(sds[about]), *numbers])
    heads = [f"{name}, {whose}" for name in ("sd", "range") for whose in ("daf", "the other")]
    columns = ["data", "metric", "against", "the claim", "without", "the claim then"]
    return Table([*columns, "difference of sd", *heads], rows)


def _by_comparison(
    table: pd.DataFrame, metric: str, statistic: str
) -> dict[tuple[str, ...], dict[Any, Any]]:
    """The rows of a statistic by dataset, category, other method, and what they are without."""
    rows = table[table["metric"].eq(metric) & table["statistic"].eq(statistic)]
    keys = [name for name in ("dataset", "category", "other", "without") if name in table]
    return {tuple(row[name] for name in keys): row for row in rows.to_dict(orient="records")}


def overview(readout: Readout) -> Table:
    """The study in one table: mean, worst case and spread of what images and pixels show."""
    rows = []
    for data in data_of(readout):
        found = {metric: averaged(readout, data, metric).set_index("method") for metric in OVERVIEW}
        for method in ordered(name for table in found.values() for name in table.index):
            parts = {m: table.loc[method] for m, table in found.items() if method in table.index}
            first = next(iter(parts.values()))
            told = SUMMARIES if first["strategies"] else ("mean",)
            numbers = [
                or_dash(parts[m][name] if m in parts and name in told else None, "{:.3f}".format)
                for m in OVERVIEW
                for name in SUMMARIES
            ]
            counts = [str(first["strategies"] or "–"), str(first["seeds"])]
            rows.append([name_of(data), named(readout, method), *counts, *numbers])
    heads = [f"{SHORT[metric]}: {name}" for metric in OVERVIEW for name in SUMMARIES]
    return Table(["data", "method", "strategies", "seeds", *heads], rows)


def robustness(readout: Readout, data: Data, metric: str) -> Table:
    """Mean, worst case and spread of each method, with intervals."""
    columns = ["method", "seeds", "strategies", "mean", "worst case", "lowest mean", "sd", "range"]
    rows = [
        [
            *(named(readout, row["method"]), str(row["seeds"]), str(row["strategies"] or "–")),
            _with_interval(row, "mean"),
            _with_interval(row, "worst") if row["strategies"] else "–",
            row["worst_strategy"] or "–",
            *(_with_interval(row, "sd"), _with_interval(row, "range")),
            or_dash(row["seed_sd"], "{:.3f}".format),
        ]
        for row in averaged(readout, data, metric).to_dict(orient="records")
    ]
    return Table([*columns, "sd over seeds"], rows)


def _with_interval(row: dict[Any, Any], name: str, digits: int = 3) -> str:
    text = or_dash(row[name], f"{{:.{digits}f}}".format)
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    return text if np.isnan(low) else f"{text} ({low:.{digits}f} to {high:.{digits}f})"


def comparisons(readout: Readout, data: Data, metric: str) -> Table:
    """DAF minus each other method in mean, worst case and spread; significant ones have a star."""
    table = of_data(readout.comparisons, data)
    table = table[table["metric"].eq(metric)]
    rows = []
    for other, part in table.groupby("other", sort=False):
        found = part.set_index("statistic").to_dict(orient="index")
        pairs = found["mean"]["pairs"], found["mean"]["seeds"]
        rows.append([f"daf − {other}", *map(str, pairs), *(_delta(found[n]) for n in STATISTICS)])
    columns = ["difference", "detectors of each", "seeds", "mean", "worst case", "sd", "range"]
    return Table(columns, rows)


def _delta(row: dict[Any, Any]) -> str:
    text = or_dash(row["delta"], signed)
    if np.isnan(row["low"]):
        return text
    star = " *" if row.get("p_holm", 1) < SIGNIFICANT else ""
    return f"{text} ({signed(row['low'])} to {signed(row['high'])}){star}"


def seed_tests(readout: Readout) -> Table:
    """Tests over trainings, of the shown metrics."""
    table = readout.seed_tests
    table = table[table["metric"].isin(SHOWN) & table["statistic"].isin(TESTED)]
    rows = [
        [SHORT[row["metric"]], f"daf − {row['other']}", row["statistic"], str(row["units"])]
        + [str(row["higher"]), str(row["lower"]), signed(row["mean_difference"])]
        + [f"{row[name]:.3g}" for name in ("p_sign", "p_permutation", "p_holm")]
        for row in table.to_dict(orient="records")
    ]
    columns = ["metric", "difference", "of", "pairs", "higher", "lower", "mean difference"]
    return Table([*columns, "p, signs", "p, permutation", "adjusted"], rows)


def rank_stability(readout: Readout) -> Table:
    """Agreement on the order of strategies, and on that of methods."""
    table = readout.rank_stability
    rows = [
        [
            *(name_of((row["dataset"], row["category"])), SHORT[row["metric"]]),
            _judged(readout, row),
            *(str(row["judges"]), str(row["items"])),
            *(_with_interval(row, "kendall_w", 2), or_dash(row["mean_tau"], "{:.2f}".format)),
        ]
        for row in table[table["metric"].isin(SHOWN)].to_dict(orient="records")
    ]
    return Table(["data", "metric", "order of", "judges", "items", "Kendall's W", "tau"], rows)


def _judged(readout: Readout, row: dict[Any, Any]) -> str:
    if row["order"] == "strategies":
        return f"strategies, between seeds: {named(readout, row['method'])}"
    return f"methods, between strategies: seed {row['seed']}"


def regrets(readout: Readout, method: str, target: str) -> Table:
    """What each way to choose a strategy costs."""
    table = readout.regrets
    part = table[table["method"].eq(method) & table["target"].eq(target)]
    rows = [
        [
            *(_way(row["criterion"]), str(row["units"])),
            *(f"{row[name]:.3f}" for name in ("mean_regret", "worst_regret")),
            or_dash(row["mean_rank_correlation"], "{:.2f}".format),
            or_dash(row["p_holm"], p_text),
        ]
        for row in part.sort_values("mean_regret", kind="stable").to_dict(orient="records")
    ]
    columns = ["chosen by", "pairs", "mean regret", "worst regret", "rank correlation"]
    return Table([*columns, "better than chance"], rows)


def _way(name: str) -> str:
    if name == f"{ALWAYS}{DEFAULT}":
        return f"{name} (the default)"
    return f"{name} (hindsight)" if name.startswith(ALWAYS) else criterion_name(name)


def regrets_by_data(readout: Readout, method: str, target: str) -> Table:
    """What a choice costs on each dataset and category, the mean over seeds."""
    table = readout.recommendation
    part = table[table["method"].eq(method) & table["target"].eq(target)]
    ways = [PRIMARY, f"{ALWAYS}{DEFAULT}", RANDOM]
    rows = []
    for data in dict.fromkeys(zip(part["dataset"], part["category"], strict=True)):
        one = of_data(part, data)
        means = one.groupby("criterion")["regret"].mean()
        costs = [or_dash(means.get(name), "{:.3f}".format) for name in ways]
        rows.append([name_of(data), *costs, f"{one['oracle_value'].mean():.3f}"])
    return Table(["data", *map(_way, ways), "the oracle's " + SHORT[target]], rows)


def choices(readout: Readout, method: str, target: str) -> Table:
    """What the primary criterion chooses on each dataset, category and seed, beside the oracle."""
    table = readout.recommendation
    part = table[table["method"].eq(method) & table["target"].eq(target)]
    random = part[part["criterion"].eq(RANDOM)]
    expected = random.set_index(["dataset", "category", "seed"])["regret"]
    rows = [
        [
            *(name_of((row["dataset"], row["category"])), str(row["seed"])),
            *(row["chosen"], f"{row['value']:.3f}", row["oracle"], f"{row['oracle_value']:.3f}"),
            f"{row['regret']:.3f}",
            f"{expected[row['dataset'], row['category'], row['seed']]:.3f}",
        ]
        for row in part[part["criterion"].eq(PRIMARY)].to_dict(orient="records")
    ]
    columns = ["data", "seed", "chosen", SHORT[target], "oracle", "its value", "regret"]
    return Table([*columns, "at random"], rows)


def without_defects(readout: Readout, method: str) -> Table:
    """What criteria choose from normals and synthetic outliers alone, of image AUROC."""
    table = readout.choices[readout.choices["method"].eq(method)]
    table = table[table["criterion"].str.endswith(" image_auroc")]
    chosen = table.pivot_table(
        index=["dataset", "category", "seed"],
        columns="criterion",
        values="chosen",
        aggfunc="first",
        sort=False,
    )
    rows = [
        [name_of((dataset, category)), str(seed), *map(str, row)]
        for (dataset, category, seed), row in zip(chosen.index, chosen.to_numpy(), strict=True)
    ]
    names = [str(name).removesuffix(" image_auroc") for name in chosen.columns]
    return Table(["data", "seed", *names], rows)


def coverage(readout: Readout) -> Table:
    """How many cells there are of the whole, by dataset, category and method."""
    tables = readout.table, readout.missing
    there, absent = (table.value_counts(["dataset", "category", "method"]) for table in tables)
    methods = ordered(name for table in tables for name in table["method"])
    unseen = zip(readout.missing["dataset"], readout.missing["category"], strict=True)
    rows = []
    for data in dict.fromkeys([*data_of(readout), *unseen]):
        counts = [(int(there.get((*data, m), 0)), int(absent.get((*data, m), 0))) for m in methods]
        rows.append([name_of(data).strip(), *(f"{n} of {n + more}" for n, more in counts)])
    return Table(["data", *methods], rows)


def provenance(readout: Readout, read_out: str) -> dict[str, str]:
    """Facts of how the cells, and what is told of them, came about.

    Args:
        readout: Of a study.
        read_out: When, and by the code of which commit.
    """
    table = readout.table
    dates: Sequence[str] = sorted(table["date"])
    hours = table["train_seconds"].sum() / 3600
    total = len(table) + len(readout.missing)
    return {
        "cells": f"{len(table)} of {total}",
        "trained": f"{dates[0]} to {dates[-1]}" if dates[0] != dates[-1] else dates[0],
        "training time": f"{hours:.1f} h in all",
        "machines": "; ".join(sorted(set(table["machine"]))),
        "commits of the cells": ", ".join(sorted({name[:8] for name in table["git_commit"]})),
        "read out": read_out,
    }
