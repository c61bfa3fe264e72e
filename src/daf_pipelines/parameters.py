"""Typed parameters of the pipelines: the sections of ``conf/*/parameters.yml``, but ``baseline``.

Kedro validates the sections before the first node runs; unknown keys are errors.
"""

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    field_validator,
    model_validator,
)

Fraction = Annotated[float, Field(gt=0, lt=1)]
Resize = Literal["square", "pad"]

AUTO = "auto"
"""The dataset source that is recognised from its folder."""


class Section(BaseModel):
    """A section of the parameters: immutable, without unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class DatasetParams(Section):
    """Which images, and how they are prepared."""

    source: str = Field(
        AUTO,
        description="Dataset layout: one of the registered sources, or 'auto', the one whose "
        "layout the root has.",
    )
    root: Path | None = Field(
        None,
        description="Folder of the dataset, or a table of images. None: the source's own package, "
        "where it has one ('auto': ELPV).",
    )
    category: str | None = Field(
        None, description="Category in the dataset. None: the source's default or only one."
    )
    image_size: int = Field(
        128, ge=32, multiple_of=16, description="Side of the prepared square images, pixels."
    )
    resize: Resize = Field(
        "square",
        description="'square' (the papers; the aspect ratio is lost) or 'pad' (the aspect ratio is "
        "kept; what is added around the image is neither scored nor given outliers).",
    )
    test_fraction: Fraction | None = Field(
        None,
        description="Share of the normals that is tested, where the dataset has no official split. "
        "None: the source's own, mostly a quarter.",
    )
    calibration_fraction: Fraction = Field(
        0.1,
        description="Share of the training normals held out for thresholds, never trained on; "
        "unless the dataset holds some out itself.",
    )
    checks: Literal["strict", "lenient"] = Field(
        "strict",
        description="What errors in the data do. strict: they stop the run before training. "
        "lenient: the files that have one are left out.",
    )


OperatorParams = str | dict[str, Any]
"""An operator of the synthesis: its name, or ``{name: ..., parameter: value, ...}``."""

Foreground = Literal["none", "object"]


class StrategyParams(Section):
    """A synthesis strategy of one's own: see ``synthesis.strategies.Strategy``."""

    mask: OperatorParams = Field(..., description="Where an outlier lies.")
    content: OperatorParams = Field(..., description="What it looks like.")
    blending: OperatorParams = Field("opacity", description="How it is put in.")
    foreground: Foreground = Field(
        "none", description="'object': outliers lie on the object only, not on its background."
    )
    repeats: int = Field(1, ge=1, le=16, description="Largest number of outliers an image.")
    area: tuple[float, float] = Field(
        (0.0, 1.0), description="Smallest and largest area of a mask, as fractions."
    )
    tolerance: float = Field(
        0.0, ge=0, lt=255, description="What changes by less (levels of 255) is no defect."
    )

    @model_validator(mode="after")
    def _check_area(self) -> Self:
        if not 0 <= self.area[0] <= self.area[1] <= 1 or self.area[1] == 0:
            raise ValueError(f"area must be two fractions, the smaller first; got {self.area}")
        return self


class MixtureParams(Section):
    """A mixture of strategies, one of which is drawn for each image."""

    mixture: dict[str, Annotated[float, Field(gt=0)]] = Field(
        ..., min_length=1, description="Weights of the strategies, by name."
    )


def _kind(own: Any) -> str:
    is_mixture = isinstance(own, MixtureParams) or (isinstance(own, dict) and "mixture" in own)
    return "mixture" if is_mixture else "strategy"


OwnStrategy = Annotated[
    Annotated[StrategyParams, Tag("strategy")] | Annotated[MixtureParams, Tag("mixture")],
    Discriminator(_kind),
]


class SynthesisParams(Section):
    """How outliers are synthesised from normal images."""

    strategy: str = Field(
        "draem", description="Name of the synthesis strategy: a preset, or one of `strategies`."
    )
    strategies: dict[str, OwnStrategy] = Field({}, description="Strategies of one's own, by name.")
    foreground: Foreground | None = Field(
        None,
        description="'object': outliers lie on the object only; 'none': everywhere. None: as the "
        "strategy has it.",
    )
    texture_root: Path | None = Field(
        None,
        description="Folder of texture photographs (DTD or any). None: procedural plain textures.",
    )
    match_grey: bool = Field(
        True,
        description="Grey images get grey outliers. False: coloured ones, as in the published "
        "code, which colour alone gives away.",
    )
    validation_repeats: int = Field(
        4, ge=1, description="Outliers per held-out normal in the fixed synthetic validation set."
    )
    validation_limit: int = Field(
        1000,
        ge=1,
        description="Largest size of that set; above it, the held-out normals are taken evenly.",
    )
    preview_rows: int = Field(10, ge=1, description="Rows of the preview picture.")


class TeacherParams(Section):
    """The frozen, pretrained backbone."""

    backbone: str = Field("tf_efficientnet_lite0", description="Any timm backbone, strides 4/8/16.")
    weights: str = Field(
        "packaged",
        description="'packaged' (EfficientNet-Lite0 from its Python package), 'hub' (timm's own "
        "pretrained weights, needs a network) or the path of a safetensors or weights-only file.",
    )


