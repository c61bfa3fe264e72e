"""PatchCore on the default teacher and images, as the line that the default run is held against.

Roth et al., "Towards Total Recall in Industrial Anomaly Detection", CVPR 2022: features of strides
8 and 16, averaged over 3 x 3 places (section 3.1), a memory bank of normal patches, the distance of
an image's oddest patch to it, re-weighted by the bank's density there (equations 6 and 7). The bank
is whole: the paper's coreset only makes it smaller.

    python benchmarks/patchcore.py --seeds 0 1 2

The seed only draws which normals are held out from the bank, as in a run.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
import yaml
from torch import Tensor

from daf_pipelines.metrics import image_auroc
from daf_pipelines.models.backbones import Backbone, load_teacher
from daf_pipelines.parameters import DatasetParams, TeacherParams
from daf_pipelines.sources.image_set import ImageSet
from daf_pipelines.sources.ingestion import ingest

BASE = Path(__file__).parents[1] / "conf/base/parameters.yml"
NEIGHBOURS = 9
BATCH = 16


def patches(teacher: Backbone, images: ImageSet) -> Tensor:
    """Patch features ``(N, P, C)`` of every image."""
    parts = []
    for start in range(0, len(images), BATCH):
        batch = torch.from_numpy(np.array(images.images[start : start + BATCH]))
        _, middle, deep = teacher(batch.permute(0, 3, 1, 2) / 255)
        middle, deep = (F.avg_pool2d(f, 3, 1, 1) for f in (middle, deep))
        deep = F.interpolate(deep, middle.shape[-2:], mode="bilinear")
        parts.append(torch.cat([middle, deep], 1).flatten(2).transpose(1, 2))
    return torch.cat(parts)


def distances(queries: Tensor, bank: Tensor, norms: Tensor) -> Tensor:
    """Euclidean distances ``(Q, M)``; ``norms`` are the squared ones of the bank."""
    squared = torch.addmm(norms[None], queries, bank.T, alpha=-2)
    return squared.add_(queries.square().sum(1, keepdim=True)).clamp_min_(0).sqrt_()


def image_scores(test: Tensor, bank: Tensor) -> np.ndarray:
    """The paper's image score, of patch features ``(N, P, C)`` against a bank ``(M, C)``."""
    norms = bank.square().sum(1)
    scores = []
    for image in test:
        nearest, place = distances(image, bank, norms).min(1)
        oddest = nearest.argmax()
        neighbour = bank[place[oddest]][None]
        around = distances(neighbour, bank, norms)[0].topk(NEIGHBOURS, largest=False).indices
        to_them = distances(image[oddest][None], bank[around], norms[around])[0]
        weight = 1 - torch.exp(nearest[oddest] - to_them.logsumexp(0))
        scores.append(float(weight * nearest[oddest]))
    return np.array(scores)


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--dataset", nargs="*", default=[], help="key=value of section dataset")
    args = parser.parse_args()
    raw = yaml.safe_load(BASE.read_text())
    params = DatasetParams(**raw["dataset"] | dict(item.split("=", 1) for item in args.dataset))
    teacher = load_teacher(TeacherParams(**raw["model"]["teacher"])).eval()
    aurocs = []
    for seed in args.seeds:
        start = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:  # what is mapped outlives it
            sets = ingest(params, seed, Path(folder))
        train, test = sets["train"], sets["test"]
        scores = image_scores(patches(teacher, test), patches(teacher, train).flatten(0, 1))
        aurocs.append(image_auroc(scores, test.table["label"].to_numpy(int)))
        print(f"seed {seed}: {aurocs[-1]:.4f}, {time.perf_counter() - start:.0f} s", flush=True)
    print(json.dumps({"image_auroc": aurocs, "mean": float(np.mean(aurocs))}))


if __name__ == "__main__":
    main()
