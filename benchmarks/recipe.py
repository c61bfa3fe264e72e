"""Compare training recipes without touching real defects; report the test split beside it.

A recipe is chosen by how well it tells held-out normals from synthetic outliers, those of
strategies that it was *not* trained on above all. The test columns are written for the record;
nothing is selected on them.

    python benchmarks/recipe.py --recipes staged joint --seeds 0 --out recipes.csv
    python benchmarks/recipe.py --dataset "magnetic tile" --root path/to/datasets
    python benchmarks/recipe.py --dataset source=folder root=path/to/images

What the file of results has already is not run again. ``make recipe`` runs all on the dataset of
conf/base, each in a process of its own, so that their memory is told apart.
"""

import argparse
import functools
import itertools
import os
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import yaml
from quality import DATASETS, section_of
from torch import Tensor

from daf_pipelines.metrics import image_auroc, pixel_ap
from daf_pipelines.parameters import (
    DatasetParams,
    DecoderTrainingParams,
    ModelParams,
    ScoringParams,
    SynthesisParams,
    TeacherStudentTrainingParams,
)
from daf_pipelines.scoring.detector import Detector, image_scores
from daf_pipelines.sources.image_set import ImageSet
from daf_pipelines.sources.ingestion import ingest
from daf_pipelines.study.plan import merged
from daf_pipelines.synthesis.textures import load_textures
from daf_pipelines.synthesis.validation import sources_of, synthesise_set
from daf_pipelines.training import TrainingData, initialise, train_decoder, train_student

BASE = Path(__file__).parents[1] / "conf/base/parameters.yml"
# Scorings compared on every trained model: segmentation weight x pixels that an image score
# averages, at 256 px (the paper: 3 and 50).
WEIGHTS = (0.0, 3.0, 10.0, 30.0, 100.0)
TOP_PIXELS = (50, 500, 2000, 8000, 20000)

# The strategies that recipes are told apart with; none of them reads the object's foreground.
CRITERION = ("draem", "simple_texture", "cutpaste")
# Beside them: outliers of a few pixels' width, which tell what small defects want of a scoring.
THIN = ("scratches", "cutpaste_scar")

BATCH = 32

Overrides = dict[str, dict[str, Any]]

# Where the search began: staged, as first measured. Each recipe differs from it in what its name
# says, and costs about as much; the chosen one, conf/base, is longer.
START: Overrides = {
    "teacher_student_training": {"length": 400, "learning_rate": 1e-3},
    "decoder_training": {"length": 200, "learning_rate": 1e-3, "train_student": False},
}
JOINT: Overrides = {
    "teacher_student_training": {"length": 0},
    "decoder_training": {"length": 450, "train_student": True},
}


def _rate(value: float) -> Overrides:
    phases = ("teacher_student_training", "decoder_training")
    return {phase: {"learning_rate": value} for phase in phases}


def merge(base: dict[str, Any], *changes: dict[str, Any]) -> dict[str, Any]:
    """Nested dictionaries, the later ones taking precedence."""
    return functools.reduce(merged, changes, base)


RECIPES: dict[str, Overrides] = {
    "conf/base": {},
    "staged": START,
    "staged, teacher sees normal": merge(START, {"decoder_training": {"teacher_sees": "normal"}}),
    "staged, rate 2e-3": merge(START, _rate(2e-3)),
    "staged, cutpaste": merge(START, {"synthesis": {"strategy": "cutpaste"}}),
    "staged, simple_texture": merge(START, {"synthesis": {"strategy": "simple_texture"}}),
    "staged, student lite0": merge(
        START, {"model": {"student": {"backbone": "tf_efficientnet_lite0"}}}
    ),
    "staged, no auxiliary heads": merge(START, {"model": {"auxiliary_heads": False}}),
    "staged, ssim": merge(
        START, {"model": {"discrepancy": {"structure": "ssim", "normalise": "none"}}}
    ),
    "joint": merge(START, JOINT),
    "joint, teacher sees normal": merge(
        START, JOINT, {"decoder_training": {"teacher_sees": "normal"}}
    ),
    "joint, rate 2e-3": merge(START, JOINT, _rate(2e-3)),
    "joint, rate 2e-3, coloured outliers": merge(
        START, JOINT, _rate(2e-3), {"synthesis": {"match_grey": False}}
    ),
    "250 staged, 300 joint, rate 2e-3": merge(
        START,
        JOINT,
        _rate(2e-3),
        {"teacher_student_training": {"length": 250}, "decoder_training": {"length": 300}},
    ),
    "conf/base, cosine only": {"model": {"discrepancy": {"structure": "none"}}},
    "conf/base, 1.5 x resolution": {},
}
# The steps change with it, so that the time stays.
RESOLUTIONS = {"conf/base, 1.5 x resolution": 1.5}