class StudentParams(Section):
    """The network that learns to match the teacher on normal pixels."""

    backbone: str = Field("resnet18", description="Any timm backbone with strides 4/8/16.")
    weights: str = Field(
        "none",
        description="What it starts from: 'none' (random, the paper), or as the teacher's weights "
        "'packaged', 'hub' or a path.",
    )


class InputParams(Section):
    """How the networks take images: the teacher and the student alike."""

    channels: Literal["rgb", "bgr"] = Field(
        "rgb", description="Order of the colours: as the weights were trained, or the reverse."
    )
    normalise: Literal["backbone", "none"] = Field(
        "backbone",
        description="With the mean and standard deviation of each backbone (of ImageNet, for "
        "ResNet), or not at all: values in [0, 1].",
    )


class DiscrepancyParams(Section):
    """How teacher and student features are compared, per level."""

    structure: Literal["ssim", "squared", "none"] = Field(
        "ssim",
        description="1 - SSIM (the paper), the squared difference, or neither: the cosine alone.",
    )
    cosine: bool = Field(
        True, description="1 - cos of the features (the paper). False: the structure alone."
    )
    normalise: Literal["none", "channel"] = Field(
        "none",
        description="Teacher features as they are (the paper), or z-normalised per channel over "
        "the training normals.",
    )

    @model_validator(mode="after")
    def _check_terms(self) -> Self:
        if self.structure == "none" and not self.cosine:
            raise ValueError(
                "structure: none and cosine: false leave nothing to compare; set one of them"
            )
        return self


class DecoderParams(Section):
    """The segmentation decoder."""

    width: int = Field(256, ge=8, description="Channels of the fused map; the paper uses 256.")
    cue: Literal["discrepancy", "none"] = Field(
        "discrepancy",
        description="What leads the decoder beside the student's features: the discrepancy maps "
        "(the paper), or nothing.",
    )


class ModelParams(Section):
    """Teacher, student, discrepancy and decoder."""

    teacher: TeacherParams = TeacherParams()
    student: StudentParams = StudentParams()
    input: InputParams = InputParams()
    discrepancy: DiscrepancyParams = DiscrepancyParams()
    decoder: DecoderParams = DecoderParams()
    auxiliary_heads: bool = Field(True, description="Segmentation heads on the student's features.")


class PhaseParams(Section):
    """One training phase: its length, its optimiser and its learning-rate schedule."""

    unit: Literal["epochs", "steps"] = Field(
        "steps", description="Unit of length, warm_up and milestones."
    )
    length: int = Field(..., ge=0, description="Length of the phase; 0 skips it.")
    batch_size: int = Field(8, ge=2)
    shuffle: bool = Field(
        True, description="Images in a new order every epoch, or always in that of the manifest."
    )
    learning_rate: float = Field(2e-4, gt=0)
    weight_decay: float = Field(1e-5, ge=0)
    schedule: Literal["constant", "cosine", "multistep"] = "cosine"
    warm_up: int = Field(0, ge=0, description="Linear warm-up from 0.")
    milestones: tuple[int, ...] = Field((), description="multistep: where the rate is multiplied.")
    gamma: float = Field(0.2, gt=0, description="multistep: the factor at each milestone.")
    checkpoint_every: int = Field(
        100,
        ge=1,
        description="Steps between checkpoints; one is left out while the last is being written, "
        "and until ten times as long as that took has passed.",
    )
    device: str = Field(
        "auto", description="'auto' (CUDA where there is one), 'cpu', 'cuda:0', ..."
    )
    precision: Literal["float32", "bfloat16"] = Field(
        "float32",
        description="Of the forward and backward passes (autocast). bfloat16 is for GPUs, and for "
        "processors that have it: on others it is slower.",
    )

    @model_validator(mode="after")
    def _check_schedule(self) -> Self:
        if list(self.milestones) != sorted(set(self.milestones)):
            raise ValueError(f"milestones must increase; got {list(self.milestones)}")
        if self.length and any(m >= self.length for m in self.milestones):
            raise ValueError(
                f"milestones must lie below length ({self.length} {self.unit}); "
                f"got {list(self.milestones)}"
            )
        if self.length and self.warm_up >= self.length:
            raise ValueError(
                f"warm_up must lie below length ({self.length} {self.unit}); got {self.warm_up}"
            )
        return self


class TeacherStudentTrainingParams(PhaseParams):
    """First phase: L_kd + L_dis. Length 0 leaves the student as initialised (joint training)."""

    length: int = Field(1, ge=0)


class DecoderTrainingParams(PhaseParams):
    """Second phase: L_seg, and the student's losses while it stays trainable.

    Length 0 leaves the decoder as initialised: then `scoring.segmentation_weight` must be 0.
    """

    length: int = Field(1, ge=0)
    train_student: bool = Field(
        False, description="Keep training the student (True with no first phase: joint, the paper)."
    )
    teacher_sees: Literal["normal", "outlier"] = Field(
        "normal",
        description="The teacher's image in the decoder's cue, where it has one: the normal image "
        "(the paper) or the outlier image, as at test time.",
    )


