"""All that an encoder does, on a device that is not the CPU."""

import numpy as np
import pytest
import xarray as xr
from elsewhere import elsewhere
from sklearn.datasets import load_digits
from torch.utils._python_dispatch import TorchDispatchMode

from neurfield import FunctaEncoder, NeuralField
from neurfield.fields import Lapped, LowRank, Siren, Spatial
from neurfield.learning import Cavia
from neurfield.operators import Blur, Mask

OPTIONS = {
    "default": {},
    "closed form, few values": {"transform_steps": 1, "latent_dim": 40},
    "cavia, a step size for each entry": {"learner": Cavia(learn_inner_lr=True)},
    "cavia, recomputed": {"learner": Cavia(recompute=True, context_ratio=0.5)},
    "cavia, scaled": {"learner": Cavia(gradient_scaling=True, context_ratio=0.5)},
    "low rank": {"field": LowRank(intermediate_dim=12)},
    "spatial": {"field": Spatial(grid=2), "early_stopping": True},
    "scales": {"field": Siren(modulation="shift_scale"), "learner": "cavia"},
    "patches": {"patch_size": 3},
    "lapped": {"field": Lapped(cell=3, features=4), "latent_dim": 12, "n_layers": None},
    "double precision": {"precision": "float64", "isotropic": True},
}


@pytest.fixture
def place():
    with elsewhere() as name:
        yield name


def encoder(place, **options):
    small = {"latent_dim": 4, "hidden_dim": 8, "n_layers": 3, "max_iter": 2, "batch_size": 4}
    small["transform_steps"] = 3
    return FunctaEncoder(**(small | {"random_state": 0, "device": place} | options))


def images():
    smooth = np.random.default_rng(0).normal(size=(8, 3, 3)).repeat(2, axis=1).repeat(2, axis=2)
    return smooth.astype(np.float32)


def with_gaps():
    values = images()
    values[::3, 1:4, 2] = np.nan
    return values


def colours():
    values = np.stack([images(), images()[::-1]], axis=-1)
    return xr.DataArray(values, dims=("sample", "y", "x", "channel"))


def on_own_grids():
    axes = [np.linspace(0.0, 5.0, n) for n in (6, 5, 4)]
    return [
        xr.DataArray(image, {"y": np.arange(6.0), "x": np.arange(6.0)}, ("y", "x")).interp(
            y=axes[i % 3], x=axes[i % 2]
        )
        for i, image in enumerate(images())
    ]


def assert_close(found, expected):
    scale = np.nanmax(np.abs(expected))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-3 * scale)


def assert_does_what_the_cpu_does(place, signals, folder, **options):
    here, there = encoder("cpu", **options).fit(signals), encoder(place, **options).fit(signals)
    assert there.device_ == place
    assert there.loss_curve_[0] == pytest.approx(here.loss_curve_[0], rel=1e-3)
    assert np.isfinite(there.score(signals))
    here.save(folder / "here.field")
    moved = FunctaEncoder.load(folder / "here.field", device=place)
    assert {parameter.device.type for parameter in moved.field_.parameters()} == {place}
    latents = here.transform(signals)
    assert_close(moved.transform(signals), latents)
    assert moved.score(signals) == pytest.approx(here.score(signals), rel=1e-3)
    there.save(folder / "there.field")
    back = FunctaEncoder.load(folder / "there.field", device="cpu")
    assert_close(back.transform(signals), there.transform(signals))


@pytest.mark.parametrize("name", OPTIONS)
def test_every_option(place, name, tmp_path):
    assert_does_what_the_cpu_does(place, images(), tmp_path, **OPTIONS[name])


@pytest.mark.parametrize("signals", [with_gaps, colours, on_own_grids])
def test_every_kind_of_signals(place, signals, tmp_path):
    assert_does_what_the_cpu_does(place, signals(), tmp_path)