def parameters(recipe: str, dataset: dict[str, Any]) -> dict[str, Any]:
    """conf/base with a dataset and a recipe's overrides."""
    raw = merge(yaml.safe_load(BASE.read_text()), {"dataset": dataset}, RECIPES[recipe])
    if recipe in RESOLUTIONS:
        size = raw["dataset"]["image_size"]
        changed = round(size * RESOLUTIONS[recipe])
        raw["dataset"]["image_size"] = changed
        for phase in ("teacher_student_training", "decoder_training"):
            raw[phase]["length"] = round(raw[phase]["length"] * (size / changed) ** 2)
    return raw


def run(name: str, seed: int, dataset: dict[str, Any]) -> list[dict[str, Any]]:
    """Train one recipe and measure it."""
    raw = parameters(name, dataset)
    data_params = DatasetParams(**raw["dataset"])
    with tempfile.TemporaryDirectory() as folder:  # what is mapped outlives it
        train, held_out, test = ingest(data_params, seed, Path(folder)).values()
    synthesis = SynthesisParams(**raw["synthesis"])
    detector, row = train_detector(raw, train, synthesis, seed)
    textures = load_textures(synthesis.texture_root, data_params.image_size)
    row = {"recipe": name, "seed": seed, "image_size": data_params.image_size, **row}
    return [row | scores for scores in measure(detector, train, held_out, test, textures)]


