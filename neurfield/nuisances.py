"""What may be unknown of a measurement beside the latent: gain, offset, drift, pose, phases."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from neurfield._compat import Interval
from neurfield.spec import Spec

__all__ = ["Affine", "Drift", "Gain", "Nuisance", "Offset", "Phase", "Prior", "Setup"]


@dataclass(frozen=True)
class Setup:
    """What is measured of a signal, and where.

    Parameters
    ----------
    points : float64 Tensor of shape (M, d)
        Where the operator reads the field, in the data's own units.
    lower, upper : float64 Tensor of shape (d,)
        Extent seen in fit, in these units.
    value_range : float64 array of shape (c,)
        Greatest minus least value of each channel in fit.
    shape : tuple of int
        Of what is measured of one signal.
    is_complex : bool
        Whether that is complex.
    """

    points: Tensor
    lower: Tensor
    upper: Tensor
    value_range: np.ndarray
    shape: tuple[int, ...]
    is_complex: bool


@dataclass(frozen=True)
class Prior:
    """Names of unknown parameters, and what is known of them before: independent normal numbers.

    Parameters
    ----------
    names : list of E str
        Of the parameters.
    units : list of E str
        In which they are.
    mean, std : float64 arrays of shape (E,)
        Of each, in its unit.
    """

    names: list[str]
    units: list[str]
    mean: np.ndarray
    std: np.ndarray


class Nuisance(Spec):
    """Unknown parameters of a signal's measurement, found together with its latent.

    One of one's own says what is known of its parameters, and overrides that one of the methods
    :meth:`points`, :meth:`values` and :meth:`measured` in which they have a part; these are made of
    operations that torch can differentiate twice.
    """

    kind: ClassVar[str] = "solve_for"

    @abstractmethod
    def prior(self, setup: Setup) -> Prior:
        """Return names, units, means and standard deviations of the parameters.

        Parameters
        ----------
        setup : Setup
            Of the measurement.

        Raises
        ------
        ValueError
            If such a measurement has no such parameters.
        """

    def points(self, parameters: Tensor, points: Tensor, setup: Setup) -> Tensor:
        """Return where the field is read, of shape (M, d); by default, where it was.

        Parameters
        ----------
        parameters : float64 Tensor of shape (E,)
            In their units.
        points : float64 Tensor of shape (M, d)
            Where it would be read without them, in the data's own units.
        setup : Setup
            Of the measurement.
        """
        return points

    def values(self, parameters: Tensor, values: Tensor, setup: Setup) -> Tensor:
        """Return what the operator is applied to, of shape (M, c); by default, the values.

        Parameters
        ----------
        parameters : float64 Tensor of shape (E,)
            In their units.
        values : float64 Tensor of shape (M, c)
            Of the signal, in the data's own units.
        setup : Setup
            Of the measurement.
        """
        return values

    def measured(self, parameters: Tensor, measured: Tensor, setup: Setup) -> Tensor:
        """Return what is expected of measurements; by default, what the operator says.

        Parameters
        ----------
        parameters : float64 Tensor of shape (E,)
            In their units.
        measured : float64 or complex128 Tensor of shape (*setup.shape,)
            What the operator makes of the values.
        setup : Setup
            Of the measurement.
        """
        return measured

    def stretch(self, parameters: Tensor) -> Tensor | None:
        """Return by what they multiply differences of values; by default None, they do not.

        Parameters
        ----------
        parameters : float64 Tensor of shape (E,)
            In their units.
        """
        return None

    def starts(self, setup: Setup) -> list[np.ndarray]:
        """Return parameters, beside the means, from which to begin too; by default, none.

        Parameters
        ----------
        setup : Setup
            Of the measurement.
        """
        return []


class Gain(Nuisance):
    """A factor g of all values of a signal.

    Parameters
    ----------
    std : float, default=0.2
        Standard deviation of g around one.
    """

    name: ClassVar[str] = "gain"
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "std": [Interval(Real, 0, None, closed="neither")]
    }

    def __init__(self, std: float = 0.2) -> None:
        self.std = std

    def prior(self, setup: Setup) -> Prior:
        return Prior(["gain"], ["1"], np.ones(1), np.array([float(self.std)]))

    def values(self, parameters: Tensor, values: Tensor, setup: Setup) -> Tensor:
        return parameters * values

    def stretch(self, parameters: Tensor) -> Tensor | None:
        return parameters[0]


class Offset(Nuisance):
    """A constant that is added to all values of a channel.

    Parameters
    ----------
    std : float, default=0.2
        Standard deviation around zero, as a part of the channel's range in fit.
    """

    name: ClassVar[str] = "offset"
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "std": [Interval(Real, 0, None, closed="neither")]
    }

    def __init__(self, std: float = 0.2) -> None:
        self.std = std

    def prior(self, setup: Setup) -> Prior:
        n_channels = len(setup.value_range)
        return _of_channels(["offset"] * n_channels, 1, self.std, setup)

    def values(self, parameters: Tensor, values: Tensor, setup: Setup) -> Tensor:
        return values + parameters


class Drift(Nuisance):
    """A slow course along the first axis that is added to the values, in each channel another.

    It is Σ_k a_k cos(π k t), where t goes from zero to one over the extent of fit: without a
    constant, which is what :class:`Offset` is for.

    Parameters
    ----------
    order : int, default=3
        Number of cosines.
    std : float, default=0.1
        Standard deviation of each a_k around zero, as a part of the channel's range in fit.
    """

    name: ClassVar[str] = "drift"
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "order": [Interval(Integral, 1, 100, closed="both")],
        "std": [Interval(Real, 0, None, closed="neither")],
    }

    def __init__(self, order: int = 3, std: float = 0.1) -> None:
        self.order, self.std = order, std

    def prior(self, setup: Setup) -> Prior:
        names = [f"drift_{k}" for k in range(1, self.order + 1) for _ in setup.value_range]
        return _of_channels(names, self.order, self.std, setup)

    def values(self, parameters: Tensor, values: Tensor, setup: Setup) -> Tensor:
        along = setup.points[:, 0] - setup.lower[0]
        t = along / (setup.upper[0] - setup.lower[0]).clamp_min(torch.finfo(along.dtype).tiny)
        k = torch.arange(1, self.order + 1, dtype=t.dtype)
        cosines = torch.cos(torch.pi * k * t[:, None])
        return values + cosines @ parameters.reshape(self.order, -1)


def _of_channels(names: list[str], n_each: int, std: float, setup: Setup) -> Prior:
    """Return what is known of numbers in the unit of values, channels of each side by side."""
    n_channels = len(setup.value_range)
    if n_channels > 1:
        numbers = list(range(n_channels)) * n_each
        names = [f"{name}_c{i}" for name, i in zip(names, numbers, strict=True)]
    # A channel without a range has an offset none the less.
    size = np.where(setup.value_range > 0, setup.value_range, 1.0)
    deviation = std * np.tile(np.asarray(size, dtype=np.float64), n_each)
    return Prior(names, ["values"] * len(names), np.zeros(len(names)), deviation)


class Affine(Nuisance):
    """The pose of a signal of two or three axes: the field is read at R S (x - m) + m + t.

    m is the middle of the extent of fit, R a rotation, S a diagonal matrix of scales, and t a
    translation. Angles make sense where axes have one unit.

    Parameters
    ----------
    rotation : float, default=5.0
        Standard deviation of the angle of each pair of axes around zero, in degrees; an angle leads
        from the first of them to the second. 0 = no rotation.
    scale : float, default=0.05
        Standard deviation of the logarithm of each axis's scale around zero. 0 = no scales.
    translation : float, default=0.05
        Standard deviation of the translation along each axis around zero, as a part of the extent
        of fit. 0 = no translation.
    """

    name: ClassVar[str] = "affine"
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        part: [Interval(Real, 0, None, closed="left")]
        for part in ("rotation", "scale", "translation")
    }

    def __init__(
        self, rotation: float = 5.0, scale: float = 0.05, translation: float = 0.05
    ) -> None:
        self.rotation, self.scale, self.translation = rotation, scale, translation

    def check(self) -> None:
        super().check()
        if not max(self.rotation, self.scale, self.translation) > 0:
            raise ValueError("one of rotation, scale and translation of Affine must be positive")

    def prior(self, setup: Setup) -> Prior:
        n_axes = len(setup.lower)
        if n_axes not in (2, 3):
            raise ValueError(f"solve_for='affine' needs a field of 2 or 3 axes, got {n_axes}")
        extent = (setup.upper - setup.lower).numpy()
        extent = np.where(extent > 0, extent, 1.0)
        parts = [
            (f"rotation_{i}{j}", "degrees", float(self.rotation))
            for i, j in combinations(range(n_axes), 2)
        ]
        parts += [(f"log_scale_{i}", "1", float(self.scale)) for i in range(n_axes)]
        parts += [
            (f"translation_{i}", "axis", self.translation * float(extent[i])) for i in range(n_axes)
        ]
        names, units, std = zip(*(part for part in parts if part[2] > 0), strict=True)
        return Prior(list(names), list(units), np.zeros(len(names)), np.array(std))

    def points(self, parameters: Tensor, points: Tensor, setup: Setup) -> Tensor:
        n_axes = points.shape[1]
        pairs = list(combinations(range(n_axes), 2))
        sizes = [
            size if std > 0 else 0
            for size, std in (
                (len(pairs), self.rotation),
                (n_axes, self.scale),
                (n_axes, self.translation),
            )
        ]
        angles, scales, translation = parameters.split(sizes)
        middle = 0.5 * (setup.lower + setup.upper)
        moved = points - middle
        if len(scales):
            moved = moved * scales.exp()
        if len(angles):
            moved = moved @ _rotation(angles, pairs, n_axes).T
        return moved + middle + translation if len(translation) else moved + middle

    def starts(self, setup: Setup) -> list[np.ndarray]:
        prior = self.prior(setup)
        found = []
        for i, name in enumerate(prior.names):
            if name.startswith("rotation"):
                for side in (-_START, _START):
                    found.append(np.where(np.arange(len(prior.names)) == i, side, 0.0) * prior.std)
        return found


_START = 2.0  # standard deviations of an angle, of starts beside the mean


def _rotation(degrees: Tensor, pairs: list[tuple[int, int]], n_axes: int) -> Tensor:
    """Return the rotation whose logarithm has these angles."""
    generator = degrees.new_zeros(n_axes, n_axes)
    for (i, j), angle in zip(pairs, torch.deg2rad(degrees), strict=True):
        unit = torch.zeros_like(generator)
        unit[j, i], unit[i, j] = 1.0, -1.0
        generator = generator + angle * unit
    return torch.linalg.matrix_exp(generator)


class Phase(Nuisance):
    """A constant phase of each coil: of each place along the first axis of complex measurements.

    Parameters
    ----------
    std : float, default=1.0
        Standard deviation of a phase around zero, in radians.
    """

    name: ClassVar[str] = "phase"
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "std": [Interval(Real, 0, None, closed="neither")]
    }

    def __init__(self, std: float = 1.0) -> None:
        self.std = std

    def prior(self, setup: Setup) -> Prior:
        if not setup.is_complex or not setup.shape:
            kind = "complex" if setup.is_complex else "real"
            raise ValueError(
                "solve_for='phase' needs complex measurements with an axis of coils, got "
                f"{kind} ones of shape {setup.shape}"
            )
        n = setup.shape[0]
        names = [f"phase_{i}" for i in range(n)]
        return Prior(names, ["radians"] * n, np.zeros(n), np.full(n, float(self.std)))

    def measured(self, parameters: Tensor, measured: Tensor, setup: Setup) -> Tensor:
        turned = torch.complex(parameters.cos(), parameters.sin())
        return measured * turned.reshape(-1, *[1] * (measured.ndim - 1))


def nuisances_of(solve_for: Any) -> list[Nuisance]:
    """Return what ``solve_for`` names.

    Parameters
    ----------
    solve_for : str, Nuisance, or sequence of these
        One or several.

    Raises
    ------
    ValueError
        If one is unknown, there twice, or has a parameter out of its range.
    """
    if isinstance(solve_for, str | Nuisance):
        solve_for = [solve_for]
    if not isinstance(solve_for, Sequence):
        raise ValueError(
            f"solve_for must be names or nuisances, one or a sequence of them, got {solve_for!r}"
        )
    found = [Nuisance.of(one) for one in solve_for]
    for i, one in enumerate(found):
        one.check()
        if one.name in {other.name for other in found[:i]}:
            raise ValueError(f"solve_for must name each unknown once, got {one.name!r} twice")
    return found
