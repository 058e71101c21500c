"""MGH, Analyze, NRRD and MetaImage files, against nibabel and SimpleITK."""

import struct
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from neurfield.datasets import (
    load_nifti,
    load_volumes,
    open_signals,
    save_nifti,
    save_signals,
    save_volume,
)
from neurfield.errors import FileError, MissingFileError

nibabel = pytest.importorskip("nibabel", reason='needs the extra "readers"')
itk = pytest.importorskip("SimpleITK", reason='needs the extra "itk"')

DATA = Path(nibabel.__file__).parent / "tests" / "data"
TURN = nibabel.eulerangles.euler2mat(0.3, -0.4, 0.5)
SHEAR = np.array([[1, 0.3, 0], [0, 1, 0], [0, 0, 1.0]])
SIZES = {"x": 1.5, "y": 2.0, "z": 3.0}
ENDINGS = ("nii", "mgz", "mgh", "hdr", "nrrd", "nhdr", "mha", "mhd")
ITK_ENDINGS = ENDINGS[4:]

pytestmark = pytest.mark.filterwarnings("ignore:.*does not say which side:UserWarning")


def volume_with(directions, shape=(4, 5, 6), dtype=np.float32):
    values = (np.random.default_rng(0).random(shape) * 100).astype(dtype)
    columns = directions / np.linalg.norm(directions, axis=0)
    affine = nibabel.affines.from_matvec(columns @ np.diag(list(SIZES.values())), [30, -20, 11])
    dims = (*"xyz", "channel")[: len(shape)]
    coords = {
        axis: (axis, step * np.arange(size), {"units": "mm"})
        for (axis, step), size in zip(SIZES.items(), shape, strict=False)
    }
    return xr.DataArray(values, coords, dims, attrs={"affine": affine.tolist()})


def raw(path, **options):
    (volume,) = load_volumes(path, clip=None, scale=False, **options)
    return volume


def by_library(path):
    """Return values, x first and channels last, and the affine towards right, front and up."""
    if path.suffix[1:] not in ITK_ENDINGS:
        image = nibabel.load(path)
        return image.get_fdata(), image.affine
    image = itk.ReadImage(str(path))
    values = itk.GetArrayFromImage(image)
    axes = [2, 1, 0, *range(3, values.ndim)]
    index = [[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]]
    points = np.array([image.TransformIndexToPhysicalPoint(i) for i in index]) * [-1, -1, 1]
    return values.transpose(axes), nibabel.affines.from_matvec(
        (points[1:] - points[0]).T, points[0]
    )


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize(
    "directions",
    [np.eye(3), np.diag([-1.0, 1, 1]), TURN, TURN @ SHEAR],
    ids=["upright", "left-handed", "oblique", "sheared"],
)
def test_a_volume_comes_back_where_it_was(ending, directions, tmp_path):
    volume, path = volume_with(directions), tmp_path / f"a.{ending}"
    save_volume(volume.transpose("z", "x", "y"), path)
    values, affine = by_library(path)
    np.testing.assert_array_equal(values, volume)
    np.testing.assert_allclose(affine, volume.attrs["affine"], atol=1e-5)
    for lazy in (False, True):
        back = raw(path, lazy=lazy)
        np.testing.assert_allclose(back.attrs["affine"], affine, atol=1e-5)
        np.testing.assert_array_equal(back, values)
        for axis, step in SIZES.items():
            np.testing.assert_allclose(back[axis], step * np.arange(volume.sizes[axis]), rtol=1e-5)


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_reversed_slice_of_another_spacing_lies_where_it_was(ending, tmp_path):
    volume = volume_with(TURN).isel(x=slice(None, None, -2), z=[3])
    save_nifti(volume, tmp_path / "reference.nii")
    save_volume(volume, tmp_path / f"a.{ending}")
    expected = nibabel.load(tmp_path / "reference.nii")
    values, affine = by_library(tmp_path / f"a.{ending}")
    np.testing.assert_allclose(affine, expected.affine, atol=1e-5)
    np.testing.assert_array_equal(values, expected.get_fdata())


