"""Plain pictures are read as Pillow and tifffile decode them, and written back without loss."""

import io
import struct
import zlib

import numpy as np
import pytest
import tifffile
import xarray as xr
from PIL import Image

from neurfield import FunctaEncoder, limits
from neurfield.cli import main
from neurfield.datasets import load_pictures, open_signals, save_pictures
from neurfield.errors import FileError, MissingFileError


@pytest.fixture
def grey(rng):
    return rng.integers(0, 256, (5, 7), dtype=np.uint8)


@pytest.fixture
def colour(rng):
    return rng.integers(0, 256, (5, 7, 3), dtype=np.uint8)


# --- one picture of every kind --------------------------------------------------------------------


@pytest.mark.parametrize("ending", [".png", ".bmp", ".tif", ".tiff", ".PNG", ".gif"])
def test_grey_pictures_have_the_values_of_the_file(tmp_path, grey, ending):
    path = tmp_path / f"a{ending}"
    Image.fromarray(grey).save(path)
    found = load_pictures(path)
    if ending == ".gif":  # whose greys are a palette
        found = found.isel(channel=0)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found[0], grey)
    assert found.dims[:3] == ("sample", "y", "x")
    assert found["sample"].item() == path.name
    assert found["x"].values.tolist() == list(range(7))


@pytest.mark.parametrize("ending", [".png", ".bmp", ".tif", ".jpg", ".webp"])
def test_colours_become_channels(tmp_path, colour, ending):
    path = tmp_path / f"a{ending}"
    Image.fromarray(colour).save(path)
    found = load_pictures(path)
    assert found.dims == ("sample", "y", "x", "channel")
    assert found["channel"].values.tolist() == ["red", "green", "blue"]
    np.testing.assert_array_equal(found[0], np.asarray(Image.open(path)))


@pytest.mark.parametrize("ending", [".png", ".tif"])
def test_sixteen_bits_are_kept(tmp_path, rng, ending):
    values = rng.integers(0, 65536, (5, 7), dtype=np.uint16)
    Image.fromarray(values).save(tmp_path / f"a{ending}")
    found = load_pictures(tmp_path / f"a{ending}")
    assert found.dtype == np.uint16
    np.testing.assert_array_equal(found[0], values)


def deep_png(values):
    """Return a PNG of sixteen bits a colour, which Pillow cannot write."""

    def chunk(kind, content):
        check = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)

    height, width, n_channels = values.shape
    kind = {2: 4, 3: 2, 4: 6}[n_channels]
    header = struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    parts = chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize("n_channels", [2, 3, 4])
def test_sixteen_bits_a_colour_that_would_be_cut_to_eight_are_refused(tmp_path, rng, n_channels):
    values = rng.integers(0, 65536, (5, 7, n_channels), dtype=np.uint16)
    (tmp_path / "a.png").write_bytes(deep_png(values))
    with pytest.raises(FileError, match=r"a.png: has sixteen bits a colour, .* save it as TIFF"):
        load_pictures(tmp_path / "a.png")


@pytest.mark.parametrize("ending", [".png", ".tif"])
def test_palettes_are_looked_up(tmp_path, colour, ending):
    image = Image.fromarray(colour).quantize(16)
    image.save(tmp_path / f"a{ending}")
    expected = np.asarray(image.convert("RGB"))
    found = load_pictures(tmp_path / f"a{ending}")
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found[0], expected)


@pytest.mark.parametrize(("mode", "ending"), [("1", ".png"), ("1", ".tif"), ("1", ".bmp")])
def test_black_and_white_are_the_ends_of_the_range(tmp_path, grey, mode, ending):
    image = Image.fromarray(grey).convert(mode)
    image.save(tmp_path / f"a{ending}")
    found = load_pictures(tmp_path / f"a{ending}")
    np.testing.assert_array_equal(found[0], np.asarray(image.convert("L")))


