"""The picture that ``neurfield demo`` draws."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import xarray as xr

from neurfield.atomic import replacing
from neurfield.optional import require


def draw(original: xr.DataArray, same: xr.DataArray, large: xr.DataArray, output: Path) -> None:
    """Draw one held-out image of each class: as it is, decoded, decoded larger, interpolated.

    Parameters
    ----------
    original : DataArray of shape (n_samples, H, W)
        Images, with their class as coordinate ``label``.
    same, large : DataArray of shape (n_samples, H, W) and (n_samples, k·H, k·W)
        The same images, decoded.
    output : Path
        File to write.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    """
    require("matplotlib.figure", "plots")
    # A figure of its own, not pyplot's: no window system is needed and no global state is touched.
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine
    from scipy.ndimage import zoom

    labels = original["label"].values
    chosen = [int(np.flatnonzero(labels == value)[0]) for value in np.unique(labels)]
    factor = large.shape[1] // original.shape[1]
    pictures = original.values[chosen]
    rows = {
        _titled("original", original): pictures,
        _titled("decoded", same): same.values[chosen],
        _titled("decoded", large): large.values[chosen],
        _titled("bicubic", large): zoom(pictures, (1, factor, factor), order=3, mode="nearest"),
    }
    figure = Figure(
        figsize=(len(chosen) + 1.3, len(rows) + 0.1),
        layout=ConstrainedLayoutEngine(w_pad=0.02, h_pad=0.02, hspace=0, wspace=0),
    )
    axes = figure.subplots(len(rows), len(chosen))
    for line, (title, images) in zip(axes, rows.items(), strict=True):
        for axis, image in zip(line, images, strict=True):
            axis.imshow(image, cmap="gray_r", vmin=0, vmax=1, interpolation="nearest")
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set(color="0.85", linewidth=0.6)
        line[0].set_ylabel(title, rotation=0, ha="right", va="center", fontsize=10, labelpad=8)
    with replacing(output) as temporary:
        figure.savefig(temporary, dpi=150)


def _titled(what: str, images: xr.DataArray) -> str:
    return f"{what}\n{images.shape[1]} × {images.shape[2]}"
