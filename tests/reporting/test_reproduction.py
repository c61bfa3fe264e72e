"""An experiment's parameters lead to it again."""

import json

import pytest

from daf_pipelines.baselines.parameters import BaselineParams
from daf_pipelines.parameters import ScoringParams, SynthesisParams
from daf_pipelines.reporting.reproduction import experiment_parameters
from daf_pipelines.synthesis.validation import set_identity, synthesis_identity

OWN = {
    "mask": {"name": "rectangles"},
    "content": {"name": "plain_texture"},
    "blending": {"name": "hard"},
}


def make(synthesis):
    identity = {
        "dataset": {"source": "elpv", "root": None, "seed": 3, "data_hash": "f" * 64},
        "synthesis": synthesis_identity(synthesis),
        "model": {},
        "teacher_student_training": {"length": 5},
        "decoder_training": {"length": 7},
    }
    outliers = json.loads(json.dumps(set_identity(synthesis)))
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
        {"strategy": "mine", "strategies": {"mine": OWN}},
    ],
)
def test_the_strategy_is_the_same_again(params):
    first = SynthesisParams.model_validate(params)
    again = SynthesisParams.model_validate(make(first)["synthesis"])
    assert synthesis_identity(again) == synthesis_identity(first)


def test_thresholds_are_set_on_as_many_outliers():
    first = SynthesisParams(validation_repeats=3, validation_limit=70)
    again = SynthesisParams.model_validate(make(first)["synthesis"])
    assert set_identity(again) == set_identity(first)


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
