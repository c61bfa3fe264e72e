"""Children that are told of what this process is told."""

import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from daf_pipelines.study import processes

SAVES_ITS_STATE = """
import pathlib, sys, time
try:
    pathlib.Path(sys.argv[1]).touch()
    time.sleep(60)
except KeyboardInterrupt:
    raise SystemExit(7)
"""
WAITS = [sys.executable, "-c", "import time; time.sleep(60)"]


def interrupt_when(file: Path) -> None:
    while not file.exists():
        time.sleep(0.02)
    os.kill(os.getpid(), signal.SIGINT)


def test_an_interrupt_is_passed_on_and_the_child_waited_for(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    thread = threading.Thread(target=interrupt_when, args=[ready])
    before = signal.getsignal(signal.SIGINT)
    with (tmp_path / "log").open("w") as log:
        thread.start()
        assert processes.run([sys.executable, "-c", SAVES_ITS_STATE, str(ready)], log) == 7
    thread.join()
    assert signal.getsignal(signal.SIGINT) is before


def test_one_that_comes_while_the_child_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = processes.start

    def interrupted(*args: object) -> object:
        os.kill(os.getpid(), signal.SIGTERM)
        return start(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(processes, "start", interrupted)
    with (tmp_path / "log").open("w") as log:
        assert processes.run(WAITS, log) == -signal.SIGTERM


def test_what_nohup_ignores_stays_ignored() -> None:
    numbers = [signal.SIGHUP, signal.SIGINT]
    before = {number: signal.signal(number, signal.SIG_IGN) for number in numbers}
    received: list[int] = []
    try:
        with processes.handled(numbers, received.append):
            for number in numbers:
                os.kill(os.getpid(), number)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert received == [signal.SIGINT]  # which a script's `make study &` has ignored
