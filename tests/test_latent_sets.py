"""Published sets of latents: MedNF's folders and Functa's modulations."""

import os
import pickle
import sys
import types

import numpy as np
import pytest
import torch
import xarray as xr

from neurfield import FunctaEncoder
from neurfield.datasets import load_functa_npz, load_mednf, to_mednf
from neurfield.errors import FileError, MissingFileError


def latent_set(rng, n=7, splits=("train", "val", "test"), **coords):
    return xr.Dataset(
        {"latents": (("sample", "latent"), rng.normal(size=(n, 5)).astype(np.float32))},
        {"label": ("sample", np.arange(n)), "split": ("sample", np.resize(splits, n)), **coords},
    )


def same_bits(one, other):
    """Compare arrays bit by bit, NaN included."""
    assert one.dtype == other.dtype
    assert one.tobytes() == other.tobytes()


def test_the_published_set_survives_both_ways(shared_data, tmp_path):
    published = shared_data / "medfuncta_reference" / "mednf"
    loaded = load_mednf(published)
    assert dict(loaded.sizes) == {"sample": 12, "latent": 16}
    assert loaded["split"].values.tolist() == ["train"] * 4 + ["val"] * 4 + ["test"] * 4
    to_mednf(loaded, tmp_path / "copy")
    again = load_mednf(tmp_path / "copy")
    for name in ("latents", "label", "split", "datapoint"):
        same_bits(again[name].values, loaded[name].values)
    for path in published.glob("*/*.pt"):
        written = torch.load(tmp_path / "copy" / path.relative_to(published), weights_only=True)
        expected = torch.load(path, weights_only=True)
        assert list(written) == list(expected)
        for name in expected:
            assert written[name].shape == expected[name].shape
            same_bits(written[name].numpy(), expected[name].numpy())


def test_every_bit_and_number_is_kept(tmp_path, rng):
    latents = latent_set(rng, datapoint=("sample", [10, 9, 100, 2, 1, 5, 3]))
    latents["latents"][0, :] = [np.nan, -0.0, np.inf, 1e-42, 3.4e38]
    to_mednf(latents, tmp_path / "set")
    again = load_mednf(tmp_path / "set")
    assert again["datapoint"].values.tolist() == [2, 3, 10, 1, 9, 5, 100]
    order = [3, 6, 0, 4, 1, 5, 2]
    same_bits(again["latents"].values, latents["latents"].values[order])
    assert again["label"].values.tolist() == order


def test_files_hold_one_signal_each(tmp_path, rng):
    to_mednf(latent_set(rng, n=200), tmp_path / "set")
    sizes = [path.stat().st_size for path in (tmp_path / "set").glob("*/*.pt")]
    assert len(sizes) == 200
    assert max(sizes) < 3000  # a view of all latents would take 4000 bytes in each file


@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.float32, np.bool_])
def test_several_labels_of_any_type(tmp_path, rng, dtype):
    labels = rng.integers(0, 2, (7, 14)).astype(dtype)
    to_mednf(latent_set(rng, label=(("sample", "task"), labels)), tmp_path / "set")
    again = load_mednf(tmp_path / "set")
    assert again["label"].dims == ("sample", "task")
    order = [0, 3, 6, 1, 4, 2, 5]
    same_bits(again["label"].values, labels[order])


def test_large_sets_are_read_when_used(tmp_path, rng):
    da = pytest.importorskip("dask.array")
    to_mednf(latent_set(rng, n=10), tmp_path / "set")
    lazy, whole = load_mednf(tmp_path / "set", chunks=4), load_mednf(tmp_path / "set")
    assert isinstance(lazy["latents"].data, da.Array)
    assert lazy["latents"].chunks == ((4, 4, 2), (5,))
    same_bits(lazy["latents"].values, whole["latents"].values)
    same_bits(lazy["label"].values, whole["label"].values)
    (tmp_path / "set" / "train" / "datapoint_3.pt").write_bytes(b"")
    load_mednf(tmp_path / "set", chunks=4)["latents"][8:].compute()  # reads other files only
    with pytest.raises(ValueError, match=r"datapoint_3\.pt"):
        load_mednf(tmp_path / "set")


