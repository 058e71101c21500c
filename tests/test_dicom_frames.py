"""DICOM files of several frames, and where the slices of files and series stand."""

import numpy as np
import pytest

from neurfield.datasets import load_dicom, open_signals
from neurfield.errors import FileError

pydicom = pytest.importorskip("pydicom", reason='needs the extra "dicom"')

from dicom_files import (  # noqa: E402
    EnhancedMRImageStorage,
    MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
    UltrasoundMultiFrameImageStorage,
    item,
    plane,
    write,
    write_enhanced,
)
from pydicom.data import get_testdata_file  # noqa: E402
from pydicom.pixels import pixel_array  # noqa: E402

STRAIGHT = np.eye(3)
OBLIQUE = np.array([[0.8, 0.6, 0.0], [-0.48, 0.64, 0.6], [0.36, -0.48, 0.8]])
MIRRORED = np.array([[1.0, 0, 0], [0, -1.0, 0], [0, 0, -1.0]])
SAGITTAL = np.array([[0, 0, -1.0], [1.0, 0, 0], [0, -1.0, 0]])


def series(folder, rotation=STRAIGHT, n_slices=4, step=2.0, shear=(0, 0, 0), **elements):
    """Write slices of 0.75 mm between rows and 0.5 mm between columns; return (x, y, z)."""
    pixels = np.random.default_rng(0).integers(0, 999, (n_slices, 5, 6)).astype(np.int16)
    for index in range(n_slices):
        position = np.array([10.0, -20, 30]) + index * (step * rotation[:, 2] + np.array(shear))
        write(
            folder / f"{(index * 5 + 1) % n_slices}.dcm",
            pixels[index],
            ImagePositionPatient=[round(float(number), 6) for number in position],
            ImageOrientationPatient=[round(float(n), 6) for n in rotation[:, :2].T.ravel()],
            PixelSpacing=[0.75, 0.5],
            SliceThickness=step,
            InstanceNumber=index + 1,
            FrameOfReferenceUID="1.2.8",
            **{"RescaleSlope": 1, "RescaleIntercept": 0} | elements,
        )
    return pixels.transpose(2, 1, 0)


def position_of(volume, *index):
    return (np.array(volume.attrs["affine"]) @ [*index, 1.0])[:3]


@pytest.mark.parametrize("rotation", [STRAIGHT, OBLIQUE, MIRRORED, SAGITTAL])
def test_voxels_stand_where_simpleitk_puts_them(tmp_path, rotation):
    sitk = pytest.importorskip("SimpleITK")
    pixels = series(tmp_path / "ct", rotation)
    (volume,) = load_dicom(tmp_path / "ct")
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(tmp_path / "ct")))
    image = reader.Execute()
    np.testing.assert_array_equal(volume.values, sitk.GetArrayFromImage(image).T)
    np.testing.assert_array_equal(volume.values, pixels)
    for index in [(0, 0, 0), (5, 4, 3), (2, 1, 2)]:
        expected = np.multiply(image.TransformIndexToPhysicalPoint(index), [-1, -1, 1])
        np.testing.assert_allclose(position_of(volume, *index), expected, atol=1e-4)
    for axis, spacing in zip("xyz", image.GetSpacing(), strict=True):
        np.testing.assert_allclose(np.diff(volume[axis]), spacing, rtol=1e-5)


def test_the_affine_is_that_of_dicom2nifti(tmp_path):
    dicom2nifti = pytest.importorskip("dicom2nifti")
    nibabel = pytest.importorskip("nibabel")
    series(tmp_path / "ct", OBLIQUE, StudyInstanceUID="1.9", PatientID="a")
    (volume,) = load_dicom(tmp_path / "ct")
    dicom2nifti.dicom_series_to_nifti(tmp_path / "ct", tmp_path / "a.nii", reorient_nifti=False)
    image = nibabel.load(tmp_path / "a.nii")
    # Its voxels run along other axes; where the corners are is the same, and so are the values.
    to_index = np.linalg.inv(image.affine) @ np.array(volume.attrs["affine"])
    for index in [(0, 0, 0), (5, 4, 3), (5, 0, 1)]:
        there = tuple(np.rint((to_index @ [*index, 1.0])[:3]).astype(int))
        assert image.get_fdata()[there] == volume.values[index]


