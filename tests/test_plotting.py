"""Pictures of an encoder: what is drawn, and where."""

import subprocess
import sys

import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr
from sklearn.decomposition import PCA

from neurfield.plotting import plot_interpolation, plot_latents, plot_reconstruction, plot_training

SHAPES = {1: (12,), 2: (6, 5), 3: (5, 4, 6)}


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def fitted(small_encoder):
    """Encoders of one, two and three axes with the signals that they were fitted on."""
    rng = np.random.default_rng(0)
    signals = {d: rng.random((9, *shape)) for d, shape in SHAPES.items()}
    return {d: (small_encoder().fit(X), X) for d, X in signals.items()}


def image_of(panel) -> np.ndarray:
    return panel.collections[0].get_array()


def test_importing_needs_no_matplotlib():
    code = "import sys; sys.modules['matplotlib'] = None; import neurfield.plotting"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_without_matplotlib_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r'"neurfield\[plots\]"'):
        plot_latents(np.eye(3))


def test_nothing_is_shown(fitted, monkeypatch):
    monkeypatch.setattr(plt, "show", lambda *_, **__: pytest.fail("show was called"))
    encoder, X = fitted[2]
    Z = encoder.transform(X)
    plot_reconstruction(encoder, X)
    plot_latents(Z)
    plot_training(encoder)
    plot_interpolation(encoder, Z[0], Z[1])


# --- reconstruction ------------------------------------------------------------------------------


def test_a_curve_is_drawn_with_its_reconstruction_and_error(fitted):
    encoder, X = fitted[1]
    original, decoded, error = plot_reconstruction(encoder, X, index=2).get_lines()
    expected = encoder.inverse_transform(encoder.transform(X[2:3]))[0]
    np.testing.assert_allclose(original.get_ydata(), X[2])
    np.testing.assert_allclose(decoded.get_ydata(), expected, atol=1e-5)
    np.testing.assert_allclose(error.get_ydata(), expected - X[2], atol=1e-5)
    assert decoded.get_label() == f"decoded, {encoder.score(X[2:3]):.1f} dB"


def test_an_image_is_drawn_in_three_panels(fitted):
    encoder, X = fitted[2]
    panels = plot_reconstruction(encoder, X, index=-1)
    expected = encoder.inverse_transform(encoder.transform(X[-1:]))[0]
    np.testing.assert_allclose(image_of(panels[0]), X[-1])
    np.testing.assert_allclose(image_of(panels[1]), expected, atol=1e-5)
    np.testing.assert_allclose(image_of(panels[2]), expected - X[-1], atol=1e-5)
    assert panels[0].yaxis_inverted()  # the first row of an array is on top


def test_a_volume_is_drawn_as_its_middle_slices(fitted):
    encoder, X = fitted[3]
    panels = plot_reconstruction(encoder, X, index=1)
    assert panels.shape == (3, 3)
    np.testing.assert_allclose(image_of(panels[0, 0]), X[1][2])
    np.testing.assert_allclose(image_of(panels[1, 0]), X[1][:, 2])
    np.testing.assert_allclose(image_of(panels[2, 0]), X[1][:, :, 3])


def test_values_not_observed_stay_blank(fitted):
    encoder, X = fitted[2]
    holed = X.copy()
    holed[0, 1, 2] = np.nan
    original, decoded, error = map(image_of, plot_reconstruction(encoder, holed))
    assert original.mask.sum() == error.mask.sum() == 1
    assert original.mask[1, 2]
    assert not np.ma.getmaskarray(decoded).any()


def test_a_list_of_volumes_is_drawn_each_on_its_own_grid(small_encoder, rng):
    volumes = [rng.random((4, 3)), rng.random((5, 6))]
    encoder = small_encoder(batch_size=2).fit(volumes)
    assert image_of(plot_reconstruction(encoder, volumes, index=1)[1]).shape == (5, 6)


def test_channels_and_units_are_taken_from_xarray(small_encoder, rng):
    X = xr.DataArray(
        rng.random((6, 2, 8)),
        dims=("sample", "channel", "time"),
        coords={"time": ("time", np.linspace(0, 1, 8), {"units": "s"})},
    )
    ax = plot_reconstruction(small_encoder().fit(X), X, index=0, channel=1)
    np.testing.assert_allclose(ax.get_lines()[0].get_ydata(), X.values[0, 1])
    assert ax.get_xlabel() == "time (s)"


