"""PTB-XL: a small folder laid out like it, written by the library of its format."""

import csv

import numpy as np
import pytest

from neurfield.datasets import PTBXL_SPLITS, load_ptbxl, open_signals
from neurfield.errors import FileError, MissingFileError

wfdb = pytest.importorskip("wfdb", reason='needs the extra "readers"')

LEADS = ["I", "II", "III", "AVR", "AVL", "AVF", "V1", "V2", "V3", "V4", "V5", "V6"]
#: Number, patient, age, sex, fold and statements of each record.
ROWS = [
    (1, "15709.0", "56.0", "1", 3, "{'NORM': 100.0, 'SR': 0.0}"),
    (2, "13243.0", "19.0", "0", 2, "{'IMI': 35.0, 'LVH': 50.0}"),
    (3, "13243.0", "19.0", "0", 2, "{'SR': 0.0}"),
    (4, "20372.0", "300.0", "1", 9, "{'IMI': 100.0, 'AMI': 0.0, 'ABQRS': 0.0}"),
    (5, "17014.0", "", "1", 10, "{'NORM': 80.0}"),
]
STATEMENTS = [
    ("NORM", "1.0", "", "", "NORM", "NORM"),
    ("IMI", "1.0", "", "", "MI", "IMI"),
    ("AMI", "1.0", "", "", "MI", "AMI"),
    ("LVH", "1.0", "", "", "HYP", "LVH"),
    ("ABQRS", "", "1.0", "", "", ""),
    ("SR", "", "", "1.0", "", ""),
]


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    table = []
    for number, *fields in ROWS:
        files = []
        for rate, ending in ((100, "lr"), (500, "hr")):
            where = tmp_path / f"records{rate}" / "00000"
            where.mkdir(parents=True, exist_ok=True)
            wfdb.wrsamp(
                f"{number:05d}_{ending}",
                fs=rate,
                units=["mV"] * 12,
                sig_name=LEADS,
                d_signal=rng.integers(-2000, 2000, (10 * rate, 12)),
                fmt=["16"] * 12,
                adc_gain=[1000.0] * 12,
                baseline=[0] * 12,
                write_dir=str(where),
            )
            files.append(f"records{rate}/00000/{number:05d}_{ending}")
        table.append([number, *fields, "1984-11-09 09:17:34", *files])
    columns = ["ecg_id", "patient_id", "age", "sex", "strat_fold", "scp_codes"]
    save(tmp_path / "ptbxl_database.csv", [*columns, "recording_date", "filename_lr"], table)
    columns = ["", "diagnostic", "form", "rhythm", "diagnostic_class", "diagnostic_subclass"]
    save(tmp_path / "scp_statements.csv", columns, STATEMENTS)
    return tmp_path


def save(path, columns, rows):
    if "filename_lr" in columns:
        columns = [*columns, "filename_hr"]
    with path.open("w", newline="") as stream:
        csv.writer(stream).writerows([columns, *rows])


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


@pytest.mark.parametrize(("frequency", "ending"), [(100, "lr"), (500, "hr")])
def test_values_are_those_of_the_library(frequency, ending, folder):
    found = load_ptbxl(folder, frequency=frequency)
    assert found.dims == ("sample", "channel", "time")
    assert found.shape == (5, 12, 10 * frequency)
    assert found["channel"].values.tolist() == LEADS
    assert found.attrs["units"] == "mV"
    np.testing.assert_allclose(found["time"], np.arange(10 * frequency) / frequency)
    for k in range(5):
        path = folder / f"records{frequency}/00000/{k + 1:05d}_{ending}"
        np.testing.assert_allclose(found[k].T, wfdb.rdrecord(str(path)).p_signal, rtol=1e-6)


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("diagnostic_superclass", ["NORM", "HYP+MI", "", "MI", "NORM"]),
        ("diagnostic_subclass", ["NORM", "IMI+LVH", "", "AMI+IMI", "NORM"]),
        ("diagnostic", ["NORM", "IMI+LVH", "", "AMI+IMI", "NORM"]),
        ("form", ["", "", "", "ABQRS", ""]),
        ("rhythm", ["SR", "", "SR", "", ""]),
    ],
)
def test_labels_are_the_statements_of_the_kind_asked_for(label, expected, folder):
    found = load_ptbxl(folder, label=label)
    assert found["label"].values.tolist() == expected
    classes = {name for one in expected for name in one.split("+") if name}
    for name in classes:
        has = [int(name in one.split("+")) for one in expected]
        assert found[f"label_{name}"].values.tolist() == has
    assert {str(name) for name in found.coords if str(name).startswith("label_")} == {
        f"label_{name}" for name in classes
    }


def test_what_the_table_says_about_a_record_is_kept(folder):
    found = load_ptbxl(folder)
    assert found["sample"].values.tolist() == [1, 2, 3, 4, 5]
    assert found["patient_id"].values.tolist() == [15709, 13243, 13243, 20372, 17014]
    assert found["sex"].values.tolist() == ["female", "male", "male", "female", "female"]
    # The table has 300 for all ages over 89.
    np.testing.assert_array_equal(found["age"], [56, 19, 19, np.nan, np.nan])
    assert found["start"].values[0] == "1984-11-09T09:17:34"


@pytest.mark.parametrize(("split", "numbers"), [("train", [1, 2, 3]), ("val", [4]), ("test", [5])])
def test_splits_are_those_of_the_authors(split, numbers, folder):
    found = load_ptbxl(folder, split=split)
    assert found["sample"].values.tolist() == numbers
    assert set(found["strat_fold"].values) <= set(PTBXL_SPLITS[split])
    assert found.attrs["split"] == split