def test_a_tilted_gantry_is_in_the_affine(tmp_path):
    series(tmp_path / "ct", shear=(0, 0.4, 0))
    (volume,) = load_dicom(tmp_path / "ct")
    for path in (tmp_path / "ct").iterdir():
        dataset = pydicom.dcmread(path)
        k = dataset.InstanceNumber - 1
        expected = np.multiply(dataset.ImagePositionPatient, [-1, -1, 1])
        np.testing.assert_allclose(position_of(volume, 0, 0, k), expected, atol=1e-6)
    np.testing.assert_allclose(np.diff(volume["z"]), np.hypot(2, 0.4))


@pytest.mark.parametrize(
    ("elements", "match"),
    [
        ({"PixelSpacing": [0, 1]}, r"PixelSpacing must be two positive numbers, but is \[0"),
        ({"PixelSpacing": [-1, 1]}, "PixelSpacing must be two positive numbers"),
        ({"PixelSpacing": [1]}, r"PixelSpacing cannot be read: expected 2 finite numbers"),
        ({"PixelSpacing": None}, "has no PixelSpacing"),
        ({"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]}, "ImageOrientationPatient must be two"),
        ({"ImageOrientationPatient": [0, 0, 0, 0, 0, 0]}, "ImageOrientationPatient must be two"),
        ({"ImagePositionPatient": [0, 0]}, "ImagePositionPatient cannot be read"),
    ],
)
def test_a_place_that_is_none_is_refused(tmp_path, elements, match):
    placed = {
        "ImagePositionPatient": [0, 0, 0],
        "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
        "PixelSpacing": [1, 1],
    }
    path = write(tmp_path / "a.dcm", np.ones((3, 4), np.int16), **placed | elements)
    with pytest.raises(FileError, match=match) as refusal:
        load_dicom(path)
    assert refusal.value.path == path


def test_a_radiographs_zero_spacing_is_refused(tmp_path):
    path = write(tmp_path / "a.dcm", np.ones((3, 4), np.int16), ImagerPixelSpacing=[0, 0])
    with pytest.raises(FileError, match="ImagerPixelSpacing must be two positive numbers"):
        load_dicom(path)


def test_slices_that_drift_from_even_distances_are_refused(tmp_path):
    for index, z in enumerate(np.cumsum([0.0] + [2.0] * 30 + [2.03] * 30)):
        write(
            tmp_path / f"{index}.dcm",
            np.ones((3, 4), np.int16),
            ImagePositionPatient=[0, 0, z],
            ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
            PixelSpacing=[1, 1],
        )
    with pytest.raises(FileError, match="from its place in an evenly spaced stack"):
        load_dicom(tmp_path)


def test_a_copied_slice_is_named(tmp_path):
    series(tmp_path / "ct")
    (tmp_path / "ct" / "copy.dcm").write_bytes((tmp_path / "ct" / "1.dcm").read_bytes())
    with pytest.raises(FileError, match=r"is the same image as .*\(SOPInstanceUID\); remove one"):
        load_dicom(tmp_path / "ct")


def test_slices_of_two_frames_of_reference_are_not_mixed(tmp_path):
    series(tmp_path / "ct")
    path = tmp_path / "ct" / "3.dcm"
    dataset = pydicom.dcmread(path)
    dataset.FrameOfReferenceUID = "1.2.9"
    dataset.save_as(path)
    with pytest.raises(FileError, match="FrameOfReferenceUID is"):
        load_dicom(tmp_path / "ct")


PIXELS = np.random.default_rng(1).integers(0, 999, (6, 3, 4)).astype(np.uint16)


def rescaled(slope):
    return {
        "PixelValueTransformationSequence": [
            item(RescaleSlope=slope, RescaleIntercept=-1, RescaleType="US")
        ]
    }


def test_an_enhanced_file_is_a_volume(tmp_path):
    order = [3, 0, 5, 1, 4, 2]  # frames are not stored in order of position
    groups = [plane([5, 6, 7 + 1.5 * place], **rescaled(1 + place)) for place in order]
    path = write_enhanced(tmp_path / "a.dcm", PIXELS, groups)
    (volume,) = load_dicom(path)
    assert volume.dims == ("x", "y", "z")
    for frame, place in enumerate(order):
        np.testing.assert_allclose(
            volume.isel(z=place).transpose("y", "x"), PIXELS[frame] * (1.0 + place) - 1
        )
    np.testing.assert_allclose(volume["z"], 1.5 * np.arange(6))
    np.testing.assert_allclose(volume["y"], 0.75 * np.arange(3))
    np.testing.assert_allclose(position_of(volume, 1, 1, 1), [-5.5, -6.75, 8.5])


def test_an_enhanced_file_stands_where_simpleitk_puts_it(tmp_path):
    sitk = pytest.importorskip("SimpleITK")
    ordered = [plane([5, 6, 7 + 1.5 * place]) for place in range(6)]
    path = write_enhanced(tmp_path / "b.dcm", PIXELS, ordered)
    (volume,), image = load_dicom(path), sitk.ReadImage(str(path))
    np.testing.assert_array_equal(volume.values, sitk.GetArrayFromImage(image).T)
    expected = np.multiply(image.TransformIndexToPhysicalPoint((2, 1, 4)), [-1, -1, 1])
    np.testing.assert_allclose(position_of(volume, 2, 1, 4), expected, atol=1e-6)


def test_what_a_frame_says_goes_before_what_all_share(tmp_path):
    shared = item(
        PixelMeasuresSequence=[item(PixelSpacing=[0.75, 0.5], SliceThickness=2.0)],
        PlaneOrientationSequence=[item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])],
        **rescaled(3),
    )
    groups = [plane([0, 0, k], **(rescaled(5) if k == 2 else {})) for k in range(6)]
    path = write_enhanced(tmp_path / "a.dcm", PIXELS, groups, shared=shared, RescaleSlope=7)
    (volume,) = load_dicom(path)
    slopes = np.where(np.arange(6) == 2, 5, 3)
    np.testing.assert_array_equal(volume.values, PIXELS.T * slopes - 1.0)


