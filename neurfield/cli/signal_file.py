"""Decoded signals: labelled as the originals were."""

from __future__ import annotations

import xarray as xr

from neurfield.cli.latent_file import LatentSet
from neurfield.decoding import without_facts

Decoded = xr.DataArray | list[xr.DataArray]

#: Attributes that belong to one signal, so those of the signals seen in fit do not apply.
_OWN_ATTRS = (
    "filename",
    "affine",
    "space",
    "intent",
    "value_range",
    "source",
    "label",
    "label_name",
    "record",
    "start",
    "base_counter",
    "series",
    "stack",
    "group",
)


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
        copy = without_facts(signal).copy(deep=False)
        copy.attrs = attrs
        if found.labels is not None:
            copy = copy.assign_coords(label=found.labels[index])
        labelled.append(copy)
    return labelled


def shape_in_words(decoded: Decoded) -> str:
    """Return the shape of one signal, without the sample axis."""
    arrays = decoded if isinstance(decoded, list) else [decoded[0]]
    shapes = {array.shape for array in arrays}
    return " × ".join(map(str, shapes.pop())) if len(shapes) == 1 else "various shapes"
