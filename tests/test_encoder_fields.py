"""FunctaEncoder with each family of fields: published sizes, quality, and its files."""

import pickle

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from sklearn.base import clone
from sklearn.datasets import load_digits

from neurfield import FunctaEncoder
from neurfield.cli import main
from neurfield.fields import LowRank, Spatial
from neurfield.learning import Cavia
from neurfield.spec import plain

PRESETS = ("spatial-functa-nearest", "spatial-functa-linear", "lrm-functa")
SMALL = {"hidden_dim": 8, "n_layers": 3, "batch_size": 8, "device": "cpu", "random_state": 0}
FAMILIES = {
    "spatial": {"field": Spatial(grid=(2, 3)), "latent_dim": 12},
    "nearest": {"field": Spatial(grid=[2, 3], interpolation="nearest"), "latent_dim": 12},
    "low-rank": {"field": LowRank(intermediate_dim=7), "latent_dim": 3},
}


@pytest.fixture(scope="module")
def digits():
    return load_digits().images[:400] / 16.0


@pytest.fixture(params=FAMILIES)
def encoder(request):
    return clone(FunctaEncoder(**SMALL, **FAMILIES[request.param], max_iter=4))


# --- presets --------------------------------------------------------------------------------------

# 2 → 256, eight times 256 → 256, and 256 → 1; shifts of nine layers from 64 or 256 numbers.
SINES = (2 * 256 + 256) + 8 * (256 * 256 + 256) + (256 + 1)
N_PARAMETERS = {
    "spatial-functa-nearest": SINES + 9 * 256 * (64 + 1),
    "spatial-functa-linear": SINES + 9 * 256 * (64 + 1),
    "lrm-functa": SINES + 9 * 256 * (256 + 1) + 256 * 2 + 256,
}


@pytest.mark.parametrize("name", PRESETS)
def test_presets_have_the_published_sizes(name, digits):
    encoder = FunctaEncoder.from_preset(name, max_iter=1, batch_size=2, device="cpu")
    encoder.fit(digits[:4])
    assert encoder.field_.n_parameters == N_PARAMETERS[name]
    assert encoder.field_.skip_connections is False
    if name == "lrm-functa":
        assert encoder.field_.omegas[0] == 10.0
        assert encoder.field_.omegas[-1] == 200.0
        assert encoder.transform(digits[:2]).shape == (2, 2)
    else:
        assert set(encoder.field_.omegas) == {30.0}
        assert encoder.transform(digits[:2]).shape == (2, 8 * 8 * 64)


@pytest.mark.parametrize("name", PRESETS)
def test_presets_in_small_beat_the_mean_image(name, digits):
    small = {"hidden_dim": 32, "n_layers": 4, "learner__context_ratio": 1.0, "batch_size": 16}
    if name == "lrm-functa":
        small |= {"latent_dim": 8, "field__intermediate_dim": 32, "omega": (5.0, 20.0)}
    else:
        small |= {"latent_dim": 4 * 4 * 4, "field__grid": (4, 4), "omega": 10.0}
    quick = {"meta_lr": 2e-3, "learner__inner_lr": 1.0, "max_iter": 80, "lr_schedule": "cosine"}
    quick["learner__learn_inner_lr"] = False  # what is learnt starts small, needs more meta-steps
    encoder = FunctaEncoder.from_preset(name, **small, **quick, device="cpu", random_state=0)
    train, held_out = digits[:300], digits[300:]
    encoder.fit(train)
    assert encoder.score(held_out) > level_of_the_mean(train, held_out) + 3.0


@pytest.mark.parametrize("family", FAMILIES)
def test_the_closed_form_learns_each_family(family, digits):
    size = {"latent_dim": 24, "hidden_dim": 32, "n_layers": 4}
    if family == "low-rank":
        size |= {"latent_dim": 8, "field": LowRank(intermediate_dim=16)}
    small = {**SMALL, **FAMILIES[family], **size}
    train, held_out = digits[:300], digits[300:]
    encoder = FunctaEncoder(**(small | {"batch_size": 128}), max_iter=100).fit(train)
    assert encoder.score(held_out) > level_of_the_mean(train, held_out) + 2.5


