"""Which runs are compared with which, and on which images."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from daf_pipelines.comparison.runs import EvaluatedRun

Rows = npt.NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Pair:
    """Two runs on the test images that they have in common.

    Attributes:
        run: The one that is compared.
        baseline: What it is compared with.
        rows: Positions in the run's ``scores``, (N,).
        baseline_rows: Positions in the baseline's, of the same images.
        labels: 0 normal, 1 anomalous, (N,).
        groups: Of the images, as one of the runs knows them, (N,), NaN for an image on its own.
        reason: Why there is nothing to compare; "": there is.
    """

    run: EvaluatedRun
    baseline: EvaluatedRun
    rows: Rows
    baseline_rows: Rows
    labels: npt.NDArray[np.intp]
    groups: npt.NDArray[np.object_]
    reason: str = ""

    @property
    def is_complete(self) -> bool:
        """Whether both runs were tested on exactly these images."""
        sizes = {len(r.scores) for r in (self.run, self.baseline) if r.scores is not None}
        return sizes == {len(self.labels)}


def by_data(runs: Sequence[EvaluatedRun]) -> dict[tuple[str, str], list[EvaluatedRun]]:
    """The runs by dataset and category, in the order in which these first occur."""
    groups: dict[tuple[str, str], list[EvaluatedRun]] = {}
    for run in runs:
        groups.setdefault(run.data, []).append(run)
    return groups


def choose_baselines(
    runs: Sequence[EvaluatedRun], baseline_id: str
) -> dict[tuple[str, str], EvaluatedRun]:
    """The baseline of each dataset and category.

    Args:
        runs: All of them.
        baseline_id: The baseline where it was run itself. Elsewhere it is the run of the same
            parameters, of the same seed if there is one, or else the oldest run.
    """
    (chosen,) = (run for run in runs if run.run_id == baseline_id)

    def rank(run: EvaluatedRun) -> tuple[bool, bool, bool, float]:
        return (
            run.run_id != baseline_id,
            run.configuration != chosen.configuration,
            run.seed != chosen.seed,
            run.started.timestamp(),
        )

    return {data: min(group, key=rank) for data, group in by_data(runs).items()}


def pair_up(run: EvaluatedRun, baseline: EvaluatedRun) -> Pair:
    """Finds the images that both were tested on, by path.

    Images on whose label they do not agree are left out.
    """
    for one in (run, baseline):
        if one.scores is None:
            return _nothing(run, baseline, f"{one.name} was recorded without image scores")
        if not np.isfinite(one.scores["raw_score"]).all():
            return _nothing(run, baseline, f"{one.name} has scores that are not finite")
    ours, theirs = (_places(one) for one in (run, baseline))
    both = ours.merge(theirs, on=["path", "label"], suffixes=("", "_baseline"))
    if both.empty:
        return _nothing(run, baseline, f"no test image in common with {baseline.name}")
    both = both.sort_values("path")  # one order of the images: one set of weights for all pairs
    return Pair(
        run,
        baseline,
        both["place"].to_numpy(np.intp),
        both["place_baseline"].to_numpy(np.intp),
        both["label"].to_numpy(np.intp),
        both["group"].fillna(both["group_baseline"]).to_numpy(object),
    )


def _places(run: EvaluatedRun) -> pd.DataFrame:
    assert run.scores is not None
    return run.scores[["path", "label", "group"]].assign(place=np.arange(len(run.scores)))


def _nothing(run: EvaluatedRun, baseline: EvaluatedRun, reason: str) -> Pair:
    none = np.empty(0, np.intp)
    return Pair(run, baseline, none, none, none, np.empty(0, object), reason)
