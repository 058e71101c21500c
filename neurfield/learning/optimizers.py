"""Several optimisers driven as one, with a common learning-rate factor."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch.optim import Optimizer


class Optimizers:
    """Optimisers over disjoint parameters.

    Parameters
    ----------
    optimizers : sequence of torch.optim.Optimizer
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
        """Restore :meth:`state_dict`."""
        for optimizer, state in zip(self.optimizers, states, strict=True):
            optimizer.load_state_dict(state)


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
