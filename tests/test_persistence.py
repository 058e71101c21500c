"""Fitted estimators on disk: pickle, joblib, and the safe format of save and load."""

import copy
import io
import json
import pickle
import shutil
import struct
import warnings
from pathlib import Path

import joblib
import numpy as np
import pytest
import torch
import xarray as xr
from safetensors import safe_open
from safetensors.torch import save_file
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from neurfield import FunctaEncoder
from neurfield.errors import FileError
from neurfield.fields import Lapped
from neurfield.signals import Layout


@pytest.fixture(scope="module")
def X():
    return np.random.default_rng(0).random((12, 5, 6))


@pytest.fixture(scope="module", params=["varpro", "cavia"])
def fitted(request, small_encoder, X):
    return small_encoder(learner=request.param).fit(X)


def assert_equivalent(a, b, X):
    Z = a.transform(X)
    np.testing.assert_array_equal(b.transform(X), Z)
    np.testing.assert_array_equal(b.inverse_transform(Z), a.inverse_transform(Z))
    np.testing.assert_array_equal(
        b.inverse_transform(Z, grid=(7, 9)), a.inverse_transform(Z, grid=(7, 9))
    )
    assert b.score(X) == a.score(X)
    assert b.loss_curve_ == a.loss_curve_
    assert b.psnr_curve_ == a.psnr_curve_
    assert b.validation_curve_ == a.validation_curve_
    assert b.n_iter_ == a.n_iter_
    assert b.n_features_in_ == a.n_features_in_
    assert b.settings_ == a.settings_
    assert list(b.get_feature_names_out()) == list(a.get_feature_names_out())


def test_pickle(fitted, X):
    assert_equivalent(fitted, pickle.loads(pickle.dumps(fitted)), X)


def test_deepcopy(fitted, X):
    assert_equivalent(fitted, copy.deepcopy(fitted), X)


def test_joblib_in_a_pipeline(fitted, X, tmp_path):
    pipe = make_pipeline(fitted, StandardScaler())
    expected = pipe[-1].fit(fitted.transform(X)).transform(fitted.transform(X))
    joblib.dump(pipe, tmp_path / "pipe.joblib", compress=3)
    np.testing.assert_array_equal(joblib.load(tmp_path / "pipe.joblib").transform(X), expected)


def test_pickling_leaves_the_original_usable(fitted, X):
    Z = fitted.transform(X)
    pickle.dumps(fitted)
    np.testing.assert_array_equal(fitted.transform(X), Z)


def test_an_unfitted_estimator_pickles(small_encoder):
    enc = pickle.loads(pickle.dumps(small_encoder(latent_dim=7)))
    assert enc.latent_dim == 7
    assert not hasattr(enc, "codec_")


@pytest.mark.skipif(torch.cuda.is_available(), reason="looks at machines without a GPU")
def test_a_pickle_from_a_gpu_loads_on_the_cpu_with_a_warning(fitted, X):
    elsewhere = copy.deepcopy(fitted)
    elsewhere.device_ = "cuda:0"  # what a fit on a GPU leaves; weights are pickled from the CPU
    content = pickle.dumps(elsewhere)
    with pytest.warns(UserWarning, match=r"cuda:0.*not available.*CPU"):
        loaded = pickle.loads(content)
    assert loaded.device_ == "cpu"
    np.testing.assert_array_equal(loaded.transform(X), fitted.transform(X))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pickle.loads(pickle.dumps(loaded))


@pytest.mark.gpu
def test_a_fit_on_a_gpu_pickles_without_it(small_encoder, X, monkeypatch):
    enc = small_encoder(device="cuda").fit(X)
    assert enc.device_.startswith("cuda")
    content = pickle.dumps(enc)
    assert pickle.loads(content).device_ == enc.device_
    state = enc.__getstate__()
    assert state["codec_"].device.type == "cpu"
    assert enc.codec_.device.type == "cuda"
    np.testing.assert_array_equal(pickle.loads(content).transform(X), enc.transform(X))


