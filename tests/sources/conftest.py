"""Tiny datasets in the exact layouts."""

from collections.abc import Callable
from pathlib import Path

import layouts
import pytest

Writer = Callable[..., Path]


@pytest.fixture
def write_image() -> Writer:
    """Writes a random greyscale image (its content follows from `seed`) and returns its path."""
    return layouts.write_image


@pytest.fixture
def write_mask() -> Writer:
    """Writes a mask with one defective rectangle of 6x5 pixels and returns its path."""
    return layouts.write_mask


@pytest.fixture
def mvtec_root(tmp_path: Path) -> Path:
    """MVTec AD's layout: one category `bolt`, 10 train normals, 3 test normals, 2 + 1 defects."""
    layouts.mvtec_ad(tmp_path / "mvtec")
    return tmp_path / "mvtec"


@pytest.fixture
def elpv_root(tmp_path: Path) -> Path:
    """ELPV's layout: 8 + 4 functional, 3 + 2 defective (mono + poly) and 2 mono in between."""
    layouts.elpv(tmp_path / "elpv")
    return tmp_path / "elpv"
