"""What every dataset layout provides: the rows of the manifest that need no pixel to be read."""

import difflib
import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from daf_pipelines.errors import ParameterError

GOOD = "good"
"""Defect type of the normal images, in every source."""


@dataclass(frozen=True)
class Row:
    """One image of a dataset, as its layout describes it.

    Attributes:
        path: Image, posix, relative to the dataset's root.
        split: "train" (normals only), "test" or "excluded".
        label: 0 normal, 1 anomalous, None undecided ("excluded" only).
        defect_type: Kind of defect; "good" for normals.
        category: Kind of product.
        mask_path: Defect mask, posix, relative to the root; anomalous images only.
        group: Name that images of one physical object share.
    """

    path: str
    split: str
    label: int | None
    defect_type: str
    category: str
    mask_path: str | None = None
    group: str | None = None


@dataclass(frozen=True)
class Listing:
    """What a source found in a root: the images, and what is wrong with the layout."""

    rows: list[Row]
    findings: list[str] = field(default_factory=list)


class Source(ABC):
    """A dataset layout."""

    name: str

    def default_root(self) -> Path:
        """Folder that is read when `dataset.root` is not given.

        Raises:
            ParameterError: The source has no data of its own (unless overridden).
        """
        raise ParameterError(
            f"dataset.root is not given, and the source {self.name!r} has no data of its own. "
            "Set dataset.root to the folder of the dataset."
        )

    def unpack(self, root: Path) -> None:  # noqa: B027
        """Puts the data that comes as a package into `root`, which does not exist yet.

        Nothing to do for a source without one (unless overridden).
        """

    @abstractmethod
    def default_category(self, root: Path | None) -> str:
        """Category that is read when `dataset.category` is not given."""

    @abstractmethod
    def list_images(self, root: Path, category: str) -> Listing:
        """Lists the images of `category` under `root`, without reading their pixels.

        Raises:
            DataError: The folder does not have this layout.
            ParameterError: There is no such category.
        """


def require_known(parameter: str, value: str, known: Iterable[str]) -> None:
    """Checks a name against the known ones.

    Raises:
        ParameterError: `value` is unknown; the message lists the known ones and the nearest.
    """
    names = sorted(known)
    if value in names:
        return
    nearest = difflib.get_close_matches(value, names, n=1)
    hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
    raise ParameterError(f"{parameter}: unknown {value!r}; known are {', '.join(names)}.{hint}")


def draw_share(names: Iterable[str], count: int, salt: str) -> set[str]:
    """Draws `count` of `names`: those whose SHA-256, with `salt`, is smallest.

    Pseudo-random, yet independent of the order of the names and of any generator's version.
    """
    return set(sorted(names, key=lambda n: hashlib.sha256(f"{salt}:{n}".encode()).digest())[:count])
