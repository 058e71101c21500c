"""Recordings written back into WFDB, EDF and BDF: read by the libraries, the same within a step."""

import datetime

import numpy as np
import pytest
import xarray as xr

from neurfield import FunctaEncoder
from neurfield.datasets import load_edf, load_wfdb, save_edf, save_wfdb
from neurfield.errors import FileError, MissingFileError

wfdb = pytest.importorskip("wfdb", reason='needs the extra "readers"')
edfio = pytest.importorskip("edfio", reason='needs the extra "eeg"')

STEPS = {"16": 2**16, "24": 2**24, "32": 2**32, "212": 2**12, "edf": 2**16, "bdf": 2**24}


def recording(n_times=1000, frequency=125.0, low=-1.0, high=1.0, **attrs):
    rng = np.random.default_rng(0)
    values = low + (high - low) * rng.random((n_times, 2))
    values[0], values[1] = low, high
    time = np.arange(n_times) / frequency
    return xr.DataArray(
        values,
        {"time": ("time", time, {"units": "s"}), "channel": ["II", "V1"]},
        ("time", "channel"),
        attrs={"units": "mV", **attrs},
    )


def write(signal, path):
    """Write a recording in the format that the ending of a path names, and read it again."""
    if path.suffix in (".edf", ".bdf"):
        save_edf(signal, path)
        (found,) = load_edf(path, mode="records", leads=[0, 1])
    else:
        save_wfdb(signal, path.with_suffix(""), fmt=path.suffix[1:])
        (found,) = load_wfdb(path.with_suffix(""), mode="records", frequency=None, leads=[0, 1])
    return found


@pytest.mark.parametrize("ending", ["16", "24", "32", "212", "edf", "bdf"])
@pytest.mark.parametrize(
    ("low", "high"),
    [(-1, 1), (-32.768, 32.767), (0, 1), (-5000, -4990), (250, 900), (-0.002, 0.001), (-1e5, 3e5)],
)
def test_the_whole_range_fits_within_a_step(ending, low, high, tmp_path):
    signal = recording(low=low, high=high)
    found = write(signal, tmp_path / f"a.{ending}")
    step = (high - low) / STEPS[ending]
    # A header of 8 letters a number, and a baseline of 32 bits, cost some steps.
    bound = 2.5 * step + 1e-7 * max(abs(low), abs(high))
    np.testing.assert_allclose(found, signal, rtol=0, atol=bound)
    np.testing.assert_allclose(found["time"], signal["time"])
    assert found["channel"].values.tolist() == ["II", "V1"]
    assert found.attrs["units"] == "mV"


@pytest.mark.parametrize("fmt", ["16", "24", "32", "212"])
def test_the_library_reads_what_save_wfdb_writes(fmt, tmp_path):
    signal = recording()
    signal[100:200, 0] = np.nan
    save_wfdb(signal, tmp_path / "a.hea", fmt=fmt)
    record = wfdb.rdrecord(str(tmp_path / "a"))
    assert (record.fs, record.sig_name, record.units) == (125, ["II", "V1"], ["mV", "mV"])
    np.testing.assert_allclose(record.p_signal, signal, rtol=0, atol=2.1 * 2 / STEPS[fmt])
    digital = wfdb.rdrecord(str(tmp_path / "a"), physical=False)
    stated = np.array(record.checksum) % 65536
    np.testing.assert_array_equal(stated, digital.d_signal.sum(axis=0) % 65536)


@pytest.mark.parametrize("ending", ["edf", "bdf"])
def test_the_libraries_read_what_save_edf_writes(ending, tmp_path):
    mne = pytest.importorskip("mne")
    signal = recording(start="2001-02-03T12:30:00")
    path = tmp_path / f"a.{ending}"
    save_edf(signal, path)
    file = getattr(edfio, f"read_{ending}")(path)
    raw = getattr(mne.io, f"read_raw_{ending}")(path, verbose="error")
    assert file.labels == ("II", "V1")
    assert file.startdatetime == datetime.datetime(2001, 2, 3, 12, 30)
    assert raw.info["meas_date"].replace(tzinfo=None) == file.startdatetime
    for k, one in enumerate(file.signals):
        np.testing.assert_allclose(one.data, signal[:, k], rtol=0, atol=1.1 * 2 / STEPS[ending])
        np.testing.assert_allclose(1000 * raw.get_data()[k], one.data, atol=1e-9)


@pytest.mark.parametrize("ending", ["16", "edf", "bdf"])
@pytest.mark.parametrize("start", ["2001-02-03T12:30:00", "2001-02-03T23:59:59.250000", None])
def test_the_origin_of_time_comes_back(ending, start, tmp_path):
    signal = recording(**({} if start is None else {"start": start}))
    found = write(signal, tmp_path / f"a.{ending}")
    if start is not None:
        assert found.attrs["start"] == start
    elif ending == "16":
        assert "start" not in found.attrs


@pytest.mark.parametrize("ending", ["16", "edf"])
def test_a_part_of_a_recording_begins_when_it_did(ending, tmp_path):
    part = recording(start="2001-02-03T12:30:00").isel(time=slice(250, None))
    found = write(part, tmp_path / f"a.{ending}")
    assert found.attrs["start"] == "2001-02-03T12:30:02"
    with pytest.raises(ValueError, match="time begins at 2, which the format cannot say"):
        write(part.drop_attrs().assign_attrs(units="mV"), tmp_path / f"b.{ending}")


