"""Small files made to take for ever, or all of the memory: refused by name before it begins."""

import json
import os
import struct
import time
import zipfile

import numpy as np
import pytest
import torch
import xarray as xr
from damage import Outcome, _watched
from formats import FORMATS, Format
from safetensors import safe_open
from safetensors.torch import save_file

from neurfield import FunctaEncoder
from neurfield.cli.latent_file import LatentSet
from neurfield.datasets import (
    load_functa_npz,
    load_mednf,
    load_netcdf,
    load_npz,
    load_zarr,
    open_signals,
    save_zarr,
)
from neurfield.errors import FileError
from neurfield.interop import read_torch
from neurfield.limits import VARIABLE


@pytest.fixture(autouse=True)
def soon():
    """Each of these takes less than the two seconds that a file may take."""
    started = time.process_time()
    yield
    assert time.process_time() - started < 2.0


def refused(read, path, message=None):
    with pytest.raises(FileError, match=message) as error:
        read(path)
    assert str(error.value.path).startswith(str(path))
    return error


# --- pickles --------------------------------------------------------------------------------------

_DOUBLED = b"(" + b"N" + b"t" + b"2\x86" * 60  # ((..(None,), ..), ..): 2^60 entries in 180 bytes
_PICKLES = {
    "a key": (b"}" + _DOUBLED + b"Ns.", "has a key of type tuple"),
    "keys": (b"}(" + _DOUBLED + b"Nu.", "has a key of type tuple"),
    "a dict's key": (b"(" + _DOUBLED + b"Nd.", "has a key of type tuple"),
    "a member": (b"\x80\x04\x8f(" + _DOUBLED + b"\x90.", "has a key of type tuple"),
    "a frozen member": (b"\x80\x04(" + _DOUBLED + b"\x91.", "has a key of type tuple"),
    "a list's member": (b"cbuiltins\nset\n(]" + _DOUBLED + b"atR.", "has a key of type tuple"),
    "long keys": (
        b"}(" + b"".join(b"\x8a\x20" + bytes(31) + b"\x01N" for _ in range(3)) + b"u.",
        "has a key of type int",
    ),
    "a place": (b"(" + _DOUBLED + b"Q.", "outside of itself"),
    "sets of one list": (
        b"](" + b"K\x01" * 50 + b"eq\x000" + b"cbuiltins\nset\n(h\x00tR0" * 2 + b"N.",
        "several sets of one list",
    ),
    "arguments": (b"cnumpy\ndtype\n(" + b"N" * 100 + b"tR.", "with 100 arguments"),
    "a length": (b"\x80\x04\x8e" + struct.pack("<Q", 2**40) + b".", "more than are left"),
    "a frame": (b"\x80\x04\x95" + struct.pack("<Q", 2**40) + b".", "more than are left"),
    "a buffer": (
        b"\x80\x05\x96" + struct.pack("<Q", 2**40) + b".",
        "no file of plain values needs",
    ),
    "a wide number": (b"I" + b"9" * 100_000 + b"\n.", "4300 digits"),
}


@pytest.mark.parametrize("name", list(_PICKLES))
def test_pickles_that_grow_are_refused(tmp_path, name):
    path = tmp_path / "functa.npz"
    content, reason = _PICKLES[name]
    path.write_bytes(content)
    refused(load_functa_npz, path, reason)
    with zipfile.ZipFile(tmp_path / "a.pt", "w") as archive:
        archive.writestr("a/data.pkl", content)
    refused(read_torch, tmp_path / "a.pt", reason)


