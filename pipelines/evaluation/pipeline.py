"""The threshold, set without the test split; then the test split: scores, metrics, pictures."""

from kedro.pipeline import Pipeline, node

from daf_pipelines.pipelines.evaluation.nodes import (
    compute_metrics,
    draw,
    make_detector,
    score_test_images,
)


def create_pipeline(**_: object) -> Pipeline:
    """Wire the pipeline."""
    return Pipeline(
        [
            node(
                make_detector,
                [
                    "trained_model",
                    "calibration_images",
                    "synthetic_validation",
                    "params:scoring",
                    "params:threshold",
                ],
                ["detector", "calibration_scores"],
                name="make_detector",
            ),
            node(
                score_test_images,
                ["detector", "test_images", "params:dataset", "params:seed"],
                ["image_scores", "anomaly_maps"],
                name="score_test_images",
            ),
            node(
                compute_metrics,
                [
                    "image_scores",
                    "anomaly_maps",
                    "test_images",
                    "detector",
                    "dataset_summary",
                    "params:evaluation",
                ],
                ["metrics", "defect_type_metrics"],
                name="compute_metrics",
            ),
            node(
                draw,
                ["image_scores", "anomaly_maps", "test_images", "detector"],
                [
                    "score_histogram_figure",
                    "roc_figure",
                    "precision_recall_figure",
                    "detections_figure",
                    "test_images_figure",
                ],
                name="draw_results",
            ),
        ]
    )
