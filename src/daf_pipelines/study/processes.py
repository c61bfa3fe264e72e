"""Child processes that are told of an interrupt, and waited for."""

import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, MappingProxyType
from typing import IO, Any


def start(
    command: Sequence[str],
    output: IO[str],
    folder: Path = Path(),
    variables: Mapping[str, str] = MappingProxyType({}),
) -> "subprocess.Popen[str]":
    """Start a child that a signal to this process's group, as from a terminal, does not reach."""
    return subprocess.Popen(
        command,
        stdout=output,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=folder,
        env={**os.environ, **variables},
        start_new_session=True,
    )


def wait(process: "subprocess.Popen[Any]") -> int:
    """Wait for a child to end. SIGINT and SIGTERM are passed on to it: it ends in its own time.

    Returns:
        Its exit status.
    """
    with passing_on(process):
        return process.wait()


@contextmanager
def passing_on(process: "subprocess.Popen[Any]") -> Iterator[None]:
    """Pass SIGINT and SIGTERM on to a child, instead of ending of them."""

    def pass_on(number: int, _: FrameType | None) -> None:
        process.send_signal(number)

    numbers = signal.SIGINT, signal.SIGTERM
    before = [signal.signal(number, pass_on) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
