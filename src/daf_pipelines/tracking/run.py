"""An experiment as one MLflow run, possibly over several processes."""

import json
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pandas as pd
from mlflow import MlflowClient
from mlflow.data.pandas_dataset import from_pandas
from mlflow.entities import DatasetInput, InputTag, Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID
from sqlalchemy.exc import SQLAlchemyError

from daf_pipelines.errors import ParameterError
from daf_pipelines.locks import locked
from daf_pipelines.methods import kind_of, method_of, strategy_of
from daf_pipelines.resources import git_commit

LOG = logging.getLogger(__name__)
RECORD = "mlflow_run.json"
STUDY, KIND = "study", "kind"  # tags
DATASETS = "-datasets"  # ends the name of the experiment that holds the datasets' cards
COMPARISONS = "-comparisons"  # ... that holds the comparisons
METRICS_PER_REQUEST = 1000
PATIENCE = "5"  # seconds
NO_STRATEGY = "none"  # of methods that see normal images only
DIGEST_LENGTH = 36  # MLflow's limit


def tracking_uri(config: dict[str, Any]) -> str:
    """The store: ``MLFLOW_TRACKING_URI`` where it is set, otherwise the configured one."""
    return os.environ.get("MLFLOW_TRACKING_URI") or str(config["uri"])


