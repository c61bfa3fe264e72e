"""Detection in a fixed time: DAF beside anomalib's PatchCore, STFPM and DRAEM.

A cell is a dataset, a method and a seed. All methods get the same images at the same size, the same
teacher where they have one, and 6 minutes of processor time on one thread, which is 3 minutes on 2
cores: from the ingested images to the trained model, scoring excluded. Processor time is fair on a
machine that others use; figures of another processor are told apart. Nothing is chosen on the test
split. More, and the table: docs/quality.md.

    pip install -c constraints.txt -e ".[samples,bench]"
    python benchmarks/quality.py --root path/to/datasets        # what docs/quality.csv lacks
    python benchmarks/quality.py --summary                      # the table; no run
    python benchmarks/quality.py --list                         # the missing cells; no run

Each cell is run in a process of its own and appended to --out when it is finished.
"""

import argparse
import importlib
import itertools
import multiprocessing
import os
import tempfile
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

ROOT = Path(__file__).parents[1]
OUT = ROOT / "docs/quality.csv"
BUDGET = 360.0
BATCH = 8  # images scored at once
DATASETS: dict[str, dict[str, Any]] = {
    "ELPV mono": {"source": "elpv", "root": None, "image_size": 128},
    "magnetic tile": {"source": "magnetic_tile", "root": "magnetic_tile", "image_size": 128},
    "toothbrush": {
        "source": "mvtec_ad",
        "root": "mvtec_ad",
        "category": "toothbrush",
        "image_size": 192,
    },
}
METHODS = {  # name -> module and function
    "PatchCore": ("quality_baselines", "patchcore"),
    "PatchCore, no coreset": ("quality_baselines", "patchcore_random"),
    "STFPM": ("quality_baselines", "stfpm"),
    "DRAEM": ("quality_baselines", "draem"),
    "DAF": ("quality_daf", "daf"),
}
METRICS = {
    "image_auroc": "image AUROC",
    "image_ap": "image AP",
    "pixel_auroc": "pixel AUROC",
    "pixel_ap": "pixel AP",
    "aupro": "AUPRO",
}
COSTS = {
    "train_minutes": "training, processor min",
    "score_ms": "scoring, ms an image",
    "peak_mib": "peak memory, MiB",
}


class Cell(NamedTuple):
    """One measurement."""

    dataset: str
    method: str
    seed: int


def run(cell: Cell, root: Path | None, budget: float) -> dict[str, Any]:
    """Train and measure one cell, on one thread."""
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(cell.seed)
    warnings.filterwarnings("ignore")
    with tempfile.TemporaryDirectory() as folder:
        return measure(cell, root, budget, Path(folder))


def measure(cell: Cell, root: Path | None, seconds: float, folder: Path) -> dict[str, Any]:
    from quality_task import Budget, Task, forget_peak

    from daf_pipelines.parameters import DatasetParams
    from daf_pipelines.resources import peak_rss_mib
    from daf_pipelines.sources.ingestion import ingest

    module, function = METHODS[cell.method]
    method = getattr(importlib.import_module(module), function)
    raw = parameters(cell.dataset, root)
    train, _, test = ingest(DatasetParams(**raw["dataset"]), cell.seed, folder).values()
    budget = Budget(seconds)
    trained = method(Task(train, cell.seed, budget, raw, folder))
    budget.stop()
    forget_peak()
    scores, maps, milliseconds = score(trained.score, test.images)
    peak = max(budget.peak_mib, peak_rss_mib())
    return {
        **cell._asdict(),
        **quality(scores, maps, test),
        "train_minutes": budget.spent / 60,
        "score_ms": milliseconds,
        "peak_mib": peak,
        "steps": trained.steps,
        "note": trained.note,
        "budget": seconds,
        "machine": processor(),
    }


def processor() -> str:
    """The name of this machine's processor, which decides what a budget is worth."""
    from daf_pipelines.resources import machine

    return machine()["processor"]


def parameters(dataset: str, root: Path | None) -> dict[str, Any]:
    """conf/base with a dataset."""
    import yaml

    raw = yaml.safe_load((ROOT / "conf/base/parameters.yml").read_text())
    raw["dataset"] |= section_of(dataset, root)
    return raw


def section_of(dataset: str, root: Path | None) -> dict[str, Any]:
    """The parameters of a dataset, with its folder below ``root``."""
    section = dict(DATASETS[dataset])
    if section["root"] is not None:
        if root is None:
            raise SystemExit(f"{dataset}: --root is needed where DAF_TEST_DATASETS is not set")
        section["root"] = root / section["root"]
    return section


