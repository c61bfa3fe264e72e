"""Cells of a study that nobody has trained: scores whose quality is known."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score

from daf_pipelines.parameters import fingerprint
from daf_pipelines.study import plan
from daf_pipelines.study.readout import Readout, read_out
from daf_pipelines.study.results import Cell

FREE = ("patchcore", "stfpm")
"""Methods without synthesis."""


def made_cell(
    quality: float = 1.0,
    *,
    dataset: str = "elpv",
    category: str = "mono",
    strategy: str | None = "draem",
    method: str = "daf",
    seed: int = 0,
    normal: int = 60,
    anomalous: int = 40,
    transfer: dict[str, float] | None = None,
    pixel_ap: float | None = None,
    **changes: Any,
) -> dict[str, Any]:
    """A cell, as its file holds it, whose anomalous images score higher by the quality."""
    labels = np.arange(normal + anomalous) % 5 < 5 * anomalous / (normal + anomalous)
    hardness = np.random.default_rng([len(dataset), len(category)]).normal(size=len(labels))
    own = np.random.default_rng([*f"{strategy}{method}".encode(), seed])
    scores = hardness + quality * labels + own.normal(scale=0.2, size=len(labels))
    found = {
        "image_auroc": float(roc_auc_score(labels, scores)),
        "image_ap": float(average_precision_score(labels, scores)),
        "pixel_ap": pixel_ap,
        "train_seconds": 200.0,
        "intervals": {"image_auroc": [0.1, 0.9]},
    }
    facts = {
        "dataset": dataset,
        "category": category,
        "strategy": strategy,
        "method": method,
        "seed": seed,
        "metrics": found,
        "transfer": [
            {"strategy": name, "image_auroc": value, "image_ap": value, "pixel_ap": None}
            for name, value in (transfer or {}).items()
        ],
        "test_images": f"of {dataset} {category}",
        "labels": "".join("01"[int(label)] for label in labels),
        "groups": [],
        "scores": scores.round(9).tolist(),
        "pixel_replicates": {},
        "run_id": fingerprint(dataset, category, strategy, method, seed) * 2,
        "git_commit": "0123456789abcdef",
        "machine": "2 cores",
        "date": "2026-11-28",
    }
    return facts | changes


def made_study(
    quality: Callable[[str, str, int], float],
    *,
    data: Sequence[tuple[str, str]] = (("elpv", "mono"),),
    strategies: Sequence[str] = ("cutpaste", "draem", "nsa", "simple_texture"),
    methods: Sequence[str] = ("daf", "daf_without_cue", "draem"),
    seeds: Sequence[int] = (0,),
    **changes: Any,
) -> list[Cell]:
    """All cells of a study; `quality` is of a method, strategy ("" without) and seed."""
    return [
        Cell.model_validate(
            made_cell(
                quality(method, strategy or "", seed),
                dataset=dataset,
                category=category,
                strategy=strategy,
                method=method,
                seed=seed,
                **changes,
            )
        )
        for dataset, category in data
        for method in methods
        for strategy in ([None] if method in FREE else strategies)
        for seed in seeds
    ]


def metrics_only(values: dict[str, dict[str, float]], seed: int = 0) -> list[Cell]:
    """Cells of given pixel AP, by method and strategy ("" without)."""
    return [
        Cell.model_validate(
            made_cell(strategy=strategy or None, method=method, seed=seed, pixel_ap=value)
        )
        for method, row in values.items()
        for strategy, value in row.items()
    ]


def write_cell(facts: dict[str, Any], folder: Path) -> plan.Cell:
    """Write it as a study does; what it is the result of."""
    declared = plan.Cell(*(facts[name] for name in ("dataset", "strategy", "method", "seed")))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{declared.name}.json").write_text(json.dumps(facts), encoding="utf-8")
    return declared


def study_of(cells: Sequence[Cell]) -> plan.Study:
    """A study that these cells are all of; a method and a strategy, if they have none."""
    grid = {
        "dataset": {cell.dataset for cell in cells},
        "strategy": {cell.strategy for cell in cells if cell.strategy} or {"draem"},
        "method": {cell.method for cell in cells if cell.strategy} or {"teacher_student"},
        "reference": {cell.method for cell in cells if not cell.strategy},
        "seed": {cell.seed for cell in cells},
    }
    named = {name: {key: {} for key in names} for name, names in grid.items() if name != "seed"}
    return plan.Study.model_validate(
        {
            "name": "made_up",
            "grid": {name: sorted(names) for name, names in grid.items()},
            "datasets": {name: {"source": name} for name in grid["dataset"]},
            "strategies": named["strategy"],
            "methods": named["method"] | named["reference"],
            "recipe": {},
        }
    )


def read_out_of(cells: Sequence[Cell], replicates: int) -> Readout:
    """What is read out of a study that these cells are all of."""
    return read_out(cells, replicates, study_of(cells))
