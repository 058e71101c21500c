"""Context sets as tensors: the (coordinate, value) pairs that solvers and learners see."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from neurfield.learning.weighting import mean_over_signals


@dataclass(frozen=True)
class Context:
    """A batch of context sets.

    Parameters
    ----------
    coords : Tensor of shape (N, d) or (B, N, d)
        Normalised coordinates, shared by the batch or per signal.
    values : Tensor of shape (B, N, c)
        Scaled values; zero where nothing was observed.
    weights : Tensor of shape (B, N, c), optional
        One where a value was observed, zero elsewhere; None when everything was.
    sample_weight : Tensor of shape (B,), optional
        As how many signals each counts; None = all once.
    """

    coords: Tensor
    values: Tensor
    weights: Tensor | None = None
    sample_weight: Tensor | None = None

    def __len__(self) -> int:
        return len(self.values)

    @property
    def is_shared(self) -> bool:
        """Whether all signals stand on the same coordinates."""
        return self.coords.ndim == 2

    @property
    def n_points(self) -> int:
        """Number of points N of each signal, padding included."""
        return self.values.shape[1]

    def counts(self) -> Tensor:
        """Return how many values were observed in each signal, of shape (B,)."""
        if self.weights is None:
            size = self.values[0].numel()
            return self.values.new_full((len(self),), float(size))
        return self.weights.sum(dim=(1, 2)).clamp_min(1.0)

    def at_points(self, index: Tensor) -> Context:
        """Return the context reduced to some points, the same columns for each signal.

        Parameters
        ----------
        index : int Tensor of shape (M,)
            Which points.
        """
        weights = None if self.weights is None else self.weights.index_select(1, index)
        return Context(
            self.coords.index_select(-2, index),
            self.values.index_select(1, index),
            weights,
            self.sample_weight,
        )

    def at_own_points(self, index: Tensor) -> Context:
        """Return the context reduced to some points, other ones for each signal.

        Parameters
        ----------
        index : int Tensor of shape (B, M)
            Which points.
        """
        rows = torch.arange(len(self), device=index.device)[:, None]
        coords = self.coords[index] if self.is_shared else self.coords[rows, index]
        weights = None if self.weights is None else self.weights[rows, index]
        return Context(coords, self.values[rows, index], weights, self.sample_weight)

    def of_signals(self, index: slice | Tensor) -> Context:
        """Return some signals of the batch.

        Parameters
        ----------
        index : slice or int Tensor
            Which signals.
        """
        coords = self.coords if self.is_shared else self.coords[index]
        weights = None if self.weights is None else self.weights[index]
        counts = None if self.sample_weight is None else self.sample_weight[index]
        return Context(coords, self.values[index], weights, counts)

    def whole(self) -> Tensor:
        """Return which signals were observed everywhere, of shape (B,)."""
        if self.weights is None:
            return torch.ones(len(self), dtype=torch.bool, device=self.values.device)
        return (self.weights == 1.0).flatten(1).all(dim=1)

    def alone(self, signal: int, n_points: int) -> Context:
        """Return one signal as it would be without the others, and without padding for them.

        Parameters
        ----------
        signal : int
            Which one.
        n_points : int
            Points of its own, which come first.
        """
        # Copies, so that they begin where memory is aligned, on which rounding may depend too.
        coords = self.coords if self.is_shared else self.coords[signal, :n_points].clone()
        values, weights = self.values[signal : signal + 1, :n_points].clone(), self.weights
        if weights is not None:
            weights = weights[signal : signal + 1, :n_points].clone()
        return Context(coords, values, weights)._without_needless_weights()

    def together(self, signals: Tensor) -> Context:
        """Return signals on common coordinates as they would be without the others.

        Parameters
        ----------
        signals : int Tensor of shape (m,)
            Which ones: either all or none of them observed everywhere.
        """
        return self.of_signals(signals)._without_needless_weights()

    def _without_needless_weights(self) -> Context:
        return Context(self.coords, self.values) if bool(self.whole().all()) else self

    def residual(self, prediction: Tensor) -> Tensor:
        """Return values - prediction, zero where nothing was observed.

        Parameters
        ----------
        prediction : Tensor of shape (B, N, c)
            Scaled values at the coordinates of this context.
        """
        residual = self.values - prediction
        return residual if self.weights is None else residual * self.weights

    def average(self, numbers: Tensor) -> Tensor:
        """Return the mean over signals of numbers of shape (B, ...), by their weights.

        Parameters
        ----------
        numbers : Tensor of shape (B, ...)
            One entry a signal, such as :meth:`mse` returns them.
        """
        return mean_over_signals(numbers, self.sample_weight)

    def mse(self, prediction: Tensor) -> Tensor:
        """Return each signal's mean squared error over its observed values, of shape (B,).

        Parameters
        ----------
        prediction : Tensor of shape (B, N, c)
            Scaled values at the coordinates of this context.
        """
        return self.residual(prediction).square().sum(dim=(1, 2)) / self.counts()


def kept_points(n_points: int, ratio: float) -> int:
    """Return ⌊γN⌋, the points that a reduced context keeps: one at least."""
    return max(1, int(ratio * n_points))


def random_points(n_points: int, n_chosen: int, generator: torch.Generator) -> Tensor:
    """Draw distinct point indices on the CPU, so that every device sees the same ones."""
    return torch.randperm(n_points, generator=generator)[:n_chosen]


def random_subsets(
    context: Context, n_chosen: int, n_subsets: int, generator: torch.Generator
) -> Tensor | None:
    """Draw the points of several reduced contexts, of shape (n_subsets, n_chosen).

    None when the reduced context would be the whole one.
    """
    if n_chosen >= context.n_points:
        return None
    subsets = [random_points(context.n_points, n_chosen, generator) for _ in range(n_subsets)]
    return torch.stack(subsets).to(context.values.device)


def sequential_subsets(
    context: Context, n_chosen: int, n_subsets: int, generator: torch.Generator
) -> Tensor | None:
    """Draw one random order of the points, of which several reduced contexts take portions in turn.

    Of shape (n_subsets, n_chosen). What would go beyond the end goes on from the start. None when
    the reduced context would be the whole one.
    """
    n_points = context.n_points
    if n_chosen >= n_points:
        return None
    places = torch.arange(n_subsets * n_chosen).remainder(n_points).view(n_subsets, n_chosen)
    return random_points(n_points, n_points, generator)[places].to(context.values.device)
