"""The course of a fit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from sklearn.utils.validation import check_is_fitted

from neurfield.learning import OuterLoop
from neurfield.plotting._panels import panels

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from neurfield.encoder import FunctaEncoder


def plot_training(encoder: FunctaEncoder, *, ax: Axes | None = None) -> Axes:
    """Draw the PSNR over the meta-steps of a fit.

    Parameters
    ----------
    encoder : FunctaEncoder
        Fitted by ``fit`` or ``partial_fit``.
    ax : Axes, default=None
        Where to draw; None makes a figure.

    Returns
    -------
    Axes
        What was drawn in: the PSNR in dB of the batch of each meta-step, its running mean, and,
        after a fit with early stopping, that of the held-out signals.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    ValueError
        If the encoder was not trained here, so that there is no curve.

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use("agg")
    >>> from neurfield import FunctaEncoder
    >>> from neurfield.datasets import digits
    >>> encoder = FunctaEncoder(latent_dim=4, hidden_dim=8, max_iter=5).fit(digits()[:50])
    >>> plot_training(encoder).get_xlabel()
    'meta-step'
    """
    check_is_fitted(encoder)
    curve = np.asarray(encoder.psnr_curve_)
    if curve.size == 0:
        raise ValueError("encoder must have been trained by fit, got one without a training curve")
    panel = panels(ax, (1, 1), aspect=0.6)[0, 0]
    if ax is None:
        panel.figure.set_size_inches(6.0, 3.4)
    steps = np.arange(1, len(curve) + 1)
    panel.plot(steps, curve, color="C0", alpha=0.3, linewidth=0.8, label="batch")
    panel.plot(steps, _running_mean(curve), color="C0", linewidth=1.5, label="batch, running mean")
    held_out = np.asarray(encoder.validation_curve_)
    if held_out.size:
        every = np.minimum(OuterLoop.evaluate_every * np.arange(1, len(held_out) + 1), len(curve))
        panel.plot(every, held_out, "o-", color="C1", markersize=4, label="held out")
    # The first steps are far below the rest, and would leave no room for it.
    finite = curve[np.isfinite(curve)]
    if finite.size > 20:
        panel.set_ylim(bottom=np.quantile(finite, 0.02) - 1.0)
    panel.set(xlabel="meta-step", ylabel="PSNR (dB)")
    panel.legend(frameon=False, fontsize="small", loc="lower right")
    return panel


def _running_mean(curve: np.ndarray, fraction: float = 0.05) -> np.ndarray:
    """Average over the last 5 % of the steps, leaving out those whose loss was not finite."""
    width = max(1, round(fraction * len(curve)))
    known = np.isfinite(curve)
    sums = np.cumsum(np.where(known, curve, 0.0))
    counts = np.cumsum(known)
    sums[width:] -= sums[:-width].copy()
    counts[width:] -= counts[:-width].copy()
    return np.divide(sums, counts, out=np.full(len(curve), np.nan), where=counts > 0)