def test_save_and_load(fitted, X, tmp_path):
    path = tmp_path / "digits.field"
    fitted.save(path)
    loaded = FunctaEncoder.load(path)
    assert_equivalent(fitted, loaded, X)
    assert loaded.get_params() == fitted.get_params()
    assert [p.name for p in tmp_path.iterdir()] == ["digits.field"]


def test_save_and_load_in_double_precision(small_encoder, X, tmp_path):
    enc = small_encoder(precision="float64").fit(X)
    enc.save(tmp_path / "f")
    loaded = FunctaEncoder.load(tmp_path / "f")
    assert loaded.codec_.dtype == torch.float64
    assert_equivalent(enc, loaded, X)


@pytest.mark.parametrize("length", [0, 8, 24])
def test_latents_are_equal_wherever_the_file_puts_the_tensors(small_encoder, X, tmp_path, length):
    labelled = xr.DataArray(X, dims=("sample", "row", "col"), attrs={"note": length * "x"})
    enc = small_encoder(latent_dim=24).fit(labelled)
    enc.save(tmp_path / "f")
    loaded = FunctaEncoder.load(tmp_path / "f")
    np.testing.assert_array_equal(loaded.transform(labelled), enc.transform(labelled))


@pytest.mark.parametrize("container", ["dataarray", "dataset", "channels", "list", "labelled list"])
def test_save_and_load_keep_the_container(small_encoder, X, tmp_path, container):
    coords = {
        "row": ("row", 0.5 * np.arange(5) + 3, {"units": "mm", "spacing": np.float32(0.5)}),
        "col": ("col", 0.5 * np.arange(6)),
    }
    attrs = {"scanner": "A", "te": np.float64(3.5), "origin": np.array([1, 2]), "n": np.int64(3)}
    array = xr.DataArray(X, coords, ("sample", "row", "col"), name="image", attrs=attrs)
    two = xr.Dataset({"a": array, "b": 1 - array}, attrs={"study": "x"})
    data = {
        "dataarray": array.transpose("row", "sample", "col"),
        "dataset": two,
        "channels": two.to_dataarray("channel").rename("both"),
        "list": [x[:, : 4 + i % 3] for i, x in enumerate(X)],
        "labelled list": [x.isel(row=slice(3 + i % 3)) for i, x in enumerate(array)],
    }[container]
    enc = small_encoder().fit(data)
    enc.save(tmp_path / "f")
    loaded = FunctaEncoder.load(tmp_path / "f")
    Z = enc.transform(data)
    np.testing.assert_array_equal(loaded.transform(data), Z)
    a, b = enc.inverse_transform(Z), loaded.inverse_transform(Z)
    if isinstance(a, list):
        assert isinstance(b, list)
        a, b = a[0], b[0]
    assert type(a) is type(b)
    if isinstance(a, np.ndarray):
        np.testing.assert_array_equal(a, b)
        return
    xr.testing.assert_equal(a, b)
    if isinstance(a, xr.DataArray):
        assert a.dims == b.dims
        assert a.name == b.name
    assert _plain_attrs(a) == _plain_attrs(b)
    assert _plain_attrs(a.row) == _plain_attrs(b.row)


def _plain_attrs(labelled):
    return {name: np.asarray(value).tolist() for name, value in labelled.attrs.items()}


def test_a_loaded_estimator_can_be_fitted_and_cloned(fitted, X, tmp_path):
    from sklearn.base import clone

    fitted.save(tmp_path / "f")
    loaded = FunctaEncoder.load(tmp_path / "f")
    assert loaded.omega == fitted.omega
    np.testing.assert_array_equal(clone(loaded).fit_transform(X), clone(fitted).fit_transform(X))


def test_feature_names_are_kept(small_encoder, tmp_path):
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(np.random.default_rng(0).random((10, 4)), columns=list("abcd"))
    enc = small_encoder().fit(frame)
    enc.save(tmp_path / "f")
    loaded = FunctaEncoder.load(tmp_path / "f")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(loaded.transform(frame), enc.transform(frame))
    with pytest.raises(ValueError, match="feature names"):
        loaded.transform(frame[["b", "a", "c", "d"]])


