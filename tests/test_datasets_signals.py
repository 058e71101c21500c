"""WFDB records whole and in windows, heartbeat tables, synthetic beats and heads."""

from pathlib import Path

import numpy as np
import pytest

from neurfield.datasets import (
    AAMI_CLASSES,
    load_heartbeat_csv,
    load_wfdb,
    open_signals,
    phantoms,
    synthetic_ecg,
)

SYMBOLS = ["N", "A", "V", "F", "/", "+", "L", "N", "N"]


def write_record(folder: Path, name: str = "r1", rate: int = 100, seconds: int = 10) -> np.ndarray:
    """Write a record of two leads, of other units, with an annotation at every full second."""
    wfdb = pytest.importorskip("wfdb")
    time = np.arange(seconds * rate) / rate
    signal = np.column_stack([np.cos(2 * np.pi * time), time])
    wfdb.wrsamp(
        name,
        fs=rate,
        units=["mV", "mmHg"],
        sig_name=["II", "ABP"],
        p_signal=signal,
        fmt=["16", "16"],
        write_dir=str(folder),
    )
    wfdb.wrann(name, "atr", rate * np.arange(1, 10), symbol=SYMBOLS, write_dir=str(folder))
    return signal


def write_beats(path: Path, n_rows: int = 6, n_classes: int = 5) -> np.ndarray:
    """Write a heartbeat table whose row i ends after 100 + i values."""
    rows = np.zeros((n_rows, 188))
    for index, row in enumerate(rows):
        row[: 100 + index] = np.linspace(1, 0.1, 100 + index)
        row[40] = 0.0  # a zero within a beat is no padding
        row[-1] = index % n_classes
    np.savetxt(path, rows, delimiter=",", fmt="%.18e")
    return rows


# --- WFDB ----------------------------------------------------------------------------------------


def test_whole_records_have_their_own_length_and_marks(tmp_path):
    signal = write_record(tmp_path)
    write_record(tmp_path, "r2", seconds=12)
    records = load_wfdb(tmp_path, mode="records", frequency=None, leads=["ABP", "II"])
    assert [record.shape for record in records] == [(1000, 2), (1200, 2)]
    assert [record.attrs["record"] for record in records] == ["r1", "r2"]
    np.testing.assert_allclose(records[0], signal[:, ::-1], atol=1e-3)
    assert records[0]["channel"].values.tolist() == ["ABP", "II"]
    np.testing.assert_allclose(records[0]["time"], np.arange(1000) / 100)
    marked = records[0]["label"].values
    assert marked[100:901:100].tolist() == ["N", "S", "V", "F", "Q", "", "N", "N", "N"]
    assert (marked != "").sum() == 8


def test_whole_records_resampled_and_scaled(tmp_path):
    write_record(tmp_path)
    (record,) = load_wfdb(tmp_path / "r1", mode="records", frequency=250.0, scale=True)
    assert record.dims == ("time",)
    assert record.sizes["time"] == 2500
    assert (float(record.min()), float(record.max())) == (0.0, 1.0)
    assert record["label"].values[500] == "S"
    assert record.attrs["units"] == "1"


def test_whole_records_need_no_annotations(tmp_path):
    write_record(tmp_path)
    (tmp_path / "r1.atr").unlink()
    (record,) = load_wfdb(tmp_path / "r1", mode="records")
    assert "label" not in record.coords
    windows = load_wfdb(tmp_path / "r1", mode="windows", length=100)
    assert not {f"label_{name}" for name in AAMI_CLASSES} & set(windows.coords)


@pytest.mark.parametrize("frequency", [None, 250.0])
def test_windows_count_the_beats_within(tmp_path, frequency):
    write_record(tmp_path)
    length = int(2.5 * (frequency or 100))
    windows = load_wfdb(tmp_path / "r1", mode="windows", length=length, frequency=frequency)
    counts = np.column_stack([windows[f"label_{name}"] for name in "NSVFQ"])
    # Seconds 1 and 2; 3 and 4; 5 and 7; 8 and 9.
    expected = [[1, 1, 0, 0, 0], [0, 0, 1, 1, 0], [1, 0, 0, 0, 1], [2, 0, 0, 0, 0]]
    np.testing.assert_array_equal(counts, expected)
    assert windows["sample"].values[1] == f"r1/{length}"


def test_split_brings_licence_and_citation(tmp_path):
    write_record(tmp_path, "101")
    beats = load_wfdb(tmp_path, length=21, split="DS1")
    assert beats.attrs["split"] == "ds1"
    assert beats.attrs["licence"] == "ODC-By 1.0"
    assert "Moody" in beats.attrs["citation"]
    assert beats["label_name"].values[1] == "supraventricular ectopic"
    assert beats["sample"].values[0] == "101/100"
    assert "licence" not in load_wfdb(tmp_path, length=21).attrs