def flatten(parameters: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested sections as one level: ``{"dataset.source": "elpv", ...}``."""
    flat: dict[str, Any] = {}
    for key, value in parameters.items():
        name = f"{prefix}{key}"
        flat |= flatten(value, f"{name}.") if isinstance(value, dict) else {name: value}
    return flat


@dataclass(frozen=True)
class RunRecord:
    """Which run an artifact belongs to; kept in the artifact's folder."""

    run_id: str
    experiment: str

    def write(self, folder: Path, name: str = RECORD) -> None:
        """Keep the record in ``folder``."""
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps({"run_id": self.run_id, "experiment": self.experiment})
        (folder / name).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def read(cls, file: Path) -> "RunRecord | None":
        """The record in ``file``, or ``None``."""
        return cls(**json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else None


class ExperimentRun:
    """The MLflow run of an experiment.

    Args:
        client: of the tracking store.
        record: the run.
        is_new: whether this process opened it.
    """

    def __init__(self, client: MlflowClient, record: RunRecord, is_new: bool) -> None:
        self.client = client
        self.record = record
        self.is_new = is_new
        self._next_steps: dict[str, int] = {}  # of the curves, by phase

    @classmethod
    def open(
        cls,
        config: dict[str, Any],
        project: Path,
        parameters: dict[str, Any],
        key: str,
        name: str,
        candidates: list[Path],
        restart: bool,
        tags: dict[str, str] | None = None,
    ) -> "ExperimentRun":
        """Go on in the experiment's run, or open one.

        Args:
            config: section ``tracking`` of the configuration.
            project: folder of the project, whose git commit is recorded.
            parameters: of the experiment, nested.
            key: fingerprint of the experiment.
            name: of the dataset, for the name of the run.
            candidates: files that may hold the record of this experiment's run.
            restart: training starts anew, so a run that has ended is left alone.
            tags: of a run that is opened, instead of its own; ``study`` also puts it under the run
                of that study.

        Raises:
            ParameterError: MLflow refuses the tracking store.
        """
        client, experiment = _connect(config, config["experiment"])
        try:
            for record in filter(None, map(RunRecord.read, candidates)):
                if record.experiment == key and _can_go_on(client, record.run_id, restart):
                    client.update_run(record.run_id, status="RUNNING")
                    return cls(client, record, is_new=False)
            run = client.create_run(experiment, run_name=_run_name(name, parameters))
            opened = cls(client, RunRecord(run.info.run_id, key), is_new=True)
            opened._describe(parameters, project)
            if tags:
                opened.tag(**tags)
            if tags and STUDY in tags:
                parent = _study_run(client, tracking_uri(config), experiment, tags[STUDY])
                opened.tag(**{MLFLOW_PARENT_RUN_ID: parent})
        except MlflowException as error:
            raise _refusal(tracking_uri(config), error) from error
        return opened

    @classmethod
    def of_dataset(cls, config: dict[str, Any], summary: dict[str, Any]) -> "ExperimentRun":
        """The run that holds a dataset's card: one a dataset, in an experiment beside the others.

        Raises:
            ParameterError: MLflow refuses the tracking store.
        """
        client, experiment = _connect(config, f"{config['experiment']}{DATASETS}")
        found = client.search_runs([experiment], f"tags.data_hash = '{summary['data_hash']}'")
        name = f"{summary['source']}-{summary['category']}"
        run = found[0] if found else client.create_run(experiment, run_name=name)
        return cls(client, RunRecord(run.info.run_id, summary["data_hash"]), is_new=not found)

    @classmethod
    def of_comparison(cls, config: dict[str, Any], table: pd.DataFrame) -> "ExperimentRun":
        """A run that holds a comparison, in an experiment beside the compared ones.

        Args:
            config: section ``tracking`` of the configuration.
            table: as :func:`~daf_pipelines.comparison.comparison_table` gives it.
        """
        client, experiment = _connect(config, f"{config['experiment']}{COMPARISONS}")
        compared = table["run_id"].drop_duplicates().tolist()
        run = client.create_run(experiment, run_name=f"comparison-of-{len(compared)}")
        opened = cls(client, RunRecord(run.info.run_id, ""), is_new=True)
        told = {name: table[name].unique() for name in ("dataset", "category", "strategy")}
        opened.tag(
            compared=", ".join(compared),
            baseline=", ".join(table["baseline"].unique()),
            **{name: ", ".join(sorted(values)) for name, values in told.items()},
        )
        return opened

    @classmethod
    def of_study(cls, config: dict[str, Any], study: str) -> "ExperimentRun":
        """The run that those of a study lie under, for what is read out of them.

        Raises:
            ParameterError: MLflow refuses the tracking store.
        """
        client, experiment = _connect(config, config["experiment"])
        run_id = _study_run(client, tracking_uri(config), experiment, study)
        return cls(client, RunRecord(run_id, ""), is_new=False)

    def _describe(self, parameters: dict[str, Any], project: Path) -> None:
        params = [Param(k, str(v)) for k, v in flatten(parameters).items()]
        self.client.log_batch(self.record.run_id, params=params)
        self.tag(
            strategy=strategy_of(parameters) or NO_STRATEGY,
            method=method_of(parameters),
            seed=str(parameters["seed"]),
            git_commit=git_commit(project),
            experiment=self.record.experiment,
        )

    def tag(self, **tags: str) -> None:
        """Set tags of the run."""
        entities = [RunTag(k, v) for k, v in tags.items()]
        self.client.log_batch(self.record.run_id, tags=entities)

    def log_dataset(self, manifest: pd.DataFrame, summary: dict[str, Any]) -> None:
        """Record which images the experiment is about, with their hash."""
        name = f"{summary['source']}-{summary['category']}"
        dataset = from_pandas(
            manifest[["path", "split", "label", "defect_type", "content_hash"]].astype(str),
            name=name,
            digest=summary["data_hash"][:DIGEST_LENGTH],
        )
        entry = DatasetInput(
            dataset._to_mlflow_entity(), [InputTag("mlflow.data.context", "experiment")]
        )
        self.client.log_inputs(self.record.run_id, [entry])
        self.tag(
            dataset=summary["source"], category=summary["category"], data_hash=summary["data_hash"]
        )

    def log_history(self, phase: str, history: pd.DataFrame) -> None:
        """Record the curves of a training phase by step, leaving out steps that the run has."""
        columns = [c for c in history.columns if c not in ("step", "epoch")]
        new = history[history["step"] >= self._next_step(phase)]
        now = int(time.time() * 1000)
        size = METRICS_PER_REQUEST // len(columns)  # whole steps: a failure leaves no gaps
        for start in range(0, len(new), size):
            part = new.iloc[start : start + size]
            metrics = [
                Metric(f"{phase}/{c}", float(row[c]), now, int(row["step"]))
                for row in part.to_dict("records")
                for c in columns
            ]
            self.client.log_batch(self.record.run_id, metrics=metrics)
            self._next_steps[phase] = int(part["step"].iloc[-1]) + 1

    def _next_step(self, phase: str) -> int:
        if phase not in self._next_steps:
            key = f"{phase}/learning_rate"  # every phase has it
            known = [] if self.is_new else self.client.get_metric_history(self.record.run_id, key)
            self._next_steps[phase] = max((m.step + 1 for m in known), default=0)
        return self._next_steps[phase]

    def log_metrics(self, metrics: dict[str, Any]) -> None:
        """Record metrics that have a value."""
        now = int(time.time() * 1000)
        numbers = {k: v for k, v in metrics.items() if _is_number(v)}
        entities = [Metric(k, float(v), now, 0) for k, v in numbers.items()]
        self.client.log_batch(self.record.run_id, metrics=entities)

    def log_file(self, path: Path, folder: str) -> None:
        """Copy a file into the run's artifacts."""
        self.client.log_artifact(self.record.run_id, str(path), folder)

    def discard(self) -> None:
        """Delete the run."""
        self.client.delete_run(self.record.run_id)

    def close(self, status: str) -> None:
        """End the run: FINISHED, FAILED or KILLED."""
        self.client.set_terminated(self.record.run_id, status)


def _study_run(client: MlflowClient, uri: str, experiment: str, study: str) -> str:
    """Id of the run that those of a study lie under; it is made where there is none."""
    condition = f"tags.{KIND} = '{STUDY}' and tags.{STUDY} = '{study}'"
    with _alone(uri):  # its first cells may look for it at once
        found = client.search_runs([experiment], condition, max_results=1)
        if found:
            return str(found[0].info.run_id)
        told = {KIND: STUDY, STUDY: study}
        made = client.create_run(experiment, run_name=f"study-{study}", tags=told).info.run_id
        client.set_terminated(made)
        return str(made)


def _can_go_on(client: MlflowClient, run_id: str, restart: bool) -> bool:
    try:
        info = client.get_run(run_id).info
    except MlflowException:
        return False  # recorded in another store, or deleted there
    return info.lifecycle_stage == "active" and not (restart and info.status == "FINISHED")


def find_experiment(config: dict[str, Any], name: str) -> tuple[MlflowClient, str | None]:
    """The store, and the id of an experiment in it; ``None`` where it has none of that name.

    Raises:
        ParameterError: MLflow refuses the tracking store.
    """
    uri = tracking_uri(config)
    try:
        with _alone(uri):
            client = MlflowClient(uri)
            found = client.get_experiment_by_name(name)
    except (MlflowException, ImportError, OSError, SQLAlchemyError) as error:
        raise _refusal(uri, error) from error
    return client, str(found.experiment_id) if found else None


@contextmanager
def _alone(uri: str) -> Iterator[None]:
    """Two processes that make the tables of a local database at once would spoil them."""
    database = _database(uri)
    if database is None or not database.parent.is_dir():
        yield
        return
    with locked(database.with_name(f"{database.name}.lock"), "The tracking store", patient=True):
        yield


def check_store(config: dict[str, Any]) -> None:
    """Ask the store for anything, once; a server for a few seconds at most.

    MLflow itself would try a silent server again and again, and it would first do so when a run is
    opened, after the images have been read.

    Raises:
        ParameterError: MLflow cannot use it.
    """
    with _environment(MLFLOW_HTTP_REQUEST_MAX_RETRIES="0", MLFLOW_HTTP_REQUEST_TIMEOUT=PATIENCE):
        find_experiment(config, config["experiment"])


@contextmanager
def _environment(**variables: str) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _connect(config: dict[str, Any], experiment: str) -> tuple[MlflowClient, str]:
    """The store, and the id of an experiment in it, which is made where it has none."""
    client, found = find_experiment(config, experiment)
    if found is not None:
        return client, found
    uri = tracking_uri(config)
    location = _artifact_location(uri, config["artifacts"])
    try:
        return client, str(client.create_experiment(experiment, artifact_location=location))
    except MlflowException as error:
        raise _refusal(uri, error) from error


def _refusal(uri: str, error: Exception) -> ParameterError:
    return ParameterError(
        f"MLflow cannot use the tracking store {uri}: {error}. Start its server, or correct the "
        "variable MLFLOW_TRACKING_URI, or tracking.uri in conf/local/tracking.yml."
    )


def _artifact_location(uri: str, folder: str) -> str | None:
    """Beside the file of a local database; a server keeps artifacts itself."""
    database = _database(uri)
    return (database.parent / folder).resolve().as_uri() if database else None


def _database(uri: str) -> Path | None:
    """The file of a local database."""
    if not uri.startswith("sqlite:"):
        return None
    return Path(urlsplit(uri).path[1:])  # sqlite:///relative, sqlite:////absolute


def _run_name(dataset: str, parameters: dict[str, Any]) -> str:
    # What runs mostly differ in comes first: MLflow's tables cut names off.
    return "-".join([*kind_of(parameters), f"seed{parameters['seed']}", dataset])


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)
