"""Any small data set, of any shape and kind of values, is fitted, encoded and decoded."""

import warnings

import numpy as np
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from sklearn.exceptions import ConvergenceWarning

KINDS = {
    "ordinary": lambda X, rng: X,
    "constant": lambda X, rng: np.full_like(X, 3.0),
    "zero": lambda X, rng: np.zeros_like(X),
    "mostly zero": lambda X, rng: np.where(rng.random(X.shape) < 0.9, 0.0, X),
    "gaps": lambda X, rng: np.where(rng.random(X.shape) < 0.4, np.nan, X),
    "bytes": lambda X, rng: (X * 50 + 100).astype(np.uint8),
    "huge": lambda X, rng: X * 1e30,
    "minute": lambda X, rng: X * 1e-30,
    "binary": lambda X, rng: X > 0,
}


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    n=st.integers(1, 5),
    shape=st.lists(st.integers(1, 5), min_size=1, max_size=4),
    channels=st.integers(0, 2),
    kind=st.sampled_from(sorted(KINDS)),
    as_list=st.booleans(),
    parameters=st.fixed_dictionaries(
        {
            "latent_dim": st.integers(1, 12),
            "hidden_dim": st.integers(1, 9),
            "n_layers": st.integers(2, 5),
            "batch_size": st.integers(1, 6),
            "learner": st.sampled_from(["varpro", "cavia"]),
            "precision": st.sampled_from(["float32", "float64"]),
            "learner__context_ratio": st.sampled_from([0.3, 1.0]),
            "field__skip_connections": st.booleans(),
        }
    ),
    seed=st.integers(0, 99),
)
def test_any_small_data_set(small_encoder, n, shape, channels, kind, as_list, parameters, seed):
    rng = np.random.default_rng(seed)
    whole = (n, *shape) + ((channels,) if channels else ())
    X = KINDS[kind](rng.normal(size=whole), rng)
    if kind == "gaps":
        observed = ~np.isnan(X)
        assume(observed.reshape(n, -1).any(axis=1).all())
        assume(observed.reshape(-1, max(channels, 1)).any(axis=0).all())
    if as_list:  # of two different lengths
        X = [x if i % 2 or kind == "gaps" else x[: max(1, len(x) - 1)] for i, x in enumerate(X)]
    enc = small_encoder(max_iter=2, channel_axis=-1 if channels else None, **parameters)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("default", ConvergenceWarning)  # two steps on random numbers
        Z = enc.fit_transform(X)
    assert Z.shape == (n, parameters["latent_dim"])
    assert np.isfinite(Z).all()
    R = enc.inverse_transform(Z)
    assert type(R) is type(X)
    assert all(np.isfinite(r).all() for r in R)
    assert np.isfinite(enc.score(X))
