"""Locks that keep two processes off the same files."""

import contextlib
import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from daf_pipelines.errors import DAFError

LOG = logging.getLogger(__name__)
OTHER_FOLDER = "; or use another folder, with --params data_dir=FOLDER"


class LockedError(DAFError):
    """Another process works on the same: an experiment, a folder, a study or a store."""


@contextmanager
def locked(
    file: Path, what: str, patient: bool = False, otherwise: str = OTHER_FOLDER
) -> Iterator[None]:
    """Hold the lock ``file`` while the block runs.

    The operating system lets go of it when its process ends, however that happens: what a killed
    process left behind is taken over.

    Args:
        file: made, with the id of the process in it, and removed at the end. Its folder exists.
        what: is locked, for the message.
        patient: wait for another process to let go of it.
        otherwise: what else its user can do than wait, for the message.

    Raises:
        LockedError: another process holds it.
    """
    descriptor = _acquire(file, what, patient, otherwise)
    try:
        yield
    finally:
        # While it is still held: whoever waits must not lock a file that is about to vanish.
        with contextlib.suppress(OSError):
            file.unlink()
        os.close(descriptor)


def _acquire(file: Path, what: str, patient: bool, otherwise: str) -> int:
    while True:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            _lock(descriptor, file, what, patient, otherwise)
            if _is_at(descriptor, file):
                os.ftruncate(descriptor, 0)
                os.write(descriptor, str(os.getpid()).encode())
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # its holder removed it in between


def _lock(descriptor: int, file: Path, what: str, patient: bool, otherwise: str) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX if patient else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = os.read(descriptor, 20).decode(errors="replace") or "unknown"
        raise LockedError(
            f"{what} is already being worked on by process {holder} ({file}). Wait for it to end "
            f"or stop it, then start the same command again{otherwise}."
        ) from error
    except OSError as error:  # some network file systems have no locks
        LOG.warning("%s cannot be locked (%s). Do not run it twice at once.", what, error.strerror)


def _is_at(descriptor: int, file: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), file.stat())
    except FileNotFoundError:
        return False
