"""VisA: printed circuit boards, and objects of food and wax.

Zou et al., "SPot-the-Difference Self-Supervised Pre-training for Anomaly Detection and
Segmentation", ECCV 2022. 12 objects, 9,621 normal and 1,200 anomalous images, of which the
one-class split trains on 8,659 normals; CC BY 4.0. Layout:

    split_csv/1cls.csv                      object,split,label,image,mask: the one-class split
    <object>/image_anno.csv                 image,label,mask: label "normal" or kinds of defect
    <object>/Data/Images/Normal/NNNN.JPG
    <object>/Data/Images/Anomaly/NNN.JPG
    <object>/Data/Masks/Anomaly/NNN.png     0, or the number of the kind of defect: 1, 2, ...

What the authors' prepare_data.py makes of it has MVTec AD's layout: read it as `mvtec_ad`.
"""

from pathlib import Path
from typing import ClassVar

import pandas as pd

from daf_pipelines.errors import DataError
from daf_pipelines.sources.base import GOOD, Finding, Listing, Row, Source, require_known
from daf_pipelines.sources.images import find_images
from daf_pipelines.sources.layout import content, mask_without_image, relative

SPLIT_FILE = "split_csv/1cls.csv"
_SPLIT_COLUMNS = ["object", "split", "label", "image", "mask"]
_KIND_COLUMNS = ["image", "label"]


class VisA(Source):
    """One object under the one-class split; the root is the folder with split_csv."""

    name: ClassVar[str] = "visa"

    def recognises(self, root: Path) -> bool:
        """Whether `root` has split_csv/1cls.csv."""
        return (root / SPLIT_FILE).is_file()

    def categories(self, root: Path) -> list[str]:
        """The objects of the split file; see :meth:`Source.categories`."""
        return list(read_split(root)["object"].unique())

    def list_images(self, root: Path, category: str) -> Listing:
        """Lists the images of the object `category`; see :meth:`Source.list_images`.

        Paths are listed as the split file has them, even where they leave the root.
        """
        table = read_split(root)
        require_known("dataset.category", category, table["object"].unique())
        table = table[table["object"] == category]
        kinds = read_kinds(root / category / "image_anno.csv")
        rows = [
            _row(split, label, image, mask, kinds.get(image, "anomaly"), category)
            for _, split, label, image, mask in table.itertuples(index=False, name=None)
        ]
        return Listing(rows, _masks_without_row(root, category, set(table["mask"])))


def read_split(root: Path) -> pd.DataFrame:
    """Reads the one-class split.

    Returns:
        One row an image: object, split ("train" or "test"), label ("normal" or "anomaly"), image
        and mask (empty for normals).

    Raises:
        DataError: The file is missing, or not of VisA's format.
    """
    file = root / SPLIT_FILE
    if not file.is_file():
        raise DataError(
            f"Expected VisA's {SPLIT_FILE} in {root}; found {content(root)}. Point dataset.root to "
            "the folder that holds split_csv/ and the objects, and choose with dataset.category."
        )
    table = _read_csv(file, _SPLIT_COLUMNS)
    bad = ~table["split"].isin(["train", "test"]) | ~table["label"].isin(["normal", "anomaly"])
    bad |= table["object"].eq("") | table["image"].eq("") | table["image"].duplicated()
    if bad.any():
        line = int(bad.to_numpy().argmax())
        raise DataError(
            f"{file}: expected rows of object, split (train or test), label (normal or anomaly), a "
            f"unique image, and mask; line {line + 2} is {table.iloc[line].tolist()}. Restore the "
            "original file."
        )
    return table


def read_kinds(file: Path) -> dict[str, str]:
    """Kind of defect of each image that `image_anno.csv` names; none where there is no such file.

    Images with several kinds of defect are "combined", as MVTec AD calls it.

    Raises:
        DataError: The file lacks a column.
    """
    if not file.is_file():
        return {}
    table = _read_csv(file, _KIND_COLUMNS)
    return {
        image: "combined" if "," in label else label.strip()
        for image, label in table.itertuples(index=False, name=None)
    }


def _read_csv(file: Path, columns: list[str]) -> pd.DataFrame:
    try:
        return pd.read_csv(file, dtype=str, keep_default_na=False, usecols=columns)[columns]
    except ValueError as error:
        raise DataError(
            f"{file}: expected a csv file with the columns {', '.join(columns)}; {error}. Restore "
            "the original file."
        ) from error


def _row(split: str, label: str, image: str, mask: str, kind: str, category: str) -> Row:
    if label == "normal":
        return Row(image, split, 0, GOOD, category, mask or None)
    return Row(image, split, 1, kind, category, mask or None)


def _masks_without_row(root: Path, category: str, listed: set[str]) -> list[Finding]:
    folder = root / category / "Data" / "Masks"
    if not folder.is_dir():
        return []
    images = root / category / "Data" / "Images"
    return [
        mask_without_image(mask, images, root)
        for mask in find_images(folder)
        if relative(mask, root) not in listed
    ]
