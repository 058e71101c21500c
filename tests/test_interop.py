"""Files of strangers: what they may hold is read, what they may try is refused and not run."""

import builtins
import collections
import os
import pickle
import sys
import types
import zipfile

import numpy as np
import pytest
import torch
from torch import nn

from neurfield import FunctaEncoder
from neurfield.interop import read_torch
from neurfield.interop.inert import Record

CLASSES = ("models.inrs.LatentModulatedSIREN",)


class Calls:
    """Pickles as a call of any function."""

    def __init__(self, function, *arguments):
        self.made = function, arguments

    def __reduce__(self):
        return self.made


class SetsState:
    """Pickles as an object whose state sets attributes, methods among them."""

    def __init__(self, made, state):
        self.made, self.state = made, state

    def __reduce__(self):
        return (*self.made, self.state)


@pytest.fixture
def canary(tmp_path):
    """A file that appears as soon as anything runs."""
    return tmp_path / "canary"


def raw(path, content: bytes):
    """Write a pickle into an archive as torch lays it out."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", content)
        archive.writestr("a/data/0", np.arange(6, dtype="<f4").tobytes())
    return path


def attacks(canary):
    touch = f"open({str(canary)!r}, 'w').close()"
    tensor = torch.zeros(2)
    rebuild = torch._utils._rebuild_tensor_v2
    return {
        "system": Calls(os.system, f"touch {canary}"),
        "exec": Calls(builtins.exec, touch),
        "eval": Calls(builtins.eval, touch),
        "getattr": Calls(builtins.getattr, collections.OrderedDict, "fromkeys"),
        "inside a state dict": {"grid": tensor, "model.layers.0.linear.weight": Calls(exec, touch)},
        "in a tensor's hooks": Calls(rebuild, tensor, 0, (2,), (1,), False, Calls(exec, touch)),
        "in a tensor's shape": Calls(rebuild, tensor, 0, Calls(exec, touch), (1,), False),
        "in a dict's state": SetsState(
            (collections.OrderedDict, ()), {"__setstate__": Calls(exec, touch)}
        ),
        "a tensor's state": SetsState(
            (torch._tensor._rebuild_from_type_v2, (exec, torch.Tensor, (touch,))), {}
        ),
        "torch hub": Calls(torch.hub.load, "someone/something", "model"),
        "torch load": Calls(torch.load, str(canary)),
        "a module": Calls(nn.Linear, 2, 2),
        "numpy's loader": Calls(np.load, str(canary)),
        "a subprocess": Calls(__import__("subprocess").call, ["touch", str(canary)]),
        "a codec": Calls(__import__("codecs").encode, touch, "rot13"),
        "a default factory": collections.defaultdict(os.system),
    }


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("name", list(attacks("canary")))
def test_code_is_refused_and_not_run(tmp_path, canary, name, zipped):
    path = tmp_path / "model.pt"
    torch.save(attacks(canary)[name], path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(
        ValueError, match=r"model\.pt: is refused: it (asks for|constructs|encodes)"
    ):
        FunctaEncoder.from_medfuncta(path, omega=30.0)
    assert not canary.exists()


def test_an_attack_would_have_worked(tmp_path, canary):
    """The canary sings when the same file is loaded with trust."""
    torch.save(attacks(canary)["exec"], tmp_path / "model.pt")
    torch.load(tmp_path / "model.pt", weights_only=False)
    assert canary.exists()


def test_the_refused_global_is_named(tmp_path):
    torch.save(Calls(os.system, "true"), tmp_path / "a.pt")
    with pytest.raises(ValueError, match=rf"asks for {os.system.__module__}\.system; only arrays"):
        read_torch(tmp_path / "a.pt")


@pytest.mark.parametrize(
    ("pickled", "message"),
    [
        # A foreign class, allowed as a record, called with arguments.
        (b"cmodels.inrs\nLatentModulatedSIREN\n(S'x'\ntR.", "constructs a models.inrs"),
        # The state of a class instead of an instance: it would reach all further records.
        (b"cmodels.inrs\nLatentModulatedSIREN\n}S'__setstate__'\nI1\nsb.", "attributes of a type"),
        (b"cmodels.inrs\nLatentModulatedSIREN\n(N}S'kind'\nS'x'\nstb.", "attributes of a type"),
        # Attributes of the functions that stand in for others.
        (b"c__builtin__\nset\n(N}S'_call'\nI1\nstb.", "sets attributes of a function"),
        (b"ctorch._utils\n_rebuild_tensor_v2\n}S'__defaults__'\nNsb.", "sets attributes"),
        # Dotted names, the old instance instruction, extensions.
        (b"\x80\x04\x8c\x05torch\x8c\nhub.system\x93.", "asks for torch.hub.system"),
        (b"(S'true'\nios\nsystem\n.", "asks for os.system"),
        (b"\x80\x02\x82\x01.", "registered extension"),
        # Lengths beyond the file.
        (b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\x00\x00.", "announces 281474976710655 bytes"),
        (b"\x80\x05\x96\x00\x00\x00\x00\x10\x00\x00\x00.", "no file of plain values needs"),
    ],
)
def test_handwritten_pickles_are_refused(tmp_path, pickled, message):
    with pytest.raises(ValueError, match=message):
        read_torch(raw(tmp_path / "a.pt", pickled), CLASSES)
    record = read_torch(raw(tmp_path / "b.pt", b"cmodels.inrs\nLatentModulatedSIREN\n)R."), CLASSES)
    assert (record.kind, record.state) == (CLASSES[0], None)


def tensor_pickle(size=6, offset=0, shape=(6,), strides=(1,), key="0", kind="FloatStorage"):
    """Return the pickle of one tensor, by hand."""

    def plain(value):
        return pickle.dumps(value, protocol=2)[2:-1]

    storage = b"(" + plain("storage") + f"ctorch\n{kind}\n".encode()
    storage += plain(key) + plain("cpu") + plain(size) + b"tQ"
    arguments = b"(" + storage + plain(offset) + plain(shape) + plain(strides) + b"\x89Nt"
    return b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n" + arguments + b"R."


def test_a_tensor_written_by_hand_is_read(tmp_path):
    found = read_torch(raw(tmp_path / "a.pt", tensor_pickle(shape=(2, 3), strides=(3, 1))))
    assert found.tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize(
    "wrong",
    [
        {"size": 10**12},
        {"size": 7},
        {"shape": (10**12,), "strides": (0,)},
        {"shape": (10**6, 10**6), "strides": (1, 1)},
        {"shape": (6,), "strides": (2,)},
        {"offset": 1},
        {"offset": -1},
        {"shape": (-1,)},
        {"strides": (-1,)},
        {"shape": (2, 3)},
        {"key": "../../a/data/0"},
        {"kind": "DoubleStorage"},
        {"kind": "UntypedStorage"},
    ],
)
def test_tensors_beyond_their_numbers_are_refused(tmp_path, wrong):
    with pytest.raises(ValueError, match=r"a\.pt"):
        read_torch(raw(tmp_path / "a.pt", tensor_pickle(**wrong)))


def test_legacy_tensors_beyond_the_file_are_refused(tmp_path):
    path = tmp_path / "a.pt"
    torch.save(torch.arange(3.0), path, _use_new_zipfile_serialization=False)
    content = path.read_bytes()
    key = content.index(b"cpuq")
    huge = content[:key] + content[key:].replace(b"K\x03", b"J\xff\xff\xff\x7f", 1)
    path.write_bytes(huge)
    with pytest.raises(ValueError, match="2147483647 numbers, more than the file holds"):
        read_torch(path)


def test_a_compressed_archive_is_refused(tmp_path):
    torch.save(torch.zeros(10_000), tmp_path / "a.pt")
    with (
        zipfile.ZipFile(tmp_path / "a.pt") as plain,
        zipfile.ZipFile(tmp_path / "b.pt", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for name in plain.namelist():
            packed.writestr(name, plain.read(name))
    with pytest.raises(ValueError, match="is compressed"):
        read_torch(tmp_path / "b.pt")


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_everything_plain_is_read_as_torch_reads_it(tmp_path, rng, zipped):
    base = torch.arange(12.0)
    saved = {
        "dtypes": [torch.ones(3).to(d) for d in (torch.float64, torch.int8, torch.bool)],
        "bfloat": torch.tensor([1.5, -2.0], dtype=torch.bfloat16),
        "view": base.reshape(3, 4).T[1:],
        "empty": torch.zeros(0, 5),
        "scalar": torch.tensor(3),
        "parameter": nn.Parameter(torch.ones(2)),
        "plain": ("text", 1, 2.5, None, True, {"a": [1, 2]}, {1, 2}, 10**30),
    }
    torch.save(saved, tmp_path / "a.pt", _use_new_zipfile_serialization=zipped)
    found = read_torch(tmp_path / "a.pt")
    expected = torch.load(tmp_path / "a.pt", weights_only=True)
    assert found["plain"] == expected["plain"]
    for name in ("bfloat", "view", "empty", "scalar", "parameter"):
        torch.testing.assert_close(found[name], expected[name].data, rtol=0, atol=0)
    for ours, theirs in zip(found["dtypes"], expected["dtypes"], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


def test_a_state_dict_and_numpy_numbers_are_read(tmp_path):
    state = nn.Linear(2, 3).state_dict()
    torch.save({"state": state, "w0": np.float64(30.5), "n": np.int32(-4)}, tmp_path / "a.pt")
    found = read_torch(tmp_path / "a.pt")
    assert (found["w0"], found["n"]) == (30.5, -4)
    assert {k: v.tolist() for k, v in found["state"].items()} == {
        k: v.tolist() for k, v in state.items()
    }


@pytest.fixture
def foreign(monkeypatch):
    """The published modules' names, with classes that are not theirs."""
    package, inrs, layers = (
        types.ModuleType(n) for n in ("models", "models.inrs", "models.layers")
    )

    class LatentModulatedSIRENLayer(nn.Module):
        def __init__(self, n_in, n_out, latent, w0, modulate_scale=False):
            super().__init__()
            self.w0, self.modulate_scale = w0, modulate_scale
            self.linear, self.modulate_shift_layer = (
                nn.Linear(n_in, n_out),
                nn.Linear(latent, n_out),
            )

    class LatentModulatedSIREN(nn.Module):
        def __init__(self, omegas, skips=True, modulate_scale=False):
            super().__init__()
            widths = [2] + [8] * (len(omegas) - 1)
            layer = LatentModulatedSIRENLayer
            self.layers = nn.ModuleList(
                layer(n, 8, 4, w, modulate_scale) for n, w in zip(widths, omegas[:-1], strict=False)
            )
            self.last_layer = layer(8, 1, 4, omegas[-1])
            self.enable_skip_connections = skips

    for module, cls in ((inrs, LatentModulatedSIREN), (layers, LatentModulatedSIRENLayer)):
        cls.__module__, cls.__qualname__ = module.__name__, cls.__name__
        setattr(module, cls.__name__, cls)
    for module in (package, inrs, layers):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return LatentModulatedSIREN


