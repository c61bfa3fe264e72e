"""PatchCore, STFPM and DRAEM of anomalib (2.7.0 where docs/quality.csv was measured).

The networks, losses, optimisers, anomaly maps and image scores are anomalib's, with the values of
its Lightning models; the loop is plain, so that a budget of processor time can stop it. What
differs:

* PatchCore and STFPM see with the project's teacher, EfficientNet-Lite0 from its package, at the
  strides that they read in a ResNet (PatchCore 8 and 16; STFPM 4, 8 and 16). Behind its last
  feature the network is cut, which saves time and changes nothing.
* PatchCore's coreset is 10 % of the patches of all training images, as in anomalib; where choosing
  so many would not fit the budget, 10 % of as many patches, drawn at random, as fit. The greedy
  choice being slow, PatchCore is also measured without it, on 100,000 patches drawn at random (on
  all of them, where they are fewer), which scores more slowly.
* STFPM's teacher sees images that nothing augments, so its features are computed once.
* DRAEM's outliers are the project's (strategy draem), those that DAF gets. Its learning rate drops
  at 4/7 and 6/7 of the budget, as anomalib's does at epochs 400 and 600 of the published 700. A
  batch is 2 images: with the published 8 of 256 px, the budget would end with the first step.
"""

import math
from collections.abc import Iterator

import numpy as np
import torch
from quality_task import Budget, Score, Task, Trained, to_tensor
from torch import Tensor, nn

from daf_pipelines.models.backbones import Backbone, load_teacher
from daf_pipelines.parameters import ModelParams, SynthesisParams
from daf_pipelines.synthesis.textures import load_textures
from daf_pipelines.training.batches import Batches

try:
    from anomalib.models.components import KCenterGreedy
    from anomalib.models.image.draem.loss import DraemLoss
    from anomalib.models.image.draem.torch_model import DraemModel
    from anomalib.models.image.patchcore.torch_model import PatchcoreModel
    from anomalib.models.image.stfpm.anomaly_map import AnomalyMapGenerator
    from anomalib.models.image.stfpm.loss import STFPMLoss
    from anomalib.models.image.stfpm.torch_model import STFPMModel
except ImportError as error:
    raise SystemExit(
        f"anomalib cannot be imported ({error}). The methods that DAF is compared with are in the "
        'extra bench: pip install -c constraints.txt -e ".[samples,bench]"'
    ) from error

LEVELS = ("stride 4", "stride 8", "stride 16")
STFPM_BATCH = 32
DRAEM_BATCH = 2
SEEN_AT_ONCE = 32
CORESET = 0.1
LARGEST_BANK = 100_000
TIMED_PATCHES, TIMED_CENTRES = 100_000, 50
RESERVE = 0.1  # of what the greedy choice may take


class Features(nn.Module):
    """A backbone as anomalib has it: feature maps by level, with or without gradients."""

    def __init__(self, backbone: Backbone, levels: tuple[str, ...], trained: bool = False) -> None:
        super().__init__()
        self.backbone = backbone
        self.levels = levels
        self.trained = trained
        self.out_dims = [backbone.channels[LEVELS.index(level)] for level in levels]
        self.train(False)

    def train(self, mode: bool = True) -> "Features":
        """A frozen backbone stays in evaluation mode."""
        return super().train(mode and self.trained)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Feature maps of images in [0, 1]."""
        with torch.set_grad_enabled(self.trained and torch.is_grad_enabled()):
            found = dict(zip(LEVELS, self.backbone(images), strict=True))
        return {level: found[level] for level in self.levels}


class Stfpm(STFPMModel):
    """anomalib's STFPM with given backbones; its own constructor asks a hub for weights."""

    def __init__(self, teacher: Features, student: Features) -> None:
        nn.Module.__init__(self)
        self.tiler = None
        self.teacher_model = teacher
        self.student_model = student
        self.anomaly_map_generator = AnomalyMapGenerator()


def teacher_of(task: Task) -> Backbone:
    return load_teacher(ModelParams(**task.raw["model"]).teacher)


