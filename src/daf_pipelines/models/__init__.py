"""Networks of the Discrepancy Aware Framework."""

from daf_pipelines.models.backbones import Backbone, load_teacher
from daf_pipelines.models.daf import DAF
from daf_pipelines.models.decoder import AuxiliaryHead, Decoder, Fusion
from daf_pipelines.models.discrepancy import Discrepancy
from daf_pipelines.models.structural_similarity import ssim

__all__ = [
    "DAF",
    "AuxiliaryHead",
    "Backbone",
    "Decoder",
    "Discrepancy",
    "Fusion",
    "load_teacher",
    "ssim",
]
