"""Evaluated runs that were never trained: scores, counts, curves and pictures at random."""

import io
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from PIL import Image
from sklearn.metrics import (
    average_precision_score,
    precision_recall_curve,
    roc_auc_score,
    roc_curve,
)

from daf_pipelines.comparison import EvaluatedRun
from daf_pipelines.metrics import count_pixels

SIDE = 32
START = datetime(2026, 1, 1, tzinfo=UTC)


def encoded(picture: np.ndarray, kind: str) -> bytes:
    data = io.BytesIO()
    Image.fromarray(picture).save(data, kind)
    return data.getvalue()


def make_images(count: int = 40, anomalous: int = 16, side: int = SIDE) -> dict[str, Any]:
    """Made-up test images: paths, labels, how hard they are, pictures and masks."""
    rng = np.random.default_rng(7)
    labels = (np.arange(count) < anomalous).astype(int)
    pictures = rng.integers(90, 130, (count, side, side, 3), dtype=np.uint8)
    masks = np.zeros((count, side, side), np.uint8)
    for k in range(anomalous):
        y, x = rng.integers(2, side - 10, 2)
        masks[k, y : y + 7, x : x + 5] = 1
        pictures[k][masks[k] == 1] = 220
    return {
        "paths": [f"test/{k:03}.png" for k in range(count)],
        "labels": labels,
        "hardness": rng.normal(size=count),
        "pictures": pictures,
        "masks": masks,
    }


def make_run(
    number: int,
    images: dict[str, Any],
    *,
    quality: float = 1.0,
    rows: np.ndarray | None = None,
    strategy: str = "draem",
    seed: int = 0,
    category: str = "mono",
    **changes: Any,
) -> EvaluatedRun:
    """A run whose scores tell the classes apart the better, the higher its quality."""
    rng = np.random.default_rng([number, 3])
    kept = np.arange(len(images["paths"])) if rows is None else rows
    labels, masks = images["labels"][kept], images["masks"][kept]
    raw = images["hardness"][kept] + quality * labels + rng.normal(scale=0.3, size=len(kept))
    noise = rng.normal(size=masks.shape).astype(np.float32)
    maps = noise + np.float32(quality) * masks
    u = raw - 0.5
    facts = {
        "run_id": f"{number:x}".rjust(32, "abcdef0123456789abcdef0123456789"[number % 16]),
        "name": f"{strategy}-seed{seed}-elpv-{category}",
        "started": START + timedelta(hours=number),
        "tags": {
            "dataset": "elpv",
            "category": category,
            "strategy": strategy,
            "method": "daf",
            "experiment": f"{number:016x}",
        },
        "parameters": {
            "seed": str(seed),
            "dataset.category": category,
            "synthesis.strategy": strategy,
        },
        "metrics": {
            "image_auroc": float(roc_auc_score(labels, raw)),
            "image_ap": float(average_precision_score(labels, raw)),
            "pixel_auroc": float(roc_auc_score(masks.ravel(), maps.ravel())),
            "train_seconds": 180.0 + number,
            "latency_ms": 41.5,
            "model_mib": 63.2,
            "n_test_normal": float((labels == 0).sum()),
        },
        "intervals": {"image_auroc": (0.5, 0.9)},
        "scores": pd.DataFrame(
            {
                "path": [images["paths"][k] for k in kept],
                "label": labels,
                "score": (1 + u / (1 + np.abs(u))) / 2,
                "raw_score": raw,
                "group": np.full(len(kept), np.nan, object),
            }
        ),
        "pixel_counts": count_pixels(maps, masks, 200),
        "curves": curves(labels, raw, masks.ravel(), maps.ravel()),
        "thumbnails": pd.DataFrame(
            {
                "path": [images["paths"][k] for k in kept],
                "label": labels,
                "defect_type": np.where(labels == 1, "crack", "good"),
                "image": [encoded(images["pictures"][k], "jpeg") for k in kept],
                "heat": [encoded(heat(m), "png") for m in maps],
                "mask": [encoded(255 * m, "png") if m.any() else None for m in masks],
            }
        ),
    }
    return EvaluatedRun(**(facts | changes))


def heat(anomaly_map: np.ndarray) -> np.ndarray:
    return (255 * np.clip(anomaly_map / 4, 0, 1)).astype(np.uint8)


def curves(
    labels: np.ndarray, scores: np.ndarray, masks: np.ndarray, maps: np.ndarray
) -> dict[str, pd.DataFrame]:
    found = {}
    for level, truth, values in (("image", labels, scores), ("pixel", masks, maps)):
        fpr, tpr, _ = roc_curve(truth, values)
        precision, recall, _ = precision_recall_curve(truth, values)
        step = len(recall) // 1000 + 1
        found[f"{level}_roc"] = pd.DataFrame(
            {"false_positive_rate": fpr, "true_positive_rate": tpr}
        )
        found[f"{level}_precision_recall"] = pd.DataFrame(
            {"recall": recall[::step], "precision": precision[::step]}
        )
    found["pro"] = found["pixel_roc"].set_axis(
        ["false_positive_rate", "per_region_overlap"], axis="columns"
    )
    return found


def record(client: MlflowClient, experiment: str, run: EvaluatedRun, folder: Path) -> str:
    """Log a run as the evaluation does; its id in the store, which chooses it."""
    started = int(run.started.timestamp() * 1000)
    info = client.create_run(experiment, start_time=started, run_name=run.name).info
    client.log_batch(
        info.run_id,
        [Metric(k, v, started, 0) for k, v in run.metrics.items() if v is not None],
        [Param(k, v) for k, v in run.parameters.items()],
        [RunTag(k, v) for k, v in run.tags.items()],
    )
    write_artifacts(run, folder / "evaluation")
    client.log_artifacts(info.run_id, str(folder / "evaluation"), "evaluation")
    client.set_terminated(info.run_id, "FINISHED")
    return str(info.run_id)


def write_artifacts(run: EvaluatedRun, folder: Path) -> None:
    folder.mkdir(parents=True)
    facts = {
        **run.metrics,
        "intervals": {k: list(v) for k, v in run.intervals.items()},
        "not_available": dict(run.reasons),
    }
    (folder / "metrics.json").write_text(json.dumps(facts))
    if run.scores is not None:
        run.scores.assign(defect_type="crack").to_csv(folder / "image_scores.csv", index=False)
    if run.pixel_counts is not None:
        np.savez_compressed(folder / "pixel_counts.npz", **vars(run.pixel_counts))
    if run.thumbnails is not None:
        run.thumbnails.to_parquet(folder / "thumbnails.parquet", index=False)
    for name, curve in run.curves.items():
        curve.to_csv(folder / f"{name}.csv", index=False)
