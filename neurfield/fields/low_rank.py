"""A modulated SIREN whose shifts vary in a learnt subspace of low dimension."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from neurfield._compat import Interval
from neurfield.fields.shifted import ShiftedSiren
from neurfield.fields.siren import ModulatedSiren
from neurfield.fields.siren_sweeps import SirenSweeps
from neurfield.fields.spec import FieldSpec


class LowRankSiren(ModulatedSiren):
    """Modulated SIREN with shifts ``m = S (B z + v) + s`` and a short latent z.

    The columns of B span the directions in which signals differ, and a penalty in the meta-loss
    keeps them orthonormal; v is what all signals have in common. As published, v is adapted to each
    video; here a data set stands for one sequence, so v is one of the shared weights θ.

    Parameters
    ----------
    in_dim : int
        Number of coordinate axes d.
    out_dim : int
        Number of channels c.
    latent_dim : int
        Rank r, the length of the latent z.
    intermediate_dim : int, default=256
        Length D of v and of B z; at least r.
    hidden_dim : int, default=128
        Width L.
    n_layers : int, default=5
        Number of layers K, the linear output layer included; at least 2.
    omega : float or (float, float), default=(10.0, 200.0)
        ω_1 → ω_K, rising linearly over the K layers; one float is a constant ω.
    skip_connections : bool, default=False
        Whether layers 2..K-1 add to their input.
    residual_scale : float, default=1.0
        Factor ρ on the sine branch of a skip connection.
    output_scale : float, default=1.0
        Factor on the initial weights of the output layer.
    generator : torch.Generator, optional
        Source of the random initial weights.

    Raises
    ------
    ValueError
        If ``latent_dim`` is greater than ``intermediate_dim``.

    References
    ----------
    Wolleb, Baloescu, Durrer, Tagare, Papademetris, "Low-Rank-Modulated Functa: Exploring the Latent
    Space of Implicit Neural Representations for Interpretable Ultrasound Video Analysis",
    arXiv 2603.25951.

    Examples
    --------
    >>> import torch
    >>> field = LowRankSiren(2, 1, latent_dim=2, hidden_dim=16, n_layers=3)
    >>> field(torch.zeros(100, 2), torch.zeros(4, 2)).shape
    torch.Size([4, 100, 1])
    """

    def __init__(
        self,
        in_dim: int,
        out_dim: int,
        latent_dim: int,
        intermediate_dim: int = 256,
        hidden_dim: int = 128,
        n_layers: int = 5,
        omega: float | Sequence[float] = (10.0, 200.0),
        *,
        skip_connections: bool = False,
        residual_scale: float = 1.0,
        output_scale: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> None:
        self.check(in_dim, {"latent_dim": latent_dim, "intermediate_dim": intermediate_dim})
        # Past the parent, whose S has as many columns as the latent has entries.
        ShiftedSiren.__init__(
            self,
            in_dim,
            out_dim,
            latent_dim,
            intermediate_dim,
            hidden_dim,
            n_layers,
            omega,
            skip_connections,
            residual_scale,
            output_scale,
        )
        self.intermediate_dim = intermediate_dim
        self.basis = nn.Parameter(torch.empty(intermediate_dim, latent_dim))
        self.common = nn.Parameter(torch.empty(intermediate_dim))
        self.reset_parameters(generator)

    @classmethod
    def check(cls, in_dim: int, options: Mapping[str, Any]) -> None:
        rank, most = options["latent_dim"], options["intermediate_dim"]
        if rank > most:
            raise ValueError(
                f"latent_dim is the rank and at most intermediate_dim={most}, got {rank}"
            )

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw all weights anew, B with orthonormal columns; v is zero.

        Parameters
        ----------
        generator : torch.Generator, optional
            Source of the random numbers; torch's own by default.
        """
        super().reset_parameters(generator)
        self.basis.copy_(torch.linalg.qr(self.basis.normal_(generator=generator)).Q)
        self.common.zero_()

    def penalty(self) -> Tensor:
        """Return ‖BᵀB − 1‖², the squared Frobenius norm.

        The authors' code takes the norm itself. Its gradient is as large near orthonormal columns
        as far from them, and there drowns out that of the error.
        """
        eye = torch.eye(self.latent_dim, dtype=self.basis.dtype, device=self.basis.device)
        return (self.basis.T @ self.basis - eye).square().sum()

    def shift_map(self) -> tuple[Tensor, Tensor]:
        """Return S B and S v + s, of shapes ((K-1)·L, r) and ((K-1)·L,)."""
        weight = self.modulation.weight
        return weight @ self.basis, self.modulation.bias + weight @ self.common

    @torch.no_grad()
    def set_shift_weight(self, weight: Tensor) -> None:
        """Change S in place such that S B is as given, and s such that S v + s stays as it was.

        Parameters
        ----------
        weight : Tensor of shape ((K-1)·L, r)
            The product S B that is wanted; met in the least-squares sense where B has fewer rows
            than columns.
        """
        before, bias = self.shift_map()
        change = (weight - before).double() @ torch.linalg.pinv(self.basis.double())
        self.modulation.weight.add_(change.to(weight.dtype))
        self.modulation.bias.copy_(bias - self.modulation.weight @ self.common)

    def sweeps(self, rows: int) -> LowRankSweeps:
        return LowRankSweeps(self, rows)


