"""The table of benchmarks/quality.py."""

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest

FILE = Path(__file__).parents[1] / "benchmarks/quality.py"


@pytest.fixture(scope="module")
def quality() -> ModuleType:
    spec = importlib.util.spec_from_file_location("quality", FILE)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def row(dataset: str, method: str, seed: int, value: float) -> dict[str, object]:
    cell = {"dataset": dataset, "method": method, "seed": seed, "budget": 360.0, "machine": "here"}
    metrics = dict.fromkeys(("image_auroc", "image_ap"), value)
    pixels = dict.fromkeys(("pixel_auroc", "pixel_ap", "aupro"), np.nan)
    return cell | metrics | pixels | {"train_minutes": 6.0, "score_ms": 20.4, "peak_mib": 1000.0}


def test_mean_and_deviation_in_order(quality: ModuleType) -> None:
    cells = [("toothbrush", "STFPM", 0), ("ELPV mono", "DAF", 0), ("ELPV mono", "DAF", 1)]
    rows = [row(*cell, value) for cell, value in zip(cells, (0.5, 0.9, 0.8), strict=True)]
    table = quality.summarise(pd.DataFrame(rows))
    assert table["dataset"].tolist() == ["ELPV mono", "toothbrush"]
    assert table["seeds"].tolist() == [2, 1]
    assert table["image AUROC"].tolist() == ["0.850 ± 0.071", "0.500"]
    assert table["pixel AP"].tolist() == ["", ""]


def test_finished_cells_are_not_missing(
    quality: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quality, "processor", lambda: "here")
    cells = [quality.Cell("ELPV mono", "DAF", seed) for seed in (0, 1)]
    out = tmp_path / "quality.csv"
    assert quality.missing(cells, out, 360.0) == cells
    pd.DataFrame([row("ELPV mono", "DAF", 0, 0.9)]).to_csv(out, index=False)
    assert quality.missing(cells, out, 360.0) == cells[1:]
    assert quality.missing(cells, out, 20.0) == cells
    monkeypatch.setattr(quality, "processor", lambda: "elsewhere")
    assert quality.missing(cells, out, 360.0) == cells
