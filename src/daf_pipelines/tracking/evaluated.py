"""Evaluated runs, read back from MLflow for a comparison."""

import json
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from zipfile import BadZipFile

import numpy as np
import pandas as pd
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from daf_pipelines.comparison import EvaluatedRun, Selection
from daf_pipelines.errors import DataError, ParameterError
from daf_pipelines.metrics import METRICS, PixelCounts
from daf_pipelines.metrics.bootstrap import read_pixel_counts
from daf_pipelines.metrics.summary import CURVES
from daf_pipelines.parameters import ComparisonParams
from daf_pipelines.reporting.evaluation import read_image_scores
from daf_pipelines.tracking.run import find_experiment, tracking_uri

FOLDER = "evaluation"
SCORES, METRICS_FILE = "image_scores.csv", "metrics.json"
COUNTS, THUMBNAILS = "pixel_counts.npz", "thumbnails.parquet"
TESTED = ("test/n_test_normal", "n_test_normal")  # now, and in older runs
PAGE = 200
LISTED = 5
RUN_ID_LENGTH = 32


def read_runs(config: dict[str, Any], params: ComparisonParams) -> Selection:
    """The runs that ``params`` ask for, with their results.

    Args:
        config: section ``tracking`` of the configuration.
        params: which runs.

    Raises:
        ParameterError: a run is not there, several have the name, MLflow does not understand the
            filter, or refuses the store.
        DataError: a run is not evaluated, or there are fewer than two.
    """
    store = _Store(config)
    runs = _named(store, params.runs) if params.runs else _newest(store, params)
    baseline = store.find(params.baseline) if params.baseline else _default(runs, params)
    if baseline.info.run_id not in {run.info.run_id for run in runs}:
        runs.append(baseline)
    for run in runs:
        _require_evaluated(run)
    if len(runs) < 2:
        (run,) = runs
        found = "comparison.runs names" if params.runs else f"the {store} has"
        raise DataError(
            f"A comparison needs two evaluated runs; {found} only {_described(run)}"
            f"{_of_filter(params)}. Name another, or run another experiment: kedro run --params ..."
        )
    return Selection([_read(store.client, run) for run in runs], baseline.info.run_id)


