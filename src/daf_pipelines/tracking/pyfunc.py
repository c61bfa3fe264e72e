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


class DetectorModel(PythonModel):
    """A detector as a pyfunc.

    Input: a table with the column ``image``: encoded image files (PNG, JPEG, TIFF, ...), bytes.
    Output: a table with ``score``, ``label`` (1 anomalous, 0 normal) and ``threshold``; with the
    parameter ``anomaly_map: true`` also the map of the image at working size, without padding, as
    nested lists ``(h, w)``.
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
        return pd.concat([self._predict(c, with_maps) for c in chunks], ignore_index=True)

    def _predict(self, images: list[bytes], with_maps: bool) -> pd.DataFrame:
        prepared = [self.detector.prepare(bytes(image)) for image in images]
        squares, boxes = zip(*prepared, strict=True)
        scores, maps = self.detector.score_batch(np.stack(squares), boxes)
        table = pd.DataFrame(
            {
                "score": scores.astype(float),
                "label": self.detector.labels(scores),
                "threshold": self.detector.threshold,
            }
        )
        if with_maps:
            table["anomaly_map"] = [m.astype(float).tolist() for m in contents(maps, boxes)]
        return table


mlflow.models.set_model(DetectorModel())
