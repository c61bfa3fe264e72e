"""Tiny datasets in the exact layouts."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

Writer = Callable[..., Path]


@pytest.fixture
def write_image() -> Writer:
    """Writes a random greyscale image (its content follows from `seed`) and returns its path."""

    def write(path: Path, seed: int, size: tuple[int, int] = (24, 20)) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        width, height = size
        pixels = np.random.default_rng(seed).integers(0, 256, (height, width), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
        return path

    return write


@pytest.fixture
def write_mask() -> Writer:
    """Writes a mask with one defective rectangle of 6x5 pixels and returns its path."""

    def write(path: Path, size: tuple[int, int] = (24, 20)) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        width, height = size
        pixels = np.zeros((height, width), dtype=np.uint8)
        pixels[4:9, 6:12] = 255
        Image.fromarray(pixels).save(path)
        return path

    return write


@pytest.fixture
def mvtec_root(tmp_path: Path, write_image: Writer, write_mask: Writer) -> Path:
    """MVTec AD's layout: one category `bolt`, 10 train normals, 3 test normals, 2 + 1 defects."""
    category = tmp_path / "mvtec" / "bolt"
    for index in range(10):
        write_image(category / "train" / "good" / f"{index:03}.png", index)
    for index in range(3):
        write_image(category / "test" / "good" / f"{index:03}.png", 100 + index)
    for seed, (defect_type, stem) in enumerate(
        [("scratch", "000"), ("scratch", "001"), ("dent", "000")]
    ):
        write_image(category / "test" / defect_type / f"{stem}.png", 200 + seed)
        write_mask(category / "ground_truth" / defect_type / f"{stem}_mask.png")
    return tmp_path / "mvtec"


@pytest.fixture
def elpv_root(tmp_path: Path, write_image: Writer) -> Path:
    """ELPV's layout: 8 + 4 functional, 3 + 2 defective (mono + poly) and 2 mono in between."""
    root = tmp_path / "elpv"
    cells = [("0.0", "mono")] * 8 + [("0.0", "poly")] * 4
    cells += [("1.0", "mono")] * 3 + [("1.0", "poly")] * 2
    cells += [("0.3333333333333333", "mono"), ("0.6666666666666666", "mono")]
    lines = []
    for index, (probability, cell_type) in enumerate(cells, start=1):
        path = write_image(root / "images" / f"cell{index:04}.png", index)
        lines.append(f"images/{path.name}  {probability:<20} {cell_type}\n")
    (root / "labels.csv").write_text("".join(lines))
    return root
