"""MedFuncta's published sizes on one device: the published recipe, the default, and PCA.

    python benchmarks/gpu_scale.py DATA_FOLDER [--device cuda] [--seconds 60 300]
        [--presets medfuncta-2d-64 ...] [--csv out.csv]
    python benchmarks/gpu_scale.py DATA_FOLDER --device cpu --tiny

Each row is measured in a process of its own, which fits for so many seconds and encodes held-out
signals. The signals are crops of blood smears (colour) and of one brain (grey, 32³; held-out crops
are from its upper third), with values in [0, 1]. ``--tiny`` shrinks signals, latents, networks,
batches and times: a proof that everything runs, whose figures mean nothing.

"cavia" is the preset as published, "auto" is ``FunctaEncoder(latent_dim=P)``, PCA has P components,
or one fewer than there are signals where these are too few: "latents" says. "peak GiB" is what the
device's allocator had given out at most, on a CPU what the process ever held. "model Tflop" is the
cost of a meta-step in the published implementation, "model / s" how many of them the device would
do at its matrix rate, and "share" what fraction of that rate "cavia" reaches, which counts what the
published implementation would have multiplied and not what this package does.

The folder holds ``blood_smear/`` and ``measured/brain_volume.npz``.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from fraction_of_peak import peak_rate
from peers.textbook_cavia import TextbookSiren, textbook_meta_loss
from scale import mean_psnr
from signals import Split, brain, smears
from tables import report
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from neurfield import FunctaEncoder
from neurfield.fields import FieldSpec, ModulatedSiren
from neurfield.presets import preset_parameters

METHODS = ("cavia", "auto", "PCA")
_SHRINK = 4  # of each axis, where all is tiny
_SIDE_OF_PRODUCT = 2048, 8192  # that fills a CPU, and a GPU


@dataclass(frozen=True)
class Size:
    """What decides the cost of a meta-step, and how many signals there are.

    Parameters
    ----------
    side, n_axes, n_channels : int
        Of a signal.
    n_train, n_held_out : int
        Signals.
    n_layers, width, latent_dim, batch_size, inner_steps : int
        K, L, P, B and G.
    context_ratio : float
        γ.
    """

    side: int
    n_axes: int
    n_channels: int
    n_train: int
    n_held_out: int
    n_layers: int
    width: int
    latent_dim: int
    batch_size: int
    inner_steps: int
    context_ratio: float

    @property
    def n_points(self) -> int:
        """Points of a signal."""
        return self.side**self.n_axes

    @property
    def n_kept(self) -> int:
        """Points of a reduced context."""
        return max(1, int(self.context_ratio * self.n_points))


def _published(name: str, side: int, n_axes: int, n_train: int, n_held_out: int) -> Size:
    preset = preset_parameters(name)
    learner = preset["learner"]
    return Size(
        side,
        n_axes,
        3 if n_axes == 2 else 1,
        n_train,
        n_held_out,
        preset["n_layers"],
        preset["hidden_dim"],
        preset["latent_dim"],
        preset["batch_size"],
        learner.inner_steps,
        learner.context_ratio,
    )


SIZES = {
    "medfuncta-2d-64": _published("medfuncta-2d-64", 64, 2, 8000, 1000),
    "medfuncta-2d-128": _published("medfuncta-2d-128", 128, 2, 9000, 200),
    "medfuncta-2d-224": _published("medfuncta-2d-224", 224, 2, 2000, 60),
    "medfuncta-3d-32": _published("medfuncta-3d-32", 32, 3, 9000, 200),
}


def tiny(size: Size) -> Size:
    """Return a size of the same proportions that takes a CPU milliseconds a step."""
    return Size(
        size.side // _SHRINK,
        size.n_axes,
        size.n_channels,
        n_train=40,
        n_held_out=4,
        n_layers=4,
        width=32,
        latent_dim=size.latent_dim // _SHRINK ** (size.n_axes + 1),
        batch_size=2,
        inner_steps=size.inner_steps,
        context_ratio=size.context_ratio,
    )


def published_flops(size: Size) -> int:
    """Return the floating-point operations of one meta-step in the published implementation.

    Only matrix products count, two operations a multiplication and addition; G inner steps on M
    points and the outer loss on N points are differentiated by autograd, with the inner gradients'
    graph kept. For one point, all layers are m = dL + (K-2)L² + Lc multiplications, and a gradient
    that is carried back to the shifts m' = m - dL, for none is taken at the coordinates. The shifts
    of all K-1 sine layers are q = (K-1)LP for one signal. So an inner step of one signal has

    - forwards: M m + q,
    - its gradient at φ: M m' + q,
    - the outer gradient through the former, at weights and at features: M (m + m') + 2q,
    - and through the latter, the same two: 2 M m' + 2q,

    and the outer loss N m + q forwards, N (m + m') + 2q back. What is left out, against the counter
    of torch: gradients at φ = 0 before the first step, which nothing needs.

    Parameters
    ----------
    size : Size
        Of the problem.
    """
    hidden = (size.n_layers - 2) * size.width**2 + size.width * size.n_channels
    layers = hidden + size.n_axes * size.width
    shifts = (size.n_layers - 1) * size.width * size.latent_dim
    inner = size.n_kept * (2 * layers + 4 * hidden) + 6 * shifts
    outer = size.n_points * (2 * layers + hidden) + 3 * shifts
    return 2 * size.batch_size * (size.inner_steps * inner + outer)


def counted_flops(size: Size) -> int:
    """Return what torch counts in a meta-step that is written as in the published implementation.

    Parameters
    ----------
    size : Size
        Small enough to run it once.
    """
    field = ModulatedSiren(size.n_axes, size.n_channels, size.latent_dim, size.width, size.n_layers)
    peer = TextbookSiren(field.state_dict(), field.omegas[: len(field.layers)])
    coords = torch.rand(size.n_points, size.n_axes)
    values = torch.rand(size.batch_size, size.n_points, size.n_channels)
    subsets = torch.stack(
        [torch.randperm(size.n_points)[: size.n_kept] for _ in range(size.inner_steps)]
    )

    with _Counter() as counter:
        textbook_meta_loss(
            peer, coords, values, subsets, size.inner_steps, 1e-2, size.latent_dim
        ).backward()
    return counter.flops


class _Counter(TorchDispatchMode):
    """Counts by torch's formulas; its own counter follows modules, and fails in inner gradients."""

    def __init__(self) -> None:
        super().__init__()
        self.flops = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        if func.overloadpacket in flop_registry:
            self.flops += flop_registry[func.overloadpacket](*args, **(kwargs or {}), out_val=found)
        return found


def signals_of(size: Size, folder: Path) -> Split:
    """Return crops of the data sets."""
    if size.n_axes == 2:
        return smears(folder, size.side, size.n_train, size.n_held_out)
    volume = brain(folder).values[0]
    border = 2 * len(volume) // 3
    random = np.random.default_rng(0)
    lower = _crops(volume[:border], size.side, size.n_train, random)
    return Split(lower, _crops(volume[border:], size.side, size.n_held_out, random))


def _crops(
    volume: np.ndarray, side: int, n_crops: int, random: np.random.Generator
) -> xr.DataArray:
    crops = np.zeros((n_crops, side, side, side), dtype=np.float32)
    for crop in crops:
        while not crop.any():  # air around the head is no signal
            at = [random.integers(n - side + 1) for n in volume.shape]
            crop[:] = volume[tuple(slice(a, a + side) for a in at)]
    return xr.DataArray(crops, dims=("sample", "z", "y", "x"))


def pca(
    train: np.ndarray, held_out: np.ndarray, n_components: int, device: torch.device
) -> np.ndarray:
    """Return held-out signals after PCA, all of it on the device.

    The components come from the eigenvectors of the smaller of the two Gram matrices, in double
    precision.

    Parameters
    ----------
    train, held_out : array of shape (n, ...)
        Signals.
    n_components : int
        Fewer than there are training signals.
    device : torch.device
        Where it is done.
    """
    rows = torch.from_numpy(train.reshape(len(train), -1)).to(device)
    mean = rows.mean(dim=0)
    rows = rows - mean
    by_signal = rows.shape[0] <= rows.shape[1]
    factor = rows if by_signal else rows.T
    gram = torch.zeros(len(factor), len(factor), dtype=torch.float64, device=device)
    for part in factor.split(4096, dim=1):
        gram.addmm_(part.double(), part.double().T)
    values, vectors = torch.linalg.eigh(gram)
    values, vectors = values[-n_components:], vectors[:, -n_components:]
    if by_signal:
        vectors = vectors / values.clamp_min(1e-12 * float(values[-1])).sqrt()
        components = rows.T @ vectors.to(rows.dtype)
    else:
        components = vectors.to(rows.dtype)
    wanted = torch.from_numpy(held_out.reshape(len(held_out), -1)).to(device) - mean
    found = (wanted @ components) @ components.T + mean
    return found.cpu().numpy().reshape(held_out.shape)


def measured(
    name: str, method: str, seconds: float, size: Size, folder: Path, device_name: str, threads: int
) -> dict[str, Any]:
    """Return one row of the table; meant for a process of its own."""
    torch.set_num_threads(threads)
    device = torch.device(device_name)
    data = signals_of(size, folder)
    assert isinstance(data.train, xr.DataArray)
    assert isinstance(data.held_out, xr.DataArray)
    flops = published_flops(size)
    peak = peak_rate(device, 5, _SIDE_OF_PRODUCT[device.type == "cuda"])
    row: dict[str, Any] = {"preset": name, "method": method, "latents": size.latent_dim}
    row |= dict.fromkeys(("field", "asked s", "fit s", "steps / s"), "")
    if method == "PCA":
        row["latents"] = min(size.latent_dim, len(data.train) - 1)
        began = time.perf_counter()
        found = pca(data.train.values, data.held_out.values, row["latents"], device)
        row["fit s"] = round(time.perf_counter() - began, 1)
    else:
        encoder = _encoder(name, method, seconds, size, device_name)
        began = time.perf_counter()
        encoder.fit(data.train)
        took = time.perf_counter() - began
        row |= {"field": FieldSpec.family_of(encoder.field_), "asked s": seconds}
        row |= {"fit s": round(took, 1), "steps / s": round(encoder.n_iter_ / took, 3)}
        found = encoder.inverse_transform(encoder.transform(data.held_out)).values
    row["peak GiB"] = round(_peak_memory(device), 2)
    row["PSNR"] = round(mean_psnr(data.held_out.values, found), 2)
    row |= {"model Tflop": float(f"{flops / 1e12:.3g}"), "model / s": float(f"{peak / flops:.3g}")}
    row["share"] = round(encoder.n_iter_ / took * flops / peak, 3) if method == "cavia" else ""
    return row


def _encoder(name: str, method: str, seconds: float, size: Size, device: str) -> FunctaEncoder:
    common = {"max_time": seconds, "max_iter": 10**6, "device": device, "random_state": 0}
    if method == "auto":
        return FunctaEncoder(latent_dim=size.latent_dim, **common)
    return FunctaEncoder.from_preset(
        name,
        latent_dim=size.latent_dim,
        hidden_dim=size.width,
        n_layers=size.n_layers,
        batch_size=size.batch_size,
        **common,
    )


def _peak_memory(device: torch.device) -> float:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, metavar="DATA_FOLDER")
    parser.add_argument("--device", default="cuda")
    parser.add_argument(
        "--seconds", type=float, nargs="+", help="of fits; 60 and 300, tiny 1 and 3"
    )
    parser.add_argument("--presets", choices=sorted(SIZES), nargs="+", default=list(SIZES))
    parser.add_argument("--methods", choices=METHODS, nargs="+", default=list(METHODS))
    parser.add_argument("--tiny", action="store_true", help="small in everything: does it run?")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--csv", type=Path)
    args = parser.parse_args()
    if args.device.startswith("cuda") and not torch.cuda.is_available():
        parser.error(f"--device {args.device}: there is no such device; --device cpu --tiny runs")
    times = args.seconds or ([1.0, 3.0] if args.tiny else [60.0, 300.0])
    sizes = {name: tiny(SIZES[name]) if args.tiny else SIZES[name] for name in args.presets}
    small = tiny(SIZES["medfuncta-2d-64"])
    ratio = counted_flops(small) / published_flops(small)
    print(f"torch counts {ratio:.4f} of the modelled operations, in a small meta-step", flush=True)
    rows = []
    for name, size in sizes.items():
        for method in args.methods:
            for seconds in times[:1] if method == "PCA" else times:
                work = partial(measured, name, method, seconds, size, args.folder, args.device)
                # A fresh process: the peak of a process never falls.
                with multiprocessing.get_context("spawn").Pool(1) as pool:
                    rows.append(pool.apply(work, (args.threads,)))
                print(rows[-1], flush=True)
    report(rows, args.csv)


if __name__ == "__main__":
    main()