class LowRankSweeps(SirenSweeps):
    """Sweeps of a :class:`LowRankSiren`, whose shifts are S B z + (S v + s).

    Parameters
    ----------
    field : LowRankSiren
        Whose weights are read, and read anew by :meth:`refresh`.
    rows : int
        Most points, over all signals, of a block.
    """

    def refresh(self, field: Any) -> None:
        super().refresh(field)
        self._field = field

    def gradients(self) -> dict[str, Tensor]:
        found, field = super().gradients(), self._field
        weight, basis, common = (
            part.detach() for part in (field.modulation.weight, field.basis, field.common)
        )
        of_map, of_bias = found["modulation.weight"], found["modulation.bias"]
        return found | {
            "modulation.weight": of_map @ basis.T + torch.outer(of_bias, common),
            "basis": weight.T @ of_map,
            "common": weight.T @ of_bias,
        }


class LowRank(FieldSpec):
    """Options of :class:`LowRankSiren`: a short vector moves the shifts in a learnt subspace.

    The rank of the subspace is the length of the latent, the encoder's ``latent_dim``.

    Parameters
    ----------
    intermediate_dim : int, default=256
        Length D of the vector that the subspace is of; at least ``latent_dim``.
    hidden_dim : int, default=None
        Width L; None takes the encoder's.
    n_layers : int, default=None
        Number of layers K, the output layer included; None takes the encoder's, or the learner's
        where that is None too.
    skip_connections : bool, default=True
        Whether layers 2..K-1 add to their input.
    residual_scale : float, default=None
        Factor ρ on the sine branch of each skip connection; None takes the learner's.
    output_scale : float, default=None
        Factor on the output layer's initial weights, as in :class:`Siren`; None takes the
        learner's.

    Examples
    --------
    >>> LowRank(intermediate_dim=64).skip_connections
    True
    """

    name: ClassVar[str] = "low-rank"
    module: ClassVar[type[LowRankSiren]] = LowRankSiren

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "intermediate_dim": [Interval(Integral, 1, None, closed="left")],
        "hidden_dim": [Interval(Integral, 1, None, closed="left"), None],
        "n_layers": [Interval(Integral, 2, None, closed="left"), None],
        "skip_connections": ["boolean"],
        "residual_scale": [Interval(Real, 0, None, closed="neither"), None],
        "output_scale": [Interval(Real, 0, None, closed="neither"), None],
    }

    def __init__(
        self,
        intermediate_dim: int = 256,
        hidden_dim: int | None = None,
        n_layers: int | None = None,
        skip_connections: bool = True,
        residual_scale: float | None = None,
        output_scale: float | None = None,
    ) -> None:
        self.intermediate_dim = intermediate_dim
        self.hidden_dim = hidden_dim
        self.n_layers = n_layers
        self.skip_connections = skip_connections
        self.residual_scale = residual_scale
        self.output_scale = output_scale
