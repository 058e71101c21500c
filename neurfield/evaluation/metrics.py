"""Distances between signals and their reconstructions, one number per signal."""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from neurfield.decibels import psnr_of
from neurfield.optional import require, require_from
from neurfield.signals.missing import filled

#: Least number of points along each axis for SSIM, half of whose window is mirrored at the edges.
SSIM_MIN_SIZE = 6
#: Least number of pixels along each axis that AlexNet takes.
LPIPS_MIN_SIZE = 31

_ALEXNET_WEIGHTS = "alexnet-owt-7be5be79.pth"
_SIGNALS_AT_ONCE = 64


def mse(truth: ArrayLike, found: ArrayLike) -> NDArray[np.float64]:
    """Return the mean squared error of each signal.

    Parameters
    ----------
    truth, found : array-like of shape (n_samples, ...)
        Signals and reconstructions, in one unit. NaN in `truth` marks values that do not count;
        a mask does too.

    Returns
    -------
    float64 array of shape (n_samples,)
        In that unit, squared.

    Examples
    --------
    >>> mse([[0.0, 1.0], [1.0, np.nan]], [[0.0, 0.0], [1.0, 5.0]])
    array([0.5, 0. ])
    """
    residual = _residual(truth, found)
    return np.asarray(np.nanmean(residual**2, axis=tuple(range(1, residual.ndim))))


def psnr(truth: ArrayLike, found: ArrayLike, data_range: ArrayLike = 1.0) -> NDArray[np.float64]:
    """Return the peak signal-to-noise ratio of each signal.

    Parameters
    ----------
    truth, found : array-like of shape (n_samples, ...)
        Signals and reconstructions. NaN in `truth` marks values that do not count;
        a mask does too.
    data_range : float or array-like of shape (n_channels,), default=1.0
        The peak: the range of possible values; of each channel, if the last axis holds channels.

    Returns
    -------
    float64 array of shape (n_samples,)
        10 log₁₀(range² / MSE), in dB.

    Examples
    --------
    >>> psnr([[0.0, 0.0]], [[0.1, 0.1]])
    array([20.])
    """
    relative = _residual(truth, found) / np.asarray(data_range, dtype=np.float64)
    return psnr_of(mse(relative, np.zeros_like(relative)))


def ssim(truth: ArrayLike, found: ArrayLike, data_range: float = 1.0) -> NDArray[np.float64]:
    """Return the structural similarity of each signal in one, two or three dimensions.

    A Gaussian window of σ = 1.5 points, cut off at 5 points from its centre, edges mirrored, k₁ =
    0.01, k₂ = 0.03; the mean over all points and channels. A series is measured as an image that
    repeats it in every row: rows being equal, the window's weights along the other axis sum to one,
    and what is left is exactly the window along the series.

    Parameters
    ----------
    truth, found : array-like of shape (n_samples, *shape, n_channels)
        Signals and reconstructions, with one to three axes of at least 6 points. Signals with NaN
        have the similarity NaN.
    data_range : float, default=1.0
        The range of possible values, which begins at 0.

    Returns
    -------
    float64 array of shape (n_samples,)
        1 where nothing was lost.

    Raises
    ------
    ValueError
        If the shapes do not fit.
    ImportError
        If torchmetrics is not installed or cannot be imported.

    References
    ----------
    Wang et al., "Image Quality Assessment: From Error Visibility to Structural Similarity", IEEE
    Transactions on Image Processing 13(4), 2004, Eq. (13).
    """
    functional = require("torchmetrics.functional.image", "evaluation")
    # In single precision, which convolutions are many times quicker in; that of values near one.
    first, second = (_images(part).div(data_range).float() for part in (truth, found))
    if first.shape != second.shape:
        raise ValueError(
            f"truth and found must have one shape, got {np.shape(truth)} and {np.shape(found)}"
        )
    if obstacle := ssim_obstacle(np.shape(truth)[1:-1]):
        raise ValueError(obstacle)
    parts = [
        torch.as_tensor(
            functional.structural_similarity_index_measure(
                found_part, truth_part, data_range=1.0, reduction="none"
            )
        ).reshape(-1)
        for truth_part, found_part in zip(
            first.split(_SIGNALS_AT_ONCE), second.split(_SIGNALS_AT_ONCE), strict=True
        )
    ]
    return torch.cat(parts).double().numpy()


