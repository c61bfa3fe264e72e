"""The same test images under every strategy, with the cue and without."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from daf_pipelines.reporting.figures import overlay
from daf_pipelines.reporting.thumbnails import decoded
from daf_pipelines.study.disagreement import ByMethod, disagreement, pictured, ranks
from daf_pipelines.study.results import Cell, Data

Pixels = npt.NDArray[np.uint8]
Thumbnails = Mapping[str, pd.DataFrame]
"""By run id, one row a test image, as :func:`~daf_pipelines.reporting.thumbnails.thumbnails`."""


@dataclass(frozen=True, eq=False)
class Heat:
    """What one detector makes of an image.

    Attributes:
        picture: The image with its heat, (h, w, 3).
        rank: Place of its score among all test images, from 0 to 1, the most anomalous.
    """

    picture: Pixels
    rank: float


@dataclass(frozen=True, eq=False)
class Disputed:
    """A test image that strategies judge differently.

    Attributes:
        path: Of the image.
        is_anomalous: Its label.
        defect_type: Its defect type.
        picture: The image, (h, w, 3).
        mask: Of the defect, (h, w), None where there is none.
        heats: By method and strategy.
    """

    path: str
    is_anomalous: bool
    defect_type: str
    picture: Pixels
    mask: Pixels | None
    heats: dict[str, dict[str, Heat]]


def disputed(
    cells: Sequence[Cell], thumbnails: Thumbnails, limit: int
) -> dict[Data, list[Disputed]]:
    """The images that strategies disagree on most, of each dataset and category that has pictures.

    Args:
        cells: Of a study.
        thumbnails: Of the runs of :func:`~daf_pipelines.study.disagreement.pictured` cells, as far
            as there are any; those of other test images than the cell's are not used.
        limit: Largest number of images of a dataset and category.
    """
    found = {}
    for data, by_method in pictured(cells).items():
        kept = _with_pictures(by_method, thumbnails)
        if kept:
            order = np.argsort(-disagreement(kept), kind="stable")[:limit]
            found[data] = [_disputed(kept, thumbnails, int(place)) for place in order]
    return found


def _with_pictures(by_method: ByMethod, thumbnails: Thumbnails) -> ByMethod:
    """The cells whose pictures are there, of methods that have two or more of them."""
    kept = {
        method: {
            name: cell for name, cell in cells.items() if _fits(cell, thumbnails.get(cell.run_id))
        }
        for method, cells in by_method.items()
    }
    return {method: cells for method, cells in kept.items() if len(cells) > 1}


def _fits(cell: Cell, table: pd.DataFrame | None) -> bool:
    return table is not None and _by_path(table)["label"].tolist() == cell.truth.tolist()


def _by_path(table: pd.DataFrame) -> pd.DataFrame:
    """The rows in the order of the cells' scores."""
    return table.sort_values("path", kind="stable")


def _disputed(by_method: ByMethod, thumbnails: Thumbnails, place: int) -> Disputed:
    heats: dict[str, dict[str, Heat]] = {}
    for method, cells in by_method.items():
        for name, cell in cells.items():
            row = _by_path(thumbnails[cell.run_id]).iloc[place]
            image = decoded(row["image"], "RGB")
            heat = decoded(row["heat"], "L").astype(np.float32) / 255
            picture = overlay(image, heat, 0, 1)
            heats.setdefault(method, {})[name] = Heat(picture, float(ranks(cell)[place]))
    mask = row["mask"]
    return Disputed(
        path=str(row["path"]),
        is_anomalous=bool(row["label"]),
        defect_type=str(row["defect_type"]),
        picture=image,
        mask=decoded(mask, "L") if isinstance(mask, bytes) else None,
        heats=heats,
    )
