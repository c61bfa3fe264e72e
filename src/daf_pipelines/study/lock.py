"""What finished cells were run with, as DVC records it in a study's ``dvc.lock``."""

from pathlib import Path
from typing import Any

import yaml

from daf_pipelines.study.plan import STUDY_FILE, Cell, Study

LOCK_FILE = "dvc.lock"


def outdated(folder: Path, study: Study) -> list[Cell]:
    """Cells that were run with other parameters, or on other images, than the study has now.

    They are those that DVC would run again. Cells that it has no record of are none of them.

    Args:
        folder: of the study.
        study: what is declared there.
    """
    file = folder / LOCK_FILE
    if not file.exists():
        return []
    recorded = yaml.load(file.read_bytes(), yaml.CSafeLoader)["stages"]  # of many cells: seconds
    images = {out["path"]: out["md5"] for stage in recorded.values() for out in stage["outs"]}
    return [
        cell
        for cell in study.cells()
        if (stage := recorded.get(cell.stage)) is not None
        and (_parameters_differ(stage, study) or _images_differ(stage, images))
    ]


def _parameters_differ(stage: dict[str, Any], study: Study) -> bool:
    declared = study.model_dump()
    for key, value in stage["params"][STUDY_FILE].items():
        section, _, name = key.partition(".")
        if (declared[section][name] if name else declared[section]) != value:
            return True
    return False


def _images_differ(stage: dict[str, Any], images: dict[str, str]) -> bool:
    return any(images.get(each["path"]) != each["md5"] for each in stage["deps"])
