"""Volumes made to hurt: each ends in one error that names the file, soon and in little memory."""

import gzip
import os
import struct
import subprocess
import sys

import numpy as np
import pytest
import xarray as xr

from neurfield.datasets import load_nifti, load_volumes, save_volume
from neurfield.errors import FileError
from neurfield.limits import VARIABLE

nibabel = pytest.importorskip("nibabel", reason='needs the extra "readers"')
pytest.importorskip("SimpleITK", reason='needs the extra "itk"')

ENDINGS = ("nii", "nii.gz", "mgz", "mgh", "hdr", "nrrd", "nhdr", "mha", "mhd")


@pytest.fixture
def volume():
    mm = {axis: 1.5 * np.arange(6) for axis in "xyz"}
    values = np.random.default_rng(0).integers(0, 99, (6, 6, 6)).astype(np.int16)
    return xr.DataArray(values, mm)


def rewrite(path, change):
    """Change the bytes of a file, unpacked if it is packed."""
    packed = path.suffix in (".gz", ".mgz")
    content = bytearray(path.read_bytes())
    if packed:
        content = bytearray(gzip.decompress(content))
    content = change(content)
    path.write_bytes(gzip.compress(bytes(content)) if packed else bytes(content))


def with_field(offset, code, *values):
    def change(content):
        struct.pack_into(code, content, offset, *values)
        return content

    return change


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("kept", [0, 3, 100, -60])
def test_files_that_are_cut_off_are_named(ending, kept, volume, tmp_path):
    path = tmp_path / f"a.{ending}"
    save_volume(volume, path)
    data = path.with_suffix({"hdr": ".img", "nhdr": ".raw", "mhd": ".raw"}.get(ending, path.suffix))
    rewrite(data, lambda content: content[:kept])
    with pytest.raises(FileError, match=r"/a\."):
        load_volumes(path)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize(
    "change",
    [
        with_field(40, "<8h", 3, -4, 6, 6, 1, 1, 1, 1),
        with_field(40, "<8h", 3, 0, 6, 6, 1, 1, 1, 1),
        with_field(40, "<8h", 0, 6, 6, 6, 1, 1, 1, 1),
        with_field(40, "<8h", 9, 6, 6, 6, 1, 1, 1, 1),
        with_field(40, "<8h", 3, 32767, 32767, 32767, 1, 1, 1, 1),
        with_field(40, "<8h", 7, 2, 2, 2, 2, 2, 2, 2),
        with_field(70, "<h", 9999),
        with_field(108, "<f", 1e30),
        with_field(108, "<f", np.nan),
        with_field(108, "<f", -5),
        with_field(112, "<2f", np.inf, 0),
    ],
)
def test_headers_that_cannot_be_are_refused(name, change, volume, tmp_path):
    save_volume(volume, tmp_path / name)
    rewrite(tmp_path / name, change)
    for lazy in (False, True):
        with pytest.raises(FileError, match=name.replace(".", r"\.")):
            load_nifti(tmp_path / name, lazy=lazy)


def test_axes_longer_than_any_are_refused_before_coordinates_are_made(volume, tmp_path):
    save_volume(volume, tmp_path / "a.mgz")
    rewrite(tmp_path / "a.mgz", with_field(4, ">3i", 2**30, 1, 1))
    with pytest.raises(
        FileError, match=r"a\.mgz: (claims 1073741824 voxels|the volume that its header claims)"
    ):
        load_volumes(tmp_path / "a.mgz")
    save_volume(volume, tmp_path / "a.nhdr")
    text = (tmp_path / "a.nhdr").read_text().replace("sizes: 6 6 6", "sizes: 1073741824 1 1")
    (tmp_path / "a.nhdr").write_text(text)
    with pytest.raises(FileError, match=r"a\.nhdr: claims 1073741824 voxels"):
        load_volumes(tmp_path / "a.nhdr")


def test_what_a_file_unpacks_to_has_a_limit_that_can_be_raised(tmp_path, monkeypatch):
    image = nibabel.Nifti1Image(np.zeros((64, 64, 64), np.uint8), np.eye(4))
    nibabel.save(image, tmp_path / "a.nii.gz")
    monkeypatch.setenv(VARIABLE, str(64**3))
    with pytest.raises(FileError, match=rf"a\.nii\.gz: the volume .*takes .* bytes.*{VARIABLE}"):
        load_nifti(tmp_path / "a.nii.gz")
    monkeypatch.setenv(VARIABLE, str(2 * 64**3))
    assert load_nifti(tmp_path / "a.nii.gz")[0].shape == (64, 64, 64)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes on this system")
@pytest.mark.parametrize("ending", ["nhdr", "mhd"])
def test_values_in_a_pipe_are_not_waited_for(ending, volume, tmp_path):
    save_volume(volume, tmp_path / f"a.{ending}")
    (tmp_path / "a.raw").unlink()
    os.mkfifo(tmp_path / "a.raw")
    with pytest.raises(FileError, match=r"a\.raw: is neither a file nor a folder"):
        load_volumes(tmp_path / f"a.{ending}")


BOMBS = """
import gzip, pathlib, resource, sys, time
import nibabel
import numpy as np
from neurfield.datasets import load_nifti
from neurfield.errors import FileError


def write(path, shape, offset, start):
    header = nibabel.Nifti1Header()
    header.set_data_dtype(np.uint8)
    header.set_data_shape(shape)
    header["magic"], header["vox_offset"], header["sform_code"] = b"n+1", offset, 1
    header["srow_x"], header["srow_y"], header["srow_z"] = np.eye(4)[:3]
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(header.binaryblock + start)
        for _ in range(300):
            file.write(bytes(2**20))


def extension(size):
    return bytes([1, 0, 0, 0]) + np.array([size, 6], "<i4").tobytes()


folder = pathlib.Path(sys.argv[1])
write(folder / "values.nii.gz", (1000, 1000, 315), 352, bytes(4))  # a little less is there
write(folder / "offset.nii.gz", (4, 4, 4), 3e9, bytes(4))
write(folder / "extension.nii.gz", (4, 4, 4), 900 * 2**20, extension(2**28))
write(folder / "rest.nii.gz", (4, 4, 4), 384, extension(0))  # an extension of minus eight bytes
for path in sorted(folder.iterdir()):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.process_time()
    try:
        load_nifti(path)
    except FileError as error:
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        print(error.path.stem, time.process_time() - started, grown)
"""


def test_small_files_do_not_fill_the_memory(tmp_path):
    """In a process of its own, whose memory is its own."""
    done = subprocess.run(
        [sys.executable, "-c", BOMBS, str(tmp_path)], capture_output=True, text=True, check=True
    )
    found = [line.split() for line in done.stdout.splitlines()]
    assert [name for name, *_ in found] == ["extension.nii", "offset.nii", "rest.nii", "values.nii"]
    for _, seconds, kibibytes in found:
        assert float(seconds) < 2
        assert int(kibibytes) < 200 * 2**10
