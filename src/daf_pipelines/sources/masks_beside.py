"""Layouts of one product in which every image has its mask beside it, told apart by name."""

import re
from abc import abstractmethod
from pathlib import Path
from typing import ClassVar

from daf_pipelines.errors import DataError
from daf_pipelines.sources.base import Finding, Listing, Row, Source, require_known
from daf_pipelines.sources.images import find_images
from daf_pipelines.sources.layout import content, mask_without_image, relative


class MasksBeside(Source):
    """One product; an image without a mask is not listed, but a finding.

    Attributes:
        layout: What is expected, for messages.
        category: The only category.
        image: Pattern of an image's name; its group is what the mask's name has in common with it.
        mask: Pattern of a mask's name, with the same group.
    """

    layout: ClassVar[str]
    category: ClassVar[str]
    image: ClassVar[re.Pattern[str]]
    mask: ClassVar[re.Pattern[str]]

    @abstractmethod
    def folders(self, root: Path) -> list[Path]:
        """The folders under `root` that hold images and masks; none where it has another layout."""

    @abstractmethod
    def row(self, image: Path, mask: Path, root: Path) -> Row:
        """Describes an image, whose mask is `mask`."""

    def recognises(self, root: Path) -> bool:
        """Whether a folder holds a file that is named like a mask."""
        files = (file for folder in self.folders(root) for file in folder.iterdir())
        return any(self.mask.fullmatch(file.name) for file in files)

    def categories(self, root: Path) -> list[str]:
        """The only category; see :meth:`Source.categories`."""
        if not self.recognises(root):
            raise DataError(
                f"Expected {self.layout} in {root}; found {content(root)}. Correct dataset.root."
            )
        return [self.category]

    def list_images(self, root: Path, category: str) -> Listing:
        """Lists all images; see :meth:`Source.list_images`."""
        require_known("dataset.category", category, self.categories(root))
        rows: list[Row] = []
        findings: list[Finding] = []
        for folder in self.folders(root):
            files = find_images(folder)
            images, masks = (_named(files, folder, p) for p in (self.image, self.mask))
            rows += [
                self.row(image, masks[key], root) for key, image in images.items() if key in masks
            ]
            findings += _findings(files, images, masks, root)
        return Listing(rows, findings)


def _named(files: list[Path], folder: Path, pattern: re.Pattern[str]) -> dict[str, Path]:
    matches = [(pattern.fullmatch(relative(file, folder)), file) for file in files]
    return {match[1]: file for match, file in matches if match}


def _findings(
    files: list[Path], images: dict[str, Path], masks: dict[str, Path], root: Path
) -> list[Finding]:
    unpaired = [image for key, image in images.items() if key not in masks]
    alone = [mask for key, mask in masks.items() if key not in images]
    strange = sorted({*files} - {*images.values(), *masks.values()})
    return [
        *(_image_without_mask(image, root) for image in unpaired),
        *(mask_without_image(mask, mask.parent, root) for mask in alone),
        *(_strange_name(file, root) for file in strange),
    ]


def _image_without_mask(image: Path, root: Path) -> Finding:
    return Finding(
        "error",
        "image_without_mask",
        relative(image, root),
        "an image without its mask, which was expected beside it",
        "Restore the mask or remove the image",
    )


def _strange_name(file: Path, root: Path) -> Finding:
    return Finding(
        "warning",
        "strange_name",
        relative(file, root),
        "named neither like an image nor like a mask of this dataset; it is left out",
        "Remove it, or name it as the others",
    )
