"""Whether one model is better than another, or was only tested on images that suit it.

A paired, stratified bootstrap over the images (Efron and Tibshirani, "An Introduction to the
Bootstrap", 1993, chapters 8, 13 and 16): both models are measured on the same resampled images, so
what makes an image hard for both cancels. Models of other seeds are not drawn: the answer is about
these two trained models.
"""

import contextlib
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from daf_pipelines.comparison.pairing import Pair, Rows
from daf_pipelines.comparison.runs import EvaluatedRun
from daf_pipelines.errors import MetricUndefinedError
from daf_pipelines.metrics import image_replicates, pixel_replicates, resamples
from daf_pipelines.metrics.bootstrap import Replicates, Weights

LEVEL = 0.95


@dataclass(frozen=True)
class Difference:
    """How much higher the run's metric is than the baseline's, on their common images.

    Attributes:
        delta: Run minus baseline.
        low: Lower end of its 95 % interval.
        high: Upper end.
        p_value: Two-sided, of the hypothesis that there is no difference.
    """

    delta: float
    low: float
    high: float
    p_value: float


Differences = dict[str, Difference | str]
"""By metric: the difference, or the reason why there is none."""


@dataclass
class PairedBootstrap:
    """Compares pairs of runs.

    What a run reaches on a set of images is kept: a baseline is resampled once, not once a pair.

    Args:
        replicates: Number of resamples.
        seed: Of the draws; equal images get equal resamples.
    """

    replicates: int
    seed: int
    _known: dict[tuple[str, bytes, tuple[str, ...]], Replicates] = field(default_factory=dict)

    def compare(self, pair: Pair, metrics: tuple[str, ...]) -> Differences:
        """Differences in each of the metrics."""
        if pair.reason:
            return dict.fromkeys(metrics, pair.reason)
        # The first row is the images as they are.
        drawn = resamples(pair.labels, self.replicates, self.seed, pair.groups)
        weights = np.concatenate([np.ones((1, len(pair.labels)), np.int32), drawn])
        ours = self._measure(pair.run, pair.rows, pair, weights)
        theirs = self._measure(pair.baseline, pair.baseline_rows, pair, weights)
        return {name: self._difference(pair, name, ours, theirs) for name in metrics}

    def _measure(self, run: EvaluatedRun, rows: Rows, pair: Pair, weights: Weights) -> Replicates:
        """All metrics that the run has on some of its images: for weights of 1, then resampled."""
        key = run.run_id, rows.tobytes() + pair.labels.tobytes(), tuple(map(str, pair.groups))
        if key not in self._known:
            assert run.scores is not None
            scores = run.scores["raw_score"].to_numpy(float)[rows]
            found: Replicates = {}
            with contextlib.suppress(MetricUndefinedError):  # :func:`_why_not` tells
                found |= image_replicates(scores, pair.labels, weights)
            if run.pixel_counts is not None:
                found |= pixel_replicates(run.pixel_counts[rows], weights)
            self._known[key] = found
        return self._known[key]

    def _difference(
        self, pair: Pair, name: str, ours: Replicates, theirs: Replicates
    ) -> Difference | str:
        for run, found in ((pair.run, ours), (pair.baseline, theirs)):
            if name not in found:
                return _why_not(pair, run, name)
        deltas = ours[name] - theirs[name]
        point = deltas[0]
        exact = [run.metrics.get(name) for run in (pair.run, pair.baseline)]
        if pair.is_complete and exact[0] is not None and exact[1] is not None:
            # Resampled pixel metrics are read off a grid of thresholds, close to the exact ones.
            point = exact[0] - exact[1]
        return paired_difference(float(point), deltas[1:] + (point - deltas[0]))


def paired_difference(point: float, deltas: npt.NDArray[np.float64]) -> Difference | str:
    """Interval and p-value of a difference from its resamples.

    The p-value is twice the share of resamples on the other side of zero, each side counted with
    one more resample: it is never 0, and 1 for equal models.

    Args:
        point: The difference on the images as they are.
        deltas: In the resamples, (B,); NaN where it is undefined.
    """
    drawn = deltas[np.isfinite(deltas)]
    if not np.isfinite(point) or len(drawn) < len(deltas) / 2:
        return "undefined on most resamples of the common images"
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail])
    low, high = min(low, point), max(high, point)
    # Rounding of the last digits must not decide on which side a difference of nothing lies.
    drawn = np.where(np.abs(drawn) < 1e-12, 0, drawn)
    fewer = min(int((drawn <= 0).sum()), int((drawn >= 0).sum())) + 1
    p_value = min(1.0, 2 * fewer / (len(drawn) + 1))
    return Difference(point, float(low), float(high), p_value)


def holm(p_values: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """P-values adjusted for their number (Holm, Scandinavian Journal of Statistics, 1979).

    Args:
        p_values: Of all comparisons of one question, (K,); NaN: there was none.

    Returns:
        Adjusted values, (K,), NaN where they were: below 0.05, the chance of any false finding
        among all of them is below 5 %.
    """
    values = np.asarray(p_values, dtype=float)
    adjusted = np.full(values.shape, np.nan)
    order = np.argsort(values)[: int(np.isfinite(values).sum())]
    factors = len(order) - np.arange(len(order))
    adjusted[order] = np.minimum(np.maximum.accumulate(values[order] * factors), 1)
    return adjusted


def _why_not(pair: Pair, run: EvaluatedRun, name: str) -> str:
    if len(set(pair.labels.tolist())) < 2:
        return "the common test images are of one class only"
    if name in run.reasons:
        return f"{run.name}: {run.reasons[name]}"
    return f"{run.name} was recorded without what {name} of some of its images needs"
