"""What a method of ``quality.py`` gets, and what it gives back."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from daf_pipelines.resources import peak_rss_mib
from daf_pipelines.sources.image_set import ImageSet

Score = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
"""Images ``(B, H, W, 3)``, uint8, to image scores ``(B,)`` and anomaly maps ``(B, H, W)``."""


class Budget:
    """Seconds of this process's processor time, from the moment that it is made.

    Attributes:
        seconds: what there is.
        peak_mib: the peak of memory when training was over.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.peak_mib = 0.0
        self._start = time.process_time()
        self._end: float | None = None

    @property
    def spent(self) -> float:
        """Seconds so far, or until training was over."""
        return (time.process_time() if self._end is None else self._end) - self._start

    @property
    def left(self) -> float:
        """Seconds that training may still take; below 0 when it took too many."""
        return self.seconds - self.spent

    def stop(self) -> None:
        """Training is over: what follows does not count. A second call does nothing."""
        if self._end is None:
            self._end = time.process_time()
            self.peak_mib = peak_rss_mib()


def forget_peak() -> None:
    """Let the peak of this process's memory be that from now on."""
    Path("/proc/self/clear_refs").write_text("5")


@dataclass(frozen=True)
class Task:
    """A dataset's images, a seed and a budget.

    Attributes:
        train: normal images, the same for all methods.
        seed: of whatever a method draws.
        budget: running since before the method was called.
        raw: the parameters of conf/base, with this dataset.
        folder: for files on the way.
    """

    train: ImageSet
    seed: int
    budget: Budget
    raw: dict[str, Any]
    folder: Path


@dataclass(frozen=True)
class Trained:
    """A trained model: how it scores, how many steps it had, and what else is worth a note."""

    score: Score
    steps: int
    note: str
