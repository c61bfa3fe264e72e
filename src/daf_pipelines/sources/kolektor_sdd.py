"""KolektorSDD: surfaces of electrical commutators, some with a crack.

Tabernik et al., "Segmentation-based deep-learning approach for surface-defect detection", Journal
of Intelligent Manufacturing 31, 2020. 399 images of 50 commutators, 500 pixels wide, 1,240 to
1,270 high, grey, 52 of them with a defect; CC BY-NC-SA 4.0. Layout:

    kosNN/PartM.jpg          surface M of commutator NN
    kosNN/PartM_label.bmp    its mask, black where there is no defect

There is no split for training on normal images alone: it is drawn, by commutator.
"""

import re
from pathlib import Path
from typing import ClassVar

from daf_pipelines.sources.base import Row
from daf_pipelines.sources.layout import relative, sub_folders
from daf_pipelines.sources.masks_beside import MasksBeside


class KolektorSDD(MasksBeside):
    """One product; the masks decide which images are anomalous; see :class:`MasksBeside`."""

    name: ClassVar[str] = "kolektor_sdd"
    layout: ClassVar[str] = "KolektorSDD's layout, kosNN/PartM.jpg and kosNN/PartM_label.bmp,"
    category: ClassVar[str] = "commutator"
    image: ClassVar[re.Pattern[str]] = re.compile(r"(Part\d+)\.jpg")
    mask: ClassVar[re.Pattern[str]] = re.compile(r"(Part\d+)_label\.bmp")

    def folders(self, root: Path) -> list[Path]:
        """A folder for each commutator."""
        return [folder for folder in sub_folders(root) if re.fullmatch(r"kos\d+", folder.name)]

    def row(self, image: Path, mask: Path, root: Path) -> Row:
        """Describes an image, which belongs to a commutator."""
        path, mask_path = relative(image, root), relative(mask, root)
        return Row(path, None, None, "defect", self.category, mask_path, image.parent.name)
