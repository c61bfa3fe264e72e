"""A cell of a study: one ``kedro run``, and the small file that is kept of it."""

import hashlib
import json
import math
import shutil
import sys
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from daf_pipelines.atomic import written_file
from daf_pipelines.errors import DAFError
from daf_pipelines.metrics.bootstrap import read_pixel_counts
from daf_pipelines.parameters import DatasetParams
from daf_pipelines.reporting.evaluation import read_image_scores
from daf_pipelines.resources import git_commit, machine
from daf_pipelines.run_parameters import RunParameters
from daf_pipelines.sources.manifest import data_hash, make_manifest, read_dataset
from daf_pipelines.study import processes
from daf_pipelines.study.draws import PIXEL_DRAWS, draws, kept_replicates
from daf_pipelines.study.plan import Cell, Study

WORK = Path("data/study")
DIGITS = 9  # a float32 exactly: rounding must not make ties
TAIL = 15  # lines of the log that an error shows


class CellError(DAFError):
    """The run of a cell has failed."""


def run_cell(folder: Path, study: Study, cell: Cell) -> None:
    """Run a cell and keep its results in ``folder/cells/NAME.json``.

    What it makes on the way lies in ``data/study`` until then: after an interruption it goes on
    from its last checkpoint.

    Raises:
        CellError: the run fails; the message has the end of its log.
    """
    work = WORK / study.name / cell.name
    work.mkdir(parents=True, exist_ok=True)
    params = study.parameters(cell)
    _share(_decoded(study, cell.dataset, params.dataset), work / "02_intermediate/decoded")
    run = {
        "pipelines": study.pipelines(cell),
        "conf_source": str(_configure(work / "conf", params)),
        "params": {"data_dir": str(work)},
    }
    (work / "run.yml").write_text(yaml.safe_dump({"run": run}), encoding="utf-8")
    commit = git_commit(Path())  # before a long run, in which another may be checked out
    try:
        _kedro_run(cell, work)
    finally:
        shutil.rmtree(work / "conf")  # conf/local may hold credentials
    with written_file(folder / "cells" / f"{cell.name}.json") as partial:
        partial.write_text(_as_text(results(cell, work, commit)), encoding="utf-8")
    shutil.rmtree(work)


def _configure(folder: Path, params: RunParameters) -> Path:
    """The project's configuration, but for the parameters: they are the cell's alone."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree("conf", folder, ignore=shutil.ignore_patterns("parameters*"))
    text = yaml.safe_dump(params.model_dump(mode="json"))
    (folder / "base/parameters.yml").write_text(text, encoding="utf-8")
    return folder


def _decoded(study: Study, dataset: str, params: DatasetParams) -> Path:
    """Prepared pixels of a dataset, which its cells of one size have in common."""
    size = f"{params.image_size}-{params.resize}"
    return WORK / study.name / "decoded" / f"{dataset}-{size}"


def _share(folder: Path, link: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)  # a method may want images of another size
    link.parent.mkdir(exist_ok=True)
    if link.is_symlink():  # of an interrupted run, in which images may have had another size
        link.unlink()
    if not link.exists():
        with suppress(OSError):  # where links are not allowed, each cell decodes for itself
            link.symlink_to(folder.resolve())


def _kedro_run(cell: Cell, work: Path) -> None:
    log = work / "log.txt"
    command = [sys.executable, "-m", "kedro", "run", "--config", str(work / "run.yml")]
    with log.open("w", encoding="utf-8") as file:
        status = processes.run(command, file)
    if status:
        end = "\n".join(log.read_text(encoding="utf-8").splitlines()[-TAIL:])
        raise CellError(f"The run of cell {cell.name} ended with status {status} ({log}):\n{end}")


def results(cell: Cell, work: Path, commit: str) -> dict[str, Any]:
    """What is kept of a run of a commit's code, from the files that it has left in ``work``."""
    reporting = work / "08_reporting"
    summary = _read(reporting / "dataset.json")
    scores = read_image_scores(reporting / "image_scores.csv").sort_values("path")
    labels, groups = scores["label"].to_numpy(np.intp), numbered(scores["group"])
    test_images = _digest("\n".join(scores["path"]))
    counts = read_pixel_counts(reporting / "pixel_counts.npz")
    data = cell.dataset, summary["category"]
    transfer = reporting / "transfer.csv"
    tried = pd.read_csv(transfer).to_dict("records") if transfer.exists() else []
    return {
        **vars(cell),
        "category": summary["category"],
        "metrics": _read(reporting / "metrics.json"),
        "transfer": [{k: _short(v) for k, v in row.items()} for row in tried],
        "test_images": test_images,
        "labels": "".join(map(str, labels)),
        "groups": groups,
        "scores": [_short(score) for score in scores["raw_score"]],
        "pixel_replicates": {}
        if counts is None
        else kept_replicates(
            counts[scores.index.to_numpy()], draws(data, test_images, labels, groups, PIXEL_DRAWS)
        ),
        "run_id": _read(work / "06_models/detector/mlflow_run.json")["run_id"],
        "git_commit": commit,
        "machine": _in_words(machine()),
        "date": datetime.now(UTC).date().isoformat(),
    }


def _in_words(facts: dict[str, str]) -> str:
    """As "AMD EPYC, threads: 2, Linux, torch 2.14.1"."""
    return "{processor}, threads: {threads}, {system}, torch {torch}".format(**facts)


def numbered(groups: "pd.Series[Any]") -> list[int]:
    """Groups by number, an image without one being its own; none, where no image has one."""
    own = pd.Series(range(len(groups)), index=groups.index)
    names = groups.where(groups.notna(), own)
    return [] if groups.isna().all() else pd.factorize(names)[0].tolist()


def describe_data(folder: Path, study: Study, dataset: str) -> None:
    """Write which images a dataset has to ``folder/data/NAME.json``, which its cells depend on.

    Raises:
        DataError: it is not there, or has errors.
    """
    params = study.dataset_params(dataset)
    reading = read_dataset(params, 0, _decoded(study, dataset, params))
    manifest = make_manifest(reading, params)
    counts = manifest["defect_type"].value_counts().sort_index()
    facts = {"data_hash": data_hash(manifest), "images": {k: int(v) for k, v in counts.items()}}
    with written_file(folder / "data" / f"{dataset}.json") as partial:
        partial.write_text(_as_text(facts), encoding="utf-8")


def _as_text(content: dict[str, Any]) -> str:
    """JSON with a line for each entry: what git shows of a change can be read."""
    lines = [f" {json.dumps(key)}: {json.dumps(value)}" for key, value in content.items()]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _read(file: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return content


def _short(value: Any) -> Any:
    if not isinstance(value, float):
        return value
    return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
