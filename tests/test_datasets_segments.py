"""WFDB records of several segments, as of MIMIC: the same values as the library, gaps as NaN."""

import numpy as np
import pytest

from neurfield.datasets import load_wfdb
from neurfield.errors import FileError

wfdb = pytest.importorskip("wfdb", reason='needs the extra "readers"')

RATE, LENGTH = 50, 200


def segment(folder, name, leads, length=LENGTH, gain=100.0, units="mV", seed=0):
    rng = np.random.default_rng(seed)
    wfdb.wrsamp(
        name,
        fs=RATE,
        units=[units] * len(leads),
        sig_name=leads,
        d_signal=rng.integers(-500, 500, (length, len(leads))),
        fmt=["16"] * len(leads),
        adc_gain=[gain] * len(leads),
        baseline=[seed] * len(leads),
        write_dir=str(folder),
    )


def join(folder, names, lengths, n_leads=2):
    lines = [f"m1/{len(names)} {n_leads} {RATE} {sum(lengths)}"]
    lines += [f"{name} {length}" for name, length in zip(names, lengths, strict=True)]
    (folder / "m1.hea").write_text("\n".join(lines) + "\n")


def layout(folder, leads, unit="mV"):
    lines = [f"~ 0 100/{unit} 0 0 0 0 0 {lead}" for lead in leads]
    header = f"m1_layout {len(leads)} {RATE} 0\n" + "\n".join(lines) + "\n"
    (folder / "m1_layout.hea").write_text(header)


def fixed(folder):
    segment(folder, "m1_1", ["II", "V1"], seed=1)
    segment(folder, "m1_2", ["II", "V1"], 100, seed=2)
    join(folder, ["m1_1", "m1_2"], [LENGTH, 100])


def variable(folder):
    """Write leads that come and go, gains that change, and a gap, as in MIMIC."""
    layout(folder, ["II", "V1", "ABP"])
    segment(folder, "m1_1", ["II", "V1"], gain=100.0, seed=1)
    segment(folder, "m1_2", ["V1", "II"], 100, gain=40.0, seed=2)
    segment(folder, "m1_3", ["ABP"], 120, seed=3)
    names = ["m1_layout", "~", "m1_1", "~", "m1_2", "m1_3"]
    join(folder, names, [0, 30, LENGTH, 50, 100, 120], 3)


def read(folder, **options):
    options = {"mode": "records", "frequency": None} | options
    return load_wfdb(folder, **options)


@pytest.mark.parametrize("leads", [["II", "V1"], ["V1"], [1, 0]])
@pytest.mark.parametrize("make", [fixed, variable])
def test_values_and_gaps_are_those_of_the_library(make, leads, tmp_path):
    make(tmp_path)
    (found,) = read(tmp_path / "m1", leads=leads)
    expected = wfdb.rdrecord(str(tmp_path / "m1"), m2s=True)
    columns = [expected.sig_name.index(name) for name in found["channel"].values]
    np.testing.assert_allclose(found, expected.p_signal[:, columns], rtol=1e-6)
    assert found.attrs["units"] == "mV"


def test_a_lead_that_comes_late_is_missing_before(tmp_path):
    variable(tmp_path)
    (found,) = read(tmp_path / "m1", leads="ABP")
    np.testing.assert_array_equal(np.isnan(found), np.arange(500) < 380)


def test_segments_are_not_read_again_as_records(tmp_path):
    variable(tmp_path)
    segment(tmp_path, "r1", ["II"])
    assert [one.attrs["record"] for one in read(tmp_path)] == ["m1", "r1"]


def test_windows_in_gaps_are_left_out(tmp_path):
    variable(tmp_path)
    windows = load_wfdb(tmp_path / "m1", mode="windows", length=10, frequency=None)
    starts = 50 * windows["onset"].values
    gap = (starts < 30) | ((starts >= 230) & (starts < 280)) | (starts >= 380)
    assert not gap.any()
    assert len(windows) == (LENGTH + 100) / 10


def test_beats_lie_where_they_are_over_all_segments(tmp_path):
    variable(tmp_path)
    wfdb.wrann("m1", "atr", np.array([100, 300]), symbol=["N", "V"], write_dir=str(tmp_path))
    beats = load_wfdb(tmp_path / "m1", length=11, frequency=None, scale=False)
    expected = wfdb.rdrecord(str(tmp_path / "m1")).p_signal[:, 0]
    np.testing.assert_allclose(beats, [expected[95:106], expected[295:306]], rtol=1e-6)
    assert beats["onset"].values.tolist() == [2.0, 6.0]


def test_a_segment_in_another_unit_is_converted(tmp_path):
    fixed(tmp_path)
    (before,) = read(tmp_path / "m1")
    header = tmp_path / "m1_2.hea"
    header.write_text(header.read_text().replace("/mV", "/uV"))
    (after,) = read(tmp_path / "m1")
    np.testing.assert_allclose(after[:LENGTH], before[:LENGTH])
    np.testing.assert_allclose(1000 * after[LENGTH:], before[LENGTH:], rtol=1e-6)


@pytest.mark.parametrize(
    ("file", "old", "new", "match"),
    [
        ("m1.hea", "m1_2 100", "m1_2 101", r"m1_2\.hea: holds 100 samples, and m1\.hea states 101"),
        ("m1.hea", "m1_2 100", "m1 100", "its segment m1 has segments of its own"),
        ("m1.hea", "m1_2 100", "../m1_2 100", "only files in the header's folder"),
        ("m1.hea", "m1_2 100", "gone 100", r"gone\.hea: no such file"),
        ("m1.hea", "m1/2", "m1/3", "states 3 segments and lists 2"),
        ("m1.hea", "50 300", "50 301", "states 301 samples; its segments have 300"),
        ("m1_2.hea", "2 50", "2 60", "has 60 samples per second, and m1.hea 50"),
        ("m1_2.hea", "/mV", "/mmHg", "is in 'mmHg', and in 'mV' in the segments before"),
    ],
)
def test_segments_that_do_not_fit_are_refused(file, old, new, match, tmp_path):
    fixed(tmp_path)
    header = tmp_path / file
    assert old in header.read_text()
    header.write_text(header.read_text().replace(old, new, 1))
    with pytest.raises(FileError, match=match):
        read(tmp_path / "m1")


def test_gaps_that_would_fill_the_memory_are_refused(tmp_path):
    fixed(tmp_path)
    join(tmp_path, ["m1_1", "~", "m1_2"], [LENGTH, 10**12, 100])
    with pytest.raises(FileError, match=r"m1\.hea: the gaps between its segments takes 8000000000"):
        read(tmp_path / "m1")


def test_one_segment_may_not_be_repeated_without_end(tmp_path):
    fixed(tmp_path)
    join(tmp_path, ["m1_1"] * 20, [LENGTH] * 20)
    (found,) = read(tmp_path / "m1")
    assert found.sizes == {"time": 20 * LENGTH}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NEURFIELD_MAX_BYTES", "20000")
        with pytest.raises(FileError, match="NEURFIELD_MAX_BYTES"):
            read(tmp_path / "m1")
