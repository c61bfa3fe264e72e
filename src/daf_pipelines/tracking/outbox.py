"""Recording that outlives a failing MLflow: training goes on, and what is missing follows."""

import logging
import time
from collections.abc import Callable
from pathlib import Path

from mlflow.exceptions import MlflowException

from daf_pipelines.errors import first_line

LOG = logging.getLogger(__name__)
TRY_AGAIN_SECONDS = 60.0
LAST_ATTEMPTS = 2  # at the end, so that one record that is refused does not hold back the others

# MLflow's errors, those of the network, and those of a local folder of artifacts.
FAILURES = (MlflowException, OSError)

# They tell of each attempt, with tracebacks; the outbox says it once.
for _name in ("mlflow.store.db.utils", "urllib3.connectionpool"):
    logging.getLogger(_name).setLevel(logging.CRITICAL)


class Outbox:
    """Records at once, or later where MLflow fails.

    Args:
        marker: a file that is there while something is missing, also after the process has ended.
        uri: of the tracking store, for the message.
    """

    def __init__(self, marker: Path, uri: str) -> None:
        self._marker = marker
        self._uri = uri
        self._waiting: dict[str, Callable[[], None]] = {}
        self._not_before = 0.0
        self._failed = False

    @property
    def owes(self) -> bool:
        """Whether something is missing, from this process or an earlier one."""
        return self._marker.exists()

    def send(self, name: str, action: Callable[[], None]) -> None:
        """Record something now, or later.

        Args:
            name: of what is recorded; a later action of this name replaces a waiting one.
            action: records it.
        """
        self._waiting[name] = action
        if time.monotonic() >= self._not_before:
            self._flush(1)

    def close(self, action: Callable[[bool], None]) -> bool:
        """Try all that waits once more, then ``action``, which is told whether all succeeded.

        Returns:
            Whether everything is recorded.
        """
        nothing_waits = self._flush(LAST_ATTEMPTS)
        whole = self._try("the end of the run", lambda: action(nothing_waits)) and nothing_waits
        if whole:
            self._marker.unlink(missing_ok=True)
        if self._failed:
            self._conclude()
        return whole

    def _flush(self, attempts: int) -> bool:
        """Try what waits until as many attempts have failed; whether nothing waits any more."""
        for name in list(self._waiting):
            if not self._try(name, self._waiting.pop(name)):
                attempts -= 1
            if not attempts:
                break
        return not self._waiting

    def _try(self, name: str, action: Callable[[], None]) -> bool:
        try:
            action()
        except FAILURES as error:
            self._waiting[name] = action  # behind the others
            self._warn(name, error)
            return False
        return True

    def _warn(self, name: str, error: Exception) -> None:
        self._not_before = time.monotonic() + TRY_AGAIN_SECONDS
        if self._failed:
            return
        self._failed = True
        self._marker.touch()
        LOG.warning(
            "MLflow (%s) did not record %s: %s. The run goes on, and all it makes lies in its data "
            "folder. Check that MLflow can be reached: what is missing is recorded as soon as it "
            "answers, or later by the same command, which trains nothing again.",
            self._uri,
            name,
            first_line(error)[:300],
        )

    def _conclude(self) -> None:
        if self._waiting:
            missing = ", ".join(self._waiting)
            LOG.info("Not in MLflow: %s. The same command records it later.", missing)
        else:
            LOG.info("MLflow has recorded all that it had missed.")
