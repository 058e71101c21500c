"""Latents of whole data sets, in one labelled file."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from neurfield.datasets.gridded import save_netcdf, save_zarr
from neurfield.errors import FileError
from neurfield.provenance import FINGERPRINT, check_origin, fingerprint_of, provenance

if TYPE_CHECKING:
    from neurfield.encoder import FunctaEncoder

_WRITERS = {".zarr": save_zarr, ".nc": save_netcdf}


def save_latents(
    latents: npt.ArrayLike | xr.DataArray,
    path: str | os.PathLike[str],
    *,
    encoder: FunctaEncoder | None = None,
    source: xr.DataArray | xr.Dataset | None = None,
) -> None:
    """Write latents with their labels and where they come from, whole or not at all.

    Latents that are yet to be computed, as ``transform`` returns them for dask-backed signals, are
    computed and written block by block. The file holds one variable ``latents`` of dimensions
    ``sample`` and ``latent``.

    Parameters
    ----------
    latents : array-like, DataFrame or DataArray of shape (n, P)
        What ``transform`` returned; what its ``attrs`` say of its field is kept.
    path : path-like
        A ``.zarr`` folder or a ``.nc`` file.
    encoder : FunctaEncoder, optional
        The encoder that made them; its parameters and the fingerprint of its field, by which
        ``inverse_transform`` and ``neurfield decode`` know latents that are not theirs, become
        attributes. A DataArray that ``transform`` returned has them already.
    source : DataArray or Dataset, optional
        The signals; their coordinates along ``sample``, such as labels, and their attributes are
        kept. A DataArray that ``transform`` returned has them already.

    Raises
    ------
    ValueError
        If the ending is neither ``.zarr`` nor ``.nc``, or the latents are not two-dimensional, not
        as many as the signals, or of another field than that of `encoder`.

    Examples
    --------
    >>> import tempfile, numpy as np
    >>> from neurfield.datasets import load_netcdf
    >>> folder = tempfile.TemporaryDirectory()
    >>> save_latents(np.zeros((10, 4)), folder.name + "/latents.nc")
    >>> dict(load_netcdf(folder.name + "/latents.nc").sizes)
    {'sample': 10, 'latent': 4}
    >>> folder.cleanup()
    """
    target = Path(path)
    if target.suffix not in _WRITERS:
        raise FileError(target, f"latents are written to {' or '.join(_WRITERS)}")
    array = _labelled(latents, source)
    if encoder is not None:
        check_origin(
            fingerprint_of(latents),
            encoder.codec_,
            "latents",
            "give the array without attrs",
        )
        array.attrs.update(provenance(encoder, {} if source is None else source.attrs))
    array.attrs["created"] = datetime.now(UTC).isoformat(timespec="seconds")
    if array.chunks is not None:  # Zarr wants blocks of one size
        array = array.chunk(sample=max(array.variable.chunksizes["sample"]))
    _WRITERS[target.suffix](array.drop_encoding(), target)


def _labelled(latents: Any, source: xr.DataArray | xr.Dataset | None) -> xr.DataArray:
    plain = latents if isinstance(latents, xr.DataArray) else np.asarray(latents)
    if plain.ndim != 2:
        raise ValueError(f"latents must have the shape (n, P), got {plain.shape}")
    array = xr.DataArray(plain, name="latents")
    if (found := fingerprint_of(latents)) is not None:
        array.attrs[FINGERPRINT] = found
    array = array.rename(dict(zip(array.dims, ("sample", "latent"), strict=True)))
    if source is None:
        return array
    if source.sizes.get("sample") != len(array):
        raise ValueError(
            f"source must hold as many signals as there are latents, {len(array)}, "
            f"got {source.sizes.get('sample')}"
        )
    facts = {name: c for name, c in source.coords.items() if set(c.dims) <= {"sample"}}
    return array.assign_coords(facts)
