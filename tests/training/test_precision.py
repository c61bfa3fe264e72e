import logging

import pytest
import torch

from daf_pipelines.parameters import DecoderTrainingParams
from daf_pipelines.training import initialise, precision, train_decoder

CPU = torch.device("cpu")


@pytest.fixture
def processor(monkeypatch):
    """Sets what this processor can do."""

    def can(**capabilities):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)

    return can


class TestHasBfloat16:
    @pytest.mark.parametrize(
        ("capabilities", "expected"),
        [
            ({"avx2": True, "avx512_f": True, "avx512_bf16": False, "amx_bf16": False}, False),
            ({"avx512_bf16": True, "amx_bf16": False}, True),
            ({"avx512_bf16": False, "amx_bf16": True}, True),
            ({"neon": True, "bf16": True}, True),
            ({"neon": True, "bf16": False}, False),
            ({}, False),
        ],
    )
    def test_follows_the_processor(self, processor, capabilities, expected):
        processor(**capabilities)
        assert precision.has_bfloat16() == expected

    def test_pytorch_knows_these_names(self):
        if torch.cpu.get_capabilities()["architecture"] == "x86_64":
            assert {"avx512_bf16", "amx_bf16"} <= torch.cpu.get_capabilities().keys()


class TestWarning:
    def warnings(self, caplog, name, device=CPU):
        params = DecoderTrainingParams(precision=name)
        precision.warn_of_emulation("decoder", params, device)
        return [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]

    def test_says_what_to_do(self, processor, caplog):
        processor(avx512_bf16=False)
        (message,) = self.warnings(caplog, "bfloat16")
        assert message.startswith("decoder: precision: bfloat16 is emulated on this processor")
        assert "Set precision: float32" in message

    def test_silent_where_there_is_nothing_to_say(self, processor, caplog):
        processor(avx512_bf16=False)
        assert self.warnings(caplog, "float32") == []
        assert self.warnings(caplog, "bfloat16", torch.device("cuda")) == []
        processor(avx512_bf16=True)
        assert self.warnings(caplog, "bfloat16") == []

    def test_once_a_phase(self, processor, caplog, model_params, training_data, normals):
        processor(avx512_bf16=False)
        params = DecoderTrainingParams(
            length=2, batch_size=2, precision="bfloat16", device="cpu", schedule="constant"
        )
        train_decoder(initialise(model_params(), normals, 0), training_data(), params)
        assert caplog.text.count("is emulated on this processor") == 1
