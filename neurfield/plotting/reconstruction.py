"""A signal beside what is decoded from its latent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from neurfield.plotting._panels import aspect_ratio, axis_label, draw_image, panels, same_unit
from neurfield.validation import validated_signals

if TYPE_CHECKING:
    from neurfield.encoder import FunctaEncoder
    from neurfield.signals import Layout

_TITLES = ("original", "decoded", "error")


def plot_reconstruction(
    encoder: FunctaEncoder,
    X: Any,
    index: int = 0,
    *,
    channel: int = 0,
    ax: Any = None,
) -> Any:
    """Draw a signal, what is decoded from its latent, and their difference.

    A curve is drawn with its reconstruction and error in one panel, an image in three panels, and a
    volume as three orthogonal slices through its middle, one row each. Values that were not
    observed stay blank in the original and in the error.

    Parameters
    ----------
    encoder : FunctaEncoder
        Fitted on signals with one, two or three axes.
    X : as in ``FunctaEncoder.transform``
        Signals, of which one is drawn.
    index : int, default=0
        Which of them.
    channel : int, default=0
        Which of its channels.
    ax : Axes or array-like of Axes, default=None
        Where to draw: 1 for a curve, 3 for an image, 9 (three rows) for a volume. None makes a
        figure.

    Returns
    -------
    Axes, ndarray of 3 Axes or ndarray of 3 × 3 Axes
        What was drawn in. The title of the decoded panel gives the PSNR in dB of all channels, by
        the measure of ``FunctaEncoder.score``.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    ValueError
        If there is no such signal or channel, `ax` has another size, or the signals have more than
        three axes.

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use("agg")
    >>> from neurfield import FunctaEncoder
    >>> from neurfield.datasets import digits
    >>> images = digits()[:50]
    >>> encoder = FunctaEncoder(latent_dim=4, hidden_dim=8, max_iter=2).fit(images)
    >>> [panel.get_title().split(",")[0] for panel in plot_reconstruction(encoder, images, index=3)]
    ['original', 'decoded', 'error']
    """
    check_is_fitted(encoder)
    layout, codec = encoder.layout_, encoder.codec_
    signals = validated_signals(encoder, X, reset=False)
    _check_position("index", index, len(signals), "signals")
    _check_position("channel", channel, layout.n_channels, "channels")
    if layout.n_axes > 3:
        raise ValueError(f"X must have at most three axes to be drawn, got {layout.axis_names}")
    one = signals.subset(np.array([index % len(signals)]))
    axes = one.groups[0].axes
    values = one.groups[0].values[np.arange(1)]
    original = values[0, ..., channel].astype(np.float64)
    latents = codec.encode(one)
    own = codec.for_latents(latents.shape[1], axes, "X")
    decoded = own.decode_grid(latents, axes)[0, ..., channel]
    caption = f"decoded, {codec.reconstruction_psnr(one)[0]:.1f} dB"
    if layout.n_axes == 1:
        return _draw_curve(ax, layout, axes[0], original, decoded, caption)
    return _draw_slices(ax, layout, axes, original, decoded, caption)


def _check_position(name: str, position: int, length: int, what: str) -> None:
    if not -length <= position < length:
        raise ValueError(f"{name} must be one of {length} {what}, got {position}")


def _draw_curve(
    ax: Any,
    layout: Layout,
    axis: np.ndarray,
    original: np.ndarray,
    decoded: np.ndarray,
    caption: str,
) -> Any:
    panel = panels(ax, (1, 1), aspect=0.6)[0, 0]
    if ax is None:
        panel.figure.set_size_inches(6.0, 3.2)
    panel.plot(axis, original, color="0.6", linewidth=3, label="original")
    panel.plot(axis, decoded, color="C0", linewidth=1.2, label=caption)
    panel.plot(axis, decoded - original, color="C3", linewidth=0.8, label="error")
    panel.set(xlabel=axis_label(layout, 0))
    panel.legend(
        loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, frameon=False, fontsize="small"
    )
    return panel


def _draw_slices(
    ax: Any,
    layout: Layout,
    axes: tuple[np.ndarray, ...],
    original: np.ndarray,
    decoded: np.ndarray,
    caption: str,
) -> np.ndarray:
    error = decoded - original
    low, high = np.nanmin(original), np.nanmax(original)
    most = float(np.nanmax(np.abs(error))) or 1.0
    flat = original.ndim == 2
    rows = [None] if flat else list(range(3))
    first = _plane(0 if not flat else None)
    shape = aspect_ratio((axes[first[0]], axes[first[1]]), same_unit(layout, first))
    grid = panels(ax, (len(rows), 3), shape)
    for line, across in zip(grid, rows, strict=True):
        plane = _plane(across)
        where = (axes[plane[0]], axes[plane[1]])
        equal = same_unit(layout, plane)
        for panel, values in zip(line, (original, decoded), strict=False):
            image = _middle(values, across)
            draw_image(panel, image, where, equal, cmap="gray", vmin=low, vmax=high)
        mesh = draw_image(
            line[2], _middle(error, across), where, equal, cmap="RdBu_r", vmin=-most, vmax=most
        )
        line[0].set_ylabel(axis_label(layout, plane[0]), fontsize="small")
        line[0].set_xlabel(axis_label(layout, plane[1]), fontsize="small")
    for panel, title in zip(grid[0], (_TITLES[0], caption, _TITLES[2]), strict=True):
        panel.set_title(title, fontsize="medium")
    grid[0, 0].figure.colorbar(mesh, ax=list(grid[:, 2]), fraction=0.08, pad=0.04)
    return grid[0] if flat else grid


def _plane(across: int | None) -> tuple[int, int]:
    """Return the axes of a slice: those that it does not cut across."""
    first, second = (axis for axis in range(2 if across is None else 3) if axis != across)
    return first, second


def _middle(values: np.ndarray, across: int | None) -> np.ndarray:
    return values if across is None else values.take(values.shape[across] // 2, axis=across)
