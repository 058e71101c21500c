"""WFDB records against the library of the format: formats, calibration, gaps, time, annotations."""

import datetime
import os
import time
import tracemalloc

import numpy as np
import pytest

from neurfield.datasets import load_wfdb
from neurfield.errors import FileError, MissingFileError

wfdb = pytest.importorskip("wfdb", reason='needs the extra "readers"')

RATE = 100
PACKED = ["8", "61", "160", "310", "311"]
FORMATS = ["8", "16", "24", "32", "61", "80", "160", "212", "310", "311", "508", "516", "524"]


def digital(n_times=400, n_signals=2, high=100):
    rng = np.random.default_rng(0)
    return np.cumsum(rng.integers(-3, 4, (n_times, n_signals)), axis=0).clip(-high, high)


def write(folder, name="r1", fmt="16", signal=None, units="mV", gain=50.0, baseline=7, **options):
    signal = digital() if signal is None else signal
    n_signals = signal.shape[1]
    wfdb.wrsamp(
        name,
        fs=RATE,
        units=[units] * n_signals,
        sig_name=["II", "V1", "V5"][:n_signals],
        d_signal=signal,
        fmt=[fmt] * n_signals,
        adc_gain=[gain] * n_signals,
        baseline=[baseline] * n_signals,
        write_dir=str(folder),
        **options,
    )
    return signal


def edit(path, old, new, count=1):
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, count), encoding="utf-8")


def packed(signal, fmt):
    """Return the bytes of a signal in the formats that the library reads and does not write."""
    flat = signal.ravel()
    if fmt == "8":
        return np.diff(signal, axis=0, prepend=signal[:1]).astype("<i1").tobytes()
    if fmt == "61":
        return flat.astype(">i2").tobytes()
    if fmt == "160":
        return (flat + 2**15).astype("<u2").tobytes()
    flat = np.append(flat, np.zeros(-len(flat) % 3, flat.dtype))
    first, second, third = (flat.reshape(-1, 3).T & 0x3FF).astype(np.uint32)
    if fmt == "311":
        return (first | second << 10 | third << 20).astype("<u4").tobytes()
    low, high = third & 0x1F, third >> 5
    words = np.stack([first << 1 | low << 11, second << 1 | high << 11], axis=1)
    return words.astype("<u2").tobytes()


def pack(folder, fmt, signal):
    """Store a record, written in the format 16, in another one."""
    (folder / "r1.dat").write_bytes(packed(signal, fmt))
    edit(folder / "r1.hea", "r1.dat 16", f"r1.dat {fmt}", count=-1)


def read(path, **options):
    options = {"mode": "records", "frequency": None, "leads": [0, 1]} | options
    (record,) = load_wfdb(path, **options)
    return record


def official(path, **options):
    return wfdb.rdrecord(str(path), **options).p_signal


# --- values --------------------------------------------------------------------------------------


@pytest.mark.parametrize("fmt", FORMATS)
def test_every_format_reads_as_in_the_library(fmt, tmp_path):
    signal = write(tmp_path, fmt="16" if fmt in PACKED else fmt)
    if fmt in PACKED:
        pack(tmp_path, fmt, signal)
    found = read(tmp_path / "r1")
    np.testing.assert_allclose(found, official(tmp_path / "r1"), rtol=1e-6)
    np.testing.assert_allclose(found, (signal - 7) / 50.0, rtol=1e-6)
    assert found.attrs["units"] == "mV"


@pytest.mark.parametrize("fmt", ["16", "24", "32", "80", "212", "516"])
def test_invalid_samples_are_gaps(fmt, tmp_path):
    missing = np.zeros((400, 2), bool)
    missing[50:80, 0] = missing[390:, 1] = True
    values = np.where(missing, np.nan, digital() / 50.0)
    wfdb.wrsamp(
        "r1",
        fs=RATE,
        units=["mV"] * 2,
        sig_name=["II", "V1"],
        p_signal=values,
        fmt=[fmt] * 2,
        write_dir=str(tmp_path),
    )
    found = read(tmp_path / "r1")
    np.testing.assert_allclose(found, official(tmp_path / "r1"), rtol=1e-6)
    np.testing.assert_array_equal(np.isnan(found), missing)


