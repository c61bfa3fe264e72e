"""The history of a phase: a row a step."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
import torch
from torch import Tensor

KNOWN = ["step", "epoch", "learning_rate"]


class History:
    """What each step led to: ``step``, ``epoch``, ``learning_rate`` and a column a loss term.

    Kept as one array, because a checkpoint holds all of it: 37,500 rows as Python numbers take
    0.8 s to write and 3.4 s to read, this way some milliseconds.

    Attributes:
        terms: names of the loss terms, once there is a row.
    """

    def __init__(self) -> None:
        self.terms: list[str] = []
        self._blocks: list[Tensor] = []

    @classmethod
    def of(cls, state: dict[str, Any]) -> "History":
        """The history that a checkpoint holds."""
        history = cls()
        history.terms = state["terms"]
        history._blocks = [state["values"]]
        return history

    def __len__(self) -> int:
        return sum(map(len, self._blocks))

    def append(self, steps: Sequence[tuple[int, int, float]], losses: Tensor) -> None:
        """Add the rows of some steps.

        Args:
            steps: step, epoch and learning rate of each of S steps.
            losses: the loss terms ``(S, terms)``.
        """
        known = torch.tensor(steps, dtype=torch.float64).reshape(len(losses), len(KNOWN))
        self._blocks.append(torch.cat([known, losses.double()], dim=1))

    @property
    def last(self) -> dict[str, float]:
        """The loss terms of the last step; empty without one."""
        if not len(self):
            return {}
        values = next(block for block in reversed(self._blocks) if len(block))
        return dict(zip(self.terms, values[-1, len(KNOWN) :].tolist(), strict=True))

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"terms": self.terms, "values": self._values()}

    def frame(self) -> pd.DataFrame:
        """As a table. One without rows has the columns that are always there."""
        frame = pd.DataFrame(self._values().numpy(), columns=[*KNOWN, *self.terms])
        return frame.astype({"step": int, "epoch": int})

    def _values(self) -> Tensor:
        empty = torch.empty(0, len(KNOWN) + len(self.terms), dtype=torch.float64)
        self._blocks = [torch.cat([empty, *self._blocks])]
        return self._blocks[0]
