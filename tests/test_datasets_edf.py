"""EDF and BDF recordings against mne and edfio: values, units, rates, time, annotations, damage."""

import datetime

import numpy as np
import pytest

from neurfield.datasets import load_edf, open_signals
from neurfield.errors import FileError, MissingFileError

edfio = pytest.importorskip("edfio", reason='needs the extra "eeg"')

RATE, SECONDS = 128, 10
DATE, TIME = datetime.date(2001, 12, 31), datetime.time(23, 59, 55)
MARKS = [
    edfio.EdfAnnotation(0, 4, "Sleep stage W"),
    edfio.EdfAnnotation(4, 6, "Sleep stage N1"),
    edfio.EdfAnnotation(2.5, None, "spike"),
]
#: Bytes of the fields of a signal's header, in their order.
FIELDS = {
    "label": 16, "transducer": 80, "unit": 8, "low": 8, "high": 8, "first": 8, "last": 8,
    "filter": 80, "samples": 8,
}  # fmt: skip


def waves(rate=RATE, seconds=SECONDS):
    time = np.arange(rate * seconds) / rate
    return 80 * np.sin(2 * np.pi * time), 3 * np.cos(2 * np.pi * time)


def write(path, names=("Fpz", "Cz"), units=("uV", "uV"), rates=(RATE, RATE), marks=None, **options):
    bdf = path.suffix == ".bdf"
    make = edfio.BdfSignal if bdf else edfio.EdfSignal
    signals = [
        make(waves(rate)[k], rate, label=name, physical_dimension=unit)
        for k, (name, unit, rate) in enumerate(zip(names, units, rates, strict=True))
    ]
    whole = (edfio.Bdf if bdf else edfio.Edf)(signals, annotations=marks, **options)
    whole.write(path)
    return signals


def edit(path, field, content, place=0, n_signals=2):
    """Overwrite a field of a signal's header."""
    before = list(FIELDS)[: list(FIELDS).index(field)]
    start = 256 + n_signals * sum(FIELDS[name] for name in before) + place * FIELDS[field]
    data = bytearray(path.read_bytes())
    data[start : start + FIELDS[field]] = content.ljust(FIELDS[field])
    path.write_bytes(data)


def overwrite(path, start, content):
    data = bytearray(path.read_bytes())
    data[start : start + len(content)] = content
    path.write_bytes(data)


def read(path, **options):
    (record,) = load_edf(path, **{"mode": "records", "leads": [0, 1]} | options)
    return record


