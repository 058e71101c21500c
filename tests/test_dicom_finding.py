"""Which files of a folder are DICOM, what is passed over, and files that are damaged or hostile."""

import os
import tracemalloc
import warnings
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from neurfield.datasets import load_dicom, load_dicom_waveforms, open_signals
from neurfield.errors import FileError, MissingFileError

pydicom = pytest.importorskip("pydicom", reason='needs the extra "dicom"')

from dicom_files import dataset_of, save, write  # noqa: E402
from pydicom.data import get_testdata_file  # noqa: E402
from pydicom.pixels import get_decoder  # noqa: E402
from pydicom.uid import (  # noqa: E402
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
    RLELossless,
)

PIXELS = np.arange(48, dtype=np.int16).reshape(4, 3, 4)


def slice_of(index, **elements):
    return dataset_of(
        PIXELS[index],
        ImagePositionPatient=[0, 0, 2.0 * index],
        ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
        PixelSpacing=[1, 1],
        **elements,
    )


@pytest.fixture
def series(tmp_path):
    for index in range(4):
        save(slice_of(index), tmp_path / f"{index}.dcm")
    return tmp_path


@pytest.mark.parametrize(
    "syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian]
)
@pytest.mark.parametrize("with_meta", [False, True])
def test_files_without_the_preamble_are_read(series, syntax, with_meta):
    dataset = slice_of(2)
    if syntax == ExplicitVRBigEndian:
        dataset.PixelData = PIXELS[2].astype(">i2").tobytes()
    dataset.file_meta.TransferSyntaxUID = syntax
    save(dataset, series / "2.dcm")
    content = (series / "2.dcm").read_bytes()
    start = 132
    if not with_meta:
        start += 12 + pydicom.dcmread(series / "2.dcm").file_meta.FileMetaInformationGroupLength
    (series / "2.dcm").write_bytes(content[start:])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (volume,) = load_dicom(series)
        (slice_,) = open_signals(series / "2.dcm")
    np.testing.assert_array_equal(volume.values, PIXELS.T)
    np.testing.assert_array_equal(slice_.values, PIXELS[2].T)


def test_what_is_passed_over_is_counted_and_listed_once(series):
    (series / "deep").mkdir()
    (series / "deep" / "c.raw").write_bytes(b"\x08\x00\x01\x00\xff\xff\xff\xff")
    (series / "x.dcm").write_bytes(b"damaged from the start on" * 10)
    for name in ("rtplan.dcm", "waveform_ecg.dcm"):
        (series / name).write_bytes(Path(get_testdata_file(name)).read_bytes())
    with pytest.warns(UserWarning, match="passed over") as caught:
        (volume,) = load_dicom(series)
    assert volume.sizes["z"] == 4
    (message,) = [str(one.message) for one in caught if "passed over" in str(one.message)]
    assert message.startswith(f"{series}: 4 files were passed over: ")
    for part in (
        f"2 × no DICOM (deep{os.sep}c.raw, x.dcm)",
        "1 × RT Plan Storage (rtplan.dcm)",
        "1 × waveform (waveform_ecg.dcm)",
    ):
        assert part in message
    (caught_at,) = [one.filename for one in caught if "passed over" in str(one.message)]
    assert caught_at == __file__


def test_files_that_lie_beside_dicom_by_custom_go_without_saying(series):
    for name in ("DICOMDIR", "notes.txt", "1.json", ".DS_Store", "README", "LICENSE", "Thumbs.db"):
        (series / name).write_bytes(b"no DICOM")
    directory = get_testdata_file("DICOMDIR")
    if directory is not None:
        (series / "INDEX").write_bytes(Path(directory).read_bytes())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load_dicom(series)[0].sizes["z"] == 4


def test_a_hidden_dicom_file_is_read(series):
    (series / "3.dcm").rename(series / ".3")
    assert load_dicom(series)[0].sizes["z"] == 4


def test_a_folder_without_images_says_what_it_holds(tmp_path):
    path = get_testdata_file("rtplan.dcm")
    (tmp_path / "plan.dcm").write_bytes(Path(path).read_bytes())
    with pytest.raises(MissingFileError, match=r"it holds 1 × RT Plan Storage \(plan\.dcm\)"):
        open_signals(tmp_path)


def test_a_waveform_given_as_an_image_names_its_reader():
    with pytest.raises(
        FileError, match=r"holds no image but a waveform; see .*load_dicom_waveforms"
    ):
        load_dicom(get_testdata_file("waveform_ecg.dcm"))
    with pytest.raises(FileError, match=r"holds no waveform but an image; see .*load_dicom$"):
        load_dicom_waveforms(get_testdata_file("CT_small.dcm"))


def test_arguments_that_ask_for_nothing_or_twice_are_refused():
    path = get_testdata_file("SC_rgb_small_odd.dcm")
    with pytest.raises(ValueError, match=r"paths must name each file once, got .* twice"):
        load_dicom([path, path])
    with pytest.raises(ValueError, match="leads must name one lead or more"):
        load_dicom_waveforms(get_testdata_file("waveform_ecg.dcm"), leads=[])


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
def test_a_pipe_is_never_opened(series):
    os.mkfifo(series / "pipe.dcm")
    with pytest.warns(UserWarning, match=r"1 file was passed over: .*pipe\.dcm"):
        load_dicom(series)
    with pytest.raises(FileError, match="neither a file nor a folder"):
        load_dicom(series / "pipe.dcm")


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize(
    "elements",
    [{"Rows": 65535, "Columns": 65535}, {"NumberOfFrames": 2**31 - 1}, {"Rows": 4}],
)
def test_more_pixels_than_the_file_holds_are_refused_unread(tmp_path, elements, lazy):
    path = write(tmp_path / "a.dcm", PIXELS[0], **elements)
    load_dicom(get_testdata_file("MR_small.dcm"))  # what is imported on use is imported now
    tracemalloc.start()
    with pytest.raises(
        FileError, match=r"ask for \d+ bytes of pixels, but the file has"
    ) as refusal:
        load_dicom(path, lazy=lazy)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert refusal.value.path == path
    assert most < 2e7


