"""What is recorded of a dataset."""

import shutil
from pathlib import Path

import pytest

from daf_pipelines.parameters import DatasetParams
from daf_pipelines.pipelines.data_ingestion.nodes import summarise
from daf_pipelines.sources.checks import findings_table
from daf_pipelines.sources.manifest import make_manifest, read_dataset


@pytest.mark.parametrize("category", ["mono", "all"])
def test_the_category_is_the_one_asked_for(category: str, elpv_cells: Path, tmp_path: Path) -> None:
    """Of all cells of ELPV each has its own, mono or poly; the model is of all."""
    root = Path(shutil.copytree(elpv_cells, tmp_path / "elpv"))
    first, *lines = (root / "labels.csv").read_text(encoding="utf-8").splitlines()
    poly = [line.replace("mono", "poly") for line in lines[::3]]
    kept = [line for k, line in enumerate(lines) if k % 3]
    (root / "labels.csv").write_text("\n".join([first, *kept, *poly, ""]), encoding="utf-8")
    params = DatasetParams(source="elpv", root=root, category=category, image_size=64)
    reading = read_dataset(params, 0, tmp_path / "decoded")
    manifest = make_manifest(reading, params)
    assert set(manifest["category"]) == ({"mono", "poly"} if category == "all" else {"mono"})
    summary = summarise(manifest, reading, findings_table(reading.findings), params, 0)
    assert summary["category"] == category
