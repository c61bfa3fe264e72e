import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from daf_pipelines import parameters
from daf_pipelines.baselines.parameters import BaselineParams
from daf_pipelines.parameters import (
    DatasetParams,
    DecoderTrainingParams,
    DiscrepancyParams,
    InferenceParams,
    InputParams,
    ModelParams,
    RuleParams,
    ScoringParams,
    Section,
    SynthesisParams,
    TeacherStudentTrainingParams,
    fingerprint,
)

SECTIONS = [
    DatasetParams,
    SynthesisParams,
    ModelParams,
    TeacherStudentTrainingParams,
    DecoderTrainingParams,
    ScoringParams,
    RuleParams,
    InferenceParams,
    BaselineParams,
]


class TestSections:
    @pytest.mark.parametrize("section", SECTIONS)
    def test_unknown_key(self, section):
        with pytest.raises(ValidationError, match=r"learnign_rate\n.*not permitted"):
            section(learnign_rate=1)

    def test_unknown_nested_key(self):
        with pytest.raises(ValidationError, match=r"teacher\.weight\n"):
            ModelParams(teacher={"weight": "hub"})

    @pytest.mark.parametrize("section", SECTIONS)
    def test_immutable(self, section):
        made = section()
        with pytest.raises(ValidationError, match="frozen"):
            setattr(made, next(iter(section.model_fields)), None)

    @pytest.mark.parametrize("section", SECTIONS)
    def test_round_trip_through_json(self, section):
        made = section()
        plain = json.loads(json.dumps(made.model_dump(mode="json")))
        assert section.model_validate(plain) == made

    def test_every_field_is_described_or_says_it_all(self):
        sections = [s for s in vars(parameters).values() if isinstance(s, type)]
        fields = {
            f"{s.__name__}.{name}": field
            for s in sections
            if issubclass(s, Section)
            for name, field in s.model_fields.items()
        }
        assert len(fields) > 30
        # These are named and typed so that a description could only repeat it.
        plain = {"length", "batch_size", "learning_rate", "weight_decay", "schedule"}
        nested = {"teacher", "student", "input", "discrepancy", "decoder"}
        silent = {k.partition(".")[2] for k, f in fields.items() if not f.description}
        assert silent <= plain | nested


class TestBadValues:
    @pytest.mark.parametrize(
        ("section", "values"),
        [
            (DatasetParams, {"image_size": 100}),
            (DatasetParams, {"image_size": 16}),
            (DatasetParams, {"resize": "crop"}),
            (DatasetParams, {"calibration_fraction": 0}),
            (DatasetParams, {"calibration_fraction": 1}),
            (SynthesisParams, {"validation_repeats": 0}),
            (InputParams, {"channels": "grey"}),
            (InputParams, {"normalise": "imagenet"}),
            (DiscrepancyParams, {"structure": "l1"}),
            (DiscrepancyParams, {"cosine": "both"}),
            (DiscrepancyParams, {"normalise": True}),
            (ModelParams, {"decoder": {"width": 4}}),
            (ModelParams, {"decoder": {"cue": "teacher"}}),
            (DecoderTrainingParams, {"length": -1}),
            (TeacherStudentTrainingParams, {"length": -1}),
            (DecoderTrainingParams, {"batch_size": 1}),
            (DecoderTrainingParams, {"learning_rate": 0}),
            (DecoderTrainingParams, {"weight_decay": -1}),
            (DecoderTrainingParams, {"unit": "minutes"}),
            (DecoderTrainingParams, {"schedule": "step"}),
            (DecoderTrainingParams, {"precision": "float16"}),
            (DecoderTrainingParams, {"teacher_sees": "both"}),
            (DecoderTrainingParams, {"checkpoint_every": 0}),
            (ScoringParams, {"discrepancy_weight": -1}),
            (ScoringParams, {"segmentation_weight": -1}),
            (ScoringParams, {"blur_sigma": -1}),
            (ScoringParams, {"blur_sigma": 100}),
            (ScoringParams, {"top_pixels": 0}),
            (RuleParams, {"rule": "best"}),
            (RuleParams, {"false_positive_rate": 0}),
            (InferenceParams, {"batch_size": 0}),
        ],
    )
    def test_are_refused_and_named(self, section, values):
        with pytest.raises(ValidationError) as caught:
            section.model_validate(values)
        key, value = next(iter(values.items()))
        assert str(caught.value).count("\n" + key) == 1
        assert type(value) is dict or f"input_value={value!r}" in str(caught.value)


