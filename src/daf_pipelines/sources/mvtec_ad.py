"""MVTec AD's official layout, also for one's own data.

Bergmann et al., "MVTec AD: A Comprehensive Real-World Dataset for Unsupervised Anomaly
Detection", CVPR 2019. 15 categories, 3,629 normal images to train on, 467 normal and 1,258
anomalous ones to test on; CC BY-NC-SA 4.0. A category is a folder with

    train/good/*             normal images
    test/good/*              normal images
    test/<type>/*            anomalous images
    ground_truth/<type>/*    their masks, <stem>_mask.png (optional; also <stem>.png)
"""

from pathlib import Path
from typing import ClassVar

from daf_pipelines.sources.defect_folders import DefectFolders
from daf_pipelines.sources.mvtec_ad_2 import MVTecAD2
from daf_pipelines.sources.mvtec_loco import MVTecLOCO


class MVTecAD(DefectFolders):
    """One category; see :class:`DefectFolders`."""

    name: ClassVar[str] = "mvtec_ad"
    title: ClassVar[str] = "MVTec AD"
    marker: ClassVar[str] = "train/good"

    def recognises(self, root: Path) -> bool:
        """Whether `root` or a folder in it has train/good, without being a later MVTec dataset."""
        later = (MVTecAD2(), MVTecLOCO())
        return super().recognises(root) and not any(source.recognises(root) for source in later)
