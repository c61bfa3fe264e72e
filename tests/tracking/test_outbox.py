"""Training goes on while MLflow fails, and what it has missed is recorded later."""

import logging
import os
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from sqlalchemy import Engine, event

from daf_pipelines.errors import ParameterError
from daf_pipelines.tracking import outbox
from daf_pipelines.tracking.outbox import Outbox
from daf_pipelines.tracking.run import ExperimentRun, check_store
from daf_pipelines.training.batches import Batches
from small_project import SmallProject

CONFIG = {"uri": "sqlite:///configured.db", "experiment": "daf", "artifacts": "mlartifacts"}
PARAMETERS = {"seed": 0, "synthesis": {"strategy": "draem"}}
WARNING = "did not record"
PATIENCE_SECONDS = 120


def history(steps: int) -> pd.DataFrame:
    rows = [
        {"step": s, "epoch": 0, "learning_rate": 0.1, "kd": 1.0 / (s + 1)} for s in range(steps)
    ]
    return pd.DataFrame(rows)


def opened(folder: Path) -> ExperimentRun:
    return ExperimentRun.open(CONFIG, folder, PARAMETERS, "key", "elpv-mono", [], restart=True)


def curve(run: ExperimentRun, name: str = "decoder/kd") -> list[int]:
    return [m.step for m in run.client.get_metric_history(run.record.run_id, name)]


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]


