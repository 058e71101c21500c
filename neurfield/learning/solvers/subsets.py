"""Random points of signals, the same ones in every call."""

from __future__ import annotations

import torch
from torch import Tensor

from neurfield.learning.context import Context, kept_points, random_points

_SEED = 0


class RandomSubsets:
    """A fresh random part of each signal at each step.

    Which points a signal keeps depends on the step and on how many of its points were observed, and
    on nothing else: not on the signals beside it, nor on the thread or process. Signals that were
    observed everywhere on one grid thus keep the same ones. A point that no channel was observed at
    is none of a signal's points, so no part is without a value, and it makes no difference whether
    such points are left out or marked.

    Parameters
    ----------
    context : Context
        Of B signals.
    ratio : float in (0, 1]
        Fraction of a signal's points to keep, at least one of them.
    """

    def __init__(self, context: Context, ratio: float) -> None:
        self._context, self._ratio = context, ratio
        self._generators: dict[int, torch.Generator] = {}
        self._observed: Tensor | None = None
        self._counts = [context.n_points]
        if context.weights is not None:
            seen = (context.weights > 0).any(dim=2)
            # Those observed come first, in their order.
            self._observed = seen.to(torch.int8).argsort(dim=1, descending=True, stable=True)
            self._counts = seen.sum(dim=1).tolist()

    def draw(self) -> Context:
        """Return the signals reduced to the points of the next step."""
        kept = {n: self._kept(n) for n in sorted(set(self._counts))}
        device = self._context.values.device
        if self._observed is None:
            return self._context.at_points(kept[self._counts[0]].to(device))
        width = max(1, *(len(points) for points in kept.values()))
        ranks = torch.full((len(self._counts), width), -1)
        for row, n in zip(ranks, self._counts, strict=True):
            row[: len(kept[n])] = kept[n]
        ranks = ranks.to(device)
        reduced = self._context.at_own_points(self._observed.gather(1, ranks.clamp_min(0)))
        assert reduced.weights is not None
        there = (ranks >= 0)[..., None]
        return Context(reduced.coords, reduced.values * there, reduced.weights * there)

    def _kept(self, n_points: int) -> Tensor:
        if n_points not in self._generators:
            self._generators[n_points] = torch.Generator().manual_seed(_SEED)
        n_kept = kept_points(n_points, self._ratio)
        return random_points(n_points, n_kept, self._generators[n_points])
