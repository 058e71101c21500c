"""The modulated SIREN with an ω-schedule."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from numbers import Integral, Real
from typing import Any, ClassVar

import torch
from torch import Tensor

from neurfield._compat import Interval, StrOptions
from neurfield.fields.recurrence import SineLayer
from neurfield.fields.shifted import ShiftedLinearization, ShiftedSiren, Trace
from neurfield.fields.siren_sweeps import SirenSweeps
from neurfield.fields.spec import FieldSpec
from neurfield.fields.sweeps import Sweeps


class ModulatedSiren(ShiftedSiren):
    """Sine network whose pre-activations are shifted, or scaled too, by a linear map of the latent.

    With K layers of width L, ``h_1 = sin(ω_1 (W_1 x + b_1 + m_1))`` and, for k = 2..K-1,
    ``h_k = h_{k-1} + ρ sin(ω_k (W_k h_{k-1} + b_k + m_k))``; the output is
    ``W_K h_{K-1} + b_K + 0.5``. All shifts ``m = S φ + s`` come from one matrix product. With
    scales, the phases are ``ω_k ((1 + u_k) (W_k h_{k-1} + b_k) + m_k)``, with ``u = S' φ + s'``.

    Parameters
    ----------
    in_dim : int
        Number of coordinate axes d.
    out_dim : int
        Number of channels c.
    latent_dim : int
        Length P of the latent vector φ.
    hidden_dim : int, default=128
        Width L.
    n_layers : int, default=5
        Number of layers K, the linear output layer included; at least 2.
    omega : float or (float, float), default=(30.0, 60.0)
        ω_1 → ω_K, rising linearly over the K layers; one float is a constant ω.
    skip_connections : bool, default=True
        Whether layers 2..K-1 add to their input.
    residual_scale : float, default=1.0
        Factor ρ on the sine branch of a skip connection; 1 is the published network.
    output_scale : float, default=1.0
        Factor on the initial weights of the output layer; 1 is the published network.
    modulation : {"shift", "shift_scale"}, default="shift"
        What the latent modulates.
    generator : torch.Generator, optional
        Source of the random initial weights.

    References
    ----------
    Friedrich et al., "MedFuncta", arXiv 2502.14401, Section 3 (modulated SIREN, ω-schedule);
    Sitzmann et al., "Implicit Neural Representations with Periodic Activation Functions",
    NeurIPS 2020 (initialisation); Dupont et al., "COIN++: Neural Compression Across Modalities",
    TMLR 2022, Section 3 (shift and scale modulations).

    Examples
    --------
    >>> import torch
    >>> field = ModulatedSiren(in_dim=2, out_dim=1, latent_dim=8, hidden_dim=16, n_layers=3)
    >>> field(torch.zeros(100, 2), torch.zeros(4, 8)).shape
    torch.Size([4, 100, 1])
    """

    def __init__(
        self,
        in_dim: int,
        out_dim: int,
        latent_dim: int,
        hidden_dim: int = 128,
        n_layers: int = 5,
        omega: float | Sequence[float] = (30.0, 60.0),
        *,
        skip_connections: bool = True,
        residual_scale: float = 1.0,
        output_scale: float = 1.0,
        modulation: str = "shift",
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(
            in_dim,
            out_dim,
            latent_dim,
            latent_dim,
            hidden_dim,
            n_layers,
            omega,
            skip_connections,
            residual_scale,
            output_scale,
            modulation,
        )
        self.reset_parameters(generator)

    def config(self) -> dict[str, Any]:
        config = super().config()
        if "modulation" in config:  # the attribute of that name is a layer
            config["modulation"] = "shift_scale" if self.modulates_scale else "shift"
        return config

    def shift_map(self) -> tuple[Tensor, Tensor]:
        """Return S and s of the shifts, and of scales if there are any, m = S φ + s."""
        return self.modulation.weight, self.modulation.bias

    def linearize(self, coords: Tensor, latents: Tensor) -> SirenLinearization:
        return SirenLinearization(self, self._trace(coords, latents))

    @property
    def has_sweeps(self) -> bool:
        return not self.modulates_scale

    def sweeps(self, rows: int) -> Sweeps:
        return SirenSweeps(self, rows) if self.has_sweeps else super().sweeps(rows)

    def _modulated(self, coords: Tensor, latents: Tensor) -> Iterable[SineLayer]:
        modulations = torch.nn.functional.linear(latents, *self.shift_map())
        by_layer = modulations.view(len(latents), -1, 1, self.hidden_dim).unbind(1)
        for k, (omega, layer) in enumerate(zip(self.omegas, self.layers, strict=False)):
            weight, shift = omega * layer.weight, by_layer[k]
            if self.modulates_scale:
                scale = 1.0 + by_layer[len(self.layers) + k]
                yield SineLayer(weight, omega * layer.bias, scale, omega * shift)
            else:
                yield SineLayer(weight, omega * (layer.bias + shift))

    @torch.no_grad()
    def reparametrize(self, matrix: Tensor) -> None:
        weight = self.shift_map()[0]
        double = torch.linalg.solve(matrix.double().T, weight.double().T).T
        self.set_shift_weight(double.to(weight.dtype))


class SirenLinearization(ShiftedLinearization):
    """One forward sweep of a :class:`ModulatedSiren`, kept for backward sweeps."""

    def __init__(self, field: ModulatedSiren, trace: Trace) -> None:
        super().__init__(field, trace)
        self.weight = field.shift_map()[0]

    def jacobian(self) -> Tensor:
        return self.sensitivity() @ self.weight

    def vjp(self, cotangent: Tensor) -> Tensor:
        if len(self.values) == 1 < len(cotangent):
            sensitivity = self.sensitivity()[0].flatten(0, 1)
            return cotangent.flatten(1) @ sensitivity @ self.weight
        sums = [gradient.sum(dim=-2) for gradient in self.modulation_gradients(cotangent)]
        return torch.cat(sums, dim=-1) @ self.weight


class Siren(FieldSpec):
    """Options of :class:`ModulatedSiren`: one vector shifts all sine layers alike at each point.

    Parameters
    ----------
    hidden_dim : int, default=None
        Width L; None takes the encoder's.
    n_layers : int, default=None
        Number of layers K, the output layer included; None takes the encoder's, or the learner's
        where that is None too.
    modulation : {"shift", "shift_scale"}, default="shift"
        What the latent modulates: the shifts of each sine layer, or also their scales, which the
        authors of MedFuncta do not recommend.
    skip_connections : bool, default=True
        Whether layers 2..K-1 add to their input.
    residual_scale : float, default=None
        Factor ρ on the sine branch of each skip connection; 1 is the published network, and None
        takes the learner's.
    output_scale : float, default=None
        Factor on the output layer's initial weights; 1 is the published network, and None takes the
        learner's. "varpro" takes the direction of the output weights from the data, and this as
        their norm: the larger, the closer the field stays to its tangent.

    Examples
    --------
    >>> from neurfield import FunctaEncoder
    >>> FunctaEncoder(field=Siren(skip_connections=False)).get_params()["field__modulation"]
    'shift'
    """

    name: ClassVar[str] = "siren"
    module: ClassVar[type[ModulatedSiren]] = ModulatedSiren

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "hidden_dim": [Interval(Integral, 1, None, closed="left"), None],
        "n_layers": [Interval(Integral, 2, None, closed="left"), None],
        "modulation": [StrOptions({"shift", "shift_scale"})],
        "skip_connections": ["boolean"],
        "residual_scale": [Interval(Real, 0, None, closed="neither"), None],
        "output_scale": [Interval(Real, 0, None, closed="neither"), None],
    }

    def __init__(
        self,
        hidden_dim: int | None = None,
        n_layers: int | None = None,
        modulation: str = "shift",
        skip_connections: bool = True,
        residual_scale: float | None = None,
        output_scale: float | None = None,
    ) -> None:
        self.hidden_dim = hidden_dim
        self.n_layers = n_layers
        self.modulation = modulation
        self.skip_connections = skip_connections
        self.residual_scale = residual_scale
        self.output_scale = output_scale