def repeated(name=None, values=(), sequence=None):
    """Return six frames: two slices at three times, time counted slowest."""
    groups = []
    for frame in range(6):
        time, place = divmod(frame, 2)
        content = {"DimensionIndexValues": [place + 1, time + 1]}
        macros = {}
        if sequence == "FrameContentSequence":
            content[name] = values[time]
        elif name is not None:
            macros[sequence] = [item(**{name: values[time]})]
        macros["FrameContentSequence"] = [item(**content)]
        groups.append(plane([0, 0, 2.0 * place], **macros))
    return groups


@pytest.mark.parametrize(
    ("name", "values", "sequence", "pointer", "seconds"),
    [
        (
            "TemporalPositionTimeOffset",
            [0.5, 2.0, 9.0],
            "TemporalPositionSequence",
            "TemporalPositionIndex",
            [0.5, 2.0, 9.0],
        ),
        (
            "FrameReferenceDateTime",
            ["20240101120000.5", "20240101120030", "20240101120101"],
            "FrameContentSequence",
            "TemporalPositionIndex",
            [0.0, 29.5, 60.5],
        ),
        (
            "FrameAcquisitionDateTime",
            ["20240101235959", "20240102000001", "20240102000002"],
            "FrameContentSequence",
            "TemporalPositionIndex",
            [0.0, 2.0, 3.0],
        ),
        (
            "NominalCardiacTriggerDelayTime",
            [10.0, 110.0, 260.0],
            "CardiacSynchronizationSequence",
            "NominalCardiacTriggerDelayTime",
            [0.01, 0.11, 0.26],
        ),
    ],
)
def test_stacks_repeated_over_time_have_it_in_seconds(
    tmp_path, name, values, sequence, pointer, seconds
):
    groups = repeated(name, values, sequence)
    path = write_enhanced(tmp_path / "a.dcm", PIXELS, groups, ["InStackPositionNumber", pointer])
    (volume,) = load_dicom(path)
    assert volume.dims == ("x", "y", "z", "time")
    np.testing.assert_array_equal(volume.values, PIXELS.reshape(3, 2, 3, 4).T)
    np.testing.assert_allclose(volume["time"], seconds, atol=1e-5)
    assert volume["time"].attrs["units"] == "s"
    groups = repeated(name, values[::-1], sequence)
    path = write_enhanced(tmp_path / "a.dcm", PIXELS, groups, ["InStackPositionNumber", pointer])
    with pytest.raises(FileError, match=f"{name} does not rise"):
        load_dicom(path)


