"""How far synthetic defects lie from real ones and from normals, in the teacher's features.

Measured on magnetic tile and MVTec AD toothbrush, whose real test defects are looked at here: this
informs people and selects nothing. What is measured, and how to read it: docs/realism.md, whose
table, plot and docs/realism.csv this command writes anew.

    python benchmarks/realism.py --root path/to/datasets --textures path/to/dtd
"""

import argparse
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from realism_report import draw_figure, write_tables
from torch import Tensor
from tqdm import tqdm

from daf_pipelines.models.backbones import Backbone, load_teacher
from daf_pipelines.parameters import DatasetParams, ModelParams
from daf_pipelines.sources.image_set import ImageSet
from daf_pipelines.sources.ingestion import ingest
from daf_pipelines.sources.splits import draw
from daf_pipelines.synthesis import STRATEGIES, Sources, load_textures, outlier_key, synthesise
from daf_pipelines.synthesis.realism import (
    Floats,
    Population,
    bootstrap_weights,
    covered_cells,
    energy_distances,
    novelties,
)

DOCS = Path(__file__).parents[1] / "docs"
DATASETS = {
    "magnetic tile": {"source": "magnetic_tile", "root": "magnetic_tile"},
    "toothbrush": {"source": "mvtec_ad", "root": "mvtec_ad", "category": "toothbrush"},
}
SIZE = 256
SEED = 0
OUTLIERS = 120  # of each strategy
PLACES = 16  # features of an image, at most
NORMAL_FEATURES = 6000  # of all reference normals together
REPLICATES = 1000
SMALLEST_DEVIATION = 0.01  # of a level's mean one, as in training
BATCH = 8
LEVELS = ("1", "2", "3", "mean")
# Populations are resampled independently; the strategies, made of the same normals, together.
RESAMPLE_NORMALS, RESAMPLE_REAL, RESAMPLE_OTHERS = 1, 2, 3

Levels = list[Population]
"""A population at each level of the teacher."""


@dataclass(frozen=True)
class Places:
    """Images and the parts of them that are looked at.

    Attributes:
        images: uint8 ``(N, 3, H, W)``.
        masks: bool ``(N, 1, H, W)``, none empty.
        groups: Images of one group are not independent, ``(N,)``.
        kinds: Type of defect, ``(N,)``.
    """

    images: Tensor
    masks: Tensor
    groups: NDArray[np.str_]
    kinds: NDArray[np.str_]

    def of(self, rows: NDArray[np.int_]) -> "Places":
        """Some of the images."""
        return Places(self.images[rows], self.masks[rows], self.groups[rows], self.kinds[rows])


class Data(NamedTuple):
    """The images of a dataset: two halves of its normals, and its real defects."""

    reference: Places
    others: Places
    real: Places


class Normalisation(NamedTuple):
    """Per level the channels' mean and scale; features then have a mean square of 1."""

    means: list[Floats]
    scales: list[Floats]


