"""Values of DICOM images: as pydicom has them, in the file's unit, bright where it is bright."""

import numpy as np
import pytest

from neurfield.datasets import load_dicom
from neurfield.errors import FileError

pydicom = pytest.importorskip("pydicom", reason='needs the extra "dicom"')

from dicom_files import (  # noqa: E402
    DigitalXRayImageStorageForPresentation,
    dataset_of,
    item,
    save,
    write,
)
from pydicom.data import get_testdata_file  # noqa: E402
from pydicom.pixels import (  # noqa: E402
    apply_color_lut,
    apply_modality_lut,
    convert_color_space,
    pixel_array,
)
from pydicom.uid import MPEG4HP41  # noqa: E402

RAMP = np.arange(12, dtype=np.uint16).reshape(3, 4)
SIGNED = RAMP.astype(np.int16) - 6


def values_of(path, **options):
    """Return the values of one picture with rows first, as pydicom has them."""
    (image,) = load_dicom(path, **options)
    return image.transpose("y", "x", ...).values


@pytest.mark.parametrize(
    "name",
    [
        "693_J2KI.dcm",
        "CT_small.dcm",
        "J2K_pixelrep_mismatch.dcm",
        "JPEG2000.dcm",
        "MR_small_RLE.dcm",
        "MR_small_bigendian.dcm",
        "MR_small_implicit.dcm",
        "MR_small_jpeg_ls_lossless.dcm",
        "examples_overlay.dcm",
    ],
)
def test_grey_values_are_those_of_pydicom(name):
    path = get_testdata_file(name)
    dataset = pydicom.dcmread(path)
    try:
        expected = apply_modality_lut(dataset.pixel_array, dataset).astype(float)
    except RuntimeError:
        pytest.skip("no decoder for its transfer syntax is installed")
    if "PixelPaddingValue" in dataset:
        expected[dataset.pixel_array == dataset.PixelPaddingValue] = np.nan
    np.testing.assert_allclose(values_of(path), expected, rtol=1e-6)


@pytest.mark.parametrize(
    "name",
    [
        "SC_rgb_dcmtk_+eb+cy+n1.dcm",
        "SC_rgb_small_odd.dcm",
        "SC_ybr_full_422_uncompressed.dcm",
        "SC_rgb_jpeg_dcmtk.dcm",
    ],
)
def test_colours_are_red_green_and_blue(name):
    path = get_testdata_file(name)
    dataset = pydicom.dcmread(path)
    try:
        stored = pixel_array(dataset, raw=True)
    except RuntimeError:
        pytest.skip("no decoder for its transfer syntax is installed")
    expected = convert_color_space(stored, dataset.PhotometricInterpretation, "RGB")
    np.testing.assert_array_equal(values_of(path), expected)
    assert load_dicom(path)[0].attrs["photometric_interpretation"] == "RGB"


def test_a_palette_becomes_its_colours():
    path = get_testdata_file("examples_palette.dcm")
    dataset = pydicom.dcmread(path)
    expected = apply_color_lut(dataset.pixel_array, dataset)[..., :3]
    np.testing.assert_array_equal(values_of(path), expected)


def test_rescaling_is_not_applied_to_colours(tmp_path):
    pixels = np.arange(27, dtype=np.uint8).reshape(3, 9)
    elements = {"Columns": 3, "SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"}
    path = write(
        tmp_path / "a.dcm",
        pixels,
        PlanarConfiguration=0,
        RescaleSlope=2,
        RescaleIntercept=-5,
        **elements,
    )
    np.testing.assert_array_equal(values_of(path), pixels.reshape(3, 3, 3))


@pytest.mark.parametrize("pixels", [RAMP, SIGNED], ids=["unsigned", "signed"])
@pytest.mark.parametrize(
    "rescale",
    [
        {},
        {"RescaleSlope": 1, "RescaleIntercept": 0, "RescaleType": "US"},
        {"RescaleSlope": 2, "RescaleIntercept": -7},
    ],
    ids=["none", "no unit", "offset"],
)
def test_monochrome1_is_as_bright_as_the_same_picture_in_monochrome2(tmp_path, pixels, rescale):
    kind = DigitalXRayImageStorageForPresentation
    elements = {"kind": kind, "Modality": "DX", "BitsStored": 12, "HighBit": 11, **rescale}
    bright = write(tmp_path / "2.dcm", pixels, **elements)
    least, most = (-2048, 2047) if pixels is SIGNED else (0, 4095)
    flipped = (least + most - pixels).astype(pixels.dtype)
    elements["PhotometricInterpretation"] = "MONOCHROME1"
    inverted = write(tmp_path / "1.dcm", flipped, **elements)
    np.testing.assert_array_equal(values_of(inverted), values_of(bright))
    assert load_dicom(inverted)[0].attrs["photometric_interpretation"] == "MONOCHROME2"
    (kept,) = load_dicom(inverted, invert_monochrome1=False)
    dataset = pydicom.dcmread(inverted)
    expected = apply_modality_lut(dataset.pixel_array, dataset)
    np.testing.assert_array_equal(kept.transpose("y", "x"), expected)
    assert kept.attrs["photometric_interpretation"] == "MONOCHROME1"


