"""Readers and writers, on files made by the official libraries and on real ones."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from neurfield.atomic import replacing
from neurfield.datasets import (
    AAMI_CLASSES,
    MITBIH_SPLITS,
    digits,
    load_netcdf,
    load_nifti,
    load_npz,
    load_wfdb,
    load_zarr,
    open_signals,
    save_netcdf,
    save_nifti,
    save_nifti_folder,
    save_npz,
    save_zarr,
)


def truncate(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


@pytest.fixture
def images() -> xr.DataArray:
    values = np.random.default_rng(0).random((6, 5, 4))
    coords = {"y": ("y", 0.5 * np.arange(5), {"units": "mm"}), "x": np.arange(4.0)}
    array = xr.DataArray(values, dims=("sample", "y", "x"), coords=coords, name="scan")
    return array.assign_coords(label=("sample", np.array(list("abcabc"))))


# --- NumPy ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "channel_axis", "dims"),
    [
        ((6, 9), None, ("sample", "x")),
        ((6, 9, 8), None, ("sample", "y", "x")),
        ((6, 9, 3), None, ("sample", "y", "x")),
        ((6, 9, 8, 7), None, ("sample", "z", "y", "x")),
        ((6, 9, 8, 3), None, ("sample", "y", "x", "channel")),
        ((6, 9, 8, 7, 2), None, ("sample", "z", "y", "x", "channel")),
        ((6, 2, 9), 1, ("sample", "x", "channel")),
        ((6, 2, 9, 8), 1, ("sample", "y", "x", "channel")),
    ],
)
def test_npy_gets_dims_from_its_shape(tmp_path, shape, channel_axis, dims):
    np.save(tmp_path / "a.npy", np.zeros(shape, np.uint8))
    signals = load_npz(tmp_path / "a.npy", channel_axis=channel_axis)
    assert signals.dims == dims
    assert signals.dtype == np.uint8
    assert signals["x"].values.tolist() == list(range(signals.sizes["x"]))


@pytest.mark.parametrize("channel_axis", [0, 3, -3])
def test_npz_refuses_an_axis_that_holds_no_channels(tmp_path, channel_axis):
    np.savez(tmp_path / "a.npz", images=np.zeros((6, 9, 8)))
    with pytest.raises(ValueError, match=f"channel_axis={channel_axis} .* 'images'"):
        load_npz(tmp_path / "a.npz", channel_axis=channel_axis)


def test_npz_in_medmnist_layout(tmp_path):
    arrays = {}
    for part, size in {"train": 5, "val": 3, "test": 2}.items():
        arrays[f"{part}_images"] = np.full((size, 4, 4), size)
        arrays[f"{part}_labels"] = np.arange(size)[:, None]
    np.savez(tmp_path / "set.npz", **arrays)
    signals = load_npz(tmp_path / "set.npz", split="val")
    assert signals.shape == (3, 4, 4)
    assert signals["label"].values.tolist() == [0, 1, 2]
    with pytest.raises(ValueError, match=r"set\.npz: choose a split of train, val, test"):
        load_npz(tmp_path / "set.npz")
    with pytest.raises(ValueError, match="no split 'all'"):
        load_npz(tmp_path / "set.npz", split="all")


def test_npz_finds_the_array_and_its_labels(tmp_path):
    np.savez(tmp_path / "a.npz", X=np.zeros((3, 7)), y=np.array([2, 0, 1]), other=np.zeros(4))
    signals = load_npz(tmp_path / "a.npz")
    assert signals.shape == (3, 7)
    assert signals["label"].values.tolist() == [2, 0, 1]


def test_npz_says_what_it_holds_when_the_choice_is_open(tmp_path):
    np.savez(tmp_path / "a.npz", one=np.zeros((3, 7)), two=np.zeros((3, 7)))
    with pytest.raises(ValueError, match=r"a\.npz: .* with key; the file holds one, two"):
        load_npz(tmp_path / "a.npz")
    with pytest.raises(ValueError, match="no array 'three'; the file holds one, two"):
        load_npz(tmp_path / "a.npz", "three")
    assert load_npz(tmp_path / "a.npz", "two").shape == (3, 7)


def test_npz_round_trip_keeps_dims_coordinates_and_labels(tmp_path, images):
    turned = images.transpose("sample", "x", "y")
    save_npz(turned, tmp_path / "a.npz")
    back = load_npz(tmp_path / "a.npz")
    assert back.dims == turned.dims
    np.testing.assert_array_equal(back.values, turned.values)
    np.testing.assert_array_equal(back["y"], turned["y"])
    assert back["label"].values.tolist() == list("abcabc")


def test_npz_of_signals_of_various_shapes(tmp_path, images):
    save_npz([images[0], images[1, :3]], tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz") as file:
        assert file["values_0001"].shape == (3, 4)
        np.testing.assert_array_equal(file["coord_y_0001"], [0, 0.5, 1])


@pytest.mark.parametrize("mmap_mode", [None, "r"])
def test_npz_of_a_list_comes_back_with_what_is_known_of_each(tmp_path, images, mmap_mode):
    affine = np.diag([2.0, 1.0, 1.0, 1.0]).tolist()
    first = images[0].drop_vars(["label"], errors="ignore").assign_coords(label="a", age=40)
    second = images[1, :3].assign_coords(label="b").assign_attrs(affine=affine, filename="b")
    dated = xr.DataArray(
        np.arange(3.0), {"time": np.array(["2024-01-01", "2024-01-02", "2024-01-05"], "M8[ns]")}
    )
    save_npz([first, second, dated], tmp_path / "a.npz")
    found = load_npz(tmp_path / "a.npz", mmap_mode=mmap_mode)
    for signal, stored in zip((first, second, dated), found, strict=True):
        xr.testing.assert_identical(stored, signal)
    assert len(open_signals(tmp_path / "a.npz")) == 3


def test_npz_never_loads_pickles(tmp_path):
    np.savez(tmp_path / "a.npz", X=np.array([[{}, {}]], dtype=object))
    for mmap_mode in (None, "r"):
        with pytest.raises(ValueError, match=r"a\.npz: could not be read"):
            load_npz(tmp_path / "a.npz", mmap_mode=mmap_mode)


@pytest.mark.parametrize("name", ["a.npz", "a.npy"])
def test_truncated_numpy_file_is_named(tmp_path, name):
    path = tmp_path / name
    values = np.random.default_rng(0).random((20, 10))
    np.savez(path, X=values) if name.endswith("z") else np.save(path, values)
    truncate(path)
    with pytest.raises(ValueError, match=f"{name}: could not be read as a NumPy"):
        load_npz(path)


# --- NetCDF and Zarr -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "save", "load"),
    [("a.nc", save_netcdf, load_netcdf), ("a.zarr", save_zarr, load_zarr)],
)
class TestGridded:
    def test_round_trip(self, tmp_path, images, name, save, load):
        images.attrs["affine"] = np.eye(2).tolist()
        save(images, tmp_path / name)
        back = load(tmp_path / name)
        assert isinstance(back, xr.DataArray)
        xr.testing.assert_equal(back.load(), images)
        assert back["y"].attrs["units"] == "mm"
        assert os.listdir(tmp_path) == [name]

    def test_files_of_xarray_itself(self, tmp_path, images, name, save, load):
        dataset = xr.Dataset({"a": images, "b": 2 * images}).reset_coords("label")
        dataset = dataset.rename(sample="patient")
        write = dataset.to_netcdf if name.endswith(".nc") else dataset.to_zarr
        write(tmp_path / name)
        both = load(tmp_path / name, sample_dim="patient")
        assert isinstance(both, xr.Dataset)
        assert set(both.data_vars) == {"a", "b"}
        assert "label" in both.coords
        one = load(tmp_path / name, "b", sample_dim="patient")
        np.testing.assert_array_equal(one, 2 * images)

    def test_chunks_read_lazily(self, tmp_path, images, name, save, load):
        save(images, tmp_path / name)
        lazy = load(tmp_path / name, chunks={"sample": 2})
        assert lazy.chunks is not None
        np.testing.assert_array_equal(lazy.values, images.values)

    def test_what_is_missing_is_named(self, tmp_path, images, name, save, load):
        save(images, tmp_path / name)
        with pytest.raises(ValueError, match=rf"{name}: no variable 'b'; it holds scan"):
            load(tmp_path / name, "b")
        with pytest.raises(ValueError, match=rf"{name}: no dimension 'time' .* are sample, x, y"):
            load(tmp_path / name, sample_dim="time")
        with pytest.raises(FileNotFoundError, match="elsewhere"):
            load(tmp_path / "elsewhere")

    def test_replaces_what_is_there(self, tmp_path, images, name, save, load):
        save(images, tmp_path / name)
        save(images[:2] + 1, tmp_path / name)
        assert load(tmp_path / name).sizes["sample"] == 2
        assert os.listdir(tmp_path) == [name]


def test_truncated_netcdf_is_named(tmp_path, images):
    save_netcdf(images, tmp_path / "a.nc")
    truncate(tmp_path / "a.nc")
    with pytest.raises(ValueError, match=r"a\.nc: could not be read as a NetCDF file"):
        load_netcdf(tmp_path / "a.nc")


def flip_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-20] ^= 4
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [truncate, flip_bit])
def test_damaged_zarr_is_named(tmp_path, damage):
    values = np.random.default_rng(0).random((40, 30))
    save_zarr(xr.DataArray(values, dims=("sample", "x")), tmp_path / "a.zarr")
    parts = [path for path in (tmp_path / "a.zarr").rglob("*") if path.is_file()]
    damage(max(parts, key=lambda path: path.stat().st_size))
    with pytest.raises(ValueError, match=r"a\.zarr: could not be read as a Zarr store"):
        load_zarr(tmp_path / "a.zarr")


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize(("save", "load"), [(save_zarr, load_zarr), (save_netcdf, load_netcdf)])
def test_a_store_of_any_chunks_is_saved_again(tmp_path, images, save, load, zarr_format):
    packed = {"scan": {"dtype": "int16", "scale_factor": 1e-4, "chunks": (4, 5, 4)}}
    stored = images.drop_vars("label").to_dataset()
    stored.to_zarr(tmp_path / "a.zarr", zarr_format=zarr_format, encoding=packed)
    lazy = load_zarr(tmp_path / "a.zarr", chunks={"sample": 3})
    save(lazy, tmp_path / "b")
    again = load(tmp_path / "b")
    xr.testing.assert_equal(again, lazy.load())
    assert again.encoding["dtype"] == "int16"


def test_netcdf_stays_compressed(tmp_path, images):
    packed = {"scan": {"zlib": True, "complevel": 5}}
    images.to_dataset().to_netcdf(tmp_path / "a.nc", encoding=packed)
    save_netcdf(load_netcdf(tmp_path / "a.nc"), tmp_path / "b.nc")
    assert load_netcdf(tmp_path / "b.nc").encoding["complevel"] == 5


def test_saving_leaves_the_signals_encoding_alone(tmp_path, images):
    images.encoding["chunks"] = (3, 5, 4)
    save_zarr(images, tmp_path / "a.zarr")
    assert images.encoding == {"chunks": (3, 5, 4)}


def test_zarr_never_replaces_another_folder(tmp_path, images):
    (tmp_path / "a.zarr").mkdir()
    (tmp_path / "a.zarr" / "thesis.txt").write_text("dear")
    with pytest.raises(FileExistsError, match="something else than a Zarr store"):
        save_zarr(images, tmp_path / "a.zarr")
    assert (tmp_path / "a.zarr" / "thesis.txt").exists()


# --- NIfTI ---------------------------------------------------------------------------------------

AFFINE = np.array([[0, -2.0, 0, 30], [1.5, 0, 0, -20], [0, 0, 3, 5], [0, 0, 0, 1]])


def write_nifti(path: Path, shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    nibabel = pytest.importorskip("nibabel")
    values = np.random.default_rng(seed).normal(100, 20, shape).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(values, AFFINE), path)
    return values


def test_nifti_has_millimetres_and_unit_range(tmp_path):
    values = write_nifti(tmp_path / "a.nii.gz", (4, 5, 6))
    (volume,) = load_nifti(tmp_path / "a.nii.gz")
    assert volume.dims == ("x", "y", "z")
    np.testing.assert_allclose(volume["x"], 1.5 * np.arange(4))
    np.testing.assert_allclose(volume["y"], 2.0 * np.arange(5))
    np.testing.assert_allclose(volume["z"], 3.0 * np.arange(6))
    assert volume["z"].attrs["units"] == "mm"
    assert (float(volume.min()), float(volume.max())) == (0.0, 1.0)
    low, high = volume.attrs["value_range"]
    inside = (values > low) & (values < high)
    restored = volume.values * (high - low) + low
    np.testing.assert_allclose(restored[inside], values[inside], rtol=1e-5)
    np.testing.assert_allclose([low, high], np.percentile(values, [0.1, 99.9]), rtol=1e-5)


def test_nifti_values_as_they_are(tmp_path):
    values = write_nifti(tmp_path / "a.nii", (4, 5, 6))
    (volume,) = load_nifti([tmp_path / "a.nii"], clip=None, scale=False)
    np.testing.assert_array_equal(volume, values)
    assert "value_range" not in volume.attrs


def test_nifti_folder_is_sorted_and_skips_other_files(tmp_path):
    for name in ("b.nii", "a.nii.gz", "._a.nii.gz"):
        write_nifti(tmp_path / name, (3, 3, 3))
    (tmp_path / "notes.txt").write_text("")
    assert [volume.attrs["filename"] for volume in load_nifti(tmp_path)] == ["a.nii.gz", "b.nii"]


@pytest.mark.parametrize(
    ("shape", "dims"),
    [
        ((4, 5), ("x", "y")),
        ((4, 5, 6, 1), ("x", "y", "z")),
        ((4, 5, 6, 2), ("x", "y", "z", "channel")),
        ((4, 5, 6, 1, 3), ("x", "y", "z", "channel")),
    ],
)
def test_nifti_of_other_dimensions(tmp_path, shape, dims):
    write_nifti(tmp_path / "a.nii", shape)
    (volume,) = load_nifti(tmp_path / "a.nii")
    assert volume.dims == dims
    save_nifti(volume, tmp_path / "b.nii")
    (back,) = load_nifti(tmp_path / "b.nii", clip=None)
    np.testing.assert_allclose(np.squeeze(back), np.squeeze(volume), atol=1e-6)


def test_nifti_of_one_value(tmp_path):
    nibabel = pytest.importorskip("nibabel")
    nibabel.save(nibabel.Nifti1Image(np.full((2, 2, 2), 7.0), AFFINE), tmp_path / "a.nii")
    (volume,) = load_nifti(tmp_path / "a.nii")
    assert (volume == 0).all()


def test_nifti_round_trip_keeps_affine_and_orientation(tmp_path):
    nibabel = pytest.importorskip("nibabel")
    values = write_nifti(tmp_path / "a.nii.gz", (4, 5, 6))
    (volume,) = load_nifti(tmp_path / "a.nii.gz", clip=None, scale=False)
    save_nifti(volume, tmp_path / "b.nii.gz")
    image = nibabel.load(tmp_path / "b.nii.gz")
    np.testing.assert_allclose(image.affine, AFFINE)
    np.testing.assert_allclose(image.get_qform(), AFFINE, atol=1e-5)
    np.testing.assert_array_equal(image.get_fdata(), values)
    assert nibabel.aff2axcodes(image.affine) == nibabel.aff2axcodes(AFFINE)


def test_nifti_of_a_finer_part_lies_in_the_same_place(tmp_path):
    nibabel = pytest.importorskip("nibabel")
    write_nifti(tmp_path / "a.nii", (4, 5, 6))
    (volume,) = load_nifti(tmp_path / "a.nii")
    fine = volume.interp(x=np.arange(1.5, 4.6, 0.75), y=[2.0, 2.5, 3.0], z=[3.0, 6.0])
    save_nifti(fine, tmp_path / "b.nii")
    image = nibabel.load(tmp_path / "b.nii")
    # Voxel (2, 0, 1) is at 3 mm, 2 mm and 6 mm: voxel (2, 1, 2) of the original.
    np.testing.assert_allclose(image.affine @ [2, 0, 1, 1], AFFINE @ [2, 1, 2, 1])
    np.testing.assert_allclose(image.header.get_zooms(), [0.75, 0.5, 3.0])


def test_nifti_refuses_uneven_coordinates_and_other_endings(tmp_path):
    uneven = xr.DataArray(np.zeros((3, 2)), dims=("x", "y"), coords={"x": [0, 1, 3]})
    with pytest.raises(ValueError, match=r"a\.nii: .* evenly spaced.* 'x' have gaps from 1 to 2"):
        save_nifti(uneven, tmp_path / "a.nii")
    with pytest.raises(ValueError, match=r"must end in \.nii\.gz or \.nii"):
        save_nifti(uneven, tmp_path / "a.img")
    assert list(tmp_path.iterdir()) == []


def test_nifti_folder_round_trip(tmp_path):
    (tmp_path / "in").mkdir()
    for name, shape in {"a.nii.gz": (3, 4, 5), "b.nii.gz": (4, 3, 2)}.items():
        write_nifti(tmp_path / "in" / name, shape)
    volumes = load_nifti(tmp_path / "in")
    written = save_nifti_folder(volumes, tmp_path / "out")
    assert [path.name for path in written] == ["a.nii.gz", "b.nii.gz"]
    assert [volume.shape for volume in load_nifti(tmp_path / "out")] == [(3, 4, 5), (4, 3, 2)]
    assert sorted(os.listdir(tmp_path)) == ["in", "out"]


def test_nifti_folder_is_not_half_written(tmp_path):
    good = xr.DataArray(np.zeros((2, 2)), dims=("x", "y"))
    bad = good.assign_coords(x=[1.0, 1.0])
    with pytest.raises(ValueError, match="evenly spaced"):
        save_nifti_folder([good, bad], tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_truncated_nifti_is_named(tmp_path, name):
    write_nifti(tmp_path / name, (8, 8, 8))
    truncate(tmp_path / name)
    with pytest.raises(ValueError, match=f"{name}: could not be read as a NIfTI file"):
        load_nifti(tmp_path / name)


# --- WFDB ----------------------------------------------------------------------------------------


def write_record(folder: Path, name: str = "r1", rate: int = 100) -> np.ndarray:
    wfdb = pytest.importorskip("wfdb")
    time = np.arange(10 * rate) / rate
    # A bump at every full second on one lead, a slow wave on the other.
    bumps = np.exp(-(((time - time.round()) / 0.05) ** 2)) * (time > 0.5)
    signal = np.column_stack([bumps, np.sin(time)])
    wfdb.wrsamp(
        name,
        fs=rate,
        units=["mV", "mV"],
        sig_name=["II", "V1"],
        p_signal=signal,
        fmt=["16", "16"],
        write_dir=str(folder),
    )
    wfdb.wrann(
        name,
        "atr",
        rate * np.arange(1, 10),
        symbol=["N", "A", "V", "F", "/", "+", "L", "N", "N"],
        write_dir=str(folder),
    )
    return signal


def test_wfdb_beats_are_centred_scaled_and_classified(tmp_path):
    write_record(tmp_path)
    beats = load_wfdb(tmp_path / "r1", length=51, frequency=50.0)
    assert beats.dims == ("sample", "time")
    assert beats["label"].values.tolist() == ["N", "S", "V", "F", "Q", "N", "N", "N"]
    assert beats["onset"].values.tolist() == [1, 2, 3, 4, 5, 7, 8, 9]
    assert set(beats["record"].values) == {"r1"}
    np.testing.assert_allclose(beats["time"], np.arange(-25, 26) / 50)
    assert beats["time"].attrs["units"] == "s"
    assert (beats.argmax("time") == 25).all()
    np.testing.assert_allclose(beats.min("time"), 0)
    np.testing.assert_allclose(beats.max("time"), 1)


def test_wfdb_beats_beyond_the_record_are_left_out(tmp_path):
    write_record(tmp_path)
    beats = load_wfdb(tmp_path / "r1.hea", length=250, frequency=100.0)
    assert beats["onset"].values.tolist() == [2, 3, 4, 5, 7, 8]


def test_wfdb_windows_of_several_leads(tmp_path):
    signal = write_record(tmp_path)
    windows = load_wfdb(
        tmp_path / "r1.dat", mode="windows", length=300, frequency=None, leads=["V1", 0]
    )
    assert windows.shape == (3, 300, 2)
    assert windows.dims == ("sample", "time", "channel")
    np.testing.assert_allclose(windows[1], signal[300:600, ::-1], atol=1e-3)
    assert windows["onset"].values.tolist() == [0, 3, 6]
    assert windows.attrs["units"] == "mV"
    assert "label" not in windows.coords


def test_wfdb_resampling_keeps_the_signal(tmp_path):
    write_record(tmp_path)
    fine = load_wfdb(tmp_path / "r1", mode="windows", length=1000, frequency=125.0, leads="V1")
    assert np.abs(fine[0] - np.sin(fine["time"])).max() < 0.01


def test_wfdb_folder_and_split(tmp_path):
    for name in ("101", "100"):
        write_record(tmp_path, name)
    assert np.unique(load_wfdb(tmp_path)["record"]).tolist() == ["100", "101"]
    assert np.unique(load_wfdb(tmp_path, split="ds1")["record"]).tolist() == ["101"]
    with pytest.raises(ValueError, match="split must be one of ds1, ds2, got 'ds3'"):
        load_wfdb(tmp_path, split="ds3")


def test_wfdb_says_what_the_record_has(tmp_path):
    write_record(tmp_path)
    with pytest.raises(ValueError, match="no lead 'V5'; the record has II, V1"):
        load_wfdb(tmp_path / "r1", leads="V5")
    with pytest.raises(ValueError, match="no lead 2"):
        load_wfdb(tmp_path / "r1", leads=2)
    with pytest.raises(ValueError, match="no beats of 5000 samples"):
        load_wfdb(tmp_path / "r1", length=5000)
    with pytest.raises(FileNotFoundError, match=r"r1\.qrs"):
        load_wfdb(tmp_path / "r1", annotations="qrs")
    with pytest.raises(FileNotFoundError, match=r"r2\.hea"):
        load_wfdb(tmp_path / "r2")


@pytest.mark.parametrize(
    ("ending", "match"), [("dat", r"r1\.dat: holds 2000 bytes"), ("atr", r"r1\.atr: .* truncated")]
)
def test_truncated_wfdb_is_named(tmp_path, ending, match):
    write_record(tmp_path)
    truncate(tmp_path / f"r1.{ending}")
    with pytest.raises(ValueError, match=match):
        load_wfdb(tmp_path / "r1")


def test_aami_classes_and_splits_do_not_overlap():
    symbols = "".join(AAMI_CLASSES.values())
    assert len(symbols) == len(set(symbols))
    first, second = (set(MITBIH_SPLITS[split]) for split in ("ds1", "ds2"))
    assert (len(first), len(second), len(first & second)) == (22, 22, 0)


# --- Everything ----------------------------------------------------------------------------------


def test_open_signals_knows_every_kind(tmp_path, images):
    save_npz(images, tmp_path / "a.npz")
    save_netcdf(images, tmp_path / "a.nc")
    save_zarr(images, tmp_path / "a.zarr")
    for name in ("a.npz", "a.nc", "a.zarr"):
        np.testing.assert_array_equal(open_signals(tmp_path / name), images)
    for folder in ("volumes", "records"):
        (tmp_path / folder).mkdir()
    write_nifti(tmp_path / "volumes" / "v.nii", (3, 3, 3))
    write_record(tmp_path / "records")
    assert len(open_signals(tmp_path / "volumes")) == 1
    assert len(open_signals(tmp_path / "volumes" / "v.nii", clip=None)) == 1
    for name in ("records", "records/r1", "records/r1.hea", "records/r1.dat"):
        assert open_signals(tmp_path / name, length=21).sizes["time"] == 21


def test_open_signals_complains_clearly(tmp_path, images):
    save_npz(images, tmp_path / "a.npz")
    with pytest.raises(ValueError, match=r"a NumPy file has no option 'leads'; it has key, split"):
        open_signals(tmp_path / "a.npz", leads=1)
    with pytest.raises(FileNotFoundError, match=r"b\.npz: no such file or folder"):
        open_signals(tmp_path / "b.npz")
    (tmp_path / "a.txt").write_text("")
    with pytest.raises(ValueError, match=r"a\.txt: unknown kind of file; expected .*\.npz"):
        open_signals(tmp_path / "a.txt")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="empty: no signals found in this folder"):
        open_signals(tmp_path / "empty")
    write_nifti(tmp_path / "empty" / "v.nii", (3, 3, 3))
    write_record(tmp_path / "empty")
    with pytest.raises(ValueError, match="both NIfTI files and WFDB records"):
        open_signals(tmp_path / "empty")


def test_digits_are_labelled_and_in_unit_range():
    images = digits()
    assert images.dims == ("sample", "y", "x")
    assert (float(images.min()), float(images.max())) == (0.0, 1.0)
    assert np.unique(images["label"]).tolist() == list(range(10))


@pytest.mark.parametrize(
    ("module", "name"),
    [("nibabel", "a.nii"), ("wfdb", "r.hea"), ("netCDF4", "a.nc"), ("zarr", "a.zarr/zarr.json")],
)
def test_missing_library_names_the_extra(tmp_path, monkeypatch, module, name):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("")
    path = tmp_path / name.removesuffix("/zarr.json")
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=rf'{module}; .* pip install "neurfield\[readers\]"'):
        open_signals(path)


def test_failed_write_leaves_what_was_there(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fail_half_way():
        with replacing(path) as temporary:
            temporary.write_text("ne")
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        fail_half_way()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]
    with pytest.raises(FileNotFoundError, match=r"nowhere: no such folder to write a\.txt"):
        save_npz(xr.DataArray([[1.0]]), tmp_path / "nowhere" / "a.txt")


def test_importing_the_readers_imports_none_of_their_libraries():
    names = {"medmnist", "nibabel", "netCDF4", "pydicom", "torchvision", "wfdb", "zarr"}
    code = f"import sys, neurfield.datasets; print({names} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


# --- Real files ----------------------------------------------------------------------------------


def test_real_xrays(shared_data):
    images = open_signals(shared_data / "pneumoniamnist.npz", split="test")
    assert images.shape == (400, 28, 28)
    assert set(np.unique(images["label"])) == {0, 1}


def test_real_beats(shared_data):
    beats = open_signals(shared_data / "mitbih", split="ds2")
    assert np.unique(beats["record"]).tolist() == ["200", "213", "221", "233"]
    assert beats.sizes["time"] == 187
    assert len(beats) > 10_000
    assert set(np.unique(beats["label"])) == {"N", "S", "V", "F"}
    assert float(beats.min()) == 0
    assert float(beats.max()) == 1


def test_real_volumes(shared_data, tmp_path):
    nibabel = pytest.importorskip("nibabel")
    files = sorted((shared_data / "hippocampus" / "images").iterdir())[:3]
    volumes = open_signals(files[0].parent)
    assert len(volumes) == 180
    assert len({volume.shape for volume in volumes}) > 20
    save_nifti(volumes[0], tmp_path / "a.nii.gz")
    one, other = nibabel.load(files[0]), nibabel.load(tmp_path / "a.nii.gz")
    assert one.shape == other.shape
    np.testing.assert_allclose(one.affine, other.affine)
