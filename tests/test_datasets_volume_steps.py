"""Preparation of volumes, against independent computations, and their way back into files."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from neurfield.datasets import (
    average_pool,
    crop_or_pad,
    load_nifti,
    load_npz,
    open_signals,
    prepare_brats,
    prepare_lidc,
    resample,
    rescale_intensity,
    save_nifti,
)

nibabel = pytest.importorskip("nibabel")


def oblique_affine(voxel: tuple[float, float, float] = (1.0, 1.5, 2.0)) -> np.ndarray:
    """Return an affine turned about all axes, whose first axis runs to the left."""
    turns = nibabel.eulerangles.euler2mat(0.3, -0.4, 0.5)
    affine = np.eye(4)
    affine[:3, :3] = turns @ np.diag([-voxel[0], voxel[1], voxel[2]])
    affine[:3, 3] = [30.0, -20.0, 11.0]
    return affine


def write_volume(path: Path, shape: tuple[int, ...], affine: np.ndarray) -> np.ndarray:
    values = np.random.default_rng(1).normal(100, 20, shape).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(values, affine), path)
    return values


def position(volume: xr.DataArray, **index: int) -> np.ndarray:
    """Return where a voxel is in the scanner, by way of its millimetres and the affine."""
    affine = np.array(volume.attrs["affine"])
    sizes = np.linalg.norm(affine[:3, :3], axis=0)
    millimetres = np.array([float(volume[axis][index[axis]]) for axis in "xyz"])
    return (affine @ [*(millimetres / sizes), 1])[:3]


def test_oblique_volume_keeps_its_place_whatever_is_done_to_it(tmp_path):
    write_volume(tmp_path / "a.nii", (12, 10, 8), oblique_affine())
    (volume,) = load_nifti(tmp_path / "a.nii")
    changed = average_pool(crop_or_pad(resample(volume, 1.0), (8, 16, 10)), 2)
    assert changed.shape == (4, 8, 5)
    save_nifti(changed, tmp_path / "b.nii.gz")
    written = nibabel.load(tmp_path / "b.nii.gz")
    np.testing.assert_allclose(
        (written.affine @ [1, 2, 3, 1])[:3], position(changed, x=1, y=2, z=3), atol=1e-4
    )
    np.testing.assert_allclose(nibabel.affines.voxel_sizes(written.affine), 2.0, rtol=1e-5)
    axes = nibabel.affines.obliquity(oblique_affine())
    np.testing.assert_allclose(nibabel.affines.obliquity(written.affine), axes, atol=1e-6)


def test_a_turned_volume_reads_the_same_field_as_an_upright_one(tmp_path):
    """A function of scanner position, sampled along turned axes, survives reading and writing."""
    affine = oblique_affine()
    index = np.stack(np.meshgrid(*map(np.arange, (6, 5, 4)), indexing="ij"), axis=-1)
    place = nibabel.affines.apply_affine(affine, index)
    nibabel.save(nibabel.Nifti1Image(place[..., 0].astype(np.float32), affine), tmp_path / "a.nii")
    (volume,) = load_nifti(tmp_path / "a.nii", clip=None, scale=False)
    fine = resample(volume, 0.5)
    save_nifti(fine, tmp_path / "b.nii")
    written = nibabel.load(tmp_path / "b.nii")
    index = np.stack(np.meshgrid(*map(np.arange, written.shape), indexing="ij"), axis=-1)
    expected = nibabel.affines.apply_affine(written.affine, index)[..., 0]
    np.testing.assert_allclose(written.get_fdata(), expected, atol=1e-4)


def test_lazy_folder_reads_nothing_before_it_is_needed(tmp_path):
    for name in ("a", "b"):
        write_volume(tmp_path / f"{name}.nii.gz", (6, 5, 4), oblique_affine())
    lazy, eager = load_nifti(tmp_path, lazy=True), load_nifti(tmp_path)
    assert [volume.chunks for volume in lazy] == [((6,), (5,), (4,))] * 2
    np.testing.assert_array_equal(lazy[0], eager[0])
    assert lazy[0].attrs["affine"] == eager[0].attrs["affine"]
    (tmp_path / "b.nii.gz").unlink()
    with pytest.raises(FileNotFoundError, match=r"b\.nii\.gz"):
        lazy[1].compute()


def test_lazy_file_that_is_cut_off_is_named_at_once_and_when_it_is_read(tmp_path):
    write_volume(tmp_path / "a.nii", (6, 5, 4), np.eye(4))
    content = (tmp_path / "a.nii").read_bytes()
    (volume,) = load_nifti(tmp_path / "a.nii", lazy=True)
    (tmp_path / "a.nii").write_bytes(content[:-40])
    for read in (volume.compute, lambda: load_nifti(tmp_path / "a.nii", lazy=True)):
        with pytest.raises(ValueError, match=r"a\.nii: could not be read as a NIfTI file"):
            read()


def test_lazy_volumes_stay_lazy_through_all_steps(tmp_path):
    write_volume(tmp_path / "a.nii", (20, 18, 16), oblique_affine())
    results = []
    for lazy in (True, False):
        (volume,) = load_nifti(tmp_path / "a.nii", clip=None, scale=False, lazy=lazy)
        cube = crop_or_pad(resample(volume, 1.0), (16, 32, 40), fill=-1.0)
        results.append(average_pool(rescale_intensity(cube, minimum=0.0), 4))
    lazy, eager = results
    assert lazy.chunks == ((4,), (8,), (10,))
    np.testing.assert_allclose(lazy.compute(), eager, atol=1e-6)


def test_rescale_intensity_passes_over_what_was_not_observed():
    values = xr.DataArray([np.nan, -5.0, 0.0, 5.0, 10.0], dims="x")
    scaled = rescale_intensity(values, percentiles=None, minimum=0.0)
    np.testing.assert_allclose(scaled, [np.nan, 0, 0, 0.5, 1])
    assert scaled.attrs["value_range"] == [0.0, 10.0]
    kept = rescale_intensity(values, percentiles=(50, 100), scale=False)
    np.testing.assert_allclose(kept, [np.nan, 2.5, 2.5, 5, 10])
    with pytest.raises(ValueError, match="percentiles must be two rising numbers"):
        rescale_intensity(values, percentiles=(5, 5))


@pytest.mark.parametrize(("size", "shape"), [(5, 8), (8, 5), (6, 6), (5, 6), (6, 5), (4, 12)])
def test_crop_or_pad_keeps_the_middle(size, shape):
    line = xr.DataArray(
        np.arange(1.0, size + 1), dims="x", coords={"x": ("x", 3 + 0.5 * np.arange(size))}
    )
    changed = crop_or_pad(line, shape)
    assert changed.sizes["x"] == shape
    np.testing.assert_allclose(np.diff(changed["x"]), 0.5)
    shared = sorted(set(line["x"].values) & set(changed["x"].values))
    assert len(shared) == min(size, shape)
    np.testing.assert_array_equal(changed.sel(x=shared), line.sel(x=shared))
    assert float(changed.sum()) == float(line.sel(x=shared).sum())
    assert abs(float(changed["x"].mean() - line["x"].mean())) <= 0.25


def test_pooling_and_padding_keep_channels_units_and_attributes():
    volume = xr.DataArray(
        np.arange(24.0).reshape(4, 3, 2),
        dims=("x", "y", "channel"),
        coords={
            "x": ("x", np.arange(4.0), {"units": "mm"}),
            "y": ("y", np.arange(3.0), {"units": "mm"}),
            "channel": ["a", "b"],
        },
        attrs={"affine": np.eye(4).tolist()},
    )
    changed = average_pool(crop_or_pad(volume, (4, 4)), 2)
    assert changed.dims == volume.dims
    assert changed["channel"].values.tolist() == ["a", "b"]
    assert changed["x"].attrs == changed["y"].attrs == {"units": "mm"}
    assert changed.attrs == volume.attrs
    np.testing.assert_allclose(changed[0, 0], volume[:2, :2].mean(("x", "y")))
    np.testing.assert_allclose(changed["y"], [0.5, 2.5])


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda v: average_pool(v, 3), "factor must divide the 4 voxels along 'x', got 3"),
        (lambda v: average_pool(v, (2, 2)), "factor needs one number for each of"),
        (lambda v: crop_or_pad(v, 0), "shape must be positive"),
        (lambda v: resample(v, -1.0), "spacing must be positive"),
        (lambda v: resample(v.drop_vars("x"), 1.0), "must have coordinates along"),
        (prepare_brats, "volume must have three axes of space"),
    ],
)
def test_steps_refuse_what_does_not_fit(call, match):
    line = xr.DataArray(np.zeros(4), dims="x", coords={"x": np.arange(4.0)})
    with pytest.raises(ValueError, match=match):
        call(line)


def test_brats_is_prepared_as_published(tmp_path):
    # A volume of a quarter of BraTS's width: the steps do not depend on it, and it is quick.
    rng = np.random.default_rng(0)
    values = rng.gamma(2, 100, (60, 60, 39)).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(values, np.diag([-1, -1, 1, 1])), tmp_path / "t1n.nii.gz")
    prepared = prepare_brats(tmp_path / "t1n.nii.gz")
    low, high = np.percentile(values, [0.1, 99.9])
    cube = np.zeros((256, 256, 256))
    cube[98:158, 98:158, 108:147] = (np.clip(values, low, high) - low) / (high - low)
    expected = cube.reshape(32, 8, 32, 8, 32, 8).mean(axis=(1, 3, 5))
    np.testing.assert_allclose(prepared, expected, atol=1e-5)
    np.testing.assert_allclose(prepared["x"], -98 + 3.5 + 8 * np.arange(32))
    np.testing.assert_allclose(prepared["z"], -108 + 3.5 + 8 * np.arange(32))
    assert prepared.dtype == np.float32


def test_brats_shape_is_padded_centrally():
    line = xr.DataArray(np.ones(155), dims="z", coords={"z": np.arange(155.0)})
    padded = crop_or_pad(line, 256)
    assert np.flatnonzero(padded.values).tolist() == list(range(50, 205))


def test_lidc_is_prepared_as_published():
    # A smooth function of position, which linear interpolation gives back but for its curvature.
    mm = {"x": 0.7 * np.arange(400), "y": 0.7 * np.arange(100), "z": 2.5 * np.arange(60)}
    x, y, z = np.meshgrid(*mm.values(), indexing="ij", sparse=True)
    values = (800 * np.sin(x / 60) * np.cos(y / 80) + 2 * z - 600).astype(np.float32)
    volume = xr.DataArray(values, dims=("x", "y", "z"), coords=mm)
    prepared = prepare_lidc(volume)
    assert prepared.shape == (32, 32, 32)
    # x: 280 positions from 0.15, the middle 256 of them; y: 70 from 0.15, 93 voxels of air before;
    # z: 148 from 0.25, 54 voxels of air before.
    x1, y1, z1 = (start + np.arange(256) for start in (0.15 + 12, 0.15 - 93, 0.25 - 54))
    a, b, c = np.meshgrid(x1, y1, z1, indexing="ij", sparse=True)
    cube = 800 * np.sin(a / 60) * np.cos(b / 80) + 2 * c - 600
    cube = np.where((b >= 0) & (b <= 69.3) & (c >= 0) & (c <= 147.5), cube, -1000)
    high = np.percentile(cube, 99.9)
    expected = (np.clip(cube, -1000, high) + 1000) / (high + 1000)
    expected = expected.reshape(32, 8, 32, 8, 32, 8).mean(axis=(1, 3, 5))
    np.testing.assert_allclose(prepared, expected, atol=2e-4)
    np.testing.assert_allclose(prepared["x"], x1.reshape(32, 8).mean(axis=1))
    np.testing.assert_allclose(prepared["z"], z1.reshape(32, 8).mean(axis=1))


def test_real_volumes_of_various_shapes_come_to_one(shared_data):
    folder = shared_data / "hippocampus" / "images"
    files = sorted(folder.iterdir())[:3]
    volumes = [average_pool(crop_or_pad(v, (40, 56, 40)), 4) for v in load_nifti(files, lazy=True)]
    assert {volume.shape for volume in volumes} == {(10, 14, 10)}
    assert all(0 < float(volume.mean()) < 1 for volume in volumes)
    assert len(open_signals(folder, lazy=True)) == 180


def test_the_encoder_takes_lazy_and_mapped_signals_and_decodes_in_place(tmp_path, small_encoder):
    for name in ("a", "b"):
        write_volume(tmp_path / f"{name}.nii", (6, 5, 4), oblique_affine())
    lazy = load_nifti(tmp_path, lazy=True)
    encoder = small_encoder().fit(lazy)
    latents = encoder.transform(lazy)
    np.testing.assert_allclose(latents, encoder.transform(load_nifti(tmp_path)))
    decoded = encoder.inverse_transform(latents, coords=lazy)
    save_nifti(decoded[0].assign_attrs(lazy[0].attrs), tmp_path / "decoded.nii.gz")
    written = nibabel.load(tmp_path / "decoded.nii.gz")
    np.testing.assert_allclose(written.affine, oblique_affine(), atol=1e-5)
    np.save(tmp_path / "c.npy", np.random.default_rng(0).random((6, 5, 4)))
    mapped = load_npz(tmp_path / "c.npy", mmap_mode="r")
    assert small_encoder().fit_transform(mapped).shape == (6, 4)