def test_the_network_goes_along(tmp_path, rng, shared_data):
    reference = shared_data / "medfuncta_reference"
    encoder = FunctaEncoder.from_medfuncta(reference / "mednf" / "model.pt", device="cpu")
    loaded = load_mednf(reference / "mednf")
    to_mednf(loaded, tmp_path / "set", encoder)
    again = FunctaEncoder.from_medfuncta(
        tmp_path / "set" / "best.model", omega=encoder.omega, device="cpu"
    )
    latents = loaded["latents"].values
    np.testing.assert_array_equal(
        again.inverse_transform(latents, grid=(6, 5)),
        encoder.inverse_transform(latents, grid=(6, 5)),
    )
    with pytest.raises(ValueError, match=r"encoder has latents of length 16, dataset .* length 5"):
        to_mednf(latent_set(rng), tmp_path / "other", encoder)


def test_a_failed_write_leaves_nothing(tmp_path, rng, small_encoder, monkeypatch):
    encoder = small_encoder(latent_dim=5, field__residual_scale=0.5).fit(rng.random((8, 6)))
    with pytest.raises(ValueError, match="residual_scale"):
        to_mednf(latent_set(rng), tmp_path / "set", encoder)
    assert list(tmp_path.iterdir()) == []
    to_mednf(latent_set(rng), tmp_path / "set")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(FileExistsError, match="set: is there already"):
        to_mednf(latent_set(rng), tmp_path / "set")
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.rename(latents="z"), "variable 'latents' over"),
        (lambda d: d.drop_vars("label"), "coordinate 'label' over sample"),
        (lambda d: d.drop_vars("split"), "coordinate 'split' over sample"),
        (lambda d: d.assign_coords(label=("sample", list("abcdefg"))), "'label' must hold numbers"),
        (lambda d: d.assign_coords(split=("sample", ["dev"] * 7)), r"'split' must be one .*'dev'"),
        (lambda d: d.assign_coords(datapoint=("sample", [0] * 7)), "number each signal"),
    ],
)
def test_other_layouts_are_not_written(tmp_path, rng, change, message):
    with pytest.raises(ValueError, match=message):
        to_mednf(change(latent_set(rng)), tmp_path / "set")
    assert list(tmp_path.iterdir()) == []


