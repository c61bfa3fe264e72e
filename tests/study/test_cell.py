"""What a cell's run is configured with, and what is kept of it."""

import json
from pathlib import Path

import pandas as pd
import pytest
import yaml

from daf_pipelines.datasets import FolderDataset
from daf_pipelines.run_parameters import RunParameters
from daf_pipelines.study import cell as of_cell
from daf_pipelines.study.cell import numbered, run_cell
from daf_pipelines.study.plan import Cell, Study

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("groups", "numbers"),
    [
        ([None, None], []),
        (["lot 2", "lot 1", "lot 2"], [0, 1, 0]),
        (["1", None, "1", None], [0, 1, 0, 2]),  # an image on its own is of no other's group
        (["3", None, None, None], [0, 1, 2, 3]),
    ],
)
def test_groups_by_number(groups: list[str | None], numbers: list[int]) -> None:
    assert numbered(pd.Series(groups, index=range(7, 7 + len(groups)), dtype=object)) == numbers


def test_cells_share_a_folder_of_decoded_images_also_of_a_size_of_their_own(
    tmp_path: Path,
) -> None:
    folder, links = tmp_path / "decoded/elpv-64-square", [tmp_path / "a/x", tmp_path / "b/x"]
    for link in links:
        link.parent.parent.mkdir(exist_ok=True)
        of_cell._share(folder, link)
        FolderDataset(str(link)).load()  # makes it where it is not there
    (links[0] / "chunk.npz").touch()
    assert (links[1] / "chunk.npz").exists()


def test_a_cell_has_its_own_parameters_and_the_projects_other_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, content in (
        ("base/catalog.yml", {"a": 1}),
        ("base/parameters.yml", {"seed": 7}),
        ("local/parameters_mine.yml", {"transfer": {"strategies": {"mine": {}}}}),
        ("local/tracking.yml", {"tracking": {"uri": "https://store"}}),
    ):
        file = tmp_path / "conf" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(yaml.safe_dump(content), encoding="utf-8")
    seen = {}

    def watch(cell: Cell, work: Path) -> None:
        run = yaml.safe_load((work / "run.yml").read_text())["run"]
        folder = Path(run["conf_source"])
        seen["files"] = sorted(str(f.relative_to(folder)) for f in folder.rglob("*.yml"))
        seen["params"] = yaml.safe_load((folder / "base/parameters.yml").read_text())
        seen["run"] = run

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(of_cell, "_kedro_run", watch)
    monkeypatch.setattr(of_cell, "results", lambda *_: {"kept": True})
    study = Study.read(ROOT / "studies/smoke")
    cell = study.cells()[0]
    run_cell(tmp_path / "studies/smoke", study, cell)
    assert seen["files"] == ["base/catalog.yml", "base/parameters.yml", "local/tracking.yml"]
    assert RunParameters.of(seen["params"]) == study.parameters(cell)
    assert seen["run"]["params"] == {"data_dir": f"data/study/smoke/{cell.name}"}
    kept = json.loads((tmp_path / f"studies/smoke/cells/{cell.name}.json").read_text())
    assert kept == {"kept": True}
    assert not (tmp_path / "data/study/smoke" / cell.name).exists()
