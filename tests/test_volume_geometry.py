"""Where voxels lie, and what they hold, against nibabel: NIfTI files in, NIfTI files out."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from neurfield.datasets import (
    average_pool,
    crop_or_pad,
    load_nifti,
    resample,
    rescale_intensity,
    save_nifti,
)
from neurfield.errors import FileError
from neurfield.volumes import decode_volumes

nibabel = pytest.importorskip("nibabel", reason='needs the extra "readers"')

DATA = Path(nibabel.__file__).parent / "tests" / "data"
TURN = nibabel.eulerangles.euler2mat(0.3, -0.4, 0.5)
SHEAR = np.array([[1, 0.3, 0], [0, 1, 0.2], [0, 0, 1.0]])
DIRECTIONS = {
    "upright": np.eye(3),
    "left-handed": np.diag([-1.0, 1.0, 1.0]),
    "permuted": np.array([[0, 0, -1.0], [1, 0, 0], [0, -1, 0]]),
    "oblique": TURN,
    "oblique and left-handed": TURN @ np.diag([1.0, 1.0, -1.0]),
    "sheared": TURN @ SHEAR,
}


def affine_with(directions, sizes=(1.5, 2.0, 3.0), origin=(30.0, -20.0, 11.0)):
    return nibabel.affines.from_matvec(directions @ np.diag(sizes), origin)


def places(image):
    """Return the scanner position of every voxel, by nibabel."""
    index = np.stack(np.meshgrid(*map(np.arange, image.shape[:3]), indexing="ij"), axis=-1)
    return nibabel.affines.apply_affine(image.affine, index)


def function_of_place(place):
    return place @ [1.0, 0.5, -2.0] + 3


def write_function(path, affine, shape=(6, 5, 4)):
    """Write values that are a function of scanner position, which any true copy keeps."""
    image = nibabel.Nifti1Image(np.zeros(shape, np.float32), affine)
    values = function_of_place(places(image)).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(values, affine), path)


def assert_function(path):
    image = nibabel.load(path)
    np.testing.assert_allclose(image.get_fdata(), function_of_place(places(image)), atol=1e-3)


def raw(path, **options):
    (volume,) = load_nifti(path, clip=None, scale=False, **options)
    return volume


def edit(path, offset, code, *values):
    """Overwrite a field of a NIfTI-1 header, packed or not."""
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rb") as file:
        content = bytearray(file.read())
    struct.pack_into("<" + code, content, offset, *values)
    with opened(path, "wb") as file:
        file.write(content)


# --- Directions -----------------------------------------------------------------------------------


CHANGES = {
    "as it is": lambda v: v,
    "reversed": lambda v: v.isel(x=slice(None, None, -1), z=slice(None, None, -1)),
    "transposed": lambda v: v.transpose("z", "x", "y"),
    "every other voxel, backwards": lambda v: v.isel(y=slice(None, None, -2)),
    "a slice": lambda v: v.isel(z=2),
    "a slice across the first axis": lambda v: v.isel(x=3),
    "a column": lambda v: v.isel(x=3, z=1),
    "resampled": lambda v: resample(v, 0.7),
    "resampled backwards": lambda v: resample(v.isel(y=slice(None, None, -1)), 0.7),
    "cropped": lambda v: crop_or_pad(v, (4, 3, 1)),
    "pooled": lambda v: average_pool(crop_or_pad(v, (6, 4, 4)), 2),
    "pooled backwards": lambda v: average_pool(v.isel(x=slice(None, None, -1)), (2, 1, 4)),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("directions", DIRECTIONS)
def test_values_stay_the_same_function_of_scanner_position(directions, change, tmp_path):
    write_function(tmp_path / "a.nii", affine_with(DIRECTIONS[directions]))
    save_nifti(CHANGES[change](raw(tmp_path / "a.nii")), tmp_path / "b.nii.gz")
    assert_function(tmp_path / "b.nii.gz")
    save_nifti(raw(tmp_path / "b.nii.gz"), tmp_path / "c.nii")
    one, other = nibabel.load(tmp_path / "b.nii.gz"), nibabel.load(tmp_path / "c.nii")
    np.testing.assert_allclose(one.affine, other.affine, atol=1e-5)
    assert one.shape == other.shape


def test_a_sheared_volume_has_no_qform(tmp_path):
    for name in ("sheared", "oblique"):
        write_function(tmp_path / "a.nii", affine_with(DIRECTIONS[name]))
        save_nifti(raw(tmp_path / "a.nii"), tmp_path / "b.nii")
        written = nibabel.load(tmp_path / "b.nii")
        qform, code = written.get_qform(coded=True)
        assert (code == 0) == (name == "sheared")
        if code:
            np.testing.assert_allclose(qform, written.affine, atol=1e-4)
        sizes = nibabel.affines.voxel_sizes(written.affine)
        np.testing.assert_allclose(written.header.get_zooms(), sizes, rtol=1e-5)


@pytest.mark.parametrize("directions", ["oblique", "sheared"])
@pytest.mark.parametrize("change", ["reversed", "transposed", "pooled"])
def test_decoding_stands_where_the_volume_stood(directions, change, tmp_path, small_encoder):
    write_function(tmp_path / "a.nii", affine_with(DIRECTIONS[directions]))
    volume = CHANGES[change](raw(tmp_path / "a.nii"))
    encoder = small_encoder().fit([volume, volume])
    latents = encoder.transform([volume])
    (decoded,) = decode_volumes(encoder, latents, [volume])
    (direct,) = encoder.inverse_transform(latents, coords=[volume])
    ordered = direct.transpose("x", "y", "z")
    np.testing.assert_allclose(decoded.values, ordered.values, atol=1e-4)
    save_nifti(volume, tmp_path / "before.nii")
    save_nifti(decoded, tmp_path / "after.nii")
    before, after = (nibabel.load(tmp_path / f"{name}.nii") for name in ("before", "after"))
    np.testing.assert_allclose(after.affine, before.affine, atol=1e-4)


def test_finer_voxels_follow_the_direction_of_the_volume(tmp_path, small_encoder):
    write_function(tmp_path / "a.nii", affine_with(TURN))
    volume = CHANGES["reversed"](raw(tmp_path / "a.nii"))
    encoder = small_encoder().fit([volume, volume])
    (fine,) = decode_volumes(encoder, encoder.transform([volume]), [volume], spacing=0.5)
    assert fine.shape == (16, 17, 19)
    save_nifti(volume, tmp_path / "b.nii")
    first = nibabel.load(tmp_path / "b.nii").affine @ [0, 0, 0, 1]
    np.testing.assert_allclose((np.array(fine.attrs["affine"]) @ [0, 0, 0, 1]), first, atol=1e-4)


def test_axes_in_one_direction_are_refused(tmp_path):
    flat = np.array([[1.0, 1, 0], [0, 0, 0], [0, 0, 1]])
    image = nibabel.Nifti1Image(np.ones((3, 3, 3), np.float32), None)
    image.header.set_sform(nibabel.affines.from_matvec(flat, [0, 0, 0]), code=1)
    nibabel.save(nibabel.Nifti1Image(image.dataobj, None, image.header), tmp_path / "a.nii")
    edit(tmp_path / "a.nii", 280, "12f", *nibabel.affines.from_matvec(flat, [0, 0, 0])[:3].ravel())
    with pytest.raises(FileError, match=r"a\.nii: two axes of the volume run in one direction"):
        load_nifti(tmp_path / "a.nii")


@pytest.mark.parametrize("sizes", [(2.0, -3.0, 1.0), (2.0, 0.0, 1.0), (np.nan, 1.0, 1.0)])
def test_voxel_sizes_that_nibabel_would_replace_are_refused(sizes, tmp_path):
    image = nibabel.Nifti1Image(np.ones((3, 3, 3), np.float32), affine_with(TURN))
    image.set_qform(image.affine, code=1)
    image.set_sform(None, code=0)
    nibabel.save(image, tmp_path / "a.nii.gz")
    edit(tmp_path / "a.nii.gz", 80, "3f", *sizes)
    with pytest.raises(
        FileError, match=r"a\.nii\.gz: voxel sizes must be positive.*correct pixdim"
    ):
        load_nifti(tmp_path / "a.nii.gz")


def test_without_codes_distances_are_right_and_it_is_said_that_sides_are_not_known(tmp_path):
    image = nibabel.Nifti1Image(np.ones((3, 4, 5), np.float32), None)
    image.header.set_zooms((2, 3, 4))
    nibabel.save(image, tmp_path / "a.nii")
    with pytest.warns(UserWarning, match=r"a\.nii: a NIfTI file that does not say which side"):
        volume = raw(tmp_path / "a.nii")
    assert volume.attrs["space"] == "unknown"
    np.testing.assert_allclose(volume.attrs["affine"], nibabel.load(tmp_path / "a.nii").affine)
    np.testing.assert_allclose(volume["y"], [0, 3, 6, 9])
    save_nifti(volume, tmp_path / "b.nii")
    written = nibabel.load(tmp_path / "b.nii")
    np.testing.assert_allclose(written.affine, volume.attrs["affine"])
    assert written.get_sform(coded=True)[1] == 2  # "aligned to another file's": no more is known


@pytest.mark.parametrize("space", ["scanner", "aligned", "talairach", "mni"])
def test_what_positions_refer_to_comes_back(space, tmp_path):
    image = nibabel.Nifti1Image(np.ones((3, 4, 5), np.float32), affine_with(TURN))
    image.set_sform(image.affine, code=space)
    nibabel.save(image, tmp_path / "a.nii")
    save_nifti(raw(tmp_path / "a.nii"), tmp_path / "b.nii")
    code = nibabel.load(tmp_path / "b.nii").header.get_value_label("sform_code")
    assert code == space == raw(tmp_path / "b.nii").attrs["space"]


def two_forms(path, qform_code, away):
    image = nibabel.Nifti1Image(np.ones((3, 4, 5), np.float32), affine_with(TURN))
    moved = affine_with(TURN, origin=(30.0 + away, -20.0, 11.0))
    image.set_sform(image.affine, code="scanner")
    image.set_qform(moved, code=qform_code)
    nibabel.save(image, path)
    return {"sform": image.affine, "qform": moved}


@pytest.mark.parametrize("form", ["sform", "qform"])
def test_two_affines_of_one_space_that_disagree_are_refused_until_one_is_chosen(form, tmp_path):
    forms = two_forms(tmp_path / "a.nii", "scanner", 9.0)
    with pytest.raises(FileError, match=r"a\.nii: its sform and its qform .*9 mm.*form='sform'"):
        load_nifti(tmp_path / "a.nii")
    np.testing.assert_allclose(
        raw(tmp_path / "a.nii", form=form).attrs["affine"], forms[form], atol=1e-5
    )


@pytest.mark.parametrize(("qform_code", "away"), [("aligned", 9.0), ("scanner", 0.1)])
def test_affines_of_two_spaces_and_small_differences_are_none(qform_code, away, tmp_path):
    forms = two_forms(tmp_path / "a.nii", qform_code, away)
    np.testing.assert_allclose(raw(tmp_path / "a.nii").attrs["affine"], forms["sform"], atol=1e-5)


def test_a_form_without_a_code_is_no_choice(tmp_path):
    two_forms(tmp_path / "a.nii", "unknown", 0.0)
    with pytest.raises(FileError, match=r"a\.nii: has no qform: its qform_code is 0"):
        load_nifti(tmp_path / "a.nii", form="qform")


# --- Single slices --------------------------------------------------------------------------------


def single_slices():
    mm = {axis: 2.0 * np.arange(8) for axis in "xyz"}
    bare = xr.DataArray(np.arange(512.0).reshape(8, 8, 8), mm, ("x", "y", "z"))
    return {
        "cropped": (crop_or_pad(bare, (8, 8, 1)), 2.0),
        "pooled": (average_pool(bare, (1, 1, 8)), 16.0),
        "pooled, then cropped": (crop_or_pad(average_pool(bare, (1, 1, 2)), (8, 8, 1)), 4.0),
        "resampled": (resample(bare, 15.0), 15.0),
        "resampled, then cropped": (crop_or_pad(resample(bare, 3.0), (2, 2, 1)), 3.0),
    }


@pytest.mark.parametrize("how", single_slices())
def test_a_single_slice_keeps_its_spacing(how, tmp_path):
    changed, spacing = single_slices()[how]
    assert changed.sizes["z"] == 1
    save_nifti(changed, tmp_path / "a.nii")
    image = nibabel.load(tmp_path / "a.nii")
    assert image.header.get_zooms()[2] == pytest.approx(spacing)
    assert image.affine[2, 3] == pytest.approx(float(changed["z"][0]))
    padded = crop_or_pad(raw(tmp_path / "a.nii"), (1, 1, 3))
    np.testing.assert_allclose(np.diff(padded["z"]), spacing)
    np.testing.assert_allclose(np.diff(crop_or_pad(changed, (1, 1, 3))["z"]), spacing)


def test_a_single_voxel_of_unknown_spacing_is_not_extended():
    line = xr.DataArray([1.0], {"depth": [3.0]}, ("depth",))
    with pytest.raises(ValueError, match=r"one voxel along 'depth'.*attrs\['affine'\]"):
        crop_or_pad(line, 3)
    assert crop_or_pad(line, 1).equals(line)


# --- Order of coordinates -------------------------------------------------------------------------


STEPS = {
    "resample": lambda v: resample(v, 0.5),
    "crop_or_pad": lambda v: crop_or_pad(v, 2),
    "average_pool": lambda v: average_pool(v, 2),
}


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("positions", [[0, 2, 1, 3], [0, 1, 1, 2], [0, 1, np.nan, 3]])
def test_steps_refuse_positions_in_no_order(step, positions):
    line = xr.DataArray(np.arange(4.0), {"x": np.array(positions, float)}, ("x",))
    with pytest.raises(ValueError, match="coordinates along 'x'"):
        STEPS[step](line)


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("positions", [[3, 2, 1, 0], [0, 0.5, 2, 2.5], [9, 4, 3, 1]])
def test_steps_keep_a_function_of_position(step, positions):
    line = xr.DataArray(2.0 * np.array(positions) + 1, {"x": np.array(positions, float)}, ("x",))
    changed = STEPS[step](line)
    np.testing.assert_allclose(changed, 2 * changed["x"] + 1)
    assert (float(changed["x"][0]) < float(changed["x"][-1])) == (positions[0] < positions[-1])


def test_padding_goes_on_evenly_only_from_what_is_even():
    line = xr.DataArray(np.arange(3.0), {"x": [3.0, 2.0, 0.0]}, ("x",))
    with pytest.raises(ValueError, match="evenly spaced; those of 'x' have gaps from -2 to -1"):
        crop_or_pad(line, 5)
    descending = crop_or_pad(line.assign_coords(x=[3.0, 2.0, 1.0]), 5)
    np.testing.assert_allclose(descending["x"], [4, 3, 2, 1, 0])


@pytest.mark.parametrize(("dtype", "fill"), [(np.uint8, -1.0), (np.int16, np.nan), (bool, 0.5)])
def test_padding_holds_a_fill_value_that_the_dtype_does_not(dtype, fill):
    line = xr.DataArray(np.ones(2, dtype), {"x": [0.0, 1.0]}, ("x",))
    np.testing.assert_array_equal(crop_or_pad(line, 4, fill=fill), [fill, 1, 1, fill])
    assert crop_or_pad(line, 4, fill=0).dtype == dtype


def test_steps_leave_time_alone():
    mm, time = {axis: np.arange(4.0) for axis in "xyz"}, {"time": 2.0 * np.arange(5)}
    series = xr.DataArray(np.random.default_rng(0).random((4, 4, 4, 5)), {**mm, **time})
    for changed in (resample(series, 1.5), crop_or_pad(series, 2), average_pool(series, 2)):
        assert changed["time"].equals(series["time"])
        assert changed.sizes["x"] == changed.sizes["z"] < 4


# --- The fourth axis ------------------------------------------------------------------------------


def write_series(path, unit, step=2.0, start=0.0, shape=(3, 4, 5, 6)):
    image = nibabel.Nifti1Image(
        np.random.default_rng(0).random(shape, np.float32), affine_with(TURN)
    )
    image.header.set_xyzt_units("mm", unit)
    image.header["pixdim"][4] = step
    image.header["toffset"] = start
    nibabel.save(image, path)
    return image


@pytest.mark.parametrize(
    ("unit", "axis", "units", "factor"),
    [
        ("sec", "time", "s", 1.0),
        ("msec", "time", "s", 1e-3),
        ("usec", "time", "s", 1e-6),
        ("hz", "frequency", "Hz", 1.0),
        ("ppm", "chemical_shift", "ppm", 1.0),
        ("rads", "angular_frequency", "rad/s", 1.0),
    ],
)
@pytest.mark.parametrize("lazy", [False, True])
def test_frames_stand_at_their_times(unit, axis, units, factor, lazy, tmp_path):
    image = write_series(tmp_path / "a.nii", unit, 2.5, 10.0)
    volume = raw(tmp_path / "a.nii", lazy=lazy)
    assert volume.dims == ("x", "y", "z", axis)
    assert volume[axis].attrs["units"] == units
    np.testing.assert_allclose(volume[axis], factor * (10 + 2.5 * np.arange(6)))
    np.testing.assert_array_equal(volume, image.dataobj)
    save_nifti(volume.transpose(axis, "z", "y", "x"), tmp_path / "b.nii")
    xr.testing.assert_allclose(raw(tmp_path / "b.nii"), volume.compute())
    written = nibabel.load(tmp_path / "b.nii")
    assert written.header.get_zooms()[3] == pytest.approx(2.5 * factor)


def test_a_real_series_of_nibabel_s_has_its_repetition_time():
    path = DATA / "functional.nii"
    image = nibabel.load(path)
    volume = raw(path)
    assert volume.dims == ("x", "y", "z", "time")
    np.testing.assert_allclose(volume["time"], image.header.get_zooms()[3] * np.arange(20))
    np.testing.assert_allclose(volume, image.get_fdata(), rtol=1e-6)


def test_steps_of_no_unit_are_channels_and_said_to_be(tmp_path):
    write_series(tmp_path / "a.nii", "unknown")
    with pytest.warns(UserWarning, match=r"a\.nii: its fourth axis goes on in steps of 2 .*pixdim"):
        assert raw(tmp_path / "a.nii").dims[3] == "channel"
    np.testing.assert_allclose(raw(tmp_path / "a.nii", fourth="time")["time"], 2 * np.arange(6))
    write_series(tmp_path / "b.nii", "sec")
    assert raw(tmp_path / "b.nii", fourth="channel").dims[3] == "channel"


@pytest.mark.parametrize("step", [0.0, -2.0, np.nan, np.inf])
def test_times_that_are_none_are_refused(step, tmp_path):
    write_series(tmp_path / "a.nii", "sec")
    edit(tmp_path / "a.nii", 92, "f", step)
    with pytest.raises(FileError, match=r"a\.nii: has 6 frames with steps .*pixdim\[4\]"):
        load_nifti(tmp_path / "a.nii")


def test_series_of_vectors_have_time_and_channels(tmp_path):
    image = write_series(tmp_path / "a.nii", "sec", 2.0, shape=(3, 4, 5, 6, 2))
    volume = raw(tmp_path / "a.nii")
    assert volume.dims == ("x", "y", "z", "time", "channel")
    np.testing.assert_array_equal(volume, image.dataobj)
    save_nifti(volume.transpose("channel", ...), tmp_path / "b.nii")
    xr.testing.assert_allclose(raw(tmp_path / "b.nii"), volume)
    assert nibabel.load(tmp_path / "b.nii").header.get_intent()[0] == "vector"


def test_one_frame_keeps_its_time(tmp_path):
    write_series(tmp_path / "a.nii", "sec", 2.0, 10.0)
    frame = raw(tmp_path / "a.nii").isel(time=3)
    save_nifti(frame, tmp_path / "b.nii")
    back = raw(tmp_path / "b.nii")
    assert float(back["time"]) == 16.0
    xr.testing.assert_allclose(back, frame)


def test_times_in_milliseconds_are_written_in_seconds(tmp_path):
    series = xr.DataArray(
        np.zeros((2, 3)), {"x": [0.0, 1.0], "time": ("time", [0, 500, 1000], {"units": "ms"})}
    )
    save_nifti(series, tmp_path / "a.nii")
    np.testing.assert_allclose(raw(tmp_path / "a.nii")["time"], [0, 0.5, 1])


# --- Values ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "slope", "intercept"),
    [
        (np.uint8, None, None),
        (np.int16, 0.5, -1024.0),
        (np.uint16, 1e-3, 1e6),
        (np.int32, None, None),
        (np.float32, None, None),
        (np.float64, None, None),
    ],
)
def test_values_are_those_of_nibabel_in_the_precision_they_need(dtype, slope, intercept, tmp_path):
    rng = np.random.default_rng(0)
    top = 255 if dtype is np.uint8 else 30_000 if np.dtype(dtype).itemsize < 4 else 2**30
    stored = (rng.integers(0, top, (4, 5, 6)) + (dtype is np.float64) * rng.random(1)).astype(dtype)
    image = nibabel.Nifti1Image(stored, affine_with(TURN))
    image.header.set_slope_inter(slope, intercept)
    image.header.set_data_dtype(dtype)
    with open(tmp_path / "a.nii", "wb") as file:  # as they are, which save would scale back
        header = image.header.copy()
        header["vox_offset"] = 352
        file.write(header.binaryblock + bytes(4) + stored.tobytes(order="F"))
    expected = nibabel.load(tmp_path / "a.nii").get_fdata()
    span = np.diff(np.unique(expected)).min()
    for lazy in (False, True):
        volume = raw(tmp_path / "a.nii", lazy=lazy)
        assert abs(volume.values - expected).max() < span / 4


def test_colours_are_channels(tmp_path):
    kind = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])
    pixels = np.random.default_rng(0).integers(0, 256, (3, 4, 5, 3), np.uint8)
    image = nibabel.Nifti1Image(pixels.view(kind)[..., 0], affine_with(TURN))
    nibabel.save(image, tmp_path / "a.nii")
    volume = raw(tmp_path / "a.nii")
    assert volume["channel"].values.tolist() == ["R", "G", "B"]
    np.testing.assert_array_equal(volume, pixels)


def test_complex_values_are_refused(tmp_path):
    image = nibabel.Nifti1Image(np.full((3, 3, 3), 1 + 2j, np.complex64), affine_with(TURN))
    nibabel.save(image, tmp_path / "a.nii")
    with pytest.raises(FileError, match=r"a\.nii: holds complex values.*two channels"):
        load_nifti(tmp_path / "a.nii")
    mm = {axis: np.arange(3.0) for axis in "xyz"}
    with pytest.raises(ValueError, match=r"b\.nii: values must be real numbers, got complex64"):
        save_nifti(xr.DataArray(np.zeros((3, 3, 3), np.complex64), mm), tmp_path / "b.nii")


@pytest.mark.parametrize(
    "values",
    [
        np.array([2**31, -(2**40)]),
        np.array([2**32 - 1, 0], np.uint32),
        np.array([2**63, 1], np.uint64),
        np.array([-128, 127], np.int8),
        np.array([True, False]),
        np.array([1e300, -1e-300]),
        np.array([0.5, 2.0], np.float16),
    ],
)
def test_no_value_wraps_around_when_written(values, tmp_path):
    save_nifti(xr.DataArray(values, {"x": [0.0, 1.0]}), tmp_path / "a.nii")
    written = np.asanyarray(nibabel.load(tmp_path / "a.nii").dataobj).ravel()
    assert [number.item() for number in written] == [number.item() for number in values]


@pytest.mark.parametrize("unit", ["px", "s"])
def test_positions_in_other_units_than_lengths_are_refused(unit, tmp_path):
    volume = xr.DataArray(np.zeros(2), {"x": ("x", [0.0, 1.0], {"units": unit})})
    with pytest.raises(ValueError, match=f"'x' must be in one of mm.*got '{unit}'"):
        save_nifti(volume, tmp_path / "a.nii")
    save_nifti(volume.assign_coords(x=("x", [0.0, 1.0], {"units": "cm"})), tmp_path / "a.nii")
    assert nibabel.load(tmp_path / "a.nii").header.get_zooms()[0] == 10


def test_axes_of_other_names_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"a\.nii: a volume has dims among x, y, z, time"):
        save_nifti(xr.DataArray(np.zeros((2, 2)), dims=("row", "column")), tmp_path / "a.nii")


# --- Label maps -----------------------------------------------------------------------------------


def write_labels(path, say_so=True):
    labels = np.zeros((20, 20, 20), np.uint8)
    labels[5:15, 5:15, 5:15], labels[8, 8, 8] = 2, 7
    image = nibabel.Nifti1Image(labels, affine_with(TURN))
    if say_so:
        image.header.set_intent("label")
    nibabel.save(image, path)
    return labels


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("say_so", [False, True])
def test_label_maps_are_not_intensities(lazy, say_so, tmp_path):
    labels = write_labels(tmp_path / "a.nii.gz", say_so)
    (volume,) = load_nifti(tmp_path / "a.nii.gz", lazy=lazy, labels=None if say_so else True)
    assert volume.dtype.kind == "i"
    np.testing.assert_array_equal(volume, labels)
    assert set(np.unique(resample(volume, 0.7))) == {0, 2, 7}
    for step in (lambda v: average_pool(v, 2), rescale_intensity):
        with pytest.raises(ValueError, match="volume is a label map"):
            step(volume)
    save_nifti(crop_or_pad(volume, 24), tmp_path / "b.nii")
    (back,) = load_nifti(tmp_path / "b.nii")
    assert set(np.unique(back)) == {0, 2, 7}


def test_values_that_look_like_labels_draw_a_warning_before_they_are_scaled(tmp_path):
    write_labels(tmp_path / "a.nii", say_so=False)
    with pytest.warns(UserWarning, match=r"a\.nii: holds only 3 different whole values"):
        load_nifti(tmp_path / "a.nii")
    (scaled,) = load_nifti(tmp_path / "a.nii", labels=False)
    assert float(scaled.max()) == 1.0


def test_labels_are_whole(tmp_path):
    write_function(tmp_path / "a.nii", affine_with(TURN * 1.01))
    with pytest.raises(FileError, match=r"a\.nii: holds values that are no labels"):
        load_nifti(tmp_path / "a.nii", labels=True)


@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_values_that_cannot_be_scaled_are_refused(value, tmp_path):
    values = np.full((3, 3, 3), value, np.float32)
    nibabel.save(nibabel.Nifti1Image(values, affine_with(TURN)), tmp_path / "a.nii")
    with pytest.raises(FileError, match=r"a\.nii: values must"):
        load_nifti(tmp_path / "a.nii")
