"""How much a method's result depends on the strategy that made its outliers.

For each dataset, category, method and seed: the mean, the worst case and the spread of a metric
over strategies. Intervals and tests come from a stratified bootstrap over the test images (Efron
and Tibshirani, "An Introduction to the Bootstrap", 1993, chapters 8 and 13) in which all detectors
of a dataset, category and seed are measured on the same resampled images: what makes an image hard
for all of them cancels. Images of one group, as one object under several exposures, are drawn
together.

Resampling adds noise of its own, which makes a spread larger and a worst case lower than they are.
All intervals and tests are therefore moved, so that the mean of the resamples is the value itself.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from daf_pipelines.comparison import Difference, holm, paired_difference
from daf_pipelines.errors import MetricUndefinedError
from daf_pipelines.metrics import IMAGE_METRICS, METRICS, image_replicates, interval
from daf_pipelines.metrics.bootstrap import Replicates, Weights
from daf_pipelines.metrics.curves import Floats
from daf_pipelines.study.draws import draws
from daf_pipelines.study.results import Cell, Data, ordered

STATISTICS = ("mean", "worst", "sd", "range")
PROPOSED = "daf"
CLAIMED = ("daf_without_cue", "draem")
"""Trained on synthetic outliers without DAF's cue: what the claim sets it beside."""
NO_SCORES = "no interval and no test: not all cells have resamples of it"

Strategies = dict[str, Cell]
K = TypeVar("K")


def adjusted(tests: pd.DataFrame, p_values: str) -> "pd.Series[float]":
    """P-values after Holm's adjustment, each in its :func:`family`.

    Args:
        tests: One row a test, with the columns ``metric``, ``statistic`` and ``other``.
        p_values: Name of their column.
    """
    by_family = tests.groupby(family(tests))[p_values]
    return by_family.transform(lambda p: holm(p.to_numpy(float)))


def family(tests: pd.DataFrame) -> "list[pd.Series[Any]]":
    """What tests that are adjusted together have in common.

    The metric, the statistic, and whether they are of the claim: its question was there before the
    study, and stays as hard to answer whatever else DAF is compared with.
    """
    return [tests["metric"], tests["statistic"], tests["other"].isin(CLAIMED)]


def over_strategies(values: Floats) -> dict[str, Floats]:
    """The statistics of a metric over strategies.

    Args:
        values: Of S strategies, shape (S, ...).

    Returns:
        ``mean``; ``worst``, the smallest; ``sd``, the standard deviation (ddof = 1), and
        ``range``, largest minus smallest, both NaN with a single strategy; each of shape (...).
    """
    alone = len(values) < 2
    nothing = np.full(values.shape[1:], np.nan)
    return {
        "mean": values.mean(axis=0),
        "worst": values.min(axis=0),
        "sd": nothing if alone else values.std(axis=0, ddof=1),
        "range": nothing if alone else np.ptp(values, axis=0),
    }


def complete_seeds(cells: Iterable[Cell], metric: str | None = None) -> dict[int, Strategies]:
    """The cells of one dataset, category and method by seed and strategy ("" without), in order.

    Of those seeds only that have the most strategies: a study is made cell by cell, and the first
    ones of a seed must not be averaged with all of another.

    Args:
        cells: Of any seeds.
        metric: That they have; None: any.
    """
    found = _by_seed(cells, metric)
    chosen = fullest({seed: set(one) for seed, one in found.items()})
    return {seed: found[seed] for seed in chosen}


def _by_seed(cells: Iterable[Cell], metric: str | None) -> dict[int, Strategies]:
    found: dict[int, Strategies] = {}
    for cell in sorted(cells, key=lambda cell: (cell.seed, cell.strategy or "")):
        if metric is None or np.isfinite(cell.metric(metric)):
            found.setdefault(cell.seed, {})[cell.strategy or ""] = cell
    return found


def fullest(strategies: Mapping[K, Collection[str]]) -> list[K]:
    """Those, such as seeds, that have the same strategies: the most, and of these the most of them.

    Args:
        strategies: By key.
    """
    sets = [frozenset(one) for one in strategies.values()]
    best = max(sets, key=lambda one: (len(one), sets.count(one)), default=frozenset())
    return [key for key, one in strategies.items() if one and frozenset(one) == best]