@pytest.mark.filterwarnings("ignore:Couldn't retrieve source code")
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_a_pickled_network_of_either_format(tmp_path, foreign, zipped):
    network = foreign([10.0, 15.0, 20.0, 30.0], skips=False)
    torch.save(network, tmp_path / "model.pt", _use_new_zipfile_serialization=zipped)
    enc = FunctaEncoder.from_medfuncta(tmp_path / "model.pt", device="cpu")
    assert (enc.omega, enc.field.skip_connections) == ((10.0, 25.0), False)
    state = FunctaEncoder.from_medfuncta(
        network.state_dict(), omega=(10, 25), field__skip_connections=False, device="cpu"
    )
    latents = np.ones((1, 4), np.float32)
    np.testing.assert_array_equal(
        enc.inverse_transform(latents, grid=(3, 4)), state.inverse_transform(latents, grid=(3, 4))
    )


def test_networks_that_the_field_cannot_express_are_refused(tmp_path, foreign):
    path = tmp_path / "model.pt"
    for network, message in (
        (foreign([10.0, 15.0, 25.0, 30.0]), r"rise linearly from layer to layer.*25"),
        (foreign([10.0, 20.0, 30.0], modulate_scale=True), "modulates scales"),
        (foreign(["a", "b", "c"]), "w0 of the pickled layers must be numbers"),
        (nn.ModuleList([nn.Linear(2, 2)]), "not laid out like the published network"),
    ):
        torch.save(network, path)
        with pytest.raises(ValueError, match=message):
            FunctaEncoder.from_medfuncta(path)


