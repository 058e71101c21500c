"""DICOM series, written by pydicom and bundled with it."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from neurfield.datasets import load_dicom, open_signals, save_nifti
from neurfield.errors import FileError

pydicom = pytest.importorskip("pydicom")
nibabel = pytest.importorskip("nibabel")

from pydicom.data import get_testdata_file  # noqa: E402
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid  # noqa: E402

ROTATION = np.array([[0.8, 0.6, 0.0], [-0.48, 0.64, 0.6], [0.36, -0.48, 0.8]])


def write_slice(path: Path, pixels: np.ndarray, series: str, position, **elements) -> None:
    """Write a CT slice of 0.5 mm between columns and 0.75 mm between rows."""
    meta = pydicom.dataset.FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = pydicom.dataset.Dataset()
    dataset.file_meta = meta
    dataset.SOPClassUID = CTImageStorage
    dataset.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    dataset.SeriesInstanceUID = series
    dataset.SeriesNumber = 1
    dataset.SeriesDescription = "chest"
    dataset.Modality = "CT"
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit = 15
    dataset.PixelRepresentation = 1
    dataset.PixelSpacing = [0.75, 0.5]
    dataset.ImagePositionPatient = [round(float(number), 6) for number in position]
    dataset.ImageOrientationPatient = [round(float(n), 6) for n in ROTATION[:, :2].T.ravel()]
    dataset.SliceThickness = 2.0
    dataset.RescaleSlope, dataset.RescaleIntercept = 2, -1024
    dataset.PixelData = pixels.astype("<i2").tobytes()
    for keyword, value in elements.items():
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    dataset.save_as(path, enforce_file_format=True)


def write_series(folder: Path, n_slices: int = 4, series: str = "1.2.3", **elements) -> np.ndarray:
    """Write slices in an order of names that is not that of positions; return (x, y, z)."""
    folder.mkdir(exist_ok=True)
    pixels = np.random.default_rng(0).integers(-500, 500, (n_slices, 5, 6))
    for index in range(n_slices):
        position = np.array([10.0, -20.0, 30.0]) + 2.0 * index * ROTATION[:, 2]
        name = f"{series}-{(index * 5 + 1) % n_slices}.dcm"
        write_slice(folder / name, pixels[index], series, position, **elements)
    return 2.0 * pixels.transpose(2, 1, 0) - 1024


@pytest.mark.parametrize("lazy", [False, True])
def test_series_is_sorted_scaled_and_placed(tmp_path, lazy):
    expected = write_series(tmp_path / "ct")
    (tmp_path / "ct" / "notes.txt").write_text("not an image")
    (volume,) = load_dicom(tmp_path / "ct", lazy=lazy)
    assert (volume.chunks is not None) == lazy
    np.testing.assert_array_equal(volume, expected)
    assert volume.dims == ("x", "y", "z")
    assert volume.dtype == np.float32
    np.testing.assert_allclose(volume["x"], 0.5 * np.arange(6))
    np.testing.assert_allclose(volume["y"], 0.75 * np.arange(5))
    np.testing.assert_allclose(volume["z"], 2.0 * np.arange(4), rtol=1e-5)
    assert volume["z"].attrs["units"] == "mm"
    assert {k: volume.attrs[k] for k in ("units", "modality", "series", "filename")} == {
        "units": "HU",
        "modality": "CT",
        "series": "chest",
        "filename": "1.2.3",
    }
    # Position of voxel (2, 3, 1) by the standard's formula, then left and back to right and front.
    position = [10, -20, 30] + ROTATION @ [2 * 0.5, 3 * 0.75, 1 * 2.0]
    affine = np.array(volume.attrs["affine"])
    np.testing.assert_allclose((affine @ [2, 3, 1, 1])[:3], position * [-1, -1, 1], atol=1e-4)


def test_affine_survives_nifti(tmp_path):
    write_series(tmp_path / "ct")
    (volume,) = load_dicom(tmp_path / "ct")
    save_nifti(volume, tmp_path / "ct.nii.gz")
    image = nibabel.load(tmp_path / "ct.nii.gz")
    np.testing.assert_allclose(image.affine, volume.attrs["affine"], atol=1e-5)
    np.testing.assert_array_equal(image.get_fdata(), volume)


@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small.dcm"])
def test_affine_agrees_with_nibabels(name):
    path = get_testdata_file(name)
    (image,) = load_dicom(path)
    # nibabel counts rows before columns, and positions towards left and back.
    wrappers = pytest.importorskip("nibabel.nicom.dicomwrappers")
    reference = np.diag([-1, -1, 1, 1]) @ wrappers.wrapper_from_file(path).affine
    affine = np.array(image.attrs["affine"])
    np.testing.assert_allclose(affine[:, [0, 1, 3]], reference[:, [1, 0, 3]])


def test_tilted_gantry_keeps_its_shear(tmp_path):
    tmp_path.joinpath("ct").mkdir()
    for index in range(3):
        write_slice(
            tmp_path / "ct" / f"{index}.dcm",
            np.full((2, 2), index),
            "1.2",
            [0.0, 0.5 * index, 2.0 * index],
            ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
        )
    (volume,) = load_dicom(tmp_path / "ct")
    np.testing.assert_allclose(np.array(volume.attrs["affine"])[:3, 2], [0, -0.5, 2.0])
    np.testing.assert_allclose(volume["z"][1], np.hypot(0.5, 2.0))


def test_several_series_become_several_volumes(tmp_path):
    write_series(tmp_path / "a", 3, "1.2.9", SeriesNumber=2)
    write_series(tmp_path / "a" / "deeper", 4, "1.2.8", SeriesNumber=10)
    volumes = load_dicom(tmp_path / "a")
    assert [volume.attrs["filename"] for volume in volumes] == ["1.2.9", "1.2.8"]
    assert [volume.sizes["z"] for volume in volumes] == [3, 4]
    assert len(open_signals(tmp_path / "a")) == 2


def test_a_single_slice_is_an_image_in_millimetres(tmp_path):
    write_series(tmp_path / "ct", 1)
    (image,) = load_dicom(tmp_path / "ct")
    assert image.dims == ("x", "y")
    np.testing.assert_allclose(image["x"], 0.5 * np.arange(6))
    np.testing.assert_allclose(image["y"], 0.75 * np.arange(5))
    np.testing.assert_allclose(np.linalg.norm(image.attrs["affine"], axis=0)[:3], [0.5, 0.75, 2])


def test_a_radiograph_has_its_detectors_spacing(tmp_path):
    gone = dict.fromkeys(["ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"])
    write_slice(
        tmp_path / "a.dcm", np.ones((3, 4)), "1", [0, 0, 0], **gone, ImagerPixelSpacing=[0.2, 0.1]
    )
    (image,) = load_dicom([tmp_path / "a.dcm"])
    np.testing.assert_allclose(image["x"], 0.1 * np.arange(4))
    assert image["y"].attrs["units"] == "mm"
    write_slice(tmp_path / "a.dcm", np.ones((3, 4)), "1", [0, 0, 0], **gone)
    (image,) = open_signals(tmp_path / "a.dcm")
    assert image["x"].values.tolist() == [0, 1, 2, 3]
    assert "units" not in image["x"].attrs
    # Two views of one series stay two images.
    write_slice(tmp_path / "b.dcm", np.zeros((5, 4)), "1", [0, 0, 0], **gone)
    assert [view.shape for view in load_dicom(tmp_path)] == [(4, 3), (4, 5)]


def test_a_missing_slice_is_noticed(tmp_path):
    write_series(tmp_path / "ct", 6)
    headers = {p: pydicom.dcmread(p) for p in (tmp_path / "ct").iterdir()}
    by_place = sorted(headers, key=lambda p: headers[p].ImagePositionPatient[2])
    by_place[2].unlink()
    where = f"{by_place[1].name}: lies 4 mm from {by_place[3].name}"
    with pytest.raises(FileError, match=rf"{where} \(ImagePositionPatient\) .* a slice is missing"):
        load_dicom(tmp_path / "ct")


@pytest.mark.parametrize(
    ("position", "elements", "match"),
    [
        (6.5, {}, r"lies 0\.5 mm from odd\.dcm .* not evenly spaced"),
        (4.0, {}, r"two slices of one series at the same position .*odd\.dcm"),
        (8.0, {"PixelSpacing": [1, 1]}, r"PixelSpacing is \[1.0, 1.0\].* of the same series"),
        (8.0, {"Rows": 3, "Columns": 10}, "Rows is 3, but 5|Rows is 5, but 3"),
        (8.0, {"ImageOrientationPatient": [1, 0, 0, 0, 1, 0]}, "ImageOrientationPatient is"),
        (8.0, {"ImagePositionPatient": None}, r"odd\.dcm: has no ImagePositionPatient"),
    ],
)
def test_a_slice_that_does_not_belong_is_named(tmp_path, position, elements, match):
    write_series(tmp_path / "ct")
    place = np.array([10.0, -20.0, 30.0]) + position * ROTATION[:, 2]
    write_slice(tmp_path / "ct" / "odd.dcm", np.zeros((5, 6)), "1.2.3", place, **elements)
    with pytest.raises(ValueError, match=match):
        load_dicom(tmp_path / "ct")


@pytest.mark.parametrize("kept", [0.3, 0.9])
def test_truncated_file_is_named(tmp_path, kept):
    write_series(tmp_path / "ct")
    path = tmp_path / "ct" / "1.2.3-2.dcm"
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(ValueError, match=r"1\.2\.3-2\.dcm: .*(truncated|could not be read)"):
        load_dicom(tmp_path / "ct")


def test_what_is_no_image_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no DICOM image in this folder"):
        load_dicom(tmp_path)
    (tmp_path / "a.dcm").write_bytes(b"something else entirely")
    with pytest.raises(ValueError, match=r"a\.dcm: could not be read as a DICOM file"):
        load_dicom(tmp_path / "a.dcm")
    with pytest.raises(ValueError, match=r"rtplan\.dcm: .* no image"):
        load_dicom([get_testdata_file("rtplan.dcm")])


def test_real_ct_slice():
    path = get_testdata_file("CT_small.dcm")
    (image,) = load_dicom([path])
    dataset = pydicom.dcmread(path)
    expected = dataset.pixel_array * float(dataset.RescaleSlope) + float(dataset.RescaleIntercept)
    np.testing.assert_allclose(image.transpose("y", "x"), expected)
    assert image["x"].values[1] == pytest.approx(0.661468)


def test_compressed_pixels_are_decoded_or_refused(tmp_path):
    (plain,) = load_dicom([get_testdata_file("MR_small.dcm")])
    (packed,) = load_dicom([get_testdata_file("MR_small_RLE.dcm")])
    np.testing.assert_array_equal(plain, packed)
    from pydicom.pixels import get_decoder
    from pydicom.uid import JPEG2000Lossless

    path = get_testdata_file("MR_small_jp2klossless.dcm")
    if get_decoder(JPEG2000Lossless).is_available:
        np.testing.assert_array_equal(load_dicom([path])[0], plain)
    else:
        with pytest.raises(ValueError, match=r"jp2klossless\.dcm: .* JPEG 2000 .* no decoder"):
            load_dicom([path])


@pytest.mark.parametrize("name", ["SC_rgb_rle.dcm", "examples_palette.dcm"])
def test_colour_has_channels(name):
    (image,) = load_dicom([get_testdata_file(name)])
    assert image.dims == ("x", "y", "channel")
    assert image.sizes["channel"] == 3
    assert isinstance(image, xr.DataArray)


def test_missing_library_names_the_extra(tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(ImportError, match=r'pydicom; .* pip install "neurfield\[dicom\]"'):
        load_dicom(tmp_path)


def test_positions_say_what_they_refer_to():
    from pydicom.data import get_testdata_file

    (placed,) = load_dicom(get_testdata_file("CT_small.dcm"))
    (unplaced,) = load_dicom(get_testdata_file("examples_rgb_color.dcm"))
    assert (placed.attrs["space"], unplaced.attrs["space"]) == ("scanner", "unknown")
