"""BTAD, the beanTech Anomaly Detection dataset.

Mishra et al., "VT-ADL: A Vision Transformer Network for Image Anomaly Detection and
Localization", ISIE 2021. Categories 01, 02 and 03, together 1,799 normal images to train on and
741 to test on; CC BY-SA 4.0. A category is a folder with

    train/ok/NNNN.bmp        normal images (.png in 02)
    test/ok/NNNN.bmp         normal images
    test/ko/NNNN.bmp         anomalous images
    ground_truth/ko/NNNN.*   their masks, .png or .bmp whatever the images are
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar

from daf_pipelines.sources.defect_folders import DefectFolders


class BTAD(DefectFolders):
    """One category; its defects have the single type "ko"; see :class:`DefectFolders`."""

    name: ClassVar[str] = "btad"
    title: ClassVar[str] = "BTAD"
    marker: ClassVar[str] = "train/ok"
    normals: ClassVar[Mapping[str, str]] = MappingProxyType({"train/ok": "train"})
    good: ClassVar[str] = "ok"