@pytest.mark.parametrize("learner", ["cavia", "varpro"])
def test_the_basis_of_low_rank_shifts_stays_orthonormal(learner, digits):
    quick = {"learner": learner, "meta_lr": 3e-3, "max_iter": 60, "lr_schedule": "cosine"}
    encoder = FunctaEncoder(**SMALL, **FAMILIES["low-rank"], **quick).fit(digits[:100])
    basis = encoder.field_.basis.detach()
    np.testing.assert_allclose(basis.T @ basis, np.eye(3), atol=0.05)


def level_of_the_mean(train, held_out):
    mse = np.square(held_out - train.mean(axis=0)).mean(axis=(1, 2))
    return float(np.mean(-10 * np.log10(mse)))


# --- the estimator's contract ---------------------------------------------------------------------


def test_clone_pickle_save_and_load(encoder, digits, tmp_path):
    own, copied = encoder.get_params(), clone(encoder).get_params()
    assert {k: plain(v) for k, v in copied.items()} == {k: plain(v) for k, v in own.items()}
    assert copied["field"] is not own["field"]
    encoder.fit(digits[:40])
    Z = encoder.transform(digits[:5])
    R = encoder.inverse_transform(Z, grid=(11, 13))
    encoder.save(tmp_path / "model.field")
    loaded = FunctaEncoder.load(tmp_path / "model.field")
    assert type(loaded.field_) is type(encoder.field_)
    for twin in (pickle.loads(pickle.dumps(encoder)), loaded):
        np.testing.assert_array_equal(twin.transform(digits[:5]), Z)
        np.testing.assert_array_equal(twin.inverse_transform(Z, grid=(11, 13)), R)
    assert loaded.fit(digits[:40]).transform(digits[:5]).shape == Z.shape


@pytest.mark.parametrize("learner", ["cavia", "varpro"])
def test_signals_of_one_two_and_three_axes_and_on_grids_of_their_own(learner):
    rng = np.random.default_rng(0)
    for shape in [(9,), (5, 6), (4, 5, 6)]:
        size = {"latent_dim": 2 ** len(shape) * 2, "max_iter": 2}
        encoder = FunctaEncoder(**SMALL, **size, field=Spatial(grid=2), learner=learner)
        X = rng.random((6, *shape))
        Z = encoder.fit(X).transform(X)
        assert encoder.inverse_transform(Z).shape == X.shape
        ragged = [rng.random([n + i % 2 for n in shape]) for i in range(6)]
        assert encoder.fit(ragged).transform(ragged).shape == Z.shape


@pytest.mark.parametrize(
    "option",
    [
        {"learn_inner_lr": True},
        {"second_order": False},
        {"context_selection": "gradient"},
        {"context_selection": "sequential"},
        {"gradient_scaling": True},
    ],
)
def test_variants_of_cavia_apply_to_each_family(encoder, option, digits):
    encoder.set_params(learner=Cavia(context_ratio=0.5, **option))
    assert np.isfinite(encoder.fit(digits[:16]).transform(digits[:4])).all()


def test_derivatives_agree_with_finite_differences(encoder, digits):
    image = xr.DataArray(
        digits[:40], {"y": np.arange(8.0), "x": np.arange(8.0)}, ("sample", "y", "x")
    )
    encoder.set_params(precision="float64").fit(image)
    Z = encoder.transform(image[:3])
    y, x, step = np.linspace(0.3, 6.6, 7), np.array([1.3, 5.9]), 1e-2
    found = encoder.inverse_transform(Z, coords={"y": y, "x": x}, derivative="y")
    ends = [
        encoder.inverse_transform(Z, coords={"y": y + s * step, "x": x}).values for s in (-1, 1)
    ]
    apart = (ends[1] - ends[0]) / (2 * step)
    np.testing.assert_allclose(found.values, apart, atol=2e-2 * np.abs(apart).max())


