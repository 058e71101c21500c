"""Signals that are many, and signals that are large: time, peak memory and what comes back.

    python benchmarks/large.py DATA_FOLDER [--rows zarr memmap volume picture ecg] [--seconds 60]

Each row fits, encodes and decodes with nothing but latent_dim and max_time set, in a process of its
own. "fit MiB", "encode MiB" and "decode MiB" are the peaks of resident memory, as Linux counts it,
above what the process holds once the package is imported. "PSNR" is the mean in dB of the signals,
of at most 1000, for a peak of their range.

``zarr`` and ``memmap`` are --signals crops of blood smear pictures, 64×64 in colour, as bytes in a
Zarr store or in a file of NumPy's. All of them are fitted, and the first --encoded of them encoded
in closed form; latents of the Zarr store are written to another one, block by block. ``volume`` is
one MRI volume of 160×192×224 voxels with 1/64 as many latents, ``picture`` one of 512×512 pixels in
colour (a crop and its mirror images), ``ecg`` twelve recordings of 5000 samples of twelve leads.

The folder holds ``blood_smear/``, ``ecg12.npz`` and ``measured/brain_volume.npz``.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from signals import brain, large_smears, smears
from tables import report

_CHUNK = 500  # signals
_SCORED = 1000
_LATENTS = {"zarr": 1024, "memmap": 1024, "volume": 107_520, "picture": 16_384, "ecg": 1280}


def resident(most: bool = False) -> float:
    """Return how many MiB the process holds, mapped pages of files included, or held at most."""
    lines = Path("/proc/self/status").read_text().splitlines()
    facts = dict(line.split(":", 1) for line in lines)
    return int(facts["VmHWM" if most else "VmRSS"].split()[0]) / 1024


def forget_peak() -> None:
    """Let what is held at most begin anew at what is held now."""
    Path("/proc/self/clear_refs").write_text("5")


def write_signals(data: Path, folder: Path, n_signals: int) -> None:
    """Write crops as a Zarr store and as a file of NumPy's, chunk by chunk."""
    import dask.array

    shape = (n_signals, 64, 64, 3)
    dims = ("sample", "y", "x", "channel")
    blank = dask.array.zeros(shape, dtype=np.uint8, chunks=(_CHUNK, *shape[1:]))
    store = folder / "signals.zarr"
    xr.Dataset({"images": (dims, blank)}).to_zarr(store, compute=False, mode="w", zarr_format=2)
    mapped = np.lib.format.open_memmap(folder / "signals.npy", "w+", np.uint8, shape)
    # Of so many pictures there are enough places to cut at, each turned and mirrored.
    crops = smears(data, 64, 20_000, 1).train.values
    crops = np.round(255 * crops).astype(np.uint8)
    for start in range(0, n_signals, _CHUNK):
        rows = np.arange(start, min(start + _CHUNK, n_signals))
        turned = crops[rows % len(crops)]
        times = start // len(crops)
        block = np.rot90(turned, times % 4, axes=(1, 2))
        block = block[:, ::-1] if times % 8 > 3 else block
        mapped[rows] = block
        part = xr.Dataset({"images": (dims, block)})
        part.to_zarr(store, region={"sample": slice(start, start + len(rows))}, zarr_format=2)
    mapped.flush()


def signals_of(row: str, data: Path, folder: Path) -> Any:
    """Return the signals of a row."""
    if row == "zarr":
        return xr.open_zarr(folder / "signals.zarr")["images"]
    if row == "memmap":
        return np.load(folder / "signals.npy", mmap_mode="r")
    if row == "volume":
        return brain(data).values
    if row == "picture":
        return large_smears(data, 512, 1)
    with np.load(data / "ecg12.npz") as archive:
        return archive["full_rate"]


def measure(row: str, data: Path, folder: Path, seconds: float, encoded: int) -> dict[str, Any]:
    """Return what the table says of one row."""
    from neurfield import FunctaEncoder
    from neurfield.datasets import save_latents
    from neurfield.fields import FieldSpec

    X = signals_of(row, data, folder)
    axis = 1 + len(X.shape) - 2 if row in ("memmap", "picture", "ecg") else None
    encoder = FunctaEncoder(
        latent_dim=_LATENTS[row],
        channel_axis=axis,
        max_time=seconds,
        max_iter=10**6,
        random_state=0,
    )
    before = resident()
    found: dict[str, Any] = {"signals": row, "n": len(X), "encoded": len(X), "P": _LATENTS[row]}

    def took(name: str, work: Callable[[], Any]) -> Any:
        forget_peak()
        began = time.perf_counter()
        result = work()
        found[f"{name} s"] = round(time.perf_counter() - began, 1)
        found[f"{name} MiB"] = round(resident(most=True) - before)
        return result

    took("fit", lambda: encoder.fit(X))
    if row in ("zarr", "memmap"):
        X = X[:encoded]
        encoder.set_params(transform_steps=1)
        found["encoded"] = len(X)
    found["field"] = FieldSpec.family_of(encoder.field_)
    if row == "zarr":
        store = folder / "latents.zarr"
        took("encode", lambda: save_latents(encoder.transform(X), store))
        some = xr.open_zarr(store)["latents"][:_SCORED].values
    else:
        some = took("encode", lambda: encoder.transform(X))[:_SCORED]
    decoded = np.asarray(took("decode", lambda: encoder.inverse_transform(some)))
    wanted = np.asarray(X[:_SCORED]).astype(np.float32)
    errors = np.square(wanted - decoded).reshape(len(some), -1).mean(axis=1)
    found["PSNR"] = round(float(np.mean(10 * np.log10(np.ptp(wanted) ** 2 / errors))), 2)
    return found


def main() -> None:
    """Measure the rows asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, metavar="DATA_FOLDER")
    parser.add_argument("--rows", nargs="+", choices=sorted(_LATENTS), default=list(_LATENTS))
    parser.add_argument("--signals", type=int, default=200_000)
    parser.add_argument("--encoded", type=int, default=200_000)
    parser.add_argument("--seconds", type=float, default=60.0, help="of each fit")
    parser.add_argument("--folder", type=Path, help="where to write; a temporary one by default")
    parser.add_argument("--csv", type=Path)
    parser.add_argument("--only", choices=sorted(_LATENTS), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.only is not None:
        found = measure(args.only, args.data, args.folder, args.seconds, args.encoded)
        print(json.dumps(found))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.folder or Path(temporary)
        folder.mkdir(exist_ok=True)
        if {"zarr", "memmap"} & set(args.rows) and not (folder / "signals.npy").exists():
            write_signals(args.data, folder, args.signals)
        rows = []
        for row in args.rows:
            command = [sys.executable, __file__, str(args.data), "--only", row]
            command += ["--folder", str(folder), "--seconds", str(args.seconds)]
            command += ["--encoded", str(args.encoded)]
            output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
            rows.append(json.loads(output.splitlines()[-1]))
            print(rows[-1], flush=True)
    report(rows, args.csv)


if __name__ == "__main__":
    main()
