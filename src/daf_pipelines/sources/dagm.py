"""DAGM 2007: ten artificial textures with one kind of defect each.

"Weakly Supervised Learning for Industrial Optical Inspection", competition of the 29th Annual
Symposium of the German Association for Pattern Recognition (DAGM), 2007. 16,100 images, 512 x 512,
grey: 1,150 in each of Class1 to Class6, 150 of them with a defect, and 2,300 in each of Class7 to
Class10, 300 with a defect; half of each to train on; no licence stated. A class is a folder with

    {Train,Test}/NNNN.PNG                 images
    {Train,Test}/Label/NNNN_label.PNG     for the anomalous ones: an ellipse around the defect
    {Train,Test}/Label/Labels.txt         for every image: NNNN, 0 or 1, file name, 0, mask or 0

The ellipses are coarse, so they say little about localisation.
"""

from pathlib import Path
from typing import ClassVar

from daf_pipelines.sources.base import GOOD, Finding, Listing, Row, Source, require_known
from daf_pipelines.sources.images import find_images
from daf_pipelines.sources.layout import (
    find_categories,
    image_key,
    mask_without_image,
    masks_by_image,
    relative,
    sub_folders,
)

SPLITS = {"Train": "train", "Test": "test"}


class DAGM(Source):
    """One class; the root is its folder, or the folder that holds the classes.

    Anomalous images of Train are listed with their label; they are not trained on.
    """

    name: ClassVar[str] = "dagm"
    coarse_masks: ClassVar[bool] = True

    def recognises(self, root: Path) -> bool:
        """Whether `root`, or a folder in it, has Train/Label."""
        return any(_is_class(folder) for folder in (root, *sub_folders(root)))

    def categories(self, root: Path) -> list[str]:
        """Class folders; see :meth:`Source.categories`."""
        return list(_classes(root))

    def list_images(self, root: Path, category: str) -> Listing:
        """Lists the images of the class `category`; see :meth:`Source.list_images`."""
        classes = _classes(root)
        require_known("dataset.category", category, classes)
        rows: list[Row] = []
        findings: list[Finding] = []
        for name in SPLITS:
            listing = _list_split(classes[category] / name, root, category)
            rows += listing.rows
            findings += listing.findings
        return Listing(rows, findings)


def read_defective(labels: Path) -> set[str] | None:
    """Stems of the images that `Labels.txt` calls defective; None where there is no such file."""
    if not labels.is_file():
        return None
    # The first line is a single number.
    lines = (line.split() for line in labels.read_text(encoding="utf-8").splitlines())
    return {Path(fields[2]).stem for fields in lines if len(fields) > 2 and fields[1] == "1"}


def _classes(root: Path) -> dict[str, Path]:
    return find_categories(root, _is_class, "DAGM 2007's layout, a class folder with Train/Label,")


def _is_class(folder: Path) -> bool:
    return (folder / "Train" / "Label").is_dir()


def _list_split(folder: Path, root: Path, category: str) -> Listing:
    masks = masks_by_image(folder / "Label", "_label")
    defective = read_defective(folder / "Label" / "Labels.txt")
    rows, findings = [], []
    for image in (file for file in find_images(folder) if file.parent == folder):
        mask = masks.pop(image_key(image, folder), None)
        listed = defective is not None and image.stem in defective
        if defective is not None and listed != (mask is not None):
            findings.append(_labels_differ(image, listed, root))
        label = int(listed or mask is not None)
        rows.append(_row(image, mask, label, root, category))
    findings += [mask_without_image(mask, folder, root) for mask in masks.values()]
    return Listing(rows, findings)


def _row(image: Path, mask: Path | None, label: int, root: Path, category: str) -> Row:
    mask_path = None if mask is None else relative(mask, root)
    split, defect_type = SPLITS[image.parent.name], "defect" if label else GOOD
    return Row(relative(image, root), split, label, defect_type, category, mask_path)


def _labels_differ(image: Path, listed: bool, root: Path) -> Finding:
    said, mask = ("defective", "no mask") if listed else ("free of defects", "a mask")
    return Finding(
        "error",
        "labels_differ",
        relative(image, root),
        f"{said} by Label/Labels.txt, yet with {mask} in Label",
        "Restore the original Label folder",
    )
