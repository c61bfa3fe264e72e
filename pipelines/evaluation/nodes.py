"""Nodes of the evaluation pipeline."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from daf_pipelines.metrics.summary import evaluate, per_defect_type
from daf_pipelines.models.trained import TrainedModel
from daf_pipelines.parameters import (
    DatasetParams,
    EvaluationParams,
    ScoringParams,
    ThresholdParams,
    fingerprint,
)
from daf_pipelines.reporting import figures, plots
from daf_pipelines.resources import peak_rss_mib
from daf_pipelines.scoring.calibration import calibrate
from daf_pipelines.scoring.detector import Detector
from daf_pipelines.sources.image_set import ImageSet, check_dataset
from daf_pipelines.sources.images import contents
from daf_pipelines.training.experiment import check_model


def make_detector(
    trained_model: TrainedModel,
    calibration_images: ImageSet,
    synthetic_validation: ImageSet,
    scoring: ScoringParams,
    threshold: ThresholdParams,
) -> tuple[Detector, pd.DataFrame]:
    """The detector with its threshold, set on held-out normals and synthetic outliers."""
    check_model(trained_model.identity, calibration_images)
    facts = {
        "identity": trained_model.identity,
        "train_seconds": trained_model.train_seconds,
        "peak_rss_mib": trained_model.peak_rss_mib,
        "threshold": threshold.model_dump(mode="json"),
    }
    dataset = trained_model.identity["dataset"]
    detector = Detector(
        trained_model.model,
        scoring,
        dataset["image_size"],
        metadata=facts,
        resize=dataset.get("resize", "square"),
    )
    scores = calibrate(detector, calibration_images, synthetic_validation, threshold)
    return detector, scores


def score_test_images(
    detector: Detector, test_images: ImageSet, dataset: DatasetParams, seed: int
) -> tuple[pd.DataFrame, NDArray[np.float32]]:
    """Scores, labels and anomaly maps of the test split."""
    check_dataset(test_images, dataset, seed)
    check_model(detector.metadata["identity"], test_images)
    prediction = detector.score(test_images.images, test_images.boxes)
    table = test_images.table[["path", "label", "defect_type"]].assign(
        score=prediction.scores, predicted=detector.labels(prediction.scores)
    )
    return table, prediction.maps


def compute_metrics(
    image_scores: pd.DataFrame,
    anomaly_maps: NDArray[np.float32],
    test_images: ImageSet,
    detector: Detector,
    dataset_summary: dict[str, Any],
    evaluation: EvaluationParams,
) -> tuple[dict[str, Any], pd.DataFrame]:
    """Metrics of the test split, and the same by defect type."""
    scores, labels = image_scores["score"].to_numpy(), image_scores["label"].to_numpy(int)
    facts = detector.metadata
    localised = evaluation.localisation_metrics
    if localised is None:
        localised = not dataset_summary["coarse_masks"]
    maps = contents(anomaly_maps, test_images.boxes)
    metrics = evaluate(scores, labels, maps, _masks(test_images), localised=localised) | {
        "threshold": detector.threshold,
        "n_mistakes": int((image_scores["predicted"] != image_scores["label"]).sum()),
        "n_excluded": sum(dataset_summary["images"].get("excluded", {}).values()),
        "train_seconds": facts["train_seconds"],
        "peak_rss_mib": max(facts["peak_rss_mib"], peak_rss_mib()),
        "experiment": fingerprint(facts["identity"]),
    }
    return metrics, per_defect_type(scores, labels, image_scores["defect_type"])


def draw(
    image_scores: pd.DataFrame,
    anomaly_maps: NDArray[np.float32],
    test_images: ImageSet,
    detector: Detector,
) -> tuple[Figure, Figure, Figure, Figure, Figure]:
    """Score histogram, ROC, precision-recall, detections, and a sheet with the mistakes first."""
    scores, labels = image_scores["score"].to_numpy(), image_scores["label"].to_numpy(int)
    sheet, detections = (
        picture(
            contents(test_images.images, test_images.boxes),
            contents(anomaly_maps, test_images.boxes),
            scores,
            labels,
            detector.threshold,
            masks=_masks(test_images),
            defect_types=image_scores["defect_type"].tolist(),
        )
        for picture in (figures.heatmap_sheet, figures.detections_figure)
    )
    return (
        plots.score_histogram(scores, labels, detector.threshold),
        plots.roc_curve_figure(scores, labels),
        plots.precision_recall_figure(scores, labels),
        detections,
        sheet,
    )


def _masks(images: ImageSet) -> list[NDArray[np.uint8]] | None:
    return None if images.masks is None else contents(images.masks, images.boxes)