@pytest.mark.parametrize("ending", ["16", "edf", "bdf"])
def test_labels_over_time_come_back(ending, tmp_path):
    labels = np.full(1000, "", "<U1")
    labels[[100, 300, 301, 999]] = ["N", "V", "F", "Q"]
    signal = recording().assign_coords(label=("time", labels))
    found = write(signal, tmp_path / f"a.{ending}")
    assert found["label"].values.tolist() == labels.tolist()


def test_stages_over_time_come_back(tmp_path):
    labels = np.repeat(["wake", "N1", ""], [300, 400, 300])
    signal = recording().assign_coords(label=("time", labels))
    assert write(signal, tmp_path / "a.edf")["label"].values.tolist() == labels.tolist()
    with pytest.raises(ValueError, match=r"label must hold AAMI classes .*, got 'wake'"):
        save_wfdb(signal, tmp_path / "r1")


@pytest.mark.parametrize("ending", ["16", "edf"])
def test_units_of_each_lead_come_back(ending, tmp_path):
    signal = recording().drop_attrs().assign_coords(unit=("channel", ["uV", "mmHg"]))
    assert write(signal, tmp_path / f"a.{ending}")["unit"].values.tolist() == ["uV", "mmHg"]


@pytest.mark.parametrize(
    ("n_times", "frequency"), [(1000, 125.0), (1001, 100.0), (997, 250.0), (512, 512.0), (30, 0.5)]
)
def test_any_length_that_can_be_divided_is_written_as_edf(n_times, frequency, tmp_path):
    signal = recording(n_times, frequency)
    found = write(signal, tmp_path / "a.edf")
    assert found.attrs["frequency"] == pytest.approx(frequency)
    np.testing.assert_allclose(found, signal, atol=1e-4)


def test_what_an_encoder_decodes_is_written(tmp_path):
    time = np.arange(50) / 50
    beats = np.sin(2 * np.pi * (time + np.linspace(0, 1, 8)[:, None]))
    signals = xr.DataArray(beats, {"time": ("time", time, {"units": "s"})}, ("sample", "time"))
    encoder = FunctaEncoder(latent_dim=4, hidden_dim=8, max_iter=2, random_state=0)
    latents = encoder.fit_transform(signals.assign_attrs(units="mV"))
    decoded = encoder.inverse_transform(latents)[0]
    save_wfdb(decoded, tmp_path / "r1")
    record = wfdb.rdrecord(str(tmp_path / "r1"))
    np.testing.assert_allclose(record.p_signal[:, 0], decoded, atol=1e-4)
    assert (record.fs, record.units) == (50, ["mV"])


@pytest.mark.parametrize("save", [save_wfdb, save_edf])
@pytest.mark.parametrize(
    ("change", "match"),
    [
        (
            lambda signal: signal.expand_dims("sample"),
            r"must have the dimensions \(time\[, channel",
        ),
        (lambda signal: signal + 1j, "must have real values, got complex128"),
        (lambda signal: signal / 0.0, "must have finite values, or NaN; got infinities"),
        (lambda signal: signal.drop_vars("time"), "must have a coordinate time"),
        (lambda signal: signal[::-1], "time must rise in even steps"),
        (lambda signal: signal.assign_coords(time=signal["time"] ** 2), "in even steps"),
        (
            lambda signal: signal.assign_coords(time=("time", np.arange(1000), {"units": "ms"})),
            "time must be in seconds, got 'ms'",
        ),
        (lambda signal: signal.assign_attrs(units="a unit with spaces"), "unit|exceeds maximum"),
    ],
)
def test_what_a_format_cannot_hold_is_refused_before_anything_is_written(
    save, change, match, tmp_path
):
    path = tmp_path / ("a.edf" if save is save_edf else "a")
    with pytest.raises(ValueError, match=match):
        save(change(recording()), path)
    assert list(tmp_path.iterdir()) == []


def test_gaps_are_refused_where_a_format_has_none(tmp_path):
    signal = recording()
    signal[5, 0] = np.nan
    with pytest.raises(ValueError, match="EDF holds no gaps"):
        save_edf(signal, tmp_path / "a.edf")
    with pytest.raises(ValueError, match="nothing was observed of 'II'"):
        save_wfdb(signal.where(signal["channel"] == "V1"), tmp_path / "a")


def test_annotations_of_another_record_are_not_taken_over(tmp_path):
    wfdb.wrann("a", "atr", np.array([1]), symbol=["N"], write_dir=str(tmp_path))
    with pytest.raises(FileError, match=r"a\.atr: is there already"):
        save_wfdb(recording(), tmp_path / "a")


def test_names_and_folders_are_checked(tmp_path):
    with pytest.raises(ValueError, match="is named by letters, digits"):
        save_wfdb(recording(), tmp_path / "a.b")
    with pytest.raises(ValueError, match="fmt must be one of 16, 24, 32, 212, got '8'"):
        save_wfdb(recording(), tmp_path / "a", fmt="8")
    with pytest.raises(ValueError, match=r"path must end in \.edf or \.bdf"):
        save_edf(recording(), tmp_path / "a.txt")
    with pytest.raises(MissingFileError, match="no such folder to write a into"):
        save_wfdb(recording(), tmp_path / "gone" / "a")
    with pytest.raises(FileNotFoundError, match="no such folder"):
        save_edf(recording(), tmp_path / "gone" / "a.edf")