def test_names_of_latents_say_cell_and_channel(digits):
    encoder = FunctaEncoder(**SMALL, **FAMILIES["spatial"], max_iter=1).fit(digits[:20])
    names = encoder.get_feature_names_out()
    assert names[0] == "functaencoder_y0_x0_c0"
    assert names[-1] == "functaencoder_y1_x2_c1"
    table = encoder.set_output(transform="pandas").transform(digits[:3])
    assert isinstance(table, pd.DataFrame)
    assert list(table.columns) == list(names)
    plain = FunctaEncoder(**SMALL, **FAMILIES["low-rank"], max_iter=1).fit(digits[:20])
    assert list(plain.get_feature_names_out()) == [f"functaencoder{i}" for i in range(3)]


def test_checkpoints_belong_to_a_family(encoder, digits, tmp_path):
    path = tmp_path / "fit.ckpt"
    whole = clone(encoder).fit(digits[:40])
    clone(encoder).set_params(
        checkpoint=path, checkpoint_every=2, callbacks=[lambda p: p.iteration == 2]
    ).fit(digits[:40])
    resumed = clone(encoder).set_params(checkpoint=path).fit(digits[:40])
    np.testing.assert_array_equal(resumed.transform(digits[:5]), whole.transform(digits[:5]))
    other = clone(encoder).set_params(checkpoint=path, field="siren")
    with pytest.raises(ValueError, match=r"belongs to another fit.*field"):
        other.fit(digits[:40])


def test_warm_start_goes_on_with_the_same_family_only(encoder, digits):
    encoder.set_params(warm_start=True).fit(digits[:40]).fit(digits[:40])
    with pytest.raises(ValueError, match=r"continues a field with field=.*, got field=siren"):
        encoder.set_params(field="siren").fit(digits[:40])


def test_warm_start_refuses_another_grid(digits):
    encoder = clone(FunctaEncoder(**SMALL, **FAMILIES["spatial"], max_iter=1, warm_start=True))
    encoder.fit(digits[:20])
    with pytest.raises(ValueError, match=r" grid=\(2, 3\), got grid=\(3, 2\)"):
        encoder.set_params(field__grid=(3, 2)).fit(digits[:20])
    with pytest.raises(ValueError, match=r"grid must .* 2 axes .*\(2, 3, 1\)"):
        encoder.set_params(field__grid=(2, 3, 1)).fit(digits[:20])


def test_info_names_the_family(encoder, digits, tmp_path, capsys):
    encoder.fit(digits[:20]).save(tmp_path / "model.field")
    assert main(["info", str(tmp_path / "model.field")]) in (0, None)
    assert f"family              {encoder.field.name}" in capsys.readouterr().out
    assert f">{encoder.field.name}<" in encoder._repr_mimebundle_()["text/html"]


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"latent_dim": 10}, r"latent_dim must be divisible by the 6 cells.*got 10"),
        ({"field__grid": (2, 3, 2)}, r"one number for each of the 2 axes.*got \(2, 3, 2\)"),
        ({"field__grid": (2, -3)}, r"grid must hold positive integers, got \(2, -3\)"),
        ({"field__grid": 0}, "'grid' parameter of Spatial"),
        ({"field__interpolation": "cubic"}, "interpolation"),
        ({"field": "hashgrid"}, "field"),
        ({"field": LowRank(intermediate_dim=11)}, "at most intermediate_dim=11, got 12"),
    ],
)
def test_what_does_not_fit_is_refused_before_any_work(parameters, message, digits, monkeypatch):
    encoder = clone(FunctaEncoder(**(SMALL | FAMILIES["spatial"]))).set_params(**parameters)
    monkeypatch.setattr("neurfield.passes.fit_codec", None)
    with pytest.raises(ValueError, match=message):
        encoder.fit(digits[:20])


def test_canonical_vectors_of_cells_measure_distances_of_signals(digits):
    encoder = FunctaEncoder(**SMALL, **FAMILIES["nearest"], max_iter=2).fit(digits[:100])
    Z = encoder.transform(digits[:100]).reshape(100, 6, 2)
    variances = Z.reshape(-1, 2).var(axis=0)
    assert variances[0] >= variances[1]
