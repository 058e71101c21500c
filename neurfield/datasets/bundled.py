"""Signals that come with a dependency and need no download."""

from __future__ import annotations

import numpy as np
import xarray as xr

_CITATION = (
    "E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning "
    "Repository, 1998, doi:10.24432/C50P49"
)


def digits() -> xr.DataArray:
    """Return scikit-learn's handwritten digits: 1797 grey images of 8×8 pixels.

    Returns
    -------
    DataArray of shape (1797, 8, 8), dims (sample, y, x), float32
        Ink from 0 to 1 (the stored counts of 0 to 16, divided by 16), pixel indices as coordinates,
        and the digit as coordinate ``label``.

    References
    ----------
    E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning
    Repository, 1998.

    Examples
    --------
    >>> images = digits()
    >>> images.shape, int(images["label"][0])
    ((1797, 8, 8), 0)
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    pixels = np.arange(8, dtype=np.float64)
    return xr.DataArray(
        (bunch.images / 16.0).astype(np.float32),
        dims=("sample", "y", "x"),
        coords={
            "sample": np.arange(len(bunch.target)),
            "y": pixels,
            "x": pixels,
            "label": ("sample", bunch.target),
        },
        name="digits",
        attrs={"source": "scikit-learn", "licence": "CC BY 4.0", "citation": _CITATION},
    )
