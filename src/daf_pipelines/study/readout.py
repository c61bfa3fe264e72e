"""Everything that is read out of the cells of a study."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from daf_pipelines.study import plan
from daf_pipelines.study.budget import hardly_trained, images_seen
from daf_pipelines.study.claim import Verdict, verdicts
from daf_pipelines.study.recommendation import (
    choices_table,
    recommendation_table,
    regret_summary,
)
from daf_pipelines.study.results import Cell, missing_cells, study_table
from daf_pipelines.study.robustness import (
    Measured,
    comparisons_table,
    robustness_table,
    without_one_table,
)
from daf_pipelines.study.seeds import rank_stability_table, seed_tests_table


@dataclass(frozen=True, eq=False)
class Readout:
    """The tables of a study, each as the function of its name returns it.

    Attributes:
        cells: What it was read out of.
        replicates: Number of resamples.
        table: :func:`~daf_pipelines.study.results.study_table`.
        missing: :func:`~daf_pipelines.study.results.missing_cells`.
        robustness: :func:`~daf_pipelines.study.robustness.robustness_table`.
        comparisons: :func:`~daf_pipelines.study.robustness.comparisons_table`.
        without_one: :func:`~daf_pipelines.study.robustness.without_one_table`.
        seed_tests: :func:`~daf_pipelines.study.seeds.seed_tests_table`.
        rank_stability: :func:`~daf_pipelines.study.seeds.rank_stability_table`.
        recommendation: :func:`~daf_pipelines.study.recommendation.recommendation_table`.
        choices: :func:`~daf_pipelines.study.recommendation.choices_table`.
        regrets: :func:`~daf_pipelines.study.recommendation.regret_summary`.
        verdicts: :func:`~daf_pipelines.study.claim.verdicts`.
        seen: :func:`~daf_pipelines.study.budget.images_seen`.
        hardly: :func:`~daf_pipelines.study.budget.hardly_trained`.
        notes: Of the study, for its readers.
        sources: The source of each dataset, by the name that it has in the study.
    """

    cells: Sequence[Cell]
    replicates: int
    table: pd.DataFrame
    missing: pd.DataFrame
    robustness: pd.DataFrame
    comparisons: pd.DataFrame
    without_one: pd.DataFrame
    seed_tests: pd.DataFrame
    rank_stability: pd.DataFrame
    recommendation: pd.DataFrame
    choices: pd.DataFrame
    regrets: pd.DataFrame
    verdicts: list[Verdict]
    seen: Mapping[str, int]
    hardly: Sequence[str]
    notes: Sequence[str]
    sources: Mapping[str, str]


def read_out(cells: Sequence[Cell], replicates: int, study: plan.Study) -> Readout:
    """All tables of a study, however much of it there is.

    Args:
        cells: As :func:`~daf_pipelines.study.results.read_cells` returns them.
        replicates: Number of resamples of the bootstrap.
        study: That they are of, as it is declared.
    """
    seen = images_seen(study)
    hardly = hardly_trained(seen)
    measured = Measured(cells, replicates, hardly)
    comparisons = comparisons_table(measured)
    recommendation = recommendation_table(measured)
    return Readout(
        cells=cells,
        replicates=replicates,
        table=study_table(cells),
        missing=missing_cells(cells, study.cells()),
        robustness=robustness_table(measured),
        comparisons=comparisons,
        without_one=without_one_table(measured),
        seed_tests=seed_tests_table(measured),
        rank_stability=rank_stability_table(measured),
        recommendation=recommendation,
        choices=choices_table(measured),
        regrets=regret_summary(recommendation),
        verdicts=verdicts(comparisons),
        seen=seen,
        hardly=hardly,
        notes=study.notes,
        sources={name: study.source(name) for name in study.grid.dataset},
    )