def test_nesting_without_keys_is_data(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.pt", "w") as archive:
        archive.writestr("a/data.pkl", _DOUBLED + b".")
    assert len(read_torch(tmp_path / "a.pt")) == 2
    (tmp_path / "train").mkdir()
    with zipfile.ZipFile(tmp_path / "train" / "datapoint_0.pt", "w") as archive:
        content = b"}(X\x0b\x00\x00\x00modulations" + _DOUBLED + b"X\x05\x00\x00\x00labelK\x01u."
        archive.writestr("a/data.pkl", content)
    refused(load_mednf, tmp_path / "train" / "..", "must be tensors, got tuple and Tensor")


def test_tensors_that_share_bytes_of_the_archive_are_counted(tmp_path):
    torch.save([torch.zeros(1000), torch.ones(1000)], tmp_path / "a.pt")
    content = (tmp_path / "a.pt").read_bytes()
    announced = content.replace(struct.pack("<H", 1000), struct.pack("<H", 65535))
    (tmp_path / "b.pt").write_bytes(announced)
    refused(read_torch, tmp_path / "b.pt")


# --- arrays ---------------------------------------------------------------------------------------


def npy(shape, dtype="<f8", content=b""):
    header = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + content


@pytest.mark.parametrize(
    "shape", [(2**40, 8, 8), (2**62, 2**62, 4), (1, 2, -3), (0, 10**9, 8), (3, 4, 5, 6), (1, 1, 2)]
)
@pytest.mark.parametrize("ending", ["npy", "npz"])
def test_arrays_of_more_numbers_than_there_are_bytes(tmp_path, shape, ending):
    path = tmp_path / f"a.{ending}"
    if ending == "npy":
        path.write_bytes(npy(shape, content=bytes(8)))
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("values.npy", npy(shape, content=bytes(8)))
    refused(load_npz, path)
    refused(lambda path: load_npz(path, mmap_mode="r"), path)


@pytest.mark.parametrize("mode", [None, "r"])
def test_archives_unpack_to_no_more_than_is_allowed(tmp_path, monkeypatch, mode):
    path = tmp_path / "a.npz"
    np.savez_compressed(path, images=np.zeros((4, 50, 50)))
    monkeypatch.setenv(VARIABLE, "50000")
    refused(lambda path: load_npz(path, mmap_mode=mode), path, f"'images'.*80128.*{VARIABLE}")
    assert [found.name for found in tmp_path.iterdir()] == ["a.npz"]
    monkeypatch.setenv(VARIABLE, "90000")
    assert load_npz(path, mmap_mode=mode).shape == (4, 50, 50)


def test_archives_of_many_or_repeated_names(tmp_path):
    many, twice = tmp_path / "many.npz", tmp_path / "twice.npz"
    with zipfile.ZipFile(many, "w") as archive:
        for name in range(10_000):
            archive.writestr(f"{name}.npy", npy((1, 1), content=bytes(8)))
    error = refused(load_npz, many, "choose the array .* and 9980 more")
    assert len(str(error.value)) < 500
    with zipfile.ZipFile(twice, "w") as archive:
        archive.writestr("a.npy", npy((1, 1), content=bytes(8)))
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("a.npy", npy((1, 1), content=bytes(8)))
    refused(load_npz, twice, "two arrays a")


def test_a_signal_has_no_million_labels(tmp_path):
    np.savez(tmp_path / "a.npz", images=np.zeros((1, 2, 2)), labels=np.zeros((1, 10**6), np.int8))
    refused(load_npz, tmp_path / "a.npz", "1000000 labels for each signal")


# --- stores and tables ----------------------------------------------------------------------------


def test_netcdf_files_that_hold_little_and_claim_much(tmp_path):
    library = pytest.importorskip("netCDF4")
    with library.Dataset(tmp_path / "a.nc", "w") as file:
        file.createDimension("sample", 10**6)
        file.createDimension("x", 10**6)
        file.createVariable("x", "f8", ("x",), zlib=True)
        file.createVariable("v", "f8", ("sample", "x"), zlib=True, chunksizes=(1, 10))
    refused(load_netcdf, tmp_path / "a.nc", f"the variables x, v.*{VARIABLE}")
    refused(LatentSet.read, tmp_path / "a.nc", VARIABLE)
    assert load_netcdf(tmp_path / "a.nc", "v", chunks={"sample": 1}).shape == (10**6, 10**6)


@pytest.mark.parametrize("change", [{"shape": [10**12]}, {"chunks": [10**12]}])
def test_zarr_stores_that_hold_little_and_claim_much(tmp_path, change):
    pytest.importorskip("zarr")
    path = tmp_path / "a.zarr"
    array = xr.DataArray(np.zeros((3, 4)), {"x": np.arange(4.0)}, ("sample", "x"), name="v")
    save_zarr(array, path)
    (path / ".zmetadata").unlink()
    described = json.loads((path / "x" / ".zarray").read_text())
    (path / "x" / ".zarray").write_text(json.dumps(described | change))
    refused(load_zarr, path, VARIABLE)
    if "shape" in change:
        refused(lambda path: load_zarr(path, chunks={}), path, VARIABLE)


# --- what is no file ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "read", [load_npz, load_functa_npz, load_netcdf, read_torch, open_signals, LatentSet.read]
)
@pytest.mark.parametrize("kind", ["pipe", "device", "loop", "folder"])
def test_what_is_no_file_is_not_waited_for(tmp_path, read, kind):
    path = tmp_path / "a.npz"
    make = {
        "pipe": os.mkfifo,
        "device": lambda path: path.symlink_to("/dev/zero"),
        "loop": lambda path: path.symlink_to(path),
        "folder": os.mkdir,
    }
    make[kind](path)
    if read is open_signals and kind == "folder":
        with pytest.raises(ValueError, match="no signals found in this folder"):
            read(path)
    else:
        refused(read, path)


