"""The thresholds, set without the test split; then the test split: scores, metrics, report."""

from kedro.pipeline import Pipeline, node

from daf_pipelines.metrics.summary import CURVES
from daf_pipelines.pipelines.evaluation.nodes import (
    compute_metrics,
    draw,
    make_detector,
    report,
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
                    "calibration_scores",
                    "anomaly_maps",
                    "test_images",
                    "detector",
                    "dataset_summary",
                    "params:evaluation",
                ],
                {
                    name: name
                    for name in (
                        "metrics",
                        "defect_type_metrics",
                        "threshold_metrics",
                        "region_metrics",
                        "pixel_counts",
                        *(f"{curve}_curve" for curve in CURVES),
                    )
                },
                name="compute_metrics",
            ),
            node(
                draw,
                ["image_scores", "anomaly_maps", "test_images", "detector"],
                [
                    "detections_figure",
                    "thumbnails",
                ],
                name="draw_results",
            ),
            node(
                report,
                {
                    "metrics": "metrics",
                    "defect_types": "defect_type_metrics",
                    "thresholds": "threshold_metrics",
                    "regions": "region_metrics",
                    "image_scores": "image_scores",
                    "calibration_scores": "calibration_scores",
                    "anomaly_maps": "anomaly_maps",
                    "test_images": "test_images",
                    "detector": "detector",
                    "dataset_summary": "dataset_summary",
                    "evaluation": "params:evaluation",
                    **{curve: f"{curve}_curve" for curve in CURVES},
                },
                "evaluation_report",
                name="report_evaluation",
            ),
        ]
    )