def test_published_weights_save_and_load(small_encoder, tmp_path):
    source = small_encoder(learner="cavia").fit(np.random.default_rng(0).random((6, 5, 5)))
    state = {}
    field = source.field_
    for k, layer in enumerate(field.layers):
        rows = slice(8 * k, 8 * (k + 1))
        for part in ("weight", "bias"):
            state[f"model.layers.{k}.linear.{part}"] = getattr(layer, part).detach()
            shift = getattr(field.modulation, part).detach()[rows]
            state[f"model.layers.{k}.modulate_shift_layer.{part}"] = shift
    for part in ("weight", "bias"):
        state[f"model.last_layer.linear.{part}"] = getattr(field.output, part).detach()
    enc = FunctaEncoder.from_medfuncta(state, omega=(30.0, 60.0), device="cpu")
    X = np.random.default_rng(1).random((2, 9, 7))
    enc.save(tmp_path / "f")
    loaded = FunctaEncoder.load(tmp_path / "f")
    np.testing.assert_array_equal(loaded.transform(X), enc.transform(X))
    np.testing.assert_array_equal(
        loaded.inverse_transform(enc.transform(X), grid=(4, 4)),
        enc.inverse_transform(enc.transform(X), grid=(4, 4)),
    )
    with pytest.raises(ValueError, match=r"grid=, coords= or points="):
        loaded.inverse_transform(enc.transform(X))


def test_parameters_that_cannot_be_stored_are_left_out(small_encoder, X, tmp_path):
    enc = small_encoder(
        random_state=np.random.RandomState(0),
        callbacks=[lambda progress: None],
        checkpoint=tmp_path / "c",
        latent_dim=np.int64(4),
    ).fit(X)
    enc.save(tmp_path / "f")
    loaded = FunctaEncoder.load(tmp_path / "f")
    assert loaded.callbacks is None
    assert loaded.random_state is None
    np.testing.assert_array_equal(loaded.transform(X), enc.transform(X))


@pytest.mark.skipif(torch.cuda.is_available(), reason="looks at machines without a GPU")
def test_load_falls_back_to_the_cpu_with_a_warning(fitted, X, tmp_path):
    enc = copy.deepcopy(fitted)
    enc.device = "cuda"
    enc.save(tmp_path / "f")
    with pytest.warns(UserWarning, match="cuda.*not available.*CPU"):
        loaded = FunctaEncoder.load(tmp_path / "f")
    assert loaded.device_ == "cpu"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        explicit = FunctaEncoder.load(tmp_path / "f", device="cpu")
    np.testing.assert_array_equal(explicit.transform(X), fitted.transform(X))


@pytest.mark.skipif(torch.cuda.is_available(), reason="looks at machines without a GPU")
def test_a_device_that_is_asked_for_and_not_here_is_the_cpu_with_a_warning(fitted, tmp_path):
    fitted.save(tmp_path / "f")
    with pytest.warns(UserWarning, match="device='cuda:1' is not available.*CPU"):
        loaded = FunctaEncoder.load(tmp_path / "f", device="cuda:1")
    assert (loaded.device, loaded.device_) == ("cuda:1", "cpu")


@pytest.mark.parametrize("name", ["cdua", "cuda:one", ""])
def test_a_device_that_no_machine_has_is_an_error(fitted, tmp_path, name):
    fitted.save(tmp_path / "f")
    with pytest.raises(ValueError, match=f"device={name!r} names no device.*'cuda'"):
        FunctaEncoder.load(tmp_path / "f", device=name)


def test_a_file_from_a_machine_with_a_plugin_for_its_device_is_read(fitted, tmp_path):
    enc = copy.deepcopy(fitted)
    enc.device = "npu"  # which torch knows once a package for it is imported
    enc.save(tmp_path / "f")
    with pytest.warns(UserWarning, match="device='npu' .*continuing on the CPU"):
        assert FunctaEncoder.load(tmp_path / "f").device_ == "cpu"


# --- files that cannot be loaded ------------------------------------------------------------------


def test_no_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"absent\.field"):
        FunctaEncoder.load(tmp_path / "absent.field")