def test_other_layouts_are_not_read(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent"):
        load_mednf(tmp_path / "absent")
    with pytest.raises(FileNotFoundError, match=r"no datapoint_\*\.pt in train"):
        load_mednf(tmp_path)
    with pytest.raises(ValueError, match="chunks must be a positive number"):
        load_mednf(tmp_path, chunks=0)
    (tmp_path / "train").mkdir()
    good = {"modulations": torch.zeros(3), "label": torch.zeros(1)}
    for bad, message in (
        ({"latent": torch.zeros(3)}, r"'modulations' and 'label', got \['latent'\]"),
        (torch.zeros(3), "got Tensor"),
        (good | {"modulations": torch.zeros(2, 3)}, r"float32 vector .* \(2, 3\)"),
        (good | {"modulations": torch.zeros(3).double()}, "torch.float64"),
        (good | {"modulations": torch.zeros(4)}, r"latent of shape \(4,\).* first .* \(3,\)"),
        (good | {"label": torch.zeros(2)}, r"label of shape \(2,\)"),
    ):
        torch.save(good, tmp_path / "train" / "datapoint_0.pt")
        torch.save(bad, tmp_path / "train" / "datapoint_1.pt")
        with pytest.raises(ValueError, match=message):
            load_mednf(tmp_path)


# --- Functa --------------------------------------------------------------------------------------


def modulations(rng):
    sizes = {"train": 5, "test": 3}
    return {
        split: {
            "modulation": rng.normal(size=(n, 4)).astype(np.float32),
            "psnr": rng.normal(30, 1, n).astype(np.float32),
        }
        for split, n in sizes.items()
    }


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_modulations_of_functa(tmp_path, rng, protocol):
    written = modulations(rng)
    written["test"]["modulation"] = np.asfortranarray(written["test"]["modulation"])
    path = tmp_path / "celeba_modulations_4_latents.npz"
    path.write_bytes(pickle.dumps(written, protocol=protocol))
    found = load_functa_npz(path)
    assert found["split"].values.tolist() == ["train"] * 5 + ["test"] * 3
    for split, part in written.items():
        same_bits(found["latents"].values[found["split"] == split], part["modulation"].copy("C"))
        same_bits(found["psnr"].values[found["split"] == split], part["psnr"])


def test_modulations_as_dill_pickles_them(tmp_path, rng, monkeypatch):
    """Functa's writer uses dill, which rebuilds arrays by a function of its own."""
    module = types.ModuleType("dill._dill")

    def _create_array(function, arguments, state, attributes=None):
        raise AssertionError("called")

    _create_array.__module__, _create_array.__qualname__ = module.__name__, "_create_array"
    module._create_array = _create_array
    monkeypatch.setitem(sys.modules, "dill", types.ModuleType("dill"))
    monkeypatch.setitem(sys.modules, "dill._dill", module)
    written = modulations(rng)
    content = {
        split: {k: Calls(_create_array, *v.__reduce__(), None) for k, v in part.items()}
        for split, part in written.items()
    }
    (tmp_path / "a.npz").write_bytes(pickle.dumps(content, protocol=4))
    found = load_functa_npz(tmp_path / "a.npz")
    same_bits(found["latents"].values[:5], written["train"]["modulation"])


def test_modulations_written_on_another_machine(tmp_path, rng):
    written = modulations(rng)
    swapped = {s: {k: v.astype(">f4") for k, v in part.items()} for s, part in written.items()}
    (tmp_path / "a.npz").write_bytes(pickle.dumps(swapped, protocol=4))
    np.testing.assert_array_equal(
        load_functa_npz(tmp_path / "a.npz")["latents"][:5], written["train"]["modulation"]
    )


class Calls:
    def __init__(self, function, *arguments):
        self.made = function, arguments

    def __reduce__(self):
        return self.made


def test_modulations_that_hold_something_else_are_refused(tmp_path, rng):
    path, canary = tmp_path / "a.npz", tmp_path / "canary"
    whole = modulations(rng)
    for content, message in (
        (whole | {"test": Calls(os.system, f"touch {canary}")}, r"asks for \w+\.system"),
        ({"train": whole["train"]}, "KeyError: 'test'"),
        (whole | {"test": {"modulation": [[1.0]], "psnr": [1.0]}}, "must be a NumPy array"),
        (whole | {"test": {"modulation": np.array([[None]]), "psnr": 1}}, "no plain numbers"),
        (whole | {"test": whole["test"] | {"psnr": np.zeros(2)}}, r"modulation must have shape"),
    ):
        path.write_bytes(pickle.dumps(content))
        with pytest.raises(ValueError, match=message):
            load_functa_npz(path)
    assert not canary.exists()
    np.savez(path, modulation=np.zeros((2, 3)))
    with pytest.raises(ValueError, match="could not be read as a pickled set of Functa"):
        load_functa_npz(path)


@pytest.mark.parametrize(
    "content",
    [
        {"modulations": "text", "label": torch.tensor([1])},
        {"modulations": torch.zeros(4), "label": None},
        {"modulations": torch.zeros(4)},
        [torch.zeros(4)],
        {"modulations": torch.zeros(4, dtype=torch.float64), "label": torch.tensor([1])},
    ],
)
def test_whatever_a_file_of_a_set_holds_it_is_named(tmp_path, content):
    (tmp_path / "train").mkdir()
    torch.save(content, tmp_path / "train" / "datapoint_0.pt")
    with pytest.raises(FileError, match=r"datapoint_0\.pt"):
        load_mednf(tmp_path)


def test_a_folder_without_a_set_is_missing_one(tmp_path):
    with pytest.raises(MissingFileError, match="no datapoint_"):
        load_mednf(tmp_path)
