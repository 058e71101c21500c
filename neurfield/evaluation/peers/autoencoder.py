"""A convolutional autoencoder, and the same network as a variational one."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn
from torch.nn import functional

from neurfield._compat import Interval, fit_context
from neurfield.device import resolve_device
from neurfield.evaluation.peers.convolutions import ConvCoder, code_grid, grid_of_codes
from neurfield.evaluation.reading import as_given, channels_last, check_shape
from neurfield.waiting import short_waits

_CROP = {1: 512, 2: 64, 3: 32}  # samples along each axis, where signals are larger
_LEAST_PLACES = 4  # of codes along each axis of a crop, so that edges are not all it shows
_SAMPLE = 256  # signals that centre and spread are taken from
_AT_ONCE = 64  # signals of one forward pass without gradients


class ConvAutoencoder(TransformerMixin, BaseEstimator):
    """Strided convolutions to a grid of codes and back, trained by Adam for a given time.

    Encoder and decoder have 64 channels and a residual block at each resolution; the axes are
    halved until a place of the grid that is left has 8 numbers of the code or more. Code and output
    are linear. The loss is the mean squared error, in units of the spread of values, and the
    learning rate falls as a cosine. Large signals are seen in crops, since all of it is
    convolutional.

    Parameters
    ----------
    n_components : int, default=64
        P, most numbers in the code of a signal, divided equally between the places of the grid.
    beta : float, default=0.0
        Weight of the Kullback–Leibler divergence from a standard normal distribution, per value
        of a signal. Above 0 the autoencoder is variational, and its code the mean.
    max_time : float, default=60.0
        Seconds of training; None = no limit.
    max_iter : int, default=None
        Steps of Adam at most.
    batch_size : int, default=16
        Signals in a step.
    learning_rate : float, default=1e-3
        Step size of Adam at first.
    channel_axis : int, default=None
        Which axis of the input, the sample axis counted, holds channels; None = one channel.
    device : str, default="auto"
        "auto" takes a GPU where there is one.
    random_state : int, RandomState instance or None, default=None
        Source of initial weights, batches, crops and noise.

    Attributes
    ----------
    n_latents_ : int
        Numbers in the code of a signal.
    n_parameters_ : int
        Weights of encoder and decoder.
    loss_curve_ : list of float
        Loss of each step.
    n_iter_ : int
        Steps taken.

    References
    ----------
    Higgins et al., "beta-VAE", ICLR 2017, Eq. (4), with the variance of the output fixed.

    Examples
    --------
    >>> from neurfield.datasets import digits
    >>> images = digits().values[:100]
    >>> peer = ConvAutoencoder(16, max_iter=5, max_time=None, device="cpu", random_state=0)
    >>> peer.fit(images).transform(images).shape
    (100, 16)
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "beta": [Interval(Real, 0, None, closed="left")],
        "max_time": [Interval(Real, 0, None, closed="neither"), None],
        "max_iter": [Interval(Integral, 1, None, closed="left"), None],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "learning_rate": [Interval(Real, 0, None, closed="neither")],
        "channel_axis": [Integral, None],
        "device": [str],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        n_components: int = 64,
        *,
        beta: float = 0.0,
        max_time: float | None = 60.0,
        max_iter: int | None = None,
        batch_size: int = 16,
        learning_rate: float = 1e-3,
        channel_axis: int | None = None,
        device: str = "auto",
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.n_components = n_components
        self.beta = beta
        self.max_time = max_time
        self.max_iter = max_iter
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.channel_axis = channel_axis
        self.device = device
        self.random_state = random_state

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: ArrayLike, y: None = None) -> Self:
        """Train encoder and decoder.

        Parameters
        ----------
        X : array-like of shape (n_samples, *shape), with channels along `channel_axis`
            Signals of one to three axes.
        y : ignored

        Returns
        -------
        self
            The estimator, trained.

        Raises
        ------
        ValueError
            If nothing ends the training.
        """
        progress = self._progress()
        signals = channels_last(self, X, self.channel_axis, "float32")
        device = resolve_device(self.device)
        draw = check_random_state(self.random_state)
        *shape, n_channels = self.shape_in_ = signals.shape[1:]
        sample = signals[draw.permutation(len(signals))[:_SAMPLE]]
        self.center_ = sample.mean(axis=tuple(range(sample.ndim - 1)), dtype=np.float64)
        self.spread_ = max(float(sample.std(dtype=np.float64)), 1e-6)
        n_halvings, n_numbers = grid_of_codes(shape, self.n_components)
        # Weights and noise draw from torch's own numbers, which are left as they were found.
        own = torch.random.fork_rng(devices=[device] if device.type == "cuda" else [])
        with own, short_waits():
            torch.manual_seed(draw.randint(2**31 - 1))
            self.network_ = ConvCoder(
                len(shape), n_channels, n_halvings, n_numbers, self.beta > 0
            ).to(device)
            self.loss_curve_ = self._train(signals, n_halvings, progress, draw)
        self._grid = code_grid(shape, n_halvings)
        self.n_latents_ = n_numbers * math.prod(self._grid)
        self.n_parameters_ = sum(p.numel() for p in self.network_.parameters())
        self.n_iter_ = len(self.loss_curve_)
        return self

    def transform(self, X: ArrayLike) -> NDArray[np.float32]:
        """Return the code of each signal; of a variational autoencoder, its mean.

        Parameters
        ----------
        X : as in :meth:`fit`
            Signals of the shape seen in fit.

        Returns
        -------
        float32 array of shape (n_samples, n_latents_)
            The codes.
        """
        check_is_fitted(self)
        signals = channels_last(self, X, self.channel_axis, "float32")
        check_shape(signals, self.shape_in_)
        with torch.no_grad(), short_waits():
            codes = [
                self.network_.encode(self._tensor(signals[start : start + _AT_ONCE]))[0].cpu()
                for start in range(0, len(signals), _AT_ONCE)
            ]
        return np.asarray(torch.cat(codes).flatten(1).numpy())

    def inverse_transform(self, Z: ArrayLike) -> NDArray[np.float32]:
        """Return the signals that codes describe.

        Parameters
        ----------
        Z : array-like of shape (n_samples, n_latents_)
            What :meth:`transform` returned.

        Returns
        -------
        float32 array of shape (n_samples, *shape)
            With channels along `channel_axis`, where it is given.
        """
        check_is_fitted(self)
        codes = torch.as_tensor(np.asarray(Z, dtype=np.float32))
        codes = codes.reshape(len(codes), -1, *self._grid).to(self._device)
        with torch.no_grad(), short_waits():
            decoded = [
                self.network_.decode(part, self.shape_in_[:-1]).movedim(1, -1).cpu()
                for part in codes.split(_AT_ONCE)
            ]
        values = torch.cat(decoded).numpy() * self.spread_ + self.center_
        return as_given(values.astype(np.float32), self.channel_axis)

    @property
    def _device(self) -> torch.device:
        return next(self.network_.parameters()).device

    def _tensor(self, signals: NDArray[Any]) -> Tensor:
        scaled = ((signals - self.center_) / self.spread_).astype(np.float32)
        return torch.from_numpy(scaled).to(self._device).movedim(-1, 1).contiguous()

    def _progress(self) -> Callable[[int], float]:
        """Start the clock; return what tells the part of the training that is over, by steps."""
        if self.max_time is None and self.max_iter is None:
            raise ValueError("max_time or max_iter must end the training, got None for both")
        began = time.perf_counter()
        seconds, steps = self.max_time or math.inf, self.max_iter or math.inf
        return lambda step: max(step / steps, (time.perf_counter() - began) / seconds)

    def _train(
        self,
        signals: NDArray[Any],
        n_halvings: int,
        progress: Callable[[int], float],
        draw: np.random.RandomState,
    ) -> list[float]:
        shape = signals.shape[1:-1]
        side = max(_CROP[len(shape)], _LEAST_PLACES * 2**n_halvings)
        optimizer = torch.optim.Adam(self.network_.parameters(), lr=self.learning_rate)
        curve: list[float] = []
        while (done := progress(len(curve))) < 1 or not curve:
            for group in optimizer.param_groups:
                group["lr"] = self.learning_rate * 0.5 * (1 + math.cos(math.pi * min(done, 1)))
            chosen = draw.randint(len(signals), size=self.batch_size)
            batch = self._tensor(np.stack([_crop(signals[i], side, draw) for i in chosen]))
            optimizer.zero_grad(set_to_none=True)
            loss = self._loss(batch)
            loss.backward()
            nn.utils.clip_grad_norm_(self.network_.parameters(), 1.0)
            optimizer.step()
            curve.append(float(loss.detach()))
        return curve

    def _loss(self, batch: Tensor) -> Tensor:
        mean, log_variance = self.network_.encode(batch)
        if log_variance is None:
            return functional.mse_loss(self.network_.decode(mean, batch.shape[2:]), batch)
        code = mean + torch.randn_like(mean) * (log_variance / 2).exp()
        divergence = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum()
        error = functional.mse_loss(self.network_.decode(code, batch.shape[2:]), batch)
        return error + self.beta * divergence / batch.numel()


def _crop(signal: NDArray[Any], side: int, draw: np.random.RandomState) -> NDArray[Any]:
    starts = [draw.randint(max(0, n - side) + 1) for n in signal.shape[:-1]]
    return signal[tuple(slice(start, start + side) for start in starts)]
