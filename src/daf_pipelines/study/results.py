"""The cells of a robustness study: what each trained detector has reached.

A cell is one detector: a category of a dataset, a strategy of synthesis, a method and a seed. It is
kept as a small JSON file.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Self, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from daf_pipelines.errors import DataError, faults_of
from daf_pipelines.metrics import METRICS, image_auroc
from daf_pipelines.study import plan
from daf_pipelines.study.draws import PIXEL_DRAWS

METHODS = ("daf", "daf_without_cue", "teacher_student", "draem", "patchcore", "stfpm")
"""In the order of tables; others follow by name."""
DECISIONS = ("false_positive_rate", "recall")
IDENTITY = ["dataset", "category", "strategy", "method", "seed"]
PROVENANCE = ["run_id", "git_commit", "machine", "date"]
TRAINING = "train_seconds"
TOLERANCE = 1e-3
"""By which the recorded AUROC may differ from that of the recorded scores, which are rounded."""

Data: TypeAlias = tuple[str, str]
"""Dataset and category."""
Share = Annotated[float, Field(ge=0, le=1)]


PixelDraws = Annotated[tuple[Share, ...], Field(min_length=PIXEL_DRAWS, max_length=PIXEL_DRAWS)]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, allow_inf_nan=False)


class Transfer(_Record):
    """A detector on held-out normals against synthetic outliers of one strategy.

    Attributes:
        strategy: That made the outliers.
        image_auroc: Image AUROC, None where undefined; likewise the others.
        image_ap: Image average precision.
        pixel_ap: Pixel average precision.
    """

    strategy: str
    image_auroc: Share | None = None
    image_ap: Share | None = None
    pixel_ap: Share | None = None


class Cell(_Record):
    """One detector of the study with its results.

    Attributes:
        dataset: By the name that it has in the study.
        category: Of the dataset.
        strategy: That it was trained with; None: the method does without synthesis.
        method: Such as "daf".
        seed: Of splits, weights and batches.
        metrics: Content of ``metrics.json``.
        transfer: How well it finds the outliers of each strategy, without any real defect.
        test_images: Hash of the sorted paths of the test images.
        labels: "0" or "1" (anomalous) for each test image, in the order of sorted paths.
        groups: Number of the group of each, as of one object under several exposures; none: each
            image is on its own.
        scores: Raw image scores in that order.
        pixel_replicates: Metrics of :data:`~daf_pipelines.study.draws.KEPT` in each of
            :data:`~daf_pipelines.study.draws.PIXEL_DRAWS` draws of the test images.
        run_id: Of MLflow.
        git_commit: Of the code.
        machine: In words.
        date: On which it ended.
    """

    dataset: str
    category: str
    strategy: str | None
    method: str
    seed: Annotated[int, Field(ge=0)]
    metrics: dict[str, Any]
    transfer: tuple[Transfer, ...] = ()
    test_images: str
    labels: Annotated[str, Field(pattern="^[01]*$")]
    groups: tuple[int, ...] = ()
    scores: tuple[float, ...]
    pixel_replicates: dict[str, PixelDraws] = {}
    run_id: str
    git_commit: str
    machine: str
    date: str

    @field_validator("metrics")
    @classmethod
    def _check_metrics(cls, metrics: dict[str, Any]) -> dict[str, Any]:
        for name in METRICS:
            value = metrics.get(name)
            if value is not None and not (isinstance(value, int | float) and 0 <= value <= 1):
                raise ValueError(f"{name} must be null or from 0 to 1; got {value!r}")
        return metrics

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(self.labels) != len(self.scores):
            raise ValueError(
                f"one score a label expected; got {len(self.scores)} for {len(self.labels)}"
            )
        if self.groups and len(self.groups) != len(self.labels):
            raise ValueError(
                f"one group a label expected; got {len(self.groups)} for {len(self.labels)}"
            )
        strategies = [entry.strategy for entry in self.transfer]
        if len(set(strategies)) < len(strategies):
            raise ValueError(f"transfer: each strategy once expected; got {strategies}")
        known = self.metric("image_auroc")
        if not np.isnan(known) and abs(image_auroc(self.scores, self.truth) - known) > TOLERANCE:
            found = image_auroc(self.scores, self.truth)
            raise ValueError(
                f"the scores have an image AUROC of {found:.4f}, metrics one of {known:.4f}: they "
                "are not of one evaluation, or not in one order"
            )
        return self

    @property
    def declared(self) -> plan.Cell:
        """The cell of the study that this is the result of."""
        return plan.Cell(self.dataset, self.strategy, self.method, self.seed)

    @property
    def data(self) -> Data:
        """Dataset and category."""
        return self.dataset, self.category

    @property
    def truth(self) -> npt.NDArray[np.intp]:
        """The labels, (N,): 0 normal, 1 anomalous."""
        return np.array(list(self.labels), dtype=np.intp)

    def metric(self, name: str) -> float:
        """An entry of ``metrics``; NaN where it is not available."""
        value = self.metrics.get(name)
        return np.nan if value is None else float(value)

    def __str__(self) -> str:
        parts = (*self.data, self.strategy or "no synthesis", self.method, f"seed {self.seed}")
        return ", ".join(parts)


def read_cells(folder: Path, declared: Iterable[plan.Cell]) -> list[Cell]:
    """The cells of a study, by dataset, category, method, strategy and seed.

    Args:
        folder: With one JSON file a cell.
        declared: Those that are read, if they are there.

    Raises:
        DataError: There is none; a file is not the cell of its name; cells of one dataset,
            category and seed were not tested on the same images.
    """
    files = [folder / f"{cell.name}.json" for cell in declared]
    cells = {file: _read(file) for file in files if file.is_file()}
    if not cells:
        raise DataError(
            f"{folder} has no cells: expected a JSON file for each trained detector. Run the study "
            "first, or name its folder: study.folder."
        )
    _check_names(cells)
    _check_test_sets(cells)
    return sorted(cells.values(), key=_place)


def _read(file: Path) -> Cell:
    try:
        return Cell.model_validate_json(file.read_bytes())
    except ValidationError as error:
        raise DataError(
            f"{file} is no cell of a study: {faults_of(error)}. Delete it and run its cell again."
        ) from error


def _check_names(cells: Mapping[Path, Cell]) -> None:
    for file, cell in cells.items():
        if cell.declared.name != file.stem:
            raise DataError(
                f"{file} is of another cell, {cell}: expected that of its name. Delete it and run "
                "its cell again."
            )


def _check_test_sets(cells: Mapping[Path, Cell]) -> None:
    seen: dict[tuple[Data, int], tuple[Path, Cell]] = {}
    for file, cell in cells.items():
        first, other = seen.setdefault((cell.data, cell.seed), (file, cell))
        ours, theirs = ((one.test_images, one.labels, one.groups) for one in (cell, other))
        if ours != theirs:
            raise DataError(
                f"{first} and {file} were not tested on the same images, or not with the same "
                f"labels and groups, though both are of {' '.join(cell.data)}, seed {cell.seed}. "
                "Run one of them again on the other's data."
            )


def ordered(methods: Iterable[str]) -> list[str]:
    """Methods in the order of tables, each once."""
    return sorted(set(methods), key=_rank)


def _rank(method: str) -> tuple[int, str]:
    return (METHODS.index(method) if method in METHODS else len(METHODS)), method


def _place(cell: Cell) -> tuple[Any, ...]:
    return *cell.data, _rank(cell.method), cell.strategy or "", cell.seed


def name_of(data: Data) -> str:
    """Dataset and category in words; once, where the category is named as the dataset."""
    return " ".join(dict.fromkeys(data))


def study_table(cells: Sequence[Cell]) -> pd.DataFrame:
    """Every cell as a row.

    Returns:
        ``dataset``, ``category``, ``strategy`` ("" where the method does without synthesis),
        ``method``, ``seed``; each of :data:`~daf_pipelines.metrics.METRICS` and of
        :data:`DECISIONS`, NaN where it is not available; ``train_seconds``, ``run_id``,
        ``git_commit``, ``machine`` and ``date``.
    """
    rows = [
        cell.model_dump(include={*IDENTITY, *PROVENANCE})
        | {"strategy": cell.strategy or ""}
        | {name: cell.metric(name) for name in (*METRICS, *DECISIONS, TRAINING)}
        for cell in cells
    ]
    return pd.DataFrame(rows, columns=[*IDENTITY, *METRICS, *DECISIONS, TRAINING, *PROVENANCE])


def missing_cells(cells: Sequence[Cell], declared: Iterable[plan.Cell]) -> pd.DataFrame:
    """What has not been run yet of a study.

    Returns:
        One row a missing cell: ``dataset``, ``category`` ("" where no cell of the dataset tells
        it), ``strategy``, ``method``, ``seed``.
    """
    there = {cell.declared for cell in cells}
    categories = dict(cell.data for cell in cells)
    rows = [
        vars(cell) | {"category": categories.get(cell.dataset, ""), "strategy": cell.strategy or ""}
        for cell in declared
        if cell not in there
    ]
    return pd.DataFrame(rows, columns=IDENTITY)
