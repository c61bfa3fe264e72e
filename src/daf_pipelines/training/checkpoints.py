"""Checkpoints: written atomically, resumed only by the same experiment."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch


@dataclass(frozen=True)
class Checkpoint:
    """The last saved state of one training phase.

    All randomness of training is a function of seed and step, so weights, optimiser and step
    are the whole state: a resumed run ends in the weights of an undisturbed one.

    Attributes:
        path: file of the checkpoint; its name carries the fingerprint of the experiment, so the
            checkpoint of another experiment is never picked up.
    """

    path: Path

    @classmethod
    def of(cls, folder: Path, phase: str, fingerprint: str) -> "Checkpoint":
        """The checkpoint of ``phase`` of the experiment with this fingerprint."""
        return cls(folder / f"{phase}-{fingerprint}.pt")

    def save(self, state: dict[str, Any]) -> None:
        """Replace the checkpoint in one step; a kill leaves the previous one intact."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.path.with_suffix(f".{os.getpid()}.tmp")
        try:
            with temporary.open("wb") as file:
                torch.save(state, file)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self.path)
        finally:
            temporary.unlink(missing_ok=True)

    def load(self) -> dict[str, Any] | None:
        """The saved state, or ``None`` where there is none."""
        if not self.path.is_file():
            return None
        state: dict[str, Any] = torch.load(self.path, map_location="cpu", weights_only=True)
        return state
