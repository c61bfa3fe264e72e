"""Nodes of the comparison pipeline."""

from typing import Any

import pandas as pd

from daf_pipelines.comparison import Selection, comparison_table, seeds_table
from daf_pipelines.parameters import ComparisonParams
from daf_pipelines.reporting.comparison_page import comparison_page


def read(tracking_store: dict[str, Any], comparison: ComparisonParams) -> Selection:
    """The runs to compare, from MLflow."""
    from daf_pipelines.tracking.evaluated import read_runs

    return read_runs(tracking_store, comparison)


def compare(
    compared_runs: Selection, comparison: ComparisonParams, seed: int
) -> tuple[pd.DataFrame, pd.DataFrame, str]:
    """Metrics with their differences, the same over seeds, and a page with everything."""
    runs, baseline = compared_runs.runs, compared_runs.baseline
    table = comparison_table(runs, baseline, comparison.replicates, seed)
    seeds = seeds_table(runs)
    return table, seeds, comparison_page(runs, table, seeds, comparison.replicates)
