"""Leads of WFDB records: matched by name, in one unit, each at its own rate."""

import numpy as np
import pytest

from neurfield.datasets import load_wfdb, save_wfdb

wfdb = pytest.importorskip("wfdb", reason='needs the extra "readers"')

RATE, SECONDS = 100, 10
TIME = np.arange(RATE * SECONDS) / RATE
LEADS = {"II": np.cos(2 * np.pi * TIME), "V5": np.sin(2 * np.pi * TIME), "ABP": TIME}


def write(folder, name, leads, units, factor=1.0, annotated=True, **annotation):
    values = np.column_stack([LEADS[lead] for lead in leads]) * factor
    wfdb.wrsamp(
        name,
        fs=RATE,
        units=units,
        sig_name=leads,
        p_signal=values,
        fmt=["16"] * len(leads),
        write_dir=str(folder),
    )
    if annotated:
        places = annotation.pop("places", RATE * np.arange(2, 9))
        symbols = ["N"] * len(places)
        wfdb.wrann(name, "atr", places, symbol=symbols, write_dir=str(folder), **annotation)


def load(folder, **options):
    options = {"mode": "windows", "length": 200, "frequency": None} | options
    return load_wfdb(folder, **options)


@pytest.mark.parametrize("leads", [0, "II", [0], ["II"]])
def test_a_lead_is_that_of_its_name_in_every_record(leads, tmp_path):
    write(tmp_path, "r1", ["II", "ABP"], ["mV", "mmHg"])
    write(tmp_path, "r2", ["V5", "II"], ["mV", "mV"])
    windows = load(tmp_path, leads=leads)
    for record in ("r1", "r2"):
        found = windows[windows["record"] == record].values.reshape(5, 200)
        np.testing.assert_allclose(found, LEADS["II"].reshape(5, 200), atol=1e-3)


def test_several_leads_by_place_are_matched_by_name(tmp_path):
    write(tmp_path, "r1", ["II", "V5"], ["mV", "mV"])
    write(tmp_path, "r2", ["ABP", "V5", "II"], ["mmHg", "mV", "mV"])
    windows = load(tmp_path, leads=[0, 1])
    np.testing.assert_allclose(windows[5:], windows[:5], atol=1e-3)


def test_a_record_that_lacks_the_lead_is_named(tmp_path):
    write(tmp_path, "r1", ["II", "ABP"], ["mV", "mmHg"])
    write(tmp_path, "r2", ["V5", "ABP"], ["mV", "mmHg"])
    with pytest.raises(ValueError, match=r"r2: no lead 'II', which lead 0 is in the first record"):
        load(tmp_path)
    with pytest.raises(ValueError, match=r"r2: no lead 'II'; the record has V5, ABP"):
        load(tmp_path, leads="II")


def test_two_leads_of_one_name_are_told_apart_by_place(tmp_path):
    write(tmp_path, "r1", ["II", "V5"], ["mV", "mV"])
    header = tmp_path / "r1.hea"  # the library writes no such records, but reads them
    header.write_text(header.read_text().replace("V5", "II"))
    with pytest.raises(ValueError, match=r"2 leads are called 'II'; .* places, which are \[0, 1\]"):
        load(tmp_path, leads="II")
    both = load(tmp_path, leads=[1, 0])
    for k, lead in enumerate(("V5", "II")):
        found = both.isel(channel=k).values.ravel()
        np.testing.assert_allclose(found, LEADS[lead], atol=1e-3)


@pytest.mark.parametrize(("unit", "factor"), [("uV", 1e3), ("V", 1e-3), ("mV", 1.0)])
def test_values_are_in_the_unit_of_the_first_record(unit, factor, tmp_path):
    write(tmp_path, "r1", ["II"], ["mV"])
    write(tmp_path, "r2", ["II"], [unit], factor)
    windows = load(tmp_path)
    assert windows.attrs["units"] == "mV"
    np.testing.assert_allclose(windows[5:], windows[:5], atol=2e-3)


