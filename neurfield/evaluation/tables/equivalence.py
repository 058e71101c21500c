"""That another ω of a sine layer is another learning rate of its weights."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from neurfield.evaluation.tables.base import Budget, Cell, Figures, Row, Table
from neurfield.evaluation.tables.data import TableData
from neurfield.evaluation.tables.drawing import points
from neurfield.fields import ModulatedSiren

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_RATE, _N_STEPS = 1e-3, 20
_N_SIGNALS, _MOST_POINTS = 4, 512
_NETWORK: dict[str, Any] = {"hidden_dim": 32, "n_layers": 4, "latent_dim": 8}
_SCHEDULE = (10.0, 30.0)
_OTHERS = (5.0, 20.0, (30.0, 60.0))
_SCALED, _ONE = "∝ 1/ω²", "one for all layers"


def at_other_omegas(
    field: ModulatedSiren, omega: float | tuple[float, float], rate: float
) -> tuple[ModulatedSiren, dict[str, Any]]:
    """Return the same function with other ω, and the rate of each parameter that keeps it so.

    sin(ω (W h + b + m)) is sin(ω' (W' h + b' + m')) for W' = W ω/ω' and so on. Gradient descent
    keeps it so if the rate of W', b' and m' is η (ω/ω')².

    Parameters
    ----------
    field : ModulatedSiren
        Whose rate η is the same for all parameters.
    omega : float or (float, float)
        Of the other network.
    rate : float
        η.

    References
    ----------
    Friedrich et al., "MedFuncta", arXiv 2502.14401, appendix.
    """
    twin = ModulatedSiren(**{**field.config(), "omega": omega}).double()
    twin.load_state_dict(field.state_dict())
    rates: dict[str, Any] = dict.fromkeys((name for name, _ in twin.named_parameters()), rate)
    sines = len(field.layers)
    ratio = torch.tensor(field.omegas[:sines], dtype=torch.float64)
    ratio /= torch.tensor(twin.omegas[:sines], dtype=torch.float64)
    of_shifts = ratio.repeat_interleave(field.hidden_dim)
    with torch.no_grad():
        for k, layer in enumerate(twin.layers):
            for part in ("weight", "bias"):
                getattr(layer, part).mul_(ratio[k])
                rates[f"layers.{k}.{part}"] = rate * ratio[k] ** 2
        twin.modulation.weight.mul_(of_shifts[:, None])
        twin.modulation.bias.mul_(of_shifts)
    rates["modulation.weight"] = rate * of_shifts[:, None] ** 2
    rates["modulation.bias"] = rate * of_shifts**2
    return twin, rates


class Equivalence(Table):
    """Gradient descent on one function with two ω-schedules, and with two rules for its rates.

    Both networks begin as the same function of coordinates and latents, with weights that make up
    for ω. ``difference`` is how far their values are apart after twenty steps in double precision,
    relative to how far the first one has come: nothing but rounding where the rate of a layer is in
    inverse proportion to ω².
    """

    name = "equivalence"
    title = "Frequencies are learning rates"
    row_keys = ("omega", "rates")

    def cells(self, data: TableData, budget: Budget) -> list[Cell]:
        return [
            {"omega": list(omega) if isinstance(omega, tuple) else omega, "rates": rule, "seed": s}
            for omega in _OTHERS
            for rule in (_SCALED, _ONE)
            for s in budget.seeds
        ]

    def compute(self, settings: Cell, data: TableData) -> Figures:
        coords, values = _some(data)
        generator = torch.Generator().manual_seed(settings["seed"])
        field = ModulatedSiren(
            coords.shape[1], values.shape[2], omega=_SCHEDULE, generator=generator, **_NETWORK
        ).double()
        omega = settings["omega"]
        other = tuple(omega) if isinstance(omega, list) else omega
        twin, rates = at_other_omegas(field, other, _RATE)
        one = dict.fromkeys(rates, _RATE)
        if settings["rates"] == _ONE:
            rates = one
        start = copy.deepcopy(field)
        latents = torch.randn(len(values), field.latent_dim, generator=generator).double()
        for network, chosen in ((field, one), (twin, rates)):
            _descend(network, coords, latents, values, chosen)
        with torch.no_grad():
            first, second, before = (f(coords, latents) for f in (field, twin, start))
        return {"difference": float((second - first).norm() / (first - before).norm())}

    def draw(self, rows: Sequence[Row], figure: Figure) -> None:
        labels = [f"ω {row['omega']}, rate {row['rates']}" for row in rows]
        points(figure, rows, labels, {"difference": "relative difference"})
        for axis in figure.axes:
            axis.set_xscale("log")


def _some(data: TableData) -> tuple[Tensor, Tensor]:
    """Return coordinates of shape (N, d) of some points, and values there of shape (B, N, c)."""
    train, _ = data.stacked()
    values = torch.as_tensor(train[:_N_SIGNALS]).double()
    values = values.reshape(len(values), -1, values.shape[-1])
    axes = [np.linspace(-1.0, 1.0, size) for size in data.shape]
    coords = torch.as_tensor(np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1))
    step = -(-values.shape[1] // _MOST_POINTS)
    return coords.reshape(-1, data.n_axes)[::step], values[:, ::step]


def _descend(
    field: ModulatedSiren,
    coords: Tensor,
    latents: Tensor,
    values: Tensor,
    rates: Mapping[str, Any],
) -> None:
    for _ in range(_N_STEPS):
        field.zero_grad()
        (field(coords, latents) - values).square().mean().backward()
        with torch.no_grad():
            for name, parameter in field.named_parameters():
                assert parameter.grad is not None
                parameter.sub_(rates[name] * parameter.grad)