@pytest.mark.parametrize("ending", ENDINGS)
def test_channels_come_back(ending, tmp_path):
    volume = volume_with(TURN, (4, 5, 6, 3))
    save_volume(volume.transpose("channel", ...), tmp_path / f"a.{ending}")
    back = raw(tmp_path / f"a.{ending}")
    assert back.dims == ("x", "y", "z", "channel")
    np.testing.assert_array_equal(back, volume)
    values, _ = by_library(tmp_path / f"a.{ending}")
    np.testing.assert_array_equal(values, volume)


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize(
    "dtype", [np.uint8, np.int8, np.int16, np.uint16, np.int32, np.int64, np.float64, bool]
)
def test_values_come_back_or_are_refused(ending, dtype, tmp_path):
    volume = volume_with(np.eye(3)).astype(dtype)
    if np.dtype(dtype).kind in "iu":
        volume[0, 0, 0], volume[1, 0, 0] = np.iinfo(dtype).min, np.iinfo(dtype).max
    path = tmp_path / f"a.{ending}"
    too_wide = {"mgz": (np.int64, np.float64), "mgh": (np.int64, np.float64), "hdr": (np.int64,)}
    if dtype in too_wide.get(ending, ()):
        with pytest.raises(ValueError, match=f"a.{ending}: this format holds no {dtype.__name__}"):
            save_volume(volume, path)
        return
    save_volume(volume, path)
    values, _ = by_library(path)
    np.testing.assert_array_equal(values, volume)
    np.testing.assert_array_equal(raw(path), volume)


@pytest.mark.parametrize("ending", ENDINGS[1:])
def test_times_of_frames_are_not_dropped(ending, tmp_path):
    series = volume_with(TURN, (4, 5, 6, 3)).rename(channel="time")
    series = series.assign_coords(time=("time", [0.0, 1.5, 3.0], {"units": "s"}))
    if ending in ("mgz", "mgh"):
        save_volume(series, tmp_path / f"a.{ending}")
        assert nibabel.load(tmp_path / f"a.{ending}").header.get_zooms()[3] == 1500  # ms
        xr.testing.assert_allclose(raw(tmp_path / f"a.{ending}").drop_attrs(), series.drop_attrs())
        series = series.assign_coords(time=series["time"] + 1)
    with pytest.raises(ValueError, match=f"a.{ending}: .* a NIfTI file"):
        save_volume(series, tmp_path / f"b.{ending}".replace("b.", "a."))


def test_a_file_of_freesurfer_s_from_nibabel():
    image = nibabel.load(DATA / "test.mgz")
    volume = raw(DATA / "test.mgz")
    assert volume.dims == ("x", "y", "z", "time")
    np.testing.assert_array_equal(volume, image.get_fdata())
    np.testing.assert_allclose(volume.attrs["affine"], image.affine)
    np.testing.assert_allclose(volume["time"], [0, 2e-3])  # its header has 2 ms


# --- Analyze --------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("default:.*does not say which side:UserWarning")
@pytest.mark.parametrize("kind", ["AnalyzeImage", "Spm2AnalyzeImage"])
@pytest.mark.parametrize("given", ["a.hdr", "a.img"])
def test_analyze_says_that_left_and_right_are_not_known(kind, given, tmp_path):
    values = np.random.default_rng(0).integers(0, 99, (4, 5, 6)).astype(np.int16)
    image = getattr(nibabel, kind)(values, np.diag([-2.0, 3, 4, 1]))
    image.to_filename(tmp_path / "a.img")
    (tmp_path / "a.mat").unlink(missing_ok=True)
    with pytest.warns(UserWarning, match="an Analyze file that does not say which side is left"):
        volume = raw(tmp_path / given)
    np.testing.assert_array_equal(volume, values)
    np.testing.assert_allclose(volume["z"], 4.0 * np.arange(6))
    assert volume.attrs["space"] == "unknown"
    np.testing.assert_allclose(volume.attrs["affine"], nibabel.load(tmp_path / "a.img").affine)


def test_spm_s_scale_factor_counts(tmp_path):
    image = nibabel.Spm2AnalyzeImage(np.array([[[0.0, 0.5, 1000.0]]]), np.diag([-2.0, 3, 4, 1]))
    image.set_data_dtype(np.int16)
    image.to_filename(tmp_path / "a.img")
    expected = nibabel.load(tmp_path / "a.img").get_fdata()
    np.testing.assert_allclose(raw(tmp_path / "a.hdr"), expected, rtol=1e-6)


def test_a_pair_that_is_nifti_is_read_as_nifti(tmp_path):
    image = nibabel.Nifti1Pair(np.ones((4, 5, 6), np.float32), np.diag([-2.0, 3, 4, 1]))
    nibabel.save(image, tmp_path / "a.img")
    for name in ("a.img", "a.hdr"):
        volume = raw(tmp_path / name)
        assert volume.attrs["space"] == "aligned"
        np.testing.assert_allclose(volume.attrs["affine"], image.affine)


