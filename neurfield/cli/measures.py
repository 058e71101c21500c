"""Figures of a fitted encoder on a set of signals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from neurfield.datasets import Signals

if TYPE_CHECKING:
    from neurfield import FunctaEncoder

_NEIGHBORS, _FOLDS = 5, 5


@dataclass(frozen=True)
class Reconstruction:
    """Errors of encoding and decoding, and of the mean signal in its place.

    Parameters
    ----------
    mse, psnr : arrays of shape (n_samples,)
        Mean squared error in the data's units, squared, and PSNR in dB, relative to the range of
        the values seen in fit, of each signal. Values that are NaN do not count.
    mean_mse, mean_psnr : arrays of shape (n_samples,)
        The same for the mean of all signals as the reconstruction of each.
    """

    mse: NDArray[np.float64]
    psnr: NDArray[np.float64]
    mean_mse: NDArray[np.float64]
    mean_psnr: NDArray[np.float64]

    def summary(self) -> dict[str, Any]:
        """Return means and spread as plain numbers."""
        return {
            "n_signals": len(self.mse),
            "psnr": _spread(self.psnr),
            "mse": _spread(self.mse),
            "mean_signal_baseline": {
                "psnr": float(self.mean_psnr.mean()),
                "mse": float(self.mean_mse.mean()),
            },
        }


def reconstruction(
    encoder: FunctaEncoder, signals: Signals, latents: NDArray[np.float32]
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
    """
    data_range = encoder.codec_.scaler.data_range
    if isinstance(signals, list):
        decoded = encoder.inverse_transform(latents, coords=[_axes(signal) for signal in signals])
        pairs = [
            (_values(signal, signal.dims), _values(result, signal.dims))
            for signal, result in zip(signals, decoded, strict=True)
        ]
        errors = np.array([_errors(truth, found, data_range) for truth, found in pairs])
        # Without a common grid there is no mean signal, only a mean value of each.
        constants = [
            _errors(truth, np.nanmean(truth.reshape(-1, truth.shape[-1]), axis=0), data_range)
            for truth, _ in pairs
        ]
        return _assemble(errors, np.array(constants))
    array = _as_array(signals)
    result = _as_array(encoder.inverse_transform(latents, coords=_axes(array)))
    truth, found = _values(array, array.dims), _values(result, array.dims)
    mean = np.nanmean(truth, axis=0)
    errors = np.array([_errors(*pair, data_range) for pair in zip(truth, found, strict=True)])
    return _assemble(errors, np.array([_errors(one, mean, data_range) for one in truth]))


def classification(latents: NDArray[np.float32], labels: NDArray[Any]) -> dict[str, Any]:
    """Classify latents by their nearest neighbours, in a stratified cross-validation.

    Parameters
    ----------
    latents : array of shape (n_samples, latent_dim)
        One row per signal.
    labels : array of shape (n_samples,)
        Class of each signal.

    Returns
    -------
    dict
        Accuracy and macro F1 over all held-out folds, or the reason why there are none.
    """
    from sklearn.metrics import accuracy_score, f1_score
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.neighbors import KNeighborsClassifier

    classes, counts = np.unique(labels, return_counts=True)
    if len(classes) < 2 or counts.min() < 2:
        return {"reason": "it takes two classes or more, of two signals or more each"}
    folds = StratifiedKFold(int(min(_FOLDS, counts.min())), shuffle=True, random_state=0)
    smallest = len(labels) - -(-len(labels) // folds.get_n_splits())
    classifier = KNeighborsClassifier(min(_NEIGHBORS, smallest))
    found = cross_val_predict(classifier, latents, labels, cv=folds)
    return {
        "neighbors": classifier.n_neighbors,
        "folds": folds.get_n_splits(),
        "classes": len(classes),
        "accuracy": float(accuracy_score(labels, found)),
        "macro_f1": float(f1_score(labels, found, average="macro")),
        "majority": float(counts.max() / len(labels)),
    }


def _as_array(signals: xr.DataArray | xr.Dataset) -> xr.DataArray:
    """Return a Dataset as one array whose channels are its variables."""
    if isinstance(signals, xr.DataArray):
        return signals
    names = [name for name, array in signals.data_vars.items() if array.ndim > 1]
    return signals[names].to_dataarray(dim="channel").transpose("sample", ..., "channel")


def _axes(signal: xr.DataArray) -> dict[str, NDArray[np.float64]]:
    return {str(dim): signal[dim].values for dim in signal.dims if dim not in ("sample", "channel")}


def _values(array: xr.DataArray, dims: tuple[Any, ...]) -> NDArray[np.float64]:
    """Return the values in double precision, channels last, with an axis for them in any case."""
    first = [dim for dim in dims if dim != "channel"]
    if "channel" in dims:
        return array.transpose(*first, "channel").values.astype(np.float64)
    return array.transpose(*first).values.astype(np.float64)[..., np.newaxis]


def _errors(
    truth: NDArray[np.float64], found: NDArray[np.float64], data_range: NDArray[np.float64]
) -> tuple[float, float]:
    """Return the mean squared error, in the data's units and relative to the range."""
    residual = truth - found
    return float(np.nanmean(residual**2)), float(np.nanmean((residual / data_range) ** 2))


def _assemble(errors: NDArray[np.float64], baseline: NDArray[np.float64]) -> Reconstruction:
    return Reconstruction(
        mse=errors[:, 0],
        psnr=_decibel(errors[:, 1]),
        mean_mse=baseline[:, 0],
        mean_psnr=_decibel(baseline[:, 1]),
    )


def _decibel(relative: NDArray[np.float64]) -> NDArray[np.float64]:
    # The floor keeps a perfect reconstruction finite, as the estimator's own score does.
    return np.asarray(-10 * np.log10(np.maximum(relative, 1e-20)))


def _spread(values: NDArray[np.float64]) -> dict[str, float]:
    return {
        "mean": float(values.mean()),
        "min": float(values.min()),
        "median": float(np.median(values)),
        "max": float(values.max()),
    }
