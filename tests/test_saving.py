"""One door writes signals back into files of the kind that they came from."""

import numpy as np
import pytest
import xarray as xr

from neurfield.datasets import digits, open_signals, save_signals
from neurfield.errors import FileError


@pytest.mark.parametrize("ending", ["npz", "nc", "zarr"])
def test_signals_come_back_with_coordinates_and_labels(tmp_path, ending):
    path = tmp_path / f"a.{ending}"
    save_signals(digits()[:5], path)
    found = open_signals(path)
    np.testing.assert_array_equal(found, digits()[:5])
    np.testing.assert_array_equal(found["label"], digits()[:5]["label"])


@pytest.mark.parametrize("ending", ["nii", "nii.gz"])
def test_one_volume_comes_back_where_it_was(tmp_path, ending):
    affine = np.diag([2.0, 1.0, 3.0, 1.0])
    coords = {axis: step * np.arange(4) for axis, step in zip("xyz", (2.0, 1.0, 3.0), strict=True)}
    volume = xr.DataArray(np.arange(64.0).reshape(4, 4, 4), coords, ("x", "y", "z"))
    save_signals([volume.assign_attrs(affine=affine.tolist())], tmp_path / f"a.{ending}")
    (found,) = open_signals(tmp_path / f"a.{ending}", clip=None, scale=False)
    np.testing.assert_array_equal(found, volume)
    np.testing.assert_allclose(found.attrs["affine"], affine)


def test_a_folder_takes_what_the_names_say(tmp_path):
    coords = {axis: np.arange(4.0) for axis in "xyz"}
    volume = xr.DataArray(np.ones((4, 4, 4)), coords, ("x", "y", "z"))
    save_signals([volume.assign_attrs(filename="a.nii"), volume], tmp_path / "volumes")
    assert [path.name for path in sorted((tmp_path / "volumes").iterdir())] == [
        "a.nii",
        "signal_0001.nii.gz",
    ]
    pictures = digits()[:2].astype(np.uint8).assign_coords(sample=["a.png", "b.tif"])
    save_signals(pictures, tmp_path / "pictures")
    found = open_signals(tmp_path / "pictures")
    np.testing.assert_array_equal(found, pictures)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("a.nii", "takes one signal, got 5"),
        ("a.png", "takes one signal, got 5"),
        ("a.txt", "the ending must be one of"),
        ("a.csv", "the ending must be one of"),
    ],
)
def test_what_does_not_fit_a_format_is_refused(tmp_path, name, said):
    with pytest.raises(FileError, match=f"{name}: .*{said}"):
        save_signals(digits()[:5], tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_signals_on_various_grids_are_not_put_into_one_array(tmp_path):
    ragged = [digits()[0], digits()[1, :5]]
    with pytest.raises(FileError, match=r"a.nc: signals on different grids"):
        save_signals(ragged, tmp_path / "a.nc")
    save_signals(ragged, tmp_path / "a.npz")
    assert (tmp_path / "a.npz").exists()


def test_options_of_another_writer_are_refused(tmp_path):
    with pytest.raises(ValueError, match="save_npz has no option 'dtype'"):
        save_signals(digits()[:5], tmp_path / "a.npz", dtype="uint8")
    save_signals(16 * digits()[0], tmp_path / "a.png", dtype="uint8")
    np.testing.assert_array_equal(open_signals(tmp_path / "a.png")[0], 16 * digits()[0])


@pytest.mark.parametrize("name", ["a.nii", "a.png"])
def test_a_failed_write_leaves_the_file_before(tmp_path, name):
    (tmp_path / name).write_bytes(b"precious")
    bad = [xr.DataArray([["text"]], dims=("y", "x"))]
    with pytest.raises((FileError, ValueError, TypeError)):
        save_signals(bad, tmp_path / name, **({"dtype": "uint8"} if name == "a.png" else {}))
    assert (tmp_path / name).read_bytes() == b"precious"
    assert len(list(tmp_path.iterdir())) == 1
