"""Progress of a phase: a bar on a terminal, lines in a log elsewhere."""

import logging
import time

from tqdm import tqdm

LOG = logging.getLogger(__name__)
LOG_EVERY_SECONDS = 30.0


class Timer:
    """Tells every few seconds that it is time, when asked."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._last = time.monotonic()

    def due(self) -> bool:
        """Whether more than the seconds have passed since it was last due, or made."""
        now = time.monotonic()
        if now - self._last <= self._seconds:
            return False
        self._last = now
        return True


class Progress:
    """Shows losses, images per second and the remaining time.

    Args:
        name: of the phase.
        start: steps that an earlier session has done.
        steps: steps of the phase.
        batch_size: images a step.
    """

    def __init__(self, name: str, start: int, steps: int, batch_size: int) -> None:
        self._name, self._start, self._steps = name, start, steps
        self._batch_size = batch_size
        self._began = time.monotonic()
        self._logging = Timer(LOG_EVERY_SECONDS)
        self._bar = tqdm(desc=name, total=steps, initial=start, disable=None)

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def show(self, done: int, losses: dict[str, float]) -> None:
        """Show the state after ``done`` steps; the log is told every half a minute, and at the end.

        Args:
            done: steps of all sessions, more than at the start.
            losses: of the last step.
        """
        pace = (time.monotonic() - self._began) / (done - self._start)  # seconds a step
        shown = {k: f"{v:.3f}" for k, v in losses.items()}
        images = f"{self._batch_size / pace:.3g}"
        if not self._bar.disable:
            self._bar.set_postfix(shown | {"images/s": images}, refresh=False)
            self._bar.update(done - self._bar.n)
        elif self._logging.due() or done == self._steps:
            terms = ", ".join(f"{k} {v}" for k, v in shown.items())
            left = (self._steps - done) * pace
            text = "%s: step %d of %d, %s, %s images/s, %.0f s left"
            LOG.info(text, self._name, done, self._steps, terms, images, left)
