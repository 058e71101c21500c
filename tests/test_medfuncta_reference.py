"""Figures computed by the published implementation, on its own random problem."""

import numpy as np
import pytest
import torch

from neurfield import FunctaEncoder
from neurfield.fields import ModulatedSiren
from neurfield.learning import MetaBatch
from neurfield.learning.learners.cavia import CaviaStep
from neurfield.medfuncta import write_medfuncta
from neurfield.signals import read_signals

OMEGA = (10.0, 30.0)


@pytest.fixture(scope="module")
def reference(shared_data):
    with np.load(shared_data / "medfuncta_reference" / "expected.npz") as file:
        return dict(file)


@pytest.fixture(scope="module", params=["best.model", "mednf/model.pt"])
def weights(shared_data, request):
    return shared_data / "medfuncta_reference" / request.param


@pytest.fixture(scope="module")
def checkpoint(shared_data):
    return shared_data / "medfuncta_reference" / "best.model"


@pytest.fixture(scope="module")
def network(shared_data):
    return shared_data / "medfuncta_reference" / "mednf" / "model.pt"


def encoder(weights, **parameters):
    """Return an encoder whose steps are as long as the gradient, as in the figures."""
    plain = {"omega": OMEGA, "device": "cpu", "learner__gradient_scaling": False}
    return FunctaEncoder.from_medfuncta(weights, **(plain | parameters))


def meta_gradient(enc, signals):
    """Return the meta-loss and its gradient as the published code names it."""
    context = enc.codec_.store(read_signals(signals, -1, enc.layout_)).batch(
        np.arange(len(signals))
    )
    field = enc.field_
    loss = CaviaStep(field, inner_steps=10, inner_lr=1e-2)(MetaBatch(context))
    loss.backward()
    width, gradient = field.hidden_dim, {}
    for part in ("weight", "bias"):
        gradient[f"last_layer.linear.{part}"] = getattr(field.output, part).grad.numpy()
        shifts = getattr(field.modulation, part).grad.numpy()
        for k, layer in enumerate(field.layers):
            gradient[f"layers.{k}.linear.{part}"] = getattr(layer, part).grad.numpy()
            rows = slice(k * width, (k + 1) * width)
            gradient[f"layers.{k}.modulate_shift_layer.{part}"] = shifts[rows]
    return float(loss.detach()), gradient


def test_decoded_values(weights, reference):
    decoded = encoder(weights).inverse_transform(reference["phi"], points=reference["coords"])
    error = np.abs(decoded - reference["decoded"]).max()
    print(f"decoded values: greatest difference {error:.1e}")
    assert error < 1e-5


def test_decoding_on_the_grid_of_the_checkpoint(checkpoint, reference):
    enc = encoder(checkpoint)
    grid = enc.inverse_transform(reference["phi"])
    flat = grid.reshape(len(grid), -1, grid.shape[-1])
    assert np.abs(flat - reference["decoded"]).max() < 1e-5


@pytest.mark.parametrize("steps", [10, 20])
def test_latents_after_gradient_descent(weights, reference, steps):
    latents = encoder(weights, transform_steps=steps).transform(reference["signals"])
    error = np.abs(latents - reference[f"phi_after_{steps}_steps"]).max()
    print(f"latents after {steps} steps: greatest difference {error:.1e}")
    assert error < 1e-5


def test_twenty_steps_are_the_published_default(weights, reference):
    latents = encoder(weights).transform(reference["signals"])
    assert np.abs(latents - reference["phi_after_20_steps"]).max() < 1e-5


def test_meta_loss(weights, reference):
    loss, _ = meta_gradient(encoder(weights), reference["signals"])
    print(f"meta-loss: relative difference {loss / float(reference['meta_loss']) - 1:.1e}")
    assert loss == pytest.approx(float(reference["meta_loss"]), rel=1e-6)


def test_every_second_order_meta_gradient(weights, reference):
    _, gradient = meta_gradient(encoder(weights), reference["signals"])
    expected = {
        key.removeprefix("meta_grad/"): value
        for key, value in reference.items()
        if key.startswith("meta_grad/")
    }
    assert set(expected) == set(gradient)
    for name, value in expected.items():
        error = np.linalg.norm(gradient[name] - value) / np.linalg.norm(value)
        print(f"gradient of {name}: relative difference {error:.1e}")
        assert error < 1e-4, name


def test_a_state_dict_serves_as_well_as_its_file(checkpoint, reference):
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    latents = encoder(state).transform(reference["signals"])
    np.testing.assert_array_equal(latents, encoder(checkpoint).transform(reference["signals"]))


