"""The discrepancy between teacher and student features: cosine and structure, per level.

Cai et al., "A Discrepancy Aware Framework for Robust Anomaly Detection" (arXiv 2310.07585).
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from daf_pipelines.models.structural_similarity import Moments, ssim
from daf_pipelines.parameters import DiscrepancyParams

SMALLEST_LENGTH = 1e-8


class TeacherFeatures(NamedTuple):
    """What a student is to match at one level, with what depends on the teacher alone.

    Attributes:
        features: the teacher's, normalised ``(B, C, H, W)``.
        length: of the feature vectors ``(B, 1, H, W)``, at least 1e-8.
        moments: for SSIM; ``None`` where the structure is the squared difference.
    """

    features: Tensor
    length: Tensor
    moments: Moments | None = None

    def tensors(self) -> list[Tensor]:
        """All of it, as :meth:`of_tensors` takes it."""
        return [self.features, self.length, *(self.moments or ())]

    @classmethod
    def of_tensors(cls, tensors: Sequence[Tensor]) -> "TeacherFeatures":
        """From :meth:`tensors`."""
        features, length, *moments = tensors
        return cls(features, length, Moments(*moments) if moments else None)


class Discrepancy(nn.Module):
    """Per level, element by element: D^l = structure(f_s, f_t) + (1 - cos(f_s, f_t)).

    Structure is ``1 - SSIM`` as in the paper, or the squared difference. The cosine runs over the
    channels and is broadcast. Either term may be left out.

    Args:
        params: the form of the discrepancy.
        channels: channels of the teacher's three levels.

    Attributes:
        channels: of the three maps D^l: the teacher's, or 1 each of the cosine alone.

    Shape:
        - Input: three maps ``(B, C_l, H_l, W_l)``, and the teacher's as from ``prepare``.
        - Output: as ``forward`` says.
    """

    def __init__(self, params: DiscrepancyParams, channels: Sequence[int]) -> None:
        super().__init__()
        self.params = params
        self.channels = [1 if params.structure == "none" else count for count in channels]
        for level, count in enumerate(channels):
            self.register_buffer(f"mean_{level}", torch.zeros(1, count, 1, 1))
            self.register_buffer(f"std_{level}", torch.ones(1, count, 1, 1))

    def fit_normalisation(self, means: Sequence[Tensor], stds: Sequence[Tensor]) -> None:
        """Set the channel statistics of the teacher's features, ``(C_l,)`` a level."""
        for level, (mean, std) in enumerate(zip(means, stds, strict=True)):
            self.get_buffer(f"mean_{level}").copy_(mean.view(1, -1, 1, 1))
            self.get_buffer(f"std_{level}").copy_(std.view(1, -1, 1, 1))

    def normalise(self, teacher: Sequence[Tensor]) -> list[Tensor]:
        """Teacher features as the student is to match them."""
        if self.params.normalise == "none":
            return list(teacher)
        return [
            (f - self.get_buffer(f"mean_{level}")) / self.get_buffer(f"std_{level}")
            for level, f in enumerate(teacher)
        ]

    def prepare(self, teacher: Sequence[Tensor]) -> list[TeacherFeatures]:
        """The teacher's features ``(B, C_l, H_l, W_l)`` as the student is held against them."""
        with torch.autocast(teacher[0].device.type, enabled=False):
            return [self._prepared(_at_least_single(f)) for f in self.normalise(teacher)]

    def _prepared(self, features: Tensor) -> TeacherFeatures:
        features = self._laid_out(features)
        moments = Moments.of(features) if self.params.structure == "ssim" else None
        return TeacherFeatures(features, _length(features), moments)

    def forward(
        self, student: Sequence[Tensor], teacher: Sequence[TeacherFeatures]
    ) -> list[tuple[Tensor, ...]]:
        """The terms of each level: structure ``(B, C, H, W)`` and cosine ``(B, 1, H, W)``.

        One of them, where the other is left out. The loss wants them apart, the map their sum: both
        are computed once, here, and never in less than single precision. Under autocast,
        differences of nearly equal numbers, as the variances of SSIM, would be rounding errors.

        Args:
            student: the student's features, projected to the teacher's channels.
            teacher: as from :meth:`prepare`.
        """
        with torch.autocast(student[0].device.type, enabled=False):
            return [
                self._terms(self._laid_out(_at_least_single(s)), t)
                for s, t in zip(student, teacher, strict=True)
            ]

    def _terms(self, student: Tensor, teacher: TeacherFeatures) -> tuple[Tensor, ...]:
        cosine = [1 - _cosine(student, teacher)] if self.params.cosine else []
        return (*self._structure(student, teacher), *cosine)

    def _laid_out(self, features: Tensor) -> Tensor:
        # SSIM blurs whole channels.
        return features.contiguous() if self.params.structure == "ssim" else features

    def _structure(self, student: Tensor, teacher: TeacherFeatures) -> list[Tensor]:
        if self.params.structure == "ssim":
            return [1 - ssim(student, teacher.features, teacher.moments)]
        if self.params.structure == "squared":
            return [(student - teacher.features).square()]
        return []


def level_maps(terms: Sequence[tuple[Tensor, ...]]) -> list[Tensor]:
    """D^l of each level from its terms, as :class:`Discrepancy` gives them: their sum."""
    return [sum(others, first) for first, *others in terms]


def _cosine(student: Tensor, teacher: TeacherFeatures) -> Tensor:
    product = (student * teacher.features).sum(dim=1, keepdim=True)
    return product / (_length(student) * teacher.length)


def _length(features: Tensor) -> Tensor:
    squared = features.square().sum(dim=1, keepdim=True)
    return squared.clamp(min=SMALLEST_LENGTH**2).sqrt()


def _at_least_single(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))
