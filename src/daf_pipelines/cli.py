"""``kedro run`` for this project: a user's mistake ends in one message, without a traceback."""

import copy
import functools
import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import click
from kedro.config import MissingConfigException
from kedro.framework.cli.project import run as kedro_run
from kedro.framework.project import pipelines
from kedro.io.core import DatasetError
from yaml import YAMLError

from daf_pipelines.errors import DAFError, explain_files
from daf_pipelines.sources.base import require_known

AT_ONCE = "Stopped at once. The same command goes on from the last checkpoint, if any."
ELSEWHERE = "; or use another folder, for all that is made with --params data_dir=FOLDER"
# They tell of an error beside the message or the traceback that the command ends with.
LOUD_LOGGERS = ("kedro.pipeline.node", "kedro.runner.sequential_runner")


class _Mistake(click.ClickException):
    """Shown as ``Error: ...``, exit status 1."""


def _stopped(message: str, number: signal.Signals) -> click.exceptions.Exit:
    """Asked for by a signal: not an error, but the exit status that goes with the signal."""
    click.echo(message, err=True)
    return click.exceptions.Exit(128 + number)


def _explain(error: Exception) -> str | None:
    """What a user's mistake is; ``None`` for any other error."""
    cause: BaseException | None = error
    while cause is not None:  # Kedro wraps what datasets raise.
        if isinstance(cause, DAFError | MissingConfigException):
            return str(cause)
        if isinstance(cause, OSError) and (told := explain_files(cause, ELSEWHERE)):
            return told
        if isinstance(cause, YAMLError):
            return f"The configuration is not valid YAML: {cause}"
        if isinstance(cause, FileNotFoundError) and isinstance(error, DatasetError):
            return f"{cause.filename} not found. Run the pipelines before this one: kedro run."
        cause = cause.__cause__
    return None


@contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM, too, unwinds what is running, so that nothing stays open."""
    ours = (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    )
    if ours:
        signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        if ours:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _interrupt(number: int, _: FrameType | None) -> None:
    raise KeyboardInterrupt(signal.Signals(number))


def _close_run() -> None:
    """Kedro tells its hooks of errors, but not of an interrupt."""
    from daf_pipelines.settings import HOOKS
    from daf_pipelines.tracking.hooks import TrackingHooks

    for hooks in HOOKS:
        if isinstance(hooks, TrackingHooks):
            hooks.abandon()


def _without_traceback(callback: Any) -> Any:
    @functools.wraps(callback)
    def run(*args: Any, **kwargs: Any) -> Any:
        for name in LOUD_LOGGERS:
            logging.getLogger(name).addFilter(_is_calm)
        try:
            for name in kwargs["pipelines"] or filter(None, [kwargs["pipeline"]]):
                require_known("--pipelines", name, pipelines)
            with _terminable():
                return callback(*args, **kwargs)
        except KeyboardInterrupt as error:
            _close_run()
            raise _stopped(AT_ONCE, next(iter(error.args), signal.SIGINT)) from error
        except Exception as error:
            number = getattr(error, "signal", None)  # the class is imported with torch only
            if isinstance(error, DAFError) and number is not None:
                raise _stopped(str(error), number) from error
            message = _explain(error)
            if message is None:
                raise
            raise _Mistake(message) from error

    return run


def _is_calm(record: logging.LogRecord) -> bool:
    return record.levelno < logging.WARNING


@click.group(name="daf_pipelines")
def cli() -> None:
    """Commands of this project."""


run = copy.copy(kedro_run)
run.callback = _without_traceback(kedro_run.callback)
cli.add_command(run)
