"""Recordings on the command line: EDF files and PTB-XL, with the options that they need."""

import numpy as np
import pytest

from neurfield.cli import main
from neurfield.datasets import open_signals

edfio = pytest.importorskip("edfio", reason='needs the extra "eeg"')
wfdb = pytest.importorskip("wfdb", reason='needs the extra "readers"')

TINY = ["--latent-dim", "4", "--hidden-dim", "8", "--max-iter", "2", "--seed", "0", "-q"]


def run(*arguments):
    return main([str(argument) for argument in arguments])


@pytest.fixture
def recording(tmp_path):
    time = np.arange(1000) / 100
    signals = [
        edfio.EdfSignal(scale * np.sin(2 * np.pi * time), 100, label=name, physical_dimension=unit)
        for name, unit, scale in (("Fpz", "uV", 50), ("Temp", "degC", 37))
    ]
    marks = [edfio.EdfAnnotation(onset, None, f"mark {onset}") for onset in range(1, 9)]
    edfio.Edf(signals, annotations=marks).write(tmp_path / "a.edf")
    return tmp_path / "a.edf"


@pytest.mark.parametrize(
    ("options", "n_signals"),
    [
        (["--windows", "--length", 50, "--unit", "mV"], 20),
        (["--events", "--length", 40, "--frequency", 50], 8),
        (["--length", 100, "--lead", "Fpz", "--lead", "Temp"], 10),
    ],
)
def test_edf_is_fitted_and_encoded(options, n_signals, recording, tmp_path):
    field, latents = tmp_path / "a.field", tmp_path / "z.nc"
    assert run("fit", recording, *options, "-o", field, *TINY) == 0
    assert run("transform", field, recording, *options, "-o", latents) == 0
    assert run("decode", field, latents, "-o", tmp_path / "decoded.nc") == 0
    decoded = open_signals(tmp_path / "decoded.nc")
    assert decoded.sizes["sample"] == n_signals
    assert decoded["time"].attrs["units"] == "s"


def test_ptbxl_is_read_as_far_as_asked_for(tmp_path, capsys):
    for number in (1, 2):
        wfdb.wrsamp(
            f"{number:05d}_lr",
            fs=100,
            units=["mV"] * 2,
            sig_name=["I", "II"],
            p_signal=np.random.default_rng(number).normal(size=(1000, 2)),
            fmt=["16"] * 2,
            write_dir=str(tmp_path),
        )
    (tmp_path / "ptbxl_database.csv").write_text(
        "ecg_id,patient_id,age,sex,strat_fold,recording_date,scp_codes,filename_lr\n"
        "1,1.0,50,0,1,1990-01-01 00:00:00,{'NORM': 100.0},00001_lr\n"
        "2,2.0,50,0,1,1990-01-01 00:00:00,{'NORM': 100.0},00002_lr\n"
        "3,3.0,50,0,1,1990-01-01 00:00:00,{'NORM': 100.0},00003_lr\n"
    )
    (tmp_path / "scp_statements.csv").write_text(
        ",diagnostic,form,rhythm,diagnostic_class,diagnostic_subclass\nNORM,1.0,,,NORM,NORM\n"
    )
    options = ["--lead", "II", "--label", "diagnostic", "--split", "train"]
    field = tmp_path / "a.field"
    assert run("fit", tmp_path, *options, "--limit", 2, "-o", field, *TINY) == 0
    assert run("fit", tmp_path, *options, "-o", tmp_path / "b.field", *TINY) == 2
    assert "1 of 3 records are missing: 00003_lr" in capsys.readouterr().err


def test_annotations_come_from_a_file_of_their_own(recording, capsys, tmp_path):
    arguments = ["fit", recording, "--annotations", tmp_path / "gone.edf", "--length", 50]
    assert run(*arguments, "-o", tmp_path / "a.field", *TINY) == 2
    assert "gone.edf: no such file" in capsys.readouterr().err
    (tmp_path / "other").mkdir()
    edfio.read_edf(recording).write(tmp_path / "other" / "notes.edf")
    arguments[3] = tmp_path / "other" / "notes.edf"
    assert run(*arguments, "-o", tmp_path / "a.field", *TINY) == 2
    assert "does not say when it begins" in capsys.readouterr().err


def test_options_that_exclude_each_other_are_refused(recording, capsys, tmp_path):
    arguments = ["fit", recording, "--windows", "--events", "-o", tmp_path / "a.field"]
    assert run(*arguments) == 2
    assert "give either --windows or --events, not both" in capsys.readouterr().err


def test_any_option_of_a_reader_can_be_given(recording, tmp_path, capsys):
    field, latents = tmp_path / "a.field", tmp_path / "z.npz"
    options = ["--option", "mode=records", "--option", "leads=Fpz,Temp"]
    assert run("fit", recording, "-o", field, *TINY, *options) == 0
    assert run("transform", field, recording, "-o", latents, *options) == 0
    assert run("decode", field, latents, "-o", tmp_path / "b.npz") == 0
    assert "1000 × 2" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("subject=01", "01"),
        ("subject=01,02", ["01", "02"]),
        ("run=1", 1),
        ("padding=0.5", 0.5),
        ("padding=-9e3", -9000.0),
        ("lazy=True", True),
        ("clip=none", None),
        ("clip=0,100", [0, 100]),
        ("space=MNI152", "MNI152"),
    ],
)
def test_values_of_options_are_what_they_look_like(text, value):
    import argparse

    from neurfield.cli.inputs import _options, add_input

    parser = argparse.ArgumentParser()
    add_input(parser)
    given = _options(parser.parse_args(["somewhere", "--option", text]))
    assert list(given.values()) == [value]
    assert type(given.popitem()[1]) is type(value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--option", "mode"], "must be NAME=VALUE, got 'mode'"),
        (["--option", "unit=mV", "--unit", "uV"], "--option unit: is given twice"),
        (["--option", "hue=red"], "has no option 'hue'; it has mode"),
    ],
)
def test_options_that_cannot_be_are_named(options, message, recording, tmp_path, capsys):
    assert run("fit", recording, "-o", tmp_path / "a.field", *TINY, *options) == 2
    assert message in capsys.readouterr().err
