"""The detector: one inference path for evaluation, the registered model and new images."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from kornia.filters import gaussian_blur2d
from numpy.typing import NDArray
from torch import Tensor

from daf_pipelines.models import DAF
from daf_pipelines.models.storage import load_folder, save_folder
from daf_pipelines.parameters import ModelParams, ScoringParams
from daf_pipelines.sources.images import read_image, resize_image

REFERENCE_SIZE = 256


class Prediction(NamedTuple):
    """Scores of N images: ``scores`` ``(N,)`` and ``maps`` ``(N, H, W)``, float32."""

    scores: NDArray[np.float32]
    maps: NDArray[np.float32]


class Detector:
    """A trained model with its preprocessing, scoring and threshold.

    Args:
        model: the trained networks.
        scoring: from model outputs to maps and scores.
        image_size: side of the square images that the model was trained on, pixels.
        threshold: an image whose score is above it is anomalous.
        heat_range: map values at which a heatmap begins to show and is brightest; one range for
            all images, so that heatmaps compare.
        metadata: JSON-serialisable facts that travel with the detector: dataset, strategy, seed.
    """

    def __init__(
        self,
        model: DAF,
        scoring: ScoringParams,
        image_size: int,
        threshold: float = float("inf"),
        heat_range: tuple[float, float] = (0.0, 1.0),
        metadata: dict[str, Any] | None = None,
    ) -> None:
        self.model = model.eval()
        self.scoring = scoring
        self.image_size = image_size
        self.threshold = threshold
        self.heat_range = heat_range
        self.metadata = metadata or {}

    def prepare(self, image: Path | bytes) -> NDArray[np.uint8]:
        """Read an encoded image, of any size and mode, as ``(H, W, 3)`` at working size.

        Raises:
            DataError: it cannot be read.
        """
        return resize_image(read_image(image), self.image_size)

    def score(self, images: NDArray[np.uint8], batch_size: int = 16) -> Prediction:
        """Score prepared images ``(N, H, W, 3)``; N may be 0."""
        if not len(images):
            return Prediction(np.empty(0, np.float32), np.empty(images.shape[:3], np.float32))
        parts = [
            self.score_batch(images[i : i + batch_size]) for i in range(0, len(images), batch_size)
        ]
        scores, maps = zip(*parts, strict=True)
        return Prediction(np.concatenate(scores), np.concatenate(maps))

    @torch.inference_mode()
    def score_batch(self, images: NDArray[np.uint8]) -> Prediction:
        """Score one batch of prepared images ``(B, H, W, 3)``."""
        device = self.model.teacher.mean.device
        tensor = torch.from_numpy(np.array(images)).to(device)  # a copy: they may be read-only
        maps = self.anomaly_maps(tensor.permute(0, 3, 1, 2).float() / 255)
        scores = image_scores(maps, self.scoring)
        return Prediction(scores.cpu().numpy(), maps[:, 0].cpu().numpy())

    def anomaly_maps(self, images: Tensor) -> Tensor:
        """Anomaly maps ``(B, 1, H, W)`` of images ``(B, 3, H, W)`` in [0, 1]."""
        return self.combine(*self.model(images))

    def combine(self, discrepancy: Tensor, probability: Tensor) -> Tensor:
        """Anomaly maps ``(B, 1, H, W)`` from the model's two outputs of that shape.

        The discrepancy plus the weighted segmentation probability, Gaussian-blurred (DAF: weight
        3, sigma 4 at 256 px).
        """
        maps: Tensor = discrepancy + self.scoring.segmentation_weight * probability
        sigma = self.scoring.blur_sigma * maps.shape[-1] / REFERENCE_SIZE
        if sigma == 0:
            return maps
        taps = 2 * int(4 * sigma + 0.5) + 1
        blurred: Tensor = gaussian_blur2d(maps, (taps, taps), (sigma, sigma))
        return blurred

    def labels(self, scores: Sequence[float] | NDArray[np.float32]) -> NDArray[np.int64]:
        """1 (anomalous) where a score is above the threshold, else 0."""
        return (np.asarray(scores) > self.threshold).astype(np.int64)

    def save(self, folder: Path) -> None:
        """Write ``folder`` in one step: weights as safetensors, everything else as JSON."""
        config = {
            "model": self.model.params.model_dump(mode="json"),
            "scoring": self.scoring.model_dump(mode="json"),
            "image_size": self.image_size,
            "threshold": self.threshold,
            "heat_range": self.heat_range,
            "metadata": self.metadata,
        }
        save_folder(folder, self.model.state_dict(), config)

    @classmethod
    def load(cls, folder: Path) -> "Detector":
        """Read a saved detector; needs neither the teacher's weights nor a network."""
        weights, config = load_folder(folder)
        model = DAF(ModelParams.model_validate(config["model"]))
        model.load_state_dict(weights)
        return cls(
            model,
            ScoringParams.model_validate(config["scoring"]),
            config["image_size"],
            config["threshold"],
            tuple(config["heat_range"]),
            config["metadata"],
        )


def image_scores(maps: Tensor, scoring: ScoringParams) -> Tensor:
    """Mean of the largest pixels of each map ``(B, 1, H, W)`` (DAF: 50 at 256 px): ``(B,)``."""
    pixels = maps.flatten(1)
    share = scoring.top_pixels / REFERENCE_SIZE**2
    count = min(max(1, round(share * pixels.shape[1])), pixels.shape[1])
    return pixels.topk(count, dim=1).values.mean(dim=1)
