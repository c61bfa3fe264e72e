"""Nodes of the evaluation pipeline."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from daf_pipelines.errors import StaleArtifactError
from daf_pipelines.methods import DAF_METHOD, method_of, strategy_of
from daf_pipelines.metrics import image_auroc
from daf_pipelines.metrics.decisions import ORACLE, find_regions, image_decisions, pixel_decisions
from daf_pipelines.metrics.summary import CURVES, NO_DEFECTS, evaluate
from daf_pipelines.models.network import Network
from daf_pipelines.models.trained import TrainedModel
from daf_pipelines.parameters import (
    DatasetParams,
    EvaluationParams,
    ScoringParams,
    ThresholdParams,
    fingerprint,
)
from daf_pipelines.reporting import figures
from daf_pipelines.reporting.evaluation import Evaluation
from daf_pipelines.reporting.report import report_page
from daf_pipelines.reporting.reproduction import experiment_parameters
from daf_pipelines.reporting.thumbnails import thumbnails
from daf_pipelines.resources import git_commit, machine, peak_rss_mib
from daf_pipelines.scoring.calibration import calibrate, require_finite
from daf_pipelines.scoring.detector import HEAT_TO, Detector
from daf_pipelines.scoring.footprint import footprint
from daf_pipelines.scoring.scale import DECISION
from daf_pipelines.sources.image_set import ImageSet, check_dataset
from daf_pipelines.sources.images import contents
from daf_pipelines.training.experiment import check_model

REPRODUCE = "# with the parameters above as conf/local/parameters.yml"
WITHOUT = {
    "false_positive_rate": "there are no normal test images",
    "recall": NO_DEFECTS,
}
NO_COUNTS: dict[str, NDArray[Any]] = {}


def make_detector(
    trained_model: TrainedModel[Network],
    calibration_images: ImageSet,
    synthetic_validation: ImageSet,
    scoring: ScoringParams,
    threshold: ThresholdParams,
) -> tuple[Detector, pd.DataFrame]:
    """The detector with its thresholds, set on held-out normals and synthetic outliers."""
    check_model(trained_model.identity, calibration_images)
    facts = {
        "identity": trained_model.identity,
        "train_seconds": trained_model.train_seconds,
        "peak_rss_mib": trained_model.peak_rss_mib,
        "threshold": threshold.model_dump(mode="json"),
        "outliers": {
            name: value
            for name, value in synthetic_validation.dataset.items()
            if name not in calibration_images.dataset
        },
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
    require_finite(prediction.scores, "test")
    maps = contents(prediction.maps, test_images.boxes)
    table = test_images.table[["path", "label", "defect_type", "group"]].assign(
        score=detector.image(prediction.scores),
        raw_score=prediction.scores,
        predicted=detector.image.labels(prediction.scores),
        anomalous_area=np.array([detector.pixel.labels(pixels).mean() for pixels in maps]),
    )
    return table, prediction.maps


def compute_metrics(
    image_scores: pd.DataFrame,
    calibration_scores: pd.DataFrame,
    anomaly_maps: NDArray[np.float32],
    test_images: ImageSet,
    detector: Detector,
    dataset_summary: dict[str, Any],
    evaluation: EvaluationParams,
) -> dict[str, Any]:
    """Metrics of the test split, by defect type, their curves, and what the thresholds give."""
    scores, labels = image_scores["raw_score"].to_numpy(), image_scores["label"].to_numpy(int)
    localised = evaluation.localisation_metrics
    if localised is None:
        localised = not dataset_summary["coarse_masks"]
    maps, masks = contents(anomaly_maps, test_images.boxes), _masks(test_images)
    types = image_scores["defect_type"].tolist()
    found = evaluate(
        *(scores, labels, types, maps, masks),
        groups=image_scores["group"].tolist(),
        localised=localised,
        replicates=evaluation.replicates,
    )
    trusted = masks if localised else None
    of_images, of_pixels = (
        detector.thresholds[level] | ({ORACLE: found.best[level]} if level in found.best else {})
        for level in ("image", "pixel")
    )
    tables = {
        "image": image_decisions(scores, labels, of_images),
        "pixel": pixel_decisions(maps, trusted, labels, of_pixels),
    }
    thresholds = _describe_thresholds(tables, detector)
    counts = found.pixel_counts
    return {
        "metrics": _metrics(found.metrics, detector, thresholds, image_scores, dataset_summary)
        | _of_outliers(calibration_scores, detector),
        "defect_type_metrics": found.defect_types,
        "threshold_metrics": thresholds,
        "region_metrics": find_regions(
            maps, trusted, image_scores["path"].tolist(), types, detector.pixel.threshold
        ),
        "pixel_counts": NO_COUNTS if counts is None else vars(counts),
        **{f"{name}_curve": found.curves[name] for name in CURVES},
    }


def _describe_thresholds(tables: dict[str, pd.DataFrame], detector: Detector) -> pd.DataFrame:
    """Both levels in one table, with the rule in use and the calibrated scores."""
    parts = []
    for level, table in tables.items():
        scale = detector.image if level == "image" else detector.pixel
        in_use = detector.metadata["threshold"][level]["rule"]
        columns = {"in_use": table["rule"] == in_use, "score": scale(table["threshold"])}
        promised = detector.promised.get(level, np.nan)
        columns["promised"] = np.where(table["rule"] == "normals", promised, np.nan)
        parts.append(table.assign(level=level, **columns))
    first = ["level", "rule", "in_use", "threshold", "score"]
    table = pd.concat(parts, ignore_index=True)
    return table[[*first, *(name for name in table.columns if name not in first)]]


def _metrics(
    measured: dict[str, Any],
    detector: Detector,
    thresholds: pd.DataFrame,
    image_scores: pd.DataFrame,
    dataset_summary: dict[str, Any],
) -> dict[str, Any]:
    """The metrics, and what goes with them: errors at the threshold, costs, the test split."""
    facts = detector.metadata
    in_use = thresholds[thresholds["in_use"] & thresholds["level"].eq("image")].iloc[0]
    rates = {name: float(in_use[name]) for name in WITHOUT}
    absent = {name: WITHOUT[name] for name, rate in rates.items() if np.isnan(rate)}
    return measured | {
        "not_available": measured["not_available"] | absent,
        "image_threshold": detector.image.threshold,
        "pixel_threshold": detector.pixel.threshold,
        **{name: None if np.isnan(rate) else rate for name, rate in rates.items()},
        "n_mistakes": int((image_scores["predicted"] != image_scores["label"]).sum()),
        "n_excluded": sum(dataset_summary["images"].get("excluded", {}).values()),
        "train_seconds": facts["train_seconds"],
        "peak_rss_mib": max(facts["peak_rss_mib"], peak_rss_mib()),
        **footprint(detector),
        "experiment": fingerprint(facts["identity"]),
        "split": dataset_summary["split"] | {"data_hash": dataset_summary["data_hash"]},
    }


def _of_outliers(scores: pd.DataFrame, detector: Detector) -> dict[str, float]:
    """How the synthetic validation set is told from the normals that it was made from.

    All that there is to measure without a defect. Its strategy is that of the training, where the
    method learns from outliers.
    """
    raw, labels = scores["raw_score"].to_numpy(), scores["label"].to_numpy(int)
    return {
        "synthetic_image_auroc": image_auroc(raw, labels),
        "synthetic_recall": float(np.mean(detector.image.labels(raw[labels == 1]))),
    }


def draw(
    image_scores: pd.DataFrame,
    anomaly_maps: NDArray[np.float32],
    test_images: ImageSet,
    detector: Detector,
) -> tuple[Figure, pd.DataFrame]:
    """Detections, and thumbnails of all test images with their heat."""
    images = contents(test_images.images, test_images.boxes)
    maps, masks = contents(anomaly_maps, test_images.boxes), _masks(test_images)
    detections = figures.detections_figure(
        images,
        maps,
        image_scores["score"].to_numpy(),
        image_scores["label"].to_numpy(int),
        DECISION,
        masks=masks,
        defect_types=image_scores["defect_type"].tolist(),
    )
    return detections, thumbnails(image_scores, images, maps, masks, detector.heat)


def report(
    metrics: dict[str, Any],
    defect_types: pd.DataFrame,
    thresholds: pd.DataFrame,
    regions: pd.DataFrame,
    image_scores: pd.DataFrame,
    calibration_scores: pd.DataFrame,
    anomaly_maps: NDArray[np.float32],
    test_images: ImageSet,
    detector: Detector,
    dataset_summary: dict[str, Any],
    evaluation: EvaluationParams,
    **curves: pd.DataFrame,
) -> str:
    """The report, a web page."""
    facts = detector.metadata
    if "outliers" not in facts:
        raise StaleArtifactError(
            "The detector is from an earlier version, and does not tell what its thresholds were "
            "set on. Run kedro run --pipelines evaluation."
        )
    identity = facts["identity"]
    dataset, is_daf = identity["dataset"], method_of(identity) == DAF_METHOD
    parameters = experiment_parameters(
        identity, detector.scoring, facts["threshold"], facts["outliers"]
    )
    parameters["evaluation"] = evaluation.model_dump(mode="json")
    return report_page(
        Evaluation(
            title=f"{dataset_summary['source']} {dataset_summary['category']}: {_name(identity)}",
            metrics=metrics,
            defect_types=defect_types,
            thresholds=thresholds,
            curves=curves,
            image_scores=image_scores,
            calibration_scores=calibration_scores,
            regions=regions,
            images=contents(test_images.images, test_images.boxes),
            maps=contents(anomaly_maps, test_images.boxes),
            masks=_masks(test_images),
            heat_of=detector.heat,
            heat_range=(detector.heat_from, HEAT_TO),
            facts={
                "dataset": {
                    "source": dataset_summary["source"],
                    "category": dataset_summary["category"],
                    "root": dataset["root"] or "the source's package",
                    "working size": f"{dataset['image_size']} px, {dataset['resize']}",
                    "coarse masks": dataset_summary["coarse_masks"],
                    "images kept apart": metrics["n_excluded"],
                },
                "detector": {
                    "method": method_of(identity),
                    **_parts(identity),
                    "seed": dataset["seed"],
                    "git commit": git_commit(Path.cwd()),
                },
                "machine": machine(),
            },
            parameters=parameters,
            commands=(REPRODUCE, "kedro run" if is_daf else "kedro run --pipelines baseline"),
        )
    )


def _name(identity: dict[str, Any]) -> str:
    """A detector's method and strategy."""
    strategy = strategy_of(identity)
    return method_of(identity) + (f", outliers of {strategy}" if strategy else "")


def _parts(identity: dict[str, Any]) -> dict[str, str]:
    """Strategy and backbones of a detector, where its method has them."""
    backbones = {
        role: part["backbone"]
        for role, part in identity.get("model", {}).items()
        if role in ("teacher", "student")
    }
    strategy = strategy_of(identity)
    return ({} if strategy is None else {"strategy": strategy}) | backbones


def _masks(images: ImageSet) -> list[NDArray[np.uint8]] | None:
    return None if images.masks is None else contents(images.masks, images.boxes)
