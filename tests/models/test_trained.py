import json

import pytest
import timm
import torch

from daf_pipelines.errors import DataError, StaleArtifactError
from daf_pipelines.models import DAF
from daf_pipelines.models.trained import TrainedModel, check_identity
from daf_pipelines.parameters import DecoderTrainingParams, ModelParams

PARAMS = ModelParams.model_validate(
    {
        "teacher": {"backbone": "test_byobnet", "weights": "nowhere.safetensors"},
        "student": {"backbone": "test_resnet"},
        "discrepancy": {"structure": "squared", "normalise": "channel"},
        "decoder": {"width": 16},
    }
)
IDENTITY = {
    "model": PARAMS.model_dump(mode="json"),
    "decoder_training": DecoderTrainingParams(
        length=9, schedule="multistep", milestones=(3, 5)
    ).model_dump(mode="json"),
    "dataset": {"root": None, "seed": 0, "image_size": 64},
}


def trained(seed=0):
    torch.manual_seed(seed)
    model = DAF(PARAMS)
    for buffer in ("mean_0", "std_2"):
        model.discrepancy.get_buffer(buffer).uniform_(1, 2)
    model.train().student_features(torch.rand(2, 3, 64, 64))  # moves the running statistics
    return TrainedModel(model, IDENTITY, train_seconds=12.5, peak_rss_mib=345.0)


@torch.no_grad()
def outputs(model):
    return model.eval()(torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1)))


class TestRoundTrip:
    def test_outputs_are_bit_identical(self, tmp_path):
        saved = trained()
        saved.save(tmp_path / "m")
        loaded = TrainedModel.load(tmp_path / "m")
        assert loaded.model.params == PARAMS
        for a, b in zip(outputs(saved.model), outputs(loaded.model), strict=True):
            assert torch.equal(a, b)

    @pytest.mark.parametrize("channels", ["rgb", "bgr"])
    def test_the_preparation_of_images_travels(self, tmp_path, channels):
        given = {"channels": channels, "normalise": "none"}
        saved = DAF(ModelParams.model_validate(PARAMS.model_dump() | {"input": given}))
        TrainedModel(saved, {}, 0, 0).save(tmp_path / "m")
        loaded = TrainedModel.load(tmp_path / "m").model
        for a, b in zip(outputs(saved), outputs(loaded), strict=True):
            assert torch.equal(a, b)

    def test_models_of_before_there_was_a_choice_are_as_they_were(self, tmp_path):
        saved = trained()
        saved.save(tmp_path / "m")
        file = tmp_path / "m" / "config.json"
        config = json.loads(file.read_text())
        del config["model"]["input"]
        file.write_text(json.dumps(config))
        for a, b in zip(
            outputs(saved.model), outputs(TrainedModel.load(tmp_path / "m").model), strict=True
        ):
            assert torch.equal(a, b)

    def test_facts(self, tmp_path):
        saved = trained()
        saved.save(tmp_path / "m")
        loaded = TrainedModel.load(tmp_path / "m")
        assert loaded.identity == IDENTITY
        assert (loaded.train_seconds, loaded.peak_rss_mib) == (12.5, 345.0)
        check_identity(loaded.identity, IDENTITY, "The model", "Train it")

    def test_loading_needs_no_pretrained_weights(self, tmp_path, monkeypatch):
        trained().save(tmp_path / "m")

        def fail(*args, **kwargs):
            raise AssertionError("asked for pretrained weights")

        monkeypatch.setattr(timm.models._builder, "load_pretrained", fail)
        TrainedModel.load(tmp_path / "m")

    def test_missing(self, tmp_path):
        with pytest.raises(DataError, match="holds no trained model"):
            TrainedModel.load(tmp_path / "m")


class TestCheckIdentity:
    def test_more_facts_than_asked_for_are_fine(self):
        check_identity({"a": 1, "b": [2]}, {"b": [2]}, "It", "Do")

    @pytest.mark.parametrize("found", [{"seed": 1, "strategy": "draem"}, {"strategy": "draem"}])
    def test_message(self, found):
        with pytest.raises(StaleArtifactError) as caught:
            check_identity(
                found,
                {"seed": 0, "strategy": "draem"},
                "The trained student",
                "Run kedro run --pipelines x",
            )
        assert str(caught.value) == (
            f"The trained student comes from another experiment (seed: {found.get('seed')} there, "
            "0 asked for). Run kedro run --pipelines x with the same --params."
        )
