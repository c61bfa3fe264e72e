import pickle

import pytest
import torch

from daf_pipelines.training.checkpoints import Checkpoint


@pytest.fixture
def checkpoint(tmp_path):
    return Checkpoint.of(tmp_path / "checkpoints", "decoder", "0123abcd")


def test_name_carries_phase_and_fingerprint(checkpoint, tmp_path):
    assert checkpoint.path == tmp_path / "checkpoints" / "decoder-0123abcd.pt"


def test_round_trip(checkpoint):
    state = {
        "modules": {"w": torch.rand(3)},
        "step": 7,
        "rows": [{"step": 0, "loss": 0.1}],
        "seconds": 1.5,
    }
    checkpoint.save(state)
    loaded = checkpoint.load()
    assert torch.equal(loaded["modules"].pop("w"), state["modules"].pop("w"))
    assert loaded == state


def test_none_yet(checkpoint):
    assert checkpoint.load() is None


def test_of_another_experiment_or_phase_is_not_found(checkpoint, tmp_path):
    checkpoint.save({"step": 1})
    for phase, fingerprint in [("decoder", "0123abce"), ("teacher-student", "0123abcd")]:
        assert Checkpoint.of(tmp_path / "checkpoints", phase, fingerprint).load() is None


def test_replaced_in_one_step(checkpoint):
    checkpoint.save({"step": 1})
    checkpoint.save({"step": 2})
    assert checkpoint.load() == {"step": 2}
    assert [p.name for p in checkpoint.path.parent.iterdir()] == [checkpoint.path.name]


def test_failure_while_writing_leaves_the_previous_one(checkpoint, monkeypatch):
    checkpoint.save({"step": 1})

    def fail(state, file):
        file.write(b"half a checkpoint")
        raise OSError("No space left on device")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(OSError, match="No space"):
        checkpoint.save({"step": 2})
    assert checkpoint.load() == {"step": 1}
    assert [p.name for p in checkpoint.path.parent.iterdir()] == [checkpoint.path.name]


def test_code_is_not_run_on_loading(checkpoint):
    checkpoint.path.parent.mkdir(parents=True)
    torch.save({"step": torch.nn.Linear(1, 1)}, checkpoint.path)
    with pytest.raises(pickle.UnpicklingError, match="Unsupported global"):
        checkpoint.load()