def test_files_that_mean_white_by_zero_are_inverted(tmp_path, grey):
    deep = grey.astype(np.uint16) * 257
    tifffile.imwrite(tmp_path / "a.tif", grey, photometric="miniswhite")
    tifffile.imwrite(tmp_path / "b.tif", deep, photometric="miniswhite")
    np.testing.assert_array_equal(load_pictures(tmp_path / "a.tif")[0], 255 - grey)
    np.testing.assert_array_equal(load_pictures(tmp_path / "b.tif")[0], 65535 - deep)
    tifffile.imwrite(tmp_path / "c.tif", grey.astype(np.float32), photometric="miniswhite")
    with pytest.raises(FileError, match=r"c.tif: means white by 0, .* float32"):
        load_pictures(tmp_path / "c.tif")


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("ending", [".png", ".tif"])
def test_pictures_are_turned_upright(tmp_path, grey, orientation, ending):
    from PIL import ImageOps

    image, exif = Image.fromarray(grey), Image.Exif()
    exif[274] = orientation
    path = tmp_path / f"a{ending}"
    if ending == ".tif":
        tifffile.imwrite(path, grey, extratags=[(274, "H", 1, orientation, True)])
    else:
        image.save(path, exif=exif)
    image.getexif()[274] = orientation
    np.testing.assert_array_equal(load_pictures(path)[0], ImageOps.exif_transpose(image))


@pytest.mark.parametrize("ending", [".png", ".tif"])
@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_transparent_pictures_are_refused_unless_told_otherwise(tmp_path, colour, ending, mode):
    image = Image.fromarray(colour).convert(mode)
    opaque = np.asarray(image.convert("L" if mode == "LA" else "RGB"))
    image.save(tmp_path / f"opaque{ending}")
    np.testing.assert_array_equal(load_pictures(tmp_path / f"opaque{ending}")[0], opaque)
    image.putalpha(Image.fromarray(np.full((5, 7), 128, np.uint8)))
    path = tmp_path / f"a{ending}"
    image.save(path)
    with pytest.raises(FileError, match=rf"a{ending}: is transparent in 100.0% .* alpha='drop'"):
        load_pictures(path)
    np.testing.assert_array_equal(load_pictures(path, alpha="drop")[0], opaque)


def test_a_transparent_colour_of_a_palette_counts_as_alpha(tmp_path, colour):
    image = Image.fromarray(colour).quantize(16)
    image.save(tmp_path / "a.png", transparency=3)
    with pytest.raises(FileError, match="is transparent"):
        load_pictures(tmp_path / "a.png")


@pytest.mark.parametrize("ending", [".jpg", ".tif"])
def test_pictures_for_print_are_refused(tmp_path, colour, ending):
    Image.fromarray(colour).convert("CMYK").save(tmp_path / f"a{ending}")
    with pytest.raises(FileError, match=r"is stored as (CMYK|SEPARATED)"):
        load_pictures(tmp_path / f"a{ending}")


# --- stacks ---------------------------------------------------------------------------------------


@pytest.fixture
def stack(rng):
    return rng.integers(0, 256, (4, 5, 7), dtype=np.uint8)


@pytest.mark.parametrize("ending", [".tif", ".gif"])
def test_pages_are_depth_or_samples(tmp_path, stack, ending):
    path = tmp_path / f"a{ending}"
    frames = [Image.fromarray(page) for page in stack]
    frames[0].save(path, save_all=True, append_images=frames[1:])
    with pytest.raises(FileError, match="has 4 pages, and does not say what they are"):
        load_pictures(path)
    deep, apart = load_pictures(path, pages="depth"), load_pictures(path, pages="samples")
    if ending == ".gif":
        deep, apart = deep.isel(channel=0), apart.isel(channel=0)
    np.testing.assert_array_equal(deep[0], stack)
    np.testing.assert_array_equal(apart, stack)
    assert deep.dims == ("sample", "z", "y", "x")
    assert apart["sample"].values.tolist() == [f"a{ending}[{i}]" for i in range(4)]


