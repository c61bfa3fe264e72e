"""A study as it is declared, and its cells."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Self

import yaml
from pydantic import Field, ValidationError, model_validator

from daf_pipelines.errors import DAFError, ParameterError, faults_of
from daf_pipelines.methods import DAF_METHOD, OF_OUTLIERS
from daf_pipelines.parameters import DatasetParams, Section, SynthesisParams
from daf_pipelines.run_parameters import RunParameters

STUDY_FILE = "study.yml"
EXPERIMENT = (
    "data_ingestion,outlier_synthesis,teacher_student_training,decoder_training,evaluation,"
    "strategy_transfer"
)
BASELINE = "baseline"

# Stages and files of cells are named by them, joined by "-".
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_]+$")]
Parameters = dict[str, Any]


class Grid(Section):
    """What is crossed: DVC makes a stage of each combination."""

    dataset: list[Name] = Field(..., min_length=1)
    strategy: list[Name] = Field(..., min_length=1)
    method: list[Name] = Field(..., min_length=1, description="Trained on synthetic outliers.")
    reference: list[Name] = Field([], description="Methods that do not depend on synthesis.")
    seed: list[Annotated[int, Field(ge=0)]] = Field(..., min_length=1)


class Turn(Section):
    """Cells that are run before those of the next turn; None: all there are."""

    method: list[Name] | None = None
    seed: list[int] | None = None

    def takes(self, cell: "Cell") -> bool:
        """Whether it is this cell's turn."""
        by_method = self.method is None or cell.method in self.method
        return by_method and (self.seed is None or cell.seed in self.seed)


@dataclass(frozen=True)
class Cell:
    """One experiment of a study.

    Attributes:
        strategy: ``None`` for a method that does not depend on synthesis.
    """

    dataset: str
    strategy: str | None
    method: str
    seed: int

    @property
    def name(self) -> str:
        """As DVC names it: ``elpv-draem-daf-0``."""
        return "-".join(str(part) for part in vars(self).values() if part is not None)

    @property
    def stage(self) -> str:
        """Its stage in ``dvc.yaml``."""
        return f"{'cell' if self.strategy else 'reference'}@{self.name}"