class Measured:
    """The cells of a study with their metrics on resampled test images.

    Args:
        cells: As :func:`~daf_pipelines.study.results.read_cells` returns them.
        replicates: Number of resamples, B.
        hardly: Methods that are not trained far enough to be compared with.
    """

    def __init__(
        self, cells: Sequence[Cell], replicates: int, hardly: Collection[str] = ()
    ) -> None:
        self.cells = cells
        self.hardly = hardly
        self.replicates = replicates
        self._resampled: dict[int, Replicates] = {}
        self._weights: dict[Any, Weights] = {}

    def data(self) -> list[Data]:
        """Datasets and categories, in order."""
        return list(dict.fromkeys(cell.data for cell in self.cells))

    def methods(self, data: Data, *, with_synthesis: bool = True) -> list[str]:
        """Methods that have a cell, those that depend on synthesis or the others."""
        return ordered(
            cell.method
            for cell in self.cells
            if cell.data == data and (cell.strategy is not None) == with_synthesis
        )

    def others(self) -> list[str]:
        """Those with synthesis that DAF is compared with, in the order of tables."""
        apart = {PROPOSED, *self.hardly}
        return ordered(
            cell.method
            for cell in self.cells
            if cell.strategy is not None and cell.method not in apart
        )

    def seeds(self, data: Data) -> list[int]:
        """Seeds that have a cell."""
        return sorted({cell.seed for cell in self.cells if cell.data == data})

    def complete_seeds(
        self, data: Data, method: str, metric: str | None = None
    ) -> dict[int, Strategies]:
        """The cells of a method by seed and strategy; see :func:`complete_seeds`."""
        return complete_seeds(self.of_method(data, method), metric)

    def of_method(self, data: Data, method: str) -> list[Cell]:
        """All cells of a method."""
        return [cell for cell in self.cells if (cell.data, cell.method) == (data, method)]

    def resampled(self, cell: Cell, metric: str) -> Floats | None:
        """The metric on each of the resamples, (B,); None where only the value itself is known.

        Equal test images get equal resamples.
        """
        if metric in cell.pixel_replicates:
            return np.array(cell.pixel_replicates[metric])
        if metric not in IMAGE_METRICS:
            return None
        if id(cell) not in self._resampled:
            try:
                found = image_replicates(cell.scores, cell.truth, self._draws(cell))
            except MetricUndefinedError:  # of one class only: the metrics are null as well
                found = {}
            self._resampled[id(cell)] = found
        return self._resampled[id(cell)].get(metric)

    def _draws(self, cell: Cell) -> Weights:
        test_set = cell.data, cell.test_images, cell.labels, cell.groups
        if test_set not in self._weights:
            self._weights[test_set] = draws(
                cell.data, cell.test_images, cell.truth, cell.groups, self.replicates
            )
        return self._weights[test_set]

    def statistics(self, cells: Strategies, metric: str) -> dict[str, Floats]:
        """Statistics over strategies: the value first, then that of each resample if there are any.

        Args:
            cells: At least one, by strategy, of one dataset, category, method and seed.
            metric: One that all of them have.

        Returns:
            By statistic, (1 + B,), or (1,) where not all cells have resamples of the metric.
        """
        return over_strategies(self.with_resamples(cells.values(), metric))

    def with_resamples(self, cells: Iterable[Cell], metric: str) -> Floats:
        """The metric of N cells: the value first, then that of each resample if all have some.

        Returns:
            Shape (N, 1 + B), or (N, 1).
        """
        drawn = ((cell, self.resampled(cell, metric)) for cell in cells)
        return aligned([np.r_[cell.metric(metric), () if d is None else d] for cell, d in drawn])


def aligned(values: Sequence[Floats]) -> Floats:
    """Values with their resamples, (N, 1 + B): of the values alone, if not all have resamples."""
    shortest = min(map(len, values))
    return np.array([one[:shortest] for one in values])