def train_detector(
    raw: dict[str, Any], train: ImageSet, synthesis: SynthesisParams, seed: int
) -> tuple[Detector, dict[str, float]]:
    """Both phases; wall-clock and processor seconds of the training alone."""
    size = raw["dataset"]["image_size"]
    textures = load_textures(synthesis.texture_root, size)
    everywhere = np.empty((0, size, size), bool)
    with tempfile.TemporaryDirectory() as folder:
        data = TrainingData.of(train, textures, everywhere, synthesis, seed, {}, Path(folder))
        model = initialise(ModelParams(**raw["model"]), data.images, seed)
        wall, processor = time.perf_counter(), time.process_time()
        first = TeacherStudentTrainingParams(**raw["teacher_student_training"])
        if first.length:
            train_student(model, data, first)
        train_decoder(model, data, DecoderTrainingParams(**raw["decoder_training"]))
    cost = {
        "train_seconds": time.perf_counter() - wall,
        "processor_seconds": time.process_time() - processor,
        "peak_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    return Detector(model, ScoringParams(), raw["dataset"]["image_size"]), cost


def measure(
    detector: Detector,
    train: ImageSet,
    held_out: ImageSet,
    test: ImageSet,
    textures: np.ndarray,
) -> list[dict[str, float]]:
    """Image AUROC and pixel AP on synthetic outliers by strategy, the real test split beside."""
    real = outputs(detector, test)
    rows = on_synthetic(detector, train, held_out, textures)
    return [row | on_test(detector, row, real, test) for row in rows]


def on_synthetic(
    detector: Detector, train: ImageSet, held_out: ImageSet, textures: np.ndarray
) -> list[dict[str, float]]:
    """Of each scoring the image AUROC and pixel AP on synthetic outliers, by strategy."""
    everywhere = np.empty((0, *held_out.images.shape[1:3]), bool)
    sources = sources_of(train, textures, everywhere)
    outliers = {
        strategy: synthesise_set(
            held_out,
            everywhere,
            sources,
            SynthesisParams(strategy=strategy, validation_repeats=4),
            seed=0,
        )
        for strategy in (*CRITERION, *THIN)
    }
    normal = outputs(detector, held_out)
    synthetic = {strategy: outputs(detector, images) for strategy, images in outliers.items()}
    rows = []
    for weight, top in itertools.product(WEIGHTS, TOP_PIXELS):
        detector.scoring = ScoringParams(segmentation_weight=weight, top_pixels=top)
        quiet, _ = score(detector, normal)
        row = {"segmentation_weight": weight, "top_pixels": top}
        for strategy, images in outliers.items():
            loud, maps = score(detector, synthetic[strategy])
            labels = np.repeat([0, 1], [len(quiet), len(loud)])
            row[f"{strategy} auroc"] = image_auroc(np.concatenate([quiet, loud]), labels)
            row[f"{strategy} pixel ap"] = pixel_ap(maps, images.masks)
        rows.append(row)
    return rows


def on_test(
    detector: Detector, row: dict[str, Any], real: tuple[Tensor, Tensor], test: ImageSet
) -> dict[str, float]:
    """The same on the real test split, with the scoring of a row."""
    detector.scoring = ScoringParams(
        segmentation_weight=row["segmentation_weight"], top_pixels=row["top_pixels"]
    )
    scores, maps = score(detector, real)
    return {
        "test auroc": image_auroc(scores, test.table["label"].to_numpy(int)),
        "test pixel ap": np.nan if test.masks is None else pixel_ap(maps, test.masks),
    }


@torch.inference_mode()
def outputs(detector: Detector, images: ImageSet) -> tuple[Tensor, Tensor]:
    """Discrepancy and probability of every image."""
    parts = []
    for start in range(0, len(images), BATCH):
        batch = torch.from_numpy(np.array(images.images[start : start + BATCH]))
        parts.append(detector.model(batch.permute(0, 3, 1, 2) / 255))
    discrepancies, probabilities = zip(*parts, strict=True)
    return torch.cat(discrepancies), torch.cat(probabilities)


def score(detector: Detector, model_outputs: tuple[Tensor, Tensor]) -> tuple[np.ndarray, ...]:
    """Image scores and maps under the detector's scoring."""
    maps = detector.combine(*model_outputs)
    return image_scores(maps, detector.scoring).numpy(), maps[:, 0].numpy()


def to_markdown(table: pd.DataFrame) -> str:
    """A Markdown table; pandas' own needs one more package."""
    lines = [list(table.columns), ["---"] * table.shape[1]]
    lines += [
        [f"{v:.4g}" if isinstance(v, float) else str(v) for v in row] for row in table.to_numpy()
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def with_criterion(rows: pd.DataFrame) -> pd.DataFrame:
    """What a scoring is chosen by: the mean of image AUROC and pixel AP over the strategies."""
    rows = rows.assign(
        auroc=rows[[f"{s} auroc" for s in CRITERION]].mean(axis=1),
        pixel_ap=rows[[f"{s} pixel ap" for s in CRITERION]].mean(axis=1),
    )
    return rows.assign(criterion=(rows["auroc"] + rows["pixel_ap"]) / 2)


def summarise(rows: pd.DataFrame) -> pd.DataFrame:
    """For each recipe the scoring that does best on held-out normals and synthetic outliers."""
    rows = with_criterion(rows)
    settings = ["dataset", "recipe", "segmentation_weight", "top_pixels"]
    numbers = ["criterion", "auroc", "pixel_ap", "processor_seconds", "peak_rss_mib"]
    numbers += [c for c in ("test auroc", "test pixel ap") if c in rows]
    means = rows.groupby(settings, as_index=False)[numbers].mean()
    best = means.loc[means.groupby(["dataset", "recipe"])["criterion"].idxmax()]
    return best.sort_values(["dataset", "criterion"], ascending=[True, False])


def scorings(rows: pd.DataFrame) -> pd.DataFrame:
    """What each scoring of conf/base does on large and on thin outliers, and on the test split.

    ``of five`` is the mean of image AUROC and pixel AP over all strategies.
    """
    rows = with_criterion(rows[rows["recipe"].eq("conf/base")])
    measured = [f"{s} {metric}" for s in (*CRITERION, *THIN) for metric in ("auroc", "pixel ap")]
    rows = rows.assign(**{"of five": rows[measured].mean(axis=1, skipna=False)})
    settings = ["dataset", "segmentation_weight", "top_pixels"]
    thin = [f"{name} auroc" for name in THIN]
    numbers = ["of five", "criterion", "auroc", *thin, "test auroc"]
    return rows.groupby(settings, as_index=False)[numbers].mean().dropna()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipes", nargs="+", choices=list(RECIPES), default=list(RECIPES))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--out", type=Path, default=Path("recipes.csv"))
    parser.add_argument(
        "--dataset",
        nargs="+",
        default=["ELPV mono"],
        help=f"{', '.join(DATASETS)}; or key=value of section dataset",
    )
    parser.add_argument(
        "--root",
        type=Path,
        default=os.environ.get("DAF_TEST_DATASETS"),
        help="with magnetic_tile/ and mvtec_ad/",
    )
    parser.add_argument("--summary", action="store_true", help="of --out, as Markdown; no run")
    parser.add_argument("--list", action="store_true", help="the recipes' names; no run")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    if args.summary:
        rows = pd.read_csv(args.out)
        print(f"{to_markdown(summarise(rows))}\n\n{to_markdown(scorings(rows))}")
        return
    if args.list:
        print("\n".join(RECIPES))
        return
    torch.set_num_threads(args.threads)
    of = " ".join(args.dataset)
    if of not in DATASETS and not all("=" in item for item in args.dataset):
        parser.error(f"--dataset: one of {', '.join(DATASETS)}, or key=value; got {of}")
    dataset = (
        section_of(of, args.root)
        if of in DATASETS
        else yaml.safe_load("\n".join(item.replace("=", ": ", 1) for item in args.dataset))
    )
    for name, seed in itertools.product(args.recipes, args.seeds):
        if args.out.exists() and (of, name, seed) in done(args.out):
            continue
        rows = pd.DataFrame([{"dataset": of} | row for row in run(name, seed, dataset)])
        rows.to_csv(args.out, mode="a", header=not args.out.exists(), index=False)
        print(rows.to_string(), flush=True)


def done(out: Path) -> set[tuple[str, str, int]]:
    """Datasets, recipes and seeds that a file of results has."""
    keys = pd.read_csv(out)[["dataset", "recipe", "seed"]]
    return set(keys.itertuples(index=False, name=None))


if __name__ == "__main__":
    main()