def test_a_packed_picture_may_not_unpack_to_more_than_the_limit(tmp_path, monkeypatch):
    path = write(tmp_path / "a.dcm", PIXELS[0], Rows=30000, Columns=30000, syntax=RLELossless)
    with pytest.raises(FileError, match=r"1800000000 bytes or more.*NEURFIELD_MAX_BYTES"):
        load_dicom(path)
    monkeypatch.setenv("NEURFIELD_MAX_BYTES", "1000")
    with pytest.raises(FileError, match=r"decoded picture takes 8192 bytes .* 1000 are allowed"):
        load_dicom(get_testdata_file("MR_small_RLE.dcm"))


@pytest.mark.parametrize(
    "name", ["JPEG2000.dcm", "SC_rgb_jpeg_dcmtk.dcm", "MR_small_jpeg_ls_lossless.dcm"]
)
def test_a_picture_larger_inside_than_its_header_is_refused_undecoded(tmp_path, name):
    dataset = pydicom.dcmread(get_testdata_file(name))
    if not get_decoder(dataset.file_meta.TransferSyntaxUID).is_available:
        pytest.skip("no decoder for its transfer syntax is installed")
    rows, columns = dataset.Rows, dataset.Columns
    dataset.Rows, dataset.Columns = 2, 3
    dataset.save_as(tmp_path / "a.dcm")
    with pytest.raises(FileError, match=rf"are \(2, 3, .*those of .* are \({rows}, {columns}, "):
        load_dicom(tmp_path / "a.dcm")


def test_a_deflated_file_may_not_unpack_to_more_than_the_limit(tmp_path, monkeypatch):
    dataset = dataset_of(np.zeros((1000, 1000), np.int16), syntax=DeflatedExplicitVRLittleEndian)
    path = save(dataset, tmp_path / "a.dcm")
    assert path.stat().st_size < 10_000
    assert load_dicom(path)[0].shape == (1000, 1000)
    monkeypatch.setenv("NEURFIELD_MAX_BYTES", "1000000")
    with pytest.raises(FileError, match=r"1000000 are allowed.*NEURFIELD_MAX_BYTES"):
        load_dicom(path)


def test_a_deflated_bomb_takes_no_memory(tmp_path, monkeypatch):
    path = save(slice_of(0, syntax=DeflatedExplicitVRLittleEndian), tmp_path / "a.dcm")
    load_dicom(path)  # what is imported on use is imported now
    meta_end = 144 + pydicom.dcmread(path).file_meta.FileMetaInformationGroupLength
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    bomb = b"".join([packer.compress(bytes(2**20)) for _ in range(60)] + [packer.flush()])
    path.write_bytes(path.read_bytes()[:meta_end] + bomb)
    monkeypatch.setenv("NEURFIELD_MAX_BYTES", str(5 * 10**7))
    tracemalloc.start()
    with pytest.raises(FileError, match="50000000 are allowed"):
        load_dicom(path)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 2e7


@pytest.mark.skipif(
    not {"pillow", "pylibjpeg"} & set(get_decoder(JPEGBaseline8Bit).available_plugins),
    reason="needs a decoder of JPEG that survives",
)
@pytest.mark.parametrize(("place", "value"), [(40, 128), (197, 0)])
def test_a_picture_at_which_gdcm_ends_the_process_is_read_or_refused(tmp_path, place, value):
    dataset = pydicom.dcmread(get_testdata_file("SC_rgb_jpeg_dcmtk.dcm"))
    pixels = bytearray(dataset.PixelData)
    pixels[place] = value
    dataset.PixelData = bytes(pixels)
    dataset.save_as(tmp_path / "a.dcm")
    with suppress(FileError):
        load_dicom(tmp_path / "a.dcm")


@pytest.mark.parametrize(
    "name",
    [
        "CT_small.dcm",
        "MR_small_RLE.dcm",
        "SC_rgb_rle_2frame.dcm",
        "SC_rgb_small_odd_big_endian.dcm",
        "MR_small_implicit.dcm",
        "JPEG2000.dcm",
        "waveform_ecg.dcm",
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_damaged_files_are_read_or_refused_by_name(tmp_path, name):
    content = Path(get_testdata_file(name)).read_bytes()
    rng = np.random.default_rng(0)
    blamed = []
    for case in range(60):
        damaged = bytearray(content)
        if case % 3 == 0:
            del damaged[rng.integers(len(damaged)) :]
        else:  # where the header is, which is where it hurts
            for place in rng.integers(132, min(3000, len(damaged)), 1 + case % 4):
                damaged[place] = rng.integers(256)
        path = tmp_path / "damaged.dcm"
        path.write_bytes(damaged)
        try:
            open_signals(path)
        except FileError as error:
            blamed.append(error.path)
    assert 0 < len(blamed) < 60
    assert set(blamed) == {tmp_path / "damaged.dcm"}
