"""MVTec AD 2's official layout.

Heckler-Kram et al., "The MVTec AD 2 Dataset: Advanced Scenarios for Unsupervised Anomaly
Detection", arXiv 2503.21622, 2025. 8 categories, 2,528 normal images to train on and 302 to
validate with, 379 normal and 705 anomalous ones to test on, in several lightings; CC BY-NC-SA 4.0.
A category is a folder with

    train/good/NNN_<lighting>.png
    validation/good/NNN_<lighting>.png                          held-out normals: calibration
    test_public/{good,bad}/NNN_<lighting>.png
    test_public/ground_truth/bad/NNN_<lighting>_mask.png
    test_private/NNN*.png and test_private_mixed/NNN*.png       labels not published: left alone

The private images can be scored with the inference pipeline; MVTec's server judges them.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar

from daf_pipelines.sources.defect_folders import DefectFolders


class MVTecAD2(DefectFolders):
    """One category, its public part; see :class:`DefectFolders`."""

    name: ClassVar[str] = "mvtec_ad_2"
    title: ClassVar[str] = "MVTec AD 2"
    marker: ClassVar[str] = "test_public"
    normals: ClassVar[Mapping[str, str]] = MappingProxyType(
        {"train/good": "train", "validation/good": "calibration"}
    )
    test: ClassVar[str] = "test_public"
    masks: ClassVar[str] = "test_public/ground_truth"