def robustness_table(measured: Measured) -> pd.DataFrame:
    """Mean, worst case and spread over strategies, for each seed and averaged over seeds.

    Returns:
        One row per ``dataset``, ``category``, ``method``, ``metric`` and ``seed`` (NA: the mean
        over the seeds' rows), of the seeds of
        :func:`complete_seeds`. ``seeds`` and ``strategies`` say
        over how many; methods without synthesis have one value, no spread, and ``strategies`` 0.
        ``mean``, ``worst``, ``sd`` and ``range`` as :func:`over_strategies` defines them, each
        with its 95 % interval ``*_low``, ``*_high`` (NaN where not all cells have resamples);
        ``worst_strategy``, of the mean over seeds. ``seed_sd``: how much the same strategy varies
        between seeds, the root of the mean variance (ddof = 1) over strategies with two seeds or
        more.
    """
    rows = [
        {"dataset": data[0], "category": data[1], "method": method, "metric": metric} | row
        for data in measured.data()
        for metric in METRICS
        for with_synthesis in (True, False)
        for method in measured.methods(data, with_synthesis=with_synthesis)
        for row in _summaries(measured, measured.complete_seeds(data, method, metric), metric)
    ]
    return pd.DataFrame(rows).reindex(columns=_COLUMNS).astype({"seed": "Int64"})


_COLUMNS = [
    *("dataset", "category", "method", "metric", "seed", "seeds", "strategies"),
    *(f"{name}{end}" for name in STATISTICS for end in ("", "_low", "_high")),
    *("worst_strategy", "seed_sd"),
]


def _summaries(
    measured: Measured, by_seed: Mapping[int, Strategies], metric: str
) -> list[dict[str, Any]]:
    if not by_seed:
        return []
    found = {seed: measured.statistics(cells, metric) for seed, cells in by_seed.items()}
    counts = {seed: len([name for name in cells if name]) for seed, cells in by_seed.items()}
    rows: list[dict[str, Any]] = [
        {"seed": seed, "seeds": 1, "strategies": counts[seed]}
        | _with_intervals(statistics)
        | {"worst_strategy": _worst({seed: by_seed[seed]}, metric)}
        for seed, statistics in found.items()
    ]
    average = {
        name: aligned([one[name] for one in found.values()]).mean(axis=0) for name in STATISTICS
    }
    rows.append(
        {"seed": pd.NA, "seeds": len(by_seed), "strategies": max(counts.values())}
        | _with_intervals(average)
        | {"worst_strategy": _worst(by_seed, metric), "seed_sd": _seed_sd(by_seed, metric)}
    )
    return rows


def _with_intervals(statistics: Mapping[str, Floats]) -> dict[str, float]:
    row: dict[str, float] = {}
    for name, values in statistics.items():
        point, drawn = float(values[0]), values[1:]
        row[name] = point
        if len(drawn) and np.isfinite(point):
            centre = float(drawn.mean())
            row[f"{name}_low"], row[f"{name}_high"] = interval(point, drawn, centre)
    return row


def _values(by_seed: Mapping[int, Strategies], metric: str) -> pd.DataFrame:
    """One row a seed, one column a strategy."""
    return pd.DataFrame(
        {seed: {n: c.metric(metric) for n, c in cells.items()} for seed, cells in by_seed.items()}
    ).T


def _worst(by_seed: Mapping[int, Strategies], metric: str) -> str:
    return str(_values(by_seed, metric).mean().idxmin())


def _seed_sd(by_seed: Mapping[int, Strategies], metric: str) -> float:
    return float(np.sqrt(_values(by_seed, metric).var(ddof=1).mean()))


def comparisons_table(measured: Measured) -> pd.DataFrame:
    """How DAF differs from each other method with synthesis in mean, worst case, spread.

    Over the strategies that both have, for each seed, then the mean over seeds; a spread needs two
    strategies.

    Returns:
        One row per ``dataset``, ``category``, ``metric``, ``statistic`` and ``other`` method:
        ``seeds`` and ``pairs`` (of strategy and seed) behind it, ``value`` of DAF,
        ``other_value``, ``delta`` = value - other_value with its 95 % interval ``low``, ``high``
        and ``p_value`` (:func:`~daf_pipelines.comparison.paired_difference`); ``p_holm``,
        adjusted over the rows of its :func:`family`; ``reason``, why one is NaN. Empty without
        DAF.
    """
    rows = [
        {"dataset": data[0], "category": data[1], "metric": metric, "other": other} | row
        for data in measured.data()
        for metric in METRICS
        for other in measured.others()
        for row in _compared(measured, pairs_of(measured, data, metric, other), metric)
    ]
    table = pd.DataFrame(rows).reindex(columns=_COMPARED)
    table["p_holm"] = adjusted(table, "p_value")
    return table


