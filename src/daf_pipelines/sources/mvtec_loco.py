"""MVTec LOCO AD's official layout.

Bergmann et al., "Beyond Dents and Scratches: Logical Constraints in Unsupervised Anomaly
Detection and Localization", IJCV 130, 2022. 5 categories, 1,778 normal images to train on and 305
to validate with, 575 normal, 561 logically and 432 structurally anomalous ones to test on (as
downloaded; the paper counts 7 normals less); CC BY-NC-SA 4.0. A category is a folder with

    train/good/NNN.png
    validation/good/NNN.png                                     held-out normals: calibration
    test/{good,logical_anomalies,structural_anomalies}/NNN.png
    ground_truth/<type>/NNN/MMM.png                             masks of image NNN, one a region

The value of a mask's defective pixels, 255 or somewhat less, tells the kind of defect.
"""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar

from daf_pipelines.sources.defect_folders import DefectFolders
from daf_pipelines.sources.layout import sub_folders


class MVTecLOCO(DefectFolders):
    """One category; an image's mask is the folder of its regions; see :class:`DefectFolders`."""

    name: ClassVar[str] = "mvtec_loco"
    title: ClassVar[str] = "MVTec LOCO AD"
    marker: ClassVar[str] = "test/logical_anomalies"
    normals: ClassVar[Mapping[str, str]] = MappingProxyType(
        {"train/good": "train", "validation/good": "calibration"}
    )

    def masks_of(self, folder: Path) -> dict[str, Path]:
        """Folders of masks by the stem of the image they belong to."""
        return {masks.name: masks for masks in sub_folders(folder)}
