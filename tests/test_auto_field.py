"""field="auto": the field of whole signals or that of lapped cells, whichever suits the data."""

import re

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from sklearn.base import clone

from neurfield import FunctaEncoder
from neurfield.choosing import choose_field
from neurfield.errors import FileError
from neurfield.fields import FieldSpec, Lapped, LappedField, Siren
from neurfield.learning.trials import Trial

TINY = {"hidden_dim": 8, "max_iter": 2, "batch_size": 4, "device": "cpu", "random_state": 0}
GIVEN = {
    "learner": "cavia",
    "n_layers": 3,
    "omega": 20.0,
    "patch_size": 24,
}


def family(encoder):
    return FieldSpec.family_of(encoder.field_)


def weights(encoder):
    return {name: w.numpy() for name, w in encoder.field_.state_dict().items()}


def assert_same(one, other):
    assert weights(one).keys() == weights(other).keys()
    for name, weight in weights(one).items():
        np.testing.assert_array_equal(weight, weights(other)[name])


@pytest.fixture(scope="module")
def texture():
    """Signals that have nothing in common but how near pixels go together."""
    noise = np.random.default_rng(0).standard_normal((24, 48, 48))
    return gaussian_filter(noise, (0, 2, 2)).astype(np.float32)


@pytest.fixture(scope="module")
def mixtures():
    """Signals that are sums of a few rough pictures."""
    rng = np.random.default_rng(0)
    return (rng.standard_normal((24, 6)) @ rng.standard_normal((6, 48 * 48))).reshape(24, 48, 48)


@pytest.fixture(scope="module")
def fitted(texture):
    return FunctaEncoder(latent_dim=9 * 14, **TINY).fit(texture)


def test_textures_get_cells_and_a_line_says_why(texture, fitted, capsys):
    assert isinstance(fitted.field_, LappedField)
    assert fitted.field_.cells.counts == (3, 3)
    assert fitted.field == fitted.get_params()["field"] == clone(fitted).field == "auto"
    capsys.readouterr()
    clone(fitted).set_params(verbose=1).fit(texture)
    (line,) = re.findall(r"^field: .*$", capsys.readouterr().err, re.M)
    assert re.fullmatch(
        r"field: lapped, 3 × 3 cells of 16 × 16 samples with 14 latents: [\d.]+ dB held out in "
        r"closed form, whole signals [\d.]+ dB",
        line,
    )


def test_mixtures_get_a_latent_of_the_whole(mixtures, capsys):
    encoder = FunctaEncoder(latent_dim=9 * 8, verbose=1, **TINY).fit(mixtures)
    assert family(encoder) == "siren"
    line = r"^field: whole signals: [\d.]+ dB held out in closed form, 3 × 3 cells .*: [\d.]+ dB$"
    assert re.search(line, capsys.readouterr().err, re.M)
    assert_same(clone(encoder).set_params(field="siren", verbose=0).fit(mixtures), encoder)


def small_signals():
    rng = np.random.default_rng(0)
    return {
        "few values": rng.random((30, 12, 12)),
        "several grids": [rng.random((48, 48 + i % 2)) for i in range(24)],
        "few signals": rng.random((6, 48, 48)),
    }


@pytest.mark.parametrize("name", small_signals())
def test_signals_that_cells_do_not_suit_are_fitted_as_wholes(name, monkeypatch):
    X = small_signals()[name]
    monkeypatch.setattr(Trial, "of_whole", None)  # nothing is tried
    encoder = FunctaEncoder(latent_dim=9 * 14, **TINY).fit(X)
    assert_same(clone(encoder).set_params(field="siren").fit(X), encoder)


def test_long_latents_of_many_small_pictures_are_those_of_one_cell(capsys):
    X = np.random.default_rng(0).random((768, 12, 12))
    encoder = FunctaEncoder(latent_dim=96, verbose=1, **TINY).fit(X)
    assert family(encoder) == "lapped"
    assert encoder.field_.cells.n_cells == 1
    assert "one cell, as 144 values are few for as many latents" in capsys.readouterr().err
    assert family(FunctaEncoder(latent_dim=96, **TINY).fit(X[:767])) == "siren"
    assert family(FunctaEncoder(latent_dim=96, **TINY).fit(X.reshape(768, 144))) == "siren"