@pytest.mark.parametrize(("fmt", "invalid"), [("61", -(2**15)), ("310", -(2**9)), ("311", -(2**9))])
def test_invalid_samples_are_gaps_in_packed_formats_too(fmt, invalid, tmp_path):
    signal = digital()
    signal[50:80, 0] = invalid
    write(tmp_path, signal=signal)
    pack(tmp_path, fmt, signal)
    found = read(tmp_path / "r1")
    np.testing.assert_allclose(found, official(tmp_path / "r1"), rtol=1e-6)
    np.testing.assert_array_equal(np.isnan(found), signal == invalid)


@pytest.mark.parametrize("frequency", [50.0, 125.0, 250.0])
def test_resampling_keeps_gaps_where_they_are(frequency, tmp_path):
    values = np.sin(np.arange(1000) / RATE)[:, None]
    values[:100] = values[400:500] = np.nan
    wfdb.wrsamp(
        "r1",
        fs=RATE,
        units=["mV"],
        sig_name=["II"],
        p_signal=values,
        fmt=["16"],
        write_dir=str(tmp_path),
    )
    found = read(tmp_path / "r1", frequency=frequency, leads=0)
    seconds = found["time"].values
    gap = (seconds < 1) | ((seconds > 3.99) & (seconds < 5))
    np.testing.assert_array_equal(np.isnan(found), gap)
    np.testing.assert_allclose(found[~gap], np.sin(seconds[~gap]), atol=0.02)


def test_windows_over_gaps_stay_unobserved(tmp_path):
    signal = digital(500)
    signal[100:250] = -(2**15)
    write(tmp_path, signal=signal)
    windows = load_wfdb(tmp_path / "r1", mode="windows", length=100, frequency=None)
    assert windows["onset"].values.tolist() == [0, 2, 3, 4]  # the second holds nothing
    assert np.isnan(windows[1]).sum() == 50


def test_windows_of_nothing_but_gaps_are_refused(tmp_path):
    write(tmp_path, signal=np.full((400, 2), -(2**15)))
    with pytest.raises(FileError, match="r1: nothing was observed in any window"):
        load_wfdb(tmp_path / "r1", mode="windows", length=100, frequency=None)


@pytest.mark.parametrize(("line", "zero"), [("0 16 5", 5), ("0/mV 16 5", 5), ("", 0)])
def test_a_lead_without_a_gain_is_in_steps_of_the_converter(line, zero, tmp_path):
    signal = write(tmp_path, signal=digital(n_signals=1))
    (tmp_path / "r1.hea").write_text(f"r1 1 100 400\nr1.dat 16 {line}\n")
    with pytest.warns(UserWarning, match=r"r1\.hea: signal 0 .* has no gain"):
        found = read(tmp_path / "r1", leads=0)
    assert found.attrs["units"] == "adu"
    np.testing.assert_allclose(found, signal[:, 0] - zero)
    np.testing.assert_allclose(found / 200, official(tmp_path / "r1")[:, 0], rtol=1e-6)


@pytest.mark.parametrize(("unit", "factor"), [("V", 1e-3), ("mV", 1), ("uV", 1e3), ("nV", 1e6)])
def test_values_come_in_the_unit_asked_for(unit, factor, tmp_path):
    write(tmp_path)
    found = read(tmp_path / "r1", unit=unit)
    assert found.attrs["units"] == unit
    np.testing.assert_allclose(found, factor * official(tmp_path / "r1"), rtol=1e-6)


def test_a_unit_of_another_quantity_is_refused(tmp_path):
    write(tmp_path, units="mmHg")
    with pytest.raises(FileError, match="r1: lead 'II' is in 'mmHg', and in 'mV' was asked for"):
        read(tmp_path / "r1", unit="mV")


