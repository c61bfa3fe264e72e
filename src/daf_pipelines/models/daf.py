"""The Discrepancy Aware Framework: teacher, student, discrepancy, decoder."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from daf_pipelines.models.backbones import Backbone, load_student, load_teacher
from daf_pipelines.models.decoder import AuxiliaryHead, Decoder, upsample
from daf_pipelines.models.discrepancy import Discrepancy, TeacherFeatures, level_maps
from daf_pipelines.parameters import ModelParams


class StudentOutput(NamedTuple):
    """Features of the student, as they are and as projected to the teacher's channels."""

    features: list[Tensor]
    projected: list[Tensor]


class DAF(nn.Module):
    """Teacher, student, discrepancy and decoder (arXiv 2310.07585).

    Args:
        params: the networks and the form of the discrepancy.
        teacher: the pretrained teacher; ``None`` builds one without weights, for a state
            dictionary to fill.
        student: the student to start from; ``None`` builds one at random.

    Shape:
        - Input: ``(B, 3, H, W)``, RGB in [0, 1], H and W multiples of 16.
        - Output of ``forward``: discrepancy ``(B, 1, H, W)`` and segmentation probability
          ``(B, 1, H, W)``, the latter in [0, 1].
    """

    def __init__(
        self,
        params: ModelParams,
        teacher: Backbone | None = None,
        student: Backbone | None = None,
    ) -> None:
        super().__init__()
        self.params = params
        self.teacher = teacher or Backbone(params.teacher.backbone, preparation=params.input)
        self.teacher.requires_grad_(False).eval()
        self.student = student or Backbone(params.student.backbone, preparation=params.input)
        wanted, own = self.teacher.channels, self.student.channels
        self.projections = nn.ModuleList(
            nn.Identity() if c == w else nn.Conv2d(c, w, 1)
            for c, w in zip(own, wanted, strict=True)
        )
        self.discrepancy = Discrepancy(params.discrepancy, wanted)
        cue = self.discrepancy.channels if params.decoder.cue == "discrepancy" else None
        self.decoder = Decoder(cue, own, params.decoder.width)
        self.heads = nn.ModuleList(AuxiliaryHead(c) for c in own if params.auxiliary_heads)

    @classmethod
    def pretrained(cls, params: ModelParams) -> "DAF":
        """An untrained detector with the pretrained networks that it starts from.

        Raises:
            ParameterError: unknown backbone.
            WeightsError: weights are missing or do not fit.
        """
        teacher = load_teacher(params.teacher, params.input)
        return cls(params, teacher, load_student(params.student, params.input))

    def train(self, mode: bool = True) -> "DAF":
        """Set training mode; the teacher stays as it is: frozen."""
        super().train(mode)
        self.teacher.eval()
        return self

    @torch.no_grad()
    def teacher_features(self, images: Tensor) -> list[TeacherFeatures]:
        """What the student is to match, three levels."""
        return self.discrepancy.prepare(self.teacher(images))

    def student_features(self, images: Tensor) -> StudentOutput:
        """The student's features."""
        features = self.student(images)
        projected = [p(f) for p, f in zip(self.projections, features, strict=True)]
        return StudentOutput(features, projected)

    def segment(self, maps: Sequence[Tensor], student: StudentOutput) -> Tensor:
        """Segmentation logits ``(B, 1, H, W)``, led by the maps where it has a cue."""
        logits: Tensor = self.decoder(maps, student.features)
        return logits

    def auxiliary(self, student: StudentOutput) -> list[Tensor]:
        """Logits of the auxiliary heads, one map a level; empty without heads."""
        # Without heads the zip is empty on purpose.
        return [head(f) for head, f in zip(self.heads, student.features, strict=False)]

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Discrepancy and segmentation probability of the images under test."""
        student = self.student_features(images)
        maps = level_maps(self.discrepancy(student.projected, self.teacher_features(images)))
        probability = torch.sigmoid(self.segment(maps, student))
        return discrepancy_map(maps), probability


def discrepancy_map(maps: Sequence[Tensor]) -> Tensor:
    """Sum over the levels of the channel mean of D^l, nearest-upsampled: ``(B, 1, H, W)``."""
    means = [m.mean(dim=1, keepdim=True) for m in maps]
    factors = (4, 8, 16)
    ups = [upsample(m, f, mode="nearest") for m, f in zip(means, factors, strict=True)]
    return torch.stack(ups).sum(dim=0)