def test_records_of_different_rates_need_a_frequency(tmp_path):
    write_record(tmp_path, "r1", 100)
    write_record(tmp_path, "r2", 200)
    with pytest.raises(ValueError, match=r"frequency must be given .* r1 has 100 .*, r2 200"):
        load_wfdb(tmp_path, mode="windows", length=100, frequency=None)
    assert load_wfdb(tmp_path, mode="windows", length=500, frequency=50.0).shape == (2, 500)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"mode": "all"}, "mode must be 'beats', 'windows' or 'records', got 'all'"),
        ({"length": 1}, "length must be at least 2"),
        ({"frequency": 0.0}, "frequency must be positive or None, got 0"),
    ],
)
def test_wfdb_options_are_checked_first(tmp_path, options, match):
    with pytest.raises(ValueError, match=match):
        load_wfdb(tmp_path / "nowhere", **options)


def test_real_records(shared_data):
    path = shared_data / "mitbih" / "106"
    (record,) = load_wfdb(path, mode="records", frequency=None, leads=[0, 1])
    assert record.shape == (650_000, 2)
    assert set(np.unique(record["label"])) == {"", "N", "V"}
    windows = load_wfdb(path, mode="windows", length=1250)
    assert windows.shape == (180, 1250)
    marked = record["label"].values[: 180 * 3600]
    for name in "NV":
        # Resampling may move a beat across the border of two windows, not out of all of them.
        assert int(windows[f"label_{name}"].sum()) == int((marked == name).sum())


# --- Heartbeat tables ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["mitbih_train.csv", "mitbih_test.csv.gz"])
def test_heartbeat_table(tmp_path, name):
    rows = write_beats(tmp_path / name)
    beats = load_heartbeat_csv(tmp_path / name)
    np.testing.assert_array_equal(beats, rows[:, :-1].astype(np.float32))
    assert beats.dims == ("sample", "time")
    assert beats.dtype == np.float32
    np.testing.assert_allclose(beats["time"], np.arange(187) / 125)
    assert beats["label"].values.tolist() == ["N", "S", "V", "F", "Q", "N"]
    assert beats["label_name"].values[2] == "ventricular ectopic"
    assert beats.attrs["split"] == name.split(".")[0].removeprefix("mitbih_")
    assert "Kachuee" in beats.attrs["citation"]


def test_heartbeat_padding_becomes_what_is_asked_for(tmp_path):
    write_beats(tmp_path / "mitbih_test.csv")
    beats = load_heartbeat_csv(tmp_path / "mitbih_test.csv", padding=np.nan)
    assert beats.count("time").values.tolist() == [100, 101, 102, 103, 104, 105]
    assert (beats[:, 40] == 0).all()
    filled = open_signals(tmp_path / "mitbih_test.csv", padding=-1.0)
    assert (filled == -1).sum("time").values.tolist() == [87, 86, 85, 84, 83, 82]


def test_heartbeat_row_of_zeros_stays(tmp_path):
    np.savetxt(tmp_path / "a.csv", np.zeros((2, 188)), delimiter=",")
    assert (load_heartbeat_csv(tmp_path / "a.csv", padding=np.nan) == 0).all()


def test_heartbeat_table_of_ptb_has_two_classes(tmp_path):
    write_beats(tmp_path / "ptbdb_abnormal.csv", 4, 2)
    beats = load_heartbeat_csv(tmp_path / "ptbdb_abnormal.csv")
    assert beats["label"].values.tolist() == ["normal", "abnormal"] * 2
    write_beats(tmp_path / "ptbdb_normal.csv", 4, 5)
    with pytest.raises(
        ValueError, match=r"ptbdb_normal\.csv: the class .* row 3 must be .* 1, got 2"
    ):
        load_heartbeat_csv(tmp_path / "ptbdb_normal.csv")


def test_wrong_heartbeat_tables_are_named(tmp_path):
    path = tmp_path / "a.csv"
    write_beats(path)
    content = path.read_text()
    path.write_text(content[:-500])
    with pytest.raises(ValueError, match=r"a\.csv: expected 188 .*, got 1\d\d in line 6"):
        load_heartbeat_csv(path)
    path.write_text("time,mV\n0.0,1.0\n")
    with pytest.raises(ValueError, match=r"a\.csv: expected 188 numbers a row .*, got 2 in line 1"):
        load_heartbeat_csv(path)
    path.write_text("0.0,1.0\n")
    with pytest.raises(ValueError, match=r"a\.csv: expected 188 numbers a row .*, got 2"):
        load_heartbeat_csv(path)
    path.write_text("")
    with pytest.raises(ValueError, match=r"a\.csv: could not be read"):
        load_heartbeat_csv(path)
    path.write_text(content.replace("3.000000000000000000e+00\n", "2.500000000000000000e+00\n"))
    with pytest.raises(ValueError, match=r"row 4 must be one of 0 to 4, got 2\.5"):
        load_heartbeat_csv(path)


