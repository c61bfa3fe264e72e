"""ELPV: electroluminescence images of solar cells with a defect probability each.

Buerhop-Lutz et al., "A Benchmark for Visual Identification of Defective Solar Cells in
Electroluminescence Imagery", EU PVSEC 2018; Deitsch et al., Solar Energy 185, 2019. 2,624 cells,
300 x 300, greyscale, no masks; CC BY-NC-SA 4.0. Layout: `labels.csv` (path, probability and cell
type, separated by blanks, without a header) beside the folder `images`.

Run as `python -m daf_pipelines.sources.elpv FOLDER` to copy the packaged data into a folder.
"""

import importlib.util
import logging
import shutil
import sys
from pathlib import Path
from typing import ClassVar

import pandas as pd

from daf_pipelines.atomic import written_whole
from daf_pipelines.errors import DAFError, DataError
from daf_pipelines.sources.base import GOOD, Listing, Row, Source, draw_share, require_known

LOG = logging.getLogger(__name__)

CELL_TYPES = ("mono", "poly")
TEST_SHARE = 0.25
"""Share of each cell type's functional cells that is held out for the test."""
_TEST_SALT = "elpv-test"


class ELPV(Source):
    """Functional cells (probability 0) against defective ones (probability 1).

    Categories: "mono" (default) and "poly" crystalline cells, and "all". Cells with a probability
    in between are "excluded", their label undecided. The test normals are a fixed quarter of the
    functional cells of each type, drawn by a hash of their file names: a constant of the
    benchmark, the same for every seed, and in "all" the same cells as in "mono" and "poly".
    """

    name: ClassVar[str] = "elpv"

    def recognises(self, root: Path) -> bool:
        """Whether `root` has labels.csv beside images/."""
        return (root / "labels.csv").is_file() and (root / "images").is_dir()

    def categories(self, root: Path) -> list[str]:  # noqa: ARG002
        """The cell types, and both together."""
        return [*CELL_TYPES, "all"]

    def default_root(self) -> Path:
        """Data folder of the installed package `elpv-dataset`.

        Raises:
            DataError: The package is not installed.
        """
        spec = importlib.util.find_spec("elpv_dataset")
        if spec is None or not spec.submodule_search_locations:
            raise DataError(
                "The source 'elpv' reads the Python package elpv-dataset, which is not installed. "
                'Run `pip install "daf-pipelines[samples]"`, or set dataset.root to a folder with '
                "labels.csv and images/."
            )
        return Path(spec.submodule_search_locations[0]) / "data"

    def unpack(self, root: Path) -> None:
        """Copies the packaged cells to `root`."""
        LOG.info("Unpacking the packaged ELPV images to %s", root)
        export_elpv(root)

    def default_category(self, root: Path | None) -> str:  # noqa: ARG002
        """Monocrystalline cells, whatever the root."""
        return "mono"

    def list_images(self, root: Path, category: str) -> Listing:
        """Lists the cells of `category`; see :meth:`Source.list_images`."""
        require_known("dataset.category", category, self.categories(root))
        cells = read_labels(root)
        if category != "all":
            cells = cells[cells["type"] == category]
        test = _test_normals(cells)
        rows = [
            _row(path, probability, cell_type, path in test)
            for path, probability, cell_type in cells.itertuples(index=False, name=None)
        ]
        return Listing(rows)


def read_labels(root: Path) -> pd.DataFrame:
    """Reads `labels.csv`.

    Returns:
        One row a cell: path (str), probability (float in [0, 1]) and type ("mono" or "poly").

    Raises:
        DataError: The file is missing, or not of ELPV's format.
    """
    file = root / "labels.csv"
    if not file.is_file():
        raise DataError(
            f"Expected ELPV's labels.csv beside its folder images/ in {root}, but there is none. "
            "Point dataset.root to a folder of this layout, or leave it out to use the package."
        )
    try:
        cells = pd.read_csv(
            file,
            sep=r"\s+",
            header=None,
            index_col=False,
            names=["path", "probability", "type"],
            dtype={"path": str, "probability": float, "type": str},
        )
    except ValueError as error:
        raise _bad_labels(file, str(error)) from error
    bad = ~cells["probability"].between(0, 1) | ~cells["type"].isin(CELL_TYPES)
    bad |= cells["path"].isna() | cells["path"].duplicated()
    if bad.any():
        line = int(bad.to_numpy().argmax())
        raise _bad_labels(file, f"row {line + 1} is {cells.iloc[line].tolist()}")
    return cells


def export_elpv(folder: Path) -> None:
    """Copies the packaged ELPV data (labels.csv and images) into `folder`, whole or not at all.

    A folder that already holds the complete data is left as it is.

    Raises:
        DataError: The package is not installed, or `folder` holds something else.
    """
    packaged = ELPV().default_root()
    if _is_copy(folder, packaged):
        return
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(
            f"{folder} exists and is not a complete copy of the ELPV data. Remove it, or name "
            "another folder."
        )
    with written_whole(folder) as partial:
        shutil.copytree(packaged / "images", partial / "images")
        shutil.copy2(packaged / "labels.csv", partial / "labels.csv")


def _bad_labels(file: Path, reason: str) -> DataError:
    return DataError(
        f"{file}: expected rows of a unique path, a probability in [0, 1] and a type (mono or "
        f"poly), separated by blanks, without a header; {reason}. Restore the original file."
    )


def _test_normals(cells: pd.DataFrame) -> set[str]:
    functional = cells[cells["probability"] == 0]
    drawn: set[str] = set()
    for _, paths in functional.groupby("type")["path"]:
        drawn |= draw_share(paths, round(TEST_SHARE * len(paths)), _TEST_SALT)
    return drawn


def _row(path: str, probability: float, cell_type: str, is_test_normal: bool) -> Row:
    if probability == 0:
        return Row(path, "test" if is_test_normal else "train", 0, GOOD, cell_type)
    if probability == 1:
        return Row(path, "test", 1, "defective", cell_type)
    return Row(path, "excluded", None, f"probability_{probability:.2f}", cell_type)


def _is_copy(folder: Path, packaged: Path) -> bool:
    files = ["labels.csv", *read_labels(packaged)["path"]]
    return all(
        (folder / name).is_file()
        and (folder / name).stat().st_size == (packaged / name).stat().st_size
        for name in files
    )


def _main(arguments: list[str]) -> None:
    if len(arguments) != 1:
        sys.exit("usage: python -m daf_pipelines.sources.elpv FOLDER")
    try:
        export_elpv(Path(arguments[0]))
    except DAFError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    _main(sys.argv[1:])
