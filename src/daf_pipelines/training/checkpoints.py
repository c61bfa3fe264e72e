"""Checkpoints: written atomically, resumed only by the same experiment."""

import os
import pickle
import shutil
import struct
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch import Tensor

from daf_pipelines.errors import DAFError
from daf_pipelines.locks import locked
from daf_pipelines.resources import code_hash

MEBIBYTE = 2**20
FORMAT = 2
SPACING = 10.0  # times that the last write took, until the next periodic one


CODE = code_hash("models", "synthesis", "training")
"""That decides what is learnt, as it is imported: a training must not go on in another one."""
NO_CHECKPOINT = (pickle.UnpicklingError, struct.error, KeyError)  # what torch.load says of others


class CheckpointError(DAFError):
    """A checkpoint cannot be written, or not be read."""


@dataclass(frozen=True)
class Checkpoint:
    """The last saved state of one training phase.

    All randomness of training is a function of seed and step, so weights, optimiser and step
    are the whole state: on a CPU a resumed run ends in the weights of an undisturbed one. (CUDA
    adds up in no fixed order.)

    Attributes:
        path: file of the checkpoint; its name carries the fingerprint of the experiment, so the
            checkpoint of another experiment is never picked up.
    """

    path: Path

    @classmethod
    def of(cls, folder: Path, phase: str, fingerprint: str) -> "Checkpoint":
        """The checkpoint of ``phase`` of the experiment with this fingerprint."""
        return cls(folder / f"{phase}-{fingerprint}.pt")

    @contextmanager
    def reserved(self) -> Iterator[None]:
        """Keep other processes off this checkpoint; what cannot be written is found here.

        Raises:
            CheckpointError: the folder is not writable.
            LockedError: another process trains the same experiment.
        """
        check_folder(self.path.parent)
        with locked(self.path.with_suffix(".lock"), f"The training {self.path.stem}"):
            for left in self.path.parent.glob(f"{self.path.stem}.*.tmp"):  # of a killed process
                left.unlink(missing_ok=True)
            yield

    def save(self, state: dict[str, Any]) -> None:
        """Replace the checkpoint in one step; a kill leaves the previous one intact.

        Raises:
            CheckpointError: the disk is full, or the folder is not writable.
        """
        temporary = self.path.with_suffix(f".{os.getpid()}.tmp")
        try:
            self._write(state, temporary)
        except (OSError, RuntimeError) as error:
            reason = _reason(error)
            if reason is None:
                raise
            raise self._failure(state, reason) from error

    def _write(self, state: dict[str, Any], temporary: Path) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("wb") as file:
                torch.save({"format": FORMAT, "code": CODE} | state, file)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self.path)
        finally:
            if temporary.exists():
                temporary.unlink()

    def _failure(self, state: dict[str, Any], reason: OSError) -> CheckpointError:
        try:
            saved = self.load()
        except CheckpointError:  # the disk is what there is to tell of
            saved = None
        kept = f"the one of step {saved['step']}" if saved else "none was written before"
        goes_on = f"goes on from step {saved['step']}" if saved else "starts again"
        return CheckpointError(
            f"The checkpoint of step {state['step']} could not be written to {self.path}: "
            f"{reason.strerror or reason} ({_free(self.path.parent)}). Kept: {kept}. Free space, "
            f"or make the folder writable; then the same command {goes_on}."
        )

    def load(self) -> dict[str, Any] | None:
        """The saved state, or ``None`` where there is none.

        Raises:
            CheckpointError: the file is damaged, or other code than this wrote it.
        """
        if not self.path.is_file():
            return None
        try:
            state: dict[str, Any] = torch.load(self.path, map_location="cpu", weights_only=True)
        except (OSError, EOFError, RuntimeError, ValueError, *NO_CHECKPOINT) as error:
            raise self._unreadable(f"it is damaged ({type(error).__name__})") from error
        if not isinstance(state, dict) or state.pop("format", None) != FORMAT:
            raise self._unreadable("another version of this project wrote it")
        if state.pop("code", None) != CODE:
            raise self._unreadable("the code of models, synthesis or training has changed since")
        return state

    def _unreadable(self, reason: str) -> CheckpointError:
        return CheckpointError(
            f"The checkpoint {self.path} cannot be used: {reason}. Remove it, and the same "
            "command starts this phase again."
        )


