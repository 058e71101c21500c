"""DICOM waveforms: leads by name, values in their unit, time in seconds."""

import numpy as np
import pytest

from neurfield.cli import main
from neurfield.datasets import load_dicom_waveforms, open_signals, save_wfdb
from neurfield.errors import FileError, MissingFileError

pydicom = pytest.importorskip("pydicom", reason='needs the extra "dicom"')

from dicom_files import TwelveLeadECGWaveformStorage, dataset_of, item, save, write  # noqa: E402
from pydicom.data import get_testdata_file  # noqa: E402
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian  # noqa: E402

STEPS = np.arange(-6, 6, dtype=np.int16).reshape(6, 2)


def channel(name, unit="uV", **elements):
    given = {"ChannelSensitivity": 2.5, "ChannelSensitivityCorrectionFactor": 1.0}
    given |= {"ChannelBaseline": 0.0} | elements
    return item(
        ChannelSourceSequence=[item(CodeMeaning=name)],
        ChannelSensitivityUnitsSequence=[item(CodeValue=unit)] if unit else None,
        **given,
    )


def group(channels, samples=STEPS, **elements):
    given = {
        "SamplingFrequency": 250,
        "WaveformBitsAllocated": 8 * samples.dtype.itemsize,
        "WaveformSampleInterpretation": {"i2": "SS", "u2": "US", "i4": "SL", "u1": "UB"}[
            samples.dtype.str[1:]
        ],
        "NumberOfWaveformChannels": samples.shape[1],
        "NumberOfWaveformSamples": len(samples),
        "WaveformOriginality": "ORIGINAL",
        "MultiplexGroupLabel": "RHYTHM",
        "ChannelDefinitionSequence": channels,
        "WaveformData": samples.tobytes(),
    }
    dataset = item(**{k: v for k, v in (given | elements).items() if v is not None})
    for keyword in ("WaveformData", "WaveformPaddingValue"):
        if keyword in dataset:
            dataset[keyword].VR = "OW"
    return dataset


def write_waveform(path, *groups, syntax=ExplicitVRLittleEndian):
    nothing = dict.fromkeys(["Rows", "Columns", "PixelData", "SamplesPerPixel", "BitsAllocated"])
    dataset = dataset_of(
        np.zeros((1, 1), np.int16),
        kind=TwelveLeadECGWaveformStorage,
        syntax=syntax,
        Modality="ECG",
        WaveformSequence=list(groups),
        **nothing,
    )
    return save(dataset, path)


TWO = [channel("Lead I (Einthoven)"), channel("Lead II")]


def test_a_real_ecg_is_as_pydicom_reads_it():
    path = get_testdata_file("waveform_ecg.dcm")
    dataset = pydicom.dcmread(path)
    signals = open_signals(path)
    assert [signal.attrs["group"] for signal in signals] == ["RHYTHM", "MEDIAN BEAT"]
    for index, signal in enumerate(signals):
        expected = dataset.waveform_array(index)
        np.testing.assert_allclose(signal.transpose("time", "channel"), expected, rtol=1e-6)
        np.testing.assert_allclose(signal["time"], np.arange(len(expected)) / 1000)
        assert signal["time"].attrs["units"] == "s"
        assert signal.attrs["units"] == "uV"
    assert signals[0]["channel"].values.tolist() == [
        *("I", "II", "III", "aVR", "aVL", "aVF"),
        *("V1", "V2", "V3", "V4", "V5", "V6"),
    ]


@pytest.mark.parametrize(
    ("dtype", "syntax"),
    [
        *((dtype, ExplicitVRLittleEndian) for dtype in ("i2", "u2", "i4", "u1")),
        *((dtype, ExplicitVRBigEndian) for dtype in ("i2", "i4")),
    ],
)
def test_samples_become_physical_values(tmp_path, dtype, syntax):
    samples = (STEPS + 100).astype(dtype)
    order = "<" if syntax == ExplicitVRLittleEndian else ">"
    channels = [
        channel("Lead I", ChannelSensitivity=2.5, ChannelBaseline=-3.0),
        channel("Lead II", ChannelSensitivity=0.5, ChannelSensitivityCorrectionFactor=1.1),
    ]
    stored = samples.astype(np.dtype(dtype).newbyteorder(order)).tobytes()
    path = write_waveform(
        tmp_path / "a.dcm", group(channels, samples, WaveformData=stored), syntax=syntax
    )
    (signal,) = load_dicom_waveforms(path)
    expected = samples * [2.5, 0.5 * 1.1] + [-3.0, 0.0]
    np.testing.assert_allclose(signal.values, expected, rtol=1e-6)
    np.testing.assert_allclose(signal["time"], np.arange(6) / 250)
    if order == "<":
        reference = pydicom.dcmread(path).waveform_array(0)
        np.testing.assert_allclose(signal.values, reference, rtol=1e-6)


