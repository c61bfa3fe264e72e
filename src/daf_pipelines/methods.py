"""The names of the methods: DAF, and those of the extra ``baselines`` that it is compared with."""

from collections.abc import Mapping
from typing import Any, Literal

DAF_METHOD = "daf"
BaselineMethod = Literal["patchcore", "stfpm", "draem"]
OF_OUTLIERS = (DAF_METHOD, "draem")
"""Methods that learn from synthetic outliers; the others see normal images only."""
OF_TEACHER = (DAF_METHOD, "patchcore", "stfpm")
"""Methods that see with a pretrained teacher."""


def method_of(described: Mapping[str, Any]) -> str:
    """The method of an experiment's parameters, or of a model's identity."""
    return str(described.get("baseline", {}).get("method", DAF_METHOD))


def strategy_of(described: Mapping[str, Any]) -> str | None:
    """The synthesis strategy that the method learns from; ``None`` where it needs none."""
    learns = method_of(described) in OF_OUTLIERS
    return described["synthesis"]["strategy"] if learns else None


def kind_of(described: Mapping[str, Any]) -> list[str]:
    """What tells models apart, in words: the strategy, behind the method where it is not DAF."""
    method, strategy = method_of(described), strategy_of(described)
    return [name for name in (method, strategy) if name not in (DAF_METHOD, None)]
