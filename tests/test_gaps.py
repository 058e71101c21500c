"""The table of gaps: what is hidden, of what, and what methods put in its place."""

import math

import numpy as np
import pytest
import xarray as xr
from sklearn.impute import SimpleImputer

from neurfield.datasets import digits
from neurfield.evaluation.metrics import psnr
from neurfield.evaluation.tables import TABLES, Budget, make_data, run_table
from neurfield.evaluation.tables.hiding import GAPS, hidden_psnr, with_gaps

pytest.importorskip("matplotlib")

SHAPES = {"1-D": (24,), "2-D": (8, 6), "3-D": (4, 5, 4)}
METHODS = {"mean", "linear", "gp", "iterative", "ppca", "default"}
FEW = Budget(latent_dim=3, parameters={"max_iter": 25, "device": "cpu"})


def smooth(shape, n=80, n_channels=None):
    """Return signals of three smooth components, whose amounts are drawn."""
    draw = np.random.default_rng(0)
    axes = np.meshgrid(*(np.linspace(0, 1, size) for size in shape), indexing="ij")
    basis = [np.cos(np.pi * (k + 1) * sum(axes) / len(axes) + k) for k in range(3)]
    values = np.einsum("nck,k...->n...c", draw.normal(size=(n, n_channels or 1, 3)), basis)
    dims = ("sample", "z", "y", "x")[:1] + ("z", "y", "x")[-len(shape) :]
    if n_channels is None:
        return xr.DataArray(values[..., 0], dims=dims)
    return xr.DataArray(values, dims=(*dims, "channel"))


def table(data, folder, **changes):
    rows = run_table(TABLES["gaps"](), data, Budget(**{**vars(FEW), **changes}), folder, str)
    return {(row["gap"], row["method"]): row for row in rows}


# --- What is hidden ------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_half_of_the_points_or_a_box_is_hidden(shape):
    data = make_data(smooth(shape, 12, 2))
    box = math.prod(round(size / 4) for size in shape)
    for gap, count in zip(GAPS, (math.prod(shape) // 2, box), strict=True):
        gappy = with_gaps(data, gap, 0)
        for whole, part in ((data.train, gappy.train), (data.test, gappy.test)):
            assert part.dims == whole.dims
            hidden = np.isnan(part.values)
            assert np.array_equal(hidden[..., 0], hidden[..., 1])  # in all channels
            assert np.array_equal(part.values[~hidden], whole.values[~hidden])
            assert set(hidden[..., 0].reshape(len(hidden), -1).sum(axis=1)) == {count}
            assert len({one.tobytes() for one in hidden}) > 1  # another one in each signal
            if gap == "block":
                assert all(is_box(one[..., 0]) for one in hidden)
    again, other = (with_gaps(data, "block", seed).test for seed in (0, 1))
    assert again.identical(with_gaps(data, "block", 0).test)
    assert not again.identical(other)


def is_box(hidden):
    places = np.argwhere(hidden)
    return np.prod(np.ptp(places, axis=0) + 1) == len(places)


def test_only_what_is_hidden_counts():
    data = make_data(digits()[:40])
    gappy = with_gaps(data, "scattered", 0)
    truth, hidden = data.test.values, np.isnan(gappy.test.values)
    found = np.where(hidden, truth + 0.1, 0.0)[..., None]
    assert hidden_psnr(data, gappy, found) == pytest.approx(20.0, abs=1e-4)


def test_a_signal_of_one_point_has_nothing_to_hide():
    data = make_data(xr.DataArray(np.arange(8.0)[:, None], dims=("sample", "x")))
    with pytest.raises(ValueError, match=r"to be hidden, and one has the shape \(1,\)"):
        with_gaps(data, "block", 0)


# --- The table -----------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_every_method_is_ahead_of_the_mean(shape, tmp_path):
    rows = table(make_data(smooth(shape)), tmp_path)
    assert set(rows) == {(gap, method) for gap in GAPS for method in METHODS}
    for (gap, method), row in rows.items():
        floor = rows[gap, "mean"]
        assert np.isfinite([row["psnr_hidden"], row["psnr"]]).all()
        if method != "mean":
            assert row["psnr_hidden"] > floor["psnr_hidden"] + 2, (gap, method)
            assert row["psnr"] > floor["psnr"] + 2, (gap, method)
        if method in ("ppca", "default"):
            assert row["latent_dim"] == 3


def test_the_floor_is_the_mean_of_what_was_observed(tmp_path):
    data = make_data(digits()[:60])
    row = table(data, tmp_path, methods=["mean"], seeds=(7,))["scattered", "mean"]
    gappy = with_gaps(data, "scattered", 7)
    imputer = SimpleImputer().fit(gappy.train.values.reshape(45, -1))
    mean = np.broadcast_to(imputer.statistics_, (15, 64))
    truth = data.test.values.reshape(15, -1)
    hidden = np.isnan(gappy.test.values.reshape(15, -1))
    assert row["psnr"] == pytest.approx(psnr(truth, mean).mean())
    expected = psnr(np.where(hidden, truth, np.nan), mean).mean()
    assert row["psnr_hidden"] == pytest.approx(expected)


def test_channels(tmp_path):
    data = make_data(smooth((12, 16), 40, 2))
    rows = table(data, tmp_path, methods=["mean", "linear", "ppca", "default"])
    assert not any("error" in row for row in rows.values())


def test_signals_on_grids_of_their_own(tmp_path):
    signals = [
        xr.DataArray(signal[: 8 + i % 3].values, dims=("y", "x"))
        for i, signal in enumerate(smooth((10, 9), 12))
    ]
    rows = table(make_data(signals), tmp_path, methods=["linear", "gp", "ppca", "default"])
    for gap in GAPS:
        assert "grids of their own" in rows[gap, "ppca"]["error"]
        for method in ("linear", "gp", "default"):
            assert np.isfinite(rows[gap, method]["psnr_hidden"])


@pytest.mark.parametrize(
    ("method", "shape"),
    [("gp", (4, 4000)), ("iterative", (8, 600_000)), ("ppca", (120, 20_000))],
)
def test_what_takes_too_long_is_refused_before_it_begins(method, shape, tmp_path, rng):
    data = make_data(xr.DataArray(rng.random(shape, dtype=np.float32), dims=("sample", "x")))
    with pytest.raises(ValueError, match=r"none of the 2 cells .* it would take too long"):
        table(data, tmp_path, methods=[method], latent_dim=89)


def test_unknown_methods_are_refused():
    data = make_data(digits()[:40])
    with pytest.raises(ValueError, match=r"some of \['mean', 'linear'.*got \['pca'\]"):
        TABLES["gaps"]().cells(data, Budget(methods=["pca"]))
