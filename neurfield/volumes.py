"""Decoding volumes on voxel grids in the scanner's space, as NIfTI files describe them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import xarray as xr
from sklearn.utils.validation import check_is_fitted

from neurfield.any_size import validated_latents_of_any_size
from neurfield.codec import Codec
from neurfield.decoding import decode_latents
from neurfield.geometry import (
    AXES,
    affine_fault,
    affine_from,
    affine_of,
    millimetres,
    step_of,
    voxel_sizes,
)
from neurfield.signals import grid_points
from neurfield.signals.coords import axes_from_coords

if TYPE_CHECKING:
    from neurfield.encoder import FunctaEncoder


def decode_volumes(
    encoder: FunctaEncoder,
    latents: npt.ArrayLike,
    volumes: Sequence[xr.DataArray],
    *,
    spacing: float | Sequence[float] | None = None,
    like: Any = None,
    fill_value: float = 0.0,
) -> list[xr.DataArray]:
    """Decode volumes so that they lie in space where the originals do.

    Parameters
    ----------
    encoder : FunctaEncoder
        Fitted to volumes as :func:`neurfield.datasets.load_nifti` returns them.
    latents : array-like of shape (n, P), or list of n arrays of shape (P_i,)
        One row or item per volume, as ``transform`` returns them.
    volumes : sequence of n DataArrays
        The originals, of which coordinates and ``attrs["affine"]`` are used, not the values.
    spacing : float or (float, float, float), optional
        Distance of voxels in millimetres along each of a volume's own axes, from its first voxel
        on. By default that of the volume.
    like : image or (shape, affine), optional
        Voxel grid to decode on instead, in any orientation: an object with ``shape`` and
        ``affine``, such as a nibabel image, or both as a pair, as ``nibabel.spaces.vox2out_vox``
        returns them. The affine of shape (4, 4) maps voxel indices to millimetres.
    fill_value : float, default=0.0
        Value of voxels that lie outside a volume, where nothing was observed.

    Returns
    -------
    list of n DataArrays of shape (x, y, z[, channel])
        Coordinates in millimetres from the first voxel, ``attrs["affine"]`` the affine of their own
        grid: what :func:`neurfield.datasets.save_nifti` takes.

    Raises
    ------
    ValueError
        If both ``spacing`` and ``like`` are given, or one of them is no grid, a volume has no
        affine, or the latents are of another field.

    Examples
    --------
    >>> from neurfield import FunctaEncoder
    >>> mm = {axis: np.arange(4.0) for axis in "xyz"}
    >>> data = np.random.default_rng(0).random((3, 4, 4, 4))
    >>> attrs = {"affine": np.eye(4).tolist()}
    >>> volumes = [xr.DataArray(v, mm, ("x", "y", "z"), attrs=attrs) for v in data]
    >>> encoder = FunctaEncoder(latent_dim=2, hidden_dim=8, max_iter=2, random_state=0).fit(volumes)
    >>> fine = decode_volumes(encoder, encoder.transform(volumes), volumes, spacing=0.5)
    >>> fine[0].shape
    (7, 7, 7)
    """
    check_is_fitted(encoder)
    codes = validated_latents_of_any_size(encoder, latents)
    if spacing is not None and like is not None:
        raise ValueError("give at most one of spacing and like, got both")
    if len(codes) != len(volumes):
        raise ValueError(f"volumes must be one per latent, got {len(volumes)} for {len(codes)}")
    own = [_own_map(volume, spacing, i) for i, volume in enumerate(volumes)]
    grids = own if like is None else [_checked_map(like)] * len(own)
    codecs = [
        encoder.codec_.for_latents(
            len(code), axes_from_coords(volume, encoder.layout_), f"volumes[{i}]"
        )
        for i, (code, volume) in enumerate(zip(codes, volumes, strict=True))
    ]
    return [
        _decode(encoder, codec, code, volume, *grid, fill_value)
        for codec, code, volume, grid in zip(codecs, codes, volumes, grids, strict=True)
    ]


def _decode(
    encoder: FunctaEncoder,
    codec: Codec,
    latent: np.ndarray,
    volume: xr.DataArray,
    shape: tuple[int, ...],
    affine: np.ndarray,
    fill_value: float,
) -> xr.DataArray:
    indices = grid_points([np.arange(size) for size in shape])
    original = affine_of(volume)
    to_voxel = np.linalg.solve(original, affine)
    places = (indices @ to_voxel[:3, :3].T + to_voxel[:3, 3]) * voxel_sizes(original)
    # A voxel reaches half its size beyond its centre; the field is asked up to the centre only.
    lower = np.array([volume[axis].values.min() for axis in AXES])
    upper = np.array([volume[axis].values.max() for axis in AXES])
    slack = np.abs(_steps(volume)) * (0.5 + 1e-6)
    inside = ((places >= lower - slack) & (places <= upper + slack)).all(axis=1)
    order = [AXES.index(name) for name in encoder.layout_.axis_names]
    n_channels = encoder.layout_.n_channels
    values = np.full((len(places), n_channels), fill_value, dtype=np.float32)
    if inside.any():
        points = places[inside].clip(lower, upper)[:, order]
        found = decode_latents(
            codec,
            encoder.layout_,
            latent[None],
            derivative=None,
            return_std=False,
            observed=None,
            memory_budget=encoder.memory_budget,
            grid=None,
            coords=None,
            points=points,
            dtype=None,
            samples=None,
        )[0]
        values[inside] = found.reshape(-1, n_channels)
    whole = values.reshape(*shape, n_channels)
    dims: tuple[str, ...] = (*AXES, "channel")
    if not encoder.layout_.has_channels:
        whole, dims = whole[..., 0], AXES
    coords = millimetres(shape, affine)
    attrs = {**volume.attrs, "affine": affine.tolist()}
    return xr.DataArray(whole, coords=coords, dims=dims, name=volume.name, attrs=attrs)


def _own_map(
    volume: xr.DataArray, spacing: float | Sequence[float] | None, index: int
) -> tuple[tuple[int, ...], np.ndarray]:
    """Return shape and affine of a volume's own voxels, or of others along the same axes."""
    axes = {str(dim) for dim in volume.dims if dim != "channel"}
    if axes != set(AXES) or "affine" not in volume.attrs:
        raise ValueError(
            f"volumes[{index}] must have three axes and attrs['affine'], as load_nifti returns "
            f"them; got dimensions {volume.dims} and the attributes {list(volume.attrs)}"
        )
    try:
        original, steps = affine_of(volume), _steps(volume)
    except ValueError as error:
        raise ValueError(f"volumes[{index}]: {error}") from error
    if spacing is not None:
        steps = np.sign(steps) * _checked_spacing(spacing)
    first, last = (np.array([volume[axis].values[end] for axis in AXES]) for end in (0, -1))
    shape = tuple(int(n) + 1 for n in np.floor((last - first) / steps + 1e-6))
    return shape, affine_from(original, first, steps)


