"""What a comparison knows of a run, wherever it was recorded."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import pandas as pd

from daf_pipelines.metrics import PixelCounts

OF_DATA = ("dataset.source", "dataset.root", "dataset.category")
"""Parameters that choose the images, not the model."""
SEED = "seed"
CATEGORY = "tags.category"  # the parameter may be null: the tag says what that came to
ID_SHOWN = 8  # characters of a run's id: enough to tell runs apart


@dataclass(frozen=True)
class EvaluatedRun:
    """A model with its results on a test split.

    Attributes:
        run_id: Of the tracking store.
        name: For people; several runs may share it.
        started: When the run began.
        tags: Of them ``dataset``, ``category``, ``strategy`` and ``method`` are read here.
        parameters: Flat, as ``{"dataset.source": "elpv", ...}``.
        metrics: The run's own headline metrics, on all of its test images; None: undefined.
        intervals: 95 % interval of a metric.
        reasons: Why a metric is not available.
        scores: One row per test image: ``path``, ``label``, ``score`` (calibrated: 0.5 is the
            threshold; NaN in runs recorded without), ``raw_score``, ``group`` (NaN: none); None
            where nothing was kept.
        pixel_counts: What pixel metrics of a part of the images need, in the order of ``scores``.
        curves: Tables of curve points by name, as ``image_roc``.
        thumbnails: One row per test image: ``path``, ``label``, ``defect_type``, and the encoded
            pictures ``image``, ``heat`` and ``mask``.
        missing: What the run was recorded without.
    """

    run_id: str
    name: str
    started: datetime
    tags: Mapping[str, str]
    parameters: Mapping[str, str]
    metrics: Mapping[str, float | None]
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    reasons: Mapping[str, str] = field(default_factory=dict)
    scores: pd.DataFrame | None = None
    pixel_counts: PixelCounts | None = None
    curves: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    thumbnails: pd.DataFrame | None = None
    missing: tuple[str, ...] = ()

    @property
    def data(self) -> tuple[str, str]:
        """Dataset and category: only runs on the same ones are compared."""
        return self.tags.get("dataset", "unknown"), self.tags.get("category", "unknown")

    @property
    def seed(self) -> int | None:
        """Seed of the experiment."""
        seed = self.parameters.get(SEED, "")
        return int(seed) if seed.isdigit() else None

    @property
    def configuration(self) -> tuple[tuple[str, str], ...]:
        """What makes the model, whatever the seed and the images."""
        kept = {k: v for k, v in self.parameters.items() if k != SEED and k not in OF_DATA}
        tags = {f"tags.{name}": self.tags.get(name, "") for name in ("method", "strategy")}
        return tuple(sorted((kept | tags).items()))


@dataclass(frozen=True)
class Selection:
    """The runs of a comparison.

    Attributes:
        runs: In the order of the tables and the page.
        baseline: Id of the one that the others are compared with.
    """

    runs: list[EvaluatedRun]
    baseline: str


def distinct_names(runs: Sequence[EvaluatedRun]) -> dict[str, str]:
    """Names that tell the runs apart, by id: with the id's beginning where names repeat."""
    counts = Counter(run.name for run in runs)
    return {
        run.run_id: run.name if counts[run.name] == 1 else f"{run.name} ({run.run_id[:ID_SHOWN]})"
        for run in runs
    }


def differences(runs: Sequence[EvaluatedRun]) -> pd.DataFrame:
    """Parameters and tags in which the runs differ.

    Returns:
        One row per parameter (tags as ``tags.method``), one column per run id; "" where a run has
        none. Tags that repeat a differing parameter are left out, and so are fingerprints, which
        differ with anything else.
    """
    told = {run.run_id: {**run.parameters, **_telling_tags(run)} for run in runs}
    names = dict.fromkeys(name for values in told.values() for name in values)
    rows = {name: {run: values.get(name, "") for run, values in told.items()} for name in names}
    differing = {name: row for name, row in rows.items() if len(set(row.values())) > 1}
    if differing.get("dataset.category") == differing.get(CATEGORY):
        differing.pop(CATEGORY, None)
    columns = [run.run_id for run in runs]
    if not differing:
        return pd.DataFrame(columns=columns)
    return pd.DataFrame.from_dict(differing, orient="index", columns=columns)


def _telling_tags(run: EvaluatedRun) -> dict[str, str]:
    told = ("method", "data_hash", "git_commit")
    tags = {f"tags.{name}": run.tags[name][:ID_SHOWN] for name in told if name in run.tags}
    return tags | {CATEGORY: run.data[1]}
