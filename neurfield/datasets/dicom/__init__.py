"""DICOM: images in series and in files of several frames, and waveforms."""

from neurfield.datasets.dicom.finding import is_dicom, reader_kind
from neurfield.datasets.dicom.series import load_dicom
from neurfield.datasets.dicom.waveforms import load_dicom_waveforms

__all__ = ["is_dicom", "load_dicom", "load_dicom_waveforms", "reader_kind"]
