"""The results of a robustness study: from its cells' files to tables, figures and a page.

It trains and scores nothing. Pictures come from the tracking store, as far as it has them; all else
from the files.
"""

from kedro.pipeline import Pipeline, node

from daf_pipelines.pipelines.robustness_study.nodes import (
    draw,
    read,
    read_pictures,
    report,
    tables,
)


def create_pipeline(**_: object) -> Pipeline:
    """Wire the pipeline."""
    return Pipeline(
        [
            node(read, ["params:study"], "study_readout", name="read_study"),
            node(
                tables,
                ["study_readout"],
                [
                    "study_table",
                    "study_robustness",
                    "study_comparisons",
                    "study_without_one",
                    "study_seed_tests",
                    "study_rank_stability",
                    "study_recommendation",
                    "study_regrets",
                    "study_choices",
                ],
                name="tabulate_study",
            ),
            node(
                read_pictures,
                ["study_readout", "tracking_store"],
                "study_thumbnails",
                name="read_study_pictures",
            ),
            node(
                draw,
                ["study_readout", "study_thumbnails"],
                ["study_heatmap", "study_slopes", "study_disagreement"],
                name="draw_study",
            ),
            node(
                report,
                ["study_readout", "study_thumbnails", "params:study"],
                ["study_page", "study_summary"],
                name="report_study",
            ),
        ]
    )