class Study(Section):
    """A study file, ``studies/NAME/study.yml``.

    The parameters of a cell are those of ``recipe``, then those of its dataset (section
    ``dataset``), strategy (section ``synthesis``, with ``strategy`` set to its name unless it says
    otherwise) and method (any sections); what none of them sets has its default in
    ``parameters.py``. ``conf`` is not read: a change there changes no finished cell. A method with
    a section ``baseline`` is trained by the pipeline of that name.
    """

    name: Name
    notes: list[str] = Field([], description="What a reader of its results has to know.")
    grid: Grid
    datasets: dict[Name, Parameters]
    strategies: dict[Name, Parameters]
    methods: dict[Name, Parameters]
    recipe: dict[Name, Parameters]
    order: list[Turn] = Field([], description="Cells that no turn takes come last.")

    @model_validator(mode="after")
    def _check_names(self) -> Self:
        wanted = {
            "datasets": self.grid.dataset,
            "strategies": self.grid.strategy,
            "methods": [*self.grid.method, *self.grid.reference],
        }
        for section, names in wanted.items():
            missing = [name for name in names if name not in getattr(self, section)]
            if missing:
                raise ValueError(f"{section} lacks {missing[0]}, which grid names")
            twice = [name for name in names if names.count(name) > 1]
            if twice:
                raise ValueError(f"grid has {twice[0]} twice")
        if len(set(self.grid.seed)) < len(self.grid.seed):
            raise ValueError(f"grid has a seed twice: {self.grid.seed}")
        ordered = {name for turn in self.order for name in turn.method or []}
        unknown = sorted(ordered - set(wanted["methods"]))
        if unknown:
            raise ValueError(f"order has {unknown[0]}, which grid does not name")
        strange = sorted({k for turn in self.order for k in turn.seed or []} - set(self.grid.seed))
        if strange:
            raise ValueError(f"order has the seed {strange[0]}, which grid does not have")
        return self

    @classmethod
    def read(cls, folder: Path) -> Self:
        """The study in a folder; what its cells' parameters are is not looked at.

        Raises:
            ParameterError: there is no such file, or it does not declare a study.
        """
        file = folder / STUDY_FILE
        try:
            study = cls.model_validate(yaml.safe_load(file.read_text(encoding="utf-8")))
        except FileNotFoundError as error:
            raise ParameterError(
                f"{file} not found. Name the folder of a study, as studies/robustness."
            ) from error
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise ParameterError(f"{file} is not valid YAML: {error}") from error
        except ValidationError as error:
            example = f"See studies/robustness/{STUDY_FILE}."
            raise ParameterError(f"{file}: {faults_of(error)}. {example}") from error
        place = folder.resolve().name
        if study.name != place:
            raise ParameterError(
                f"{file}: expected name to be that of its folder, {place}, by which results are "
                f"kept; got {study.name}. Correct name."
            )
        return study

    def check(self, cells: Sequence["Cell"]) -> None:
        """Refuse what cannot work in any cell, before the first is run.

        Args:
            cells: Those that are to be run.

        Raises:
            DAFError: of the first cell that cannot be trained, as
                :func:`~daf_pipelines.training.experiment.check_run` tells.
        """
        from daf_pipelines.training.experiment import check_run, check_strategies

        for cell in self.cells():
            self._check_place(cell, self.parameters(cell))
        tried = self._tried()
        for name in self.grid.strategy:
            check_strategies(SynthesisParams.model_validate(tried[name]))
        # Seeds and strategies need no other networks.
        of_method = {(cell.dataset, cell.method): cell for cell in cells}
        for cell in of_method.values():
            try:
                check_run(self.parameters(cell), is_daf=self.pipelines(cell) != BASELINE)
            except DAFError as error:
                raise type(error)(f"{STUDY_FILE}, cell {cell.name}: {error}") from error

    def _check_place(self, cell: Cell, params: RunParameters) -> None:
        """Refuse to vary the strategy of a method that has none, or to hide one's."""
        method = params.baseline.method if self.pipelines(cell) == BASELINE else DAF_METHOD
        learns = method in OF_OUTLIERS
        if learns and cell.strategy is None:
            raise ParameterError(
                f"{STUDY_FILE}: grid.reference has {cell.method}, which is trained on synthetic "
                "outliers. Move it to grid.method."
            )
        if not learns and cell.strategy is not None:
            raise ParameterError(
                f"{STUDY_FILE}: grid.method has {cell.method}, which does not depend on synthesis: "
                "all its strategies would be one. Move it to grid.reference."
            )

    def cells(self) -> list[Cell]:
        """All cells, in the order in which they are to be run."""
        grid = self.grid
        crossed = product(grid.seed, grid.dataset, grid.strategy, grid.method)
        cells = [Cell(d, s, m, seed) for seed, d, s, m in crossed]
        alone = product(grid.seed, grid.dataset, grid.reference)
        cells += [Cell(d, None, m, seed) for seed, d, m in alone]
        return sorted(cells, key=self._turn)

    def _turn(self, cell: Cell) -> int:
        turns = [k for k, turn in enumerate(self.order) if turn.takes(cell)]
        return min(turns, default=len(self.order))

    def cell(self, name: str) -> Cell:
        """The cell of this name.

        Raises:
            ParameterError: there is none.
        """
        for cell in self.cells():
            if cell.name == name:
                return cell
        raise ParameterError(
            f"The study {self.name} has no cell {name!r}; its cells are named as "
            f"{self.cells()[0].name}."
        )

    def parameters(self, cell: Cell) -> RunParameters:
        """All parameters of a cell's run.

        Raises:
            ParameterError: they cannot work.
        """
        chosen: Parameters = {
            "seed": cell.seed,
            "dataset": self.dataset(cell.dataset),
            "tags": self._tags(cell),
            "transfer": {"strategies": self._tried()},
        }
        if cell.strategy is not None:
            chosen["synthesis"] = self._synthesis(cell.strategy)
        sections: Parameters = {name: {} for name in RunParameters.sections()}
        for part in (self.recipe, chosen, self.methods[cell.method]):
            sections = merged(sections, part)
        try:
            return RunParameters.of(sections)
        except ParameterError as error:
            raise ParameterError(f"{STUDY_FILE}, cell {cell.name}: {error}") from error

    def dataset(self, name: str) -> Parameters:
        """Section ``dataset`` of a dataset's cells, environment variables in its root replaced."""
        section = self._dataset(name)
        if isinstance(section.get("root"), str):
            section["root"] = os.path.expandvars(section["root"])
        return section

    def dataset_params(self, name: str) -> DatasetParams:
        """The same, checked.

        Raises:
            ParameterError: an environment variable in its root is not set.
        """
        root = self._dataset(name).get("root")
        for variable in re.findall(r"\$\{?(\w+)", root) if isinstance(root, str) else []:
            if not os.environ.get(variable):
                raise ParameterError(
                    f"{STUDY_FILE}, datasets.{name}.root: {root} needs the environment variable "
                    f"{variable}, which is not set. Set it: {variable}=path/to/folder make study "
                    f"STUDY={self.name}"
                )
        return DatasetParams.model_validate(self.dataset(name))

    def source(self, name: str) -> str:
        """The source of a dataset's images."""
        return str(self._dataset(name).get("source", DatasetParams().source))

    def pipelines(self, cell: Cell) -> str:
        """What ``kedro run`` runs for a cell."""
        return BASELINE if BASELINE in self.methods[cell.method] else EXPERIMENT

    def _dataset(self, name: str) -> Parameters:
        return dict(self.recipe.get("dataset", {})) | self.datasets[name]

    def _synthesis(self, strategy: str) -> Parameters:
        return {"strategy": strategy} | self.strategies[strategy]

    def _tried(self) -> Parameters:
        """Every strategy in full: nothing of a cell's own changes what it is tried on."""
        common = merged(SynthesisParams().model_dump(mode="json"), self.recipe.get("synthesis", {}))
        return {name: merged(common, self._synthesis(name)) for name in self.grid.strategy}

    def _tags(self, cell: Cell) -> dict[str, str]:
        tags = {"study": self.name, "cell": cell.name, "method": cell.method}
        return tags | {"strategy": cell.strategy or "none"}


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> Parameters:
    """Nested parameters, of which the second take precedence."""
    result = dict(base)
    for key, value in changes.items():
        nested = isinstance(value, Mapping) and isinstance(result.get(key), Mapping)
        result[key] = merged(result[key], value) if nested else value
    return result