@pytest.fixture
def store(empty_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "mlflow.db"
    file.write_bytes(empty_store.read_bytes())
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{file}")
    return file


@pytest.fixture
def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Outbox:
    """Tries again at once."""
    monkeypatch.setattr(outbox, "TRY_AGAIN_SECONDS", 0.0)
    return Outbox(tmp_path / "run.missing", "the store")


class Flaky:
    """An action that fails at first."""

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.calls = 0

    def __call__(self, *_: object) -> None:
        self.calls += 1
        if self.calls <= self.failures:
            raise OSError("not there\nmore")


class TestOutbox:
    def test_records_at_once(self, box: Outbox) -> None:
        action, told = Flaky(0), []
        box.send("a", action)
        assert action.calls == 1
        assert box.close(told.append)
        assert told == [True]
        assert not box.owes

    def test_what_failed_is_recorded_with_the_next(
        self, box: Outbox, caplog: pytest.LogCaptureFixture
    ) -> None:
        first, second = Flaky(1), Flaky(0)
        box.send("a", first)
        assert box.owes
        box.send("b", second)
        assert (first.calls, second.calls) == (2, 1)
        with caplog.at_level(logging.INFO):
            assert box.close(lambda _: None)
        assert not box.owes
        (text,) = warnings(caplog)
        assert text.startswith("MLflow (the store) did not record a: not there. The run goes on")
        assert "the same command" in text
        assert "MLflow has recorded all that it had missed." in caplog.text

    def test_what_is_refused_does_not_hold_back_the_others(self, box: Outbox) -> None:
        bad, good = Flaky(99), Flaky(0)
        box.send("bad", bad)
        box.send("good", good)
        assert not box.close(lambda _: None)
        assert (good.calls, bad.calls) == (1, 3)
        assert box.owes

    def test_newest_of_a_name_replaces_the_waiting(self, box: Outbox) -> None:
        old, new = Flaky(1), Flaky(0)
        box.send("curves", old)
        box.send("curves", new)
        assert (old.calls, new.calls) == (1, 1)

    def test_a_failing_store_is_left_alone_for_a_while(
        self, box: Outbox, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setattr(outbox, "TRY_AGAIN_SECONDS", 60.0)
        actions = [Flaky(99) for _ in range(5)]
        for number, action in enumerate(actions):
            box.send(str(number), action)
        assert [a.calls for a in actions] == [1, 0, 0, 0, 0]
        end = Flaky(99)
        assert not box.close(end)
        assert sum(a.calls for a in actions) == 1 + outbox.LAST_ATTEMPTS
        assert end.calls == 1
        assert len(warnings(caplog)) == 1

    def test_an_error_without_a_message(
        self, box: Outbox, caplog: pytest.LogCaptureFixture
    ) -> None:
        def silent() -> None:
            raise TimeoutError

        box.send("a", silent)
        assert box.owes
        (text,) = warnings(caplog)
        assert "did not record a: TimeoutError, no details. The run goes on" in text

    def test_other_errors_are_not_swallowed(self, box: Outbox) -> None:
        with pytest.raises(ZeroDivisionError):
            box.send("a", lambda: 1 // 0)  # type: ignore[arg-type, return-value]


class TestCurves:
    def test_each_step_once(self, store: Path, tmp_path: Path) -> None:
        run = opened(tmp_path)
        for steps in (3, 3, 7):
            run.log_history("decoder", history(steps))
        assert curve(run) == list(range(7))

    def test_each_step_once_over_two_processes(self, store: Path, tmp_path: Path) -> None:
        first = opened(tmp_path)
        first.log_history("decoder", history(5))
        first.record.write(tmp_path)
        second = ExperimentRun.open(
            CONFIG, tmp_path, PARAMETERS, "key", "n", [tmp_path / "mlflow_run.json"], restart=True
        )
        second.log_history("decoder", history(8))
        assert second.record == first.record
        assert curve(second) == list(range(8))

    def test_more_than_a_request_holds(
        self, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("daf_pipelines.tracking.run.METRICS_PER_REQUEST", 5)
        run = opened(tmp_path)
        run.log_history("decoder", history(7))
        assert curve(run) == curve(run, "decoder/learning_rate") == list(range(7))

    def test_of_no_steps(self, store: Path, tmp_path: Path) -> None:
        run = opened(tmp_path)
        run.log_history("decoder", pd.DataFrame(columns=["step", "epoch", "learning_rate"]))
        assert curve(run) == []


@pytest.fixture
def impatient() -> Iterator[None]:
    """MLflow does not wait 20 seconds for the lock of an SQLite store."""

    shortened = []

    def shorten(*arguments: Any) -> tuple[str, Any]:
        _, _, statement, parameters, _, _ = arguments
        if "busy_timeout = 20000" in statement:
            shortened.append(statement)
        return statement.replace("busy_timeout = 20000", "busy_timeout = 100"), parameters

    event.listen(Engine, "before_cursor_execute", shorten, retval=True)
    yield
    event.remove(Engine, "before_cursor_execute", shorten)
    assert shortened


class TestStore:
    def test_locked_database(
        self,
        store: Path,
        tmp_path: Path,
        box: Outbox,
        impatient: None,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        run = opened(tmp_path)
        with closing(sqlite3.connect(store, isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            box.send("curves", lambda: run.log_history("decoder", history(3)))
            other.execute("ROLLBACK")
        (text,) = warnings(caplog)
        assert "database is locked" in text
        assert curve(run) == []
        box.send("curves", lambda: run.log_history("decoder", history(6)))
        assert box.close(lambda _: run.close("FINISHED"))
        assert curve(run) == list(range(6))
        assert run.client.get_run(run.record.run_id).info.status == "FINISHED"

    def test_unreachable_before_training(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        uri = f"http://127.0.0.1:{free_port()}"
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        with pytest.raises(ParameterError, match=rf"cannot use the tracking store {uri}.*Start"):
            opened(tmp_path)


class TestBeforeTheFirstNode:
    """A store that cannot be used is found before any time is spent."""

    def check(self, uri: str) -> float:
        began = time.monotonic()
        with pytest.raises(ParameterError, match=rf"cannot use the tracking store {uri}.*Start"):
            check_store(CONFIG | {"uri": uri})
        return time.monotonic() - began

    def test_patience_is_short(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "99")
        monkeypatch.delenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", raising=False)
        monkeypatch.setattr("daf_pipelines.tracking.run.PATIENCE", "1")
        self.check(f"http://127.0.0.1:{free_port()}")
        with closing(socket.socket()) as silent:
            silent.bind(("127.0.0.1", 0))
            silent.listen()
            assert self.check(f"http://127.0.0.1:{silent.getsockname()[1]}") < 20
        assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "99"
        assert "MLFLOW_HTTP_REQUEST_MAX_RETRIES" not in os.environ

    def test_store_that_answers(self, store: Path) -> None:
        check_store(CONFIG)

    @pytest.mark.parametrize("pipeline", [(), ("--pipelines", "data_ingestion")])
    def test_nothing_is_made(self, project: SmallProject, pipeline: tuple[str, ...]) -> None:
        project.uri = f"http://127.0.0.1:{free_port()}"
        result = project.invoke(*pipeline)
        assert result.exit_code == 1, result.output
        assert f"Error: MLflow cannot use the tracking store {project.uri}" in result.output
        assert "Traceback" not in result.output
        assert [p for p in project.folder.rglob("*") if p.is_file()] == [
            project.folder / "mlflow.db"
        ]

    def test_not_asked_where_nothing_is_recorded(self, project: SmallProject) -> None:
        project.uri = f"http://127.0.0.1:{free_port()}"
        result = project.invoke("--pipelines", "outlier_synthesis")
        assert "tracking store" not in result.output


def free_port() -> int:
    with closing(socket.socket()) as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextmanager
def server(store: Path, port: int) -> Iterator[str]:
    """A real MLflow server on a local store."""
    uri = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "mlflow", "server", "--port", str(port), "--workers", "1"]
    options = ["--backend-store-uri", f"sqlite:///{store}"]
    options += ["--artifacts-destination", str(store.with_name("artifacts"))]
    process = subprocess.Popen(
        [*command, *options],
        env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        wait_for(lambda: answers(f"{uri}/health"))
        yield uri
    finally:
        os.killpg(process.pid, 9)
        process.wait()
        wait_for(lambda: not answers(f"{uri}/health"))


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_server_that_goes_and_comes_back(
    store: Path,
    tmp_path: Path,
    box: Outbox,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    port, losses = free_port(), tmp_path / "losses.csv"
    history(6).to_csv(losses)
    with server(store, port) as uri:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        run = opened(tmp_path)
        box.send("curves", lambda: run.log_history("decoder", history(2)))
        assert curve(run) == [0, 1]
    for steps in (4, 6):
        box.send("curves", lambda n=steps: run.log_history("decoder", history(n)))  # type: ignore[misc]
    box.send("losses", lambda: run.log_file(losses, "training"))
    assert box.owes
    (text,) = warnings(caplog)
    assert WARNING in text
    with server(store, port):
        assert box.close(lambda _: run.close("FINISHED"))
        assert not box.owes
        assert curve(run) == list(range(6))
        (file,) = run.client.list_artifacts(run.record.run_id, "training")
        assert file.path == "training/losses.csv"
        assert run.client.get_run(run.record.run_id).info.status == "FINISHED"


def rename(store: Path, table: str, name: str) -> None:
    with closing(sqlite3.connect(store)) as database, database:
        database.execute("PRAGMA legacy_alter_table = ON")
        database.execute(f"ALTER TABLE {table} RENAME TO {name}")


def test_store_that_fails_in_training(
    project: SmallProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = project.folder / "mlflow.db"
    synthesise = Batches.__getitem__
    steps: list[int] = []

    def breaking(batches: Batches, step: int) -> Any:
        steps.append(step)
        if len(steps) == 7:
            rename(store, "metrics", "lost")
        return synthesise(batches, step)

    monkeypatch.setattr(Batches, "__getitem__", breaking)
    result = project.invoke()
    assert result.exit_code == 0, result.output
    assert len(steps) == 30
    (failed,) = project.runs()
    assert failed.info.status == "FAILED"  # not finished: the same command goes on in it
    for name in ("teacher_student_losses.csv", "report.html"):
        assert project.path(f"08_reporting/{name}").is_file()
    kept = {p.suffix for p in project.path("06_models/checkpoints").iterdir()}
    assert kept == {".pt", ".json", ".missing"}

    rename(store, "lost", "metrics")
    result = project.invoke()
    assert result.exit_code == 0, result.output
    assert len(steps) == 30  # nothing was trained again
    (run,) = project.runs()
    assert (run.info.run_id, run.info.status) == (failed.info.run_id, "FINISHED")
    for name, length in (("teacher_student/kd", 20), ("decoder/seg", 10)):
        found = project.client.get_metric_history(run.info.run_id, name)
        assert [m.step for m in found] == list(range(length))
    assert run.data.metrics["image_auroc"] == pytest.approx(project.metrics()["image_auroc"])
    assert list(project.path("06_models/checkpoints").iterdir()) == []