# --- Synthetic signals ---------------------------------------------------------------------------


def test_synthetic_beats_are_labelled_and_repeatable():
    beats = synthetic_ecg(50, random_state=3)
    assert beats.shape == (50, 187)
    assert beats["time"].values[93] == 0
    assert beats.attrs["units"] == "mV"
    np.testing.assert_array_equal(beats, synthetic_ecg(50, random_state=3))
    assert not np.array_equal(beats, synthetic_ecg(50, random_state=4))
    assert set(synthetic_ecg(20, classes="VN", random_state=0)["label"].values) == {"N", "V"}


def test_synthetic_beats_have_the_marks_of_their_class():
    normal = synthetic_ecg(40, classes="N", noise=0.0, frequency=500.0, length=1000, random_state=0)
    ectopic = synthetic_ecg(
        40, classes="V", noise=0.0, frequency=500.0, length=1000, random_state=0
    )
    near = abs(normal["time"]) < 0.1
    # The R peak is at time 0, ...
    peaks = normal["time"].values[near.values][normal[:, near].argmax("time")]
    assert np.abs(peaks).max() <= 0.01

    # ... a ventricular complex is wider at half its height than any normal one, ...
    def width(beats):
        return ((beats > beats[:, near].max("time") / 2) & near).sum("time") / 500

    assert float(width(normal).max()) < 0.06 < float(width(ectopic).min())
    # ... and only the ventricular one has its T wave below the line.
    late = (normal["time"] > 0.22) & (normal["time"] < 0.34)
    assert (normal[:, late].max("time") > 0.1).all()
    assert (ectopic[:, late].min("time") < -0.15).all()


@pytest.mark.parametrize("shape", [(16, 20, 24), (24, 20)])
def test_heads_have_millimetres_and_classes(shape):
    heads = phantoms(30, shape, random_state=0)
    assert heads.shape == (30, *shape)
    assert heads.dims == ("sample", *"zyx"[-len(shape) :])
    assert float(heads.min()) == 0
    assert float(heads.max()) <= 1
    for axis, size in zip(heads.dims[1:], shape, strict=True):
        np.testing.assert_allclose(heads[axis][[0, -1]], [-120 + 120 / size, 120 - 120 / size])
        assert heads[axis].attrs["units"] == "mm"
    assert set(heads["label_name"].values) == {"normal", "enlarged ventricles", "tumour"}
    np.testing.assert_array_equal(heads, phantoms(30, shape, random_state=0))
    assert len(np.unique(heads.values.reshape(30, -1), axis=0)) == 30


def test_a_slice_of_the_head_is_the_middle_of_the_volume():
    volume = phantoms(3, (121, 16, 16), random_state=0)
    picture = phantoms(3, (16, 16), random_state=0)
    middle = volume.sel(z=0, method="nearest")
    # One voxel of 2 mm about the middle hardly differs from the plane within it.
    assert float(abs(middle - picture).mean()) < 0.01


def test_the_head_agrees_with_the_volumes_of_its_ellipsoids():
    (head,) = phantoms(1, (64, 64, 64), random_state=0)
    inside = float((head > 0).mean())
    # Half axes of the skull, up to 0.9 to 1.05 in size and 4 % in shape, as a part of the cube.
    assert 0.85**3 < inside / (np.pi / 6 * 0.69 * 0.92 * 0.81) < 1.2**3


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: synthetic_ecg(0), "n_samples must be positive, got 0"),
        (lambda: synthetic_ecg(classes="NX"), r"classes must be some of N, S, V, F, Q, got"),
        (lambda: phantoms(0), "n_samples must be positive, got 0"),
        (lambda: phantoms(1, (8,)), r"shape must be two or three positive numbers, got \(8,\)"),
    ],
)
def test_synthetic_signals_refuse_what_they_cannot_make(call, match):
    with pytest.raises(ValueError, match=match):
        call()


def test_synthetic_signals_open_by_name():
    assert open_signals("ecg", n_samples=3, random_state=0).shape == (3, 187)
    assert open_signals("phantoms", n_samples=2, shape=(8, 8)).shape == (2, 8, 8)
    with pytest.raises(ValueError, match="the built-in set ecg has no option 'leads'; it has n_s"):
        open_signals("ecg", leads=1)
