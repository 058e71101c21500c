"""Axes to draw in, and values on their coordinates in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from neurfield.optional import require
from neurfield.signals import Layout

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_PANEL = 2.2  # inches along the longer side of one image


def panels(ax: Any, shape: tuple[int, int], aspect: float = 1.0) -> np.ndarray:
    """Return axes of the given shape: the caller's, or those of a new figure.

    Parameters
    ----------
    ax : Axes, array-like of Axes or None
    shape : (int, int)
        Rows and columns.
    aspect : float, default=1.0
        Height of a panel over its width.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    ValueError
        If the caller's axes are of another number.
    """
    plt = require("matplotlib.pyplot", "plots")
    rows, columns = shape
    if ax is None:
        width, height = _PANEL * min(1.0, 1.0 / aspect), _PANEL * min(1.0, aspect)
        size = (columns * width + 0.8, rows * height + 0.6)
        return plt.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained")[1]
    given = np.asarray(ax, dtype=object)
    if given.size != rows * columns:
        raise ValueError(
            f"ax must hold {rows * columns} Axes ({rows} × {columns}) for this, got {given.size}"
        )
    return given.reshape(shape)


def axis_label(layout: Layout, axis: int) -> str:
    """Name a coordinate axis, with its unit where it has one."""
    name, unit = layout.axis_names[axis], layout.units[axis]
    return f"{name} ({unit})" if unit else name


def draw_image(
    panel: Axes,
    image: np.ndarray,
    axes: tuple[np.ndarray, np.ndarray],
    equal: bool = True,
    **options: Any,
) -> Any:
    """Draw an image on its coordinates, first axis downwards, without ticks.

    Parameters
    ----------
    panel : Axes
    image : array of shape (H, W) or (H, W, 3)
        NaN is left blank.
    axes : (array of shape (H,), array of shape (W,))
        Coordinates, evenly spaced or not.
    equal : bool, default=True
        Whether both axes have one unit, so that lengths compare.
    **options
        For ``Axes.pcolormesh``.
    """
    down, across = axes
    mesh = panel.pcolormesh(
        across, down, np.ma.masked_invalid(image), shading="nearest", rasterized=True, **options
    )
    panel.set(xticks=[], yticks=[], aspect="equal" if equal else "auto")
    panel.set_facecolor("lightsteelblue")
    panel.spines[:].set_visible(False)
    if not panel.yaxis_inverted():
        panel.invert_yaxis()
    return mesh


def same_unit(layout: Layout, axes: tuple[int, ...]) -> bool:
    """Tell whether lengths along these axes compare."""
    return len({layout.units[axis] for axis in axes}) == 1


def aspect_ratio(axes: tuple[np.ndarray, np.ndarray], equal: bool) -> float:
    """Return the height over the width of an image on these coordinates, within reason."""
    down, across = (abs(float(axis[-1] - axis[0])) for axis in axes)
    if not equal or down == 0 or across == 0:
        return 1.0
    return float(np.clip(down / across, 0.25, 4.0))