class TestSchedule:
    def test_milestones_must_increase(self):
        for milestones in [(30, 20), (20, 20)]:
            with pytest.raises(ValidationError, match=r"milestones must increase; got \[\d+, 20\]"):
                DecoderTrainingParams(length=50, milestones=milestones)

    def test_milestones_must_lie_within_the_phase(self):
        with pytest.raises(ValidationError, match=r"below length \(50 epochs\); got \[50\]"):
            DecoderTrainingParams(length=50, unit="epochs", milestones=(50,))

    def test_warm_up_must_end_within_the_phase(self):
        with pytest.raises(ValidationError, match=r"warm_up must lie below .*\(50 steps\); got 50"):
            DecoderTrainingParams(length=50, warm_up=50)

    def test_a_skipped_phase_may_keep_its_schedule(self):
        TeacherStudentTrainingParams(length=0, warm_up=50, milestones=(650, 950))

    def test_paper(self):
        params = DecoderTrainingParams(
            unit="epochs", length=1200, warm_up=50, milestones=[650, 950], schedule="multistep"
        )
        assert params.milestones == (650, 950)
        assert (params.learning_rate, params.weight_decay, params.gamma) == (2e-4, 1e-5, 0.2)
        assert params.batch_size == 8


class TestDiscrepancy:
    def test_has_at_least_one_term(self):
        assert DiscrepancyParams(structure="none").cosine
        assert DiscrepancyParams(cosine=False).structure == "ssim"
        with pytest.raises(ValidationError, match=r"leave nothing to compare; set one of them"):
            DiscrepancyParams(structure="none", cosine=False)


class TestScoring:
    def test_one_weight_may_be_0(self):
        assert ScoringParams(discrepancy_weight=0).segmentation_weight == 3
        assert ScoringParams(segmentation_weight=0).discrepancy_weight == 1

    def test_both_weights_0(self):
        with pytest.raises(ValidationError, match=r"are both 0.*set one of them above 0"):
            ScoringParams(discrepancy_weight=0, segmentation_weight=0)


class TestThreshold:
    def test_value_goes_with_the_fixed_rule_only(self):
        assert RuleParams(rule="fixed", value=0).value == 0
        for values in [{"rule": "fixed"}, {"value": 0.5}, {"rule": "synthetic", "value": 1}]:
            with pytest.raises(ValidationError, match="`value` goes with `rule: fixed`"):
                RuleParams(**values)

    @pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
    def test_value_is_finite(self, value):
        with pytest.raises(ValidationError, match="finite"):
            RuleParams(rule="fixed", value=float(value))


class TestInference:
    def test_a_path_or_several(self):
        assert InferenceParams(images="folder").images == Path("folder")
        assert InferenceParams(images=["a", "b"]).images == [Path("a"), Path("b")]


plain_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


class TestFingerprint:
    def test_is_the_same_everywhere(self):
        # Another value would orphan the checkpoints and MLflow runs of earlier versions.
        text = rb'[{"a": [2.5, null, "\u00fc"], "b": 1}]'
        expected = hashlib.sha256(text).hexdigest()[:16]
        assert fingerprint({"b": 1, "a": [2.5, None, "ü"]}) == expected

    def test_is_the_same_in_another_process(self):
        code = (
            "from daf_pipelines.parameters import *;"
            "print(fingerprint({'seed': 0, 'name': 'x'}, DatasetParams()), end='')"
        )
        found = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env={"PYTHONHASHSEED": "1", "PYTHONPATH": ":".join(sys.path)},
        ).stdout
        assert found == fingerprint({"seed": 0, "name": "x"}, DatasetParams())

    @settings(max_examples=50, deadline=None)
    @given(plain_values, plain_values)
    def test_equal_for_equal_values_only(self, first, second):
        assert fingerprint(first) == fingerprint(json.loads(json.dumps(first)))
        same = json.dumps(first, sort_keys=True) == json.dumps(second, sort_keys=True)
        assert (fingerprint(first) == fingerprint(second)) == same

    def test_order_of_keys_does_not_matter_order_of_parts_does(self):
        assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
        assert fingerprint(1, 2) != fingerprint(2, 1)
        assert fingerprint(1, 2) != fingerprint([1, 2])

    def test_sections_are_their_values(self):
        params = ModelParams()
        assert fingerprint(params) == fingerprint(params.model_dump(mode="json"))

    def test_every_value_of_a_section_counts(self):
        variants = [
            {},
            {"teacher": {"backbone": "resnet18"}},
            {"teacher": {"weights": "hub"}},
            {"student": {"backbone": "resnet34"}},
            {"student": {"weights": "hub"}},
            {"input": {"channels": "bgr"}},
            {"input": {"normalise": "none"}},
            {"discrepancy": {"structure": "squared"}},
            {"discrepancy": {"structure": "none"}},
            {"discrepancy": {"cosine": False}},
            {"discrepancy": {"normalise": "channel"}},
            {"decoder": {"width": 8}},
            {"decoder": {"cue": "none"}},
            {"auxiliary_heads": False},
        ]
        found = {fingerprint(ModelParams.model_validate(v)) for v in variants}
        assert len(found) == len(variants)

    def test_is_16_hex_digits(self):
        assert len(fingerprint()) == 16
        int(fingerprint(), 16)

    def test_what_is_not_plain_is_refused(self):
        with pytest.raises(TypeError):
            fingerprint(Path("x"))
