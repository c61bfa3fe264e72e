"""How to make an experiment again."""

from typing import Any

from daf_pipelines.methods import DAF_METHOD, method_of
from daf_pipelines.parameters import Foreground, ScoringParams, ThresholdParams
from daf_pipelines.synthesis.presets import STRATEGIES

SECTIONS = ("model", "teacher_student_training", "decoder_training", "baseline")


def experiment_parameters(
    identity: dict[str, Any],
    scoring: ScoringParams,
    threshold: dict[str, Any],
    outliers: dict[str, Any],
) -> dict[str, Any]:
    """The parameters of an experiment, as ``conf/local/parameters.yml`` may hold them.

    Args:
        identity: What decided the model's weights, as the detector's metadata have it.
        scoring: From model outputs to scores.
        threshold: Section of that name.
        outliers: The :func:`~daf_pipelines.synthesis.validation.set_identity` of the synthetic
            validation set, on which thresholds were set; for every method.
    """
    dataset = {k: v for k, v in identity["dataset"].items() if k not in ("seed", "data_hash")}
    size = {name: value for name, value in outliers.items() if name != "synthesis"}
    is_daf = method_of(identity) == DAF_METHOD
    return {
        "seed": identity["dataset"]["seed"],
        "dataset": dataset,
        "synthesis": _synthesis(outliers["synthesis"]) | size,
        **{name: identity[name] for name in SECTIONS if name in identity},
        **({"scoring": scoring.model_dump(mode="json")} if is_daf else {}),
        "threshold": ThresholdParams.model_validate(threshold).model_dump(mode="json"),
    }


def _synthesis(identity: dict[str, Any]) -> dict[str, Any]:
    """The section that has this identity: a preset, perhaps on another ground, or one's own."""
    section = {k: v for k, v in identity.items() if k != "operators"}
    name, operators = section["strategy"], identity["operators"]
    is_mixture = name not in STRATEGIES and "parts" in operators
    used = operators["parts"] if is_mixture else {name: operators}
    presets = {k: v for k, v in used.items() if k in STRATEGIES}
    own = {k: v for k, v in used.items() if k not in STRATEGIES}
    if is_mixture:
        own[name] = {"mixture": operators["weights"]}
    if own:
        section["strategies"] = own
    for foreground in (None, "object", "none"):
        if all(_preset(k, foreground) == v for k, v in presets.items()):
            return section | {"foreground": foreground}
    # Of a preset that is another by now: refused by its name, rather than quietly another strategy.
    return section | {"strategies": used | own}


def _preset(name: str, foreground: Foreground | None) -> dict[str, Any]:
    """What a preset does, as it is recorded."""
    preset = STRATEGIES[name]
    return (preset if foreground is None else preset.on(foreground)).describe()
