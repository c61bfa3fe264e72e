"""Training batches: normal images, their outliers and the teacher's view, by step."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from daf_pipelines.models import DAF
from daf_pipelines.models.discrepancy import TeacherFeatures
from daf_pipelines.parameters import SynthesisParams
from daf_pipelines.sources.images import Box
from daf_pipelines.synthesis import Sources, outlier_key, synthesise
from daf_pipelines.synthesis.configured import configured_strategy
from daf_pipelines.synthesis.geometry import valid_masks

FEATURE_BATCH = 32
SMALLEST_DEVIATION = 0.01


@dataclass(frozen=True)
class Batch:
    """Normal images with their outliers.

    Attributes:
        indices: positions of the images in the training set, ``(B,)``.
        normals: normal images ``(B, 3, H, W)`` in [0, 1].
        outliers: the same with synthetic outliers.
        masks: where the outliers are ``(B, 1, H, W)`` in {0, 1}.
    """

    indices: Tensor
    normals: Tensor
    outliers: Tensor
    masks: Tensor


class Batches:
    """Batches by step: a pure function of seed, phase and step.

    Every epoch shuffles the images anew, unless ``shuffle`` is off, and every image gets an
    outlier (DAF). The last, incomplete batch of an epoch is filled from the epoch's beginning, so
    that each has the same size.

    Args:
        images: normal images ``(N, 3, H, W)``, uint8.
        synthesis: strategy of the outliers.
        textures: texture bank, or ``None``.
        seed: seed of the experiment.
        phase: number of the training phase; phases see different outliers.
        batch_size: images a batch.
        device: where batches are made.
        shuffle: a new order every epoch; False: always the given one.
        boxes: where the images lie, the rest being padding; None: everywhere.
        foregrounds: where the object is in each image, bool ``(N, H, W)``, or ``None``.
    """

    def __init__(
        self,
        images: Tensor,
        *,
        synthesis: SynthesisParams,
        textures: Tensor | None,
        seed: int,
        phase: int,
        batch_size: int,
        device: torch.device,
        shuffle: bool = True,
        boxes: Sequence[Box] | None = None,
        foregrounds: Tensor | None = None,
    ) -> None:
        self.images = images.to(device)
        self.strategy = configured_strategy(synthesis)
        self.match_grey = synthesis.match_grey
        self.sources = Sources(
            None if textures is None else textures.to(device),
            normals=self.images,
            boxes=boxes,
            foregrounds=None if foregrounds is None else foregrounds.to(device)[:, None],
        )
        self.seed = seed
        self.phase = phase
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.steps_per_epoch = -(-len(images) // batch_size)

    def __getitem__(self, step: int) -> Batch:
        """The batch of a 0-based step."""
        epoch, position = divmod(step, self.steps_per_epoch)
        order = self._order(epoch)
        places = np.arange(position * self.batch_size, (position + 1) * self.batch_size)
        chosen = order[places % len(order)]
        # The place, not only the image, enters the key: a small set may repeat one in a batch.
        keys = [
            outlier_key(self.seed, self.phase, epoch, int(p), int(i))
            for p, i in zip(places, chosen, strict=True)
        ]
        indices = torch.from_numpy(chosen).to(self.images.device)
        normals = self.images[indices].contiguous().float() / 255
        foregrounds = self.sources.foregrounds
        outliers = synthesise(
            normals,
            self.strategy,
            keys,
            replace(self.sources, own=chosen.tolist()),
            match_grey=self.match_grey,
            valid=self._valid(chosen, normals),
            foreground=None if foregrounds is None else foregrounds[indices],
        )
        return Batch(indices, normals, outliers.images, outliers.masks)

    def _order(self, epoch: int) -> NDArray[np.int64]:
        """Positions of the images as the epoch takes them."""
        if not self.shuffle:
            return np.arange(len(self.images))
        return np.random.default_rng([self.seed, self.phase, epoch]).permutation(len(self.images))

    def _valid(self, chosen: NDArray[np.int64], normals: Tensor) -> Tensor | None:
        """Where outliers may lie; None: everywhere."""
        if self.sources.boxes is None:
            return None
        return valid_masks([self.sources.boxes[i] for i in chosen], normals)


class TeacherCache:
    """What the teacher says of the training normals: frozen, hence computed once.

    Args:
        model: the detector whose teacher is asked.
        images: normal images ``(N, 3, H, W)``, uint8.
        limit_mib: what does not fit is computed anew for each batch: the moments of SSIM first,
            then the features, too.
    """

    def __init__(self, model: DAF, images: Tensor, limit_mib: float = 1024.0) -> None:
        self.model = model
        self.levels: list[list[Tensor]] | None = None
        first = self._compute(images[:1])
        for keep in (TeacherFeatures.tensors, _without_moments):
            size = sum(x.nbytes for level in first for x in keep(level)) * len(images)
            if self.levels is None and size <= limit_mib * 2**20:
                self.levels = self._keep(images, keep)

    def __call__(self, batch: Batch) -> list[TeacherFeatures]:
        """What the teacher says of a batch's normal images, three levels."""
        if self.levels is None:
            return self.model.teacher_features(batch.normals)
        return [
            TeacherFeatures.of_tensors([x[batch.indices] for x in level]) for level in self.levels
        ]

    def _keep(
        self, images: Tensor, keep: Callable[[TeacherFeatures], list[Tensor]]
    ) -> list[list[Tensor]]:
        chunks = [
            [keep(level) for level in self._compute(chunk)]
            for chunk in torch.split(images, FEATURE_BATCH)
        ]
        return [
            [torch.cat(parts) for parts in zip(*level, strict=True)]
            for level in zip(*chunks, strict=True)
        ]

    def _compute(self, images: Tensor) -> list[TeacherFeatures]:
        device = self.model.teacher.mean.device
        return self.model.teacher_features(images.to(device).contiguous().float() / 255)


def _without_moments(level: TeacherFeatures) -> list[Tensor]:
    return level._replace(moments=None).tensors()


@torch.no_grad()
def fit_channel_statistics(model: DAF, images: Tensor) -> None:
    """Set the discrepancy's channel statistics to those of the teacher over ``images`` (uint8).

    A deviation below 1 % of the level's mean one is set to that: a channel that is dead on normal
    images would outweigh all others where it stirs.
    """
    device = model.teacher.mean.device
    channels = model.teacher.channels
    sums = [torch.zeros(c, dtype=torch.float64, device=device) for c in channels]
    squares = [s.clone() for s in sums]
    counts = [0] * len(sums)
    for chunk in torch.split(images, FEATURE_BATCH):
        for level, features in enumerate(
            model.teacher(chunk.to(device).contiguous().float() / 255)
        ):
            f = features.double()  # the variance is a small difference of large sums
            sums[level] += f.sum(dim=(0, 2, 3))
            squares[level] += f.square().sum(dim=(0, 2, 3))
            counts[level] += f.numel() // f.shape[1]
    means = [s / n for s, n in zip(sums, counts, strict=True)]
    variances = [q / n - m.square() for q, n, m in zip(squares, counts, means, strict=True)]
    stds = [v.clamp(min=1e-12).sqrt() for v in variances]
    stds = [s.clamp(min=SMALLEST_DEVIATION * float(s.mean())) for s in stds]
    model.discrepancy.fit_normalisation(means, stds)
