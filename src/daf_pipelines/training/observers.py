"""Who is told of a phase's progress while it is trained."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pandas as pd

from daf_pipelines.training.history import History

Observer = Callable[[str, pd.DataFrame], None]

_OBSERVERS: list[Observer] = []


@contextmanager
def observed(observer: Observer) -> Iterator[None]:
    """Tell ``observer`` of all training in the block.

    Args:
        observer: called every few seconds and at the end of a phase, with the phase's name and
            its history so far, from its first step on.
    """
    _OBSERVERS.append(observer)
    try:
        yield
    finally:
        _OBSERVERS.remove(observer)


def tell(phase: str, history: History) -> None:
    """Tell all observers of the steps so far."""
    if _OBSERVERS and len(history):
        frame = history.frame()
        for observer in _OBSERVERS:
            observer(phase, frame)