class BackgroundWriter:
    """Writes checkpoints while training goes on; its block does not end before they are written.

    An exception that ends the program, as a second Ctrl-C, does not wait: then the file that was
    there stays.

    One is written at a time, from a copy in the CPU's memory: there is never more than one copy,
    and training waits for the copying only. Asking whether it is :attr:`ready` before each
    periodic one bounds the share of the time that goes into them.

    Args:
        checkpoint: where the state is kept.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._checkpoint = checkpoint
        self._writing: Future[None] | None = None
        self._not_before = 0.0

    def __enter__(self) -> "BackgroundWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            self.wait()
        elif isinstance(error, Exception) and self._writing is not None:
            wait([self._writing])

    @property
    def ready(self) -> bool:
        """Whether nothing is being written, and ``SPACING`` times the last write has passed."""
        idle = self._writing is None or self._writing.done()
        return idle and time.monotonic() >= self._not_before

    def save(self, state: dict[str, Any]) -> None:
        """Begin to write ``state`` as it is now; one that is being written is finished before.

        Raises:
            CheckpointError: that one could not be written.
        """
        self.wait()
        began = time.monotonic()
        self._writing = Future()
        arguments = (self._writing, snapshot(state), began)
        threading.Thread(target=self._write, args=arguments, daemon=True).start()

    def _write(self, writing: Future[None], state: dict[str, Any], began: float) -> None:
        try:
            self._checkpoint.save(state)
        except BaseException as error:  # whoever waits for it is to know
            writing.set_exception(error)
            return
        now = time.monotonic()
        self._not_before = now + SPACING * (now - began)
        writing.set_result(None)

    def check(self) -> None:
        """Report a write that has failed, without waiting for one that has not ended.

        Raises:
            CheckpointError: the last state could not be written.
        """
        if self._writing is not None and self._writing.done():
            self.wait()

    def wait(self) -> None:
        """Wait until what was saved is on the disk.

        Raises:
            CheckpointError: it could not be written.
        """
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()


def snapshot(state: Any) -> Any:
    """A copy of nested dictionaries and lists, with their tensors in the CPU's memory."""
    if isinstance(state, Tensor):
        return state.detach().to("cpu", copy=True)
    if isinstance(state, dict):
        return {key: snapshot(value) for key, value in state.items()}
    if isinstance(state, list):
        return [snapshot(value) for value in state]
    return state


def check_folder(folder: Path) -> None:
    """Make the folder of the checkpoints, and refuse one that nothing can be written to.

    Raises:
        CheckpointError: with the path and the reason.
    """
    probe = folder / f".{os.getpid()}.probe"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            probe.write_bytes(b"checkpoint")
        finally:
            probe.unlink(missing_ok=True)
    except OSError as error:
        raise CheckpointError(
            f"Checkpoints cannot be written to {folder}: {error.strerror} ({_free(folder)}). "
            "Nothing has been trained yet. Make the folder writable, or free space; or use another "
            "folder, with --params data_dir=FOLDER."
        ) from error


def _reason(error: BaseException) -> OSError | None:
    """Of PyTorch's writer, the error of the file is only the context of its own."""
    found: BaseException | None = error
    while found is not None and not isinstance(found, OSError):
        found = found.__cause__ or found.__context__
    return found


def _free(folder: Path) -> str:
    try:
        return f"{shutil.disk_usage(folder).free / MEBIBYTE:.1f} MiB free there"
    except OSError:
        return "free space unknown"