@pytest.mark.parametrize("wrong", [{"index": 9}, {"index": -10}, {"channel": 1}])
def test_a_signal_or_channel_that_is_not_there_is_refused(fitted, wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        plot_reconstruction(*fitted[2], **wrong)


def test_axes_are_taken_from_the_caller(fitted):
    _, own = plt.subplots(1, 3)
    drawn = plot_reconstruction(*fitted[2], ax=own)
    assert list(drawn) == list(own)
    with pytest.raises(ValueError, match=r"ax must hold 3 Axes .* got 1"):
        plot_reconstruction(*fitted[2], ax=own[0])


# --- latents -------------------------------------------------------------------------------------


def test_latents_are_drawn_on_their_principal_axes(rng):
    Z = rng.normal(size=(20, 5))
    points = plot_latents(Z).collections[0].get_offsets()
    np.testing.assert_allclose(points, PCA(2).fit_transform(Z))


def test_classes_get_a_legend_and_numbers_a_scale(rng):
    Z, places = rng.normal(size=(6, 5)), rng.normal(size=(6, 2))
    named = plot_latents(Z, list("aabbcc"), embedding=places)
    assert [text.get_text() for text in named.get_legend().get_texts()] == ["a", "b", "c"]
    np.testing.assert_allclose(named.collections[1].get_offsets(), places[2:4])
    scaled = plot_latents(Z, np.linspace(0, 1, 6))
    assert scaled.get_legend() is None
    assert scaled.collections[0].colorbar is not None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"labels": [0, 1]}, "inconsistent numbers of samples"),
        ({"embedding": np.zeros((6, 3))}, r"embedding must have shape \(n, 2\)"),
        ({"embedding": np.zeros((5, 2))}, "inconsistent numbers of samples"),
    ],
)
def test_what_does_not_fit_the_latents_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        plot_latents(np.zeros((6, 4)), **options)


# --- training ------------------------------------------------------------------------------------


def test_the_training_curve_is_that_of_the_fit(small_encoder, rng):
    X = rng.random((30, 8))
    encoder = small_encoder(max_iter=30, early_stopping=True).fit(X)
    batch, mean, held_out = plot_training(encoder).get_lines()
    np.testing.assert_allclose(batch.get_ydata(), encoder.psnr_curve_)
    assert mean.get_ydata()[1] == pytest.approx(np.mean(encoder.psnr_curve_[:2]))
    assert mean.get_ydata()[-1] == pytest.approx(np.mean(encoder.psnr_curve_[-2:]))
    np.testing.assert_allclose(held_out.get_ydata(), encoder.validation_curve_)
    assert list(held_out.get_xdata()) == [25, 30]


def test_an_encoder_without_a_curve_is_refused(fitted):
    import copy

    encoder = copy.copy(fitted[1][0])
    encoder.psnr_curve_ = []
    with pytest.raises(ValueError, match="without a training curve"):
        plot_training(encoder)


# --- interpolation -------------------------------------------------------------------------------


def test_interpolation_runs_from_one_signal_to_the_other(fitted):
    encoder, X = fitted[1]
    a, b = encoder.transform(X[:2])
    lines = plot_interpolation(encoder, a, b, n=3, grid=(20,)).get_lines()
    expected = encoder.inverse_transform([a, (a + b) / 2, b], grid=(20,))
    np.testing.assert_allclose([line.get_ydata() for line in lines], expected, atol=1e-5)


@pytest.mark.parametrize("n_axes", [2, 3])
def test_interpolated_images_and_volumes_stand_side_by_side(fitted, n_axes):
    encoder, X = fitted[n_axes]
    a, b = encoder.transform(X[:2])
    panels = plot_interpolation(encoder, a, b, n=4)
    last = encoder.inverse_transform(b[None])[0]
    assert panels.shape == (4,)
    np.testing.assert_allclose(image_of(panels[-1]), last[2] if n_axes == 3 else last, atol=1e-5)


def test_interpolation_refuses_what_it_cannot_draw(fitted):
    encoder, X = fitted[2]
    a, b = encoder.transform(X[:2])
    with pytest.raises(ValueError, match="n must be"):
        plot_interpolation(encoder, a, b, n=1)
    with pytest.raises(ValueError, match="latents of length 4"):
        plot_interpolation(encoder, a[:3], b[:3])
    with pytest.raises(ValueError, match="channel must be"):
        plot_interpolation(encoder, a, b, channel=2)
