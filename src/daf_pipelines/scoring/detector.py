"""The detector: one inference path for evaluation, the registered model and new images."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from kornia.filters import gaussian_blur2d
from numpy.typing import NDArray
from torch import Tensor

from daf_pipelines.models import DAF
from daf_pipelines.models.storage import load_folder, save_folder
from daf_pipelines.parameters import ModelParams, Resize, ScoringParams
from daf_pipelines.sources.images import Box, content_box, fit_image, read_image

REFERENCE_SIZE = 256


class Prediction(NamedTuple):
    """Scores of N images: ``scores`` ``(N,)`` and ``maps`` ``(N, H, W)``, float32.

    Maps are NaN in the padding, which is no part of an image: whoever reads them takes the
    :func:`~daf_pipelines.sources.images.contents` of the boxes.
    """

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
        resize: how images become square; as in training.
    """

    def __init__(
        self,
        model: DAF,
        scoring: ScoringParams,
        image_size: int,
        threshold: float = float("inf"),
        heat_range: tuple[float, float] = (0.0, 1.0),
        metadata: dict[str, Any] | None = None,
        resize: Resize = "square",
    ) -> None:
        self.model = model.eval()
        self.scoring = scoring
        self.image_size = image_size
        self.threshold = threshold
        self.heat_range = heat_range
        self.metadata = metadata or {}
        self.resize: Resize = resize

    def prepare(self, image: Path | bytes | NDArray[np.uint8]) -> tuple[NDArray[np.uint8], Box]:
        """An image of any size, encoded in any mode or read as RGB, at working size.

        Returns:
            The square ``(H, W, 3)``, and where in it the image lies.

        Raises:
            DataError: it cannot be read.
        """
        pixels = image if isinstance(image, np.ndarray) else read_image(image)
        height, width = pixels.shape[:2]
        box = content_box(width, height, self.image_size, self.resize)
        return fit_image(pixels, self.image_size, self.resize), box

    def score(
        self,
        images: NDArray[np.uint8],
        boxes: Sequence[Box] | None = None,
        batch_size: int = 16,
    ) -> Prediction:
        """Score prepared images ``(N, H, W, 3)``; N may be 0.

        Args:
            images: as :meth:`prepare` gives them.
            boxes: where the images lie in their squares; None: they fill them.
            batch_size: images scored at once.
        """
        if not len(images):
            return Prediction(np.empty(0, np.float32), np.empty(images.shape[:3], np.float32))
        chunks = [slice(i, i + batch_size) for i in range(0, len(images), batch_size)]
        parts = [self.score_batch(images[c], None if boxes is None else boxes[c]) for c in chunks]
        scores, maps = zip(*parts, strict=True)
        return Prediction(np.concatenate(scores), np.concatenate(maps))

    @torch.inference_mode()
    def score_batch(
        self, images: NDArray[np.uint8], boxes: Sequence[Box] | None = None
    ) -> Prediction:
        """Score one batch of prepared images ``(B, H, W, 3)``; arguments as in :meth:`score`."""
        device = self.model.teacher.mean.device
        tensor = torch.from_numpy(np.array(images)).to(device)  # a copy: they may be read-only
        maps = self.anomaly_maps(tensor.permute(0, 3, 1, 2).float() / 255, boxes)
        scores = image_scores(maps, self.scoring, boxes)
        return Prediction(scores.cpu().numpy(), maps[:, 0].cpu().numpy())

    def anomaly_maps(self, images: Tensor, boxes: Sequence[Box] | None = None) -> Tensor:
        """Anomaly maps ``(B, 1, H, W)`` of images ``(B, 3, H, W)`` in [0, 1]."""
        discrepancy, probability = self.model(images)
        return self.combine(discrepancy, probability, boxes)

    def combine(
        self, discrepancy: Tensor, probability: Tensor, boxes: Sequence[Box] | None = None
    ) -> Tensor:
        """Anomaly maps ``(B, 1, H, W)`` from the model's two outputs of that shape.

        The discrepancy plus the weighted segmentation probability, Gaussian-blurred (DAF: weight
        3, sigma 4 at 256 px). An image is blurred as if there were no padding; there is NaN in it.
        """
        maps: Tensor = discrepancy + self.scoring.segmentation_weight * probability
        sigma = self.scoring.blur_sigma * maps.shape[-1] / REFERENCE_SIZE
        blurred = torch.full_like(maps, torch.nan)
        for chosen, (top, left, bottom, right) in _by_box(maps, boxes):
            content = maps[chosen, :, top:bottom, left:right]
            blurred[chosen, :, top:bottom, left:right] = _blur(content, sigma)
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
            "resize": self.resize,
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
            config.get("resize", "square"),  # the only way when earlier detectors were saved
        )


def image_scores(
    maps: Tensor, scoring: ScoringParams, boxes: Sequence[Box] | None = None
) -> Tensor:
    """Mean of the largest pixels of each map ``(B, 1, H, W)`` (DAF: 50 at 256 px): ``(B,)``.

    Of an image with padding as many fewer as it is smaller than its square.
    """
    scores = maps.new_empty(len(maps))
    share = scoring.top_pixels / REFERENCE_SIZE**2
    for chosen, (top, left, bottom, right) in _by_box(maps, boxes):
        pixels = maps[chosen, :, top:bottom, left:right].flatten(1)
        count = min(max(1, round(share * pixels.shape[1])), pixels.shape[1])
        scores[chosen] = pixels.topk(count, dim=1).values.mean(dim=1)
    return scores


def _by_box(maps: Tensor, boxes: Sequence[Box] | None) -> Iterator[tuple[list[int], Box]]:
    """The distinct boxes, each with the positions of its images; None: all fill the maps."""
    whole = (0, 0, maps.shape[-2], maps.shape[-1])
    of_images = [whole] * len(maps) if boxes is None else list(boxes)
    if len(of_images) != len(maps):
        raise ValueError(f"boxes: expected one per image, {len(maps)}; got {len(of_images)}.")
    for box in sorted(set(of_images)):
        yield [i for i, other in enumerate(of_images) if other == box], box


def _blur(maps: Tensor, sigma: float) -> Tensor:
    """Gaussian blur, mirrored at the border; as far as there is something to mirror."""
    if sigma == 0:
        return maps
    height, width = (2 * min(int(4 * sigma + 0.5), side - 1) + 1 for side in maps.shape[-2:])
    blurred: Tensor = gaussian_blur2d(maps, (height, width), (sigma, sigma))
    return blurred
