"""A plain folder of one's own, of which the good parts alone are enough.

    good/*                     normal images (also ok/ or normal/); without such a folder, those
                               directly in the root
    good/<lot>/*               normal images of one lot or sequence, which stay in one split
    <type>/*                   anomalous images; <type>/<kind>/* have the type "<type>/<kind>"
    <type>/<stem>_mask.png     masks, an image each or drawn in labelme, <stem>.json (optional)
    masks/<type>/<stem>.png    masks in a tree of the same shape (also ground_truth/, <stem>_mask)

The root holds these folders, or one folder a category that holds them.
"""

import csv
from collections import defaultdict
from pathlib import Path
from typing import ClassVar

from daf_pipelines.errors import DataError
from daf_pipelines.sources.base import (
    GOOD,
    GOOD_NAMES,
    Finding,
    Listing,
    Row,
    Source,
    printable,
    require_known,
)
from daf_pipelines.sources.images import MASK_SUFFIXES, SUFFIXES, find_images
from daf_pipelines.sources.layout import (
    content,
    image_key,
    mask_without_image,
    relative,
    sub_folders,
)

MASK_FOLDERS = frozenset({"ground_truth", "masks"})
"""Names of the folders of masks, in lower case."""

_TREE = """
  good/*.png                       good parts (also in ok/, normal/ or directly in the folder)
  <defect type>/*.png              defective parts, if you have any
  masks/<defect type>/<name>.png   their masks, if you have any"""


class Folder(Source):
    """Good parts, with defects, masks, lots and categories where there are any."""

    name: ClassVar[str] = "folder"

    def recognises(self, root: Path) -> bool:
        """Whether `root`, or a folder in it, has a folder of good parts, or `root` has images."""
        return bool(_find_categories(root))

    def categories(self, root: Path) -> list[str]:
        """Category folders; see :meth:`Source.categories`."""
        return list(_categories(root))

    def list_images(self, root: Path, category: str) -> Listing:
        """Lists the images of `category`; see :meth:`Source.list_images`."""
        categories = _categories(root)
        require_known("dataset.category", category, categories)
        folder = categories[category]
        images, masks = _find_files(folder)
        strays = [] if folder == root else _images_in(root)
        if _good_folders(folder):
            strays += [image for image in images if image.parent == folder]
            images = [image for image in images if image.parent != folder]
        if not images:
            raise _no_images(root)
        rows = [
            _row(image, masks.get(image_key(image, folder, "")), folder, root, category)
            for image in images
        ]
        findings = [_stray(image, root) for image in strays]
        findings += [_unread_table(file, root) for file in _tables_in(root)]
        findings += [_good_in_defects(row) for row in rows if _names_good(row.defect_type)]
        return Listing(rows, findings + _wrong_masks(images + strays, masks, folder, root))


def _categories(root: Path) -> dict[str, Path]:
    found = _find_categories(root)
    if not found:
        raise _no_images(root)
    return found


def _find_categories(root: Path) -> dict[str, Path]:
    if _good_folders(root):
        return {root.resolve().name: root}
    found = {folder.name: folder for folder in sub_folders(root) if _is_category(folder)}
    return found or ({root.resolve().name: root} if _images_in(root) else {})


def _is_category(folder: Path) -> bool:
    return folder.name.lower() not in MASK_FOLDERS and bool(_good_folders(folder))


def _good_folders(folder: Path) -> list[Path]:
    return [found for found in sub_folders(folder) if found.name.lower() in GOOD_NAMES]


def _images_in(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in SUFFIXES and path.is_file() and not path.name.startswith(".")
    )


def _find_files(folder: Path) -> tuple[list[Path], dict[str, list[Path]]]:
    """The images below a category's folder, and the masks by the key of their image."""
    images = []
    masks = defaultdict(list)
    for path in find_images(folder, MASK_SUFFIXES):
        top = folder / path.relative_to(folder).parts[0]
        in_tree = top != path and top.name.lower() in MASK_FOLDERS
        if path.suffix.lower() == ".json" and b'"shapes"' not in path.read_bytes():
            continue  # not labelme's, but what a camera or another tool left
        if in_tree or path.suffix.lower() == ".json" or path.stem.endswith("_mask"):
            masks[image_key(path, top if in_tree else folder)].append(path)
        else:
            images.append(path)
    return images, masks


def _row(image: Path, masks: list[Path] | None, folder: Path, root: Path, category: str) -> Row:
    path, mask_path = relative(image, root), relative(masks[0], root) if masks else None
    parts = image.relative_to(folder).parts[:-1]
    if parts and parts[0].lower() not in GOOD_NAMES:
        return Row(path, None, 1, "/".join(parts), category, mask_path)
    group = "/".join(parts[1:]) or None
    return Row(path, None, 0, GOOD, category, mask_path, group)


def _wrong_masks(
    images: list[Path], masks: dict[str, list[Path]], folder: Path, root: Path
) -> list[Finding]:
    """Findings on masks whose image is missing, and on images with several masks."""
    by_key = {image_key(image, folder, ""): image for image in images if folder in image.parents}
    findings = []
    for key, found in masks.items():
        if key not in by_key:
            expected = (folder / key).parent
            findings += [mask_without_image(mask, expected, root) for mask in found]
        elif len(found) > 1:
            findings.append(_several_masks(by_key[key], found, root))
    return findings


def _several_masks(image: Path, masks: list[Path], root: Path) -> Finding:
    return Finding(
        "error",
        "several_masks",
        relative(image, root),
        "an image with several masks: " + ", ".join(relative(mask, root) for mask in masks),
        "Keep one of them",
    )


def _stray(image: Path, root: Path) -> Finding:
    return Finding(
        "warning",
        "stray_image",
        relative(image, root),
        "an image beside the folders of good parts and defects, which is left out",
        "Move it into one of them",
    )


def _tables_in(folder: Path) -> list[Path]:
    """Files of comma-separated values with a column of paths."""
    tables = []
    for file in sorted(folder.glob("[!.]*.csv")):
        try:
            with file.open(encoding="utf-8-sig", errors="replace", newline="") as lines:
                columns = next(csv.reader(lines), [])
        except (OSError, csv.Error):  # whatever it is, it is no table of images
            continue
        if "path" in (column.strip().lower() for column in columns):
            tables.append(file)
    return tables


def _unread_table(file: Path, root: Path) -> Finding:
    return Finding(
        "warning",
        "unread_table",
        relative(file, root),
        "a table of images that is not read: folders decide what is good",
        f"If it should decide: dataset.source=table, dataset.root={printable(str(file))}",
    )


def _names_good(defect_type: str) -> bool:
    """Whether a nested defect type has a folder of good parts in it."""
    return any(part.lower() in GOOD_NAMES for part in defect_type.split("/")[1:])


def _good_in_defects(row: Row) -> Finding:
    return Finding(
        "error",
        "good_in_defects",
        row.path,
        f"an image of the defect type {row.defect_type!r}, which names good parts",
        "Move it into the folder of good parts, or rename its folder",
    )


def _no_images(root: Path) -> DataError:
    return DataError(
        f"Expected images of good parts in {root}; found {content(root)}. Correct dataset.root, or "
        "make a folder as this, or a folder of such folders, of which good/ alone is enough:"
        + _TREE
    )
