"""What holds over trainings, not only over images: tests over pairs, and stability of ranks.

The bootstrap asks whether these trained detectors would differ on other images. Here each pair of
detectors is one observation: whether training again would give the same answer.
"""

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from daf_pipelines.metrics import METRICS, interval
from daf_pipelines.metrics.curves import Floats
from daf_pipelines.study.results import Cell, Data
from daf_pipelines.study.robustness import (
    Measured,
    adjusted,
    fullest,
    over_strategies,
    pairs_of,
)

RESAMPLES = 2**15
"""All flips of signs up to 15 pairs; of more, so many at random."""
OF_PAIRS, OF_SEEDS = "value", ("worst", "sd", "range")


def sign_test(differences: npt.ArrayLike) -> float:
    """Exact two-sided sign test: how easily a fair coin falls as often on one side.

    Args:
        differences: Of pairs, shape (N,); zeros are left out (Dixon and Mood, JASA, 1946).

    Returns:
        The p-value; 1 where no difference is left.
    """
    values = np.asarray(differences, dtype=float)
    higher, lower = int((values > 0).sum()), int((values < 0).sum())
    if not higher + lower:
        return 1.0
    return float(stats.binomtest(higher, higher + lower).pvalue)


def permutation_test(differences: npt.ArrayLike) -> float:
    """Two-sided sign-flip test of the mean (Fisher, "The Design of Experiments", 1935, section 21).

    If methods did not differ, each difference could as well have the other sign: the p-value is
    the share of the flips whose mean is at least as far from zero. It is exact up to 15
    differences, and of 2^15 random flips (the given signs among them) with more; with N
    differences it is at least 2 / 2^N.

    Args:
        differences: Of pairs, shape (N,), at least one.
    """
    values = np.asarray(differences, dtype=float)
    if 2 ** len(values) <= RESAMPLES:
        bits = np.arange(2 ** len(values))[:, None] >> np.arange(len(values)) & 1
        signs = 1 - 2 * bits
    else:
        drawn = np.random.default_rng(0).choice((-1, 1), (RESAMPLES - 1, len(values)))
        signs = np.concatenate([np.ones((1, len(values)), int), drawn])
    sums = np.abs(signs @ values)
    # Rounding of the last digits must not decide.
    return float((sums >= sums[0] - 1e-12).mean())


def kendall_w(values: npt.ArrayLike) -> Floats:
    """Kendall's coefficient of concordance: how far judges agree on the order of items.

    Kendall and Babington Smith, Annals of Mathematical Statistics, 1939, with the correction for
    ties: W = (12 S) / (m^2 (n^3 - n) - m T), S the sum of squared deviations of the items' rank
    sums from their mean, T the sum of t^3 - t over all groups of t ties of a judge.

    Args:
        values: Of n items by m judges, shape (..., m, n), both at least 2; larger is better.

    Returns:
        From 0, no agreement, to 1, one order, (...); NaN where no judge tells any items apart.
    """
    ranks = stats.rankdata(np.asarray(values, dtype=float), axis=-1)
    judges, items = ranks.shape[-2:]
    sums = ranks.sum(axis=-2)
    # t^3 - t for a group of t is t^2 - 1 for each of its items.
    equal = (ranks[..., :, None] == ranks[..., None, :]).sum(axis=-1)
    tied = (equal**2 - 1).sum(axis=(-2, -1))
    largest = judges**2 * (items**3 - items) - judges * tied
    with np.errstate(invalid="ignore"):  # 0 / 0
        agreed: Floats = 12 * ((sums - sums.mean(axis=-1, keepdims=True)) ** 2).sum(-1) / largest
    return agreed


def mean_tau(values: npt.ArrayLike) -> float:
    """Mean of Kendall's tau-b over all pairs of judges.

    Args:
        values: Of n items by m judges, shape (m, n).

    Returns:
        From -1 to 1; NaN where a judge does not tell any items apart.
    """
    rows = np.asarray(values, dtype=float)
    return float(np.mean([stats.kendalltau(a, b).statistic for a, b in combinations(rows, 2)]))


def seed_tests_table(measured: Measured) -> pd.DataFrame:
    """Tests of DAF against each other method with synthesis, over trainings.

    Returns:
        One row per ``metric``, ``statistic`` and ``other`` method. Of the statistic "value" the
        units are pairs of detectors of one dataset, category, strategy and seed; of "worst", "sd"
        and "range" a dataset, category and seed, over the strategies that both methods have.
        ``units`` of them, in ``higher`` DAF is above, in ``lower`` below;
        ``mean_difference``; ``p_sign`` (:func:`sign_test`) and ``p_permutation``
        (:func:`permutation_test`), with ``p_holm``, the latter adjusted over the rows of its
        :func:`~daf_pipelines.study.robustness.family`.
        Units that share a dataset are not independent: read p-values as optimistic.
    """
    rows = []
    for metric in METRICS:
        for other in measured.others():
            found = _differences(measured, metric, other)
            rows += [
                {"metric": metric, "statistic": name, "other": other} | _tests(values)
                for name, values in found.items()
                if values
            ]
    table = pd.DataFrame(rows, columns=_TESTED)
    table["p_holm"] = adjusted(table, "p_permutation")
    return table