@pytest.mark.parametrize("sizes", [(2, -3, 1), (2, 0, 1)])
def test_analyze_voxels_without_a_size_are_refused(sizes, tmp_path):
    nibabel.AnalyzeImage(np.ones((4, 5, 6), np.int16), np.eye(4)).to_filename(tmp_path / "a.img")
    content = bytearray((tmp_path / "a.hdr").read_bytes())
    struct.pack_into("<3f", content, 80, *sizes)
    (tmp_path / "a.hdr").write_bytes(content)
    with pytest.raises(FileError, match=r"a\.hdr: voxel sizes must be positive"):
        load_volumes(tmp_path / "a.hdr")


def test_a_header_without_its_values_is_named(tmp_path):
    for ending, companion in {"hdr": "img", "nhdr": "raw", "mhd": "raw"}.items():
        save_volume(volume_with(TURN), tmp_path / f"a.{ending}")
        (tmp_path / f"a.{companion}").unlink()
        with pytest.raises(MissingFileError, match=f"a.({ending}|{companion})"):
            load_volumes(tmp_path / f"a.{ending}")


# --- NRRD and MetaImage ---------------------------------------------------------------------------


def edited(path, *changes):
    """Replace lines of a header that is a file of its own."""
    text = path.read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    # An empty line would end the header of NRRD.
    path.write_text("\n".join(line for line in text.splitlines() if line) + "\n")


@pytest.fixture
def nhdr(tmp_path):
    save_volume(volume_with(np.eye(3)), tmp_path / "a.nhdr")
    return tmp_path / "a.nhdr"


@pytest.fixture
def mhd(tmp_path):
    save_volume(volume_with(np.eye(3)), tmp_path / "a.mhd")
    return tmp_path / "a.mhd"


@pytest.mark.parametrize("space", ["right-anterior-superior", "RAS", "left-anterior-superior"])
def test_any_named_space_of_nrrd_becomes_right_front_up(nhdr, space):
    text = nhdr.read_text()
    origin = text.split("space origin: (")[1].split(")")[0]
    x, y, z = map(float, origin.split(","))
    edited(nhdr, ("space: left-posterior-superior", f"space: {space}"))
    sign = -1 if space.startswith("left") else 1
    assert np.array(raw(nhdr).attrs["affine"])[:3, 3].tolist() == [sign * x, y, z]


@pytest.mark.parametrize(("unit", "millimetres"), [("um", 1e-3), ("cm", 10.0), ("mm", 1.0)])
def test_positions_of_nrrd_and_metaimage_are_in_millimetres(nhdr, mhd, unit, millimetres):
    line = "space: left-posterior-superior"
    edited(nhdr, (line, line + f'\nspace units: "{unit}" "{unit}" "{unit}"'))
    edited(mhd, ("ElementDataFile", f"DistanceUnits = {unit}\nElementDataFile"))
    for path in (nhdr, mhd):
        volume = raw(path)
        np.testing.assert_allclose(volume["z"], millimetres * 3.0 * np.arange(6), rtol=1e-6)
        place = np.array(volume.attrs["affine"])[:3, 3]
        np.testing.assert_allclose(place, millimetres * np.array([30.0, -20, 11]), rtol=1e-6)


@pytest.mark.parametrize("unit", ["parsec", "s"])
def test_other_units_are_refused(nhdr, unit):
    line = "space: left-posterior-superior"
    edited(nhdr, (line, line + f'\nspace units: "{unit}" "{unit}" "{unit}"'))
    with pytest.raises(FileError, match=rf'a\.nhdr: its positions are in "{unit}"'):
        load_volumes(nhdr)


def test_what_itk_would_make_up_is_refused(nhdr, mhd):
    text = nhdr.read_text()
    edited(nhdr, *((line, "") for line in text.splitlines() if line.startswith("space")))
    edited(mhd, ("ElementSpacing = 1.5 2 3\n", ""))
    for path in (nhdr, mhd):
        with pytest.raises(FileError, match="does not say how large its voxels are"):
            load_volumes(path)
    edited(nhdr, ("kinds: domain domain domain", "spacings: 1.5 2 nan"))
    with pytest.raises(FileError, match=r"a\.nhdr: some of its spacings are not known"):
        load_volumes(nhdr)


@pytest.mark.filterwarnings("default:.*does not say which side:UserWarning")
def test_nrrd_without_a_space_is_said_to_have_no_sides(nhdr):
    text = nhdr.read_text()
    lines = [line for line in text.splitlines() if line.startswith("space")]
    edited(nhdr, *((line, "") for line in lines[1:]), (lines[0], "spacings: 1.5 2 3"))
    with pytest.warns(UserWarning, match=r"a\.nhdr: an NRRD file that does not say which side"):
        volume = raw(nhdr)
    np.testing.assert_allclose(volume["y"], 2.0 * np.arange(5))


