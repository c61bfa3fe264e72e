import numpy as np
import pandas as pd
import pytest
import timm
from safetensors.torch import save_file

from daf_pipelines.errors import DataError, ParameterError, StaleArtifactError, WeightsError
from daf_pipelines.parameters import (
    DatasetParams,
    DecoderTrainingParams,
    ModelParams,
    SynthesisParams,
    TeacherStudentTrainingParams,
    fingerprint,
)
from daf_pipelines.sources.image_set import ImageSet
from daf_pipelines.synthesis.validation import synthesis_identity
from daf_pipelines.training.experiment import (
    check_inputs,
    check_model,
    check_names,
    check_student,
    checkpoint_fingerprints,
    decoder_identity,
    student_identity,
)

DATASET = DatasetParams(source="mvtec_ad", root="somewhere", category="bolt", image_size=64)
IMAGES = ImageSet(
    pd.DataFrame({"path": ["a", "b"]}),
    np.zeros((2, 64, 64, 3), np.uint8),
    None,
    {
        "source": "mvtec_ad",
        "root": "somewhere",
        "category": "bolt",
        "image_size": 64,
        "resize": "square",
        "test_fraction": None,
        "checks": "strict",
        "calibration_fraction": 0.1,
        "seed": 0,
        "data_hash": "0" * 64,
    },
)


def model(**sections):
    small = {
        "teacher": {"backbone": "test_byobnet", "weights": "hub"},
        "student": {"backbone": "test_resnet"},
        "discrepancy": {"structure": "squared"},
    }
    return ModelParams.model_validate(small | sections)


def identity(synthesis=None, networks=None, **training):
    return student_identity(
        IMAGES,
        synthesis or SynthesisParams(),
        networks or model(),
        TeacherStudentTrainingParams(**training),
    )


class TestCheckNames:
    @pytest.fixture(autouse=True)
    def weights(self, tmp_path):
        self.file = str(tmp_path / "teacher.safetensors")
        save_file(timm.create_model("test_byobnet").state_dict(), self.file)

    def check(self, dataset=DATASET, synthesis=None, **sections):
        teacher = {"teacher": {"backbone": "test_byobnet", "weights": self.file}}
        check_names(dataset, synthesis or SynthesisParams(), model(**teacher | sections))

    def test_all_known(self):
        self.check()

    def test_unknown_source(self):
        with pytest.raises(ParameterError, match="mvtec"):
            self.check(DatasetParams(source="mvtec"))

    def test_unknown_strategy(self):
        with pytest.raises(ParameterError, match=r"'dream'.*did you mean 'draem'"):
            self.check(synthesis=SynthesisParams(strategy="dream"))

    @pytest.mark.parametrize("role", ["teacher", "student"])
    def test_unknown_backbone(self, role):
        with pytest.raises(ParameterError, match="Unknown backbone 'resnet19'"):
            self.check(**{role: {"backbone": "resnet19"}})

    def test_hub_that_cannot_be_reached(self, monkeypatch):
        """Found before the first node, not where training begins."""

        def fail(*_, **__):
            raise ConnectionError("no network")

        monkeypatch.setattr(timm.models._builder, "load_state_dict_from_hf", fail)
        with pytest.raises(WeightsError, match="could not be fetched from the hub"):
            self.check(teacher={"backbone": "resnet18", "weights": "hub"})

    def test_missing_textures(self):
        with pytest.raises(DataError, match="no/such/folder"):
            self.check(synthesis=SynthesisParams(texture_root="no/such/folder"))

    def test_missing_weights(self):
        with pytest.raises(WeightsError, match=r"none\.pth"):
            self.check(teacher={"backbone": "test_byobnet", "weights": "none.pth"})

    def test_missing_weights_of_the_student(self):
        with pytest.raises(WeightsError, match=r"model\.student: .*none\.pth"):
            self.check(student={"backbone": "test_byobnet", "weights": "none.pth"})

    @pytest.mark.parametrize("role", ["teacher", "student"])
    def test_backbone_that_cannot_take_the_size(self, role):
        backbone = {"backbone": "coatnet_pico_rw_224"}
        weights = {"weights": "hub"} if role == "teacher" else {}
        with pytest.raises(ParameterError, match=r"coatnet_pico_rw_224.* 64 pixels"):
            self.check(**{role: backbone | weights})

    def test_images_too_small_for_ssim(self):
        with pytest.raises(ParameterError, match=r"dataset\.image_size to 96"):
            self.check(discrepancy={"structure": "ssim"})


OWN = [
    {"own": {"mask": "perlin", "content": "plain_texture"}},
    {"own": {"mask": "perlin", "content": "plain_texture", "repeats": 2}},
    {"own": {"mask": {"name": "perlin", "threshold": 0.4}, "content": "plain_texture"}},
]


class TestIdentity:
    def test_what_decides_the_weights_changes_it(self):
        variants = [
            identity(),
            identity(SynthesisParams(strategy="cutpaste")),
            identity(SynthesisParams(texture_root="textures")),
            identity(SynthesisParams(match_grey=False)),
            identity(SynthesisParams(foreground="object")),
            *(identity(SynthesisParams(strategy="own", strategies=own)) for own in OWN),
            identity(networks=model(auxiliary_heads=False)),
            identity(length=2),
            identity(batch_size=4),
            identity(precision="bfloat16"),
        ]
        assert len({fingerprint(v) for v in variants}) == len(variants)

    def test_where_and_how_often_does_not(self):
        others = [
            identity(device="cuda:1"),
            identity(checkpoint_every=7),
            identity(SynthesisParams(preview_rows=3, validation_repeats=9)),
        ]
        assert all(other == identity() for other in others)

    def test_of_the_decoder_extends_that_of_the_student(self):
        student = identity()
        first = decoder_identity(student, DecoderTrainingParams(length=3))
        assert student.items() <= first.items()
        assert first == decoder_identity(student, DecoderTrainingParams(length=3, device="cpu"))
        assert first != decoder_identity(student, DecoderTrainingParams(length=4))

    def test_checkpoints_are_named_by_it(self):
        student = identity()
        whole = decoder_identity(student, DecoderTrainingParams(length=3))
        assert checkpoint_fingerprints(whole) == (fingerprint(student), fingerprint(whole))


class TestRefusals:
    def record(self, **changes):
        record = synthesis_identity(SynthesisParams())
        return {"dataset": IMAGES.dataset | {"synthesis": record | changes}}

    def test_inputs_that_fit(self):
        check_inputs(IMAGES, self.record(), DATASET, SynthesisParams(), 0)

    def test_outliers_of_another_strategy(self):
        with pytest.raises(StaleArtifactError, match="kedro run --pipelines outlier_synthesis"):
            check_inputs(IMAGES, self.record(strategy="x"), DATASET, SynthesisParams(), 0)

    def test_images_of_another_seed(self):
        with pytest.raises(StaleArtifactError, match="kedro run --pipelines data_ingestion"):
            check_inputs(IMAGES, self.record(), DATASET, SynthesisParams(), 1)

    def test_student_of_another_experiment(self):
        check_student(identity(), identity())
        with pytest.raises(StaleArtifactError, match="--pipelines teacher_student_training"):
            check_student(identity(length=5), identity())

    def test_model_of_another_dataset(self):
        check_model(identity(), IMAGES)
        other = ImageSet(IMAGES.table, IMAGES.images, None, IMAGES.dataset | {"category": "nut"})
        with pytest.raises(StaleArtifactError, match="The trained model"):
            check_model(identity(), other)