@pytest.mark.parametrize("read", [FunctaEncoder.load, FunctaEncoder.from_medfuncta])
def test_models_are_not_waited_for(tmp_path, read):
    os.mkfifo(tmp_path / "a.field")
    refused(read, tmp_path / "a.field", "neither a file nor a folder")


def test_checkpoints_are_not_waited_for(tmp_path):
    path = tmp_path / "fit.checkpoint"
    os.mkfifo(path)
    refused(lambda path: FunctaEncoder(checkpoint=path).fit(np.zeros((3, 4))), path)


def test_a_pipe_in_a_store_is_not_waited_for(tmp_path):
    pytest.importorskip("zarr")
    save_zarr(xr.DataArray(np.zeros((3, 4)), dims=("sample", "x"), name="v"), tmp_path / "a.zarr")
    (tmp_path / "a.zarr" / "v" / "0.0").unlink()
    os.mkfifo(tmp_path / "a.zarr" / "v" / "0.0")
    refused(load_zarr, tmp_path / "a.zarr", "neither a file nor a folder")


# --- models ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "a.field"
    small = {"latent_dim": 4, "hidden_dim": 8, "n_layers": 3, "max_iter": 2, "device": "cpu"}
    FunctaEncoder(**small, random_state=0).fit(np.random.default_rng(0).random((8, 5, 5))).save(
        path
    )
    with safe_open(path, "pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ("field.n_layers", 10**6, "n_layers=1000000 does not fit 8 weights"),
        ("field.hidden_dim", 10**5, "hidden_dim=100000 does not fit"),
        ("field.latent_dim", 10**12, r"modulation.weight must have shape \(16, 1000000000000\)"),
        ("field.residual_scale", "x", "residual_scale"),
        ("solver.steps", 10**6, "steps must be a whole number from 1 to 10000, got 1000000"),
        ("settings.transform_steps", 10**6, "transform_steps"),
        ("parameters.transform_steps", 10**6, "transform_steps"),
        ("parameters.hidden_dim", "x", "hidden_dim"),
        ("parameters.omega", [1.0, float("nan")], "omega"),
        ("learner.inner_steps", 10**9, "inner_steps"),
        ("layout.axes", [list(range(10**5))] * 2, f"grid of fit.*{VARIABLE}"),
        ("layout.axes", [[0.0, float("nan")], [0.0]], "axes must hold finite numbers"),
        ("layout.container", "list", "layout"),
        ("frame.half_width", [0.0, 1.0], "must be positive"),
        ("scaler.scale", [float("inf")], "scaler.scale must hold finite numbers"),
        ("curves.transform", [1.0], "curves"),
        ("dtype", "load", "KeyError"),
        ("n_iter", "many", "n_iter"),
        (
            "patches",
            {"origin": [0, 0], "step": [1, 1], "shape": [10**12, 5], "size": [1, 1]},
            VARIABLE,
        ),
    ],
)
def test_models_that_ask_for_more_than_they_hold(saved, tmp_path, place, value, message):
    tensors, metadata = saved
    document = json.loads(metadata["document"])
    inner = document
    *outer, last = place.split(".")
    for name in outer:
        inner = inner[name]
    inner[last] = value
    save_file(tensors, tmp_path / "a.field", metadata | {"document": json.dumps(document)})
    refused(FunctaEncoder.load, tmp_path / "a.field", message)


