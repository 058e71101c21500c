"""A fitted estimator is a value: no public method but those that fit changes it in any bit."""

import copy
import pickle
import warnings

import joblib
import numpy as np
import pytest
import xarray as xr
from sklearn import config_context
from sklearn.base import clone

from neurfield import FunctaEncoder
from neurfield.datasets import to_mednf
from neurfield.fields import LowRank, Siren, Spatial
from neurfield.learning import Cavia, EarlyStopping

N = 10


def images(seed=0):
    return np.random.default_rng(seed).random((N, 6, 8))


def beats(seed=0):
    return np.random.default_rng(seed).random((N, 12))


def labelled(seed=0):
    axes = {"y": ("y", np.arange(6.0), {"units": "mm"}), "x": ("x", np.arange(8.0) * 0.5)}
    return xr.DataArray(images(seed), axes, ("sample", "y", "x"), "density", {"units": "HU"})


def dataset(seed=0):
    return xr.Dataset({"one": labelled(seed), "two": labelled(seed + 50)})


def ragged(seed=0):
    rng = np.random.default_rng(seed)
    return [rng.random((5 + i % 2, 6)) for i in range(N)]


def in_blocks(seed=0):
    pytest.importorskip("dask")
    return labelled(seed).chunk({"sample": 3})


# Of each kind: the encoder's parameters, its signals, and those signals with gaps.
KINDS = {
    "signals": ({}, beats),
    "images": ({}, images),
    "channels": ({"channel_axis": -1}, lambda seed=0: np.stack([images(seed)] * 2, axis=-1)),
    "patches": ({"patch_size": 3}, images),
    "patches of labelled images": ({"patch_size": (3, 4)}, labelled),
    "spatial": ({"field": Spatial(grid=2), "latent_dim": 8}, images),
    "spatial patches": ({"field": Spatial(grid=2), "patch_size": 4}, images),
    "low rank": ({"field": LowRank(intermediate_dim=6)}, images),
    "scales": ({"field": Siren(modulation="shift_scale")}, beats),
    "cavia": ({"learner": Cavia(inner_steps=2)}, images),
    "cavia patches": ({"learner": Cavia(learn_inner_lr=True), "patch_size": 4}, images),
    "early stopping": ({"early_stopping": EarlyStopping(validation_fraction=0.3)}, beats),
    "steps": ({"transform_steps": 2}, beats),
    "double": ({"precision": "float64"}, images),
    "xarray": ({}, labelled),
    "dataset": ({}, dataset),
    "list": ({}, ragged),
    "dask": ({}, in_blocks),
    "dask patches": ({"patch_size": 4}, in_blocks),
}


def with_gaps(X):
    def gaps(values):
        holes = np.random.default_rng(1).random(values.shape) < 0.2
        return np.where(holes, np.nan, values)

    if isinstance(X, list):
        return [gaps(x) for x in X]
    if isinstance(X, xr.Dataset):
        return X.map(lambda variable: variable.copy(data=gaps(variable.values)))
    return X.copy(data=gaps(X.values)) if isinstance(X, xr.DataArray) else gaps(X)


@pytest.fixture(scope="module", params=KINDS)
def case(request, small_encoder):
    parameters, make = KINDS[request.param]
    parameters = {name: clone(value, safe=False) for name, value in parameters.items()}
    return small_encoder(**parameters, max_iter=2).fit(make()), make


def state_of(encoder):
    """Return a digest of all that an encoder holds, what pickle leaves out included."""
    return joblib.hash(encoder), joblib.hash(dict(vars(encoder)))


def assert_value(encoder, use):
    before = state_of(encoder)
    use()
    assert state_of(encoder) == before


def computed(latents):
    return np.asarray(latents)


def test_the_digest_sees_a_change(case):
    changed = copy.deepcopy(case[0])
    before = state_of(changed)
    assert state_of(changed) == before
    next(changed.field_.parameters()).data.view(-1)[0] += 1e-6
    assert all(now != then for now, then in zip(state_of(changed), before, strict=True))


def test_encoding_and_scoring_change_nothing(case):
    encoder, make = case
    for X in (make(1), with_gaps(make(2))):
        assert_value(encoder, lambda X=X: computed(encoder.transform(X)))
        assert_value(encoder, lambda X=X: encoder.score(X))


def where_to_decode(encoder):
    """Yield every kind of argument that ``inverse_transform`` takes."""
    layout = encoder.layout_
    d, names = layout.n_axes, layout.axis_names
    yield from ({}, {"grid": [3] * d}, {"points": np.full((2, d), 1.5)})
    one = {name: np.array([0.5, 1.0, 2.0]) for name in names}
    yield from ({"coords": one}, {"coords": [one] * N}, {"dtype": np.float16})
    yield from ({"derivative": names[0]}, {"derivative": list(names)})


@pytest.mark.filterwarnings("ignore:return_std=True takes each signal as observed:UserWarning")
def test_decoding_changes_nothing(case):
    encoder, make = case
    Z = computed(encoder.transform(make(1)))
    for where in where_to_decode(encoder):
        assert_value(encoder, lambda where=where: encoder.inverse_transform(Z, **where))
        if encoder.codec_.posterior is None or "derivative" in where:
            continue
        for observed in (None, make(1), with_gaps(make(1))):
            options = {**where, "return_std": True, "observed": observed}
            assert_value(encoder, lambda o=options: encoder.inverse_transform(Z, **o))


