"""Several optimisers driven as one, with a common learning-rate factor."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch.optim import Optimizer

# Of the iteration that orthogonalises updates: x → a x + b x³ + c x⁵ on singular values.
_NEWTON_SCHULZ, _NEWTON_SCHULZ_STEPS = (3.4445, -4.7750, 2.0315), 5
_LEAST_NORM = 1e-7


class Muon(Optimizer):
    """Momentum whose updates are orthogonalised, for weight matrices between hidden quantities.

    As ``torch.optim.Muon``, in the precision of the weights: products in bfloat16, which that one
    takes, are up to a hundred times slower than in float32 on processors without instructions for
    them.

    Parameters
    ----------
    matrices : sequence of Tensor of shape (m, n), or (m, n, ...)
        Weights to update in place; kernels of convolutions count as matrices of m rows.
    lr : float
        Learning rate of a square matrix; a taller one's is √(m/n) times as large.
    weight_decay : float
        Decoupled weight decay.
    momentum : float, default=0.95
        Of the gradients, taken by Nesterov's rule.

    References
    ----------
    Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024.
    """

    gathered: ClassVar[frozenset[str]] = frozenset({"momentum_buffer"})  # for each parameter

    def __init__(
        self,
        matrices: Sequence[torch.Tensor],
        lr: float,
        weight_decay: float,
        momentum: float = 0.95,
    ) -> None:
        super().__init__(matrices, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Update all matrices.

        Parameters
        ----------
        closure : ignored
            Not used, present for the interface of torch.
        """
        for group in self.param_groups:
            for matrix in group["params"]:
                if matrix.grad is not None:
                    self._update(matrix, matrix.grad, group)

    def _update(self, matrix: torch.Tensor, gradient: torch.Tensor, group: dict[str, Any]) -> None:
        state, momentum = self.state[matrix], group["momentum"]
        if not state:
            state["momentum_buffer"] = torch.zeros_like(matrix)
        average = state["momentum_buffer"].lerp_(gradient, 1.0 - momentum)
        direction = orthogonalised(gradient.lerp(average, momentum).flatten(1))
        matrix.mul_(1.0 - group["lr"] * group["weight_decay"])
        taller = math.sqrt(max(1.0, direction.shape[0] / direction.shape[1]))
        matrix.add_(direction.reshape(matrix.shape), alpha=-group["lr"] * taller)


def orthogonalised(matrix: torch.Tensor) -> torch.Tensor:
    """Return a matrix of the same singular vectors whose singular values are all about one.

    Five steps of a Newton–Schulz iteration of fifth order, which brings them to within [0.7, 1.2].

    Parameters
    ----------
    matrix : Tensor of shape (m, n)
        Of any scale: it is divided by its norm first.

    Returns
    -------
    Tensor of shape (m, n)
        Of the dtype of the argument.
    """
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    found = wide / wide.norm().clamp_min(_LEAST_NORM)
    linear, cubic, quintic = _NEWTON_SCHULZ
    for _ in range(_NEWTON_SCHULZ_STEPS):
        gram = found @ found.T
        change = torch.addmm(gram, gram, gram, beta=cubic, alpha=quintic)
        found = torch.addmm(found, change, found, beta=linear)
    return found if wide is matrix else found.T


class Optimizers:
    """Optimisers over disjoint parameters.

    Parameters
    ----------
    optimizers : sequence of torch.optim.Optimizer
        Stepped together; their learning rates as they are now are what :meth:`scale_lr` scales.
    """

    def __init__(self, optimizers: Sequence[Optimizer]) -> None:
        self.optimizers = list(optimizers)
        self._base = [[g["lr"] for g in opt.param_groups] for opt in self.optimizers]

    @property
    def parameters(self) -> list[torch.Tensor]:
        """All parameters that are updated."""
        return [p for opt in self.optimizers for g in opt.param_groups for p in g["params"]]

    def scale_lr(self, factor: float) -> None:
        """Set each learning rate to its initial value times a factor."""
        for optimizer, rates in zip(self.optimizers, self._base, strict=True):
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * factor

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)

    def step(self) -> None:
        """Update all parameters."""
        for optimizer in self.optimizers:
            optimizer.step()

    def state_dict(self) -> list[dict[str, Any]]:
        """Return the state of every optimiser."""
        return [optimizer.state_dict() for optimizer in self.optimizers]

    def load_state_dict(self, states: list[dict[str, Any]]) -> None:
        """Restore :meth:`state_dict`: what was gathered, with the options that are set here.

        Parameters
        ----------
        states : list of dict
            One for each optimiser, as :meth:`state_dict` returned them.

        Raises
        ------
        ValueError
            If a state is of other optimisers or parameters.
        """
        for optimizer, state in zip(self.optimizers, states, strict=True):
            options = optimizer.state_dict()["param_groups"]
            parameters = [p for group in optimizer.param_groups for p in group["params"]]
            for place, held in state["state"].items():
                _check_state(type(optimizer), held, parameters[place])
            optimizer.load_state_dict({"state": state["state"], "param_groups": options})


def _check_state(kind: type[Optimizer], held: dict[str, Any], parameter: torch.Tensor) -> None:
    """Refuse what an optimiser would stumble over in its next step."""
    names = getattr(kind, "gathered", _OF_TORCH.get(kind, held.keys()))
    fits = all(
        isinstance(value, int | float | None) or value.shape in (torch.Size(), parameter.shape)
        for value in held.values()
    )
    if held.keys() != names or not fits:
        raise ValueError(
            f"the state of {kind.__name__} must hold {sorted(names)} of shape "
            f"{tuple(parameter.shape)}, got {sorted(held)[:5]}"
        )


# What optimisers that do not say it themselves gather for each parameter.
_OF_TORCH: dict[type[Optimizer], set[str]] = {torch.optim.AdamW: {"step", "exp_avg", "exp_avg_sq"}}


def lr_factor(schedule: str, progress: float, iteration: int) -> float:
    """Return the learning rate as a fraction of its peak.

    Parameters
    ----------
    schedule : {"constant", "cosine"}
        "cosine" rises over the first 20 meta-steps and then falls to zero.
    progress : float
        Fraction of the fit that is done, in [0, 1].
    iteration : int
        Meta-steps done so far.

    Examples
    --------
    >>> lr_factor("constant", 0.5, 3), lr_factor("cosine", 0.5, 100)
    (1.0, 0.5)
    """
    if schedule == "constant":
        return 1.0
    warmup = min(1.0, (iteration + 1) / 20)
    return round(warmup * 0.5 * (1.0 + math.cos(math.pi * min(progress, 1.0))), 12)