# --- values --------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["edf", "bdf"])
@pytest.mark.parametrize(("unit", "volts"), [("uV", 1e-6), ("mV", 1e-3), ("V", 1.0)])
def test_values_are_those_of_both_libraries(ending, unit, volts, tmp_path):
    mne = pytest.importorskip("mne")
    path = tmp_path / f"a.{ending}"
    signals = write(path, units=(unit, unit))
    found = read(path)
    assert found.attrs["units"] == unit
    assert found["channel"].values.tolist() == ["Fpz", "Cz"]
    raw = getattr(mne.io, f"read_raw_{ending}")(path, verbose="error")
    np.testing.assert_allclose(volts * found, raw.get_data().T, rtol=1e-6, atol=volts * 1e-6)
    for k, signal in enumerate(signals):
        np.testing.assert_allclose(found[:, k], signal.data, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(found["time"], raw.times)


@pytest.mark.parametrize(("unit", "factor"), [("V", 1e-6), ("mV", 1e-3), ("uV", 1.0), ("nV", 1e3)])
def test_values_come_in_the_unit_asked_for(unit, factor, tmp_path):
    (first, _) = write(tmp_path / "a.edf")
    found = read(tmp_path / "a.edf", unit=unit, leads="Fpz")
    assert found.attrs["units"] == unit
    np.testing.assert_allclose(found, factor * first.data, rtol=1e-5, atol=1e-5 * factor)


@pytest.mark.parametrize("spelling", ["µV".encode("latin-1"), "µV".encode(), "μV".encode()])
def test_microvolts_are_microvolts_however_they_are_written(spelling, tmp_path):
    (first, _) = write(tmp_path / "a.edf")
    edit(tmp_path / "a.edf", "unit", spelling)
    found = read(tmp_path / "a.edf", leads=0, unit="mV")
    np.testing.assert_allclose(found, first.data / 1000, rtol=1e-5, atol=1e-8)


def test_signals_of_one_name_are_matched_in_every_file(tmp_path):
    write(tmp_path / "a.edf", ("Fpz", "Cz"), ("uV", "uV"))
    write(tmp_path / "b.edf", ("Cz", "Fpz"), ("mV", "uV"))
    found = load_edf(tmp_path, leads="Cz", length=RATE)
    assert found.attrs["units"] == "uV"
    np.testing.assert_allclose(found[0], waves()[1][:RATE], atol=1e-3)
    np.testing.assert_allclose(found[10], 1000 * waves()[0][:RATE], rtol=1e-3, atol=2)


def test_two_signals_of_one_name_are_told_apart_by_place(tmp_path):
    write(tmp_path / "a.edf", ("Cz", "Cz"))
    with pytest.raises(FileError, match=r"a\.edf: 2 leads are called 'Cz'"):
        read(tmp_path / "a.edf", leads="Cz")
    np.testing.assert_allclose(read(tmp_path / "a.edf", leads=1), waves()[1], atol=1e-3)


@pytest.mark.parametrize("unit", ["degC", "", "%"])
def test_units_that_cannot_be_converted_are_refused(unit, tmp_path):
    write(tmp_path / "a.edf", units=("uV", unit))
    assert read(tmp_path / "a.edf", leads="Cz").attrs["units"] == unit
    with pytest.raises(FileError, match=f"lead 'Cz' is in '{unit}', and in 'uV' was asked for"):
        read(tmp_path / "a.edf", leads="Cz", unit="uV")


@pytest.mark.parametrize(("field", "content"), [("high", b"0"), ("last", b"-32768")])
def test_a_signal_without_a_range_is_in_steps_of_the_converter(field, content, tmp_path):
    write(tmp_path / "a.edf")
    edit(tmp_path / "a.edf", field, content)
    edit(tmp_path / "a.edf", "low", b"0")
    with pytest.warns(UserWarning, match=r"a\.edf: the signal 'Fpz' has no range of values"):
        found = read(tmp_path / "a.edf", leads=0)
    assert found.attrs["units"] == "adu"
    digital = edfio.read_edf(tmp_path / "a.edf").signals[0].digital
    np.testing.assert_array_equal(found, digital)


# --- rates ---------------------------------------------------------------------------------------


def test_several_rates_need_a_frequency(tmp_path):
    write(tmp_path / "a.edf", rates=(RATE, 16))
    with pytest.raises(ValueError, match=r"frequency must be given, .* have 128 and 16 samples"):
        read(tmp_path / "a.edf")
    np.testing.assert_allclose(read(tmp_path / "a.edf", leads=1), waves(16)[1], atol=1e-3)


@pytest.mark.parametrize("frequency", [16.0, 100.0, 128.0])
def test_each_signal_is_resampled_from_its_own_rate(frequency, tmp_path):
    write(tmp_path / "a.edf", rates=(RATE, 16))
    found = read(tmp_path / "a.edf", frequency=frequency)
    inner = found.isel(time=slice(int(frequency), int(-frequency)))
    time = inner["time"].values
    np.testing.assert_allclose(inner[:, 0], 80 * np.sin(2 * np.pi * time), atol=1)
    np.testing.assert_allclose(inner[:, 1], 3 * np.cos(2 * np.pi * time), atol=0.1)


# --- time and annotations ------------------------------------------------------------------------


def test_windows_have_the_date_of_their_start_and_the_prevailing_annotation(tmp_path):
    write(
        tmp_path / "a.edf",
        marks=MARKS,
        starttime=TIME,
        recording=edfio.Recording(startdate=DATE),
    )
    windows = load_edf(tmp_path / "a.edf", length=5 * RATE)
    assert windows["label"].values.tolist() == ["Sleep stage W", "Sleep stage N1"]
    assert windows["start"].values.tolist() == [
        "2001-12-31T23:59:55.000000",
        "2002-01-01T00:00:00.000000",
    ]


def test_events_are_those_of_mne(tmp_path):
    mne = pytest.importorskip("mne")
    path = tmp_path / "a.edf"
    (first, _) = write(path, marks=MARKS)
    events = load_edf(path, mode="events", length=RATE)
    marks = mne.read_annotations(path)
    inside = [k for k, onset in enumerate(marks.onset) if onset >= 0.5]
    assert events["label"].values.tolist() == [str(marks.description[k]) for k in inside]
    assert events["onset"].values.tolist() == [marks.onset[k] for k in inside]
    assert events["duration"].values.tolist() == [marks.duration[k] for k in inside]
    centre = round(2.5 * RATE)
    expected = first.data[centre - RATE // 2 : centre + RATE // 2]
    np.testing.assert_allclose(events[0], expected, rtol=1e-5, atol=1e-5)


def test_whole_recordings_have_the_annotation_of_each_time(tmp_path):
    write(tmp_path / "a.edf", marks=MARKS)
    label = read(tmp_path / "a.edf")["label"]
    assert label.sel(time=1.0) == "Sleep stage W"
    assert label.sel(time=2.5) == "spike"
    assert label.sel(time=9.0) == "Sleep stage N1"


@pytest.mark.parametrize("later", [0, 2])
def test_a_hypnogram_in_a_file_of_its_own_is_laid_over_the_recording(later, tmp_path):
    recording = edfio.Recording(startdate=DATE)
    write(tmp_path / "psg.edf", starttime=datetime.time(12), recording=recording)
    stages = [edfio.EdfAnnotation(0, 5, "W"), edfio.EdfAnnotation(5, 5, "N1")]
    hypnogram = edfio.Edf(
        [], annotations=stages, starttime=datetime.time(12, 0, later), recording=recording
    )
    hypnogram.write(tmp_path / "hypnogram.edf")
    options = {"length": RATE, "annotations": tmp_path / "hypnogram.edf"}
    windows = load_edf(tmp_path / "psg.edf", **options)
    expected = [""] * later + ["W"] * 5 + ["N1"] * (5 - later)
    assert windows["label"].values.tolist() == expected
    with pytest.raises(FileError, match=r"hypnogram\.edf: has no signals; give a file of annot"):
        load_edf(tmp_path / "hypnogram.edf")
    with pytest.raises(ValueError, match="one file for each recording, got 1 for 2"):
        load_edf([tmp_path / "psg.edf"] * 2, **options)


def test_annotations_that_cannot_be_dated_are_refused(tmp_path):
    write(tmp_path / "a.edf")
    write(tmp_path / "b.edf", marks=MARKS)  # neither states a date
    with pytest.raises(FileError, match=r"b\.edf: this file or a\.edf does not say when it begins"):
        load_edf(tmp_path / "a.edf", annotations=tmp_path / "b.edf")


def test_files_without_annotations_have_no_labels(tmp_path):
    path = tmp_path / "a.edf"
    write(path)
    overwrite(path, 192, b"     ")  # plain EDF
    assert "label" not in read(path).coords
    with pytest.raises(FileError, match="no events of 256 samples could be cut"):
        load_edf(path, mode="events")


@pytest.mark.parametrize(
    ("start", "content", "expected"),
    [
        (168, b"31.12.01", "2001-12-31T00:00:00"),
        (168, b"99.99.99", None),
        (176, b"25.61.61", None),
    ],
)
def test_a_date_that_cannot_be_read_is_left_out(start, content, expected, tmp_path):
    path = tmp_path / "a.edf"
    write(path)
    overwrite(path, 88, b" " * 80)  # the longer date
    overwrite(path, start, content)
    if expected is not None:
        assert read(path).attrs["start"] == expected
    else:
        assert "start" not in read(path).attrs


@pytest.mark.parametrize("ending", ["edf", "bdf"])
def test_gaps_between_data_records_are_refused(ending, tmp_path):
    path = tmp_path / f"a.{ending}"
    write(path, marks=[edfio.EdfAnnotation(0, None, "start")])
    data = path.read_bytes()
    kind = ending.upper().encode()
    data = data.replace(kind + b"+C", kind + b"+D", 1)
    path.write_bytes(data)
    assert read(path).sizes["time"] == RATE * SECONDS  # it says so, and has none
    path.write_bytes(data.replace(b"+9\x14\x14\0", b"+10\x14\x14"))  # the last record is late
    with pytest.raises(FileError, match=r"has gaps between its data records \(EDF\+D\)"):
        read(path)


# --- damage --------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["edf", "bdf"])
@pytest.mark.parametrize("n_bytes", [1, 1000, 5000])
def test_truncated_files_are_named(ending, n_bytes, tmp_path):
    path = tmp_path / f"a.{ending}"
    write(path)
    path.write_bytes(path.read_bytes()[:-n_bytes])
    with pytest.raises(FileError, match=f"a.{ending}: is truncated"):
        read(path)


def test_a_recording_that_was_never_closed_draws_a_warning(tmp_path):
    path = tmp_path / "a.edf"
    write(path)
    overwrite(path, 236, b"-1      ")
    with pytest.warns(UserWarning, match="header indicates -1 data records"):
        assert read(path).sizes["time"] == RATE * SECONDS


@pytest.mark.parametrize(
    ("start", "content"),
    [
        (184, b"1024    "),  # bytes of the header
        (184, b"x       "),
        (236, b"99999999"),  # data records
        (244, b"0       "),  # seconds in a data record
        (244, b"-1      "),
        (244, b"nan     "),
        (252, b"9999"),  # signals
        (252, b"0   "),
    ],
)
def test_headers_that_do_not_hold_are_refused(start, content, tmp_path):
    write(tmp_path / "a.edf")
    overwrite(tmp_path / "a.edf", start, content)
    with pytest.raises(FileError, match=r"a\.edf: "):
        read(tmp_path / "a.edf")


@pytest.mark.parametrize(
    ("field", "content"),
    [
        ("low", b"nan"),
        ("high", b"1e999"),
        ("low", b"abc"),
        ("first", b"1.5"),
        ("samples", b"99999999"),
        ("samples", b"0"),
        ("samples", b"-1"),
    ],
)
def test_signal_headers_that_do_not_hold_are_refused(field, content, tmp_path):
    write(tmp_path / "a.edf")
    edit(tmp_path / "a.edf", field, content)
    with pytest.raises(FileError, match=r"a\.edf: "):
        read(tmp_path / "a.edf", leads=0)


def test_files_that_are_not_there_or_of_another_kind_are_named(tmp_path):
    with pytest.raises(MissingFileError, match=r"gone\.edf: no such file"):
        load_edf(tmp_path / "gone.edf")
    with pytest.raises(MissingFileError, match="no EDF or BDF file"):
        load_edf(tmp_path)
    (tmp_path / "a.edf").write_bytes(b"\x89PNG" * 500)
    with pytest.raises(FileError, match=r"a\.edf: could not be read as an EDF file"):
        load_edf(tmp_path / "a.edf")


def test_files_and_folders_are_found(tmp_path):
    write(tmp_path / "a.EDF".lower())
    write(tmp_path / "b.bdf")
    windows = open_signals(tmp_path, length=RATE)
    assert np.unique(windows["record"]).tolist() == ["a.edf", "b.bdf"]
    assert open_signals(tmp_path / "b.bdf", leads="Cz").shape == (5, 256)
