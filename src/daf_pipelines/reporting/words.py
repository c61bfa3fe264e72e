"""Numbers and values in the words of a web page."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import yaml


def score_text(value: float) -> str:
    """A metric in [0, 1] with three decimals; never rounded up to 1."""
    if 0.9995 <= value < 1:
        return f"{min(value, 0.9999):.4f}"
    return f"{value:.3f}"


def duration(seconds: float) -> str:
    """A time in words, such as "3 min 20 s"."""
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def share_text(share: float) -> str:
    """A share in percent with one decimal, of which none and all have no."""
    return f"{100 * share:.1f} %" if 0 < share < 1 else f"{100 * share:.0f} %"


def finite(value: Any) -> float | None:
    """A number, None where it is None, NaN or infinite."""
    return float(value) if value is not None and math.isfinite(value) else None


def or_dash(value: Any, form: Callable[[float], str]) -> str:
    """A number as `form` writes it, a dash where there is none."""
    number = finite(value)
    return "–" if number is None else form(number)


def words(value: Any) -> str:
    """Any plain value; what is nested stands in one line."""
    if value is None:
        return "not set"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {words(one)}" for name, one in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(words, value))
    return str(value)


def as_yaml(parameters: Mapping[str, Any]) -> str:
    """Nested parameters as YAML; what YAML does not have, as text."""
    return str(yaml.safe_dump(_plain(parameters), sort_keys=False, allow_unicode=True))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if value is None or isinstance(value, bool):
        return value
    for kind in (int, float):
        if isinstance(value, kind):
            return kind(value)  # NumPy's float64 is a float, but not to YAML
    return str(value)