@pytest.mark.parametrize("rescale_type", [None, "HU", "OD"])
def test_physical_values_stay_what_they_are_in_monochrome1(tmp_path, rescale_type):
    path = write(
        tmp_path / "a.dcm",
        SIGNED,
        PhotometricInterpretation="MONOCHROME1",
        RescaleSlope=2,
        RescaleIntercept=-1024,
        RescaleType=rescale_type,
    )
    np.testing.assert_array_equal(values_of(path), 2.0 * SIGNED - 1024)
    assert load_dicom(path)[0].attrs["units"] == (rescale_type or "HU")


def test_windows_are_for_display_and_change_no_value(tmp_path):
    window = {"WindowCenter": 4, "WindowWidth": 2}
    path = write(tmp_path / "a.dcm", RAMP, RescaleSlope=1, RescaleIntercept=0, **window)
    np.testing.assert_array_equal(values_of(path), RAMP)


@pytest.mark.parametrize(
    ("pixels", "padding", "limit", "missing"),
    [
        (RAMP, 3, None, [3]),
        (RAMP, 3, 5, [3, 4, 5]),
        (RAMP, 5, 3, [3, 4, 5]),
        (SIGNED, -2, None, [-2]),
        (SIGNED, -6, -4, [-6, -5, -4]),
        (RAMP, 100, None, []),
    ],
)
def test_padding_is_not_observed(tmp_path, pixels, padding, limit, missing):
    path = write(
        tmp_path / "a.dcm",
        pixels,
        PixelPaddingValue=padding,
        PixelPaddingRangeLimit=limit,
        RescaleSlope=2,
        RescaleIntercept=-1024,
    )
    expected = np.where(np.isin(pixels, missing), np.nan, 2.0 * pixels - 1024)
    np.testing.assert_array_equal(values_of(path), expected)


def test_padding_written_with_the_wrong_sign_is_understood(tmp_path):
    dataset = dataset_of(SIGNED, RescaleSlope=1, RescaleIntercept=0)
    dataset.add_new("PixelPaddingValue", "US", 2**16 - 2)
    path = save(dataset, tmp_path / "a.dcm")
    assert pydicom.dcmread(path).PixelPaddingValue == 2**16 - 2
    np.testing.assert_array_equal(values_of(path), np.where(SIGNED == -2, np.nan, SIGNED))


def test_padding_outside_of_the_stored_bits_is_understood(tmp_path):
    words = RAMP.astype(np.int16)
    words[0] = -2000  # not a number of 11 bits
    stored = {"BitsStored": 11, "HighBit": 10, "PixelPaddingValue": -2000}
    path = write(tmp_path / "a.dcm", words, RescaleSlope=1, RescaleIntercept=0, **stored)
    np.testing.assert_array_equal(values_of(path), np.where(words < 0, np.nan, RAMP))


def test_padding_stays_padding_in_inverted_pictures(tmp_path):
    path = write(
        tmp_path / "a.dcm",
        RAMP,
        kind=DigitalXRayImageStorageForPresentation,
        PhotometricInterpretation="MONOCHROME1",
        PixelPaddingValue=0,
    )
    np.testing.assert_array_equal(values_of(path), np.where(RAMP == 0, np.nan, 65535.0 - RAMP))


@pytest.mark.parametrize("pixels", [RAMP, SIGNED], ids=["unsigned", "signed"])
@pytest.mark.parametrize("high_bit", [11, 14, 15])
def test_bits_that_are_not_stored_count_for_nothing(tmp_path, pixels, high_bit):
    shift = high_bit - 11
    words = (pixels.astype(np.uint16) & 0xFFF) << shift
    words |= np.uint16(0xFFFF & ~(0xFFF << shift)) & np.uint16(0xA5A5)  # as overlays were kept
    path = write(
        tmp_path / "a.dcm",
        words,
        PixelRepresentation=int(pixels is SIGNED),
        BitsStored=12,
        HighBit=high_bit,
    )
    np.testing.assert_array_equal(values_of(path), pixels)
    if high_bit == 11:
        np.testing.assert_array_equal(values_of(path), pydicom.dcmread(path).pixel_array)


@pytest.mark.parametrize("kind", ["RGB", "PALETTE COLOR"])
def test_bits_that_are_not_stored_count_for_nothing_in_colours(tmp_path, kind):
    words = np.arange(18, dtype=np.uint16).reshape(3, 6)
    elements = {"SamplesPerPixel": 1, "PhotometricInterpretation": kind, "BitsStored": 12}
    if kind == "RGB":
        elements |= {"SamplesPerPixel": 3, "Columns": 2, "PlanarConfiguration": 0}
    dataset = dataset_of(words | 0x5000, HighBit=11, **elements)
    if kind == "PALETTE COLOR":
        for factor, colour in enumerate(("Red", "Green", "Blue"), 2):
            name = f"{colour}PaletteColorLookupTable"
            dataset.add_new(f"{name}Descriptor", "US", [18, 0, 16])
            table = (factor * np.arange(18, dtype="<u2")).tobytes()
            dataset.add_new(f"{name}Data", "OW", table)
    expected = (
        words.reshape(3, 2, 3) if kind == "RGB" else np.stack([2 * words, 3 * words, 4 * words], -1)
    )
    np.testing.assert_array_equal(values_of(save(dataset, tmp_path / "a.dcm")), expected)