def test_times_that_the_file_does_not_give_are_counted(tmp_path):
    pointers = ["InStackPositionNumber", "TemporalPositionIndex"]
    path = write_enhanced(tmp_path / "a.dcm", PIXELS, repeated(), pointers)
    (volume,) = load_dicom(path, lazy=True)
    np.testing.assert_array_equal(volume.values, PIXELS.reshape(3, 2, 3, 4).T)
    assert volume["time"].values.tolist() == [0, 1, 2]
    assert "units" not in volume["time"].attrs


def test_stacks_are_volumes_of_their_own(tmp_path):
    pointers = ["StackID", "InStackPositionNumber", "EffectiveEchoTime"]
    groups = [
        plane(
            [0, 0, 2.0 * (frame % 3)],
            FrameContentSequence=[item(DimensionIndexValues=[1, frame % 3 + 1, frame // 3 + 1])],
        )
        for frame in range(6)
    ]
    first, second = load_dicom(write_enhanced(tmp_path / "a.dcm", PIXELS, groups, pointers))
    np.testing.assert_array_equal(first.values, PIXELS[:3].T)
    np.testing.assert_array_equal(second.values, PIXELS[3:].T)
    assert [one.attrs["stack"] for one in (first, second)] == [
        "EffectiveEchoTime 1",
        "EffectiveEchoTime 2",
    ]


@pytest.mark.parametrize(
    ("groups", "elements", "match"),
    [
        (
            [plane([0, 0, 2 * k]) for k in range(5)],
            {},
            "describes 5 frames, but NumberOfFrames is 6",
        ),
        ([plane([0, 0, 2 * k]) for k in [0, 1, 2, 4, 5, 6]], {}, "a slice is missing"),
        ([plane([0, 0, 2 * k]) for k in [0, 1, 2, 2, 3, 4]], {}, "at the same position"),
        ([plane([0, 0, 2 * k]) for k in range(6)], {"NumberOfFrames": 0}, "NumberOfFrames must be"),
        ([plane([0, 0, 2 * k]) for k in range(6)], {"NumberOfFrames": 2**31 - 1}, "ask for"),
        (
            [plane([0, 0, 2 * k]) for k in range(6)],
            {"ConcatenationUID": "1.5", "InConcatenationTotalNumber": 2},
            "one of 2 parts",
        ),
        ([*repeated()[:5], plane([0, 0, 9])], {}, "slices at one time|not those at another"),
        (
            [plane([0, 0, 2 * k]) for k in range(6)],
            {"TotalPixelMatrixColumns": 512},
            "tiles of one picture",
        ),
    ],
)
def test_frames_that_make_no_volume_are_refused(tmp_path, groups, elements, match):
    pointers = ["InStackPositionNumber", "TemporalPositionIndex"]
    path = write_enhanced(tmp_path / "a.dcm", PIXELS, groups, pointers, **elements)
    with pytest.raises(FileError, match=match) as refusal:
        load_dicom(path)
    assert refusal.value.path == path


def test_parts_of_one_series_are_joined(tmp_path):
    for part in range(2):
        groups = [plane([0, 0, 2.0 * (3 * part + k)]) for k in range(3)]
        write_enhanced(
            tmp_path / f"{part}.dcm",
            PIXELS[3 * part : 3 * part + 3],
            groups,
            ConcatenationUID="1.5",
            InConcatenationTotalNumber=2,
        )
    (volume,) = load_dicom(tmp_path)
    np.testing.assert_array_equal(volume.values, PIXELS.T)


@pytest.mark.parametrize(
    ("elements", "seconds"),
    [
        (
            {"FrameIncrementPointer": 0x00181063, "FrameTime": 40.0},
            [0, 0.04, 0.08, 0.12, 0.16, 0.2],
        ),
        ({"FrameTime": 40.0}, [0, 0.04, 0.08, 0.12, 0.16, 0.2]),
        (
            {"FrameIncrementPointer": 0x00181065, "FrameTimeVector": [7, 10, 20, 10, 20, 10]},
            [0, 0.01, 0.03, 0.04, 0.06, 0.07],
        ),
    ],
)
def test_a_cine_has_its_time_in_seconds(tmp_path, elements, seconds):
    path = write(tmp_path / "a.dcm", PIXELS, kind=UltrasoundMultiFrameImageStorage, **elements)
    (cine,) = open_signals(path)
    assert cine.dims == ("x", "y", "time")
    np.testing.assert_array_equal(cine.values, PIXELS.T)
    np.testing.assert_allclose(cine["time"], seconds)
    assert cine["time"].attrs["units"] == "s"


def test_a_real_cine_of_colours():
    path = get_testdata_file("examples_ybr_color.dcm")
    (cine,) = load_dicom(path)
    try:
        expected = pixel_array(path)  # as RGB
    except RuntimeError:
        pytest.skip("no decoder for its transfer syntax is installed")
    np.testing.assert_array_equal(cine.transpose("time", "y", "x", "channel"), expected)
    step = float(pydicom.dcmread(path).FrameTime) / 1000
    np.testing.assert_allclose(cine["time"], step * np.arange(30))


def test_captured_frames_are_counted(tmp_path):
    kind = MultiFrameGrayscaleWordSecondaryCaptureImageStorage
    (film,) = load_dicom(write(tmp_path / "a.dcm", PIXELS, kind=kind))
    assert film.dims == ("x", "y", "frame")
    assert film["frame"].values.tolist() == list(range(6))
    np.testing.assert_array_equal(film.values, PIXELS.T)


@pytest.mark.parametrize(
    ("elements", "match"),
    [
        ({"FrameIncrementPointer": 0x00540080}, r"counted by SliceVector \(FrameIncrementPointer"),
        ({"FrameIncrementPointer": 0x00181063}, "FrameTime or FrameTimeVector must be positive"),
        ({"FrameTime": 0.0}, "FrameTime or FrameTimeVector must be positive"),
        (
            {"FrameIncrementPointer": 0x00181065, "FrameTimeVector": [0, 10]},
            "FrameTimeVector has 2 times for 6 frames",
        ),
    ],
)
def test_frames_without_times_to_be_had_are_refused(tmp_path, elements, match):
    path = write(tmp_path / "a.dcm", PIXELS, kind=UltrasoundMultiFrameImageStorage, **elements)
    with pytest.raises(FileError, match=match):
        load_dicom(path)


def test_single_frames_with_functional_groups_are_slices_of_a_series(tmp_path):
    for k in range(3):
        write_enhanced(
            tmp_path / f"{k}.dcm",
            PIXELS[k : k + 1],
            [plane([0, 0, 2.0 * k])],
            kind=EnhancedMRImageStorage,
        )
    (volume,) = load_dicom(tmp_path)
    np.testing.assert_array_equal(volume.values, PIXELS[:3].T)