@pytest.mark.parametrize("name", ["field.output.bias", "solver.precision", "posterior.noise"])
def test_models_of_other_shapes_or_of_no_numbers(saved, tmp_path, name):
    tensors, metadata = saved
    for wrong in (torch.full_like(tensors[name], float("nan")), torch.zeros(2, 3)):
        save_file({**tensors, name: wrong}, tmp_path / "a.field", metadata)
        refused(FunctaEncoder.load, tmp_path / "a.field", name.rpartition(".")[2])


def weights(n_layers=1, hidden=4, n_axes=2):
    """Published weights of which all layers share one tensor."""
    one = torch.zeros(hidden, hidden)
    state = {"model.last_layer.linear.weight": one[:1], "model.last_layer.linear.bias": one[0, :1]}
    for k in range(n_layers):
        first = torch.zeros(hidden, n_axes) if k == 0 else one
        state[f"model.layers.{k}.linear.weight"] = first
        state[f"model.layers.{k}.modulate_shift_layer.weight"] = one
        for part in ("linear", "modulate_shift_layer"):
            state[f"model.layers.{k}.{part}.bias"] = one[0]
    return state


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"n_layers": 1200}, "1200 layers; up to 1000"),
        ({"n_axes": 20}, "20 axes; 1 to 4"),
        ({"n_layers": 900, "hidden": 400}, f"its weights takes .*{VARIABLE}"),
    ],
)
def test_published_weights_that_ask_for_more_than_they_hold(tmp_path, asked, message):
    torch.save(weights(**asked), tmp_path / "best.model")

    def read(path):
        return FunctaEncoder.from_medfuncta(path, omega=30.0, device="cpu")

    refused(read, tmp_path / "best.model", message)


def test_latents_are_read_line_by_line_and_named(tmp_path):
    path = tmp_path / "z.csv"
    for content, message in (
        ("a,a\n1,2\n", "one name"),
        ("a,b\n1\n", "line 2 has 1 columns"),
        ("", "finite"),
    ):
        path.write_text(content)
        refused(LatentSet.read, path, message)


# --- the watch itself -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raised", "kind"),
    [
        (None, "read"),
        (FileError("a.npz", "is damaged"), "refused"),
        (FileError("b/other.npz", "is damaged"), "pathless"),
        (ZeroDivisionError("division"), "foreign"),
    ],
)
def test_the_watch_tells_how_reading_ended(tmp_path, monkeypatch, raised, kind):
    def read(path):
        if raised is not None:
            raise raised

    monkeypatch.setitem(FORMATS, "mine", Format(lambda folder: folder, read))
    outcome = _watched("mine", tmp_path / "a.npz", 0.0)
    expected = Outcome("large") if outcome.megabytes > 200 else Outcome(kind)
    assert outcome.kind == expected.kind
    assert _watched("mine", tmp_path / "a.npz", None).kind == kind


def test_plain_keys_and_values_are_still_read(tmp_path):
    content = {"train": 1, 2: "x", 3.5: None, b"raw": (1, (2, 3)), None: {4, "five"}}
    torch.save(content, tmp_path / "a.pt")
    assert read_torch(tmp_path / "a.pt") == content