def test_a_pickled_network_brings_its_omega(network, reference):
    enc = FunctaEncoder.from_medfuncta(network, device="cpu")
    assert enc.omega == OMEGA
    decoded = enc.inverse_transform(reference["phi"], points=reference["coords"])
    error = np.abs(decoded - reference["decoded"]).max()
    print(f"decoded values of the pickled network: greatest difference {error:.1e}")
    assert error < 1e-5


def test_what_a_pickled_network_says_is_not_contradicted(network, checkpoint):
    with pytest.raises(
        ValueError, match=r"omega=\(10.0, 31.0\) was given, .* omega=\(10.0, 30.0\)"
    ):
        FunctaEncoder.from_medfuncta(network, omega=(10.0, 31.0))
    with pytest.raises(ValueError, match="skip_connections=False was given"):
        FunctaEncoder.from_medfuncta(network, field__skip_connections=False)
    with pytest.raises(ValueError, match="omega must be given"):
        FunctaEncoder.from_medfuncta(checkpoint)


def test_written_weights_are_the_published_ones(checkpoint, tmp_path):
    enc = encoder(checkpoint)
    write_medfuncta(enc.field_, tmp_path / "best.model", enc.layout_.axes)
    written = torch.load(tmp_path / "best.model", weights_only=True)
    published = torch.load(checkpoint, weights_only=True)
    assert set(written) == set(published)
    for name in published:
        if not name.startswith("model.last_layer.modulate"):  # never used, so not kept
            torch.testing.assert_close(written[name], published[name], rtol=0, atol=1e-7)
    with pytest.raises(ValueError, match=r"residual_scale=1, .* residual_scale=0.5"):
        write_medfuncta(ModulatedSiren(1, 1, 2, residual_scale=0.5), tmp_path / "a.model")
    with pytest.raises(ValueError, match='modulation="shift", this field "shift_scale"'):
        write_medfuncta(ModulatedSiren(1, 1, 2, modulation="shift_scale"), tmp_path / "a.model")


def test_signals_of_any_size_span_the_square(weights):
    enc = encoder(weights)
    assert enc.inverse_transform(np.zeros((1, enc.latent_dim)), grid=(5, 9)).shape == (1, 5, 9, 3)
    coarse = enc.inverse_transform(np.zeros((1, enc.latent_dim)), grid=(3, 3))
    corners = [[-1.0, -1.0], [-1.0, 1.0], [1.0, -1.0], [1.0, 1.0]]
    decoded = enc.inverse_transform(np.zeros((1, enc.latent_dim)), points=corners)
    np.testing.assert_allclose(decoded[0].reshape(2, 2, 3), coarse[0][::2, ::2], rtol=0, atol=1e-6)
    assert enc.transform(np.full((2, 7, 5, 3), 0.5)).shape == (2, enc.latent_dim)


def test_omega_and_skip_connections_change_what_the_weights_mean(checkpoint, reference):
    for other in ({"omega": (10.0, 31.0)}, {"omega": OMEGA, "field__skip_connections": False}):
        enc = FunctaEncoder.from_medfuncta(checkpoint, device="cpu", **other)
        decoded = enc.inverse_transform(reference["phi"], points=reference["coords"])
        assert np.abs(decoded - reference["decoded"]).max() > 1e-3


def test_files_that_are_no_checkpoint_are_refused(tmp_path):
    torch.save({"something": torch.zeros(3)}, tmp_path / "other.model")
    with pytest.raises(ValueError, match=r"not a MedFuncta checkpoint: expected keys .* got"):
        FunctaEncoder.from_medfuncta(tmp_path / "other.model", omega=30.0)
    (tmp_path / "text.model").write_text("not a checkpoint at all")
    with pytest.raises(ValueError, match=r"text\.model.*could not be read as a file of torch"):
        FunctaEncoder.from_medfuncta(tmp_path / "text.model", omega=30.0)
    with pytest.raises(FileNotFoundError, match=r"absent\.model"):
        FunctaEncoder.from_medfuncta(tmp_path / "absent.model", omega=30.0)


def test_a_truncated_checkpoint_is_refused(weights, tmp_path):
    cut = tmp_path / "cut.model"
    cut.write_bytes(weights.read_bytes()[:2000])
    with pytest.raises(ValueError, match=r"cut\.model"):
        FunctaEncoder.from_medfuncta(cut, omega=OMEGA)
