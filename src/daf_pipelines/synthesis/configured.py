"""Strategies from parameters: a preset, or operators composed in ``synthesis.strategies``."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from daf_pipelines.errors import ParameterError
from daf_pipelines.parameters import (
    MixtureParams,
    OperatorParams,
    StrategyParams,
    SynthesisParams,
)
from daf_pipelines.synthesis.blending import BLENDINGS
from daf_pipelines.synthesis.contents import CONTENTS
from daf_pipelines.synthesis.masks import MASKS
from daf_pipelines.synthesis.operators import Operator, parameters_of
from daf_pipelines.synthesis.presets import STRATEGIES, find_strategy, unknown_name
from daf_pipelines.synthesis.strategies import Mixture, Strategy

SECTION = "synthesis.strategies"


def configured_strategy(params: SynthesisParams) -> Strategy | Mixture:
    """The strategy that the parameters ask for.

    Raises:
        ParameterError: There is no strategy or operator of that name, or an operator's parameter
            is unknown or has a value that it cannot have.
    """
    return _placed(find_strategy(params.strategy, own_strategies(params)), params)


def all_strategies(params: SynthesisParams) -> dict[str, Strategy | Mixture]:
    """The presets, then the strategies of one's own, by name.

    Raises:
        ParameterError: As in ``configured_strategy``.
    """
    known = STRATEGIES | own_strategies(params)
    return {name: _placed(strategy, params) for name, strategy in known.items()}


def own_strategies(params: SynthesisParams) -> dict[str, Strategy | Mixture]:
    """The strategies of ``synthesis.strategies``, by name.

    Raises:
        ParameterError: As in ``configured_strategy``, for any of them; or a name is a preset's.
    """
    taken = sorted(STRATEGIES.keys() & params.strategies.keys())
    if taken:
        raise ParameterError(
            f"{SECTION}: '{taken[0]}' is the name of a preset; choose another name."
        )
    single: dict[str, Strategy | Mixture] = {
        name: _strategy(name, own)
        for name, own in params.strategies.items()
        if isinstance(own, StrategyParams)
    }
    mixtures = {
        name: _mixture(name, own, STRATEGIES | single)
        for name, own in params.strategies.items()
        if isinstance(own, MixtureParams)
    }
    return single | mixtures


def _placed(strategy: Strategy | Mixture, params: SynthesisParams) -> Strategy | Mixture:
    return strategy if params.foreground is None else strategy.on(params.foreground)


def _strategy(name: str, params: StrategyParams) -> Strategy:
    where = f"{SECTION}.{name}"
    return Strategy(
        _operator(f"{where}.mask", "mask", params.mask, MASKS),
        _operator(f"{where}.content", "content", params.content, CONTENTS),
        _operator(f"{where}.blending", "blending", params.blending, BLENDINGS),
        f"Configured in {SECTION}.",
        params.foreground,
        params.repeats,
        params.area,
        params.tolerance,
    )


def _mixture(name: str, params: MixtureParams, known: Mapping[str, Strategy | Mixture]) -> Mixture:
    parts = {}
    for part in params.mixture:
        found = known.get(part)
        if isinstance(found, Mixture):
            raise ParameterError(
                f"{SECTION}.{name}.mixture: '{part}' is a mixture itself; name its parts instead: "
                f"{', '.join(found.parts)}."
            )
        if found is None:
            names = [n for n, strategy in known.items() if isinstance(strategy, Strategy)]
            raise unknown_name(f"{SECTION}.{name}.mixture", "strategy", part, names)
        parts[part] = found
    return Mixture(parts, params.mixture, f"Configured in {SECTION}.")


def _operator(where: str, kind: str, given: OperatorParams, known: Mapping[str, Any]) -> Operator:
    settings = {"name": given} if isinstance(given, str) else dict(given)
    name = str(settings.pop("name", ""))
    if not name:
        raise ParameterError(
            f"{where}: the name is missing; expected a {kind} as name or as "
            f"{{name: ..., parameter: value}}. Known: {', '.join(sorted(known))}."
        )
    if name not in known:
        raise unknown_name(where, kind, name, known)
    try:
        return Operator(known[name], **settings)
    except ValidationError as error:
        raise ParameterError(f"{where}: {_explain(error, known[name])}") from None


def _explain(error: ValidationError, function: Any) -> str:
    fault = error.errors()[0]
    name, reason = fault["loc"][0], fault["msg"].removeprefix("Value error, ")
    if fault["type"] == "extra_forbidden":
        names = sorted(parameters_of(function))
        return f"unknown parameter '{name}'; known are name{''.join(f', {n}' for n in names)}."
    if fault["type"] == "tuple_type":
        reason = "expected a list, such as [lower, upper]"
    return f"{name}: {reason}; got {fault['input']!r}."