def test_padding_is_not_observed(tmp_path):
    padding = np.int16(-3).tobytes()
    path = write_waveform(tmp_path / "a.dcm", group(TWO, WaveformPaddingValue=padding))
    (signal,) = load_dicom_waveforms(path)
    np.testing.assert_allclose(signal.values, np.where(STEPS == -3, np.nan, 2.5 * STEPS))


@pytest.mark.parametrize(
    ("elements", "start"),
    [
        ({"MultiplexGroupTimeOffset": 500}, 0.5),
        ({"ChannelDefinitionSequence": [channel(n, ChannelSampleSkew=5) for n in "ab"]}, 0.02),
        ({"ChannelDefinitionSequence": [channel(n, ChannelTimeSkew=0.25) for n in "ab"]}, 0.25),
    ],
)
def test_time_begins_where_the_file_says(tmp_path, elements, start):
    path = write_waveform(tmp_path / "a.dcm", group(TWO, **elements))
    (signal,) = load_dicom_waveforms(path)
    np.testing.assert_allclose(signal["time"], start + np.arange(6) / 250)


def test_groups_are_signals_of_their_own_rate(tmp_path):
    slow = group(TWO, SamplingFrequency=100, MultiplexGroupLabel="SLOW")
    path = write_waveform(tmp_path / "a.dcm", group(TWO), slow)
    rates = [1 / float(s["time"][1]) for s in load_dicom_waveforms(path)]
    np.testing.assert_allclose(rates, [250, 100])
    for asked in (1, "SLOW"):
        (signal,) = load_dicom_waveforms(path, group=asked)
        assert float(signal["time"][1]) == 0.01
    with pytest.raises(FileError, match=r"no group 'FAST'; its groups are \['RHYTHM', 'SLOW'\]"):
        load_dicom_waveforms(path, group="FAST")


def test_leads_are_matched_by_name_in_one_unit(tmp_path):
    write_waveform(tmp_path / "1.dcm", group(TWO))
    mixed = [channel("Lead II", "mV"), channel("Lead I", "mV")]
    write_waveform(tmp_path / "2.dcm", group(mixed))
    first, second = load_dicom_waveforms(tmp_path)
    assert second["channel"].values.tolist() == ["I", "II"]
    assert second.attrs["units"] == "uV"
    np.testing.assert_allclose(second.values, 1000 * first.values[:, ::-1], rtol=1e-6)
    for leads in ("II", 1, ["II"], [1]):
        first, second = load_dicom_waveforms(tmp_path, leads=leads)
        assert first.dims == (("time", "channel") if isinstance(leads, list) else ("time",))
        np.testing.assert_allclose(first.values.ravel(), 2.5 * STEPS[:, 1])
        np.testing.assert_allclose(second.values.ravel(), 2500 * STEPS[:, 0], rtol=1e-6)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["Lead I (Einthoven)", "Lead aVR"], ["I", "aVR"]),
        (["Lead V1", "Lead V1 (right)"], ["Lead V1", "Lead V1 (right)"]),
        (["ABP", "Pressure (left)"], ["ABP", "Pressure (left)"]),
    ],
)
def test_names_are_short_where_that_tells_leads_apart(tmp_path, names, expected):
    path = write_waveform(tmp_path / "a.dcm", group([channel(name) for name in names]))
    assert load_dicom_waveforms(path)[0]["channel"].values.tolist() == expected


