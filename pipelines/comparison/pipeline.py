"""Any evaluated runs side by side: tables with significance, and a page.

It reads MLflow, not what this checkout has made: where runs are recorded comes from the hook that
puts ``tracking_store`` into the catalog.
"""

from kedro.pipeline import Pipeline, node

from daf_pipelines.pipelines.comparison.nodes import compare, read


def create_pipeline(**_: object) -> Pipeline:
    """Wire the pipeline."""
    return Pipeline(
        [
            node(
                read,
                ["tracking_store", "params:comparison"],
                "compared_runs",
                name="read_compared_runs",
            ),
            node(
                compare,
                ["compared_runs", "params:comparison", "params:seed"],
                ["comparison", "seeds", "comparison_page"],
                name="compare_runs",
            ),
        ]
    )
