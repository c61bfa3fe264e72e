"""How much the methods of a study learn from, by its declared parameters."""

from collections.abc import Mapping

from daf_pipelines.study import plan
from daf_pipelines.study.robustness import PROPOSED

FEW_SEEN = 0.1
"""Share of DAF's training images below which a method has hardly been trained."""


def images_seen(study: plan.Study) -> dict[str, int]:
    """The images of all training steps: batches times their size.

    Returns:
        By method with synthesis; without those whose length is declared in epochs.
    """
    by_method = {cell.method: cell for cell in study.cells() if cell.strategy is not None}
    found = {method: _seen(study, cell) for method, cell in by_method.items()}
    return {method: seen for method, seen in found.items() if seen is not None}


def hardly_trained(seen: Mapping[str, int]) -> list[str]:
    """Methods of which this training says nothing, beside DAF.

    Args:
        seen: From :func:`images_seen`.
    """
    least = FEW_SEEN * seen.get(PROPOSED, 0)
    return [method for method, images in seen.items() if images < least]


def _seen(study: plan.Study, cell: plan.Cell) -> int | None:
    params = study.parameters(cell)
    if study.pipelines(cell) == plan.BASELINE:
        only = params.baseline.draem  # no other baseline learns from outliers
        return only.steps * only.batch_size
    phases = params.teacher_student_training, params.decoder_training
    if any(phase.unit == "epochs" for phase in phases):
        return None
    return sum(phase.length * phase.batch_size for phase in phases)
