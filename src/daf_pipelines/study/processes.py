"""Child processes that are told of an interrupt, and waited for."""

import os
import signal
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import IO


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


def run(command: Sequence[str], output: IO[str]) -> int:
    """Run a child. SIGINT and SIGTERM are passed on to it: it ends in its own time.

    Returns:
        Its exit status.
    """
    process: subprocess.Popen[str] | None = None
    early: list[int] = []

    def pass_on(number: int) -> None:
        if process is None:
            early.append(number)
        else:
            process.send_signal(number)

    with handled((signal.SIGINT, signal.SIGTERM), pass_on):
        process = start(command, output)
        for number in early:
            process.send_signal(number)
        return process.wait()


@contextmanager
def handled(numbers: Iterable[int], handler: Callable[[int], None]) -> Iterator[None]:
    """Call ``handler`` at these signals while the block runs.

    But for SIGHUP under ``nohup``, which has it ignored: that goes on when its terminal is closed.
    """
    before = {
        number: signal.signal(number, lambda received, _: handler(received))
        for number in numbers
        if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN
    }
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)