def test_leads_of_different_units_say_so(tmp_path):
    write(tmp_path)
    edit(tmp_path / "r1.hea", "/mV", "/mmHg")
    found = read(tmp_path / "r1")
    assert found["unit"].values.tolist() == ["mmHg", "mV"]
    assert "units" not in found.attrs


def test_channels_have_the_names_of_leads_asked_for_by_place(tmp_path):
    write(tmp_path)
    assert read(tmp_path / "r1", leads=[1, 0])["channel"].values.tolist() == ["V1", "II"]


@pytest.mark.parametrize("skews", [(0, 3), (2, 5), (5, 0)])
def test_skewed_leads_are_aligned(skews, tmp_path):
    signal = write(tmp_path)
    for name, skew in zip(("II", "V1"), skews, strict=True):
        edit(tmp_path / "r1.hea", "r1.dat 16 ", f"r1.dat 16:{skew} ")
        assert wfdb.rdheader(str(tmp_path / "r1")).skew[("II", "V1").index(name)] == skew
    found = read(tmp_path / "r1")
    for k, skew in enumerate(skews):
        np.testing.assert_allclose(found[: 400 - skew, k], (signal[skew:, k] - 7) / 50, rtol=1e-6)
        assert np.isnan(found[400 - skew :, k]).all()


def test_a_prolog_is_passed_over(tmp_path):
    write(tmp_path)
    data = tmp_path / "r1.dat"
    expected = official(tmp_path / "r1")
    data.write_bytes(b"prolog" * 4 + data.read_bytes())
    edit(tmp_path / "r1.hea", "r1.dat 16 ", "r1.dat 16+24 ", count=-1)
    np.testing.assert_allclose(read(tmp_path / "r1"), expected, rtol=1e-6)
    np.testing.assert_allclose(official(tmp_path / "r1"), expected)


# --- time ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "start"),
    [
        (
            {"base_time": datetime.time(12, 30), "base_date": datetime.date(2001, 2, 3)},
            "2001-02-03T12:30:00",
        ),
        ({"base_time": datetime.time(23, 59, 59, 500000)}, "23:59:59.500000"),
        ({}, None),
    ],
)
def test_the_origin_of_time_is_kept(options, start, tmp_path):
    write(tmp_path, **options)
    assert read(tmp_path / "r1").attrs.get("start") == start


def test_windows_have_the_date_of_their_start(tmp_path):
    write(tmp_path, base_datetime=datetime.datetime(2001, 12, 31, 23, 59, 59))
    windows = load_wfdb(tmp_path / "r1", mode="windows", length=200, frequency=None)
    assert windows["start"].values.tolist() == [
        "2001-12-31T23:59:59.000000",
        "2002-01-01T00:00:01.000000",
    ]


def test_the_counter_of_a_tape_is_kept_and_is_no_rate(tmp_path):
    write(tmp_path)
    edit(tmp_path / "r1.hea", "r1 2 100", "r1 2 100/25(10.5)")
    found = read(tmp_path / "r1")
    assert (found.attrs["counter_frequency"], found.attrs["base_counter"]) == (25.0, 10.5)
    assert found.attrs["frequency"] == 100


def test_a_date_of_another_kind_is_left_out_with_a_warning(tmp_path):
    write(tmp_path)
    edit(tmp_path / "r1.hea", "r1 2 100 400", "r1 2 100 400 05-Feb-2020 11:39:16")
    with pytest.warns(UserWarning, match=r"'05-Feb-2020 11:39:16' is no time and date"):
        found = read(tmp_path / "r1")
    assert "start" not in found.attrs


# --- annotations ---------------------------------------------------------------------------------