@pytest.mark.parametrize("shape", [(8, 8), (60,)])
def test_latents_as_long_as_signals_hold_all_of_them(shape, capsys):
    X = np.random.default_rng(0).random((200, *shape)).astype(np.float32)
    for latent_dim in (64, 90):
        encoder = FunctaEncoder(latent_dim=latent_dim, max_iter=20, random_state=0, verbose=1)
        assert encoder.fit(X[:150]).score(X[150:]) > 60
        assert "lapped, one cell, as latents are as long as signals" in capsys.readouterr().err


@pytest.mark.parametrize("name", GIVEN)
def test_what_only_whole_signals_take_decides(name, texture, monkeypatch):
    monkeypatch.setattr("neurfield.planning.choose_field", None)
    parameters = TINY | {"latent_dim": 9 * 14, "max_iter": 1, name: GIVEN[name]}
    assert family(FunctaEncoder(**parameters).fit(texture[:4])) == "siren"


def test_latents_that_cells_cannot_share_decide(texture, capsys):
    encoder = FunctaEncoder(latent_dim=7, verbose=1, **TINY).fit(texture[:, :46, :46])
    assert family(encoder) == "siren"
    assert "whole signals, as no cells of 8 to 32 share 7 latents" in capsys.readouterr().err


def test_the_choice_is_repeatable_and_the_data_s_alone(texture, fitted):
    assert_same(clone(fitted).fit(texture), fitted)
    other = clone(fitted).set_params(random_state=None).fit(texture)
    assert other.field_.cell == fitted.field_.cell
    given = clone(fitted).set_params(field=Lapped(cell=16)).fit(texture)
    assert_same(given, fitted)


def test_the_choice_is_saved_and_continued(texture, mixtures, fitted, tmp_path):
    fitted.save(tmp_path / "a.field")
    loaded = FunctaEncoder.load(tmp_path / "a.field")
    assert loaded.field == "auto"
    np.testing.assert_array_equal(loaded.transform(texture[:3]), fitted.transform(texture[:3]))
    # Signals that would get another field alone:
    assert family(loaded.partial_fit(mixtures)) == "lapped"
    assert family(loaded.set_params(warm_start=True).fit(mixtures)) == "lapped"
    first = clone(fitted).partial_fit(texture)
    assert family(first) == family(first.partial_fit(texture[:5])) == "lapped"


def test_a_checkpoint_keeps_the_choice(texture, fitted, tmp_path, monkeypatch):
    path = tmp_path / "fit.checkpoint"
    stopped = clone(fitted).set_params(checkpoint=path, callbacks=[lambda p: p.iteration == 1])
    stopped.fit(texture)
    with pytest.raises(FileError, match="belongs to another fit"):
        clone(fitted).set_params(checkpoint=path).fit(texture + 1)
    monkeypatch.setattr("neurfield.planning.choose_field", None)  # nothing is tried again
    resumed = clone(fitted).set_params(checkpoint=path).fit(texture)
    assert resumed.n_iter_ == 2
    assert_same(resumed, fitted)


def test_a_checkpoint_of_whole_signals_is_that_of_the_named_field(tmp_path):
    X = np.random.default_rng(0).random((20, 8, 8))
    named = FunctaEncoder(latent_dim=4, field="siren", checkpoint=tmp_path / "a", **TINY)
    named.set_params(callbacks=[lambda p: p.iteration == 1]).fit(X)
    resumed = clone(named).set_params(field="auto", callbacks=None).fit(X)
    assert resumed.n_iter_ == 2


def test_gaps_weights_and_arrays_on_disk(texture, fitted, tmp_path):
    X = texture.copy()
    X[np.random.default_rng(1).random(X.shape) < 0.02] = np.nan
    weight = np.ones(len(X))
    weight[:6] = 0.5
    assert family(clone(fitted).set_params(max_iter=1).fit(X, sample_weight=weight)) == "lapped"
    np.save(tmp_path / "X.npy", texture)
    on_disk = np.load(tmp_path / "X.npy", mmap_mode="r")
    assert_same(clone(fitted).fit(on_disk), fitted)


