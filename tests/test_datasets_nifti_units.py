"""NIfTI files in other units than millimetres, and volumes that are no intensities."""

import numpy as np
import pytest
import xarray as xr

from neurfield.datasets import load_nifti, rescale_intensity

nibabel = pytest.importorskip("nibabel", reason='needs the extra "readers"')


@pytest.mark.parametrize(
    ("unit", "millimetres"), [("mm", 1.0), ("micron", 1e-3), ("meter", 1e3), ("unknown", 1.0)]
)
@pytest.mark.parametrize("lazy", [False, True])
def test_coordinates_are_in_millimetres_whatever_the_file_s_unit(unit, millimetres, lazy, tmp_path):
    affine = np.diag([2.0, 3.0, 0.5, 1.0])
    affine[:3, 3] = 10.0, 20.0, 30.0
    image = nibabel.Nifti1Image(np.random.default_rng(0).random((4, 3, 5), np.float32), affine)
    image.header.set_xyzt_units(unit)
    nibabel.save(image, tmp_path / "v.nii")
    (volume,) = load_nifti(tmp_path / "v.nii", lazy=lazy)
    for axis, size, step in zip("xyz", (4, 3, 5), (2.0, 3.0, 0.5), strict=True):
        np.testing.assert_allclose(volume[axis], millimetres * step * np.arange(size))
    place = np.asarray(volume.attrs["affine"]) @ [1, 2, 3, 1]
    np.testing.assert_allclose(place[:3], millimetres * np.array([12.0, 26.0, 31.5]))


def test_voxels_without_a_size_are_refused(tmp_path):
    nibabel.save(nibabel.Nifti1Image(np.ones((3, 3, 3), np.float32), np.eye(4)), tmp_path / "v.nii")
    raw = bytearray((tmp_path / "v.nii").read_bytes())
    for row in (280, 296, 312):  # of the affine in the header, whose second column becomes zero
        raw[row + 4 : row + 8] = bytes(4)
    (tmp_path / "v.nii").write_bytes(raw)
    with pytest.raises(ValueError, match=r"v\.nii: voxel sizes must be positive, got \[1.0, 0.0"):
        load_nifti(tmp_path / "v.nii")


@pytest.mark.parametrize("share", [1e-4, 5e-4, 0.3])
def test_a_mask_survives_clipping(share):
    mask = np.zeros(100_000)
    mask[: int(share * mask.size)] = 1.0
    found = rescale_intensity(xr.DataArray(mask.reshape(100, 1000), dims=("x", "y")))
    np.testing.assert_array_equal(found.values.ravel(), mask)


def test_labels_survive_clipping():
    labels = np.zeros(100_000)
    labels[:40], labels[40:60] = 1.0, 3.0
    found = rescale_intensity(xr.DataArray(labels, dims="x"), scale=False)
    np.testing.assert_array_equal(found, labels)
