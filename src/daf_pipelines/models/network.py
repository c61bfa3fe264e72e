"""The networks that a detector may hold: DAF's, or those of another method."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, TypeAlias

from torch import Tensor, nn

from daf_pipelines.baselines import require_anomalib
from daf_pipelines.baselines.parameters import NetworkParams
from daf_pipelines.models.daf import DAF
from daf_pipelines.parameters import ModelParams


class Baseline(nn.Module, ABC):
    """Networks of another method, which makes its anomaly maps and image scores itself.

    Args:
        params: what they are built from.

    Shape, in evaluation mode:
        - Input: ``(B, 3, H, W)``, RGB in [0, 1].
        - Output: anomaly maps ``(B, 1, H, W)`` and image scores ``(B,)``.
    """

    def __init__(self, params: NetworkParams) -> None:
        super().__init__()
        self.params = params

    @abstractmethod
    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Anomaly maps and image scores of the images under test."""


Network: TypeAlias = DAF | Baseline


def load_network(config: Mapping[str, Any], weights: Mapping[str, Tensor]) -> Network:
    """Networks from their parameters, as JSON has them, and their weights.

    Raises:
        DAFError: the networks are of a package that is not installed.
    """
    network = _build(config)
    network.load_state_dict(weights)
    return network


def _build(config: Mapping[str, Any]) -> Network:
    if "method" not in config:
        return DAF(ModelParams.model_validate(config))
    params = NetworkParams.model_validate(config)
    require_anomalib(params.method)
    from daf_pipelines.baselines.networks import build

    return build(params)
