"""Folders of one file for each signal hold the format that the signals came from."""

import nibabel
import numpy as np
import pytest
import wfdb
import xarray as xr

from neurfield.datasets import digits, open_signals, save_signals
from neurfield.errors import FileError


def _recordings(*names):
    time = ("time", np.arange(200) / 100, {"units": "s"})
    return [
        xr.DataArray(
            np.sin(np.arange(200.0) + place),
            {"time": time, "channel": "MLII"},
            "time",
            attrs={"filename": name, "units": "mV"},
        )
        for place, name in enumerate(names)
    ]


def _names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_records_are_written_as_wfdb(tmp_path):
    save_signals(_recordings("100", "a b.dcm"), tmp_path / "out")
    assert _names(tmp_path / "out") == ["100.dat", "100.hea", "a_b_dcm.dat", "a_b_dcm.hea"]
    record = wfdb.rdrecord(tmp_path / "out" / "100")
    assert (record.sig_name, record.units, record.fs) == (["MLII"], ["mV"], 100)
    np.testing.assert_allclose(record.p_signal[:, 0], np.sin(np.arange(200.0)), atol=1e-4)


def test_recordings_are_written_as_edf_and_bdf(tmp_path):
    save_signals(_recordings("a.edf", "b.bdf"), tmp_path / "out")
    assert _names(tmp_path / "out") == ["a.edf", "b.bdf"]
    read = open_signals(tmp_path / "out", mode="records", leads="MLII")
    np.testing.assert_allclose(read[1], np.sin(np.arange(200.0) + 1), atol=1e-4)


def test_a_record_gets_no_annotations_of_another(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "100.atr").write_bytes(b"")
    with pytest.raises(FileError, match=r"100\.atr.*would seem to belong"):
        save_signals(_recordings("100"), tmp_path / "out")
    assert _names(tmp_path / "out") == ["100.atr"]


def test_volumes_are_written_in_their_own_format(tmp_path):
    coords = {axis: 2.0 * np.arange(4) for axis in "xyz"}
    volume = xr.DataArray(np.arange(64, dtype="f4").reshape(4, 4, 4), coords)
    named = [volume.assign_attrs(filename=f"{name}.mgz") for name in "ab"]
    save_signals(named, tmp_path / "out")
    assert _names(tmp_path / "out") == ["a.mgz", "b.mgz"]
    image = nibabel.load(tmp_path / "out" / "b.mgz")
    np.testing.assert_array_equal(image.get_fdata(), volume)
    np.testing.assert_allclose(image.header.get_zooms(), 2)


def test_volumes_of_one_name_are_kept_apart(tmp_path):
    volume = xr.DataArray(np.ones((3, 3, 3), "f4"), {axis: np.arange(3.0) for axis in "xyz"})
    save_signals([volume.assign_attrs(filename="a.mha")] * 2, tmp_path / "out")
    assert _names(tmp_path / "out") == ["0000_a.mha", "0001_a.mha"]


def test_pictures_that_lost_their_names_are_pictures(tmp_path):
    decoded = digits()[:2].drop_vars("sample", errors="ignore") * 1.4
    save_signals(decoded.assign_attrs(stored_dtype="uint8"), tmp_path / "out")
    assert _names(tmp_path / "out") == ["signal_0000.png", "signal_0001.png"]


def test_a_dtype_is_for_pictures(tmp_path):
    with pytest.raises(ValueError, match="dtype is for pictures"):
        save_signals(_recordings("100"), tmp_path / "out", dtype="uint8")
