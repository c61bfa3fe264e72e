"""Evaluated models side by side: pairing, paired significance, tables."""

from daf_pipelines.comparison.pairing import Pair, by_data, choose_baselines, pair_up
from daf_pipelines.comparison.runs import EvaluatedRun, Selection, differences, distinct_names
from daf_pipelines.comparison.significance import (
    Difference,
    PairedBootstrap,
    holm,
    paired_difference,
)
from daf_pipelines.comparison.tables import MACRO, best, comparison_table, seeds_table

__all__ = [
    "MACRO",
    "Difference",
    "EvaluatedRun",
    "Pair",
    "PairedBootstrap",
    "Selection",
    "best",
    "by_data",
    "choose_baselines",
    "comparison_table",
    "differences",
    "distinct_names",
    "holm",
    "pair_up",
    "paired_difference",
    "seeds_table",
]
