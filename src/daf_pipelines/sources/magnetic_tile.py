"""Magnetic tile surface defects.

Huang et al., "Surface defect saliency of magnetic tile", The Visual Computer 36, 2020. 952 normal
images, and 392 with a blowhole (115), break (85), crack (57), fray (32) or uneven grinding (103),
grey, from 103 x 222 to 632 x 403; no licence stated, free to use with citation. Layout:

    MT_<Class>/Imgs/expE_num_N.jpg    image number N, exposure E; MT_Free is normal
    MT_<Class>/Imgs/expE_num_N.png    its mask (empty for four images of MT_Uneven)

There is no official split. PatchCore (Roth et al., CVPR 2022) tests on 20 % of the normal images.

Every tile was photographed under exposures 1 to 6 (three tiles under 0 as well), numbered in the
order of taking: all but a few images have a near copy of another exposure, which a split by image
would put on both sides. Here the images of one tile are a group.
"""

import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from daf_pipelines.sources.base import GOOD, Listing, Row
from daf_pipelines.sources.layout import relative, sub_folders
from daf_pipelines.sources.masks_beside import MasksBeside

_FREE = "MT_Free"
_LAST_EXPOSURE = 6


class MagneticTile(MasksBeside):
    """One product; see :class:`MasksBeside`. Normal images have a mask too, an empty one."""

    name: ClassVar[str] = "magnetic_tile"
    test_share: ClassVar[float] = 0.2
    layout: ClassVar[str] = "the magnetic tiles' layout, MT_<Class>/Imgs/expE_num_N.jpg and .png,"
    category: ClassVar[str] = "tile"
    image: ClassVar[re.Pattern[str]] = re.compile(r"(exp\d+_num_\d+)\.jpg")
    mask: ClassVar[re.Pattern[str]] = re.compile(r"(exp\d+_num_\d+)\.png")

    def folders(self, root: Path) -> list[Path]:
        """The folder Imgs of each class."""
        classes = [folder for folder in sub_folders(root) if folder.name.startswith("MT_")]
        return [folder / "Imgs" for folder in classes if (folder / "Imgs").is_dir()]

    def row(self, image: Path, mask: Path, root: Path) -> Row:
        """Describes an image, whose type is the class of its folder."""
        folder = image.parent.parent.name
        label = int(folder != _FREE)
        defect_type = folder.removeprefix("MT_").lower() if label else GOOD
        path, mask_path = relative(image, root), relative(mask, root)
        return Row(path, None, label, defect_type, self.category, mask_path)

    def list_images(self, root: Path, category: str) -> Listing:
        """Lists all images, with their tile as group; see :meth:`Source.list_images`."""
        listing = super().list_images(root, category)
        tiles = group_tiles(Path(row.path).stem for row in listing.rows)
        rows = [replace(row, group=tiles[Path(row.path).stem]) for row in listing.rows]
        return Listing(rows, listing.findings)


def group_tiles(names: Iterable[str]) -> dict[str, str]:
    """Groups names of the form `expE_num_N` by the tile that they show.

    A tile begins with exposure 0 or 1 after exposure 6 of the one before. Where the images of two
    tiles interleave, or exposures are missing in between, these tiles stay together.

    Returns:
        The group of each name: `tile_N`, N being the number of the group's first image.
    """
    groups: dict[str, str] = {}
    group, previous = "", 0
    for number, exposure, name in sorted(_parse(name) for name in names):
        if not groups or (previous == _LAST_EXPOSURE and exposure <= 1):
            group = f"tile_{number}"
        groups[name], previous = group, exposure
    return groups


def _parse(name: str) -> tuple[int, int, str]:
    exposure, number = name.removeprefix("exp").split("_num_")
    return int(number), int(exposure), name
