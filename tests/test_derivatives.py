"""Derivatives of decoded signals against finite differences, in the caller's units."""

import numpy as np
import pytest
import torch
import xarray as xr

STEP = 1e-4


@pytest.fixture(scope="module")
def images():
    y, x = np.linspace(0, 12, 7), np.linspace(-3, 3, 9)
    rng = np.random.default_rng(0)
    waves = [np.sin(a * y)[:, None] * np.cos(b * x) for a, b in rng.uniform(0.2, 1, (20, 2))]
    return xr.DataArray(
        500 + 200 * np.stack(waves),
        dims=("sample", "y", "x"),
        coords={"y": ("y", y, {"units": "mm"}), "x": ("x", x, {"units": "mm"})},
        attrs={"units": "HU", "scanner": "A"},
        name="density",
    )


@pytest.fixture(scope="module")
def encoder(small_encoder, images):
    return small_encoder(omega=(5.0, 8.0), max_iter=20, precision="float64").fit(images)


@pytest.fixture(scope="module")
def latents(encoder, images):
    return encoder.transform(images)[:3]


@pytest.fixture(scope="module")
def points():
    return np.random.default_rng(1).uniform((0, -3), (12, 3), (25, 2))


def in_double(encoder, latents, points):
    """Evaluate the field without the rounding of decoded float32 values."""
    codec = encoder.codec_
    with torch.no_grad():
        values = codec.field(
            torch.tensor(codec.units.frame.normalise(points)),
            torch.tensor(latents, dtype=torch.float64),
        )
    return codec.units.scaler.invert(values.numpy())[..., 0]


@pytest.mark.parametrize(("axis", "name"), [(0, "y"), (1, "x")])
def test_partial_derivatives_per_millimetre(encoder, latents, points, axis, name):
    found = encoder.inverse_transform(latents, points=points, derivative=name)
    step = np.zeros(2)
    step[axis] = STEP
    after, before = (in_double(encoder, latents, points + s * step) for s in (1, -1))
    expected = (after - before) / (2 * STEP)
    assert np.abs(expected).max() > 10
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


def test_single_precision_is_accurate_enough(small_encoder, images, encoder, latents, points):
    single = small_encoder(omega=(5.0, 8.0), max_iter=1).fit(images)
    single.codec_.field.load_state_dict(
        {name: w.float() for name, w in encoder.codec_.field.state_dict().items()}
    )
    exact = encoder.inverse_transform(latents, points=points, derivative=("y", "x"))
    found = single.inverse_transform(latents, points=points, derivative=("y", "x"))
    np.testing.assert_allclose(found, exact, atol=1e-4 * np.abs(exact).max())


def test_gradient_stands_along_a_last_axis(encoder, latents, points):
    both = encoder.inverse_transform(latents, points=points, derivative=("x", "y"))
    assert both.shape == (3, 25, 2)
    for i, name in enumerate(("x", "y")):
        one = encoder.inverse_transform(latents, points=points, derivative=name)
        np.testing.assert_array_equal(both[..., i], one)


def test_labelled_gradient(encoder, latents):
    both = encoder.inverse_transform(latents, derivative=["y", "x"])
    assert both.dims == ("sample", "y", "x", "derivative")
    assert both["derivative"].values.tolist() == ["y", "x"]
    assert both.attrs == {"units": "HU/mm", "scanner": "A"}
    one = encoder.inverse_transform(latents, derivative="x")
    np.testing.assert_array_equal(both.sel(derivative="x"), one)
    assert encoder.inverse_transform(latents).attrs["units"] == "HU"
    finer = encoder.inverse_transform(latents, grid=(25, 33), derivative="x")
    np.testing.assert_allclose(finer[:, ::4, ::4], one, rtol=1e-4, atol=1e-3)


def test_other_containers(small_encoder, images):
    arrays = [image.values[: 5 + i % 2] for i, image in enumerate(images[:4])]
    enc = small_encoder().fit(arrays)
    Z = enc.transform(arrays)
    gradient = enc.inverse_transform(Z, derivative=("y", "x"))
    assert [g.shape for g in gradient] == [(6, 9, 2)] * 4
    own = enc.inverse_transform(
        Z, coords=[{"y": np.arange(len(a)), "x": np.arange(9)} for a in arrays], derivative="y"
    )
    assert [o.shape for o in own] == [a.shape for a in arrays]
    two = xr.Dataset({"a": images, "b": 1 - images})
    enc = small_encoder().fit(two)
    Z = enc.transform(two)
    whole = enc.inverse_transform(Z, derivative=("y", "x"))
    assert whole["b"].dims == ("sample", "y", "x", "derivative")
    assert whole["a"].attrs["units"] == "HU/mm"
    per_channel = enc.inverse_transform(Z, points=[[1.0, 0.0]], derivative=("y",))
    assert per_channel.shape == (20, 1, 2, 1)


@pytest.mark.parametrize("derivative", ["z", (), ("x", "x"), ("x", "t"), 1, [0]])
def test_unknown_axes_are_refused(encoder, latents, derivative):
    with pytest.raises(ValueError, match=r"derivative must be one of the axes \('y', 'x'\)"):
        encoder.inverse_transform(latents, derivative=derivative)


def test_the_deviation_of_a_derivative_is_refused(encoder, latents):
    with pytest.raises(ValueError, match=r"return_std=True"):
        encoder.inverse_transform(latents, derivative="x", return_std=True)
