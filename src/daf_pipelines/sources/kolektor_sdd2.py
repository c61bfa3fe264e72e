"""KolektorSDD2: surfaces of production items with scratches, spots and other faults.

Bozic et al., "Mixed supervision for surface-defect detection: from weakly to fully supervised
learning", Computers in Industry 129, 2021. 2,085 normal and 246 anomalous images to train on, 894
and 110 to test on, about 230 x 630, colour; CC BY-NC-SA 4.0. Layout:

    {train,test}/NNNNN.png       image
    {train,test}/NNNNN_GT.png    its mask, black where there is no defect

The official archive also holds "train/10301 (copy).png" and "train/10301_GT (copy).png", of which
the latter passes for an image where only the ending is looked at. Both are left out.
"""

import re
from pathlib import Path
from typing import ClassVar

from daf_pipelines.sources.base import Row
from daf_pipelines.sources.layout import relative
from daf_pipelines.sources.masks_beside import MasksBeside


class KolektorSDD2(MasksBeside):
    """One product; the masks decide which images are anomalous; see :class:`MasksBeside`."""

    name: ClassVar[str] = "kolektor_sdd2"
    layout: ClassVar[str] = "KolektorSDD2's layout, NNNNN.png and NNNNN_GT.png in train/ and test/,"
    category: ClassVar[str] = "item"
    image: ClassVar[re.Pattern[str]] = re.compile(r"(\d+)\.png")
    mask: ClassVar[re.Pattern[str]] = re.compile(r"(\d+)_GT\.png")

    def folders(self, root: Path) -> list[Path]:
        """The folders of both splits; none where one is missing."""
        splits = [root / "train", root / "test"]
        return splits if all(folder.is_dir() for folder in splits) else []

    def row(self, image: Path, mask: Path, root: Path) -> Row:
        """Describes an image of the split that its folder is named after."""
        path, mask_path = relative(image, root), relative(mask, root)
        return Row(path, image.parent.name, None, "defect", self.category, mask_path)
