"""The detector: one inference path for evaluation, the registered model and new images."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from kornia.filters import gaussian_blur2d
from numpy.typing import NDArray
from torch import Tensor

from daf_pipelines.errors import DataError
from daf_pipelines.models.network import Baseline, Network, load_network
from daf_pipelines.models.storage import load_folder, save_folder
from daf_pipelines.parameters import Resize, ScoringParams
from daf_pipelines.scoring.scale import TYPICAL, Scale
from daf_pipelines.sources.images import Box, content_box, fit_image, read_image

REFERENCE_SIZE = 256
HEAT_TO = 0.95
"""Calibrated value at which a heatmap is brightest."""
SAVED = (
    "model",
    "scoring",
    "image_size",
    "resize",
    "image",
    "pixel",
    "thresholds",
    "promised",
    "heat_from",
    "metadata",
)


class Prediction(NamedTuple):
    """Raw scores of N images: ``scores`` ``(N,)`` and ``maps`` ``(N, H, W)``, float32.

    The detector's scales take them to [0, 1].

    Maps are NaN in the padding, which is no part of an image: whoever reads them takes the
    :func:`~daf_pipelines.sources.images.contents` of the boxes.
    """

    scores: NDArray[np.float32]
    maps: NDArray[np.float32]


class Detector:
    """A trained model with its preprocessing, scoring and thresholds.

    Args:
        model: the trained networks.
        scoring: from the outputs of DAF to maps and scores; other methods make them themselves.
        image_size: side of the square images that the model was trained on, pixels.
        image: scale of image scores, with their threshold.
        pixel: scale of anomaly maps, with the threshold of a pixel.
        thresholds: what each rule gives: level ("image", "pixel") -> rule -> raw threshold.
        promised: level -> share of good images with a false alarm that the rule "normals" promises
            at most, with the held-out images that there were.
        heat_from: calibrated value of maps at which a heatmap begins to show; it is brightest at
            ``HEAT_TO``. The same for all images, so that heatmaps compare.
        metadata: JSON-serialisable facts that travel with the detector: dataset, strategy, seed.
        resize: how images become square; as in training.
    """

    def __init__(
        self,
        model: Network,
        scoring: ScoringParams,
        image_size: int,
        image: Scale | None = None,
        pixel: Scale | None = None,
        thresholds: dict[str, dict[str, float]] | None = None,
        promised: dict[str, float] | None = None,
        heat_from: float = TYPICAL,
        metadata: dict[str, Any] | None = None,
        resize: Resize = "square",
    ) -> None:
        self.model = model.eval().to(memory_format=torch.channels_last)
        self.scoring = scoring
        self.image_size = image_size
        self.image = image or Scale()
        self.pixel = pixel or Scale()
        self.thresholds = thresholds or {}
        self.promised = promised or {}
        self.heat_from = heat_from
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
        scores = np.empty(len(images), np.float32)
        maps = np.empty(images.shape[:3], np.float32)
        for start in range(0, len(images), batch_size):
            chosen = slice(start, start + batch_size)
            scores[chosen], maps[chosen] = self.score_batch(
                images[chosen], None if boxes is None else boxes[chosen]
            )
        return Prediction(scores, maps)

    @torch.inference_mode()
    def score_batch(
        self, images: NDArray[np.uint8], boxes: Sequence[Box] | None = None
    ) -> Prediction:
        """Score one batch of prepared images ``(B, H, W, 3)``; arguments as in :meth:`score`."""
        inputs = self.inputs(images)
        if isinstance(self.model, Baseline):
            maps, scores = self.model(inputs)
        else:
            maps = self.anomaly_maps(inputs, boxes)
            scores = image_scores(maps, self.scoring, boxes)
        return Prediction(scores.cpu().numpy(), maps[:, 0].cpu().numpy())

    def inputs(self, images: NDArray[np.uint8]) -> Tensor:
        """Prepared images ``(B, H, W, 3)`` as the model takes them: ``(B, 3, H, W)`` in [0, 1]."""
        device = next(self.model.parameters()).device
        tensor = torch.from_numpy(np.array(images)).to(device)  # a copy: they may be read-only
        return tensor.permute(0, 3, 1, 2).float() / 255

    def anomaly_maps(self, images: Tensor, boxes: Sequence[Box] | None = None) -> Tensor:
        """Anomaly maps ``(B, 1, H, W)`` of DAF, of images ``(B, 3, H, W)`` in [0, 1]."""
        discrepancy, probability = self.model(images)
        return self.combine(discrepancy, probability, boxes)

    def combine(
        self, discrepancy: Tensor, probability: Tensor, boxes: Sequence[Box] | None = None
    ) -> Tensor:
        """Anomaly maps ``(B, 1, H, W)`` from the model's two outputs of that shape.

        The weighted sum of discrepancy and segmentation probability, Gaussian-blurred (DAF:
        weights 1 and 3, sigma 4 at 256 px). An image is blurred as if there were no padding; there
        is NaN in it.
        """
        maps: Tensor = (
            self.scoring.discrepancy_weight * discrepancy
            + self.scoring.segmentation_weight * probability
        )
        sigma = self.scoring.blur_sigma * maps.shape[-1] / REFERENCE_SIZE
        blurred = torch.full_like(maps, torch.nan)
        for chosen, (top, left, bottom, right) in _by_box(maps, boxes):
            content = maps[chosen, :, top:bottom, left:right]
            blurred[chosen, :, top:bottom, left:right] = _blur(content, sigma)
        return blurred

    def heat(self, maps: NDArray[np.float32]) -> NDArray[np.float32]:
        """How hot raw anomaly maps of any shape look: from 0, nothing to see, to 1, brightest."""
        heat = (self.pixel(maps) - self.heat_from) / (HEAT_TO - self.heat_from)
        return np.clip(heat, 0, 1).astype(np.float32)

    def judge(self, raw_score: np.float32, pixels: NDArray[np.float32]) -> dict[str, float | int]:
        """What is said of an image, from its raw score and its raw anomaly map ``(h, w)``."""
        return {
            "score": float(self.image(raw_score)),
            "label": int(self.image.labels(raw_score)),
            "anomalous_area": float(self.pixel.labels(pixels).mean()),
            "raw_score": float(raw_score),
        }

    def save(self, folder: Path) -> None:
        """Write ``folder`` in one step: weights as safetensors, everything else as JSON."""
        config = {
            "model": self.model.params.model_dump(mode="json"),
            "scoring": self.scoring.model_dump(mode="json"),
            "image_size": self.image_size,
            "resize": self.resize,
            "image": asdict(self.image),
            "pixel": asdict(self.pixel),
            "thresholds": self.thresholds,
            "promised": self.promised,
            "heat_from": self.heat_from,
            "metadata": self.metadata,
        }
        save_folder(folder, self.model.state_dict(), config)

    @classmethod
    def load(cls, folder: Path) -> "Detector":
        """Read a saved detector; needs neither the teacher's weights nor a network.

        Raises:
            DataError: the folder is missing, incomplete or of another version.
        """
        weights, config = load_folder(folder)
        missing = [name for name in SAVED if name not in config]
        if missing:
            raise DataError(
                f"The detector in {folder} was saved by another version of this project: "
                f"{', '.join(missing)} not found. Run kedro run --pipelines evaluation."
            )
        return cls(
            load_network(config["model"], weights),
            ScoringParams.model_validate(config["scoring"]),
            config["image_size"],
            Scale(**config["image"]),
            Scale(**config["pixel"]),
            config["thresholds"],
            config["promised"],
            config["heat_from"],
            config["metadata"],
            config["resize"],
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
