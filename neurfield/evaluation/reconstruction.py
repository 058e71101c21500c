"""How well a fitted encoder gives signals back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from neurfield.datasets import Container
from neurfield.evaluation import metrics

if TYPE_CHECKING:
    from neurfield import FunctaEncoder

Arrays = Sequence[NDArray[np.float64]] | NDArray[np.float64]


@dataclass(frozen=True)
class Scores:
    """What is lost between signals and others in their place.

    Parameters
    ----------
    mse, psnr : float arrays of shape (n_samples,)
        Mean squared error in the data's units, squared, and PSNR in dB. Values that are NaN do not
        count.
    ssim, lpips : float arrays of shape (n_samples,), or None, default=None
        Structural similarity and perceptual distance, where they can be measured.
    missing : dict, optional
        Why a measure is None, by its name.
    """

    mse: NDArray[np.float64]
    psnr: NDArray[np.float64]
    ssim: NDArray[np.float64] | None = None
    lpips: NDArray[np.float64] | None = None
    missing: dict[str, str] = field(default_factory=dict)

    def means(self) -> dict[str, float]:
        """Return the mean of each measure that there is, by its name."""
        return {name: float(np.mean(values)) for name, values in self._measured().items()}

    def summary(self) -> dict[str, Any]:
        """Return mean, least, median and most of each measure as plain numbers."""
        return {
            name: {
                "mean": float(np.mean(values)),
                "min": float(np.min(values)),
                "median": float(np.median(values)),
                "max": float(np.max(values)),
            }
            for name, values in self._measured().items()
        }

    def _measured(self) -> dict[str, NDArray[np.float64]]:
        found = {name: getattr(self, name) for name in ("psnr", "mse", "ssim", "lpips")}
        return {name: values for name, values in found.items() if values is not None}


@dataclass(frozen=True)
class Reconstruction:
    """Scores of encoding and decoding, and of the mean signal in its place.

    Parameters
    ----------
    scores : Scores
        Of the decoded signals. PSNR and SSIM are relative to the range of values seen in fit.
    baseline : Scores
        Of the mean of all signals as the reconstruction of each; of signals on grids of their own,
        of each one's mean value.
    """

    scores: Scores
    baseline: Scores

    def summary(self) -> dict[str, Any]:
        """Return means and spread as plain numbers."""
        return {
            "n_signals": len(self.scores.mse),
            **self.scores.summary(),
            "mean_signal_baseline": self.baseline.means(),
            "not_measured": self.scores.missing,
        }


def compare(
    truth: Arrays, found: Arrays, lower: NDArray[Any] | float, data_range: NDArray[Any] | float
) -> Scores:
    """Measure what is lost between signals and their reconstructions.

    Parameters
    ----------
    truth, found : arrays of shape (n_samples, *shape, n_channels), or lists of (*shape, n_channels)
        Signals and reconstructions, in one unit; of a list, each signal has a shape of its own.
    lower, data_range : float or array of shape (n_channels,)
        Where the values begin, and how far they reach; both are 0 and 1 for values in [0, 1].

    Returns
    -------
    Scores
        Each measure of each signal, and why one is missing.
    """
    pairs = [(truth, found)]
    if isinstance(truth, list):
        pairs = [(one[None], other[None]) for one, other in zip(truth, found, strict=True)]
    measured: dict[str, list[Any]] = {"mse": [], "psnr": [], "ssim": [], "lpips": []}
    missing: dict[str, str] = {}
    for one, other in pairs:
        measured["mse"].append(metrics.mse(one, other))
        measured["psnr"].append(metrics.psnr(one, other, data_range))
        unit = [(np.asarray(values) - lower) / data_range for values in (one, other)]
        for name, function, obstacle in (
            ("ssim", metrics.ssim, metrics.ssim_obstacle(np.shape(one)[1:-1])),
            ("lpips", metrics.lpips, metrics.lpips_obstacle(np.shape(one)[1:])),
        ):
            if name in missing:
                continue
            try:
                if obstacle is not None:
                    raise ValueError(obstacle)
                measured[name].append(function(*unit))
            except (ImportError, ValueError) as error:
                missing[name] = str(error)
    found_scores = {name: np.concatenate(p) for name, p in measured.items() if name not in missing}
    return Scores(
        mse=found_scores["mse"],
        psnr=found_scores["psnr"],
        ssim=found_scores.get("ssim"),
        lpips=found_scores.get("lpips"),
        missing=missing,
    )


def reconstruction(
    encoder: FunctaEncoder, signals: Container, latents: NDArray[np.float32]
) -> Reconstruction:
    """Decode each signal on its own grid and measure what is lost.

    Parameters
    ----------
    encoder : FunctaEncoder
        Fitted.
    signals : DataArray, Dataset or list of DataArray
        Originals.
    latents : array of shape (n_samples, latent_dim)
        Their latents.

    Returns
    -------
    Reconstruction
        The measures of the decoded signals, and those of the mean signal in their place.
    """
    scaler = encoder.codec_.units.scaler
    truth, found = values_of(signals), values_of(decoded(encoder, signals, latents))
    if isinstance(truth, list):
        # Without a common grid there is no mean signal, only a mean value of each.
        baseline: Arrays = [
            np.broadcast_to(np.nanmean(one, axis=tuple(range(one.ndim - 1))), one.shape)
            for one in truth
        ]
    else:
        baseline = np.broadcast_to(np.nanmean(truth, axis=0), np.shape(truth))
    units = scaler.lower, scaler.data_range
    return Reconstruction(compare(truth, found, *units), compare(truth, baseline, *units))


def decoded(encoder: FunctaEncoder, signals: Container, latents: NDArray[np.float32]) -> Container:
    """Return latents decoded where the signals stand."""
    if isinstance(signals, list):
        results = encoder.inverse_transform(latents, coords=[_axes(s) for s in signals])
        return [r.transpose(*s.dims) for r, s in zip(results, signals, strict=True)]
    array = as_array(signals)
    whole = as_array(encoder.inverse_transform(latents, coords=_axes(array)))
    return whole.transpose(*array.dims)


def values_of(signals: Container) -> Arrays:
    """Return values in double precision, channels last, with an axis for them in any case.

    Parameters
    ----------
    signals : DataArray or Dataset with a sample dimension, or list of DataArray
        In the caller's units, on a common grid or, of a list, each on its own.

    Returns
    -------
    float64 array of shape (n_samples, *shape, n_channels), or list of (*shape, n_channels)
        The values in the order of the samples; with one channel where there was no such dimension.
    """
    if isinstance(signals, list):
        return [_values(signal) for signal in signals]
    return _values(as_array(signals).transpose("sample", ...))


def as_array(signals: xr.DataArray | xr.Dataset) -> xr.DataArray:
    """Return a Dataset as one array whose channels are its variables.

    Parameters
    ----------
    signals : DataArray or Dataset
        A DataArray is returned as it is.

    Returns
    -------
    DataArray
        The values, with the variables along "channel" where there were several.
    """
    if isinstance(signals, xr.DataArray):
        return signals
    names = [name for name, array in signals.data_vars.items() if array.ndim > 1]
    return signals[names].to_dataarray(dim="channel").transpose("sample", ..., "channel")


def _axes(signal: xr.DataArray) -> dict[str, NDArray[np.float64]]:
    return {str(dim): signal[dim].values for dim in signal.dims if dim not in ("sample", "channel")}


def _values(array: xr.DataArray) -> NDArray[np.float64]:
    if "channel" in array.dims:
        return array.transpose(..., "channel").values.astype(np.float64)
    return array.values.astype(np.float64)[..., np.newaxis]
