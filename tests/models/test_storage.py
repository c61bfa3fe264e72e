import json

import pytest
import torch

from daf_pipelines.errors import DataError
from daf_pipelines.models import storage
from daf_pipelines.models.storage import load_folder, save_folder

WEIGHTS = {"a": torch.arange(6.0).view(2, 3), "b": torch.tensor([3])}
CONFIG = {"name": "daf", "nested": {"values": [1, 2.5, None]}}


def files(folder):
    return sorted(p.name for p in folder.iterdir())


class TestRoundTrip:
    def test_bit_identical(self, tmp_path):
        save_folder(tmp_path / "deep" / "model", WEIGHTS, CONFIG)
        weights, config = load_folder(tmp_path / "deep" / "model")
        assert config == CONFIG
        assert weights.keys() == WEIGHTS.keys()
        assert all(torch.equal(weights[k], v) for k, v in WEIGHTS.items())
        assert files(tmp_path / "deep" / "model") == ["config.json", "model.safetensors"]

    def test_any_memory_layout(self, tmp_path):
        tensor = torch.rand(2, 3, 4, 5)
        layouts = {
            "last": tensor.to(memory_format=torch.channels_last),
            "transposed": tensor.transpose(1, 2),
        }
        save_folder(tmp_path / "m", layouts, {})
        found, _ = load_folder(tmp_path / "m")
        assert all(torch.equal(found[k], v) for k, v in layouts.items())

    def test_replaces_the_previous_one_and_leaves_nothing_beside_it(self, tmp_path):
        save_folder(tmp_path / "m", WEIGHTS, CONFIG)
        (tmp_path / "m" / "old.txt").touch()
        save_folder(tmp_path / "m", {"c": torch.zeros(1)}, {})
        assert load_folder(tmp_path / "m")[0].keys() == {"c"}
        assert files(tmp_path) == ["m"]
        assert files(tmp_path / "m") == ["config.json", "model.safetensors"]


class TestFailure:
    def check_previous(self, tmp_path):
        weights, config = load_folder(tmp_path / "m")
        assert config == CONFIG
        assert torch.equal(weights["a"], WEIGHTS["a"])
        assert files(tmp_path) == ["m"]

    def test_while_writing_weights(self, tmp_path, monkeypatch):
        save_folder(tmp_path / "m", WEIGHTS, CONFIG)

        def fail(tensors, path):
            path.write_bytes(b"half")
            raise OSError("No space left on device")

        monkeypatch.setattr(storage, "save_file", fail)
        with pytest.raises(OSError, match="No space"):
            save_folder(tmp_path / "m", {"a": torch.zeros(1)}, {})
        self.check_previous(tmp_path)

    def test_while_writing_the_configuration(self, tmp_path):
        save_folder(tmp_path / "m", WEIGHTS, CONFIG)
        with pytest.raises(TypeError):
            save_folder(tmp_path / "m", {"a": torch.zeros(1)}, {"not json": object()})
        self.check_previous(tmp_path)


class TestMissing:
    def test_no_folder(self, tmp_path):
        with pytest.raises(DataError) as caught:
            load_folder(tmp_path / "none")
        message = str(caught.value)
        assert "none holds no trained model" in message
        assert "model.safetensors and config.json not found" in message
        assert "kedro run" in message

    def test_incomplete(self, tmp_path):
        save_folder(tmp_path / "m", WEIGHTS, CONFIG)
        (tmp_path / "m" / "model.safetensors").unlink()
        with pytest.raises(DataError, match=r": model\.safetensors not found"):
            load_folder(tmp_path / "m")


def test_configuration_is_plain_json(tmp_path):
    save_folder(tmp_path / "m", WEIGHTS, CONFIG)
    assert json.loads((tmp_path / "m" / "config.json").read_text()) == CONFIG
