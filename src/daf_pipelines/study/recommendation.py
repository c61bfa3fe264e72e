"""Which strategy to use, judged without a single defect, and what that choice costs.

Each detector of a study is also tried on held-out normals against the synthetic outliers of every
strategy. A criterion ranks strategies by these results alone; on the real defects of the test split
the oracle, which knows them, shows what was to be had.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from daf_pipelines.comparison import holm
from daf_pipelines.study.results import Cell
from daf_pipelines.study.robustness import Measured, Strategies
from daf_pipelines.study.seeds import permutation_test

MEASURES = ("image_auroc", "image_ap", "pixel_ap")
TARGETS = ("image_auroc", "image_ap", "pixel_ap")
PRIMARY = "mean_other image_auroc"
"""The plainest criterion, which is tested alone; the others are explored beside it."""
ALL = "all alike"
RANDOM, ALWAYS = "random", "always "
CHOICES = ["dataset", "category", "method", "seed", "criterion", "chosen"]
REGRETS = [
    *("dataset", "category", "method", "seed", "target", "criterion", "candidates"),
    *("chosen", "value", "oracle", "oracle_value", "regret", "rank_correlation"),
]

Table = pd.DataFrame
"""Results by the strategy of the detector (rows) and by that of the outliers (columns)."""
Criterion = Callable[[Table], "pd.Series[float]"]


def _others(results: Table) -> Table:
    """The results without those on outliers of the detector's own strategy (NaN)."""
    own = results.index.to_numpy()[:, None] == results.columns.to_numpy()
    return results.mask(own)


def mean_other(results: Table) -> "pd.Series[float]":
    """Mean over the outliers of all other strategies."""
    return _others(results).mean(axis=1)


def worst_other(results: Table) -> "pd.Series[float]":
    """Worst result on the outliers of any other strategy."""
    return _others(results).min(axis=1)


def rank_other(results: Table) -> "pd.Series[float]":
    """Mean rank on the outliers of all other strategies, among the detectors of other ones.

    From 0, always last, to 1, always first. A detector whose own outliers are hard to find is not
    favoured by being spared them, as it is by :func:`mean_other`.
    """
    others = _others(results)
    ranks = others.rank(axis=0) - 1
    return (ranks / (others.notna().sum(axis=0) - 1)).mean(axis=1)


def mean_all(results: Table) -> "pd.Series[float]":
    """Mean over the outliers of all strategies, its own among them."""
    return results.mean(axis=1)


def own(results: Table) -> "pd.Series[float]":
    """On outliers of its own strategy, which it was trained to find: the naive criterion."""
    return results.where(results.index.to_numpy()[:, None] == results.columns.to_numpy()).max(
        axis=1
    )


CRITERIA: Mapping[str, Criterion] = {
    "mean_other": mean_other,
    "worst_other": worst_other,
    "rank_other": rank_other,
    "mean_all": mean_all,
    "own": own,
}


def recommendation_table(measured: Measured) -> pd.DataFrame:
    """What each criterion chooses, beside the oracle, a fixed strategy and chance.

    The candidates are the strategies whose detectors were tried on the outliers of all of them; at
    least two, or there is nothing to choose.

    Returns:
        One row per ``dataset``, ``category``, ``method``, ``seed``, ``target`` (metric of the test
        split) and ``criterion``: a name of :data:`CRITERIA` with the measure that it is taken of,
        as "mean_other image_auroc"; "always " and a strategy; or "random", a draw of one of the
        ``candidates``. ``chosen`` strategies (several: equally good; ``value`` is then their
        mean), their ``value`` of the target, the ``oracle`` (the best on the test split) and its
        value, ``regret`` = oracle_value - value, and ``rank_correlation``, Spearman's, of criterion
        and target over the candidates (NaN: one of them does not tell any apart).
    """
    rows: list[dict[str, Any]] = []
    for data in measured.data():
        for method in measured.methods(data):
            for target in TARGETS:
                for seed, cells in measured.complete_seeds(data, method, target).items():
                    about = dict(zip(REGRETS, (*data, method, seed, target), strict=False))
                    rows += [about | row for row in _choices(cells, target)]
    return pd.DataFrame(rows, columns=REGRETS)


def _choices(cells: Strategies, target: str) -> list[dict[str, Any]]:
    candidates = {name: cell for name, cell in cells.items() if cell.transfer}
    if len(candidates) < 2:
        return []
    values = pd.Series({name: cell.metric(target) for name, cell in candidates.items()})
    rows = []
    for criterion, judged in _judgements(list(candidates.values())):
        rows.append({"criterion": criterion} | _choice(judged.reindex(values.index), values))
    for name in values.index:
        fixed = pd.Series(values.index == name, values.index, dtype=float)
        rows.append(
            {"criterion": f"{ALWAYS}{name}"} | _choice(fixed, values) | {"rank_correlation": np.nan}
        )
    rows.append({"criterion": RANDOM} | _choice(values * 0, values) | {"chosen": ""})
    return rows


