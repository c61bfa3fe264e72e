"""Which cells are outdated, by a lock that DVC has written."""

import shutil
from pathlib import Path

import pytest
import yaml
from dvc.utils.serialize import dump_yaml, load_yaml

from daf_pipelines.errors import DataError
from daf_pipelines.study.outdated import outdated
from daf_pipelines.study.plan import Study, merged

ROOT = Path(__file__).parents[2]
FINISHED = {file.stem for file in (ROOT / "studies/robustness/cells").glob("*.json")}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    copied = tmp_path / "robustness"
    shutil.copytree(ROOT / "studies/robustness", copied)
    return copied


def names(folder: Path, **changes: object) -> set[str]:
    study = Study.model_validate(merged(Study.read(folder).model_dump(), changes))
    return {cell.name for cell in outdated(folder, study)}


def test_none_while_nothing_changes(folder: Path) -> None:
    assert names(folder) == set()


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"strategies": {"nsa": {"match_grey": False}}}, "-nsa-"),
        ({"methods": {"daf_without_cue": {"scoring": {"blur_sigma": 2}}}}, "-daf_without_cue-"),
        ({"datasets": {"elpv": {"image_size": 64}}}, "elpv-"),
        ({"recipe": {"model": {"decoder": {"width": 64}}}}, ""),
    ],
)
def test_those_of_what_has_changed(folder: Path, changes: dict[str, object], part: str) -> None:
    expected = {name for name in FINISHED if part in name}
    assert expected
    assert names(folder, **changes) == expected


def test_those_on_other_images(folder: Path) -> None:
    lock = (folder / "dvc.lock").read_text(encoding="utf-8")
    (hash_of_elpv,) = {
        line.split()[1]
        for block in lock.split("data/elpv.json\n")[1:]
        for line in block.splitlines()[1:2]
    }
    # As after DVC has run the stage of the dataset, and not yet its cells.
    first, rest = lock.split(hash_of_elpv, 1)
    (folder / "dvc.lock").write_text(first + "0" * 32 + rest, encoding="utf-8")
    assert names(folder) == {name for name in FINISHED if name.startswith("elpv-")}


def test_numbers_as_dvc_writes_them(folder: Path) -> None:
    """Its YAML is another one: 1.0e-5 is recorded as 1e-05, which PyYAML reads as a text."""
    recipe = {"decoder_training": {"weight_decay": 1.0e-5}, "teacher_student_training": {}}
    study = yaml.safe_load((folder / "study.yml").read_text(encoding="utf-8"))
    study["recipe"] = merged(study["recipe"], recipe)
    (folder / "study.yml").write_text(
        yaml.safe_dump(study).replace("1.0e-05", "1e-5"), encoding="utf-8"
    )
    lock = load_yaml(folder / "dvc.lock")
    for name, stage in lock["stages"].items():
        if not name.startswith("data@"):
            stage["params"]["study.yml"]["recipe"] = load_yaml(folder / "study.yml")["recipe"]
    dump_yaml(folder / "dvc.lock", lock)
    assert "weight_decay: 1e-05" in (folder / "dvc.lock").read_text(encoding="utf-8")
    assert names(folder) == set()


@pytest.mark.parametrize("text", ["", "schema: '2.0'", "<<<<<<< HEAD\nstages: {", "stages: 1"])
def test_that_is_damaged(folder: Path, text: str) -> None:
    (folder / "dvc.lock").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=r"dvc\.lock is not a record of DVC.*git checkout"):
        names(folder)


def test_without_a_record(folder: Path) -> None:
    (folder / "dvc.lock").unlink()
    assert names(folder) == set()
