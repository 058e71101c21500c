"""How published work prepares brain MRI and chest CT, step by step, for 32³ voxels."""

from __future__ import annotations

import os
from pathlib import Path

import xarray as xr

from neurfield.datasets.dicom import load_dicom
from neurfield.datasets.intensity import rescale_intensity
from neurfield.datasets.volume_files import load_volumes
from neurfield.datasets.volume_steps import average_pool, crop_or_pad, resample
from neurfield.errors import FileError
from neurfield.geometry import FRAME_AXES

_SIDE, _FACTOR = 256, 8
_AIR = -1000.0  # Hounsfield units


def prepare_brats(volume: xr.DataArray | str | os.PathLike[str]) -> xr.DataArray:
    """Prepare a brain MRI of BraTS: clip, scale, pad to a cube of 256 mm, pool to 32³ voxels.

    Values are cut off at the 0.1 and 99.9 percentiles and mapped to [0, 1]; the volume, 240×240×155
    voxels of 1 mm, is filled up with zeros on all sides to 256³; blocks of 8³ voxels are averaged.

    Parameters
    ----------
    volume : DataArray of shape (x, y, z) or path-like
        A volume as :func:`load_nifti` gives it with ``clip=None, scale=False``, or the file of a
        volume, or a DICOM series, to read. A lazy volume stays lazy.

    Returns
    -------
    DataArray of shape (32, 32, 32), float32
        The coordinates, in millimetres, are the centres of the blocks; ``attrs["affine"]`` is that
        of the volume given, to which they still belong.

    References
    ----------
    P. Friedrich et al., "MedFuncta: A Unified Framework for Learning Efficient Medical Neural
    Fields", 2025, arXiv:2502.14401, experimental settings.
    U. Baid et al., "The RSNA-ASNR-MICCAI BraTS 2021 Benchmark on Brain Tumor Segmentation and
    Radiogenomic Classification", 2021, arXiv:2107.02314.

    Examples
    --------
    >>> from neurfield.datasets import phantoms
    >>> head = phantoms(1, shape=(48, 40, 32), random_state=0)[0]
    >>> prepared = prepare_brats(head)
    >>> prepared.shape
    (32, 32, 32)
    """
    scaled = rescale_intensity(_volume(volume))
    return average_pool(crop_or_pad(scaled, _SIDE), _FACTOR)


def prepare_lidc(volume: xr.DataArray | str | os.PathLike[str]) -> xr.DataArray:
    """Prepare a chest CT of LIDC-IDRI: resample, crop a cube of 256 mm, clip, scale, pool to 32³.

    The volume is interpolated to voxels of 1 mm; its central 256³ are cut out, with air added where
    it is smaller; values are cut off below -1000 HU and above the 99.9 percentile and mapped to
    [0, 1]; blocks of 8³ voxels are averaged.

    Parameters
    ----------
    volume : DataArray of shape (x, y, z) or path-like
        A volume in Hounsfield units with coordinates in millimetres, or the file of a volume
        or folder of one DICOM series to read. A lazy volume stays lazy.

    Returns
    -------
    DataArray of shape (32, 32, 32), float32
        As :func:`prepare_brats` returns it.

    References
    ----------
    P. Friedrich et al., "MedFuncta: A Unified Framework for Learning Efficient Medical Neural
    Fields", 2025, arXiv:2502.14401, experimental settings.
    S. G. Armato et al., "The Lung Image Database Consortium (LIDC) and Image Database Resource
    Initiative (IDRI)", Medical Physics 38(2), 2011.

    Examples
    --------
    >>> import numpy as np
    >>> mm = {"x": np.arange(10) * 2.0, "y": np.arange(10) * 2.0, "z": np.arange(8) * 2.5}
    >>> chest = xr.DataArray(np.zeros((10, 10, 8)), dims=("x", "y", "z"), coords=mm)
    >>> prepare_lidc(chest).shape
    (32, 32, 32)
    """
    cube = crop_or_pad(resample(_volume(volume), 1.0), _SIDE, fill=_AIR)
    return average_pool(rescale_intensity(cube, percentiles=(0, 99.9), minimum=_AIR), _FACTOR)


def _volume(given: xr.DataArray | str | os.PathLike[str]) -> xr.DataArray:
    """Return a volume, read if a path is given."""
    if isinstance(given, xr.DataArray):
        volumes = [given]
    elif Path(given).is_dir():
        volumes = load_dicom(given)
    else:
        volumes = load_volumes(given, clip=None, scale=False)
    if len(volumes) != 1 and not isinstance(given, xr.DataArray):
        raise FileError(given, f"expected one volume, the folder holds {len(volumes)} series")
    (volume,) = volumes
    if volume.ndim != 3 or {"sample", "channel", *FRAME_AXES.values()} & set(volume.dims):
        raise ValueError(f"volume must have three axes of space, got dims {volume.dims}")
    return volume