@pytest.mark.parametrize("unit", ["micron", "um", "mm", "inch"])
def test_pixel_sizes_of_imagej_are_coordinates(tmp_path, stack, unit):
    tifffile.imwrite(
        tmp_path / "a.tif",
        stack,
        imagej=True,
        resolution=(4.0, 2.0),
        metadata={"axes": "ZYX", "spacing": 1.5, "unit": unit},
    )
    found = load_pictures(tmp_path / "a.tif")
    assert found.dims == ("sample", "z", "y", "x")
    assert [float(found[axis][1]) for axis in "zyx"] == [1.5, 0.5, 0.25]
    assert found["x"].attrs["units"] == {"micron": "um", "inch": "in"}.get(unit, unit)


def test_pixel_sizes_of_ome_are_coordinates(tmp_path, stack):
    tifffile.imwrite(
        tmp_path / "a.ome.tif",
        stack,
        metadata={
            "axes": "ZYX",
            "PhysicalSizeX": 0.2,
            "PhysicalSizeXUnit": "µm",
            "PhysicalSizeY": 0.3,
            "PhysicalSizeYUnit": "mm",
            "PhysicalSizeZ": 2.0,
        },
    )
    found = load_pictures(tmp_path / "a.ome.tif")
    assert [float(found[axis][1]) for axis in "zyx"] == [2.0, 0.3, 0.2]
    assert [found[axis].attrs["units"] for axis in "zyx"] == ["um", "mm", "um"]


def test_dots_per_inch_are_no_pixel_size(tmp_path, grey):
    Image.fromarray(grey).save(tmp_path / "a.tif", dpi=(300, 300))
    assert "units" not in load_pictures(tmp_path / "a.tif")["x"].attrs


