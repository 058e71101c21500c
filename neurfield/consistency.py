"""Whether what a file says of an encoder fits together, and asks for no more than it may."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from neurfield.codec import Codec
from neurfield.learning.lapped.posterior import LappedPosterior
from neurfield.learning.posterior import Posterior
from neurfield.limits import check_unpacked
from neurfield.patched import patches_of
from neurfield.signals import Layout
from neurfield.signals.patches import PatchGrid

_CONTAINERS = ("array", "dataarray", "dataset")
_CURVES = {"loss_curve_", "psnr_curve_", "validation_curve_"}


def check_description(document: Mapping[str, Any]) -> None:
    """Refuse facts about a fit that no fit leaves.

    Parameters
    ----------
    document : mapping
        What a file says, but for field, solver, units, posterior and layout.

    Raises
    ------
    ValueError
        If one of them is of another kind.
    """
    for name, least in (("n_features_in", 1), ("n_iter", 0)):
        if type(document[name]) is not int or document[name] < least:
            raise ValueError(f"{name} must be a whole number, got {document[name]!r:.40}")
    if (names := document["feature_names_in"]) is not None and not _are_texts(names):
        raise ValueError("feature_names_in must be a list of names")
    for name, curve in document["curves"].items():
        if name not in _CURVES or not (curve is None or _are_numbers(curve)):
            raise ValueError(f"curves must be lists of numbers, {name!r:.40} is none")


def check_codec(path: Path, codec: Codec, layout: Layout) -> None:
    """Refuse parts of a codec that are not of one size, or make signals of any size.

    Parameters
    ----------
    path : Path
        The file they were read from.
    codec : Codec
        Whose field has the weights that the file holds.
    layout : Layout
        Of the signals that come back.

    Raises
    ------
    FileError
        If signals on the grid of fit, or their latents, take more memory than they may.
    ValueError
        If parts do not fit together, or hold numbers that no fit leaves.
    """
    field, units = codec.field, codec.units
    codec.solver.check(field.latent_dim)
    check_unpacked(path, 4 * field.latent_dim, "the latent of a signal")
    for name in ("lower", "upper", "half_width"):
        _check_array(f"frame.{name}", getattr(units.frame, name), (field.in_dim,))
    for name in ("offset", "scale", "lower", "upper"):
        _check_array(f"scaler.{name}", getattr(units.scaler, name), (field.out_dim,))
    if not (units.frame.half_width > 0).all() or not (units.scaler.scale > 0).all():
        raise ValueError("half_width and scale must be positive")
    if (units.frame.lower > units.frame.upper).any():
        raise ValueError("frame.lower must not be greater than frame.upper")
    _check_layout(path, layout, field.in_dim, field.out_dim)
    if (patches := patches_of(codec)) is not None:
        _check_patches(path, patches, layout, field.latent_dim)
    if isinstance(codec.posterior, LappedPosterior):
        _check_lapped_posterior(codec.posterior, field.out_dim)
    elif codec.posterior is not None:
        _check_posterior(path, codec.posterior, field.in_dim, field.out_dim, field.latent_dim)
    if codec.posterior is not None and codec.posterior.mixture is not None:
        codec.posterior.mixture.check(field.latent_dim, field.in_dim, field.out_dim)


def _check_layout(path: Path, layout: Layout, n_axes: int, n_channels: int) -> None:
    names = layout.axis_names
    if not _are_texts([*names, *layout.dims]) or len(set(names)) != n_axes or layout.n_axes < 1:
        raise ValueError(f"axis_names must be {n_axes} names, got {names!r:.80}")
    if layout.container not in _CONTAINERS or layout.n_channels != n_channels:
        raise ValueError(f"layout must be that of an array of {n_channels} channels")
    _check_kinds(layout)
    if layout.channel_axis is not None and abs(layout.channel_axis) > n_axes + 2:
        raise ValueError(f"channel_axis must be one of {n_axes + 2}, got {layout.channel_axis}")
    if layout.channel_labels is not None and len(layout.channel_labels) != n_channels:
        raise ValueError(f"channel_labels must be {n_channels} labels")
    for attrs in (layout.attrs, layout.axis_attrs, layout.variable_attrs):
        if not isinstance(attrs, dict):
            raise ValueError("attributes must be given by name")
    for attrs in (*layout.axis_attrs.values(), *layout.variable_attrs.values()):
        if not isinstance(attrs, dict):
            raise ValueError("attributes of axes and variables must be given by name")
    if layout.axes is not None:
        _check_axes(path, layout.axes, n_axes, n_channels)
    if layout.extent is not None:
        _check_array("extent", np.array(layout.extent, dtype=np.float64), (n_axes, 2))


def _check_kinds(layout: Layout) -> None:
    kinds: dict[str, tuple[type, ...]] = {
        "is_list": (bool,),
        "unit_axes": (bool,),
        "channel_axis": (int, type(None)),
    }
    for name, allowed in kinds.items():
        if type(getattr(layout, name)) not in allowed:
            raise ValueError(f"{name} must be one of {[kind.__name__ for kind in allowed]}")


def _check_axes(path: Path, axes: tuple[np.ndarray, ...], n_axes: int, n_channels: int) -> None:
    """Check a grid; three axes of ten thousand points are but a small file, and make 4 TB."""
    if len(axes) != n_axes:
        raise ValueError(f"axes must be {n_axes} lists of coordinates, got {len(axes)}")
    for axis in axes:
        _check_array("axes", axis, (max(1, axis.size),))
    values = math.prod(len(axis) for axis in axes) * n_channels
    check_unpacked(path, values, "a signal on the grid of fit")


def _check_patches(path: Path, patches: PatchGrid, layout: Layout, n_latents: int) -> None:
    n_axes = layout.n_axes
    sizes = [*patches.shape, *patches.size]
    if not all(type(size) is int and size > 0 for size in sizes):
        raise ValueError(f"shape and size of patches must be whole numbers, got {sizes!r:.80}")
    if not len(patches.shape) == len(patches.size) == n_axes:
        raise ValueError(f"patches must have {n_axes} axes")
    if any(n > length for n, length in zip(patches.size, patches.shape, strict=True)):
        raise ValueError(f"patches of {patches.size} do not fit into signals of {patches.shape}")
    values = math.prod(patches.shape) * layout.n_channels
    check_unpacked(path, values, "a signal on the grid of fit")
    counts = [-(-length // n) for length, n in zip(patches.shape, patches.size, strict=True)]
    check_unpacked(path, 4 * math.prod(counts) * n_latents, "the latents of a signal's patches")
    _check_array("origin", patches.origin, (n_axes,))
    _check_array("step", patches.step, (n_axes,))
    if not patches.step.all():
        raise ValueError("step must not be 0")


def _check_posterior(
    path: Path, posterior: Posterior, n_axes: int, n_channels: int, n_latents: int
) -> None:
    _check_array("mean", posterior.prior.mean, (n_latents,))
    _check_array("covariance", posterior.prior.covariance, (n_latents, n_latents))
    _check_array("lower", posterior.lower, (n_axes,))
    _check_array("upper", posterior.upper, (n_axes,))
    nodes = posterior.noise.shape[:-1]
    if len(nodes) != n_axes or 0 in nodes:
        raise ValueError(f"noise must have {n_axes} axes of nodes, got shape {nodes}")
    _check_array("noise", posterior.noise, (*nodes, n_channels))
    _check_axes(path, posterior.axes, n_axes, n_channels)
    facts = [posterior.scale, posterior.level_weight, posterior.prior.noise]
    if not _are_numbers(facts) or not all(0 < value < math.inf for value in facts):
        raise ValueError(f"numbers of the posterior must be positive, got {facts!r:.80}")


def _check_lapped_posterior(posterior: LappedPosterior, n_channels: int) -> None:
    _check_array("noise", posterior.noise, (n_channels,))
    scales = [posterior.scale, posterior.latent_scale, posterior.hole_scale]
    facts = [*scales, posterior.level_weight, *posterior.noise.tolist()]
    if not _are_numbers(facts) or not all(0 < value < math.inf for value in facts):
        raise ValueError(f"numbers of the posterior must be positive, got {facts!r:.80}")


def _check_array(name: str, array: np.ndarray, shape: tuple[int, ...]) -> None:
    if array.shape != shape:
        raise ValueError(f"{name} must have shape {shape}, got {array.shape}")
    if array.dtype.kind != "f" or not np.isfinite(array).all():
        raise ValueError(f"{name} must hold finite numbers")


def _are_texts(values: Any) -> bool:
    return isinstance(values, list | tuple) and all(isinstance(value, str) for value in values)


def _are_numbers(values: Any) -> bool:
    return isinstance(values, list) and all(type(value) in (int, float) for value in values)