def test_what_shows_copies_or_saves_changes_nothing(case, tmp_path):
    encoder, _ = case

    def shown():
        with config_context(display="diagram"):
            return repr(encoder), encoder._repr_html_(), encoder._repr_mimebundle_()

    uses = [
        encoder.get_feature_names_out,
        encoder.get_params,
        encoder.get_metadata_routing,
        encoder.__sklearn_tags__,
        shown,
        lambda: clone(encoder),
        lambda: copy.deepcopy(encoder),
        lambda: pickle.loads(pickle.dumps(encoder)),
        lambda: encoder.save(tmp_path / "model.field"),
        lambda: FunctaEncoder.load(tmp_path / "model.field"),
        lambda: encoder.set_params(**encoder.get_params(deep=False)),
    ]
    for use in uses:
        assert_value(encoder, use)


def test_calls_that_raise_change_nothing(case, tmp_path):
    encoder, make = case
    Z = computed(encoder.transform(make(1)))
    d = encoder.layout_.n_axes
    infinite = make(1)
    if isinstance(infinite, list):
        infinite[0] = infinite[0] * np.inf
    else:
        infinite = infinite * np.inf
    uses = [
        lambda: computed(encoder.transform(infinite)),
        lambda: encoder.score(infinite),
        lambda: encoder.fit(infinite),
        lambda: encoder.partial_fit(infinite),
        lambda: computed(encoder.transform(np.zeros((2, 2, 2, 2, 2)))),
        lambda: encoder.inverse_transform(Z[:, 1:]),
        lambda: encoder.inverse_transform(Z, grid=[0] * d),
        lambda: encoder.inverse_transform(Z, points=[[np.nan] * d]),
        lambda: encoder.inverse_transform(Z, derivative="nonesuch"),
        lambda: encoder.inverse_transform(Z, observed=make(1)),
        lambda: encoder.inverse_transform(Z, return_std=True, observed=make(1)[:3]),
        lambda: encoder.save(tmp_path / "absent" / "model.field"),
        lambda: encoder.get_feature_names_out(["a"]),
        lambda: encoder.set_params(nonesuch=1),
        lambda: encoder.set_params(learner__nonesuch=1),
        lambda: to_mednf(xr.Dataset(), tmp_path / "set", encoder),
    ]

    def refused(use):
        with pytest.raises((ValueError, OSError, TypeError, KeyError)):
            use()

    for use in uses:
        assert_value(encoder, lambda use=use: refused(use))


def deviations(encoder, X):
    Z = computed(encoder.transform(X))
    return [
        encoder.inverse_transform(Z, return_std=True, observed=observed)[1]
        for observed in (X, None)
    ]


def assert_same(found, expected):
    for one, other in zip(found, expected, strict=True):
        if isinstance(one, xr.Dataset | xr.DataArray):
            xr.testing.assert_identical(one, other)
        else:
            for a, b in zip(one, other, strict=True):
                np.testing.assert_array_equal(a, b)


@pytest.mark.filterwarnings("ignore:return_std=True takes each signal as observed:UserWarning")
def test_deviations_are_the_same_after_scoring_and_after_loading(case, tmp_path):
    encoder, make = case
    if encoder.codec_.posterior is None:
        with pytest.raises(ValueError, match="return_std=True needs"):
            deviations(encoder, make(1))
        return
    X = with_gaps(make(1))
    before = deviations(encoder, X)
    encoder.score(X)
    encoder.score(make(3))
    encoder.transform(make(3))
    assert_same(deviations(encoder, X), before)
    encoder.save(tmp_path / "model.field")
    loaded = FunctaEncoder.load(tmp_path / "model.field")
    assert_same(deviations(loaded, X), before)
    loaded.score(X)
    assert_same(deviations(loaded, X), before)


def test_fit_changes_neither_parameters_nor_signals(case):
    encoder, make = case
    X = make()
    fitted = clone(encoder)
    parameters, signals = joblib.hash(fitted.get_params(deep=False)), copy.deepcopy(X)
    fitted.fit(X)
    fitted.partial_fit(X)
    assert joblib.hash(fitted.get_params(deep=False)) == parameters
    assert_same([X], [signals])


def test_values_farther_apart_than_float64_holds_are_refused_before_training(small_encoder):
    signals = 1.5e308 * np.sin(np.arange(48.0)).reshape(4, 12)
    with pytest.raises(ValueError, match="farther apart than float64"):
        small_encoder().fit(signals)


def test_great_values_are_scaled_without_a_warning(small_encoder):
    signals = [x * 2e307 for x in np.random.default_rng(0).normal(size=(6, 12)).clip(-2, 2)]
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        encoder = small_encoder().fit(signals)
        decoded = encoder.inverse_transform(encoder.transform(signals))
    assert np.isfinite(decoded).all()
    assert np.abs(decoded).max() > 1e306
