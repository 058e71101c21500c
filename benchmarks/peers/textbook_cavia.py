"""CAVIA as its paper writes it, in plain torch: the peer that the meta-step is measured against.

Nothing is imported from the package. The inner gradient comes from ``torch.autograd.grad`` with
``create_graph=True`` and the meta-gradient from a second pass of autograd through the unrolled
loop, which is how published implementations of MedFuncta, COIN++ and Functa in torch do it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional


class TextbookSiren(nn.Module):
    """A SIREN with skip connections, whose layers are shifted by a linear map of the latent.

    Parameters
    ----------
    weights : mapping of str to Tensor
        ``state_dict`` of a ``neurfield.fields.ModulatedSiren``: both then are the same function.
    omegas : sequence of float
        ω of each sine layer.
    residual_scale : float
    """

    def __init__(
        self, weights: Mapping[str, Tensor], omegas: Sequence[float], residual_scale: float = 1.0
    ) -> None:
        super().__init__()
        self.omegas, self.residual_scale = list(omegas), residual_scale
        n_sines = len(self.omegas)
        width, n_in = weights["layers.0.weight"].shape
        n_out, n_latent = len(weights["output.weight"]), weights["modulation.weight"].shape[1]
        self.linears = nn.ModuleList(
            nn.Linear(n_in if k == 0 else width, width) for k in range(n_sines)
        )
        self.shifts = nn.ModuleList(nn.Linear(n_latent, width) for _ in range(n_sines))
        self.output = nn.Linear(width, n_out)
        with torch.no_grad():
            shift_weights = weights["modulation.weight"].split(width)
            shift_biases = weights["modulation.bias"].split(width)
            for k in range(n_sines):
                self.linears[k].weight.copy_(weights[f"layers.{k}.weight"])
                self.linears[k].bias.copy_(weights[f"layers.{k}.bias"])
                self.shifts[k].weight.copy_(shift_weights[k])
                self.shifts[k].bias.copy_(shift_biases[k])
            self.output.weight.copy_(weights["output.weight"])
            self.output.bias.copy_(weights["output.bias"])
        self.to(weights["output.weight"])

    def forward(self, coords: Tensor, latents: Tensor) -> Tensor:
        hidden = coords
        for k, (linear, shift) in enumerate(zip(self.linears, self.shifts, strict=True)):
            phase = self.omegas[k] * (linear(hidden) + shift(latents)[:, None])
            branch = torch.sin(phase)
            hidden = branch if k == 0 else hidden + self.residual_scale * branch
        return self.output(hidden) + 0.5

    def gradients(self) -> dict[str, Tensor]:
        """Return the gradients under the names of the field's ``state_dict``."""
        found = {}
        for part in ("weight", "bias"):
            for k, linear in enumerate(self.linears):
                found[f"layers.{k}.{part}"] = getattr(linear, part).grad
            shifts = [getattr(shift, part).grad for shift in self.shifts]
            found[f"modulation.{part}"] = torch.cat(shifts)
            found[f"output.{part}"] = getattr(self.output, part).grad
        return found


def textbook_meta_loss(
    field: nn.Module,
    coords: Tensor,
    values: Tensor,
    subsets: Tensor | None,
    inner_steps: int,
    inner_lr: float,
    latent_dim: int,
) -> Tensor:
    """Return the meta-loss of a batch, ready for ``backward()``.

    Parameters
    ----------
    field : Module
        Called with coordinates of shape (N, d) and latents of shape (B, P).
    coords : Tensor of shape (N, d)
    values : Tensor of shape (B, N, c)
    subsets : Tensor of shape (G, M) or None
        Points that each inner step sees; None = all.
    inner_steps, inner_lr
        G and α.
    latent_dim : int
        P.

    References
    ----------
    Zintgraf et al., "Fast Context Adaptation via Meta-Learning", ICML 2019, Algorithm 1.
    """
    latents = values.new_zeros(len(values), latent_dim, requires_grad=True)
    for step in range(inner_steps):
        x, y = coords, values
        if subsets is not None:
            x, y = coords[subsets[step]], values[:, subsets[step]]
        # A sum over signals of each one's mean: their gradients do not mix.
        loss = functional.mse_loss(field(x, latents), y) * len(values)
        (slope,) = torch.autograd.grad(loss, latents, create_graph=True)
        latents = latents - inner_lr * slope
    return functional.mse_loss(field(coords, latents), values)