_TESTED = [
    *("metric", "statistic", "other", "units", "higher", "lower", "mean_difference"),
    *("p_sign", "p_permutation", "p_holm"),
]


def _differences(measured: Measured, metric: str, other: str) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {name: [] for name in (OF_PAIRS, *OF_SEEDS)}
    for data in measured.data():
        for ours, theirs in pairs_of(measured, data, metric, other).values():
            a, b = (
                np.array([cell.metric(metric) for cell in side.values()]) for side in (ours, theirs)
            )
            found[OF_PAIRS] += (a - b).tolist()
            if len(a) > 1:
                first, second = over_strategies(a), over_strategies(b)
                for name in OF_SEEDS:
                    found[name].append(float(first[name] - second[name]))
    return found


def _tests(differences: Sequence[float]) -> dict[str, Any]:
    values = np.array(differences)
    return {
        "units": len(values),
        "higher": int((values > 0).sum()),
        "lower": int((values < 0).sum()),
        "mean_difference": float(values.mean()),
        "p_sign": sign_test(values),
        "p_permutation": permutation_test(values),
    }


def rank_stability_table(measured: Measured) -> pd.DataFrame:
    """How far orders agree: that of strategies between seeds, that of methods between strategies.

    Returns:
        One row per ``dataset``, ``category``, ``metric`` and ``order``. For "strategies", one
        ``method`` each: its seeds
        (:func:`~daf_pipelines.study.robustness.complete_seeds`) are the judges, the strategies that
        they have in common the items. For "methods", one ``seed`` each: strategies are the judges,
        the methods that have the most of them the items, but for those that are hardly trained:
        one that is always last makes judges agree. ``judges``, ``items``, ``kendall_w``
        (:func:`kendall_w`) with its 95 % interval over test images, ``kendall_w_low`` and
        ``kendall_w_high`` (NaN where not all cells have resamples), ``mean_tau``
        (:func:`mean_tau`). No row with fewer than two judges or items.
    """
    rows: list[dict[str, Any]] = []
    for data in measured.data():
        for metric in METRICS:
            about = {"dataset": data[0], "category": data[1], "metric": metric}
            for method in measured.methods(data):
                values = _seeds_by_strategies(measured, data, method, metric)
                rows += [
                    about | {"order": "strategies", "method": method} | row
                    for row in _agreement(values)
                ]
            for seed in measured.seeds(data):
                values = _strategies_by_methods(measured, data, seed, metric)
                rows += [
                    about | {"order": "methods", "method": "", "seed": seed} | row
                    for row in _agreement(values)
                ]
    columns = [*("dataset", "category", "metric", "order", "method", "seed")]
    columns += ["judges", "items", "kendall_w", "kendall_w_low", "kendall_w_high", "mean_tau"]
    return pd.DataFrame(rows, columns=columns).astype({"seed": "Int64"})


def _seeds_by_strategies(measured: Measured, data: Data, method: str, metric: str) -> Floats:
    """The metric, (1 + B, seeds, strategies): itself, then of each resample."""
    by_seed = measured.complete_seeds(data, method, metric)
    return _stacked(measured, [list(one.values()) for one in by_seed.values()], metric)


def _stacked(measured: Measured, cells: Sequence[Sequence[Cell]], metric: str) -> Floats:
    if not cells:
        return np.empty((0, 0, 0))
    values = measured.with_resamples((cell for row in cells for cell in row), metric)
    return values.T.reshape(-1, len(cells), len(cells[0]))


def _strategies_by_methods(measured: Measured, data: Data, seed: int, metric: str) -> Floats:
    """The metric, (1 + B, strategies, methods): itself, then of each resample."""
    found = {
        method: by_seed[seed]
        for method in measured.methods(data)
        if method not in measured.hardly
        and seed in (by_seed := measured.complete_seeds(data, method, metric))
    }
    cells = [list(found[method].values()) for method in fullest(found)]
    return _stacked(measured, cells, metric).swapaxes(-1, -2)


def _agreement(values: Floats) -> list[dict[str, Any]]:
    if min(values.shape[1:]) < 2:
        return []
    agreed = kendall_w(values)
    row = {"judges": values.shape[1], "items": values.shape[2]}
    row |= {"kendall_w": agreed[0], "mean_tau": mean_tau(values[0])}
    drawn = agreed[1:][np.isfinite(agreed[1:])]
    if len(drawn) and np.isfinite(agreed[0]):
        row["kendall_w_low"], row["kendall_w_high"] = interval(agreed[0], drawn, drawn.mean())
    return [row]
