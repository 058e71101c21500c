"""Sets of latents in MedNF's layout, made from signals by one function and one command."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
import xarray as xr
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from sklearn.exceptions import NotFittedError

from neurfield import FunctaEncoder
from neurfield.cli import main
from neurfield.datasets import encode_to_mednf, load_mednf, save_npz, to_mednf
from neurfield.errors import FileError, MissingFileError
from neurfield.fields import LowRank

SIZES = {"train": 9, "val": 4, "test": 6}
TINY = {
    "latent_dim": 5,
    "hidden_dim": 16,
    "n_layers": 4,
    "max_iter": 3,
    "batch_size": 4,
    "meta_lr": 1e-3,
    "random_state": 0,
    "device": "cpu",
}

#: Decodes latents with nothing but torch and safetensors, by the formulas of the method.
SCRIPT = """
import json, os, sys
import torch
from safetensors import safe_open



def decoded(folder):
    with safe_open(f"{folder}/model.safetensors", framework="pt") as file:
        said = {name: json.loads(text) for name, text in file.metadata().items()}
        weight = {name: file.get_tensor(name) for name in file.keys()}

    def linear(name, x):
        return x @ weight[f"model.{name}.weight"].T + weight[f"model.{name}.bias"]

    def field(x, phi):
        for k in range(said["n_layers"] - 1):
            shift = linear(f"layers.{k}.modulate_shift_layer", phi)
            sine = torch.sin(said["omega"][k] * (linear(f"layers.{k}.linear", x) + shift))
            x = x + sine if k > 0 and said["skip_connections"] else sine
        return linear("last_layer.linear", x) + 0.5

    names = [f"{folder}/test/datapoint_{i}.pt" for i in range(len(os.listdir(f"{folder}/test")))]
    files = [torch.load(name, weights_only=True) for name in names]
    scaled = torch.stack([field(weight["grid"], file["modulations"]) for file in files])
    values = scaled * torch.tensor(said["value_scale"]) + torch.tensor(said["value_offset"])
    return {"values": values, "labels": torch.stack([file["label"] for file in files])}


