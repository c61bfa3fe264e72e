"""The test images that detectors of different strategies judge most differently."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from scipy import stats

from daf_pipelines.metrics.curves import Floats
from daf_pipelines.study.results import Cell, Data

PICTURED = ("daf", "daf_without_cue")
"""Shown beside each other: with the cue and without."""

ByMethod = dict[str, dict[str, Cell]]
"""Cells by method and strategy."""


def pictured(cells: Sequence[Cell]) -> dict[Data, ByMethod]:
    """The cells whose pictures are compared: of each dataset and category, one seed's.

    The smallest seed for which both methods of :data:`PICTURED` have two strategies in common; or
    else the smallest for which one of them has two. Those without are left out.
    """
    found = {}
    for data in dict.fromkeys(cell.data for cell in cells):
        of_data = [c for c in cells if c.data == data and c.method in PICTURED]
        by_seed = [
            _common([cell for cell in of_data if cell.seed == seed])
            for seed in sorted({cell.seed for cell in of_data})
        ]
        if chosen := max(by_seed, key=len, default={}):  # the first of equally many methods
            found[data] = chosen
    return found


def _common(cells: Iterable[Cell]) -> ByMethod:
    """By method, in order, the strategies that all have; without them, those of the first."""
    own: ByMethod = {name: {} for name in PICTURED}
    for cell in cells:
        own[cell.method][str(cell.strategy)] = cell
    common = set.intersection(*map(set, own.values()))
    if len(common) > 1:
        return {m: {n: cells[n] for n in sorted(common)} for m, cells in own.items()}
    alone = {m: dict(sorted(cells.items())) for m, cells in own.items() if len(cells) > 1}
    return dict(list(alone.items())[:1])


def ranks(cell: Cell) -> Floats:
    """Place of each test image among all by the cell's score, from 0, least anomalous, to 1, (N,).

    Scores of different detectors have different scales; their ranks have one.
    """
    placed: Floats = (stats.rankdata(cell.scores) - 1) / max(1, len(cell.scores) - 1)
    return placed


def disagreement(by_method: Mapping[str, Mapping[str, Cell]]) -> Floats:
    """How far strategies disagree on each test image, (N,).

    The standard deviation over strategies of :func:`ranks`, the mean over methods: images chosen by
    it do not favour a method.

    Args:
        by_method: Of :func:`pictured`.
    """
    spreads = [
        np.std([ranks(cell) for cell in cells.values()], axis=0) for cells in by_method.values()
    ]
    mean: Floats = np.mean(spreads, axis=0)
    return mean
