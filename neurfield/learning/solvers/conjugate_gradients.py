"""Positive systems solved by products with their matrices, one for each row."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def conjugate_gradients(
    multiply: Callable[[Tensor], Tensor],
    precondition: Callable[[Tensor], Tensor],
    rhs: Tensor,
    most: int,
    tolerance: float = 1e-6,
    enough: float = 0.0,
) -> Tensor:
    """Minimise ½ xᵀA x − bᵀx for each row.

    A row is done when its residual is small, or when step i has brought less than 1/i of the
    fraction `enough` of what all have brought. Rows do not wait for each other.

    Parameters
    ----------
    multiply : callable
        Multiplies rows of shape (B, P) with their matrices A.
    precondition : callable
        Solves with a matrix that is close to these.
    rhs : Tensor of shape (B, P)
        Right-hand sides b.
    most : int
        Most products.
    tolerance : float, default=1e-6
        Of the residual, in the norm of the preconditioner and relative to the first one.
    enough : float, default=0.0
        By default every step is worth another.

    Returns
    -------
    Tensor of shape (B, P)
        From zero.

    References
    ----------
    Nash and Sofer, "Assessing a search direction within a truncated-Newton method", Operations
    Research Letters 9, 1990 (`enough`).
    """
    found, left = torch.zeros_like(rhs), rhs
    along = precondition(left)
    fall = (left * along).sum(dim=1)
    least = tolerance**2 * fall + torch.finfo(rhs.dtype).tiny
    gained, active = torch.zeros_like(fall), fall > least
    for step in range(1, most + 1):
        if not bool(active.any()):
            break
        product = multiply(along)
        bend = (along * product).sum(dim=1)
        active = active & (bend > 0)
        length = torch.where(active, fall / bend, 0.0)[:, None]
        found, left = found + length * along, left - length * product
        gain = length[:, 0] * fall
        gained = gained + gain
        active = active & (step * gain > enough * gained)
        close = precondition(left)
        before, fall = fall, (left * close).sum(dim=1)
        active = active & (fall > least)
        along = close + torch.where(active, fall / before, 0.0)[:, None] * along
    return found
