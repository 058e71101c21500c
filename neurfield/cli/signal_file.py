"""Decoded signals: labelled as the originals were, and written to files."""

from __future__ import annotations

from pathlib import Path

import xarray as xr

from neurfield.cli.latent_file import LatentSet
from neurfield.datasets import save_netcdf, save_nifti, save_nifti_folder, save_npz, save_zarr

Decoded = xr.DataArray | list[xr.DataArray]

#: Attributes that belong to one signal, so those of the signals seen in fit do not apply.
_OWN_ATTRS = ("filename", "affine", "space", "intent", "value_range", "source")


def label(decoded: Decoded, found: LatentSet) -> Decoded:
    """Give decoded signals the labels, names and affines of those that were encoded."""
    if isinstance(decoded, xr.DataArray):
        decoded = decoded.assign_attrs(source="neurfield decode")
        if found.labels is not None:
            decoded = decoded.assign_coords(label=("sample", found.labels))
        return decoded if found.names is None else decoded.assign_coords(sample=found.names)
    labelled = []
    for index, signal in enumerate(decoded):
        attrs = {name: value for name, value in signal.attrs.items() if name not in _OWN_ATTRS}
        if found.names is not None:
            attrs["filename"] = found.names[index]
        if found.affines is not None:
            attrs["affine"] = found.affines[index].tolist()
            attrs["space"] = "aligned"  # with the volume encoded, which is all that is known here
        copy = signal.copy(deep=False)
        copy.attrs = attrs
        labelled.append(copy)
    return labelled


def write(decoded: Decoded, path: Path) -> None:
    """Write signals in the format that the ending of `path` tells.

    Raises
    ------
    ValueError
        If signals of various shapes go to NetCDF or Zarr, or several to one NIfTI file.
    """
    if path.suffix == ".npz":
        save_npz(decoded, path)
    elif path.suffix in (".nc", ".zarr"):
        whole = decoded if isinstance(decoded, xr.DataArray) else _as_one(decoded, path)
        (save_netcdf if path.suffix == ".nc" else save_zarr)(whole, path)
    else:
        volumes = decoded if isinstance(decoded, list) else list(decoded)
        if not path.suffix:
            save_nifti_folder(volumes, path)
        elif len(volumes) == 1:
            save_nifti(volumes[0], path)
        else:
            raise ValueError(
                f"{path}: one NIfTI file takes one signal, got {len(volumes)}; "
                "an OUTPUT without an ending is a folder of one file each"
            )


def shape_in_words(decoded: Decoded) -> str:
    """Return the shape of one signal, without the sample axis."""
    arrays = decoded if isinstance(decoded, list) else [decoded[0]]
    shapes = {array.shape for array in arrays}
    return " × ".join(map(str, shapes.pop())) if len(shapes) == 1 else "various shapes"


def _as_one(decoded: list[xr.DataArray], path: Path) -> xr.DataArray:
    """Return a list of signals on one common grid as one array."""
    first = decoded[0]
    same = all(
        signal.dims == first.dims and all(signal[d].equals(first[d]) for d in first.dims)
        for signal in decoded
    )
    if not same:
        raise ValueError(
            f"{path}: signals on different grids do not fit one {path.suffix} file; "
            "decode them to .npz or to a folder of NIfTI files"
        )
    whole = xr.concat(decoded, dim="sample", combine_attrs="drop")
    names = [signal.attrs.get("filename") for signal in decoded]
    return whole if None in names else whole.assign_coords(sample=names)
