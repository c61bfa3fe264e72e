"""Signals that ask training to stop: the step at hand is finished and saved."""

import signal
import threading
from types import FrameType
from typing import Any

from daf_pipelines.errors import DAFError

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class TrainingInterruptedError(DAFError):
    """Training was asked to stop, and has saved its state.

    Attributes:
        signal: which asked for it.
    """

    def __init__(self, message: str, number: signal.Signals) -> None:
        super().__init__(message, number)
        self.signal = number

    def __str__(self) -> str:
        return str(self.args[0])


class Interruption:
    """Notes the first SIGINT or SIGTERM while its block runs; the second acts as ever.

    Outside the main thread, where Python handles no signals, it does nothing.

    Attributes:
        received: the signal, once there was one.
    """

    received: signal.Signals | None = None

    def __enter__(self) -> "Interruption":
        self._previous: dict[signal.Signals, Any] = {}
        if threading.current_thread() is threading.main_thread():
            found = {number: signal.getsignal(number) for number in SIGNALS}
            # An ignored signal stays ignored (nohup); one handled outside of Python stays there.
            self._previous = {k: v for k, v in found.items() if v not in (signal.SIG_IGN, None)}
            for number in self._previous:
                signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()

    def _note(self, number: int, _: FrameType | None) -> None:
        self.received = signal.Signals(number)
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