found = {folder: decoded(folder) for folder in sys.argv[1:]}
assert not [name for name in sys.modules if name.startswith("neurfield")]
torch.save(found, "found.pt")
"""


def images(n, seed, **coords):
    """Return blobs of various places on a grid that is longer than wide, in millimetres."""
    rng = np.random.default_rng(seed)
    y, x = np.linspace(-2.0, 10.0, 7), np.linspace(5.0, 9.0, 6)
    centre = rng.uniform([0.0, 6.0], [8.0, 8.0], (n, 2))
    distance = (y[:, None] - centre[:, :1, None]) ** 2 + (x - centre[:, 1:, None]) ** 2
    values = 40.0 + 300.0 * np.exp(-distance / 6.0)
    labels = {"label": ("sample", rng.integers(0, 3, n))}
    axes = {name: (name, axis, {"units": "mm"}) for name, axis in (("y", y), ("x", x))}
    blobs = xr.DataArray(values.astype(np.float32), axes, ("sample", "y", "x"), name="blobs")
    if any(isinstance(dims, tuple) for dims, _ in coords.values()):  # no array's, but a Dataset's
        return blobs.to_dataset().assign_coords(coords)
    return blobs.assign_coords(coords or labels)


@pytest.fixture(scope="module")
def signals():
    return {split: images(n, seed) for seed, (split, n) in enumerate(SIZES.items())}


@pytest.fixture(scope="module")
def encoder(signals):
    return FunctaEncoder.from_preset("medfuncta-2d-64", **TINY).fit(signals["train"])


@pytest.fixture(scope="module")
def folder(signals, encoder, tmp_path_factory):
    path = tmp_path_factory.mktemp("set") / "BlobNF"
    encode_to_mednf(signals, path, encoder, pickled=True)
    return path


def test_splits_latents_and_labels_come_back(folder, signals, encoder):
    loaded = load_mednf(folder)
    assert loaded["split"].values.tolist() == [s for s, n in SIZES.items() for _ in range(n)]
    for split, part in signals.items():
        here = loaded.isel(sample=loaded["split"].values == split)
        np.testing.assert_array_equal(here["latents"], encoder.transform(part))
        np.testing.assert_array_equal(here["label"], part["label"])
        assert here["datapoint"].values.tolist() == list(range(SIZES[split]))
    assert sorted(path.name for path in folder.parent.iterdir()) == ["BlobNF"]


def test_files_are_laid_out_as_published(folder):
    assert sorted(path.name for path in folder.iterdir()) == [
        "best.model",
        "model.safetensors",
        "test",
        "train",
        "val",
    ]
    one = torch.load(folder / "val" / "datapoint_3.pt", weights_only=True)
    assert list(one) == ["modulations", "label"]
    assert (one["modulations"].dtype, one["modulations"].shape) == (torch.float32, (5,))
    assert (one["label"].dtype, one["label"].shape) == (torch.int64, (1,))
    safe = load_file(folder / "model.safetensors")
    pickled = torch.load(folder / "best.model", weights_only=True)
    assert safe.keys() == pickled.keys()
    assert all(torch.equal(safe[name], pickled[name]) for name in safe)


def test_plain_torch_decodes_what_we_decode(tmp_path, signals, small_encoder):
    preset = {
        "published": {},
        "without skips": {"field__skip_connections": False},
        "isotropic": {"isotropic": True, "precision": "float64"},
    }
    encoders = {
        name: FunctaEncoder.from_preset("medfuncta-2d-64", **(TINY | parameters))
        for name, parameters in preset.items()
    }
    encoders["varpro"] = small_encoder(field__residual_scale=1.0)
    encoders["low rank"] = small_encoder(field=LowRank(residual_scale=1.0), latent_dim=2)
    for name, encoder in encoders.items():
        encode_to_mednf(signals, tmp_path / name, encoder.fit(signals["train"]))
    (tmp_path / "plain.py").write_text(SCRIPT)
    subprocess.run([sys.executable, "-I", "plain.py", *encoders], cwd=tmp_path, check=True)
    found = torch.load(tmp_path / "found.pt", weights_only=True)
    for name, encoder in encoders.items():
        latents = encoder.transform(signals["test"])
        expected = encoder.inverse_transform(latents).transpose("sample", "y", "x").values
        values = found[name]["values"].numpy().reshape(expected.shape)
        scale = encoder.codec_.units.value_scale[0]
        assert expected.std() > 1e-3 * scale, name  # decoding to a constant would be no test
        np.testing.assert_allclose(values / scale, expected / scale, rtol=0, atol=1e-5)
        np.testing.assert_array_equal(found[name]["labels"][:, 0], signals["test"]["label"])


def test_our_reader_takes_either_file_of_weights(folder, signals, encoder):
    latents = encoder.transform(signals["test"])
    safe = FunctaEncoder.from_medfuncta(folder / "model.safetensors", device="cpu")
    pickled = FunctaEncoder.from_medfuncta(folder / "best.model", encoder.omega, device="cpu")
    assert safe.omega == encoder.omega
    assert [len(axis) for axis in safe.layout_.axes] == [7, 6]
    with safe_open(folder / "model.safetensors", framework="pt") as file:
        said = {name: json.loads(text) for name, text in file.metadata().items()}
    expected = encoder.inverse_transform(latents).values
    for again in (safe, pickled):
        scaled = again.inverse_transform(latents)
        values = scaled * said["value_scale"][0] + said["value_offset"][0]
        np.testing.assert_allclose(values, expected, rtol=1e-6)
    unit = (signals["test"]["y"].values - said["coordinate_offset"][0]) / said["coordinate_scale"][
        0
    ]
    np.testing.assert_allclose(unit, safe.layout_.axes[0], atol=1e-6)
    assert said["axis_names"] == ["y", "x"]


def test_weights_that_contradict_their_metadata_are_refused(folder, tmp_path):
    weights = load_file(folder / "model.safetensors")
    path = tmp_path / "model.safetensors"
    good = {"omega": "[10, 33, 56, 80]", "skip_connections": "true"}
    for metadata, message in (
        ({}, "do not say omega and skip_connections"),
        (good | {"omega": "[10, 80]"}, "omega must be a number for each of 4 layers"),
        (good | {"omega": '[10, 20, 30, "x"]'}, "omega must be a number for each of 4 layers"),
        (good | {"omega": "[10, 20, 40, 80]"}, "rise linearly"),
        (good | {"omega": "{"}, "could not be read as weights of MedFuncta"),
        (good | {"skip_connections": "1"}, "skip_connections true or false"),
    ):
        save_file(weights, path, metadata)
        with pytest.raises(FileError, match=rf"model\.safetensors.*{message}"):
            FunctaEncoder.from_medfuncta(path)
    with pytest.raises(ValueError, match=r"omega=\(1.0, 2.0\) was given, but the file says"):
        FunctaEncoder.from_medfuncta(folder / "model.safetensors", omega=(1.0, 2.0))
    with pytest.raises(MissingFileError, match=r"none\.safetensors"):
        FunctaEncoder.from_medfuncta(tmp_path / "none.safetensors")


def test_large_sets_go_through_in_blocks(signals, encoder, tmp_path, monkeypatch):
    pytest.importorskip("dask.array")
    monkeypatch.setattr("neurfield.datasets.mednf_encoding.BLOCK", 4)
    seen = []
    transform = FunctaEncoder.transform

    def counting(self, X):
        seen.append(X.sizes["sample"] if isinstance(X, xr.DataArray) else len(X))
        return transform(self, X)

    monkeypatch.setattr(FunctaEncoder, "transform", counting)
    listed = [signals["val"][place] for place in range(4)]
    parts = {"train": signals["train"].chunk(sample=3), "val": listed}
    encode_to_mednf(parts, tmp_path / "set", encoder)
    assert seen == [4, 4, 1, 4]
    loaded = load_mednf(tmp_path / "set")
    for split in parts:
        here = loaded.isel(sample=loaded["split"].values == split)
        expected = transform(encoder, signals[split])
        np.testing.assert_allclose(here["latents"], expected, rtol=1e-4, atol=1e-6)
        np.testing.assert_array_equal(here["label"], signals[split]["label"])


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda n: {"label": (("sample", "task"), np.eye(n, 3, dtype=np.uint8))}, np.uint8),
        (lambda n: {f"label_{k}": ("sample", np.arange(n) % (k + 2)) for k in range(3)}, np.int64),
        (lambda n: {"label": ("sample", np.arange(n, dtype=np.uint16))}, np.int64),
        (lambda n: {"label": ("sample", np.arange(n) / 2)}, np.float64),
    ],
)
def test_labels_of_several_kinds(encoder, tmp_path, make, expected):
    parts = {"train": images(4, 0, **make(4)), "test": images(3, 1, **make(3))}
    encode_to_mednf(parts, tmp_path / "set", encoder)
    labels = load_mednf(tmp_path / "set")["label"]
    assert labels.dtype == expected
    for part in (labels[:4], labels[4:]):
        coords = make(len(part)).values()
        columns = [np.asarray(values).reshape(len(part), -1) for _, values in coords]
        np.testing.assert_array_equal(part.values.reshape(len(part), -1), np.hstack(columns))


def test_words_become_numbers_that_the_weights_name(encoder, tmp_path):
    parts = {
        "train": images(3, 0, label=("sample", ["V", "N", "N"])),
        "test": images(2, 1, label=("sample", np.array(["S", "V"], object))),
    }
    encode_to_mednf(parts, tmp_path / "set", encoder)
    assert load_mednf(tmp_path / "set")["label"].values.tolist() == [2, 0, 0, 1, 2]
    with safe_open(tmp_path / "set" / "model.safetensors", framework="pt") as file:
        assert json.loads(file.metadata()["classes"]) == ["N", "S", "V"]


def changed(signals, **parts):
    return {**signals, **parts}


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda s: s["train"], TypeError, "mapping of splits to signals"),
        (lambda s: s["train"].to_dataset(name="v"), TypeError, "mapping of splits .* Dataset"),
        (lambda s: {}, ValueError, "splits among"),
        (lambda s: {"dev": s["val"]}, ValueError, r"splits among .* got \['dev'\]"),
        (lambda s: changed(s, val=s["val"].values), TypeError, r"\['val'\] .* got ndarray"),
        (lambda s: changed(s, val=[s["val"].values]), TypeError, r"\['val'\] .* got list"),
        (lambda s: changed(s, val=s["val"][:0]), ValueError, r"\['val'\] holds no signals"),
        (lambda s: changed(s, val=s["val"][0]), ValueError, r"\['val'\] .* dimension sample"),
        (
            lambda s: changed(s, val=s["val"].drop_vars("label")),
            ValueError,
            r"\['val'\] must have labels",
        ),
        (
            lambda s: changed(s, val=images(2, 0, label=("sample", ["a", "b"]))),
            ValueError,
            r"same labels, got 1 numbers \(\['label'\]\) in train and 1 words .* in val",
        ),
        (
            lambda s: changed(s, val=images(2, 0, label=(("sample", "task"), np.eye(2)))),
            ValueError,
            "same labels, got 1 numbers .* in train and 2 numbers .* in val",
        ),
        (
            lambda s: {"val": images(2, 0, label=("sample", np.array([1, None])))},
            ValueError,
            "must be numbers or text, got dtype object",
        ),
        (lambda s: changed(s, test=s["test"].rename(x="z")), ValueError, "z"),
    ],
)
def test_what_cannot_be_a_set_is_refused_before_any_work(
    signals, encoder, tmp_path, monkeypatch, change, error, message
):
    monkeypatch.setattr(FunctaEncoder, "transform", lambda *_: pytest.fail("encoded"))
    with pytest.raises(error, match=message):
        encode_to_mednf(change(signals), tmp_path / "set", encoder)
    assert list(tmp_path.iterdir()) == []


def test_fields_that_were_not_published_are_refused_before_any_work(
    signals, tmp_path, monkeypatch, small_encoder
):
    train = signals["train"]
    fitted = [
        (small_encoder(field__residual_scale=0.5).fit(train), "residual_scale=0.5; fit with a med"),
        (
            small_encoder(field="spatial", latent_dim=16).fit(train),
            "must be a ModulatedSiren, got SpatialSiren",
        ),
        (small_encoder(field="siren", patch_size=4).fit(train), "patch_size must be None, got 4"),
    ]
    monkeypatch.setattr(FunctaEncoder, "transform", lambda *_: pytest.fail("encoded"))
    for encoder, message in fitted:
        with pytest.raises(ValueError, match=message):
            encode_to_mednf(signals, tmp_path / "set", encoder)
    with pytest.raises(NotFittedError):
        encode_to_mednf(signals, tmp_path / "set", FunctaEncoder())
    assert list(tmp_path.iterdir()) == []


def test_only_sets_of_latents_are_replaced(signals, encoder, tmp_path, monkeypatch):
    path = tmp_path / "set"
    encode_to_mednf(signals, path, encoder, pickled=True)
    with pytest.raises(FileExistsError, match="set: is there already"):
        encode_to_mednf(signals, path, encoder)
    encode_to_mednf({"val": signals["val"]}, path, encoder, overwrite=True)
    assert load_mednf(path).sizes["sample"] == SIZES["val"]
    assert not (path / "best.model").exists()
    monkeypatch.setattr(FunctaEncoder, "transform", lambda *_: pytest.fail("encoded"))
    for other in ("notes.txt", "train/scan.nii", "val/more/datapoint_0.pt"):
        (path / other).parent.mkdir(exist_ok=True)
        (path / other).write_text("precious")
        with pytest.raises(FileError, match="no part of a set of latents"):
            encode_to_mednf(signals, path, encoder, overwrite=True)
        (path / other).unlink()
    (tmp_path / "file").write_text("precious")
    with pytest.raises(FileExistsError, match="file: is there already"):
        encode_to_mednf(signals, tmp_path / "file", encoder, overwrite=True)
    with pytest.raises(FileNotFoundError, match="no such folder to write set into"):
        encode_to_mednf(signals, tmp_path / "nowhere" / "set", encoder)


def test_a_write_that_fails_leaves_the_set_that_was_there(signals, encoder, tmp_path, monkeypatch):
    path = tmp_path / "set"
    encode_to_mednf({"val": signals["val"]}, path, encoder)

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("neurfield.datasets.mednf_encoding.write_weights", interrupted)
    with pytest.raises(KeyboardInterrupt):
        encode_to_mednf(signals, path, encoder, overwrite=True)
    assert [one.name for one in tmp_path.iterdir()] == ["set"]
    assert load_mednf(path).sizes["sample"] == SIZES["val"]


def test_latents_that_are_there_get_the_same_network(folder, encoder, tmp_path):
    to_mednf(load_mednf(folder), tmp_path / "copy", encoder)
    for name in ("best.model", "model.safetensors"):
        read = load_file if name.endswith("safetensors") else torch.load
        one, other = read(folder / name), read(tmp_path / "copy" / name)
        assert all(torch.equal(one[key], other[key]) for key in one)


# --- The command ---------------------------------------------------------------------------------


def run(*arguments):
    return main([str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A file laid out like MedMNIST's, and a published field that was fitted to it."""
    path = tmp_path_factory.mktemp("cli")
    rng = np.random.default_rng(0)
    arrays = {}
    for split, n in SIZES.items():
        arrays[f"{split}_images"] = rng.integers(0, 255, (n, 8, 8)).astype(np.uint8)
        arrays[f"{split}_labels"] = rng.integers(0, 2, (n, 1)).astype(np.uint8)
    np.savez(path / "cells.npz", **arrays)
    sizes = ("--latent-dim", 5, "--hidden-dim", 8, "--n-layers", 3, "--batch-size", 4)
    fit = ("fit", path / "cells.npz", "--split", "train", "--preset", "medfuncta-2d-64", *sizes)
    out = ("--max-iter", 2, "--device", "cpu", "--seed", 0, "-q", "-o", path / "cells.field")
    assert run(*fit, *out) == 0
    return path