def _steps(volume: xr.DataArray) -> np.ndarray:
    """Return the steps of the coordinates, negative where they descend."""
    sizes = voxel_sizes(affine_of(volume))
    return np.array(
        [
            step_of(volume[axis].values, axis) if volume.sizes[axis] > 1 else size
            for axis, size in zip(AXES, sizes, strict=True)
        ]
    )


def _checked_spacing(spacing: float | Sequence[float]) -> np.ndarray:
    steps = np.asarray(spacing, dtype=np.float64)
    if steps.shape not in ((), (3,)) or not (steps > 0).all():
        raise ValueError(f"spacing must be one positive number or three, got {spacing!r}")
    return steps


def _checked_map(like: Any) -> tuple[tuple[int, ...], np.ndarray]:
    pair = (like.shape, like.affine) if hasattr(like, "affine") else like
    if not isinstance(pair, Sequence) or len(pair) != 2:
        raise ValueError(f"like must be an image or a pair (shape, affine), got {like!r}")
    shape, affine = tuple(int(n) for n in pair[0][:3]), np.asarray(pair[1], dtype=np.float64)
    if len(shape) != 3 or min(shape) < 1 or affine.shape != (4, 4):
        raise ValueError(
            f"like must have three axes and an affine of shape (4, 4), got shape {shape} and an "
            f"affine of shape {affine.shape}"
        )
    if (fault := affine_fault(affine)) is not None:
        raise ValueError(f"like: {fault}")
    return shape, affine
