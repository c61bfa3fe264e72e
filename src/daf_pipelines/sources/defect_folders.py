"""Layouts with one folder per type of defect, as MVTec AD made them common."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar

from daf_pipelines.errors import DataError
from daf_pipelines.sources.base import (
    GOOD,
    GOOD_NAMES,
    Finding,
    Listing,
    Row,
    Source,
    require_known,
)
from daf_pipelines.sources.images import find_images
from daf_pipelines.sources.layout import (
    content,
    find_categories,
    image_key,
    mask_without_image,
    masks_by_image,
    relative,
    sub_folders,
)


class DefectFolders(Source):
    """One category; the root is its folder, or the folder that holds the categories.

    Attributes:
        title: What messages call the dataset.
        marker: Folder by which a category's folder is recognised.
        normals: Folders of normal images, and the split that each makes.
        test: Folder with a folder of test images for each type.
        masks: Folder with a folder of masks for each type.
        good: Name of the type that is normal.
    """

    title: ClassVar[str]
    marker: ClassVar[str]
    normals: ClassVar[Mapping[str, str]] = MappingProxyType({"train/good": "train"})
    test: ClassVar[str] = "test"
    masks: ClassVar[str] = "ground_truth"
    good: ClassVar[str] = GOOD

    def recognises(self, root: Path) -> bool:
        """Whether `root`, or a folder in it, has the folder `marker`."""
        return any((folder / self.marker).is_dir() for folder in (root, *sub_folders(root)))

    def categories(self, root: Path) -> list[str]:
        """Category folders; see :meth:`Source.categories`."""
        return list(self._folders(root))

    def list_images(self, root: Path, category: str) -> Listing:
        """Lists the images of `category`; see :meth:`Source.list_images`."""
        folders = self._folders(root)
        require_known("dataset.category", category, folders)
        folder = folders[category]
        rows = [
            Row(relative(image, root), split, 0, GOOD, category)
            for name, split in self.normals.items()
            for image in _normal_images(folder, name)
        ]
        findings = []
        for images in self._test_folders(folder):
            masks = self.masks_of(folder / self.masks / images.name)
            for image in find_images(images):
                mask = masks.pop(image_key(image, images), None)
                rows.append(self._test_row(image, mask, root, images.name, category))
            findings += [mask_without_image(mask, images, root) for mask in masks.values()]
        return Listing(rows, findings + self._masks_without_type(folder, root))

    def masks_of(self, folder: Path) -> dict[str, Path]:
        """Masks in the folder of one type by the image they belong to.

        One file for each image (unless overridden); see :func:`masks_by_image`.
        """
        return masks_by_image(folder)

    def _folders(self, root: Path) -> dict[str, Path]:
        layout = f"{self.title}'s layout, a category folder with {next(iter(self.normals))},"
        return find_categories(root, self._is_category, layout)

    def _is_category(self, folder: Path) -> bool:
        return (folder / "train").is_dir() or (folder / self.test).is_dir()

    def _test_folders(self, folder: Path) -> list[Path]:
        # MVTec AD 2 keeps the masks among the types.
        return [f for f in sub_folders(folder / self.test) if f != folder / self.masks]

    def _test_row(
        self, image: Path, mask: Path | None, root: Path, folder: str, category: str
    ) -> Row:
        mask_path = None if mask is None else relative(mask, root)
        label = int(folder.lower() not in GOOD_NAMES)
        defect_type = folder if label else GOOD
        return Row(relative(image, root), "test", label, defect_type, category, mask_path)

    def _masks_without_type(self, folder: Path, root: Path) -> list[Finding]:
        """Findings on masks of types that have no folder of images at all."""
        return [
            mask_without_image(mask, folder / self.test / masks.name, root)
            for masks in sub_folders(folder / self.masks)
            if not (folder / self.test / masks.name).is_dir()
            for mask in self.masks_of(masks).values()
        ]


def _normal_images(category: Path, name: str) -> list[Path]:
    folder = category / name
    if not folder.is_dir():
        raise DataError(
            f"Expected normal images in {folder}, which does not exist; {category} holds "
            f"{content(category)}, and its {folder.parent.name}/ holds {content(folder.parent)}. "
            f"Put the normal images into {name}."
        )
    return find_images(folder)