def test_folds_and_limit_choose_records(folder):
    assert load_ptbxl(folder, folds=[2, 9])["sample"].values.tolist() == [2, 3, 4]
    assert load_ptbxl(folder, limit=2)["sample"].values.tolist() == [1, 2]
    assert load_ptbxl(folder, folds=[2, 9], limit=1)["sample"].values.tolist() == [2]


@pytest.mark.parametrize(
    ("leads", "shape", "columns"),
    [("V1", (5, 1000), 6), (0, (5, 1000), 0), (["V1", "II"], (5, 2, 1000), [6, 1])],
)
def test_leads_are_chosen_by_name_or_place(leads, shape, columns, folder):
    found = load_ptbxl(folder, leads=leads)
    assert found.shape == shape
    np.testing.assert_array_equal(found, load_ptbxl(folder).values[:, columns])


@pytest.mark.parametrize("chunks", [1, 2, 5, 100])
def test_blocks_hold_the_same_values(chunks, folder):
    pytest.importorskip("dask.array")
    found = load_ptbxl(folder, chunks=chunks)
    assert found.chunks[0][0] == min(chunks, 5)
    np.testing.assert_array_equal(found.compute(), load_ptbxl(folder))


def test_a_record_is_read_when_its_block_is(folder):
    pytest.importorskip("dask.array")
    found = load_ptbxl(folder, chunks=1)
    (folder / "records100/00000/00005_lr.dat").unlink()
    assert found[:4].compute().shape == (4, 12, 1000)
    with pytest.raises(MissingFileError, match=r"00005_lr\.dat: no such file"):
        found.compute()


def test_missing_records_are_named(folder):
    for number in (2, 4):
        (folder / f"records100/00000/{number:05d}_lr.hea").unlink()
    missing = r"2 of 5 records are missing: records100/00000/00002_lr, records100/00000/00004_lr;"
    with pytest.raises(MissingFileError, match=missing):
        load_ptbxl(folder)
    assert load_ptbxl(folder, limit=1).sizes["sample"] == 1
    assert load_ptbxl(folder, frequency=500).sizes["sample"] == 5


def test_leads_in_another_order_are_matched_by_name(folder):
    expected = load_ptbxl(folder)
    header = folder / "records100/00000/00002_lr.hea"
    first, *lines = header.read_text().splitlines()
    names = [line.split()[-1] for line in lines]
    turned = [
        line.rpartition(" ")[0] + f" {name}" for line, name in zip(lines, names[::-1], strict=True)
    ]
    header.write_text("\n".join([first, *turned]) + "\n")
    np.testing.assert_array_equal(load_ptbxl(folder)[1], expected[1, ::-1])


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        ("15709.0", "", "line 2, column 'patient_id': '' is not what is expected"),
        ("15709.0", "15709.5", "line 2, column 'patient_id'"),
        ("56.0,1", "56.0,7", "line 2, column 'sex': '7' is not what is expected"),
        ("{'NORM': 100.0, 'SR': 0.0}", "__import__('os')", "line 2, column 'scp_codes'"),
        ("{'NORM': 100.0, 'SR': 0.0}", "[" * 5000, "line 2, column 'scp_codes'"),
        ("records100/00000/00001_lr", "../../00001_lr", "line 2, column 'filename_lr'"),
        ("records100/00000/00001_lr", "/etc/passwd", "line 2, column 'filename_lr'"),
        ("strat_fold", "fold", "has no column 'strat_fold'"),
        ("1984-11-09 09:17:34,", "", "line 2: expected 9 fields"),
    ],
)
def test_tables_that_do_not_hold_are_refused(old, new, match, folder):
    edit(folder / "ptbxl_database.csv", old, new)
    with pytest.raises(FileError, match=f"ptbxl_database.csv: {match}"):
        load_ptbxl(folder)


def test_patients_in_several_splits_are_refused(folder):
    edit(folder / "ptbxl_database.csv", "20372.0", "15709.0")
    with pytest.raises(FileError, match=r"has patients in several splits: \[15709\]"):
        load_ptbxl(folder, split="train")


def test_a_record_of_another_length_is_named(folder):
    wfdb.wrsamp(
        "00002_lr",
        fs=100,
        units=["mV"] * 12,
        sig_name=LEADS,
        p_signal=np.random.default_rng(0).normal(size=(999, 12)),
        fmt=["16"] * 12,
        write_dir=str(folder / "records100/00000"),
    )
    with pytest.raises(FileError, match=r"00002_lr\.hea: lead 'I' has 999 samples at 100"):
        load_ptbxl(folder)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"frequency": 250}, "frequency must be 100 or 500, got 250"),
        ({"label": "superclass"}, "label must be one of diagnostic_superclass, "),
        ({"split": "all"}, "split must be one of train, val, test, got 'all'"),
        ({"folds": [0]}, r"folds must be numbers from 1 to 10, got \[0\]"),
        ({"folds": []}, "folds must be numbers from 1 to 10"),
        ({"split": "val", "folds": [1]}, "give either split or folds"),
        ({"limit": 0}, "limit must be at least 1"),
        ({"chunks": 0}, "chunks must be at least 1"),
        ({"leads": []}, "leads must name one lead or several"),
        ({"leads": "V7"}, "no lead 'V7'; the record has I, II"),
    ],
)
def test_options_are_checked(options, match, folder):
    with pytest.raises(ValueError, match=match):
        load_ptbxl(folder, **options)


def test_a_folder_is_known_by_its_table(folder):
    found = open_signals(folder, limit=2, leads="II")
    np.testing.assert_array_equal(found, load_ptbxl(folder, limit=2, leads="II"))