def test_the_command_writes_all_splits(files, tmp_path, capsys):
    field, data = files / "cells.field", files / "cells.npz"
    out = ("-o", tmp_path / "CellNF")
    assert run("mednf", field, data, *out, "--splits", "train", "val", "test") == 0
    said = capsys.readouterr().out
    assert "val         4 signals of 8 × 8 (y, x)" in said
    assert "CellNF" in said
    loaded = load_mednf(tmp_path / "CellNF")
    encoder = FunctaEncoder.load(field)
    with np.load(data) as arrays:
        for split in SIZES:
            here = loaded.isel(sample=loaded["split"].values == split)
            np.testing.assert_array_equal(
                here["latents"], encoder.transform(arrays[f"{split}_images"])
            )
            np.testing.assert_array_equal(here["label"], arrays[f"{split}_labels"][:, 0])
    assert not (tmp_path / "CellNF" / "best.model").exists()
    assert run("mednf", field, data, *out, "--split", "test", "--pickled", "--overwrite") == 0
    assert set(load_mednf(tmp_path / "CellNF")["split"].values) == {"test"}
    assert (tmp_path / "CellNF" / "best.model").exists()


def test_parts_of_other_names_and_signals_without_parts(files, tmp_path):
    field, data = files / "cells.field", files / "cells.npz"
    out = tmp_path / "set"
    assert run("mednf", field, data, "-o", out, "--splits", "train=val", "test") == 0
    assert load_mednf(out)["split"].values.tolist() == ["train"] * 4 + ["test"] * 6
    whole = xr.DataArray(
        np.random.default_rng(1).random((3, 8, 8)),
        {"label": ("sample", [0, 1, 1])},
        ("sample", "y", "x"),
    )
    save_npz(whole, tmp_path / "whole.npz")
    assert run("mednf", field, tmp_path / "whole.npz", "-o", out, "--overwrite") == 0
    assert load_mednf(out)["split"].values.tolist() == ["train"] * 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--splits", "train", "dev"), "must be different ones of train, val, test"),
        (("--splits", "train", "train=val"), "must be different ones of"),
        (("--splits", "train", "--split", "val"), "either --splits or --split"),
    ],
)
def test_the_command_refuses_before_it_reads(
    capsys, files, tmp_path, monkeypatch, options, message
):
    monkeypatch.setattr("neurfield.datasets.open_signals", lambda *_, **__: pytest.fail("read"))
    arguments = ("mednf", files / "cells.field", files / "cells.npz", "-o", tmp_path / "set")
    assert run(*arguments, *options) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_the_command_replaces_nothing_unasked(capsys, files, tmp_path, monkeypatch):
    monkeypatch.setattr("neurfield.datasets.open_signals", lambda *_, **__: pytest.fail("read"))
    arguments = ("mednf", files / "cells.field", files / "cells.npz", "-o")
    (tmp_path / "notes.txt").write_text("precious")
    assert run(*arguments, tmp_path) == 2
    assert "is there already; --overwrite" in capsys.readouterr().err
    assert run(*arguments, tmp_path, "--overwrite") == 2
    assert "notes.txt: is no part of a set of latents" in capsys.readouterr().err
    assert (tmp_path / "notes.txt").read_text() == "precious"