def test_lapped_fields_of_signals_with_gaps(place, tmp_path):
    assert_does_what_the_cpu_does(place, with_gaps(), tmp_path, **OPTIONS["lapped"])


ONE_CELL = {"field": Lapped(cell=6), "n_layers": None, "precision": "float64"}


@pytest.mark.parametrize("fitted_to", [with_gaps, images])
@pytest.mark.parametrize("options", [{}, ONE_CELL])
def test_how_sure_values_are(place, fitted_to, options, tmp_path):
    here = encoder("cpu", **options).fit(fitted_to())
    here.save(tmp_path / "here.field")
    there = FunctaEncoder.load(tmp_path / "here.field", device=place)
    latents = here.transform(with_gaps())
    assert_close(there.transform(with_gaps()), latents)
    for expected, found in zip(
        here.inverse_transform(latents, return_std=True, observed=with_gaps()),
        there.inverse_transform(latents, return_std=True, observed=with_gaps()),
        strict=True,
    ):
        assert_close(found, expected)


def test_training_goes_on(place):
    there = encoder(place, warm_start=True).fit(images())
    steps = len(there.loss_curve_)
    assert len(there.partial_fit(images()).loss_curve_) > steps
    assert np.isfinite(there.fit(images()).score(images()))


class Counted(TorchDispatchMode):
    n = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.n += 1
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("learner", ["cavia", "varpro"])
def test_signals_are_encoded_together(place, learner):
    there = encoder(place, learner=learner).fit(images())
    operations = []
    for n in (2, 8):
        with Counted() as counted:
            there.transform(images()[:n])
        operations.append(counted.n)
    assert operations[1] < 1.5 * operations[0]


BLUR, MASK = Blur((8, 8), fwhm=2.0), Mask((8, 8), np.arange(64).reshape(8, 8) % 3 > 0)


@pytest.mark.parametrize(
    "field", [{"hidden_dim": 8, "n_layers": 3, "field": "siren"}, {"field": Lapped(cell=8)}]
)
def test_signals_that_operators_measured(place, field, tmp_path):
    digits = load_digits().images[:220].astype(np.float32)
    options = {"latent_dim": 6, "random_state": 0, "max_iter": 2} | field
    options["precision"] = "float64"  # or a step more or less is taken
    here = FunctaEncoder(**options, device="cpu").fit(digits)
    here.save(tmp_path / "here.field")
    there = FunctaEncoder.load(tmp_path / "here.field", device=place)
    for operator in (BLUR, MASK):
        measured = operator.apply(digits[:2].reshape(2, 64, 1))
        latents = here.transform(measured, operator=operator)
        assert_close(there.transform(measured, operator=operator), latents)
        how = {"observed": measured, "operator": operator, "return_std": True}
        for one, other in zip(
            there.inverse_transform(latents, **how),
            here.inverse_transform(latents, **how),
            strict=True,
        ):
            assert_close(one, other)
    measured = 1.2 * BLUR.apply(digits[:1].reshape(1, 64, 1))
    details = [
        one.encode_details(measured, operator=BLUR, solve_for="gain") for one in (here, there)
    ]
    assert details[1].parameters == pytest.approx(details[0].parameters, rel=1e-3)


def test_fit_from_what_operators_measured(place):
    measured = MASK.apply(load_digits().images[:40].reshape(40, 64, 1))
    there = encoder(place).fit(measured, operator=MASK)
    assert np.isfinite(there.transform(measured[:2], operator=MASK)).all()


@pytest.mark.parametrize("field", ["siren", "fourier", "wire", "gaussian", "hash-grid"])
def test_networks_of_one_signal_are_what_they_are_on_a_cpu(place, field):
    image = images()[0]
    there, here = (
        NeuralField(field, max_iter=2, table_size=20, random_state=0, device=device).fit(image)
        for device in (place, "cpu")
    )
    np.testing.assert_allclose(there.predict(), here.predict(), rtol=1e-5, atol=1e-5)
