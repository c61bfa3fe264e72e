"""This project's pipelines on a few real images, with everything they write in one folder."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from click.testing import CliRunner, Result
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project
from mlflow import MlflowClient
from mlflow.entities import Run

from daf_pipelines.study.plan import merged

ROOT = Path(__file__).parents[1]
LIMIT_SECONDS = 120
TINY = {
    "dataset": {"image_size": 64},
    "synthesis": {"validation_repeats": 2, "preview_rows": 2},
    "model": {"decoder": {"width": 16}},
    "teacher_student_training": {
        "length": 20,
        "batch_size": 2,
        "checkpoint_every": 5,
        "device": "cpu",
    },
    "decoder_training": {"length": 10, "batch_size": 2, "checkpoint_every": 5, "device": "cpu"},
}


def _heed_interrupts() -> None:
    """Whatever started the tests may have had its children ignore them."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def dotted(params: Mapping[str, Any], prefix: str = "") -> list[str]:
    """``a.b=value`` for each of nested parameters, as ``--params`` takes them."""
    parts: list[str] = []
    for key, value in params.items():
        name = f"{prefix}{key}"
        parts += dotted(value, f"{name}.") if isinstance(value, Mapping) else [f"{name}={value}"]
    return parts


class SmallProject:
    """The project with tiny budgets; files and MLflow store in ``folder``."""

    def __init__(self, folder: Path, dataset: dict[str, Any], store: Path | None = None) -> None:
        self.folder = folder
        self.params = merged(TINY, {"dataset": dataset, "data_dir": str(folder / "data")})
        self.uri = f"sqlite:///{folder / 'mlflow.db'}"
        folder.mkdir(parents=True, exist_ok=True)
        if store is not None:
            shutil.copy(store, folder / "mlflow.db")

    def copy(self, folder: Path) -> "SmallProject":
        """The same project, as far as it has got, in another folder."""
        shutil.copytree(self.folder / "data", folder / "data")
        return SmallProject(folder, self.params["dataset"], self.folder / "mlflow.db")

    def refuse(self, table: str) -> None:
        """Have the store refuse new rows of a table, as one that may only be read does."""
        with closing(sqlite3.connect(self.folder / "mlflow.db")) as database, database:
            database.execute(
                f"CREATE TRIGGER refuse_{table} BEFORE INSERT ON {table} "
                "BEGIN SELECT RAISE(ABORT, 'refused'); END"
            )

    @property
    def environment(self) -> dict[str, str]:
        """Variables of the project's processes."""
        source = str(ROOT / "src")
        return {**os.environ, "MLFLOW_TRACKING_URI": self.uri, "PYTHONPATH": source}

    @contextmanager
    def _inside(self, folder: Path) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("MLFLOW_TRACKING_URI", self.uri)
            patch.chdir(folder)
            bootstrap_project(ROOT)
            yield

    def run(
        self,
        *pipelines: str,
        env: str | None = None,
        to_outputs: list[str] | None = None,
        **changes: Any,
    ) -> None:
        """``kedro run`` in this process, through a session."""
        params = merged(self.params, changes)
        with (
            self._inside(self.folder),
            KedroSession.create(ROOT, env=env, runtime_params=params) as session,
        ):
            session.run(pipeline_names=list(pipelines), to_outputs=to_outputs)

    def context(self, env: str | None = None, **changes: Any) -> Any:
        """The Kedro context of a run."""
        params = merged(self.params, changes)
        with (
            self._inside(self.folder),
            KedroSession.create(ROOT, env=env, runtime_params=params) as session,
        ):
            return session.load_context()

    def arguments(self, *options: str, **changes: Any) -> list[str]:
        """Arguments of the command ``kedro``."""
        return ["run", "--params", ",".join(dotted(merged(self.params, changes))), *options]

    def command(self, *options: str, **changes: Any) -> list[str]:
        """The whole command, for a process of its own, to be started in the repository's root."""
        return [sys.executable, "-m", "kedro", *self.arguments(*options, **changes)]

    @contextmanager
    def training(self, **changes: Any) -> Iterator["subprocess.Popen[str]"]:
        """``kedro run`` in a process of its own, which has written a checkpoint of the student."""
        process = subprocess.Popen(
            self.command(**changes),
            cwd=ROOT,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            preexec_fn=_heed_interrupts,  # noqa: PLW1509
        )
        try:
            deadline = time.monotonic() + LIMIT_SECONDS
            while not list(self.path("06_models/checkpoints").glob("teacher-student-*.pt")):
                assert process.poll() is None, "ended before its first checkpoint"
                assert time.monotonic() < deadline
                time.sleep(0.005)
            yield process
        finally:
            process.kill()

    def invoke(self, *options: str, **changes: Any) -> Result:
        """``kedro run`` in this process, as the command line runs it."""
        with self._inside(ROOT):
            from daf_pipelines.cli import cli

            return CliRunner().invoke(cli, self.arguments(*options, **changes))

    def path(self, name: str) -> Path:
        """A file or folder of the catalog, by its place in ``data``."""
        return self.folder / "data" / name

    def scores(self) -> pd.DataFrame:
        """``image_scores.csv``, by path."""
        table = pd.read_csv(self.path("08_reporting/image_scores.csv"))
        return table.sort_values("path").reset_index(drop=True)

    def metrics(self) -> dict[str, Any]:
        """``metrics.json``."""
        text = self.path("08_reporting/metrics.json").read_text(encoding="utf-8")
        metrics: dict[str, Any] = json.loads(text)
        return metrics

    @property
    def client(self) -> MlflowClient:
        """Of the project's store."""
        return MlflowClient(self.uri)

    def runs(self) -> list[Run]:
        """The store's runs, newest first."""
        experiment = self.client.get_experiment_by_name("daf")
        return list(self.client.search_runs([experiment.experiment_id])) if experiment else []
