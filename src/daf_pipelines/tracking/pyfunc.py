"""The registered model: encoded images in, scores and labels out.

MLflow runs this file when it loads the model; the library travels beside it.
"""

from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from mlflow.pyfunc.model import PythonModel

from daf_pipelines.scoring.detector import Detector
from daf_pipelines.sources.images import contents

BATCH = 16
COLUMNS = ["score", "label", "anomalous_area", "raw_score"]


class DetectorModel(PythonModel):
    """A detector as a pyfunc.

    Input: a table with the column ``image``: encoded image files (PNG, JPEG, TIFF, ...), bytes.
    Output: a table with ``score`` (in [0, 1], anomalous above 0.5), ``label`` (1 anomalous, 0
    normal), ``anomalous_area`` (share of the image's pixels above their threshold) and
    ``raw_score``; with the parameter ``anomaly_map: true`` also the map of the image at working
    size, without padding, calibrated likewise, as nested lists ``(h, w)``.
    """

    def load_context(self, context: Any) -> None:
        """Read the detector from the model's artifacts."""
        self.detector = Detector.load(Path(context.artifacts["detector"]))

    def predict(
        self,
        context: Any,  # noqa: ARG002 - MLflow passes it by name
        model_input: pd.DataFrame,
        params: dict[str, Any] | None = None,
    ) -> pd.DataFrame:
        """Score each image."""
        images = model_input["image"].tolist()
        with_maps = bool((params or {}).get("anomaly_map"))
        chunks = [images[i : i + BATCH] for i in range(0, len(images), BATCH)]
        parts = [self._predict(chunk, with_maps) for chunk in chunks]
        return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=COLUMNS)

    def _predict(self, images: list[bytes], with_maps: bool) -> pd.DataFrame:
        prepared = [self.detector.prepare(bytes(image)) for image in images]
        squares, boxes = zip(*prepared, strict=True)
        raw_scores, maps = self.detector.score_batch(np.stack(squares), boxes)
        found = list(zip(raw_scores, contents(maps, boxes), strict=True))
        table = pd.DataFrame([self.detector.judge(score, pixels) for score, pixels in found])
        if with_maps:
            table["anomaly_map"] = [self.detector.pixel(pixels).tolist() for _, pixels in found]
        return table


mlflow.models.set_model(DetectorModel())