def scorer(model: nn.Module) -> Score:
    """A model's own anomaly maps and image scores."""
    model.eval()

    @torch.inference_mode()
    def score(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        found = model(to_tensor(images))
        maps = found.anomaly_map.reshape(len(images), *images.shape[1:3])
        return found.pred_score.flatten().numpy(), maps.numpy()

    return score


def shuffled(task: Task, size: int) -> Iterator[np.ndarray]:
    """Positions of the training images in batches, epoch after epoch."""
    rng = np.random.default_rng(task.seed)
    while True:
        order = rng.permutation(len(task.train))
        yield from np.split(order, range(size, len(order), size))


def while_it_lasts(budget: Budget) -> Iterator[int]:
    """Numbers of steps, until another one as long as the longest would exceed the budget."""
    step, longest = 0, 0.0
    while budget.left > longest:
        before = budget.spent
        yield step
        step, longest = step + 1, max(longest, budget.spent - before)


def patchcore(task: Task) -> Trained:
    """A memory bank, thinned by the greedy choice of a coreset."""
    model = PatchcoreModel(["layer2", "layer3"], "resnet18", pre_trained=False)
    patches = see_patches(model, task)
    pool = affordable(patches, task.budget)
    model.embedding_store[:] = [pool]
    model.subsample_embedding(CORESET)
    return banked(model, len(pool), len(patches))


def patchcore_random(task: Task) -> Trained:
    """A memory bank without a coreset, at most so large that it can be searched."""
    model = PatchcoreModel(["layer2", "layer3"], "resnet18", pre_trained=False)
    patches = see_patches(model, task)
    chosen = torch.randperm(len(patches))[:LARGEST_BANK]
    model.memory_bank = patches[chosen]
    return banked(model, len(chosen), len(patches))


def see_patches(model: PatchcoreModel, task: Task) -> Tensor:
    """The patches of all training images, with the project's teacher in the model."""
    model.feature_extractor = Features(teacher_of(task), LEVELS[1:])
    model.layers = list(LEVELS[1:])
    model.train()
    for start in range(0, len(task.train), SEEN_AT_ONCE):
        model(task.batch(slice(start, start + SEEN_AT_ONCE)))
    patches = torch.vstack(model.embedding_store)
    model.embedding_store.clear()
    return patches


def banked(model: PatchcoreModel, pool: int, patches: int) -> Trained:
    note = f"{len(model.memory_bank)} of {pool} patches, out of {patches}"
    return Trained(scorer(model), 1, note)


def affordable(patches: Tensor, budget: Budget) -> Tensor:
    """As many patches as a coreset can be chosen of: its time grows with their square."""
    order = torch.randperm(len(patches))
    timed = patches[order[:TIMED_PATCHES]]
    clock = Budget(0)
    KCenterGreedy(timed, TIMED_CENTRES / len(timed)).select_coreset_idxs()
    price = clock.spent / TIMED_CENTRES / len(timed)  # of a patch, each time that one is chosen
    most = math.isqrt(int(budget.left * (1 - RESERVE) / price / CORESET))
    return patches if most >= len(patches) else patches[order[:most]]


def stfpm(task: Task) -> Trained:
    """A student of the teacher's kind that learns its features of normal images."""
    teacher = teacher_of(task)
    student = Backbone(ModelParams(**task.raw["model"]).teacher.backbone)
    model = Stfpm(Features(teacher, LEVELS), Features(student, LEVELS, trained=True)).train()
    cache = teacher_features(model, task)
    loss = STFPMLoss()
    optimiser = torch.optim.SGD(
        model.student_model.parameters(), lr=0.4, momentum=0.9, dampening=0.0, weight_decay=0.001
    )
    batches = shuffled(task, STFPM_BATCH)
    for step in while_it_lasts(task.budget):  # noqa: B007 - its last value is read below
        rows = next(batches)
        expected = {level: features[rows] for level, features in cache.items()}
        descend(optimiser, loss(expected, model.student_model(task.batch(rows))))
    return Trained(scorer(model), step + 1, "")


def teacher_features(model: Stfpm, task: Task) -> dict[str, Tensor]:
    """The teacher's features of all training images."""
    starts = range(0, len(task.train), SEEN_AT_ONCE)
    parts = [model.teacher_model(task.batch(slice(s, s + SEEN_AT_ONCE))) for s in starts]
    return {level: torch.cat([part[level] for part in parts]) for level in LEVELS}


def draem(task: Task) -> Trained:
    """An autoencoder that takes outliers away, and a network that finds where they were."""
    model, loss = DraemModel().train(), DraemLoss()
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-4)
    batches = outliers(task)
    for step in while_it_lasts(task.budget):
        passed = task.budget.spent / task.budget.seconds
        optimiser.param_groups[0]["lr"] = 1e-4 * 0.1 ** ((passed >= 4 / 7) + (passed >= 6 / 7))
        batch = batches[step]
        reconstruction, prediction = model(batch.outliers)
        descend(optimiser, loss(batch.normals, reconstruction, batch.masks, prediction))
    return Trained(scorer(model), step + 1, "")


def outliers(task: Task) -> Batches:
    """The batches of DAF's second phase, of strategy draem."""
    synthesis = SynthesisParams(**task.raw["synthesis"] | {"strategy": "draem"})
    textures = load_textures(synthesis.texture_root, task.train.images.shape[1])
    return Batches(
        torch.from_numpy(task.train.images).permute(0, 3, 1, 2),
        synthesis=synthesis,
        textures=torch.from_numpy(textures) if len(textures) else None,
        seed=task.seed,
        phase=1,
        batch_size=DRAEM_BATCH,
        device=torch.device("cpu"),
        boxes=task.train.boxes,
    )


def descend(optimiser: torch.optim.Optimizer, loss: Tensor) -> None:
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    optimiser.step()