def score(method: Any, images: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Image scores, anomaly maps, and milliseconds of processor time an image."""
    method(images[:BATCH])  # the first call allocates
    before = time.process_time()
    parts = [method(images[start : start + BATCH]) for start in range(0, len(images), BATCH)]
    seconds = time.process_time() - before
    scores, maps = (np.concatenate(part) for part in zip(*parts, strict=True))
    return scores, maps, 1000 * seconds / len(images)


def quality(scores: np.ndarray, maps: np.ndarray, test: Any) -> dict[str, float]:
    """The metrics of a test split; those of pixels where it has masks."""
    from daf_pipelines.metrics import image_ap, image_auroc, rank_pixels

    labels = test.table["label"].to_numpy(int)
    found = {"image_auroc": image_auroc(scores, labels), "image_ap": image_ap(scores, labels)}
    if test.masks is None:
        return found | dict.fromkeys(("pixel_auroc", "pixel_ap", "aupro"), np.nan)
    ranked = rank_pixels(maps, test.masks)
    pixels = {"pixel_auroc": ranked.auroc(), "pixel_ap": ranked.ap(), "aupro": ranked.aupro()}
    return found | pixels


def missing(cells: list[Cell], out: Path, budget: float) -> list[Cell]:
    """Those that a file of results lacks at this budget, on this processor."""
    if not out.exists():
        return cells
    rows = pd.read_csv(out)
    rows = rows[rows["budget"].eq(budget) & rows["machine"].eq(processor())]
    there = set(rows[list(Cell._fields)].itertuples(index=False, name=None))
    return [cell for cell in cells if cell not in there]


def summarise(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean and standard deviation over the seeds, of each dataset and method."""
    columns = METRICS | COSTS
    groups = rows.groupby(["dataset", "method"], sort=False)
    table = pd.DataFrame(index=groups.size().index)
    for column, name in columns.items():
        digits = 0 if column in {"score_ms", "peak_mib"} else 3
        digits = 1 if column == "train_minutes" else digits
        spread = groups[column].agg(["mean", "std"])
        table[name] = [shown(*pair, digits) for pair in spread.to_numpy()]
    table.insert(0, "seeds", groups["seed"].nunique())
    order = [pair for pair in itertools.product(DATASETS, METHODS) if pair in table.index]
    return table.loc[order].reset_index()


def shown(mean: float, deviation: float, digits: int) -> str:
    """A mean, and the standard deviation where there are several seeds."""
    if np.isnan(mean):
        return ""
    return f"{mean:.{digits}f}" + ("" if np.isnan(deviation) else f" ± {deviation:.{digits}f}")


def main() -> None:
    args = arguments()
    if args.summary:
        from recipe import to_markdown

        rows = pd.read_csv(args.out)
        for name, part in rows[rows["budget"] == args.budget].groupby("machine"):
            print(f"{name}\n\n{to_markdown(summarise(part))}\n")
        return
    cells = [
        Cell(dataset, method, seed)
        for seed, dataset, method in itertools.product(args.seeds, args.datasets, args.methods)
    ]
    todo = missing(cells, args.out, args.budget)
    if args.list:
        print("\n".join(f"{c.dataset}, {c.method}, seed {c.seed}" for c in todo))
        return
    for cell in todo:
        append(in_a_process(cell, args.root, args.budget), args.out)


def in_a_process(cell: Cell, root: Path | None, budget: float) -> dict[str, Any]:
    """A cell's row, measured in a process of its own: memory and processor time are its own."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(run, cell, root, budget).result()


def append(row: dict[str, Any], out: Path) -> None:
    """Add a finished cell to the file."""
    row = {k: round(v, 5) if isinstance(v, float) else v for k, v in row.items()}
    pd.DataFrame([row]).to_csv(out, mode="a", header=not out.exists(), index=False)
    print(row, flush=True)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--datasets", nargs="+", choices=list(DATASETS), default=list(DATASETS))
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=list(METHODS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--budget", type=float, default=BUDGET, help="processor seconds a cell")
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument(
        "--root",
        type=Path,
        default=os.environ.get("DAF_TEST_DATASETS"),
        help="folder with magnetic_tile/ and mvtec_ad/; by default $DAF_TEST_DATASETS",
    )
    parser.add_argument("--summary", action="store_true", help="of --out, as Markdown; no run")
    parser.add_argument("--list", action="store_true", help="the missing cells; no run")
    return parser.parse_args()


if __name__ == "__main__":
    main()