@pytest.mark.parametrize("kept", [0, 4, 100, 0.5, 0.99])
def test_truncated_file(fitted, tmp_path, kept):
    path = tmp_path / "cut.field"
    fitted.save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: kept if isinstance(kept, int) else int(kept * len(whole))])
    with pytest.raises(ValueError, match=r"cut\.field.*truncated"):
        FunctaEncoder.load(path)


def test_file_of_another_kind(tmp_path):
    path = tmp_path / "text.field"
    path.write_text("a report on neural fields " * 100)
    with pytest.raises(ValueError, match=r"text\.field.*could not be read as a safetensors file"):
        FunctaEncoder.load(path)


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}])
def test_safetensors_file_of_another_program(tmp_path, metadata):
    path = tmp_path / "other.safetensors"
    save_file({"weight": torch.zeros(3)}, path, metadata)
    with pytest.raises(ValueError, match=r"other\.safetensors.*not written by FunctaEncoder"):
        FunctaEncoder.load(path)


def rewrite(path, metadata=None, drop=()):
    """Write a saved file again with other metadata or without some tensors."""
    with safe_open(path, framework="pt") as file:
        tensors = {k: file.get_tensor(k) for k in file.keys() if k not in drop}  # noqa: SIM118
        metadata = {**file.metadata(), **(metadata or {})}
    save_file(tensors, path, {k: v for k, v in metadata.items() if v})


SAVED_BEFORE_SPECS = Path(__file__).parent / "fixtures"
FIRST_SETTINGS = {
    "n_layers",
    "residual_scale",
    "output_scale",
    "inner_steps",
    "inner_lr",
    "context_ratio",
    "transform_steps",
    "meta_lr",
    "lr_schedule",
    "batch_size",
    "max_iter",
}
SINCE_THEN = {"damping", "augmentation", "weight_decay", "learn_inner_lr", "second_order"}
SINCE_THEN |= {"context_selection", "checkpointing", "compile"}
FIRST_FIELD = {"in_dim", "out_dim", "latent_dim", "hidden_dim", "n_layers", "omega"}
FIRST_FIELD |= {"skip_connections", "residual_scale", "output_scale"}


@pytest.mark.parametrize("name", ["varpro", "cavia"])
def test_file_of_the_first_version(name, tmp_path):
    path = tmp_path / "first.field"
    shutil.copy(SAVED_BEFORE_SPECS / f"{name}.field", path)
    third = FunctaEncoder.load(path)
    with safe_open(path, framework="pt") as file:
        document = json.loads(file.metadata()["document"])
        parts = [key for key in file.keys() if key.startswith("posterior.")]  # noqa: SIM118
    del document["family"]
    document.pop("posterior", None)
    for part, kept in (("settings", FIRST_SETTINGS), ("field", FIRST_FIELD)):
        document[part] = {name: value for name, value in document[part].items() if name in kept}
    settings = document["settings"]
    document["parameters"] = {
        name: value for name, value in document["parameters"].items() if name not in SINCE_THEN
    }
    rewrite(path, {"version": "1", "document": json.dumps(document)}, drop=parts)
    loaded = FunctaEncoder.load(path)
    X = np.random.default_rng(0).random((4, *(len(axis) for axis in loaded.layout_.axes)))
    np.testing.assert_array_equal(loaded.transform(X), third.transform(X))
    learner = loaded.learner_.get_params()
    assert learner.get("augmentation", 0.0) == 0.0  # there was none
    found = vars(loaded.settings_) | learner
    settings = {name: value for name, value in settings.items() if name in found}
    assert {name: found[name] for name in settings} == settings
    assert loaded.partial_fit(X).n_iter_ == third.n_iter_ + 1


def test_a_lapped_field_of_an_earlier_kind_is_refused(tmp_path):
    path = tmp_path / "former.field"
    X = np.random.default_rng(0).normal(size=(6, 8, 8))
    FunctaEncoder(latent_dim=8, field=Lapped(cell=4), max_iter=1, random_state=0).fit(X).save(path)
    rewrite(path, {"version": "6"})
    with pytest.raises(FileError, match=r"former\.field.*lapped field of an earlier kind.*fit it"):
        FunctaEncoder.load(path)


