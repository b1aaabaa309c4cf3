"""DICOM series in: found in folders, read as volumes and cines."""

from acdc_seg.data.dicom.header import is_dicom
from acdc_seg.data.dicom.planes import Plane
from acdc_seg.data.dicom.series import Series, find_series
from acdc_seg.data.dicom.volume import DicomVolume, read_series

__all__ = ["DicomVolume", "Plane", "Series", "find_series", "is_dicom", "read_series"]
