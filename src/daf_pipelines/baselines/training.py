"""Training of anomalib's methods: plain loops with the values of its Lightning models."""

from collections.abc import Iterable, Iterator

import numpy as np
import pandas as pd
import torch
from anomalib.models.components import KCenterGreedy
from anomalib.models.image.draem.loss import DraemLoss
from anomalib.models.image.stfpm.loss import STFPMLoss
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from daf_pipelines.baselines.networks import (
    LEVELS,
    Draem,
    Features,
    PatchCore,
    Stfpm,
    build,
    by_level,
)
from daf_pipelines.baselines.parameters import BaselineParams, NetworkParams, PatchCoreParams
from daf_pipelines.errors import ParameterError
from daf_pipelines.methods import BaselineMethod
from daf_pipelines.models.backbones import load_teacher
from daf_pipelines.models.network import Baseline
from daf_pipelines.parameters import SynthesisParams, TeacherParams
from daf_pipelines.sources.image_set import ImageSet
from daf_pipelines.training.batches import Batches
from daf_pipelines.training.loop import choose_device
from daf_pipelines.training.phases import PHASES

SEEN_AT_ONCE = 32
HISTORY = ["step", "learning_rate", "loss"]


class Coreset(KCenterGreedy):  # type: ignore[misc]
    """anomalib's greedy choice, without a copy of all features for each patch that is chosen.

    Where such a copy has 10 to 30 MB, thousands of them leave gaps of gigabytes in the heap; where
    it is larger, most of the time goes into its pages.
    """

    min_distances: Tensor | None

    def update_distances(self, cluster_center: int | Tensor | None) -> None:
        """Update the distances to the nearest patch that is chosen, by one more."""
        if cluster_center is None:
            return
        centre = self.features[cluster_center].reshape(1, -1)
        mode = "donot_use_mm_for_euclid_dist"  # which is exact
        distances = torch.cdist(self.features, centre, compute_mode=mode)
        nearest = self.min_distances
        self.min_distances = distances if nearest is None else torch.minimum(nearest, distances)


def train_baseline(
    train_images: ImageSet,
    textures: NDArray[np.uint8],
    foregrounds: NDArray[np.bool_],
    synthesis: SynthesisParams,
    teacher: TeacherParams,
    params: BaselineParams,
    seed: int,
) -> tuple[Baseline, pd.DataFrame]:
    """Train the method that ``params`` names; textures and foregrounds may be empty.

    Returns:
        The networks, and one row a step: ``step``, ``learning_rate`` and ``loss``. PatchCore makes
        no steps.
    """
    device = choose_device(params.device)
    network = initialise(params.method, teacher, seed).to(device).train()
    images = as_tensor(train_images)
    if isinstance(network, PatchCore):
        train_patchcore(network, images, params.patchcore, seed)
        return network, pd.DataFrame(columns=HISTORY)
    if isinstance(network, Stfpm):
        pace = _pace("STFPM", params.stfpm.steps)
        return network, train_stfpm(network, images, params.stfpm.batch_size, seed, pace)
    assert isinstance(network, Draem)
    batches = draem_batches(
        train_images, textures, foregrounds, synthesis, params.draem.batch_size, seed, device
    )
    return network, train_draem(network, batches, _pace("DRAEM", params.draem.steps))


