"""Kedro datasets of the library's own artifacts: each a folder or a file, written atomically."""

from abc import abstractmethod
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from kedro.io import AbstractDataset
from numpy.typing import NDArray

from daf_pipelines.atomic import written_file
from daf_pipelines.errors import DataError
from daf_pipelines.models.trained import TrainedModel
from daf_pipelines.scoring.detector import Detector
from daf_pipelines.sources import image_set
from daf_pipelines.sources.image_set import ImageSet, ImageStream
from daf_pipelines.sources.manifest import MANIFEST


class _PathDataset(AbstractDataset[Any, Any]):
    """A dataset at one path.

    Args:
        filepath: file or folder.
        metadata: anything; the tracking hooks read ``mlflow`` from it.
    """

    def __init__(self, filepath: str, metadata: dict[str, Any] | None = None) -> None:
        self.path = Path(filepath)
        self.metadata = metadata

    @abstractmethod
    def load(self) -> Any:
        """Read the artifact."""

    @abstractmethod
    def save(self, data: Any) -> None:
        """Replace the artifact in one step."""

    def _exists(self) -> bool:
        return self.path.exists()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self.path)}


class ImageSetDataset(_PathDataset):
    """Prepared images of one split, memory-mapped on loading."""

    def load(self) -> ImageSet:
        """Read the set."""
        return image_set.load(self.path)

    def save(self, data: ImageSet | ImageStream) -> None:
        """Write the set."""
        image_set.save(data, self.path)


class ManifestDataset(_PathDataset):
    """The manifest: a validated table (Parquet)."""

    def load(self) -> pd.DataFrame:
        """Read the manifest."""
        _require_file(self.path)
        return MANIFEST.validate(pd.read_parquet(self.path))

    def save(self, data: pd.DataFrame) -> None:
        """Write the manifest."""
        with written_file(self.path) as partial:
            MANIFEST.validate(data).to_parquet(partial, index=False)


class TextDataset(_PathDataset):
    """A text, as a page of HTML."""

    def load(self) -> str:
        """Read the text."""
        _require_file(self.path)
        return self.path.read_text(encoding="utf-8")

    def save(self, data: str) -> None:
        """Write the text."""
        with written_file(self.path) as partial:
            partial.write_text(data, encoding="utf-8")


class TrainedModelDataset(_PathDataset):
    """Networks between the training phases."""

    def load(self) -> TrainedModel[Any]:
        """Read the networks."""
        return TrainedModel.load(self.path)

    def save(self, data: TrainedModel[Any]) -> None:
        """Write the networks."""
        data.save(self.path)


class DetectorDataset(_PathDataset):
    """A detector with its scoring and threshold."""

    def load(self) -> Detector:
        """Read the detector."""
        return Detector.load(self.path)

    def save(self, data: Detector) -> None:
        """Write the detector."""
        data.save(self.path)


class ArrayDataset(_PathDataset):
    """A numpy array (``.npy``), memory-mapped on loading and copied where it is written to."""

    def load(self) -> NDArray[Any]:
        """Read the array.

        Raises:
            DataError: the file is missing.
        """
        _require_file(self.path)
        array: NDArray[Any] = np.load(self.path, mmap_mode="c", allow_pickle=False)
        return array

    def save(self, data: NDArray[Any]) -> None:
        """Write the array."""
        with written_file(self.path) as partial, partial.open("wb") as file:
            np.save(file, data, allow_pickle=False)


class ArraysDataset(_PathDataset):
    """Numpy arrays by name (``.npz``, compressed)."""

    def load(self) -> dict[str, NDArray[Any]]:
        """Read all of them.

        Raises:
            DataError: the file is missing.
        """
        _require_file(self.path)
        with np.load(self.path, allow_pickle=False) as arrays:
            return dict(arrays)

    def save(self, data: dict[str, NDArray[Any]]) -> None:
        """Write the arrays."""
        with written_file(self.path) as partial, partial.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **data)


class FolderDataset(_PathDataset):
    """A folder that a node works in by itself: checkpoints, heatmaps."""

    def load(self) -> Path:
        """The folder, made where it is missing."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(
                f"The folder {self.path} cannot be made: {error.strerror}. Make what it lies in "
                "writable, or use another folder, with --params data_dir=FOLDER."
            ) from error
        return self.path

    def save(self, data: Path) -> None:
        """Nothing to write: the node has done so."""
        if Path(data) != self.path:
            raise ValueError(f"expected the folder {self.path}; got {data}")


def _require_file(path: Path) -> None:
    if not path.is_file():
        raise DataError(f"{path} not found. Run the pipelines before this one: kedro run.")
