"""Fixtures shared by all tests."""

import importlib.util
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from small_project import SmallProject


# Machines are shared: how long a test took says nothing about it.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture(scope="session")
def test_datasets() -> Path:
    """Root of the real datasets that tests may use; skips where there is none."""
    root = os.environ.get("DAF_TEST_DATASETS")
    if not root or not Path(root).is_dir():
        pytest.skip("DAF_TEST_DATASETS does not name a folder with the real test datasets")
    return Path(root)


@pytest.fixture(scope="session")
def elpv_cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in ELPV's layout: 14 functional, 5 defective and 2 undecided mono cells."""
    from daf_pipelines.sources import elpv

    if importlib.util.find_spec("elpv_dataset") is None:
        pytest.skip("elpv-dataset is not installed")
    packaged = elpv.ELPV().default_root()
    cells = elpv.read_labels(packaged)
    mono = cells[cells["type"] == "mono"]
    parts = [mono[mono["probability"] == 0][:14], mono[mono["probability"] == 1][:5]]
    parts.append(mono[mono["probability"].between(0, 1, inclusive="neither")][:2])
    root = tmp_path_factory.mktemp("datasets") / "elpv"
    (root / "images").mkdir(parents=True)
    lines = []
    for part in parts:
        for path, probability, kind in part.itertuples(index=False, name=None):
            shutil.copy(packaged / path, root / path)
            lines.append(f"{path} {probability} {kind}\n")
    (root / "labels.csv").write_text("".join(lines), encoding="utf-8")
    return root


@pytest.fixture(scope="session")
def toothbrushes(test_datasets: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root in MVTec AD's layout: toothbrush with 8 train, 3 good and 5 defective test images."""
    source = test_datasets / "mvtec_ad" / "toothbrush"
    root = tmp_path_factory.mktemp("datasets") / "mvtec_ad"
    counts = {
        "train/good": 8,
        "test/good": 3,
        "test/defective": 5,
        "ground_truth/defective": 5,
    }
    for folder, count in counts.items():
        (root / "toothbrush" / folder).mkdir(parents=True)
        for file in sorted((source / folder).iterdir())[:count]:
            shutil.copy(file, root / "toothbrush" / folder)
    return root


@pytest.fixture(scope="session")
def tiles(test_datasets: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root in MVTec AD's layout: magnetic tiles of all aspect ratios.

    10 train, 3 good and 5 defective test images.
    """
    from PIL import Image

    root = tmp_path_factory.mktemp("datasets") / "tiles"

    def copy(kind: str, *folders: str) -> None:
        """A part of a kind's images, evenly over their aspect ratios, to the folders in turn."""
        ratios = {}
        for file in (test_datasets / "magnetic_tile" / kind).rglob("*.jpg"):
            with Image.open(file) as image:
                ratios[file] = image.width / image.height
        found = sorted(ratios, key=lambda file: (ratios[file], file))
        step = (len(found) - 1) / (len(folders) - 1)
        for place, folder in enumerate(folders):
            file = found[round(place * step)]
            (root / "tile" / folder).mkdir(parents=True, exist_ok=True)
            shutil.copy(file, root / "tile" / folder)
            if "good" not in folder:
                masks = root / "tile" / folder.replace("test", "ground_truth")
                masks.mkdir(parents=True, exist_ok=True)
                shutil.copy(file.with_suffix(".png"), masks / f"{file.stem}_mask.png")

    copy("MT_Free", *["train/good", "train/good", "train/good", "test/good"] * 3, "train/good")
    copy("MT_Break", *["test/break"] * 5)
    return root


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database without experiments: making one takes seconds, copying it nothing."""
    from mlflow import MlflowClient

    file = tmp_path_factory.mktemp("store") / "mlflow.db"
    MlflowClient(f"sqlite:///{file}").search_experiments()
    return file


@pytest.fixture
def project(elpv_cells: Path, empty_store: Path, tmp_path: Path) -> "SmallProject":
    """The project on ELPV cells, before its first run."""
    from small_project import SmallProject

    dataset = {"source": "elpv", "root": str(elpv_cells)}
    return SmallProject(tmp_path / "project", dataset, empty_store)


@pytest.fixture(scope="session")
def elpv_project(
    elpv_cells: Path, empty_store: Path, tmp_path_factory: pytest.TempPathFactory
) -> "SmallProject":
    """The project on ELPV cells after ``kedro run``. Shared: copy it before changing anything."""
    from small_project import SmallProject

    dataset = {"source": "elpv", "root": str(elpv_cells)}
    made = SmallProject(tmp_path_factory.mktemp("elpv") / "project", dataset, empty_store)
    made.run()
    return made


@pytest.fixture(scope="session")
def mvtec_project(
    toothbrushes: Path, empty_store: Path, tmp_path_factory: pytest.TempPathFactory
) -> "SmallProject":
    """The project on toothbrushes after ``kedro run``. Shared: copy it before changing it."""
    from small_project import SmallProject

    dataset = {"source": "mvtec_ad", "root": str(toothbrushes)}
    made = SmallProject(tmp_path_factory.mktemp("mvtec") / "project", dataset, empty_store)
    made.run()
    return made


@pytest.fixture(scope="session")
def padded_project(
    tiles: Path, empty_store: Path, tmp_path_factory: pytest.TempPathFactory
) -> "SmallProject":
    """The project on padded magnetic tiles after ``kedro run``. Shared: copy it to change it."""
    from small_project import SmallProject

    dataset = {"source": "mvtec_ad", "root": str(tiles), "category": "tile", "resize": "pad"}
    made = SmallProject(tmp_path_factory.mktemp("tiles") / "project", dataset, empty_store)
    made.run()
    return made
