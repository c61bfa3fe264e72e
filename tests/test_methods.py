"""What experiments are called by."""

import pytest

from daf_pipelines.methods import kind_of, method_of, strategy_of

SYNTHESIS = {"synthesis": {"strategy": "nsa"}}


def of(method: str) -> dict[str, object]:
    return {"baseline": {"method": method}}


@pytest.mark.parametrize(
    ("described", "method", "strategy", "kind"),
    [
        (SYNTHESIS, "daf", "nsa", ["nsa"]),
        (SYNTHESIS | of("draem"), "draem", "nsa", ["draem", "nsa"]),
        (SYNTHESIS | of("patchcore"), "patchcore", None, ["patchcore"]),
        (of("stfpm"), "stfpm", None, ["stfpm"]),
    ],
)
def test_method_and_strategy(
    described: dict[str, object], method: str, strategy: str | None, kind: list[str]
) -> None:
    assert method_of(described) == method
    assert strategy_of(described) == strategy
    assert kind_of(described) == kind
