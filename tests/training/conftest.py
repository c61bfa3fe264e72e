"""A tiny experiment: six images, a teacher of random weights in a local file."""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor

from daf_pipelines.parameters import ModelParams, SynthesisParams
from daf_pipelines.training import TrainingData
from daf_pipelines.training.checkpoints import BackgroundWriter


def patterns(count: int, size: int) -> Tensor:
    """Smooth colour patterns with a little noise, (N, 3, size, size), uint8."""
    generator = torch.Generator().manual_seed(0)
    axis = torch.linspace(0, 6, size)
    phases = 6 * torch.rand(count, 3, 2, 1, 1, generator=generator)
    waves = (axis[:, None] + phases[:, :, 0]).sin() * (axis + phases[:, :, 1]).cos()
    noise = 0.05 * torch.randn(count, 3, size, size, generator=generator)
    return (255 * (0.5 + 0.4 * waves + noise).clamp(0, 1)).to(torch.uint8)


@pytest.fixture
def every_checkpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps take no time here: without this, most checkpoints would be left out."""
    monkeypatch.setattr(BackgroundWriter, "ready", True)


@pytest.fixture(scope="session")
def normals() -> Tensor:
    """Six normal images, (6, 3, 64, 64), uint8."""
    return patterns(6, 64)


@pytest.fixture(scope="session")
def teacher_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of the backbone test_byobnet (32, 64 and 128 channels)."""
    torch.manual_seed(0)
    file = tmp_path_factory.mktemp("weights") / "teacher.safetensors"
    save_file(timm.create_model("test_byobnet").state_dict(), file)
    return file


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 256 KiB; skips where it cannot be mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, check=False).returncode:
        pytest.skip("no right to mount")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture
def model_params(teacher_file: Path) -> Callable[..., ModelParams]:
    """Makes parameters of a small model with the student's backbone and other sections."""

    def make(student: str = "test_resnet", **sections: object) -> ModelParams:
        small = {
            "teacher": {"backbone": "test_byobnet", "weights": str(teacher_file)},
            "student": {"backbone": student},
            "discrepancy": {"structure": "squared"},
            "decoder": {"width": 16},
        }
        return ModelParams.model_validate(small | sections)

    return make


@pytest.fixture
def training_data(normals: Tensor, tmp_path: Path) -> Callable[..., TrainingData]:
    """Makes training data of the normals, with checkpoints in a folder of the test."""

    def make(**changes: object) -> TrainingData:
        values = {
            "images": normals,
            "textures": None,
            "synthesis": SynthesisParams(strategy="simple_texture"),
            "seed": 0,
            "fingerprint": "f0",
            "checkpoints": tmp_path / "checkpoints",
        }
        return TrainingData(**(values | changes))

    return make