def test_file_of_a_newer_version(fitted, tmp_path):
    path = tmp_path / "future.field"
    fitted.save(path)
    rewrite(path, {"version": "99"})
    with pytest.raises(ValueError, match=r"future\.field.*version 99.*newer.*up to version 9"):
        FunctaEncoder.load(path)


@pytest.mark.parametrize(
    "damage",
    [
        {"metadata": {"document": ""}},
        {"metadata": {"document": "{"}},
        {"metadata": {"document": json.dumps({"dtype": "float32"})}},
        {"drop": ["field.output.weight"]},
    ],
    ids=["no document", "broken document", "incomplete document", "no weights"],
)
def test_damaged_content(fitted, tmp_path, damage):
    path = tmp_path / "bad.field"
    fitted.save(path)
    rewrite(path, **damage)
    with pytest.raises(ValueError, match=r"bad\.field: could not be read as an estimator"):
        FunctaEncoder.load(path)


def test_saving_in_a_folder_that_is_not_there(fitted, tmp_path):
    with pytest.raises(OSError, match="absent"):
        fitted.save(tmp_path / "absent" / "f")


def test_a_failing_save_leaves_the_older_file_whole(fitted, tmp_path, monkeypatch):
    path = tmp_path / "f"
    fitted.save(path)
    whole = path.read_bytes()

    def fail(*args, **kwargs):
        raise OSError("no space left on device")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match="no space left"):
        fitted.save(path)
    assert path.read_bytes() == whole
    assert [p.name for p in tmp_path.iterdir()] == ["f"]


def test_attributes_that_no_file_takes_are_warned_of_before_training_and_saved_as_text(
    small_encoder, X, tmp_path
):
    array = xr.DataArray(X, dims=("sample", "y", "x"), attrs={"object": slice(1, 3)})
    enc = small_encoder()
    with pytest.warns(UserWarning, match=r"attributes \['object'\] of X .*\(slice\): save will"):
        enc.fit(array)
    enc.save(tmp_path / "f")
    twin = FunctaEncoder.load(tmp_path / "f")
    assert twin.inverse_transform(np.zeros((1, 4))).attrs == {"object": "slice(1, 3, None)"}
    assert enc.inverse_transform(np.zeros((1, 4))).attrs == array.attrs


def test_the_file_holds_no_code(fitted, tmp_path):
    fitted.save(tmp_path / "f")
    content = (tmp_path / "f").read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    assert json.loads(header["__metadata__"]["document"])["parameters"]["latent_dim"] == 4
    assert b"neurfield." not in content  # no module to import
    with pytest.raises((pickle.UnpicklingError, ValueError)):  # by what the length happens to be
        pickle.load(io.BytesIO(content))


# --- small enough to send -------------------------------------------------------------------------


def test_the_codec_alone_encodes_and_decodes(fitted, X):
    from neurfield.signals import read_signals

    codec = pickle.loads(pickle.dumps(fitted.codec_))
    latents = codec.encode(read_signals(X))
    np.testing.assert_array_equal(latents, fitted.transform(X))
    decoded = codec.decode_grid(latents, fitted.layout_.axes)[..., 0]
    np.testing.assert_array_equal(decoded, fitted.inverse_transform(latents))


def test_no_signals_are_kept(small_encoder):
    few, many = (np.random.default_rng(0).random((n, 5, 6)) for n in (200, 800))
    enc = small_encoder()
    assert len(pickle.dumps(enc.fit(many))) < 1.1 * len(pickle.dumps(enc.fit(few)))
    enc.partial_fit(many)
    assert len(pickle.dumps(enc)) < 1.1 * len(pickle.dumps(small_encoder().partial_fit(few))) + 9e3


def test_pickles_of_layouts_without_later_fields_have_their_defaults():
    layout = Layout("array", False, ("x",), (np.arange(4.0),))
    state = {n: v for n, v in vars(layout).items() if n not in ("times", "coords", "encodings")}
    restored = object.__new__(Layout)
    restored.__setstate__(state)
    assert restored.to_dict() == layout.to_dict()
