"""Scores that compare: from a detector's raw scores to [0, 1], with the threshold at one half."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

DECISION = 0.5
"""A calibrated score above it is anomalous."""
TYPICAL = 0.25
"""Calibrated score of a typical good part, where the threshold lies above it."""


@dataclass(frozen=True)
class Scale:
    """The strictly increasing map of raw scores to [0, 1] that takes the threshold to 1/2.

    With u = (x - threshold) / |threshold - typical| it is (1 + u / (1 + abs(u))) / 2. Where the
    threshold lies above a typical good part, that gets 1/4, and what is as far above the threshold
    as it is below gets 3/4.

    Attributes:
        threshold: Raw score above which something is anomalous.
        typical: Raw score of a typical good part. If it is the threshold, u is in units of that.
    """

    threshold: float = float("inf")
    typical: float = 0.0

    def __call__(self, raw: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Calibrated scores of raw ones of any shape, float64; NaN stays NaN.

        Raises:
            ValueError: No threshold has been set.
        """
        if not np.isfinite(self.threshold):
            raise ValueError("expected a calibrated detector; got one without a threshold")
        values = np.asarray(raw, dtype=np.float64) - self.threshold
        unit = abs(self.threshold - self.typical) or abs(self.threshold) or 1.0
        u = values / unit
        return np.asarray((1 + u / (1 + abs(u))) / 2)

    def labels(self, raw: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """1 (anomalous) where the calibrated score is above 1/2, else 0."""
        return (self(raw) > DECISION).astype(np.int64)
