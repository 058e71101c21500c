"""``neurfield decode``: turn latents back into signals."""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neurfield.cli.formatting import add_command
from neurfield.cli.outputs import add_output, check_output
from neurfield.errors import FileError

if TYPE_CHECKING:
    from xarray import DataArray

    from neurfield import FunctaEncoder
    from neurfield.cli.grids import Axes
    from neurfield.cli.latent_file import LatentSet
    from neurfield.cli.signal_file import Decoded

_EPILOG = """\
examples:
  neurfield decode digits.field latents.npz -o digits.nc
  neurfield decode digits.field latents.npz -o large.npz --grid 24 24
  neurfield decode beats.field beats.npz -o beats.zarr --scale 2
  neurfield decode brain.field latents.npz -o decoded/ --spacing 0.5
  neurfield decode brain.field latents.npz -o atlas/ --like atlas.nii.gz

Signals are decoded on the grid that the field was fitted on; volumes of
various shapes each on its own grid, which 'neurfield transform' keeps in
LATENTS. --grid and --scale put another number of points on the same extent,
from the first point to the last; --spacing puts points at a fixed distance,
starting from the first. --like takes the voxel grid of a NIfTI file, in any
orientation, and puts 0 where a volume does not reach.

An OUTPUT without an ending is a folder of one file for each signal, in the
format that the signals came from where their names tell it, else NIfTI;
volumes open aligned with the originals. Volumes (.nii, .nii.gz, .mgz, .nrrd,
.mha, ...), recordings (.hea, .edf, .bdf) and pictures such as .png take
exactly one signal.

LATENTS that say that another field made them are refused without --force."""


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Add the sub-command to the parser."""
    parser = add_command(
        subparsers,
        "decode",
        help="turn latents back into signals, at any resolution",
        description="Turn latents back into signals, at any resolution.",
        epilog=_EPILOG,
    )
    parser.add_argument("model", type=Path, metavar="MODEL", help="file that 'neurfield fit' saved")
    parser.add_argument(
        "latents", type=Path, metavar="LATENTS", help="file that 'neurfield transform' wrote"
    )
    add_output(
        parser,
        "OUTPUT",
        "what to write: .npz, .nc, .zarr, a volume, a recording, a picture, or a folder of files",
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--grid",
        type=int,
        nargs="+",
        metavar="N",
        help="points along each axis, in the axes' order",
    )
    where.add_argument(
        "--scale", type=float, metavar="FACTOR", help="this many times the points along each axis"
    )
    where.add_argument(
        "--spacing",
        type=float,
        nargs="+",
        metavar="STEP",
        help="distance of points in the data's units (mm, s, pixels), one for all axes or one each",
    )
    where.add_argument(
        "--like",
        type=Path,
        metavar="NIFTI",
        help="volumes: decode on the voxel grid of this file, where it lies in space",
    )
    parser.add_argument(
        "--force", action="store_true", help="decode latents of another field, with a warning"
    )
    return parser


def run(args: argparse.Namespace) -> None:
    """Read latents, decode, write."""
    from neurfield.datasets.saving import SAVED_ENDINGS, save_signals

    check_output(args.output, args.overwrite, SAVED_ENDINGS, (args.model, args.latents, args.like))

    from neurfield.cli.latent_file import LatentSet
    from neurfield.cli.models import load_model
    from neurfield.cli.signal_file import label, shape_in_words

    found = LatentSet.read(args.latents)
    encoder = load_model(args.model)
    _check(encoder, found, args)
    decoded = label(_decode(encoder, found, args), found)
    save_signals(decoded, args.output)
    print(f"decoded     {len(found.latents)} signals of {shape_in_words(decoded)}")
    print(f"saved to    {args.output}")


def _check(encoder: FunctaEncoder, found: LatentSet, args: argparse.Namespace) -> None:
    """Refuse latents that the field cannot decode, or that another field made."""
    from neurfield.provenance import check_origin

    length = encoder.codec_.latent_size
    if found.latents.shape[1] != length:
        raise FileError(
            args.latents,
            f"holds latents of length {found.latents.shape[1]}, and those of {args.model} have "
            f"length {length}",
        )
    if found.fingerprint is None:
        warnings.warn(
            f"{args.latents} does not say which field its latents are of; they are decoded as if "
            f"{args.model} had made them",
            UserWarning,
            stacklevel=2,
        )
    elif not args.force:
        check_origin(found.fingerprint, encoder.codec_, f"{args.latents}", "force it with --force")
    elif found.fingerprint != encoder.codec_.fingerprint:
        warnings.warn(
            f"{args.latents} holds latents of another field than {args.model}: what they decode to "
            "means nothing, unless the two are almost the same",
            UserWarning,
            stacklevel=2,
        )


def _decode(encoder: FunctaEncoder, found: LatentSet, args: argparse.Namespace) -> Decoded:
    """Return one DataArray over all signals, or a list of one each."""
    from neurfield.cli.grids import regrid

    if args.like is not None:
        return _decode_like(encoder, found, args)
    resolution = (args.grid, args.scale, args.spacing)
    layout = encoder.layout_
    if found.grids is not None:
        own = [regrid(grid, *resolution) for grid in found.grids]
        _check_room(encoder, own)
        decoded: list[DataArray] = encoder.inverse_transform(found.latents, coords=own)
        return decoded
    if layout.axes is None:
        raise FileError(args.model, "this field has seen no grid to decode on")
    seen = dict(zip(layout.axis_names, layout.axes, strict=True))
    axes = regrid(seen, *resolution)
    _check_room(encoder, [axes] * len(found.latents))
    whole = encoder.inverse_transform(found.latents, coords=axes)
    if layout.container == "dataset":
        return whole.to_dataarray(dim="channel").transpose("sample", ..., "channel")
    return whole


def _check_room(encoder: FunctaEncoder, grids: Sequence[Axes]) -> None:
    """Refuse grids whose values would not fit into memory, before any is made."""
    import numpy as np
    import torch

    from neurfield.memory import available

    codec, free = encoder.codec_, available(torch.device("cpu"))
    n_points = [float(np.prod([len(axis) for axis in grid.values()])) for grid in grids]
    width = codec.field.out_dim * np.dtype(codec.value_dtype).itemsize
    # The values of all signals, and the points of one grid in a few copies.
    needed = sum(n_points) * width + 3 * 8 * codec.field.in_dim * max(n_points)
    if free is not None and needed > free:
        raise ValueError(
            f"decoding so many points takes about {needed / 2**30:.3g} GiB, and "
            f"{free / 2**30:.3g} GiB are free; ask for fewer points, or decode fewer latents"
        )


def _decode_like(encoder: FunctaEncoder, found: LatentSet, args: argparse.Namespace) -> Decoded:
    """Return volumes on the voxel grid of a NIfTI file."""
    import numpy as np
    from xarray import DataArray

    from neurfield.datasets import load_nifti
    from neurfield.volumes import decode_volumes

    (target,) = load_nifti([args.like], clip=None, scale=False)
    if found.grids is None or found.affines is None:
        raise FileError(args.latents, "--like needs the latents of volumes with affines")
    originals = [
        # The values take no part, so one number stands for all of them.
        DataArray(
            np.broadcast_to(0.0, [len(axis) for axis in grid.values()]),
            coords=grid,
            dims=list(grid),
            attrs={"affine": affine.tolist()},
        )
        for grid, affine in zip(found.grids, found.affines, strict=True)
    ]
    like = (target.shape[:3], target.attrs["affine"])
    found.affines = np.array([target.attrs["affine"]] * len(originals))  # of what is written
    return decode_volumes(encoder, found.latents, originals, like=like)
