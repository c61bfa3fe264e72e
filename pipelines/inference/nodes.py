"""Nodes of the inference pipeline."""

from pathlib import Path

import pandas as pd

from daf_pipelines.locks import locked
from daf_pipelines.parameters import InferenceParams
from daf_pipelines.scoring.detector import Detector
from daf_pipelines.scoring.inference import list_images, predict_files


def predict(detector: Detector, inference: InferenceParams, folder: Path) -> pd.DataFrame:
    """Score, label and heatmap of each image; unreadable files are named in the table."""
    paths = list_images(inference)
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder / "inference.lock", "Inference"):
        return predict_files(detector, paths, folder, inference.batch_size)