def transfer_results(cells: Iterable[Cell], measure: str) -> Table:
    """A measure of each detector on each strategy's outliers.

    Returns:
        Rows by the strategy of the detector, columns by that of the outliers: those only that all
        detectors were tried on.
    """
    found = {
        cell.strategy: {entry.strategy: getattr(entry, measure) for entry in cell.transfer}
        for cell in cells
    }
    return pd.DataFrame(found, dtype=float).T.dropna(axis=1)


def _choice(judged: "pd.Series[float]", values: "pd.Series[float]") -> dict[str, Any]:
    chosen = values[judged >= judged.max() - 1e-12]
    varies = judged.max() > judged.min() and values.max() > values.min()
    return {
        "candidates": len(values),
        "chosen": ", ".join(map(str, chosen.index)),
        "value": chosen.mean(),
        "oracle": str(values.idxmax()),
        "oracle_value": values.max(),
        "regret": values.max() - chosen.mean(),
        "rank_correlation": stats.spearmanr(judged, values).statistic if varies else np.nan,
    }


def choices_table(measured: Measured) -> pd.DataFrame:
    """What each criterion chooses, whether or not there are defects to hold it against.

    Returns:
        One row per ``dataset``, ``category``, ``method``, ``seed`` and ``criterion``, and the
        ``chosen`` strategies, or :data:`ALL`, where none is better than another.
    """
    rows = []
    for data in measured.data():
        for method in measured.methods(data):
            for seed, cells in measured.complete_seeds(data, method).items():
                about = dict(zip(CHOICES, (*data, method, seed), strict=False))
                for criterion, judged in _judgements([c for c in cells.values() if c.transfer]):
                    best = judged.index[judged >= judged.max() - 1e-12]
                    told = ALL if len(best) == len(judged) else ", ".join(best)
                    rows.append(about | {"criterion": criterion, "chosen": told})
    return pd.DataFrame(rows, columns=CHOICES)


def _judgements(candidates: Sequence[Cell]) -> Iterator[tuple[str, "pd.Series[float]"]]:
    """Each criterion that can tell candidates apart, and what it gives them, by strategy."""
    if len(candidates) < 2:
        return
    for measure in MEASURES:
        results = transfer_results(candidates, measure)
        if results.shape[1] < 2:
            continue
        for name, criterion in CRITERIA.items():
            judged = criterion(results)
            if judged.notna().all():
                yield f"{name} {measure}", judged


def regret_summary(table: pd.DataFrame) -> pd.DataFrame:
    """The regret of each way to choose, over datasets, categories and seeds.

    Args:
        table: From :func:`recommendation_table`.

    Returns:
        One row per ``method``, ``target`` and ``criterion``, of those that could choose wherever
        the method has a choice: ``units`` (of dataset, category and seed), ``mean_regret``,
        ``worst_regret``, ``mean_rank_correlation``, and ``gain``, by how much the mean regret
        is below that of chance, with its ``p_value``
        (:func:`~daf_pipelines.study.seeds.permutation_test`) and ``p_holm``, adjusted over the
        criteria but :data:`PRIMARY`. A fixed strategy is chosen with hindsight and is not tested.
    """
    rows = []
    for (method, target), part in table.groupby(["method", "target"], sort=False):
        unit = ["dataset", "category", "seed"]
        regrets = part.pivot_table(index=unit, columns="criterion", values="regret", sort=False)
        correlations = part.groupby("criterion")["rank_correlation"].mean()
        for name in regrets.columns[regrets.notna().all()]:
            gains = (regrets[RANDOM] - regrets[name]).to_numpy(float)
            is_tested = name != RANDOM and not str(name).startswith(ALWAYS)
            rows.append(
                {
                    "method": method,
                    "target": target,
                    "criterion": name,
                    "units": len(regrets),
                    "mean_regret": regrets[name].mean(),
                    "worst_regret": regrets[name].max(),
                    "mean_rank_correlation": correlations[name],
                    "gain": gains.mean(),
                    "p_value": permutation_test(gains) if is_tested else np.nan,
                }
            )
    summary = pd.DataFrame(rows, columns=_SUMMARY)
    is_primary = summary["criterion"].eq(PRIMARY)
    p_values = summary.groupby(["method", "target", is_primary])["p_value"]
    summary["p_holm"] = p_values.transform(lambda p: holm(p.to_numpy(float)))
    return summary


_SUMMARY = [
    *("method", "target", "criterion", "units", "mean_regret", "worst_regret"),
    *("mean_rank_correlation", "gain", "p_value", "p_holm"),
]
