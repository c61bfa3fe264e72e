"""All parameters of a run, checked together before anything is done."""

from typing import Any, Self

from pydantic import Field, ValidationError, model_validator

from daf_pipelines.baselines.parameters import BaselineParams
from daf_pipelines.errors import ParameterError
from daf_pipelines.methods import DAF_METHOD, OF_TEACHER
from daf_pipelines.parameters import (
    ComparisonParams,
    DatasetParams,
    DecoderTrainingParams,
    EvaluationParams,
    InferenceParams,
    MixtureParams,
    ModelParams,
    ScoringParams,
    Section,
    StrategyParams,
    StudyParams,
    SynthesisParams,
    TeacherStudentTrainingParams,
    ThresholdParams,
    TransferParams,
)

OWN_STRATEGIES = ("synthesis", "strategies")
NO_EXPERIMENT = {"inference", "comparison", "study", "data_dir", "tags", "transfer"}
OF_DAF = {"model", "teacher_student_training", "decoder_training", "scoring"}


class RunParameters(Section):
    """What ``conf/*/parameters.yml`` and ``--params`` may set.

    Kedro validates only the sections that the pipelines of a run take, and leaves the others as
    they are written, without defaults.
    """

    seed: int = Field(ge=0)
    dataset: DatasetParams
    synthesis: SynthesisParams
    model: ModelParams
    teacher_student_training: TeacherStudentTrainingParams
    decoder_training: DecoderTrainingParams
    baseline: BaselineParams
    scoring: ScoringParams
    threshold: ThresholdParams
    evaluation: EvaluationParams
    transfer: TransferParams
    inference: InferenceParams
    comparison: ComparisonParams
    study: StudyParams
    data_dir: str = Field("data", description="Where the catalog keeps its files.")
    tags: dict[str, str] = Field(
        {},
        description="Of the MLflow run, beside or instead of its own. `study` puts it under the "
        "run of that study.",
    )

    @model_validator(mode="after")
    def _check_decoder(self) -> Self:
        weight = self.scoring.segmentation_weight
        if self.decoder_training.length == 0 and weight:
            raise ValueError(
                "decoder_training.length: 0 leaves the decoder untrained, so that its probability "
                f"must not count: set scoring.segmentation_weight to 0; got {weight:g}"
            )
        return self

    @classmethod
    def of(cls, parameters: dict[str, Any]) -> Self:
        """Check parameters as they are written.

        Raises:
            ParameterError: unknown parameters or wrong values; one message lists them all.
        """
        try:
            return cls.model_validate(parameters)
        except ValidationError as error:
            faults = "; ".join(_explain(fault) for fault in error.errors())
            raise ParameterError(f"{faults}. See conf/base/parameters.yml.") from error

    @classmethod
    def sections(cls) -> list[str]:
        """Names of those that are sections."""
        fields = cls.model_fields.items()
        return [name for name, field in fields if issubclass(_class(field.annotation), Section)]

    def experiment(self, method: str = DAF_METHOD) -> dict[str, Any]:
        """The parameters that make an experiment of this method, as plain values."""
        if method == DAF_METHOD:
            return self.model_dump(mode="json", exclude=NO_EXPERIMENT | {"baseline"})
        shared = self.model_dump(mode="json", exclude=NO_EXPERIMENT | OF_DAF)
        if method in OF_TEACHER:
            shared["model"] = self.model.model_dump(mode="json", include={"teacher"})
        return shared | {"baseline": self.baseline.decisive()}


def _explain(fault: Any) -> str:
    """One of pydantic's findings: which parameter, what was expected, what arrived."""
    location = fault["loc"]
    if location[:2] == OWN_STRATEGIES and len(location) > 3:
        location = location[:3] + location[4:]  # without the kind of strategy
    # Of a union, pydantic also names the member.
    name = ".".join(str(part) for part in location if str(part).isidentifier())
    if fault["type"] == "extra_forbidden":
        return f"{name}: unknown parameter; known are {', '.join(_siblings(fault['loc']))}"
    value = fault["input"]
    if fault["type"] in ("model_type", "model_attributes_type"):
        return f"{name}: expected a section, not a single value; got {value!r}"
    got = "" if isinstance(value, dict) else f"; got {value!r}"
    where = f"{name}: " if name else ""  # of several sections, the message names them
    return f"{where}{fault['msg'].removeprefix('Value error, ')}{got}"


def _class(annotation: Any) -> type:
    return annotation if isinstance(annotation, type) else object


def _siblings(location: tuple[str, ...]) -> list[str]:
    section: Any = RunParameters
    if location[:2] == OWN_STRATEGIES:
        section = {"strategy": StrategyParams, "mixture": MixtureParams}[location[3]]
    else:
        for name in location[:-1]:
            section = section.model_fields[name].annotation
    return sorted(section.model_fields)
