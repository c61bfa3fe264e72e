"""What a dataset card tells of a manifest, as numbers, and which images it shows."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from daf_pipelines.sources.base import GOOD
from daf_pipelines.sources.manifest import SPLITS

MAX_TYPES = 24
"""How many defect types are shown with pictures; of more, the most frequent."""

KINDS = ("normal", "anomalous", "undecided")


@dataclass(frozen=True, eq=False)
class Sample:
    """An image that a dataset card shows.

    Attributes:
        path: As in the manifest.
        split: As in the manifest.
        defect_type: As in the manifest.
        picture: RGB image of any size, shape (H, W, 3), uint8.
        mask: Defect mask, shape (H, W), uint8, not 0 where defective; None where there is none.
    """

    path: str
    split: str
    defect_type: str
    picture: npt.NDArray[np.uint8]
    mask: npt.NDArray[np.uint8] | None = None

    def __post_init__(self) -> None:
        if self.mask is not None and self.mask.shape != self.picture.shape[:2]:
            raise ValueError(
                f"{self.path}: expected an image and a mask of one size; got "
                f"{self.picture.shape[:2]}, {self.mask.shape}"
            )


Samples = Sequence[Sample]


def choose_samples(manifest: pd.DataFrame, per_type: int = 8) -> list[int]:
    """Chooses the images that show what each defect type looks like, the good ones first.

    Each type's share is divided among its splits as evenly as their sizes allow, and lies evenly
    spread over the paths of each split, whose order mostly is that of taking the pictures.

    Args:
        manifest: Table as :data:`~daf_pipelines.sources.manifest.MANIFEST` has it, in any order.
        per_type: Largest number of images of one type.

    Returns:
        Positions of the rows, by type, split and path; of at most :data:`MAX_TYPES` types, the
        most frequent ones.
    """
    table = manifest.reset_index(drop=True).sort_values("path")
    chosen: list[int] = []
    for defect_type in count_images(manifest).index[:MAX_TYPES]:
        splits = table.loc[table["defect_type"] == defect_type, "split"]
        parts = [splits.index[splits == split].to_numpy() for split in SPLITS]
        for part, share in zip(parts, _shares([len(p) for p in parts], per_type), strict=True):
            places = np.linspace(0, len(part) - 1, share).round().astype(int)
            chosen += part[places].tolist()
    return chosen


def by_type(samples: Samples) -> dict[str, list[Sample]]:
    """The samples of each defect type; types and samples stay in their order."""
    groups: dict[str, list[Sample]] = {}
    for sample in samples:
        groups.setdefault(sample.defect_type, []).append(sample)
    return groups


def count_images(manifest: pd.DataFrame) -> pd.DataFrame:
    """Numbers of images: a row for each defect type, a column for each split that there is.

    The good images come first, then the types from the most frequent to the rarest.
    """
    counts = pd.crosstab(manifest["defect_type"], manifest["split"])
    totals = counts.sum(axis="columns").to_dict()
    order = sorted(counts.index, key=lambda name: (name != GOOD, -totals[name], name))
    return counts.reindex(index=order, columns=[s for s in SPLITS if s in counts.columns])


def folded(counts: pd.DataFrame, limit: int) -> pd.DataFrame:
    """The first `limit` rows of :func:`count_images`, and a row of sums for the others, if any."""
    rest = counts.iloc[limit:]
    if rest.empty:
        return counts
    others = pd.DataFrame([rest.sum()], index=[f"other types: {len(rest)}"])
    return pd.concat([counts.iloc[:limit], others])


def image_kinds(manifest: pd.DataFrame) -> "pd.Series[str]":
    """Which of :data:`KINDS` each image is."""
    label = manifest["label"]
    kinds = np.select([label.eq(0).fillna(False), label.eq(1).fillna(False)], KINDS[:2], KINDS[2])
    return pd.Series(kinds, index=manifest.index)


def type_kinds(manifest: pd.DataFrame) -> dict[str, str]:
    """Which of :data:`KINDS` the images of each defect type are; undecided only if all are."""
    known: dict[str, str] = dict.fromkeys(manifest["defect_type"].unique(), "undecided")
    decided = manifest[manifest["label"].notna()]
    for defect_type in decided["defect_type"].unique():
        known[defect_type] = "normal" if defect_type == GOOD else "anomalous"
    return known


def defect_areas(manifest: pd.DataFrame) -> dict[str, npt.NDArray[np.float64]]:
    """Areas of the masks of each defect type, as shares of the image, from small to large.

    Without empty masks; the types are in the order of :func:`count_images`.
    """
    marked = manifest.loc[manifest["mask_coverage"] > 0, ["defect_type", "mask_coverage"]]
    areas = {
        str(name): np.sort(group.to_numpy(dtype=float))
        for name, group in marked.groupby("defect_type")["mask_coverage"]
    }
    return {name: areas[name] for name in count_images(manifest).index if name in areas}


def count_sizes(manifest: pd.DataFrame) -> pd.DataFrame:
    """Numbers of images of each size and mode, the commonest first.

    Returns:
        Columns width, height, mode, one for each of :data:`KINDS` that there is, and total.
    """
    keys = ["width", "height", "mode"]
    kinds = pd.get_dummies(image_kinds(manifest), dtype=int)
    kinds = kinds[[kind for kind in KINDS if kind in kinds.columns]]
    counted = pd.concat([manifest[keys], kinds.assign(total=1)], axis="columns")
    table = counted.groupby(keys, as_index=False).sum()
    return table.sort_values(["total", *keys], ascending=[False, True, True, True])


def sizes_differ(manifest: pd.DataFrame) -> bool:
    """Whether the images have several sizes."""
    return len(manifest[["width", "height"]].drop_duplicates()) > 1


def percent(share: float) -> str:
    """A share in percent, three digits, without an exponent however small it is."""
    number = np.format_float_positional(100 * share, precision=3, fractional=False, trim="-")
    return f"{number} %"


def describe_findings(findings: pd.DataFrame) -> str:
    """How many errors and warnings the checks found, in words."""
    if findings.empty:
        return "the checks found nothing"
    counts = findings["severity"].value_counts()
    words = [
        f"{count:,} {severity}{'s' if count > 1 else ''}"
        for severity in ("error", "warning")
        if (count := int(counts.get(severity, 0)))
    ]
    return f"the checks found {' and '.join(words)}"


def _shares(sizes: list[int], count: int) -> list[int]:
    """Divides `count` among groups, evenly as far as their sizes allow."""
    shares = [0] * len(sizes)
    smallest_first = sorted(range(len(sizes)), key=sizes.__getitem__)
    for rank, group in enumerate(smallest_first):
        shares[group] = min(sizes[group], count // (len(sizes) - rank))
        count -= shares[group]
    return shares
