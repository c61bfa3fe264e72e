"""anomalib's PatchCore, STFPM and DRAEM (2.7.0 where docs/quality.csv was measured).

They are the project's (``daf_pipelines.baselines``); only their budgets are of processor time:

* PatchCore's coreset is 10 % of the patches of all training images, as in anomalib; where choosing
  so many would not fit the budget, 10 % of as many patches, drawn at random, as fit. The greedy
  choice being slow, PatchCore is also measured without it, on 100,000 patches drawn at random (on
  all of them, where they are fewer), which scores more slowly.
* DRAEM's learning rate drops at 4/7 and 6/7 of the time. A batch is 2 images: with the published 8
  of 256 px, the budget would end with the first step.
"""

import math
import sys
from collections.abc import Iterator

import numpy as np
import torch
from quality_task import Budget, Task, Trained
from torch import Tensor

from daf_pipelines.baselines import require_anomalib
from daf_pipelines.errors import DAFError
from daf_pipelines.parameters import ModelParams, ScoringParams, SynthesisParams
from daf_pipelines.scoring.detector import Detector
from daf_pipelines.synthesis.textures import load_textures

try:
    require_anomalib("PatchCore")
except DAFError as error:
    raise SystemExit(str(error)) from error

from daf_pipelines.baselines.training import (
    Coreset,
    as_tensor,
    choose_coreset,
    draem_batches,
    initialise,
    see_patches,
    train_draem,
    train_stfpm,
)

STFPM_BATCH = 32
DRAEM_BATCH = 2
CORESET = 0.1
LARGEST_BANK = 100_000
TIMED_PATCHES, TIMED_CENTRES = 100_000, 50
RESERVE = 0.1  # of what the greedy choice may take


def while_it_lasts(budget: Budget) -> Iterator[float]:
    """Shares of the budget that are spent, until a step as long as the longest would exceed it."""
    longest = 0.0
    while budget.left > longest:
        before = budget.spent
        yield before / budget.seconds
        longest = max(longest, budget.spent - before)


def untrained(method: str, task: Task):
    return initialise(method, ModelParams(**task.raw["model"]).teacher, task.seed).train()


def trained(network, task: Task, steps: int, note: str) -> Trained:
    detector = Detector(network, ScoringParams(), task.train.images.shape[1])
    return Trained(detector.score_batch, steps, note)


def patchcore(task: Task) -> Trained:
    """A memory bank, thinned by the greedy choice of a coreset."""
    network = untrained("patchcore", task)
    patches = see_patches(network, as_tensor(task.train), sys.maxsize, task.seed)
    pool = affordable(patches, task.budget)
    bank = choose_coreset(pool, CORESET, task.seed)
    network.remember(bank)
    note = f"{len(bank)} of {len(pool)} patches, out of {len(patches)}"
    return trained(network, task, 1, note)


def patchcore_random(task: Task) -> Trained:
    """A memory bank without a coreset, at most so large that it can be searched."""
    network = untrained("patchcore", task)
    bank = see_patches(network, as_tensor(task.train), LARGEST_BANK, task.seed)
    network.remember(bank)
    return trained(network, task, 1, f"{len(bank)} patches, no coreset")


def affordable(patches: Tensor, budget: Budget) -> Tensor:
    """As many patches as a coreset can be chosen of: its time grows with their square."""
    order = torch.randperm(len(patches))
    timed = patches[order[:TIMED_PATCHES]]
    clock = Budget(0)
    Coreset(timed, TIMED_CENTRES / len(timed)).select_coreset_idxs()
    price = clock.spent / TIMED_CENTRES / len(timed)  # of a patch, each time that one is chosen
    most = math.isqrt(int(budget.left * (1 - RESERVE) / price / CORESET))
    return patches if most >= len(patches) else patches[order[:most]]


def stfpm(task: Task) -> Trained:
    """A student of the teacher's kind that learns its features of normal images."""
    network, pace = untrained("stfpm", task), while_it_lasts(task.budget)
    history = train_stfpm(network, as_tensor(task.train), STFPM_BATCH, task.seed, pace)
    return trained(network, task, len(history), "")


def draem(task: Task) -> Trained:
    """An autoencoder that takes outliers away, and a network that finds where they were."""
    network, pace = untrained("draem", task), while_it_lasts(task.budget)
    synthesis = SynthesisParams(**task.raw["synthesis"] | {"strategy": "draem"})
    size = task.train.images.shape[1]
    textures = load_textures(synthesis.texture_root, size)
    everywhere = np.empty((0, size, size), bool)
    batches = draem_batches(
        task.train, textures, everywhere, synthesis, DRAEM_BATCH, task.seed, torch.device("cpu")
    )
    return trained(network, task, len(train_draem(network, batches, pace)), "")