def initialise(method: BaselineMethod, teacher: TeacherParams, seed: int) -> Baseline:
    """Untrained networks: a pretrained teacher where there is one, the others from ``seed``."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if method == "draem":
            return build(NetworkParams(method=method))
        params = NetworkParams(method=method, backbone=teacher.backbone)
        return build(params, load_teacher(teacher))


def as_tensor(images: ImageSet) -> Tensor:
    """Prepared images ``(N, 3, H, W)``, uint8; on disk where they are memory-mapped."""
    return torch.from_numpy(images.images).permute(0, 3, 1, 2)


def train_patchcore(network: PatchCore, images: Tensor, params: PatchCoreParams, seed: int) -> None:
    """Fill the memory bank with the coreset of patches drawn at random.

    Raises:
        ParameterError: the coreset would be empty.
    """
    patches = see_patches(network, images, params.most_patches, seed)
    network.remember(choose_coreset(patches, params.coreset, seed))


@torch.no_grad()
def see_patches(network: PatchCore, images: Tensor, most: int, seed: int) -> Tensor:
    """At most so many patches ``(P, channels)`` of the images, drawn at random with the seed."""
    of_one = len(network.patches(_inputs(network, images[:1])))
    order = torch.randperm(of_one * len(images), generator=torch.Generator().manual_seed(seed))
    drawn = torch.zeros(len(order), dtype=torch.bool)
    drawn[order[:most]] = True
    return torch.cat(
        [
            network.patches(inputs)[drawn[start * of_one :][: len(inputs) * of_one]]
            for start, inputs in _in_parts(network, images)
        ]
    )


def choose_coreset(patches: Tensor, share: float, seed: int) -> Tensor:
    """The patches that leave none of the others far away, chosen greedily.

    Args:
        patches: ``(P, channels)``.
        share: of them that is kept.
        seed: of the first patch, and of the projection in which distances are measured.

    Raises:
        ParameterError: the share is less than one patch.
    """
    if share * len(patches) < 1:
        raise ParameterError(
            f"baseline.patchcore.coreset: {share} of {len(patches)} patches is less than one. "
            "Raise it."
        )
    sampler = Coreset(patches, share)
    sampler.model.random_state = np.random.RandomState(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        chosen: Tensor = sampler.sample_coreset()
    return chosen


def train_stfpm(
    network: Stfpm, images: Tensor, batch_size: int, seed: int, pace: Iterable[float]
) -> pd.DataFrame:
    """Teach the student the teacher's features of normal images.

    Nothing augments the images, so the teacher's features are computed once, and kept: at 128 px
    0.2 MB an image.

    Args:
        network: in training mode.
        images: ``(N, 3, H, W)``, uint8.
        batch_size: images a step.
        seed: of their order.
        pace: one value a step; here only their number counts.
    """
    expected = _teacher_features(network, images)
    criterion = STFPMLoss()
    optimiser = torch.optim.SGD(
        network.student.parameters(), lr=0.4, momentum=0.9, dampening=0.0, weight_decay=0.001
    )
    history = []
    for _, rows in zip(pace, _shuffled(len(images), batch_size, seed), strict=False):
        found = by_level(network.student, _inputs(network, images[rows]))
        wanted = {level: features[rows] for level, features in expected.items()}
        history.append(_descend(optimiser, criterion(wanted, found)))
    return _table(history)


def train_draem(network: Draem, batches: Batches, pace: Iterable[float]) -> pd.DataFrame:
    """Teach the one network to take outliers away, and the other where they were.

    The learning rate drops at 4/7 and 6/7 of the budget, as anomalib's does at epochs 400 and 600
    of the published 700.

    Args:
        network: in training mode.
        batches: normal images with their outliers.
        pace: the share of the budget, in [0, 1), that is spent before each step.
    """
    criterion = DraemLoss()
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-4)
    history = []
    for step, spent in enumerate(pace):
        optimiser.param_groups[0]["lr"] = 1e-4 * 0.1 ** ((spent >= 4 / 7) + (spent >= 6 / 7))
        batch = batches[step]
        reconstruction, prediction = network.model(batch.outliers)
        loss = criterion(batch.normals, reconstruction, batch.masks, prediction)
        history.append(_descend(optimiser, loss))
    return _table(history)


def draem_batches(
    train_images: ImageSet,
    textures: NDArray[np.uint8],
    foregrounds: NDArray[np.bool_],
    synthesis: SynthesisParams,
    batch_size: int,
    seed: int,
    device: torch.device,
) -> Batches:
    """Batches of the outliers of DAF's decoder; textures and foregrounds may be empty."""
    return Batches(
        as_tensor(train_images),
        synthesis=synthesis,
        textures=torch.from_numpy(textures) if len(textures) else None,
        seed=seed,
        phase=PHASES.index("decoder"),
        batch_size=batch_size,
        device=device,
        boxes=train_images.boxes,
        foregrounds=torch.from_numpy(foregrounds) if len(foregrounds) else None,
    )


def _pace(name: str, steps: int) -> Iterator[float]:
    """The share of the steps that is done before each of them."""
    for step in tqdm(range(steps), desc=name, unit="step", disable=None):
        yield step / steps


def _inputs(network: nn.Module, images: Tensor) -> Tensor:
    """Images as networks take them, on their device: ``(B, 3, H, W)`` in [0, 1]."""
    device = next(network.parameters()).device
    return images.to(device).contiguous().float() / 255


def _in_parts(network: nn.Module, images: Tensor) -> Iterator[tuple[int, Tensor]]:
    """All images, a few at a time, with the position of the first."""
    for start in range(0, len(images), SEEN_AT_ONCE):
        yield start, _inputs(network, images[start : start + SEEN_AT_ONCE])


@torch.no_grad()
def _teacher_features(network: Stfpm, images: Tensor) -> Features:
    parts = [by_level(network.teacher, inputs) for _, inputs in _in_parts(network, images)]
    return {level: torch.cat([part[level] for part in parts]) for level in LEVELS}


def _shuffled(count: int, size: int, seed: int) -> Iterator[Tensor]:
    """Positions of the images in batches, epoch after epoch, each in a new order."""
    rng = np.random.default_rng(seed)
    while True:
        yield from torch.split(torch.from_numpy(rng.permutation(count)), size)


def _descend(optimiser: torch.optim.Optimizer, loss: Tensor) -> tuple[float, float]:
    """Make a step; its learning rate and its loss."""
    optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    optimiser.step()
    return optimiser.param_groups[0]["lr"], loss.item()


def _table(history: list[tuple[float, float]]) -> pd.DataFrame:
    return pd.DataFrame([(step, *row) for step, row in enumerate(history)], columns=HISTORY)