@pytest.mark.parametrize(
    ("elements", "match"),
    [
        ({"SamplingFrequency": 0}, "SamplingFrequency of group 0 must be positive"),
        ({"SamplingFrequency": None}, "SamplingFrequency of group 0 must be positive"),
        ({"NumberOfWaveformSamples": 10**9}, "WaveformData has 24; is it truncated"),
        ({"NumberOfWaveformChannels": 3}, "ChannelDefinitionSequence describes 2"),
        ({"WaveformSampleInterpretation": "MB", "WaveformBitsAllocated": 8}, "stored as MB of 8"),
        ({"WaveformBitsAllocated": 12}, "stored as SS of 12 bits"),
        ({"WaveformData": None}, "could not be read as a DICOM waveform"),
        ({"ChannelDefinitionSequence": [channel("a"), channel("a")]}, "cannot be told apart"),
        (
            {"ChannelDefinitionSequence": [channel("a"), channel("b", "mm[Hg]")]},
            r"lead 'b' is in mm\[Hg\] .* where uV is that of the first",
        ),
        (
            {"ChannelDefinitionSequence": [channel("a"), channel("b", None)]},
            r"lead 'b' is in no unit",
        ),
        (
            {"ChannelDefinitionSequence": [channel("a"), channel("b", ChannelTimeSkew=0.1)]},
            "sampled at different moments",
        ),
        (
            {"ChannelDefinitionSequence": [channel("a", ChannelSensitivity=0), channel("b")]},
            "ChannelSensitivity of lead 'a' must not be 0",
        ),
    ],
)
def test_waveforms_that_cannot_be_known_are_refused(tmp_path, elements, match):
    path = write_waveform(tmp_path / "a.dcm", group(TWO, **elements))
    with pytest.raises(FileError, match=match) as refusal:
        load_dicom_waveforms(path)
    assert refusal.value.path == path


def test_a_file_that_lacks_a_lead_is_named(tmp_path):
    write_waveform(tmp_path / "1.dcm", group(TWO))
    write_waveform(tmp_path / "2.dcm", group([channel("Lead I"), channel("Lead V5")]))
    with pytest.raises(FileError, match=r"2\.dcm: no lead 'II', which lead 1 is .*; .* has I, V5"):
        load_dicom_waveforms(tmp_path, leads=1)
    with pytest.raises(FileError, match=r"1\.dcm: no lead 7"):
        load_dicom_waveforms(tmp_path, leads=7)


def test_folders_of_waveforms_are_found(tmp_path):
    write_waveform(tmp_path / "ecg" / "1", group(TWO))
    write_waveform(tmp_path / "ecg" / "2", group(TWO))
    (tmp_path / "ecg" / "DICOMDIR").write_bytes(b"not looked at")
    assert len(open_signals(tmp_path / "ecg")) == 2
    write(tmp_path / "ecg" / "picture.dcm", np.ones((2, 2), np.int16))
    with pytest.warns(UserWarning, match=r"1 file was passed over: 1 × image \(picture\.dcm\)"):
        assert len(open_signals(tmp_path / "ecg")) == 2
    nothing = tmp_path / "nothing"
    nothing.mkdir()
    with pytest.raises(MissingFileError, match="no DICOM waveform in this folder"):
        load_dicom_waveforms(nothing)


def test_the_command_line_reads_waveforms(tmp_path):
    path = write_waveform(tmp_path / "a.dcm", group(TWO, np.tile(STEPS, (10, 1))))
    target = tmp_path / "ecg.field"
    tiny = ["--latent-dim", "2", "--hidden-dim", "4", "--n-layers", "2", "--max-iter", "2"]
    assert main(["fit", str(path), "--lead", "II", "-o", str(target), *tiny, "-q"]) == 0
    assert target.exists()


def test_one_lead_keeps_name_rate_and_start_when_written_as_wfdb(tmp_path):
    wfdb = pytest.importorskip("wfdb")
    path = get_testdata_file("waveform_ecg.dcm")
    (lead,) = load_dicom_waveforms(path, leads="V5", group="RHYTHM")
    save_wfdb(lead, tmp_path / "ecg")
    record = wfdb.rdrecord(tmp_path / "ecg")
    assert (record.sig_name, record.fs) == (["V5"], lead.attrs["frequency"])
    assert (
        record.base_datetime.strftime("%Y%m%d%H%M%S") == pydicom.dcmread(path).AcquisitionDateTime
    )