def ssim_obstacle(shape: tuple[int, ...]) -> str | None:
    """Return why SSIM cannot be measured on signals of this shape, or None."""
    if not 1 <= len(shape) <= 3 or min(shape) < SSIM_MIN_SIZE:
        return (
            f"SSIM needs one to three axes of at least {SSIM_MIN_SIZE} points, "
            f"got signals of shape {tuple(shape)}"
        )
    return None


def lpips(truth: ArrayLike, found: ArrayLike) -> NDArray[np.float64]:
    """Return the learned perceptual distance of each image, by AlexNet.

    Parameters
    ----------
    truth, found : array-like of shape (n_samples, H, W, 1 or 3)
        Images of at least 31 × 31 pixels with values in [0, 1], which others are clipped to.

    Returns
    -------
    float64 array of shape (n_samples,)
        0 for equal images.

    Raises
    ------
    ValueError
        If the shape does not fit, a library is not installed or cannot be imported, or the
        network's weights are not on this machine. Nothing is downloaded.

    References
    ----------
    Zhang et al., "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric", CVPR
    2018.
    """
    if obstacle := lpips_obstacle(np.shape(truth)[1:]):
        raise ValueError(obstacle)
    functional = require("torchmetrics.functional.image", "evaluation")
    distance_of = functional.learned_perceptual_image_patch_similarity
    pairs = zip(_colour(truth), _colour(found), strict=True)
    distances = [
        distance_of(one[None], other[None], "alex", normalize=True) for one, other in pairs
    ]
    return np.array([float(distance) for distance in distances])


def lpips_obstacle(shape: tuple[int, ...]) -> str | None:
    """Return why LPIPS cannot be measured on images of shape (H, W, c), or None.

    Parameters
    ----------
    shape : tuple of int
        Shape of one image, channels last.
    """
    if len(shape) != 3 or min(shape[:2]) < LPIPS_MIN_SIZE or shape[2] not in (1, 3):
        return (
            f"LPIPS needs grey or colour images of at least {LPIPS_MIN_SIZE} × {LPIPS_MIN_SIZE} "
            f"pixels, got signals of shape {tuple(shape[:-1])} with {shape[-1]} channels"
        )
    return _weights_obstacle()


@cache
def _weights_obstacle() -> str | None:
    for module in ("torchmetrics", "torchvision"):
        if importlib.util.find_spec(module) is None:
            return f"LPIPS needs the package {module}, which is not installed"
    weights = Path(torch.hub.get_dir()) / "checkpoints" / _ALEXNET_WEIGHTS
    if not weights.is_file():
        return f"LPIPS needs torchvision's weights of AlexNet in {weights}, which are not there"
    try:
        require("torchmetrics.functional.image", "evaluation")
        require_from("torchvision.models", "torch torchvision")
    except ImportError as error:
        return f"LPIPS cannot be measured: {error}"
    return None


def _residual(truth: ArrayLike, found: ArrayLike) -> NDArray[np.float64]:
    first, second = (np.asarray(filled(part), dtype=np.float64) for part in (truth, found))
    if first.shape != second.shape:
        raise ValueError(
            f"truth and found must have one shape, got {first.shape} and {second.shape}"
        )
    return first - second


def _images(signals: ArrayLike) -> Tensor:
    """Return signals as (n, c, H, W) or (n, c, D, H, W)."""
    array: NDArray[Any] = np.moveaxis(np.asarray(filled(signals), dtype=np.float64), -1, 1)
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    if tensor.ndim == 3:
        return tensor[:, :, None, :].expand(-1, -1, SSIM_MIN_SIZE, -1)
    return tensor


def _colour(images: ArrayLike) -> Tensor:
    """Return images as float32 (n, 3, H, W) in [0, 1]."""
    array = np.clip(np.asarray(filled(images), dtype=np.float32), 0.0, 1.0)
    return torch.from_numpy(np.moveaxis(array, -1, 1).copy()).expand(-1, 3, -1, -1)