def test_units_that_cannot_be_converted_are_refused(tmp_path):
    write(tmp_path, "r1", ["II"], ["mV"])
    write(tmp_path, "r2", ["II"], ["adu"])
    with pytest.raises(ValueError, match=r"r2: lead 'II' is in 'adu', and in 'mV' in the first"):
        load(tmp_path)


@pytest.mark.parametrize("ticks", [100, 200, 50, 1000])
def test_annotations_may_count_in_ticks_of_their_own(ticks, tmp_path):
    places = ticks * np.arange(2, 9)
    write(tmp_path, "r1", ["II"], ["mV"], places=places, fs=ticks)
    assert wfdb.rdann(str(tmp_path / "r1"), "atr").fs == ticks
    beats = load(tmp_path, mode="beats", length=101, scale=False)
    np.testing.assert_allclose(beats["onset"], np.arange(2, 9))
    np.testing.assert_allclose(beats.sel(time=0.0), 1.0, atol=1e-3)  # the cosine's peaks


@pytest.mark.parametrize("frequency", [None, 100.0, 250.0])
@pytest.mark.parametrize("leads", [["slow", "fast"], ["fast", "slow"], "fast"])
def test_leads_of_several_rates_are_resampled_each_from_its_own(leads, frequency, tmp_path):
    fast = np.arange(4 * RATE * SECONDS) / (4 * RATE)
    signals = [np.cos(2 * np.pi * TIME), np.cos(2 * np.pi * 30 * fast)]
    wfdb.Record(
        record_name="r1",
        n_sig=2,
        fs=RATE,
        sig_len=len(TIME),
        samps_per_frame=[1, 4],
        fmt=["16", "16"],
        file_name=["r1.dat", "r1.dat"],
        adc_gain=[1000.0, 1000.0],
        baseline=[0, 0],
        adc_res=[16, 16],
        adc_zero=[0, 0],
        block_size=[0, 0],
        init_value=[1000, 1000],
        checksum=[0, 0],
        units=["mV", "mV"],
        sig_name=["slow", "fast"],
        e_d_signal=[np.rint(1000 * signal).astype(np.int64) for signal in signals],
    ).wrsamp(write_dir=str(tmp_path), expanded=True)
    (record,) = load_wfdb(tmp_path, mode="records", leads=leads, frequency=frequency)
    rate = 400.0 if frequency is None else frequency
    assert record.attrs["frequency"] == rate
    inner = record.isel(time=slice(int(rate), int(-rate)))
    time = inner["time"].values
    expected = {"slow": np.cos(2 * np.pi * time), "fast": np.cos(2 * np.pi * 30 * time)}
    for k, lead in enumerate([leads] if isinstance(leads, str) else leads):
        found = inner if isinstance(leads, str) else inner.isel(channel=k)
        np.testing.assert_allclose(found, expected[lead], atol=0.02)


def test_a_record_without_a_rate_is_refused(tmp_path):
    write(tmp_path, "r1", ["II"], ["mV"])
    header = tmp_path / "r1.hea"
    header.write_text(header.read_text().replace("r1 1 100", "r1 1 0", 1))
    with pytest.raises(ValueError, match=r"r1\.hea: samples per second must be positive, got 0"):
        load(tmp_path)


@pytest.mark.parametrize("mode", ["beats", "windows", "records"])
def test_one_lead_alone_keeps_its_name(tmp_path, mode):
    write(tmp_path, "a", ["II", "V5"], ["mV", "mV"])
    read = load_wfdb(tmp_path / "a", mode=mode, leads=1, length=50)
    (first, *_) = read if isinstance(read, list) else [read]
    assert first["channel"].ndim == 0
    assert first["channel"].item() == "V5"


def test_one_lead_alone_is_written_under_its_name(tmp_path):
    write(tmp_path, "a", ["II", "V5"], ["mV", "mV"], annotated=False)
    (lead,) = load_wfdb(tmp_path / "a", mode="records", leads="V5", frequency=None)
    save_wfdb(lead, tmp_path / "b")
    assert wfdb.rdheader(str(tmp_path / "b")).sig_name == ["V5"]
