"""Signals decoded along a straight line between two latents."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from sklearn.utils.validation import check_is_fitted

from neurfield.decoding import decoding_axes
from neurfield.plotting._panels import aspect_ratio, axis_label, draw_image, panels, same_unit
from neurfield.validation import check_field, validated_latents

if TYPE_CHECKING:
    from neurfield.encoder import FunctaEncoder


def plot_interpolation(
    encoder: FunctaEncoder,
    z_a: npt.ArrayLike,
    z_b: npt.ArrayLike,
    n: int = 7,
    *,
    grid: Sequence[int] | None = None,
    channel: int = 0,
    ax: Any = None,
) -> Any:
    """Decode `n` latents evenly spaced on the line from one latent to another.

    Curves are drawn in one panel, from dark to light; images side by side; volumes as their middle
    slice across the first axis, side by side.

    Parameters
    ----------
    encoder : FunctaEncoder
        Fitted on signals with one, two or three axes.
    z_a, z_b : array-like of shape (latent_dim,)
        The ends of the line.
    n : int, default=7
        Number of signals, both ends included; at least 2.
    grid : sequence of int, default=None
        Number of points along each axis; None takes the grid seen in fit.
    channel : int, default=0
        Which channel to draw.
    ax : Axes or array-like of Axes, default=None
        Where to draw: 1 for curves, `n` for images and volumes. None makes a figure.

    Returns
    -------
    Axes or ndarray of n Axes
        What was drawn in.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    ValueError
        If a latent has another length or is of another field, there is no such channel, `ax` has
        another size, or the signals have more than three axes.

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use("agg")
    >>> from neurfield import FunctaEncoder
    >>> from neurfield.datasets import digits
    >>> encoder = FunctaEncoder(latent_dim=4, hidden_dim=8, max_iter=2).fit(digits()[:50])
    >>> z_a, z_b = encoder.transform(digits()[:2])
    >>> plot_interpolation(encoder, z_a, z_b, n=5, grid=(16, 16)).shape
    (5,)
    """
    check_is_fitted(encoder)
    layout = encoder.layout_
    if not isinstance(n, Integral) or n < 2:
        raise ValueError(f"n must be an integer of at least 2, got {n!r}")
    if not -layout.n_channels <= channel < layout.n_channels:
        raise ValueError(f"channel must be one of {layout.n_channels} channels, got {channel}")
    if layout.n_axes > 3:
        raise ValueError(f"signals must have at most three axes, got {layout.axis_names}")
    for name, end in (("z_a", z_a), ("z_b", z_b)):
        check_field(encoder, end, name)
    ends = validated_latents(encoder, [np.ravel(z_a), np.ravel(z_b)])
    shares = np.linspace(0.0, 1.0, int(n))
    latents = (1.0 - shares[:, None]) * ends[0] + shares[:, None] * ends[1]
    axes = decoding_axes(layout, grid)
    values = encoder.codec_.decode_grid(latents, axes)[..., channel]
    if layout.n_axes == 1:
        panel = panels(ax, (1, 1), aspect=0.6)[0, 0]
        if ax is None:
            panel.figure.set_size_inches(6.0, 3.2)
        return _draw_curves(panel, axes[0], values, shares, axis_label(layout, 0))
    if layout.n_axes == 3:
        values = values[:, values.shape[1] // 2]
    plane = (axes[-2], axes[-1])
    equal = same_unit(layout, (layout.n_axes - 2, layout.n_axes - 1))
    line = panels(ax, (1, len(shares)), aspect_ratio(plane, equal))[0]
    for panel, image, share in zip(line, values, shares, strict=True):
        draw_image(panel, image, plane, equal, cmap="gray", vmin=values.min(), vmax=values.max())
        panel.set_title(f"{share:.2f}", fontsize="small")
    return line


def _draw_curves(
    panel: Any, axis: np.ndarray, values: np.ndarray, shares: np.ndarray, name: str
) -> Any:
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable

    colours = colormaps["viridis"](0.9 * shares)
    for curve, colour in zip(values, colours, strict=True):
        panel.plot(axis, curve, color=colour, linewidth=1.3)
    panel.set(xlabel=name)
    bar = panel.figure.colorbar(
        ScalarMappable(cmap="viridis"), ax=panel, boundaries=np.linspace(0, 0.9, 64), ticks=[0, 0.9]
    )
    bar.set_ticklabels(["a", "b"])
    return panel