def load(dataset: dict[str, str], root: Path) -> Data:
    """The normals of the training split in two halves, of different groups, and the defects."""
    params = DatasetParams.model_validate(
        dataset | {"root": root / dataset["root"], "image_size": SIZE}
    )
    with tempfile.TemporaryDirectory() as folder:  # what is mapped outlives it
        sets = ingest(params, SEED, Path(folder))
    normals = places(sets["train"], sets["calibration"])
    test = places(sets["test"])
    defective = sets["test"].table["label"].eq(1).to_numpy(bool)
    defective &= test.masks.flatten(1).any(dim=1).numpy()
    units = pd.Series(normals.groups)
    second = units.index.isin(draw(units, len(units) // 2, "realism"))
    normals = replace(normals, masks=torch.ones_like(normals.masks))
    return Data(
        normals.of(np.flatnonzero(~second)),
        normals.of(np.flatnonzero(second)),
        test.of(np.flatnonzero(defective)),
    )


def places(*sets: ImageSet) -> Places:
    """All images and their masks; an image without a group is one of its own."""
    table = pd.concat([images.table for images in sets])
    pixels = np.concatenate([images.images for images in sets])
    masks = np.concatenate([images.masks for images in sets])
    return Places(
        torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous(),
        torch.from_numpy(masks).bool()[:, None],
        table["group"].fillna(table["path"]).to_numpy(str),
        table["defect_type"].to_numpy(str),
    )


def made_of(data: Data, bank: Tensor | None) -> Iterator[tuple[str, str, Places]]:
    """Kind, name and images of what is made of the second half of the normals.

    First controls, normals as they are: anywhere, and at the places of real defects.
    """
    rng = np.random.default_rng(SEED)
    chosen = np.resize(rng.permutation(len(data.others.images)), OUTLIERS)
    normals = data.others.of(chosen)
    masks = data.real.masks[rng.choice(len(data.real.masks), OUTLIERS)]
    yield "control", "normals, anywhere", normals
    yield "control", "normals, real places", replace(normals, masks=masks)
    for name in sorted(STRATEGIES):
        yield "strategy", name, outliers(name, data.others, chosen, bank)


def outliers(name: str, normals: Places, chosen: NDArray[np.int_], bank: Tensor | None) -> Places:
    """Outliers of a strategy on the chosen normals, stored with 8 bits as real images are."""
    parts = []
    for start in range(0, len(chosen), BATCH):
        rows = chosen[start : start + BATCH]
        keys = [outlier_key(SEED, start + i) for i in range(len(rows))]
        sources = Sources(textures=bank, normals=normals.images, own=rows.tolist())
        parts.append(synthesise(normals.images[rows] / 255, STRATEGIES[name], keys, sources))
    images, masks = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
    stored = (images * 255).round().to(torch.uint8)
    return Places(stored, masks.bool(), normals.groups[chosen], np.full(len(chosen), name))


@torch.inference_mode()
def features(teacher: Backbone, where: Places, most: int = PLACES) -> list[list[Floats]]:
    """Per level and image the features of cells that lie in the mask, ``most`` drawn at random."""
    rng = np.random.default_rng(SEED)
    levels: list[list[Floats]] = [[] for _ in teacher.channels]
    for start in range(0, len(where.images), BATCH):
        rows = slice(start, start + BATCH)
        maps = teacher(where.images[rows] / 255)
        for found, level in zip(maps, levels, strict=True):
            cells = covered_cells(where.masks[rows], *found.shape[2:]).flatten(1).numpy()
            for one, inside in zip(found.flatten(2).mT.numpy(), cells, strict=True):
                level.append(one[rng.permutation(np.flatnonzero(inside))[:most]].astype(float))
    return levels


def normalisation(normals: list[list[Floats]]) -> Normalisation:
    """Means and scales that let normal features have a mean square of 1, whatever the channels."""
    levels = [np.concatenate(level) for level in normals]
    deviations = [level.std(axis=0) for level in levels]
    deviations = [d.clip(min=SMALLEST_DEVIATION * d.mean()) for d in deviations]
    scales = [d * len(d) ** 0.5 for d in deviations]
    return Normalisation([level.mean(axis=0) for level in levels], scales)


def populations(
    found: list[list[Floats]], by: Normalisation, groups: NDArray[np.str_], resample: int
) -> Levels:
    """Normalised features with their resamples, the same ones at each level."""
    weights = bootstrap_weights(groups, REPLICATES, resample)
    return [
        Population([(one - mean) / scale for one in level], groups, weights)
        for level, mean, scale in zip(found, *by, strict=True)
    ]


def measure(name: str, dataset: dict[str, str], root: Path, bank: Tensor | None) -> pd.DataFrame:
    """All distances of a dataset: a row for each population, measure and level."""
    data = load(dataset, root)
    teacher = load_teacher(ModelParams().teacher).eval()
    found = features(teacher, data.reference, -(-NORMAL_FEATURES // len(data.reference.images)))
    by = normalisation(found)
    normals = populations(found, by, data.reference.groups, RESAMPLE_NORMALS)
    real, *types = real_defects(features(teacher, data.real), by, data.real)
    references = {"normals": normals, "real": real[1]} | dict(types)
    rows = compare("real", *real, references)
    for of_type in types:
        rows += compare("real type", *of_type, references)
    total = 2 + len(STRATEGIES)
    for kind, made, where in tqdm(made_of(data, bank), name, total, unit="population"):
        levels = populations(features(teacher, where), by, where.groups, RESAMPLE_OTHERS)
        rows += compare(kind, made, levels, references)
    return pd.DataFrame(rows).assign(dataset=name)


def real_defects(
    found: list[list[Floats]], by: Normalisation, where: Places
) -> list[tuple[str, Levels]]:
    """All real defects, and those of each type where there are several."""
    chosen = {"real defects": np.arange(len(where.kinds))}
    kinds = np.unique(where.kinds).tolist()
    if len(kinds) > 1:
        chosen |= {kind: np.flatnonzero(where.kinds == kind) for kind in kinds}
    parts = []
    for name, rows in chosen.items():
        some = [[level[i] for i in rows] for level in found]
        parts.append((name, populations(some, by, where.groups[rows], RESAMPLE_REAL)))
    return parts


def compare(
    kind: str, name: str, made: Levels, references: dict[str, Levels]
) -> list[dict[str, object]]:
    """The distances of a population to each reference, and its novelty relative to the real one."""
    groups = made[0].groups
    head = {"kind": kind, "population": name, "images": len(groups), "groups": len(set(groups))}
    measured = {f"to {of}": distance(made, levels) for of, levels in references.items()}
    normals, real = references["normals"], references["real"]
    measured["novelty"] = novelty(made, normals) / novelty(real, normals)
    return [
        head | {"measure": measure, "level": level} | summary(row)
        for measure, values in measured.items()
        for level, row in zip(LEVELS, [*values, values.mean(axis=0)], strict=True)
    ]


def distance(a: Levels, b: Levels) -> Floats:
    return np.stack([energy_distances(*pair) for pair in zip(a, b, strict=True)])


def novelty(a: Levels, normals: Levels) -> Floats:
    return np.stack([novelties(*pair) for pair in zip(a, normals, strict=True)])


def summary(values: Floats) -> dict[str, float]:
    """The estimate, which comes first, and the 95 % interval of the replicates behind it."""
    low, high = np.nanpercentile(values[1:], [2.5, 97.5])
    return {k: round(float(v), 4) for k, v in (("value", values[0]), ("low", low), ("high", high))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--root",
        type=Path,
        default=os.environ.get("DAF_TEST_DATASETS"),
        help="folder with magnetic_tile/ and mvtec_ad/; by default $DAF_TEST_DATASETS",
    )
    parser.add_argument("--textures", type=Path, help="folder of texture photographs (DTD or any)")
    parser.add_argument("--docs", type=Path, default=DOCS, help="where the results go")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.root is None:
        parser.error("--root is needed where DAF_TEST_DATASETS is not set")
    start = time.perf_counter()
    bank = load_textures(args.textures, SIZE)
    textures = None if bank is None else torch.from_numpy(bank)
    tables = [measure(name, dataset, args.root, textures) for name, dataset in DATASETS.items()]
    used = "none" if bank is None else f"{args.textures.name} ({len(bank)} photographs)"
    results = pd.concat(tables).assign(textures=used)
    results.insert(0, "dataset", results.pop("dataset"))
    results.to_csv(args.docs / "realism.csv", index=False)
    draw_figure(results, args.docs / "images" / "realism.png")
    minutes = (time.perf_counter() - start) / 60
    note = f"in {minutes:.0f} minutes. Textures: {used}. Seed {SEED}."
    write_tables(results, note, args.docs / "realism.md")


if __name__ == "__main__":
    main()