def test_beats_keep_the_fields_of_their_annotations(tmp_path):
    write(tmp_path)
    wfdb.wrann(
        "r1",
        "atr",
        np.array([50, 100, 200, 250, 300]),
        symbol=["+", "N", "V", "+", "L"],
        subtype=np.array([0, 0, 2, 0, 0]),
        chan=np.array([0, 0, 1, 0, 0]),
        num=np.array([0, 1, 2, 3, 4]),
        aux_note=["(AFIB", "", "a note", "(N", ""],
        write_dir=str(tmp_path),
    )
    beats = load_wfdb(tmp_path / "r1", length=21, frequency=None)
    marks = wfdb.rdann(str(tmp_path / "r1"), "atr")
    places = [1, 2, 4]
    assert beats["symbol"].values.tolist() == [marks.symbol[k] for k in places]
    for name in ("subtype", "chan", "num", "aux_note"):
        assert beats[name].values.tolist() == [getattr(marks, name)[k] for k in places], name
    assert beats["rhythm"].values.tolist() == ["AFIB", "AFIB", "N"]


def test_fields_that_no_beat_uses_are_left_out(tmp_path):
    write(tmp_path)
    wfdb.wrann("r1", "atr", np.array([100, 200]), symbol=["N", "V"], write_dir=str(tmp_path))
    beats = load_wfdb(tmp_path / "r1", length=21, frequency=None)
    assert not {"rhythm", "subtype", "chan", "num", "aux_note"} & set(beats.coords)


def test_beats_beyond_the_record_are_counted(tmp_path):
    write(tmp_path)
    wfdb.wrann("r1", "atr", np.array([100, 4000]), symbol=["N", "V"], write_dir=str(tmp_path))
    with pytest.warns(UserWarning, match=r"r1\.atr: 1 of 2 beats lie beyond the record"):
        load_wfdb(tmp_path / "r1", length=21, frequency=None)


# --- damage --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        ("r1 2 100", "r1 2 0", "samples per second must be positive, got 0"),
        ("r1 2 100", "r1 2 abc", "first line is not that of a WFDB record"),
        ("r1 2 100", "r1 3 100", "states 3 signals and lists 2"),
        ("r1 2 100 400", "r1 2 100 99999999999", r"holds 1600 bytes, and 3999999\d* are needed"),
        ("r1 2 100 400", "r1 2 100 401", r"holds 1600 bytes, and 1604 are needed"),
        ("r1.dat 16", "../r1.dat 16", "names the file '../r1.dat'; only files in the header's"),
        ("r1.dat 16", "/etc/passwd 16", "names the file '/etc/passwd'; only files in the header's"),
        ("r1.dat 16", "..\\r1.dat 16", "only files in the header's folder"),
        ("r1.dat 16", "gone.dat 16", r"gone\.dat: no such file"),
        ("r1.dat 16", "r1.dat 17", "signal 0 has the format 17; known are 8, 16"),
        ("r1.dat 16", "r1.dat 16x0", "signal 0 has no samples in a frame"),
        ("r1.dat 16", "r1.dat 16+999", "several formats or offsets for r1.dat"),
        ("r1.dat 16", "r1.dat 212", "several formats or offsets for r1.dat"),
        ("/mV", "/µV", "a letter that is not ASCII"),
        ("/mV", "/deg.C", "the line of signal 0 is not understood"),
        ("50.0", "1e999", "the gain of signal 0 must be finite"),
    ],
)
def test_headers_that_do_not_hold_are_refused(old, new, match, tmp_path):
    write(tmp_path)
    edit(tmp_path / "r1.hea", old, new)
    with pytest.raises(FileError, match=match):
        read(tmp_path / "r1", leads=0)


def test_a_missing_signal_file_is_named(tmp_path):
    write(tmp_path)
    (tmp_path / "r1.dat").unlink()
    with pytest.raises(MissingFileError, match=r"r1\.dat: no such file; r1\.hea says it holds"):
        read(tmp_path / "r1")


def test_an_offset_beyond_the_file_is_refused(tmp_path):
    write(tmp_path)
    edit(tmp_path / "r1.hea", "r1.dat 16", "r1.dat 16+999999999", count=-1)
    with pytest.raises(FileError, match=r"r1\.dat: holds 1600 bytes, and 1000001599 are needed"):
        read(tmp_path / "r1")