def test_metaimage_s_map_to_intensities_is_applied(mhd):
    before = raw(mhd)
    edited(
        mhd,
        (
            "ElementDataFile",
            "ElementToIntensityFunctionSlope = 2\nElementToIntensityFunctionOffset = -1024\n"
            "ElementDataFile",
        ),
    )
    np.testing.assert_allclose(raw(mhd), before.astype(np.float64) * 2 - 1024)


def test_quantized_values_are_refused(nhdr):
    edited(nhdr, ("encoding: raw", "encoding: raw\nold min: -1\nold max: 3"))
    with pytest.raises(FileError, match=r"a\.nhdr: its values were quantized"):
        load_volumes(nhdr)


@pytest.mark.parametrize("ending", ["nrrd", "mha"])
def test_compressed_values(ending, tmp_path):
    values = np.random.default_rng(0).random((6, 5, 4)).astype(np.float32)
    path = tmp_path / f"a.{ending}"
    itk.WriteImage(itk.GetImageFromArray(values), str(path), useCompression=True)
    np.testing.assert_array_equal(raw(path), values.transpose(2, 1, 0))


def test_complex_values_of_nrrd_are_refused(tmp_path):
    values = np.full((3, 3, 3), 1 + 2j, np.complex64)
    itk.WriteImage(itk.GetImageFromArray(values), str(tmp_path / "a.nrrd"))
    with pytest.raises(FileError, match=r"a\.nrrd: holds complex values"):
        load_volumes(tmp_path / "a.nrrd")


def test_four_axes_of_metaimage_are_channels_unless_told(tmp_path):
    image = itk.GetImageFromArray(np.random.default_rng(0).random((3, 6, 5, 4)), isVector=False)
    image.SetSpacing((1.0, 1.0, 1.0, 2.5))
    itk.WriteImage(image, str(tmp_path / "a.mha"))
    with pytest.warns(UserWarning, match=r"a\.mha: its fourth axis goes on in steps of 2\.5"):
        assert raw(tmp_path / "a.mha").dims[3] == "channel"
    series = raw(tmp_path / "a.mha", fourth="time")
    np.testing.assert_allclose(series["time"], [0, 2.5, 5])
    np.testing.assert_array_equal(series, itk.GetArrayFromImage(image).transpose(3, 2, 1, 0))


# --- Everything -----------------------------------------------------------------------------------


def test_folders_of_volumes_of_any_format(tmp_path):
    for index, ending in enumerate(("mgz", "nrrd", "hdr", "nii")):
        save_volume(volume_with(np.eye(3)) + index, tmp_path / f"{index}.{ending}")
    volumes = open_signals(tmp_path, clip=None, scale=False)
    assert [v.attrs["filename"] for v in volumes] == ["0.mgz", "1.nrrd", "2.hdr", "3.nii"]
    for index, volume in enumerate(volumes):
        np.testing.assert_allclose(volume, volume_with(np.eye(3)) + index, rtol=1e-6)
    for name in ("0.mgz", "1.nrrd", "2.img"):
        assert len(open_signals(tmp_path / name)) == 1


def test_other_endings_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"a\.tif: the file of a volume must end in \.nii"):
        save_volume(volume_with(np.eye(3)), tmp_path / "a.tif")
    (tmp_path / "a.tif").write_bytes(b"II")
    with pytest.raises(FileError, match=r"a\.tif: unknown kind of file"):
        load_volumes(tmp_path / "a.tif")


def test_load_nifti_and_load_volumes_read_the_same(tmp_path):
    save_volume(volume_with(TURN), tmp_path / "a.nii.gz")
    (one,), (other,) = load_nifti(tmp_path), load_volumes(tmp_path)
    xr.testing.assert_identical(one, other)


@pytest.mark.parametrize("ending", [".npz", ".nc", ".zarr"])
def test_files_of_arrays_keep_where_a_volume_lies(ending, tmp_path):
    turned = np.array([[0.0, -1.0, 0.2], [1.0, 0.0, 0.0], [0.0, 0.2, 1.0]])
    volume = volume_with(turned)
    stored = volume.expand_dims("sample") if ending != ".npz" else [volume]
    save_signals(stored, tmp_path / f"a{ending}")
    found = open_signals(tmp_path / f"a{ending}")[0]
    save_nifti(found, tmp_path / "a.nii")
    image = nibabel.load(tmp_path / "a.nii")
    np.testing.assert_allclose(image.affine, volume.attrs["affine"], atol=1e-6)
    np.testing.assert_array_equal(image.get_fdata(), volume)
