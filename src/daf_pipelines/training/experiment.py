"""What identifies an experiment, and the refusal of artifacts that belong to another one."""

from typing import Any

from daf_pipelines.baselines import require_anomalib
from daf_pipelines.baselines.parameters import BaselineParams
from daf_pipelines.errors import ParameterError
from daf_pipelines.methods import OF_OUTLIERS, OF_TEACHER
from daf_pipelines.models.backbones import STRIDES, check_image_size, load_student, load_teacher
from daf_pipelines.models.structural_similarity import check_ssim_size
from daf_pipelines.models.trained import check_identity
from daf_pipelines.parameters import (
    DatasetParams,
    DecoderTrainingParams,
    ModelParams,
    Section,
    SynthesisParams,
    TeacherParams,
    TeacherStudentTrainingParams,
    fingerprint,
)
from daf_pipelines.run_parameters import RunParameters
from daf_pipelines.sources.image_set import ImageSet, check_dataset
from daf_pipelines.sources.registry import check_source_name
from daf_pipelines.synthesis.configured import configured_strategy
from daf_pipelines.synthesis.textures import find_textures
from daf_pipelines.synthesis.validation import synthesis_identity
from daf_pipelines.training.loop import choose_device

# Where and how often something is computed does not change what comes out.
_INCIDENTAL = {"device", "checkpoint_every"}
DRAEM_STRIDE = 32


def check_run(params: RunParameters, *, is_daf: bool) -> None:
    """Refuse a training that cannot work, before anything else takes time.

    Args:
        params: Of the run.
        is_daf: Whether it trains DAF, or the method of section ``baseline``.

    Raises:
        DAFError: As :func:`check_names`, :func:`check_baseline` and
            :func:`~daf_pipelines.training.loop.choose_device` tell.
    """
    if is_daf:
        check_names(params.dataset, params.synthesis, params.model)
        for phase in (params.teacher_student_training, params.decoder_training):
            choose_device(phase.device)
    else:
        check_baseline(params.dataset, params.synthesis, params.model.teacher, params.baseline)
        choose_device(params.baseline.device)


def check_names(dataset: DatasetParams, synthesis: SynthesisParams, model: ModelParams) -> None:
    """Refuse unknown sources, strategies and backbones, textures and weights that are not there.

    Those of the hub are fetched here, before anything else takes time.

    Raises:
        DataError: no such folder of textures.
        ParameterError: an unknown name, or a combination that cannot work.
        WeightsError: weights of the teacher or the student are not there, or do not fit.
    """
    check_source_name(dataset.source)
    check_strategies(synthesis)
    for backbone in {model.teacher.backbone: None, model.student.backbone: None}:
        check_image_size(backbone, dataset.image_size)
    if model.discrepancy.structure == "ssim":
        check_ssim_size(dataset.image_size // STRIDES[-1])
    load_teacher(model.teacher)
    if model.student.weights != "none":
        load_student(model.student)


def check_baseline(
    dataset: DatasetParams,
    synthesis: SynthesisParams,
    teacher: TeacherParams,
    baseline: BaselineParams,
) -> None:
    """Refuse another method where it cannot be trained; see :func:`check_names`.

    Raises:
        DAFError: its package is not installed.
        DataError: no such folder of textures.
        ParameterError: an unknown name, padded images, or a size that the networks cannot take.
        WeightsError: the teacher's weights are not there, or do not fit.
    """
    require_anomalib(baseline.method)
    check_source_name(dataset.source)
    check_strategies(synthesis)
    if dataset.resize == "pad":
        raise ParameterError(
            f"dataset.resize: {baseline.method} takes the padding around an image for a part of "
            "it. Set it to 'square'."
        )
    if baseline.method in OF_TEACHER:
        check_image_size(teacher.backbone, dataset.image_size)
        load_teacher(teacher)
    if baseline.method == "draem" and dataset.image_size % DRAEM_STRIDE:
        raise ParameterError(
            f"dataset.image_size: draem needs a multiple of {DRAEM_STRIDE}; "
            f"got {dataset.image_size}."
        )


def check_strategies(synthesis: SynthesisParams) -> None:
    """Refuse unknown strategies and operators, and textures that are not there.

    Raises:
        DataError: no such folder of textures.
        ParameterError: an unknown name, or a parameter that an operator cannot have.
    """
    configured_strategy(synthesis)
    if synthesis.texture_root is not None:
        find_textures(synthesis.texture_root)


def student_identity(
    train_images: ImageSet,
    synthesis: SynthesisParams,
    model: ModelParams,
    training: TeacherStudentTrainingParams,
) -> dict[str, Any]:
    """Everything that decides the student's weights, as plain JSON values."""
    return {
        "dataset": train_images.dataset,
        "synthesis": synthesis_identity(synthesis),
        "model": model.model_dump(mode="json"),
        "teacher_student_training": _decisive(training),
    }


def decoder_identity(student: dict[str, Any], training: DecoderTrainingParams) -> dict[str, Any]:
    """Everything that decides the detector's weights."""
    return student | {"decoder_training": _decisive(training)}


def baseline_identity(
    train_images: ImageSet,
    synthesis: SynthesisParams,
    teacher: TeacherParams,
    baseline: BaselineParams,
) -> dict[str, Any]:
    """Everything that decides another method's weights: outliers and teacher where it has them."""
    identity = {"dataset": train_images.dataset, "baseline": baseline.decisive()}
    if baseline.method in OF_OUTLIERS:
        identity["synthesis"] = synthesis_identity(synthesis)
    if baseline.method in OF_TEACHER:
        identity["model"] = {"teacher": teacher.model_dump(mode="json")}
    return identity


def check_inputs(
    images: ImageSet,
    synthesis_record: dict[str, Any],
    dataset: DatasetParams,
    synthesis: SynthesisParams,
    seed: int,
) -> None:
    """Refuse images or outliers that belong to other parameters than those asked for.

    Raises:
        StaleArtifactError: with the pipeline that mends it.
    """
    check_dataset(images, dataset, seed)
    wanted = images.dataset | {"synthesis": synthesis_identity(synthesis)}
    check_identity(
        synthesis_record["dataset"],
        wanted,
        "The output of outlier_synthesis",
        "Run kedro run --pipelines outlier_synthesis",
    )


def check_student(found: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Refuse a student of another experiment.

    Raises:
        StaleArtifactError: with the pipeline that mends it.
    """
    check_identity(
        found,
        wanted,
        "The trained student",
        "Run kedro run --pipelines teacher_student_training",
    )


def check_model(identity: dict[str, Any], images: ImageSet) -> None:
    """Refuse a model that was trained on another dataset than ``images``.

    Raises:
        StaleArtifactError: with what mends it.
    """
    check_identity(identity, {"dataset": images.dataset}, "The trained model", "Run kedro run")


def checkpoint_fingerprints(identity: dict[str, Any]) -> tuple[str, str]:
    """Fingerprints of the checkpoints of both phases of the detector with this identity."""
    student = {k: v for k, v in identity.items() if k != "decoder_training"}
    return fingerprint(student), fingerprint(identity)


def _decisive(params: Section) -> dict[str, Any]:
    return params.model_dump(mode="json", exclude=_INCIDENTAL)