@pytest.mark.parametrize("fmt", ["16", "212", "24", "516"])
def test_a_checksum_that_does_not_hold_is_refused(fmt, tmp_path):
    write(tmp_path, fmt=fmt)
    header = tmp_path / "r1.hea"
    stated = wfdb.rdheader(str(tmp_path / "r1")).checksum
    edit(header, f" {stated[0]} 0 II", f" {stated[0] + 1} 0 II")
    with pytest.raises(FileError, match=r"r1\.dat: the samples of 'II' do not add up .*verify=Fa"):
        read(tmp_path / "r1")
    with pytest.warns(UserWarning, match="do not add up to the checksum"):
        found = read(tmp_path / "r1", verify=False)
    np.testing.assert_allclose(found, official(tmp_path / "r1"), rtol=1e-6)
    assert read(tmp_path / "r1", leads="V1").shape == (400,)  # the other lead is as it was


@pytest.mark.parametrize("byte", [0, 801, 1599])
def test_a_damaged_signal_is_noticed(byte, tmp_path):
    write(tmp_path)
    data = bytearray((tmp_path / "r1.dat").read_bytes())
    data[byte] ^= 0x10
    (tmp_path / "r1.dat").write_bytes(data)
    with pytest.raises(FileError, match="do not add up"):
        read(tmp_path / "r1")


def test_resampling_to_much_more_than_there_is_is_refused(tmp_path):
    write(tmp_path)
    edit(tmp_path / "r1.hea", "r1 2 100", "r1 2 0.000001")
    with pytest.raises(FileError, match=r"r1\.dat: its signals at 125 samples per second takes"):
        read(tmp_path / "r1", frequency=125.0)


def test_absurd_lengths_are_refused_at_once(tmp_path):
    write(tmp_path)
    edit(tmp_path / "r1.hea", "r1 2 100 400", "r1 2 100 999999999999")
    refused_at_once(tmp_path)


def test_thousands_of_signals_are_refused_at_once(tmp_path):
    lines = ["r1 50000 100 400", *["r1.dat 16 200/mV"] * 50_000]
    (tmp_path / "r1.hea").write_text("\n".join(lines))
    refused_at_once(tmp_path)


def test_a_constant_that_packs_well_is_refused_beyond_the_limit(tmp_path, monkeypatch):
    write(tmp_path, fmt="516", signal=np.zeros((100_000, 2), int))
    assert (tmp_path / "r1.dat").stat().st_size < 10_000
    assert read(tmp_path / "r1").shape == (100_000, 2)
    monkeypatch.setenv("NEURFIELD_MAX_BYTES", "100000")
    with pytest.raises(FileError, match=r"r1\.dat: its signals takes 1600000 bytes .*MAX_BYTES"):
        read(tmp_path / "r1")


def refused_at_once(folder):
    tracemalloc.start()
    began = time.perf_counter()
    with pytest.raises(FileError):
        read(folder / "r1")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert time.perf_counter() - began < 2
    assert peak < 1e8


def test_records_of_one_name_in_two_folders_are_told_apart(tmp_path):
    for patient in ("p1", "p2"):
        (tmp_path / patient).mkdir()
        write(tmp_path / patient)
    paths = [tmp_path / patient / "r1" for patient in ("p1", "p2")]
    windows = load_wfdb(paths, mode="windows", length=200, frequency=None)
    assert windows["sample"].values.tolist() == ["p1/r1/0", "p1/r1/200", "p2/r1/0", "p2/r1/200"]
    assert np.unique(windows["record"]).tolist() == ["p1/r1", "p2/r1"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no pipes")
@pytest.mark.parametrize("name", ["r1.hea", "r1.dat", "r1.atr"])
def test_pipes_are_not_waited_for(name, tmp_path):
    write(tmp_path)
    (tmp_path / name).unlink(missing_ok=True)
    os.mkfifo(tmp_path / name)
    with pytest.raises(FileError, match="is neither a file nor a folder"):
        load_wfdb(tmp_path / "r1", length=20, frequency=None)