_COMPARED = [
    *("dataset", "category", "metric", "statistic", "other", "seeds", "pairs"),
    *("value", "other_value", "delta", "low", "high", "p_value", "p_holm", "reason"),
]


def without_one_table(measured: Measured) -> pd.DataFrame:
    """The comparisons of the claim again, each time without one of the strategies.

    A spread over a handful of strategies may be the work of a single one. It is explored: p-values
    are of one test each.

    Returns:
        Rows of :func:`comparisons_table` (without ``p_holm``) with what is ``without``, of the
        methods of :data:`CLAIMED`; none where fewer than two strategies would be left.
    """
    rows = [
        {"dataset": data[0], "category": data[1], "metric": metric, "other": other}
        | {"without": name}
        | row
        for data in measured.data()
        for metric in METRICS
        for other in measured.others()
        if other in CLAIMED
        for name, pairs in _each_without_one(pairs_of(measured, data, metric, other))
        for row in _compared(measured, pairs, metric)
    ]
    columns = ["without", *(name for name in _COMPARED if name != "p_holm")]
    return pd.DataFrame(rows).reindex(columns=columns)


Pairs = dict[int, tuple[Strategies, Strategies]]
"""By seed, the cells of two methods, of the same strategies."""


def _each_without_one(by_seed: Pairs) -> Iterator[tuple[str, Pairs]]:
    names = list(next(iter(by_seed.values()))[0]) if by_seed else []
    for left_out in names if len(names) > 2 else ():
        yield (
            left_out,
            {
                seed: (_without(ours, left_out), _without(theirs, left_out))
                for seed, (ours, theirs) in by_seed.items()
            },
        )


def _without(cells: Strategies, left_out: str) -> Strategies:
    return {name: cell for name, cell in cells.items() if name != left_out}


def pairs_of(measured: Measured, data: Data, metric: str, other: str) -> Pairs:
    """By seed, DAF's cells and the other method's, of the strategies that both have.

    Of those seeds only that have the most in common, as in :func:`complete_seeds`.
    """
    ours, theirs = (_by_seed(measured.of_method(data, name), metric) for name in (PROPOSED, other))
    common = {seed: [name for name in ours[seed] if name in theirs.get(seed, ())] for seed in ours}
    return {
        seed: (
            {name: ours[seed][name] for name in common[seed]},
            {name: theirs[seed][name] for name in common[seed]},
        )
        for seed in fullest(common)
    }


def _compared(measured: Measured, by_seed: Pairs, metric: str) -> list[dict[str, Any]]:
    if not by_seed:
        return []
    ours, theirs = (
        [measured.statistics(pair[k], metric) for pair in by_seed.values()] for k in (0, 1)
    )
    pairs = sum(len(pair[0]) for pair in by_seed.values())
    rows = []
    for name in STATISTICS:
        a, b = (aligned([one[name] for one in side]).mean(axis=0) for side in (ours, theirs))
        rows.append(
            {"statistic": name, "seeds": len(by_seed), "pairs": pairs}
            | {"value": a[0], "other_value": b[0], "delta": a[0] - b[0]}
            | _tested(a - b if len(a) == len(b) else a[:1] - b[:1])
        )
    return rows


def _tested(deltas: Floats) -> dict[str, Any]:
    """Interval and p-value of a difference, from its value followed by its resamples."""
    if not np.isfinite(deltas[0]):
        return {"reason": "a spread needs two strategies that both have"}
    if len(deltas) == 1:
        return {"reason": NO_SCORES}
    drawn = deltas[1:] - deltas[1:].mean() + deltas[0]
    found = paired_difference(float(deltas[0]), drawn)
    if not isinstance(found, Difference):
        return {"reason": found}
    return {"low": found.low, "high": found.high, "p_value": found.p_value, "reason": ""}
