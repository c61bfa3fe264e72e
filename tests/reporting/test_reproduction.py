"""An experiment's parameters lead to it again."""

import json
from dataclasses import replace

import pytest
import yaml

from daf_pipelines.baselines.parameters import BaselineParams
from daf_pipelines.errors import ParameterError
from daf_pipelines.parameters import ScoringParams, SynthesisParams
from daf_pipelines.reporting.reproduction import experiment_parameters
from daf_pipelines.run_parameters import RunParameters
from daf_pipelines.synthesis.presets import STRATEGIES
from daf_pipelines.synthesis.validation import set_identity, synthesis_identity
from small_project import ROOT

OWN = {
    "mask": {"name": "rectangles"},
    "content": {"name": "plain_texture"},
    "blending": {"name": "hard"},
}
MIXED = {"mine": OWN, "both": {"mixture": {"mine": 2, "nsa": 1, "draem": 1}}}
OF_OWN = {"mine": OWN, "dots": OWN | {"repeats": 2}, "two": {"mixture": {"mine": 1, "dots": 3}}}


def make(params):
    return experiment_of(set_identity(params))


def experiment_of(outliers):
    outliers = json.loads(json.dumps(outliers))
    identity = {
        "dataset": {"source": "elpv", "root": None, "seed": 3, "data_hash": "f" * 64},
        "synthesis": outliers["synthesis"],
        "model": {},
        "teacher_student_training": {"length": 5},
        "decoder_training": {"length": 7},
    }
    rule = {"image": {"rule": "synthetic"}}
    return experiment_parameters(identity, ScoringParams(), rule, outliers)


def test_seed_and_hash_are_no_parameters_of_the_dataset():
    parameters = make(SynthesisParams())
    assert parameters["seed"] == 3
    assert parameters["dataset"] == {"source": "elpv", "root": None}
    assert parameters["threshold"]["image"]["rule"] == "synthetic"


@pytest.mark.parametrize(
    "params",
    [
        {"strategy": "nsa"},
        {"strategy": "cutpaste", "foreground": "object"},
        {"strategy": "memseg", "foreground": "none"},
        {"strategy": "mine", "strategies": {"mine": OWN}},
        {"strategy": "both", "strategies": MIXED},
        {"strategy": "both", "strategies": MIXED, "foreground": "object"},
        {"strategy": "both", "strategies": MIXED, "foreground": "none"},
        {"strategy": "two", "strategies": OF_OWN},
    ],
)
def test_the_strategy_is_the_same_again(params):
    defaults = yaml.safe_load((ROOT / "conf/base/parameters.yml").read_text(encoding="utf-8"))
    first = SynthesisParams.model_validate(params)
    again = RunParameters.of(defaults | {"synthesis": make(first)["synthesis"]}).synthesis
    assert synthesis_identity(again) == synthesis_identity(first)


def test_thresholds_are_set_on_as_many_outliers():
    first = SynthesisParams(validation_repeats=3, validation_limit=70)
    again = SynthesisParams.model_validate(make(first)["synthesis"])
    assert set_identity(again) == set_identity(first)


@pytest.mark.parametrize("name", ["draem", "both"])
def test_a_preset_that_is_another_by_now_is_refused(name, monkeypatch):
    first = SynthesisParams(strategy=name, strategies=MIXED)
    recorded = set_identity(first)
    monkeypatch.setitem(STRATEGIES, "draem", replace(STRATEGIES["draem"], repeats=2))
    again = SynthesisParams.model_validate(experiment_of(recorded)["synthesis"])
    with pytest.raises(ParameterError, match="'draem' is the name of a preset"):
        synthesis_identity(again)


def test_another_method_has_its_own_section_only():
    identity = {
        "dataset": {"source": "elpv", "seed": 3, "data_hash": "f" * 64},
        "baseline": {"method": "stfpm", "stfpm": {"steps": 7, "batch_size": 4}},
        "model": {"teacher": {"backbone": "resnet18", "weights": "hub"}},
    }
    outliers = set_identity(SynthesisParams(strategy="nsa"))
    parameters = experiment_parameters(identity, ScoringParams(), {}, outliers)
    assert set(parameters) == {"seed", "dataset", "synthesis", "baseline", "model", "threshold"}
    assert BaselineParams.model_validate(parameters["baseline"]).stfpm.steps == 7


def test_read_back_from_json():
    first = SynthesisParams(strategy="nsa", foreground="none")
    again = json.loads(json.dumps(make(first)["synthesis"]))
    assert (again["strategy"], again["foreground"]) == ("nsa", "none")
