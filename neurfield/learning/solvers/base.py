"""What finds the latents of given signals, with θ fixed."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from neurfield.fields import Field
from neurfield.learning.context import Context
from neurfield.learning.workspace import Workspace
from neurfield.memory import at_once
from neurfield.registry import Registered

#: Most steps that fitting one latent may take.
MOST_STEPS = 10_000

if TYPE_CHECKING:
    from neurfield.learning.store import ContextStore


class InnerSolver(Registered, ABC):
    """Fits one latent vector per signal; small and picklable: plain values and tensors only.

    Attributes
    ----------
    name : str
        What saved files call the class.
    steps : int
        Steps of each fit, as the class counts them.
    """

    kind: ClassVar[str] = "solver"
    steps: int

    def share(self, field: Field, context: Context) -> Any:
        """Compute once what all signals on the coordinates of this context have in common.

        Parameters
        ----------
        field : Field
            The network, its θ fixed.
        context : Context
            Any signals on these coordinates; their values have no part in it.

        Returns
        -------
        object or None
            What :meth:`solve` takes as ``shared``; None where there is nothing, as by default, or
            where it would be too large.
        """
        return None

    @abstractmethod
    def solve(
        self,
        field: Field,
        context: Context,
        shared: Any = None,
        workspace: Workspace | None = None,
    ) -> Tensor:
        """Return latents of shape (B, P).

        Parameters
        ----------
        field : Field
            The network, its θ fixed.
        context : Context
            Of B signals, to each of which one latent is fitted.
        shared : object, optional
            What :meth:`share` returned for the same coordinates; None = to be done without.
        workspace : Workspace, optional
            Buffers that are kept from one call to the next, of one thread; None = fresh ones.
        """

    def rows_together(self, field: Field, n_points: int) -> int:
        """Return how many signals on shared points one product solves for, on a CPU.

        Parameters
        ----------
        field : Field
            Whose sizes count.
        n_points : int
            Points of a signal.
        """
        return 1

    @property
    def is_one_product(self) -> bool:
        """Whether latents of signals without gaps are one matrix product with what is shared.

        Such a solver multiplies so that no signal's latents depend on the others.
        """
        return False

    def together(self, field: Field, context: Context, shared: Any) -> int:
        """Return how many signals of a context :meth:`solve` takes, each as if it were alone.

        Operations on small signals take longer to start than to do, so they are shared where they
        treat signals one by one. By default there are none.

        Parameters
        ----------
        field : Field
            The network, its θ fixed.
        context : Context
            Of signals with as many points each.
        shared : object
            What :meth:`share` returned for the same coordinates.
        """
        return 1

    @abstractmethod
    def floats_per_point(self, field: Field, is_uniform: bool = False) -> int:
        """Return about how many numbers one point of one signal keeps in memory.

        Parameters
        ----------
        field : Field
            Whose sizes count.
        is_uniform : bool, default=False
            Whether all signals stand on one grid and are observed everywhere.
        """

    def footprint(self, field: Field, store: ContextStore) -> float:
        """Return about how many bytes are in use at a time, beside signals and latents.

        By default, those of a block of signals and of what one operation makes of it.

        Parameters
        ----------
        field : Field
            Whose sizes count.
        store : ContextStore
            Signals to be fitted.
        """
        largest = int(store.points_per_signal.max()) * self.floats_per_point(field)
        return 2 * max(at_once("signals", store.device), largest) * store.dtype.itemsize

    def check(self, n_latents: int) -> None:
        """Refuse a state that no fit leaves, such as that of a damaged file.

        Parameters
        ----------
        n_latents : int
            P, which tensors must agree with.

        Raises
        ------
        ValueError
            If it takes more steps than it may, or numbers are not finite or not as many as P asks.
        """
        if type(self.steps) is not int or not 1 <= self.steps <= MOST_STEPS:
            raise ValueError(
                f"steps must be a whole number from 1 to {MOST_STEPS}, got {self.steps!r:.40}"
            )

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """Return plain numbers and tensors from which :meth:`from_state` rebuilds the solver."""

    @classmethod
    def from_state(cls, name: str, state: dict[str, Any]) -> InnerSolver:
        """Rebuild the solver of the given name.

        Parameters
        ----------
        name : str
            Of its class.
        state : dict
            As :meth:`state` returned it.

        Raises
        ------
        ValueError
            If no solver of that name is known.
        """
        return cls.named(name)(**state)


def check_numbers(name: str, value: Any, shape: tuple[int, ...], least: float = -math.inf) -> None:
    """Refuse what is no number, or tensor of that shape, of finite values above `least`.

    Parameters
    ----------
    name : str
        What it is, for the message.
    value : object
        What a state holds.
    shape : tuple of int
        Shape that a tensor must have; a plain number stands for all.
    least : float, default=-inf
        What all values must exceed.

    Raises
    ------
    ValueError
        If it is anything else.
    """
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    numbers = torch.tensor(float(value)) if is_number else value
    if not isinstance(numbers, Tensor) or (not is_number and numbers.shape != shape):
        raise ValueError(f"{name} must be numbers of shape {shape}, got {type(value).__name__}")
    if not bool(torch.isfinite(numbers).all()) or bool((numbers <= least).any()):
        raise ValueError(f"{name} must be finite and greater than {least}")


def most_together(n_values: float, n_latents: int) -> int:
    """Return how many signals of one shape are quickest solved together.

    Parameters
    ----------
    n_values : float
        Values of each.
    n_latents : int
        P.
    """
    return max(1, int(at_once("together") // (max(n_values, n_latents) * n_latents)))
