"""Radiotherapy plans as a clinic has them: folders of CT, structure set, dose and plan."""

from __future__ import annotations

from crosstask.datasets.dicom_rt.dataset import DicomRT

__all__ = ["DicomRT"]
