"""A write that fails leaves what was there, and nothing beside it."""

import os

import numpy as np
import pytest
import xarray as xr

from neurfield.datasets import (
    load_npz,
    save_netcdf,
    save_nifti,
    save_nifti_folder,
    save_npz,
    save_zarr,
)


class DiskFullError(OSError):
    pass


def half_a_write(path, *args, **kwargs):
    """Write something, as a library does before the disk is full."""
    if hasattr(path, "write"):
        path.write(b"half")
    elif str(path).endswith(".zarr"):
        os.makedirs(path)
        with open(os.path.join(path, ".zgroup"), "w") as file:
            file.write("half")
    else:
        with open(path, "wb") as file:
            file.write(b"half")
    raise DiskFullError("no space left on device")


def snapshot(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture
def volume():
    mm = {axis: np.arange(3.0) for axis in "xyz"}
    return xr.DataArray(np.ones((3, 3, 3), np.float32), dims=("x", "y", "z"), coords=mm)


@pytest.mark.parametrize("existing", [True, False])
@pytest.mark.parametrize(
    ("save", "name", "target"),
    [
        (save_npz, "a.npz", "numpy.savez_compressed"),
        (save_netcdf, "a.nc", "xarray.Dataset.to_netcdf"),
        (save_zarr, "a.zarr", "xarray.Dataset.to_zarr"),
        (save_nifti, "a.nii.gz", "nibabel.save"),
    ],
)
def test_failed_write(tmp_path, monkeypatch, volume, save, name, target, existing):
    for module in ("nibabel", "netCDF4", "zarr"):
        pytest.importorskip(module)
    signals = volume if save is save_nifti else volume.expand_dims("sample")
    if existing:
        save(signals, tmp_path / name)
    before = snapshot(tmp_path)
    assert bool(before) == existing
    # Methods get the Dataset first, nibabel the image first, NumPy the file.
    fail = half_a_write if save is save_npz else lambda _, path, *a, **k: half_a_write(path)
    monkeypatch.setattr(target, fail)
    with pytest.raises(DiskFullError):
        save(2 * signals, tmp_path / name)
    assert snapshot(tmp_path) == before
    assert os.listdir(tmp_path) == ([name] if existing else [])


def test_failed_write_of_the_last_volume_of_a_folder(tmp_path, monkeypatch, volume):
    nibabel = pytest.importorskip("nibabel")
    save_nifti_folder([volume, volume], tmp_path / "out")
    before = snapshot(tmp_path)
    save, calls = nibabel.save, []

    def fail_later(image, path):
        calls.append(path)
        (save if len(calls) < 2 else lambda _, p: half_a_write(p))(image, path)

    monkeypatch.setattr(nibabel, "save", fail_later)
    with pytest.raises(DiskFullError):
        save_nifti_folder([2 * volume, 2 * volume], tmp_path / "out")
    assert len(calls) == 2
    assert snapshot(tmp_path) == before


def test_failed_unpacking_leaves_nothing(tmp_path):
    path = tmp_path / "a.npz"
    np.savez_compressed(path, X=np.random.default_rng(0).random((50, 50)))
    content = bytearray(path.read_bytes())
    content[5000] ^= 255
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.npz: could not be read .*X\.npy"):
        load_npz(path, mmap_mode="r")
    assert os.listdir(tmp_path) == ["a.npz"]