class _Store:
    """The experiment that runs are recorded in.

    Raises:
        DataError: It has no run yet.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        self._name = f"experiment {config['experiment']!r} of {tracking_uri(config)}"
        self.client, experiment = find_experiment(config, config["experiment"])
        if experiment is None:
            raise DataError(f"The {self} has no runs yet. Make some first: kedro run.")
        self._experiment = experiment

    def __str__(self) -> str:
        return self._name

    def search(self, condition: str = "") -> Iterator[Run]:
        """Its runs, the newest first."""
        token = None
        while True:
            page = self.client.search_runs(
                [self._experiment],
                condition,
                order_by=["attributes.start_time DESC"],
                max_results=PAGE,
                page_token=token,
            )
            yield from page
            token = page.token
            if not token:
                return

    @cached_property
    def _all(self) -> list[Run]:
        return list(self.search())

    def find(self, name: str) -> Run:
        """The run of this id, name or beginning of an id; full ids of other experiments, too."""
        runs = self._all
        by_kind = (
            [run for run in runs if run.info.run_id == name],
            [run for run in runs if run.info.run_name == name],
            [run for run in runs if run.info.run_id.startswith(name.lower())],
        )
        found = next(filter(None, by_kind), None) or self._of_any_experiment(name)
        if len(found) > 1:
            raise ParameterError(
                f"comparison: {name!r} may be any of {len(found)} runs: {_listed(found)}. Name it "
                "by its id, or by a longer beginning of it."
            )
        if not found:
            raise ParameterError(
                f"comparison: the {self} has no run {name!r}. Expected the id of a run, a "
                f"beginning of it, or its name; the newest are {_listed(runs) or 'none'}."
            )
        return found[0]

    def _of_any_experiment(self, name: str) -> list[Run]:
        if len(name) != RUN_ID_LENGTH:
            return []
        try:
            return [self.client.get_run(name)]
        except MlflowException:
            return []


def _named(store: _Store, names: Sequence[str]) -> list[Run]:
    found = [store.find(name) for name in names]
    return list({run.info.run_id: run for run in found}.values())


def _newest(store: _Store, params: ComparisonParams) -> list[Run]:
    """The newest evaluated runs, of which the same experiment only once."""
    found: dict[str, Run] = {}
    try:
        for run in store.search(params.filter or ""):
            if run.info.status == "FINISHED" and _is_evaluated(run):
                found.setdefault(run.data.tags.get("experiment", run.info.run_id), run)
            if len(found) == params.limit:
                break
    except MlflowException as error:
        raise ParameterError(
            f"comparison.filter: MLflow does not understand {params.filter!r}: {error}. Write it "
            "as in its search box, e.g. tags.strategy = 'draem' and metrics.image_auroc > 0.9."
        ) from error
    if not found:
        raise DataError(
            f"The {store} has no finished, evaluated run{_of_filter(params)}. Make some first "
            "(kedro run), or change comparison.filter."
        )
    return list(found.values())


def _default(runs: Sequence[Run], params: ComparisonParams) -> Run:
    return runs[0] if params.runs else min(runs, key=lambda run: int(run.info.start_time))


def _of_filter(params: ComparisonParams) -> str:
    return f" that comparison.filter takes ({params.filter})" if params.filter else ""


def _is_evaluated(run: Run) -> bool:
    return any(name in run.data.metrics for name in (*TESTED, *METRICS))


def _require_evaluated(run: Run) -> None:
    if not _is_evaluated(run):
        raise DataError(
            f"The run {_described(run)} has no results on a test split. Evaluate it with the "
            "parameters it was trained with (kedro run --pipelines evaluation), or leave it out."
        )


def _listed(runs: Sequence[Run]) -> str:
    more = f" and {len(runs) - LISTED} more" if len(runs) > LISTED else ""
    return ", ".join(map(_described, runs[:LISTED])) + more


def _described(run: Run) -> str:
    started = _started(run).strftime("%Y-%m-%d %H:%M")
    return f"{run.info.run_id[:8]} ({run.info.run_name}, {started} UTC, {run.info.status.lower()})"


def _started(run: Run) -> datetime:
    return datetime.fromtimestamp(run.info.start_time / 1000, tz=UTC)


def _read(client: MlflowClient, run: Run) -> EvaluatedRun:
    """A run with as much of its results as it was recorded with."""
    facts, tables, counts = _artifacts(client, run)
    scores, thumbnails = (tables.get(name) for name in (SCORES, THUMBNAILS))
    curves = {name: tables[f"{name}.csv"] for name in CURVES if f"{name}.csv" in tables}
    lacks = {
        "image scores": scores is None,
        "calibrated scores": scores is not None and bool(scores["score"].isna().all()),
        # Without masks there are none, and metrics.json says so.
        "counts of pixels": counts is None and run.data.metrics.get("pixel_auroc") is not None,
        "curves": not curves,
        "thumbnails": thumbnails is None,
    }
    return EvaluatedRun(
        run_id=run.info.run_id,
        name=run.info.run_name or run.info.run_id[:8],
        started=_started(run),
        tags={k: v for k, v in run.data.tags.items() if not k.startswith("mlflow.")},
        parameters=run.data.params,
        metrics=_metrics(run, facts),
        intervals={k: (low, high) for k, (low, high) in (facts.get("intervals") or {}).items()},
        reasons=facts.get("not_available") or {},
        scores=scores,
        pixel_counts=counts,
        curves={name: curve for name, curve in curves.items() if len(curve)},
        thumbnails=thumbnails,
        missing=tuple(name for name, is_missing in lacks.items() if is_missing),
    )


def _artifacts(
    client: MlflowClient, run: Run
) -> tuple[dict[str, Any], dict[str, pd.DataFrame], PixelCounts | None]:
    """``metrics.json``, the tables by file, and the counts of pixels: what there is of it."""
    run_id = run.info.run_id
    readers: dict[str, Callable[[Path], pd.DataFrame]] = {
        SCORES: _scores,
        THUMBNAILS: pd.read_parquet,
    }
    readers |= {f"{name}.csv": pd.read_csv for name in CURVES}
    try:
        with TemporaryDirectory() as folder:
            names = {Path(file.path).name for file in client.list_artifacts(run_id, FOLDER)}
            files = {
                name: Path(client.download_artifacts(run_id, f"{FOLDER}/{name}", folder))
                for name in names & {METRICS_FILE, COUNTS, *readers}
            }
            facts = json.loads(files[METRICS_FILE].read_bytes()) if METRICS_FILE in files else {}
            tables = {name: read(files[name]) for name, read in readers.items() if name in files}
            counts = (
                read_pixel_counts(files[COUNTS]) if COUNTS in files and SCORES in files else None
            )
    except (MlflowException, OSError, ValueError, KeyError, BadZipFile) as error:
        raise DataError(
            f"The artifacts of the run {_described(run)} cannot be read from "
            f"{run.info.artifact_uri}: {error}. Leave the run out (comparison.runs), or make "
            "them readable."
        ) from error
    # Of the images of the scores, or of no use.
    return facts, tables, counts if counts and len(counts) == len(tables[SCORES]) else None


def _metrics(run: Run, facts: dict[str, Any]) -> dict[str, float | None]:
    """Metrics and costs, of the file, or else of MLflow, which has the costs in a section."""
    recorded = {name.removeprefix("cost/"): value for name, value in run.data.metrics.items()}
    told = {k: v for k, v in facts.items() if v is None or isinstance(v, int | float)}
    return {name: value for name, value in (recorded | told).items() if "/" not in name}


def _scores(file: Path) -> pd.DataFrame:
    table = read_image_scores(file)
    if "raw_score" not in table:  # from before scores were calibrated
        table = table.assign(raw_score=table["score"], score=np.nan)
    # Without groups: from before the images of one were drawn together.
    table = table.reindex(columns=["path", "label", "score", "raw_score", "group"])
    return table.astype({"group": object})