def test_records_hold_state_and_nothing_else(tmp_path, foreign):
    torch.save(foreign([10.0, 20.0]), tmp_path / "model.pt")
    classes = (*CLASSES, "models.layers.LatentModulatedSIRENLayer")
    classes += ("torch.nn.modules.container.ModuleList", "torch.nn.modules.linear.Linear")
    record = read_torch(tmp_path / "model.pt", classes)
    assert isinstance(record, Record)
    assert not isinstance(record, nn.Module)
    assert record.state["enable_skip_connections"] is True


def test_numbers_of_another_byte_order_are_refused(tmp_path):
    with zipfile.ZipFile(raw(tmp_path / "a.pt", tensor_pickle()), "a") as archive:
        archive.writestr("a/byteorder", "big" if sys.byteorder == "little" else "little")
    with pytest.raises(ValueError, match="byte order of another machine"):
        read_torch(tmp_path / "a.pt")


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_files_cut_off_anywhere_are_refused(tmp_path, zipped):
    torch.save({"a": torch.arange(50.0)}, tmp_path / "a.pt", _use_new_zipfile_serialization=zipped)
    content = (tmp_path / "a.pt").read_bytes()
    for size in (0, 1, 10, 100, len(content) // 2, len(content) - 8):
        (tmp_path / "b.pt").write_bytes(content[:size])
        with pytest.raises(ValueError, match=r"b\.pt: (could not be read|is refused)"):
            read_torch(tmp_path / "b.pt")
