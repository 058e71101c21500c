"""What training signals are like, in more detail than one Gaussian of their latents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
from scipy.interpolate import RegularGridInterpolator
from scipy.ndimage import uniform_filter1d

from neurfield.learning.gaussians import Gaussians
from neurfield.learning.nodes import nodes_of
from neurfield.learning.noise import CorrelatedNoise, spectrum_of
from neurfield.learning.patch_prior import PatchPrior

_NEIGHBOURS = 32  # numbers whose variances are widened alike
_MOST_WIDER = 100.0  # that variances become by signals that a field has not seen

Axes = tuple[np.ndarray, ...]


@dataclass(frozen=True)
class SignalMixture:
    """Signals f(φ) + Σ_q α_q ψ_q + noise: a mixture of Gaussians of φ, and normal numbers α.

    The directions ψ are the principal ones of what fields leave of training signals, each with the
    length of one standard deviation; the noise has a variance at each node, and a spectrum.

    Parameters
    ----------
    weights : float64 array of shape (K,)
        Of the Gaussians; their sum is one.
    means : float64 array of shape (K, P)
        Of φ.
    covariances : float32 array of shape (K, P, P)
        Of φ.
    directions : float32 array of shape (Q, *shape, c)
        ψ on a grid, in scaled units.
    noise : float32 array of shape (*shape, c)
        Variance of the noise there, in squared scaled units.
    spectrum : float32 array of shape (*shape, c)
        Of the noise, for each wave of cosines along the axes; its mean is one.
    axes : tuple of d arrays
        Of the grid, in normalised coordinates.
    patches : PatchPrior, optional
        What small patches of signals are like on that grid.
    """

    weights: np.ndarray
    means: np.ndarray
    covariances: np.ndarray
    directions: np.ndarray
    noise: np.ndarray
    spectrum: np.ndarray
    axes: Axes
    patches: PatchPrior | None = None

    @property
    def n_latents(self) -> int:
        """P."""
        return self.means.shape[1]

    def moments(self) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and covariance of φ, whichever Gaussian it comes from."""
        mean = self.weights @ self.means
        apart = self.means - mean
        within = np.tensordot(self.weights, self.covariances.astype(np.float64), axes=1)
        return mean, within + (apart * self.weights[:, None]).T @ apart

    def widened(self, latents: np.ndarray, rest: np.ndarray, weights: np.ndarray) -> Self:
        """Return it as wide as signals lie that the field has not seen.

        A field leaves more of them than of those that it was trained with.

        Parameters
        ----------
        latents : array of shape (n, P)
            Of these signals.
        rest : array of shape (n, N c)
            What the field leaves of their values, on the grid of the directions.
        weights : array of shape (n,)
            As how many each counts.
        """
        if not len(self.directions):
            return self
        gaussians = Gaussians(self.weights, self.means, self.covariances.astype(np.float64))
        of_latents = _wider(_smooth(gaussians.spread(latents, weights)))
        wider = replace(
            self, covariances=gaussians.wider(of_latents).covariances.astype(np.float32)
        )
        return wider.stretched(Spread.of(rest, weights, self.directions, self.noise))

    def stretched(self, spread: Spread) -> Self:
        """Return it with directions as long, and noise as wide, as others lie around the field.

        Parameters
        ----------
        spread : Spread
            Of these.
        """
        order = np.arange(len(self.directions)), np.arange(len(spread.of_directions))
        longer = _wider(np.interp(*order, spread.of_directions)) ** 0.5
        return replace(
            self,
            directions=self.directions * longer.reshape(-1, *[1] * (self.directions.ndim - 1)),
            noise=self.noise * _wider(spread.of_noise),
            spectrum=spread.spectrum,
        )

    @cached_property
    def beside(self) -> CorrelatedNoise:
        """The noise."""
        return CorrelatedNoise(self.axes, self.noise, self.spectrum)

    @cached_property
    def nodes(self) -> np.ndarray:
        """Normalised coordinates of the N nodes, of shape (N, d)."""
        return nodes_of(self.axes)

    def at(self, coords: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Read directions and noise between the nodes of their grid, linearly.

        Parameters
        ----------
        coords : array of shape (M, d)
            Normalised; beyond the grid, as at its edge.

        Returns
        -------
        directions : array of shape (Q, M, c)
            In scaled units.
        noise : array of shape (M, c)
            In squared scaled units.
        """
        ends = np.sort([(axis[0], axis[-1]) for axis in self.axes])
        places = np.clip(coords, *ends.T)
        tables = [np.moveaxis(self.directions, 0, -1), self.noise[..., None]]
        read = [RegularGridInterpolator(self.axes, table)(places) for table in tables]
        return np.moveaxis(read[0], -1, 0), read[1][..., 0]

    def state(self) -> dict[str, np.ndarray]:
        """Return arrays from which :meth:`from_state` rebuilds it."""
        arrays = {name: getattr(self, name) for name in _ARRAYS}
        arrays |= {f"nodes_{i}": axis for i, axis in enumerate(self.axes)}
        arrays |= {} if self.patches is None else self.patches.state()
        return {f"mixture_{name}": array for name, array in arrays.items()}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Self | None:
        """Rebuild what :meth:`state` described, and take it out of the state of what holds it.

        Parameters
        ----------
        state : dict
            Of a posterior, which may have none; its arrays that are of a mixture are removed.
        """
        found = {
            key.removeprefix("mixture_"): state.pop(key)
            for key in list(state)
            if key.startswith("mixture_")
        }
        if not found:
            return None
        axes = tuple(found.pop(f"nodes_{i}") for i in range(found["noise"].ndim - 1))
        found.setdefault("spectrum", np.ones_like(found["noise"]))  # files of before
        return cls(patches=PatchPrior.from_state(found), **found, axes=axes)

    def check(self, n_latents: int, n_axes: int, n_channels: int) -> None:
        """Refuse what no fit leaves, such as what a damaged file holds.

        Parameters
        ----------
        n_latents, n_axes, n_channels : int
            P, d and c, which its arrays must agree with.

        Raises
        ------
        ValueError
            If shapes do not agree, or numbers are not finite.
        """
        shape = tuple(len(axis) for axis in self.axes)
        size, n_directions = len(self.weights), len(self.directions)
        expected: dict[str, Sequence[int]] = {
            "weights": (size,),
            "means": (size, n_latents),
            "covariances": (size, n_latents, n_latents),
            "directions": (n_directions, *shape, n_channels),
            "noise": (*shape, n_channels),
            "spectrum": (*shape, n_channels),
        }
        for name, wanted in expected.items():
            array = getattr(self, name)
            if array.shape != tuple(wanted) or array.dtype.kind != "f":
                raise ValueError(
                    f"{name} of the mixture must be numbers of shape {tuple(wanted)}, got "
                    f"{array.dtype} of shape {array.shape}"
                )
            if not np.isfinite(array).all():
                raise ValueError(f"{name} of the mixture must be finite")
        if len(shape) != n_axes or not all(
            axis.ndim == 1 and len(axis) > 1 and abs(np.sign(np.diff(axis)).sum()) == len(axis) - 1
            for axis in self.axes
        ):
            raise ValueError(f"the grid of the mixture must have {n_axes} monotone axes")
        if not all((array > 0).all() for array in (self.weights, self.noise, self.spectrum)):
            raise ValueError("weights, noise and spectrum of the mixture must be positive")
        if self.patches is not None:
            self.patches.check(shape, n_channels)


@dataclass(frozen=True)
class Spread:
    """How signals lie around a field, of which directions and noise around it do not know.

    Parameters
    ----------
    of_directions : array of shape (Q,)
        Mean squares of factors of the directions, one where these are as long as signals reach.
    of_noise : float
        Mean square of what is beside, relative to the noise.
    spectrum : float32 array of shape (*shape, c)
        Of that.
    """

    of_directions: np.ndarray
    of_noise: float
    spectrum: np.ndarray

    @classmethod
    def of(
        cls, rest: np.ndarray, weights: np.ndarray, directions: np.ndarray, noise: np.ndarray
    ) -> Self:
        """Measure it.

        Parameters
        ----------
        rest : array of shape (n, N c)
            What the field leaves of signals.
        weights : array of shape (n,)
            As how many each counts.
        directions : array of shape (Q, *shape, c)
            Around the field, one at least.
        noise : array of shape (*shape, c)
            Variance beside them.
        """
        around = directions.reshape(len(directions), -1).astype(np.float64)
        lengths, rows = parted(rest.astype(np.float64), around)
        along = np.average(np.square(lengths), axis=0, weights=weights)
        beside = float(np.average(np.square(rows).sum(axis=1), weights=weights))
        return cls(
            _smooth(along) / _smooth(np.square(around).sum(axis=1)),
            beside / float(noise.sum()),
            spectrum_of(rows, noise, weights).astype(np.float32),
        )


def parted(rows: np.ndarray, directions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return how far rows reach along directions, of shape (n, Q), and what these leave of them.

    Parameters
    ----------
    rows : array of shape (n, N c)
        What fields leave of signals.
    directions : array of shape (Q, N c)
        Orthogonal, of any length.
    """
    unit = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    lengths = rows @ unit.T
    return lengths, rows - lengths @ unit


def _smooth(variances: np.ndarray) -> np.ndarray:
    """Return means over neighbours, as few signals say little of one direction."""
    return np.asarray(uniform_filter1d(variances, _NEIGHBOURS, mode="nearest"))


def _wider(factor: Any) -> np.ndarray:
    return np.clip(factor, 1.0, _MOST_WIDER).astype(np.float32)


_ARRAYS = ("weights", "means", "covariances", "directions", "noise", "spectrum")
