"""NeuralField: one signal as the weights of a network of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
import torch
import xarray as xr
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from neurfield._compat import Interval, StrOptions, fit_context
from neurfield.decoding import decode
from neurfield.device import resolve_device
from neurfield.fields.by_name import COORDINATE_FIELDS, make_coordinate_field
from neurfield.fields.schedule import check_omega
from neurfield.learning.callbacks import Callback, check_callbacks
from neurfield.learning.measured_signal import MeasuredSignal, check_measured, rough_signal
from neurfield.learning.regression import (
    Learnable,
    Observations,
    RegressionLoop,
    fit_regression,
)
from neurfield.memory import at_once
from neurfield.signals import SignalGroup, Signals, Units, read_signals
from neurfield.signals.arrays import one_array
from neurfield.signals.labelled import is_xarray
from neurfield.signals.layout import SAMPLE, Layout
from neurfield.signals.missing import holds_masks, unobserved
from neurfield.waiting import short_waits

# Parameters that a kind of network has values of its own for, where the caller gives none.
_OPTIONS = (
    "hidden_dim",
    "n_layers",
    "omega",
    "scale",
    "sigma",
    "n_frequencies",
    "table_size",
    "lr",
)


class NeuralField(BaseEstimator):
    """Fit one 1-D, 2-D or 3-D signal with a neural field whose weights are all its own.

    The classical implicit neural representation: ``fit`` learns a network from the coordinates to
    the values of one signal, ``predict`` evaluates it on any grid or at any point. It is the
    baseline of :class:`neurfield.FunctaEncoder`, which learns what signals have in common once and
    then needs only a short latent for each.

    Parameters
    ----------
    field : {"siren", "fourier", "positional", "wire", "gaussian", "hash-grid"}, default="siren"
        "siren": sine network. "fourier": ReLU network on sines and cosines of random frequencies.
        "positional": ReLU network on sines and cosines of powers of two along each axis. "wire":
        network of complex Gabor wavelets. "gaussian": network of Gaussians. "hash-grid": small ReLU
        network on learnt features of grids of many sizes, for one to three axes.
    hidden_dim : int, default=None
        Width of the hidden layers; None = 128, 90 for "wire", whose features are complex, and 64
        for "hash-grid".
    n_layers : int, default=None
        Number of linear layers, the output layer included; None = 5, 4 for "wire" and 3 for
        "hash-grid".
    omega : float or (float, float), default=None
        ω_1 → ω_K of sine layers and wavelets, rising linearly; one float is a constant ω. None =
        30 ("siren") and 10 ("wire").
    scale : float, default=None
        Standard deviation a of Gaussians exp(-z²/2a²) ("gaussian"; None = 0.07), or s of the
        envelope exp(-|s z|²) of wavelets ("wire"; None = 10).
    sigma : float, default=None
        Standard deviation of the random frequencies, in cycles per extent of the signal
        ("fourier"). By default, along each axis, an eighth of the Nyquist frequency of the points.
    n_frequencies : int, default=None
        Number of random frequencies ("fourier"; by default ``hidden_dim``), or of octaves along
        each axis ("positional"; by default up to a quarter of the Nyquist frequency).
    table_size : int, default=None
        Most entries of a level of a hash grid; finer levels are hashed ("hash-grid"). By default a
        sixteenth of the points, at least 1024.
    lr : float, default=None
        Peak learning rate of Adam; it rises over 20 iterations and follows a cosine to zero. None =
        1e-3, 2e-3 for "gaussian", 5e-3 for "wire" and 2e-2 for "hash-grid".
    max_iter : int, default=500
        Iterations.
    batch_points : int, default=4096
        Points of each iteration, drawn at random; signals of no more points are seen whole.
    tol : float, default=None
        Least gain in PSNR, in dB, of 100 iterations over the 100 before; fit ends early with less.
        None = all iterations.
    early_stopping : bool, default=False
        Of a fit through an operator: hold out one in ten measurements, which say when noise begins
        to be learnt, and keep the weights that predict them best.
    max_time : float, default=None
        Seconds after which fit ends early; the learning rate follows. Results then depend on the
        machine's speed.
    callbacks : sequence of callables, default=None
        Each gets a :class:`neurfield.learning.Progress` after every iteration; true ends the fit.
    channel_axis : int, default=None
        Which axis of an array holds channels; None = one channel.
    device : str, default="auto"
        "auto" takes a GPU where there is one; or any name torch knows.
    random_state : int, RandomState instance or None, default=None
        Source of initial weights, frequencies and drawn points; an int makes fits repeatable on one
        device.
    verbose : int, default=0
        1 shows a progress bar with the current PSNR.

    Attributes
    ----------
    field_ : neurfield.fields.CoordinateField
        The trained network, in normalised coordinates and scaled values.
    loss_curve_ : list of float
        Mean squared error of the scaled values in each iteration, before its update.
    psnr_curve_ : list of float
        PSNR in dB of the points of each iteration, before its update.
    n_iter_ : int
        Iterations taken.
    layout_ : neurfield.signals.Layout
        Container, axes and labels seen in fit.
    units_ : neurfield.signals.Units
        Maps from the signal's coordinates to [-1, 1] and from its values to numbers of order one.
    device_ : str
        Where the network lives.

    References
    ----------
    Sitzmann et al., "Implicit Neural Representations with Periodic Activation Functions",
    NeurIPS 2020, Eq. (5); Tancik et al., "Fourier Features Let Networks Learn High Frequency
    Functions in Low Dimensional Domains", NeurIPS 2020, Section 6; Mildenhall et al., "NeRF:
    Representing Scenes as Neural Radiance Fields for View Synthesis", ECCV 2020, Eq. (4); Saragadam
    et al., "WIRE: Wavelet Implicit Neural Representations", CVPR 2023; Ramasinghe and Lucey,
    "Beyond Periodicity: Towards a Unifying Framework for Activations in Coordinate-MLPs", ECCV
    2022; Müller et al., "Instant Neural Graphics Primitives with a Multiresolution Hash Encoding",
    ACM Transactions on Graphics 41 (2022).

    Examples
    --------
    >>> import numpy as np
    >>> from neurfield import NeuralField
    >>> wave = np.sin(np.linspace(0, 6, 50))
    >>> field = NeuralField(hidden_dim=16, n_layers=3, max_iter=50, random_state=0).fit(wave)
    >>> field.predict(grid=(99,)).shape
    (99,)
    >>> field.score(wave) > field.psnr_curve_[0]
    True
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "field": [StrOptions(set(COORDINATE_FIELDS))],
        "hidden_dim": [Interval(Integral, 1, None, closed="left"), None],
        "n_layers": [Interval(Integral, 2, None, closed="left"), None],
        "omega": [Interval(Real, 0, None, closed="neither"), tuple, list, None],
        "scale": [Interval(Real, 0, None, closed="neither"), None],
        "sigma": [Interval(Real, 0, None, closed="neither"), None],
        "n_frequencies": [Interval(Integral, 1, None, closed="left"), None],
        "table_size": [Interval(Integral, 1, None, closed="left"), None],
        "lr": [Interval(Real, 0, None, closed="neither"), None],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "batch_points": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left"), None],
        "early_stopping": ["boolean"],
        "max_time": [Interval(Real, 0, None, closed="neither"), None],
        "callbacks": [list, tuple, None],
        "channel_axis": [Integral, None],
        "device": [str],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        field: str = "siren",
        *,
        hidden_dim: int | None = None,
        n_layers: int | None = None,
        omega: float | tuple[float, float] | None = None,
        scale: float | None = None,
        sigma: float | None = None,
        n_frequencies: int | None = None,
        table_size: int | None = None,
        lr: float | None = None,
        max_iter: int = 500,
        batch_points: int = 4096,
        tol: float | None = None,
        early_stopping: bool = False,
        max_time: float | None = None,
        callbacks: Sequence[Callback] | None = None,
        channel_axis: int | None = None,
        device: str = "auto",
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 0,
    ) -> None:
        self.field = field
        self.hidden_dim = hidden_dim
        self.n_layers = n_layers
        self.omega = omega
        self.scale = scale
        self.sigma = sigma
        self.n_frequencies = n_frequencies
        self.table_size = table_size
        self.lr = lr
        self.max_iter = max_iter
        self.batch_points = batch_points
        self.tol = tol
        self.early_stopping = early_stopping
        self.max_time = max_time
        self.callbacks = callbacks
        self.channel_axis = channel_axis
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any = None, *, operator: Any = None) -> Self:
        """Learn the weights of the network from one signal, or from what was measured of it.

        Through an operator, each iteration reads the field at all points of the operator, and
        compares what is measured there.

        Parameters
        ----------
        X : ndarray of shape (length,), (H, W), (D, H, W), ..., DataArray or Dataset
            One signal: an array (with an axis more when ``channel_axis`` is given), or an xarray
            object without a "sample" dimension, with an optional "channel" dimension or with
            values at scattered points along "point". NaN marks a value not observed. With
            ``operator``, an array of what was measured, real or complex.
        y : ignored
            Not used, present for API consistency by convention.
        operator : neurfield.operators.Operator, optional
            What X is of the field's values. The signal seen in fit is then that on the operator's
            grid, with channels last: an array where the grid counts from 0, a DataArray over x; y,
            x; or z, y, x otherwise, and scattered points where the operator has no grid.

        Returns
        -------
        self : NeuralField
            The estimator, fitted.

        Raises
        ------
        ValueError
            If the signal or a parameter is not usable, before any work is done; or if the loss
            becomes infinite.
        """
        given = {name: getattr(self, name) for name in _OPTIONS}
        options = COORDINATE_FIELDS[self.field].but(given)
        check_omega(options.omega)
        check_callbacks(self.callbacks)
        device = resolve_device(self.device)
        if self.early_stopping and operator is None:
            raise ValueError("early_stopping=True holds out measurements: give operator= with it")
        axis = self.channel_axis
        if operator is not None:
            measured, n_channels = check_measured(X, operator)
            X, axis = (
                rough_signal(measured, operator, n_channels),
                -1 if n_channels > 1 else None,
            )
        signals = self._read(X, axis)
        (group,) = signals.groups
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        generator = torch.Generator().manual_seed(seed)
        self.layout_ = layout = signals.layout
        if holds_masks(X):
            self.layout_ = replace(layout, masked=unobserved(signals, layout)[0])
        self.units_ = Units.of(signals)
        self.device_ = str(device)
        self.field_ = make_coordinate_field(
            self.field, options, group.nyquist, layout.n_channels, generator
        ).to(device)
        schedule = RegressionLoop(
            lr=options.lr,
            max_iter=self.max_iter,
            batch_points=self.batch_points,
            tol=self.tol,
            max_time=self.max_time,
            callbacks=tuple(self.callbacks or ()),
            verbose=bool(self.verbose),
        )
        known: Learnable
        if operator is None:
            known = self._observations(group)
        else:
            known = MeasuredSignal.of(
                measured, operator, self.units_, device, generator, bool(self.early_stopping)
            )
        with short_waits():
            history = fit_regression(self.field_, known, schedule, generator)
        self.loss_curve_, self.psnr_curve_ = history.loss_curve, history.psnr_curve
        self.n_iter_ = len(self.loss_curve_)
        if operator is not None:
            found = self._evaluate(self.units_.coordinates(np.asarray(operator.points())))
            scaler = replace(self.units_.scaler, lower=found.min(axis=0), upper=found.max(axis=0))
            self.units_ = replace(self.units_, scaler=scaler)
        return self

    def predict(
        self,
        *,
        grid: Sequence[int] | None = None,
        coords: Mapping[str, npt.ArrayLike] | xr.DataArray | None = None,
        points: npt.ArrayLike | None = None,
    ) -> Any:
        """Evaluate the field on a grid or at points; by default on the grid seen in fit.

        Parameters
        ----------
        grid : sequence of d int, optional
            Number of points along each axis, over the same extent.
        coords : mapping of axis name to 1-D array, or DataArray, optional
            Coordinates in the signal's own units. Arrays have axes named x; y, x; or z, y, x.
        points : array-like of shape (n_points, d), optional
            Scattered points in the signal's own units.

        Returns
        -------
        ndarray, DataArray or Dataset of float32, or float64 where values need it
            The container seen in fit; with ``coords``, an xarray object; with ``points``, an array
            of shape (n_points,) or (n_points, c).

        Raises
        ------
        ValueError
            If more than one place is given, one does not fit the axes seen in fit, or none is given
            after a fit to scattered points.
        """
        check_is_fitted(self)
        if coords is not None and not isinstance(coords, Mapping | xr.DataArray):
            raise ValueError(
                f"coords must be a mapping with the axes {self.layout_.axis_names} or a DataArray, "
                f"got {coords!r}"
            )
        (found,) = decode(
            lambda _, where: [self._evaluate(self.units_.coordinates(where))[None]],
            self.units_.frame,
            self.layout_,
            1,
            grid=grid,
            coords=coords,
            points=points,
            dtypes=(None,),
            samples=None,
        )
        return found.isel({SAMPLE: 0}) if is_xarray(found) else found[0]

    def score(self, X: Any, y: Any = None) -> float:
        """Return the PSNR in dB of the field where a signal was observed.

        The peak is the range of the values seen in fit, channel by channel, or that of the field
        where it was fitted to measurements.

        Parameters
        ----------
        X : as in :meth:`fit`
            The signal of the fit, or other values of it, on the same axes; a labelled signal may
            stand on another grid.
        y : ignored

        Returns
        -------
        float
            Higher is better.
        """
        check_is_fitted(self)
        expected = self.layout_
        axis = expected.channel_axis
        (group,) = self._read(X, axis if axis is None or axis < 0 else axis - 1, expected).groups
        where = self._observations(group)
        predicted = self._evaluate(where.coords.cpu().numpy())
        scaled = torch.as_tensor(self.units_.values(predicted), device=where.values.device)
        return where.psnr(scaled - where.values)

    def _read(self, X: Any, channel_axis: int | None, expected: Layout | None = None) -> Signals:
        """Read one signal as a data set of one."""
        if is_xarray(X):
            if SAMPLE in X.dims:
                raise ValueError(
                    f'X must be one signal without a "{SAMPLE}" dimension, got {dict(X.sizes)}; '
                    f"pass X.isel({SAMPLE}=0), or all of them to FunctaEncoder"
                )
            signal: Any = X.compute().expand_dims(SAMPLE)
            axis = None
        else:
            array, axis = one_array(X, channel_axis)
            signal = array[None]
        signals = read_signals(signal, axis, expected)
        signals.check()
        if expected is not None and "array" == signals.layout.container == expected.container:
            shapes = [[len(a) for a in layout.axes or ()] for layout in (signals.layout, expected)]
            if shapes[0] != shapes[1]:
                raise ValueError(
                    f"X must have the shape {tuple(shapes[1])} seen in fit (channels left out), "
                    f"got {tuple(shapes[0])}; labelled signals may stand on other grids"
                )
        return signals

    def _observations(self, group: SignalGroup) -> Observations:
        """Return what was observed of the signal, normalised."""
        place = self.units_.frame.points if group.is_scattered else self.units_.frame.grid
        coords = place(group.axes)
        values = self.units_.values(np.asarray(group.values)[0].reshape(len(coords), -1))
        observed = ~np.isnan(values)
        rows = observed.any(axis=1)

        def tensor(array: np.ndarray) -> torch.Tensor:
            return torch.as_tensor(array, dtype=torch.float32, device=self.device_)

        return Observations(
            coords=tensor(coords[rows]),
            values=tensor(np.nan_to_num(values[rows])),
            weights=tensor(observed[rows]),
            peak=tensor(self.units_.scaled_range),
        )

    @torch.no_grad()
    def _evaluate(self, coords: np.ndarray) -> np.ndarray:
        """Return values in the signal's units at normalised points: (M, d) to (M, c)."""
        where = torch.as_tensor(coords, dtype=torch.float32, device=self.device_)
        n_points = max(1, at_once("signals", where.device) // self.field_.numbers_per_point)
        blocks = [self.field_(block).cpu().double().numpy() for block in where.split(n_points)]
        values = self.units_.invert_values(np.concatenate(blocks))
        return values if self.units_.needs_double else values.astype(np.float32)