def test_channels_of_imagej_and_time_points(tmp_path, rng):
    values = rng.integers(0, 9, (3, 2, 5, 7), dtype=np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", values, imagej=True, metadata={"axes": "TCYX"})
    with pytest.raises(FileError, match="has 3 pages"):
        load_pictures(tmp_path / "a.tif")
    found = load_pictures(tmp_path / "a.tif", pages="samples")
    np.testing.assert_array_equal(found, np.moveaxis(values, 1, -1))
    volumes = rng.integers(0, 9, (3, 2, 5, 7), dtype=np.uint8)
    tifffile.imwrite(tmp_path / "b.tif", volumes, imagej=True, metadata={"axes": "TZYX"})
    np.testing.assert_array_equal(load_pictures(tmp_path / "b.tif", pages="samples"), volumes)
    with pytest.raises(FileError, match="pages along several axes"):
        load_pictures(tmp_path / "b.tif", pages="depth")


# --- folders --------------------------------------------------------------------------------------


@pytest.fixture
def classes(tmp_path, rng):
    for kind, n in (("cat", 2), ("ant", 3)):
        (tmp_path / "set" / kind).mkdir(parents=True)
        for i in range(n):
            values = rng.integers(0, 256, (5, 7), dtype=np.uint8)
            Image.fromarray(values).save(tmp_path / "set" / kind / f"{i}.png")
    return tmp_path / "set"


def test_subfolders_are_classes(classes):
    found = open_signals(classes)
    assert found["label"].values.tolist() == [0, 0, 0, 1, 1]
    assert found["label_name"].values.tolist() == ["ant"] * 3 + ["cat"] * 2
    assert found["sample"].values.tolist()[-1] == "cat/1.png"
    np.testing.assert_array_equal(found[-1], np.asarray(Image.open(classes / "cat" / "1.png")))


def test_sizes_that_differ_make_a_list(classes):
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(classes / "cat" / "large.png")
    found = open_signals(classes)
    assert [signal.shape for signal in found] == [(5, 7)] * 5 + [(9, 9)]
    assert found[-1].attrs["label_name"] == "cat"
    assert found[-1].attrs["filename"] == "cat/large.png"


def test_what_is_passed_over_is_listed_once(classes):
    (classes / "cat" / "notes.txt").write_text("")
    (classes / "Thumbs.db").write_text("")
    (classes / ".hidden").write_text("")
    with pytest.warns(UserWarning, match="2 files that are no pictures") as caught:
        load_pictures(classes)
    assert len(caught) == 1


def test_folders_that_say_nothing_clear_are_refused(classes, tmp_path):
    (tmp_path / "none").mkdir()
    with pytest.raises(MissingFileError, match="no picture in this folder"):
        load_pictures(tmp_path / "none")
    Image.new("L", (7, 5)).save(classes / "beside.png")
    with pytest.raises(FileError, match="both beside and in subfolders"):
        load_pictures(classes)


@pytest.mark.parametrize(
    ("other", "what"),
    [
        (Image.new("RGB", (7, 5)), "axes"),
        (Image.fromarray(np.zeros((5, 7), np.uint16)), "type"),
    ],
)
def test_pictures_that_do_not_compare_are_refused(classes, other, what):
    other.save(classes / "cat" / "other.png")
    with pytest.raises(FileError, match=f"other.png: has the {what} "):
        load_pictures(classes)


# --- files made to hurt ---------------------------------------------------------------------------


@pytest.mark.parametrize("ending", [".png", ".tif", ".gif"])
def test_pictures_that_unpack_to_too_much_are_refused(tmp_path, monkeypatch, ending):
    monkeypatch.setenv(limits.VARIABLE, "100000")
    Image.new("L", (400, 400)).save(tmp_path / f"a{ending}")
    with pytest.raises(FileError, match=rf"a{ending}: .* 100000 are allowed"):
        load_pictures(tmp_path / f"a{ending}", pages="samples")


@pytest.mark.parametrize("ending", [".png", ".tif", ".jpg", ".gif"])
@pytest.mark.parametrize("cut", [0.0, 0.3, 0.7])
def test_damaged_pictures_raise_our_error(tmp_path, colour, ending, cut):
    buffer = io.BytesIO()
    Image.fromarray(np.tile(colour, (9, 9, 1))).save(
        buffer, format={".tif": "TIFF", ".jpg": "JPEG"}.get(ending, ending[1:])
    )
    content = buffer.getvalue()
    (tmp_path / f"a{ending}").write_bytes(content[: int(cut * len(content))])
    with pytest.raises(FileError, match=f"a{ending}"):
        load_pictures(tmp_path / f"a{ending}")


# --- there and back -------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32", "float64"])
def test_tiff_holds_any_type_and_pixel_sizes(tmp_path, rng, dtype):
    units = {"units": "um"}
    coords = {
        axis: (axis, step * np.arange(n), units)
        for axis, n, step in zip("zyx", (3, 4, 5), (2.0, 0.5, 0.25), strict=True)
    }
    volume = xr.DataArray((rng.random((3, 4, 5)) * 99).astype(dtype), coords, ("z", "y", "x"))
    save_pictures(volume, tmp_path / "a.tif", dtype=dtype)
    found = load_pictures(tmp_path / "a.tif")[0]
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, volume)
    for axis in "zyx":
        np.testing.assert_allclose(found[axis], volume[axis])
        assert found[axis].attrs["units"] == "um"


@pytest.mark.parametrize("ending", [".png", ".tif", ".bmp", ".webp"])
def test_colours_come_back(tmp_path, colour, ending):
    Image.fromarray(colour).save(tmp_path / "a.png")
    pictures = load_pictures(tmp_path / "a.png")
    save_pictures(pictures, tmp_path / f"b{ending}")
    again = load_pictures(tmp_path / f"b{ending}")
    assert again.dims == pictures.dims
    np.testing.assert_array_equal(again, pictures)