class ScoringParams(Section):
    """From model outputs to anomaly maps and image scores."""

    discrepancy_weight: float = Field(
        1.0, ge=0, description="Weight of the discrepancy; the paper's is 1."
    )
    segmentation_weight: float = Field(
        3.0, ge=0, description="Weight of the segmentation probability; the paper's is 3."
    )
    blur_sigma: float = Field(
        4.0,
        ge=0,
        le=32,
        description="Gaussian blur of the map, pixels at 256 px; scales with the size.",
    )
    top_pixels: int = Field(
        50, ge=1, description="The image score is the mean of this many largest pixels, at 256 px."
    )

    @model_validator(mode="after")
    def _check_weights(self) -> Self:
        if self.discrepancy_weight == self.segmentation_weight == 0:
            raise ValueError(
                "discrepancy_weight and segmentation_weight are both 0, which scores nothing; "
                "set one of them above 0"
            )
        return self


class RuleParams(Section):
    """How a threshold is found, without any real defect."""

    rule: Literal["normals", "synthetic", "fixed"] = Field(
        "normals",
        description="normals: quantile of the held-out normals; synthetic: F1-max on the "
        "synthetic validation set; fixed: `value`.",
    )
    false_positive_rate: Fraction = Field(
        0.05,
        description="normals: accepted share of good images with a false alarm; at the pixel level "
        "one with any pixel above the threshold.",
    )
    value: float | None = Field(
        None,
        allow_inf_nan=False,
        description="fixed: the threshold, on raw scores (image_scores.csv: raw_score).",
    )

    @model_validator(mode="after")
    def _check_value(self) -> Self:
        if (self.rule == "fixed") != (self.value is not None):
            raise ValueError("`value` goes with `rule: fixed`, and only with it")
        return self


class ThresholdParams(Section):
    """Which score is a defect: of an image, and of a pixel."""

    image: RuleParams = Field(RuleParams(), description="Of the image score.")
    pixel: RuleParams = Field(RuleParams(), description="Of the anomaly map.")


class EvaluationParams(Section):
    """What is computed on the test split."""

    localisation_metrics: bool | None = Field(
        None,
        description="Pixel AUROC, pixel AP and AUPRO. None: unless the dataset's masks only say "
        "roughly where a defect is.",
    )
    replicates: int = Field(
        1000, ge=100, description="Resamples of the test images behind the 95 % intervals."
    )


class TransferParams(Section):
    """Synthetic outliers that a detector is tried on, its own strategy's and others."""

    strategies: dict[str, dict[str, Any]] = Field(
        {},
        description="By name: what section `synthesis` has in it beside the name. None named: the "
        "presets of the DAF paper, and cutpaste.",
    )
    repeats: int = Field(1, ge=1, description="Outliers per held-out normal, of each strategy.")


class InferenceParams(Section):
    """Images to score with the trained detector."""

    images: Path | list[Path] | None = Field(
        None, description="A folder (searched with its sub-folders), a file, or a list of files."
    )
    batch_size: int = Field(16, ge=1)


RunName = Annotated[str, Field(min_length=1, coerce_numbers_to_str=True)]


class ComparisonParams(Section):
    """Which MLflow runs are compared, and with which of them. See ``docs/comparing.md``."""

    runs: tuple[RunName, ...] | None = Field(
        None,
        min_length=1,
        description="Run ids, beginnings of them, or run names; on the command line apart by "
        "spaces. None: the newest finished and evaluated runs, one an experiment.",
    )
    filter: str | None = Field(
        None, description="With `runs: null`, only the runs that MLflow finds by this filter."
    )
    limit: int = Field(10, ge=1, le=50, description="With `runs: null`, at most so many runs.")
    baseline: RunName | None = Field(
        None,
        description="What the others are compared with, named as in `runs`. None: the first of "
        "`runs`, or else the oldest run.",
    )
    replicates: int = Field(2000, ge=100, le=100_000, description="Of the paired bootstrap.")

    @field_validator("runs", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        """A single value, as the command line gives it, is a list of names."""
        return str(value).split() if isinstance(value, str | int | float) else value

    @model_validator(mode="after")
    def _check_selection(self) -> Self:
        if self.runs is not None and self.filter is not None:
            raise ValueError("either `runs` or `filter` chooses the runs; got both")
        return self


class StudyParams(Section):
    """Which robustness study is read out. See ``docs/robustness.md``."""

    folder: Path = Field(
        Path("studies/robustness"),
        description="Folder of the study; its `cells` holds a JSON file for each trained detector.",
    )
    replicates: int = Field(2000, ge=100, le=100_000, description="Of the bootstrap.")


def fingerprint(*parts: Any) -> str:
    """Short, stable hash of JSON-serialisable parts and parameter sections (16 hex digits)."""

    def plain(part: Any) -> Any:
        return part.model_dump(mode="json") if isinstance(part, BaseModel) else part

    text = json.dumps([plain(part) for part in parts], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
