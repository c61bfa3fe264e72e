"""What finished cells were run with, as DVC records it in a study's ``dvc.lock``."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from daf_pipelines.errors import DataError
from daf_pipelines.study.plan import STUDY_FILE, Cell, Study

LOCK_FILE = "dvc.lock"


def outdated(folder: Path, study: Study) -> list[Cell]:
    """Cells that were run with other parameters, or on other images, than the study has now.

    All by DVC's record, which knows changed images once a study has looked at them; cells that it
    does not have are none of them.

    Args:
        folder: of the study.
        study: what is declared there.

    Raises:
        DataError: the record cannot be read.
    """
    file = folder / LOCK_FILE
    if not file.exists():
        return []
    try:
        recorded = yaml.load(file.read_bytes(), yaml.CSafeLoader)["stages"]  # of many: seconds
        images = {out["path"]: out["md5"] for stage in recorded.values() for out in stage["outs"]}
        declared = _as_numbers(study.model_dump())
        return [
            cell
            for cell in study.cells()
            if (stage := recorded.get(cell.stage)) is not None
            and (_parameters_differ(stage, declared) or _images_differ(stage, images))
        ]
    except (yaml.YAMLError, AttributeError, KeyError, TypeError) as error:
        raise DataError(
            f"{file} is not a record of DVC. Resolve the conflict in it, or restore it: "
            f"git checkout {file}"
        ) from error


def _parameters_differ(stage: Mapping[str, Any], declared: Mapping[str, Any]) -> bool:
    for key, value in _as_numbers(stage["params"][STUDY_FILE]).items():
        section, _, name = key.partition(".")
        if (declared[section].get(name) if name else declared[section]) != value:
            return True
    return False


def _images_differ(stage: Mapping[str, Any], images: Mapping[str, str]) -> bool:
    return any(images.get(each["path"]) != each["md5"] for each in stage["deps"])


def _as_numbers(value: Any) -> Any:
    """Nested values, with the numbers that PyYAML reads as texts.

    DVC reads and writes YAML 1.2, in which 1e-05 is a number.
    """
    if isinstance(value, Mapping):
        return {key: _as_numbers(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_as_numbers(each) for each in value]
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value