def test_values_are_clipped_and_not_wrapped(tmp_path):
    picture = xr.DataArray([[-9.0, 0.6, 254.6, 300.0]], dims=("y", "x"))
    picture.attrs["stored_dtype"] = "uint8"
    save_pictures(picture, tmp_path / "a.png")
    assert np.asarray(Image.open(tmp_path / "a.png")).tolist() == [[0, 1, 255, 255]]


@pytest.mark.parametrize(
    ("values", "name", "said"),
    [
        (np.zeros((2, 3), np.int16), "a.png", "cannot hold values of the type int16"),
        (np.zeros((2, 3), np.uint16), "a.jpg", "cannot hold values of the type uint16"),
        (np.zeros((2, 3, 4), np.uint8), "a.png", "cannot hold"),
        (np.zeros((2, 3), np.float32), "a.png", "give dtype"),
        (np.zeros((2, 3), np.uint8), "a.gif", "cannot hold"),
        (np.zeros((2, 2, 3), np.uint8), "b.png", "one file takes one signal, got 2"),
    ],
)
def test_what_a_format_cannot_hold_is_refused(tmp_path, values, name, said):
    dims = {2: ("y", "x"), 3: ("sample" if name[0] == "b" else "z", "y", "x")}[values.ndim]
    with pytest.raises(ValueError, match=said):
        save_pictures(xr.DataArray(values, dims=dims), tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_gaps_and_origins_that_a_picture_has_no_place_for_are_refused(tmp_path):
    gaps = xr.DataArray([[np.nan, 1.0]], dims=("y", "x"))
    with pytest.raises(FileError, match="no place for NaN"):
        save_pictures(gaps, tmp_path / "a.png", dtype="uint8")
    units = {"units": "mm"}
    coords = {"y": ("y", [3.0, 4.0], units), "x": ("x", [0.0, 1.0], units)}
    moved = xr.DataArray(np.zeros((2, 2), np.uint8), coords, ("y", "x"))
    with pytest.raises(FileError, match="evenly spaced pixels from 0 on"):
        save_pictures(moved, tmp_path / "a.tif")


def test_a_folder_keeps_what_it_holds(tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "notes.txt").write_text("precious")
    picture = xr.DataArray(np.zeros((2, 3, 3), np.uint8), dims=("sample", "y", "x"))
    save_pictures(picture, tmp_path / "set")
    assert (tmp_path / "set" / "notes.txt").read_text() == "precious"
    spoilt = picture.astype(float).where(lambda values: values["sample"] == 0)
    with pytest.raises(FileError, match="no place for NaN"):
        save_pictures(spoilt, tmp_path / "other", dtype="uint8")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["set"]


@pytest.mark.parametrize("name", ["../out.png", "/out.png"])
def test_names_do_not_lead_out_of_the_folder(tmp_path, name):
    picture = xr.DataArray(np.zeros((1, 2, 2), np.uint8), {"sample": [name]}, ("sample", "y", "x"))
    with pytest.raises(FileError, match="is no name of a file"):
        save_pictures(picture, tmp_path / "set")
    assert list(tmp_path.iterdir()) == []


def test_a_set_of_classes_goes_through_the_command_line_and_back(classes, tmp_path):
    field, latents, out = tmp_path / "m.field", tmp_path / "z.npz", tmp_path / "out"
    tiny = ["--latent-dim", "4", "--hidden-dim", "8", "--max-iter", "2", "--seed", "0", "-q"]
    for words in (
        ["fit", classes, "-o", field, *tiny],
        ["transform", field, classes, "-o", latents],
        ["decode", field, latents, "-o", out],
    ):
        assert main([str(word) for word in words]) == 0
    found, encoder = open_signals(out), FunctaEncoder.load(field)
    original = open_signals(classes)
    assert found.dtype == np.uint8
    assert found["label_name"].equals(original["label_name"])
    expected = encoder.inverse_transform(encoder.transform(original), dtype="uint8")
    assert np.abs(found.values.astype(int) - expected.values).max() <= 1
