"""Visual defect detectors trained from normal images only: the Discrepancy Aware Framework."""

__version__ = "0.1.0"