@pytest.mark.parametrize("n_bits", [8, 12, 16])
def test_a_modality_table_gives_values_and_unit(tmp_path, n_bits):
    table = item(
        LUTDescriptor=[8, 2, n_bits],
        LUTData=[10 * k for k in range(8)],
        ModalityLUTType="OD",
    )
    table["LUTDescriptor"].VR = table["LUTData"].VR = "US"
    path = write(tmp_path / "a.dcm", RAMP, Modality="OT", ModalityLUTSequence=[table])
    expected = 10 * np.clip(RAMP.astype(int) - 2, 0, 7)
    np.testing.assert_array_equal(values_of(path), expected)
    assert load_dicom(path)[0].attrs["units"] == "OD"
    if n_bits != 12:
        dataset = pydicom.dcmread(path)
        np.testing.assert_array_equal(apply_modality_lut(dataset.pixel_array, dataset), expected)


def slices(folder, *each, **common):
    for index, elements in enumerate(each):
        write(
            folder / f"{index}.dcm",
            RAMP,
            ImagePositionPatient=[0, 0, 2 * index],
            ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
            PixelSpacing=[1, 1],
            **common,
            **elements,
        )
    return folder


def test_each_slice_is_rescaled_by_its_own_numbers(tmp_path):
    slopes = [1.5, 2.25, 0.5]
    folder = slices(
        tmp_path / "pet",
        *({"RescaleSlope": slope, "RescaleIntercept": 0} for slope in slopes),
        Modality="PT",
        Units="BQML",
    )
    (volume,) = load_dicom(folder)
    for index, slope in enumerate(slopes):
        np.testing.assert_allclose(volume.isel(z=index).transpose("y", "x"), slope * RAMP)
    assert volume.attrs["units"] == "BQML"


@pytest.mark.parametrize(
    ("elements", "unit"),
    [
        ({"Modality": "CT", "RescaleSlope": 1, "RescaleIntercept": 0}, "HU"),
        ({"Modality": "CT"}, None),
        ({"Modality": "CT", "RescaleSlope": 1, "RescaleIntercept": 0, "RescaleType": "US"}, None),
        ({"Modality": "MR", "RescaleSlope": 1, "RescaleIntercept": 0, "RescaleType": "US"}, None),
        ({"Modality": "CT", "RescaleSlope": 1, "RescaleIntercept": 0, "RescaleType": "ED"}, "ED"),
        ({"Modality": "PT", "RescaleSlope": 1, "RescaleIntercept": 0, "Units": "GML"}, "GML"),
    ],
)
def test_values_have_the_unit_that_the_file_declares(tmp_path, elements, unit):
    (image,) = load_dicom(write(tmp_path / "a.dcm", RAMP, **elements))
    assert image.attrs.get("units") == unit


@pytest.mark.parametrize(
    ("one", "other", "match"),
    [
        (
            {"RescaleSlope": 1, "RescaleIntercept": 0, "RescaleType": "HU"},
            {"RescaleSlope": 1, "RescaleIntercept": 0, "RescaleType": "US"},
            r"1\.dcm: its values are in no unit \(RescaleType, Units\), but in HU in 0\.dcm",
        ),
        ({"Units": "BQML", "Modality": "PT"}, {"Units": "CNTS", "Modality": "PT"}, "CNTS .* BQML"),
        ({}, {"PhotometricInterpretation": "MONOCHROME1"}, "PhotometricInterpretation is MONOCHR"),
    ],
)
def test_values_of_several_kinds_are_not_mixed(tmp_path, one, other, match):
    with pytest.raises(FileError, match=match):
        load_dicom(slices(tmp_path / "mixed", one, other))


@pytest.mark.parametrize(
    ("elements", "match"),
    [
        ({"RescaleSlope": 2}, "has RescaleSlope but no RescaleIntercept"),
        ({"RescaleIntercept": 2}, "has RescaleIntercept but no RescaleSlope"),
        ({"RescaleSlope": 0, "RescaleIntercept": 2}, "RescaleSlope is 0"),
        ({"BitsStored": 20}, "BitsAllocated, BitsStored and HighBit, 16, 20 and 15"),
        ({"PhotometricInterpretation": "HSV"}, "PhotometricInterpretation is HSV"),
        ({"SamplesPerPixel": 3}, "SamplesPerPixel is 3, which is not MONOCHROME2"),
        ({"PixelData": None}, "has no PixelData"),
        ({"syntax": MPEG4HP41}, r"compressed as MPEG-4 .* no decoder for that \(none is known"),
    ],
)
def test_values_that_cannot_be_known_are_refused(tmp_path, elements, match):
    path = write(tmp_path / "a.dcm", RAMP, **elements)
    with pytest.raises(FileError, match=match) as refusal:
        load_dicom(path)
    assert refusal.value.path == path