def test_blocks_of_dask_are_tried_too(texture, fitted):
    da, xr = pytest.importorskip("dask.array"), pytest.importorskip("xarray")
    lazy = xr.DataArray(da.from_array(texture, chunks=(6, -1, -1)), dims=("sample", "y", "x"))
    assert family(clone(fitted).set_params(max_iter=1).fit(lazy)) == "lapped"


def test_a_sample_is_as_small_as_time_and_memory_ask(texture):
    from neurfield.memory import MIB

    parameters = TINY | {"latent_dim": 9 * 14}
    encoder = FunctaEncoder(**parameters, max_time=0.01).fit(texture)
    assert encoder.n_iter_ == 1
    assert family(FunctaEncoder(**parameters, memory_budget=200 * MIB).fit(texture)) == "lapped"


def test_ctrl_c_during_the_trial_ends_the_fit(texture, fitted, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Trial, "of_whole", interrupted)
    encoder = clone(fitted)
    with pytest.raises(KeyboardInterrupt):
        encoder.fit(texture)
    assert not hasattr(encoder, "codec_")


def test_options_need_a_name():
    for method in (
        FunctaEncoder().set_params,
        lambda **o: FunctaEncoder.from_preset("functa", **o),
    ):
        with pytest.raises(ValueError, match=r"field='auto' has no options, got \['cell'\]: give"):
            method(**{"field": "auto", "field__cell": 8})
    assert not any(name.startswith("field__") for name in FunctaEncoder().get_params())
    named = FunctaEncoder().set_params(field="lapped", field__cell=8)
    assert named.field.cell == 8


def test_wrong_choices_are_refused(texture, fitted):
    with pytest.raises(ValueError, match=r"field must be one of \['auto', .*'siren'.* got 'best'"):
        FunctaEncoder(field="best").fit(texture)
    with pytest.raises(ValueError, match="learner='lapped' cannot train field='auto'"):
        FunctaEncoder(learner="lapped").fit(texture)
    X = texture.copy()
    X[3, 0, 0] = np.inf
    with pytest.raises(ValueError, match="infinity"):
        clone(fitted).fit(X)
    changed = clone(fitted).fit(texture).set_params(warm_start=True, n_layers=4)
    with pytest.raises(ValueError, match="n_layers=4 changes nothing with field='lapped'"):
        changed.fit(texture)
    changed.set_params(n_layers=None, hidden_dim=16)
    with pytest.raises(ValueError, match="continues a field with hidden_dim=8, got hidden_dim=16"):
        changed.fit(texture)


def test_recordings_get_cells_where_closed_forms_are_level():
    import torch

    from neurfield.signals import read_signals

    rng = np.random.default_rng(0)
    t = np.arange(2048)
    smooth = gaussian_filter(rng.standard_normal((30, 2048)), (0, 12))
    beats = sum(np.exp(-(((t - rng.uniform(0, 2048, (30, 1))) / 8) ** 2)) for _ in range(6))
    choice = choose_field(read_signals(beats + smooth), 77, torch.device("cpu"))
    assert isinstance(choice.field, Lapped)
    waves = np.sin(rng.uniform(1, 2, (30, 1)) * t / 300)  # of few degrees of freedom
    rough = rng.standard_normal((30, 3)) @ rng.standard_normal((3, 2048))
    choice = choose_field(read_signals(waves + rough), 77, torch.device("cpu"))
    assert isinstance(choice.field, Siren)


def test_few_signals_with_many_latents_get_cells_untried(texture, capsys):
    encoder = FunctaEncoder(latent_dim=16 * 18, verbose=1, **TINY).fit(texture[:5])
    assert encoder.field_.cells.counts == (4, 4)
    assert "18 latents, untried as 5 signals are few" in capsys.readouterr().err
