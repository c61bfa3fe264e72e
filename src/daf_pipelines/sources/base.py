"""What every dataset layout provides: the rows of the manifest that need no pixel to be read."""

import difflib
import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

from daf_pipelines.errors import ParameterError

GOOD = "good"
"""Defect type of the normal images, in every source."""
GOOD_NAMES = frozenset({GOOD, "normal", "ok"})
"""What people call normal images, in lower case."""

WHOLE = "."
"""The `file` of a finding on the dataset as a whole."""


@dataclass(frozen=True)
class Row:
    """One image of a dataset, as its layout describes it.

    Attributes:
        path: Image, posix, relative to the dataset's root.
        split: "train", "calibration" (normals held out for thresholds), "test", "excluded", or None
            where the dataset has no official split: it is then drawn by group. Anomalous images of
            an official "train" or "calibration" are excluded when the manifest is built.
        label: 0 normal, 1 anomalous. None: undecided where the split is "excluded"; otherwise the
            mask decides, 1 where it holds a defect.
        defect_type: Kind of defect; "good" for normals. Where the mask decides, the kind that the
            image has if it is anomalous.
        category: Kind of product.
        mask_path: Defect mask, posix, relative to the root: an image, a labelme file (`.json`), or
            a folder of images whose union it is.
        group: Name that images of one physical object or one sequence share.
    """

    path: str
    split: str | None
    label: int | None
    defect_type: str
    category: str
    mask_path: str | None = None
    group: str | None = None


@dataclass(frozen=True)
class Finding:
    """Something that a check found in a dataset.

    Attributes:
        severity: "error" stops the run, or has the file left out where checks are lenient;
            "warning" is only reported.
        check: Name of the check, as "unreadable".
        file: What it is about, posix, relative to the dataset's root; "." for all of it.
        finding: What was expected and what is there, without the file's name.
        remedy: What to do.
    """

    severity: Literal["error", "warning"]
    check: str
    file: str
    finding: str
    remedy: str

    def __post_init__(self) -> None:
        for name in ("file", "finding"):
            object.__setattr__(self, name, printable(getattr(self, name)))

    def __str__(self) -> str:
        place = "" if self.file == WHOLE else f"{self.file}: "
        return f"{place}{self.finding}. {self.remedy}."


@dataclass(frozen=True)
class Listing:
    """What a source found in a root: the images, and what is wrong with the layout."""

    rows: list[Row]
    findings: list[Finding] = field(default_factory=list)


class Source(ABC):
    """A dataset layout.

    Attributes:
        name: The value of `dataset.source`.
        coarse_masks: The masks only say roughly where a defect is, so that metrics of localisation
            mean little; they are left out unless asked for.
        test_share: Share of the normal images that is tested where the split is drawn.
    """

    name: ClassVar[str]
    coarse_masks: ClassVar[bool] = False
    test_share: ClassVar[float] = 0.25

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
    def recognises(self, root: Path) -> bool:
        """Whether the existing folder `root` has this layout, told from a few names in it."""

    @abstractmethod
    def categories(self, root: Path) -> list[str]:
        """Names of the categories under `root`, at least one.

        Raises:
            DataError: The folder does not have this layout.
        """

    def default_category(self, root: Path | None) -> str:
        """Category that is read when `dataset.category` is not given: the only one.

        Raises:
            DataError: The folder does not have this layout.
            ParameterError: There are several; the message lists them.
        """
        root = root or self.default_root()
        names = sorted(self.categories(root))
        if len(names) > 1:
            raise ParameterError(
                f"dataset.category is not given, and {root} holds {len(names)} categories. "
                f"Set it to one of: {', '.join(names)}."
            )
        return names[0]

    @abstractmethod
    def list_images(self, root: Path, category: str) -> Listing:
        """Lists the images of `category` under `root`, without reading their pixels.

        Raises:
            DataError: The folder does not have this layout.
            ParameterError: There is no such category.
        """


def printable(name: str) -> str:
    """A name as UTF-8, in which bytes that are none are written out."""
    return name.encode("utf-8", "backslashreplace").decode()


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
