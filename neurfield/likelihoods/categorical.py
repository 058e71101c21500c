"""Labels: which of some channels a point belongs to, or none of them."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import Any, ClassVar

import torch
from torch import Tensor

from neurfield.likelihoods.base import Evaluated, Likelihood

# Least variance of a label's value around the field. With less, a label where training signals
# never had it would count for more than everything else that was measured.
_LEAST_VARIANCE = 1e-2
_BOUNDARY = 1e-6  # half a difference of logits, which is taken for none
_SUM = 1e-3  # by which parts that a point has of all labels may miss one


class Categorical(Likelihood):
    """Labels in some channels, 1 in that which a point belongs to; others hold measured values.

    With normal noise of the values around the field, of variance v, a point where the field says f
    has label k with a probability in proportion to exp((fₖ - ½) / vₖ), and none of the labels in
    proportion to 1: a softmax of what the field says. Parts of a point are labels of which each
    counts by its part.

    Parameters
    ----------
    labels : int, sequence of int or None, default=None
        Channels that are labels, counted from 0; None = all. Measurements have the field's channels
        as their last axis where there are several. NaN where a point was not labelled.
    others : str or Likelihood, default="gaussian"
        Of all else that was measured.

    Notes
    -----
    Gauss–Newton steps take for the curvature what bounds that of a logistic loss from above, which
    is as large far from the boundary between two labels as that of normal noise; what labels say
    of the latents in the end is the diagonal of the softmax's own.

    References
    ----------
    Jaakkola and Jordan, "Bayesian Parameter Estimation via Variational Methods", Statistics and
    Computing 10, 2000: the bound.

    Examples
    --------
    >>> Categorical(labels=[1, 2])
    Categorical(labels=[1, 2])
    """

    name: ClassVar[str] = "categorical"
    is_bounded: ClassVar[bool] = True

    def __init__(
        self, labels: int | Sequence[int] | None = None, others: str | Likelihood = "gaussian"
    ) -> None:
        self.labels, self.others = labels, others

    def check(self) -> None:
        super().check()
        if self.labels is not None:
            given = _all(self.labels)
            are_channels = all(isinstance(one, Integral) and one >= 0 for one in given)
            if not (given and are_channels and len(set(given)) == len(given)):
                raise ValueError(
                    "labels of likelihood must be numbers of channels, counted from 0 and each "
                    f"once, or None, got {self.labels!r:.60}"
                )
        others = Likelihood.of(self.others)
        if isinstance(others, Categorical):
            raise ValueError(f"others of likelihood must not be of labels, got {others!r:.60}")
        others.check()

    def given_std(self) -> Any:
        return Likelihood.of(self.others).given_std()

    def among(self, seen: Tensor, n_channels: int) -> Likelihood:
        return _Among(self, seen, n_channels)

    def check_measured(self, measured: Tensor, shape: tuple[int, ...], n_channels: int) -> None:
        if n_channels > 1 and shape[-1:] != (n_channels,):
            raise ValueError(
                f"likelihood='categorical' takes measurements with the field's {n_channels} "
                f"channels last, got shape {shape}"
            )
        labels = self.channels(n_channels)
        if max(labels) >= n_channels:
            raise ValueError(
                f"labels of likelihood must be channels of the field, 0 to {n_channels - 1}, got "
                f"{self.labels!r:.60}"
            )
        parts = measured.reshape(-1, n_channels)[:, labels]
        is_missing = parts.isnan()
        if bool((is_missing.any(dim=1) & ~is_missing.all(dim=1)).any()):
            raise ValueError("X must hold all labels of a point, or NaN in all of them")
        known = parts[~is_missing.any(dim=1)]
        if known.numel() and not (
            float(known.min()) >= -_SUM and float(known.sum(dim=1).max()) <= 1.0 + _SUM
        ):
            raise ValueError(
                "X must hold labels of 0 and 1, or parts of a point that sum to one at most, got "
                f"{float(known.min()):g} at the least and sums up to "
                f"{float(known.sum(dim=1).max()):g}"
            )
        others = Likelihood.of(self.others)
        rest = [channel for channel in range(n_channels) if channel not in labels]
        others.check_measured(measured.reshape(-1, n_channels)[:, rest], shape, len(rest))

    def in_fit(self) -> Likelihood:
        others = Likelihood.of(self.others)
        if not others.has_std:
            raise ValueError(
                "fit takes labels for values with normal noise, which goes with others='gaussian', "
                f"'huber' or 'student-t' of likelihood, got {others!r:.60}"
            )
        return others

    def channels(self, n_channels: int) -> list[int]:
        """Return which channels of a field are labels.

        Parameters
        ----------
        n_channels : int
            Of the field.
        """
        return list(range(n_channels)) if self.labels is None else _all(self.labels)

    def evaluate(
        self, predicted: Tensor, measured: Tensor, std: Tensor, variance: Tensor
    ) -> Evaluated:
        """Evaluate the density where all measurements are labels of points with one channel.

        Parameters
        ----------
        predicted, measured, std, variance : Tensor of shape (m,)
            As of any likelihood.
        """
        return self.among(torch.arange(len(measured)), 1).evaluate(
            predicted, measured, std, variance
        )


class _Among(Likelihood):
    """The likelihood of some measurements, of which some are labels.

    Parameters
    ----------
    whole : Categorical
        Of all measurements.
    seen : int Tensor of shape (k,)
        Their places among all.
    n_channels : int
        Of the field.
    """

    is_bounded: ClassVar[bool] = True

    def __init__(self, whole: Categorical, seen: Tensor, n_channels: int) -> None:
        labels = torch.tensor(sorted(whole.channels(n_channels)), dtype=torch.long)
        self.whole, self.seen, self.n_channels = whole, seen, n_channels
        self.is_label = torch.isin(seen % n_channels, labels)
        self._others = Likelihood.of(whole.others)
        # Labels of a point whose other labels no field has an effect on count for nothing.
        places = torch.nonzero(self.is_label)[:, 0]
        points = seen[places] // n_channels
        n_labels = torch.bincount(points)[points]
        self._groups = places[n_labels == len(labels)].reshape(-1, len(labels))

    def with_level(self, n: int) -> Tensor:
        return ~self.is_label & self._others.has_std

    def variance_of(self, squares: Tensor) -> float:
        return self._others.variance_of(squares)

    def start(self, measured: Tensor) -> Tensor:
        start = self._others.start(measured)
        return torch.where(self.is_label, measured, start)

    def in_closed_form(
        self, measured: Tensor, std: Tensor, variance: Tensor
    ) -> tuple[Tensor, Tensor]:
        start, weight = self.start(measured), torch.zeros_like(measured)
        weight[self._groups] = 1.0 / variance[self._groups].clamp_min(_LEAST_VARIANCE)
        rest = ~self.is_label
        weight[rest] = self._others.in_closed_form(measured[rest], std[rest], variance[rest])[1]
        return start, weight

    def evaluate(
        self, predicted: Tensor, measured: Tensor, std: Tensor, variance: Tensor
    ) -> Evaluated:
        loss, slope, curvature, information = predicted.new_zeros(4, len(predicted))
        rest, at = ~self.is_label, self._groups
        of_rest = self._others.evaluate(predicted[rest], measured[rest], std[rest], variance[rest])
        loss[rest], slope[rest], curvature[rest] = of_rest[:3]
        told = of_rest.information
        information[rest] = of_rest.curvature if told is None else told
        scale = 1.0 / variance[at].clamp_min(_LEAST_VARIANCE)
        logits, parts = scale * (predicted[at] - 0.5), measured[at].clamp_min(0.0)
        none = (1.0 - parts.sum(dim=1, keepdim=True)).clamp_min(0.0)
        whole = none + parts.sum(dim=1, keepdim=True)
        all_logits = torch.cat([torch.zeros_like(none), logits], dim=1)
        log_sum = all_logits.logsumexp(dim=1, keepdim=True)
        shares = (logits - log_sum).exp()
        loss[at] = whole * log_sum / at.shape[1] - parts * logits
        slope[at] = scale * (parts - whole * shares)
        information[at] = scale.square() * whole * shares * (1.0 - shares)
        far = 0.5 * (logits - _of_all_else(all_logits)).abs().clamp_min(_BOUNDARY)
        bound = far.tanh() / far
        curvature[at] = 0.25 * scale.square() * whole * bound
        return Evaluated(loss, slope, curvature, information)


def _of_all_else(all_logits: Tensor) -> Tensor:
    """Return the logit of all else than each label; that of none is first of all, (G, 1 + K)."""
    n = all_logits.shape[1]
    others = all_logits[:, None].masked_fill(torch.eye(n, dtype=torch.bool), -torch.inf)
    return others.logsumexp(dim=2)[:, 1:]


def _all(labels: int | Sequence[int]) -> list[int]:
    return list(labels) if isinstance(labels, Sequence) else [labels]
