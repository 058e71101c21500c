"""A convolutional autoencoder with as many numbers for a signal, trained for as many seconds.

    python benchmarks/peers/conv_autoencoder.py DATA_FOLDER --signals smears-64-1024 --seconds 120

Plain torch; nothing is imported from the package. Encoder and decoder have 64 channels, and a
residual block at each resolution; strided convolutions halve the axes until a place of the
remaining grid has at least 8 numbers of the code. The code is linear, and so is the output. It is
trained by Adam on the mean squared error, with a learning rate that falls as a cosine over the
time; on crops where signals are large, since all of it is convolutional, else on whole signals.
``--signals`` takes the names of the rows of ``scale.py``.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

_CHANNELS, _LEAST_NUMBERS = 64, 8
_BATCH, _RATE = 16, 1e-3
_CROP = {1: 512, 2: 64}  # samples along each axis, where signals are larger
_CONVOLUTIONS = {1: nn.Conv1d, 2: nn.Conv2d}
_TRANSPOSED = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d}


class _Residual(nn.Module):
    def __init__(self, n_axes: int) -> None:
        super().__init__()
        convolution = _CONVOLUTIONS[n_axes]
        self.first = convolution(_CHANNELS, _CHANNELS, 3, padding=1)
        self.second = convolution(_CHANNELS, _CHANNELS, 3, padding=1)
        nn.init.zeros_(self.second.weight)  # each block is the identity at first
        nn.init.zeros_(self.second.bias)

    def forward(self, features: Tensor) -> Tensor:
        inner = self.first(functional.gelu(features))
        return features + self.second(functional.gelu(inner))


class ConvAutoencoder(nn.Module):
    """Signals to a grid of codes and back.

    Parameters
    ----------
    n_axes, n_channels : int
        Of a signal.
    n_halvings : int
        How often each axis is halved.
    n_numbers : int
        Of the code, at each place of the grid that is left.
    """

    def __init__(self, n_axes: int, n_channels: int, n_halvings: int, n_numbers: int) -> None:
        super().__init__()
        convolution, transposed = _CONVOLUTIONS[n_axes], _TRANSPOSED[n_axes]
        down: list[nn.Module] = []
        up: list[nn.Module] = [convolution(n_numbers, _CHANNELS, 1)]
        for i in range(n_halvings):
            n_in = n_channels if i == 0 else _CHANNELS
            down += [convolution(n_in, _CHANNELS, 3, stride=2, padding=1), _Residual(n_axes)]
            n_out = n_channels if i == n_halvings - 1 else _CHANNELS
            up += [_Residual(n_axes), transposed(_CHANNELS, n_out, 4, stride=2, padding=1)]
        self.encoder = nn.Sequential(*down, convolution(_CHANNELS, n_numbers, 1))
        self.decoder = nn.Sequential(*up)

    def forward(self, signals: Tensor) -> Tensor:
        """Return signals of shape (B, c, *shape) after encoding and decoding."""
        decoded = self.decoder(self.encoder(signals))
        # Odd sizes were halved upwards.
        for axis, size in enumerate(signals.shape[2:], start=2):
            decoded = decoded.narrow(axis, 0, size)
        return decoded


def grid_of_codes(shape: tuple[int, ...], latent_dim: int) -> tuple[int, int]:
    """Return how often axes are halved, and the numbers of the code at each place that is left.

    Parameters
    ----------
    shape : tuple of int
        Of a signal, channels left out.
    latent_dim : int
        P, the most numbers that a code may have.
    """
    n_halvings, left = 0, shape
    while True:
        n_halvings, left = n_halvings + 1, tuple(-(-n // 2) for n in left)
        n_numbers = latent_dim // math.prod(left)
        if n_numbers >= _LEAST_NUMBERS or math.prod(left) == 1:
            return n_halvings, max(1, n_numbers)


def fit_and_score(
    train: np.ndarray,
    held_out: np.ndarray,
    latent_dim: int,
    n_axes: int,
    seconds: float,
    seed: int,
) -> float:
    """Train an autoencoder and return the mean PSNR of held-out signals in dB, for a peak of one.

    Parameters
    ----------
    train, held_out : array of shape (n, *shape) or (n, *shape, c)
        Signals.
    latent_dim : int
        P, numbers of a signal's code.
    n_axes : int
        1 or 2.
    seconds : float
        Of training, all included.
    seed : int
        Of weights and batches.

    Raises
    ------
    ValueError
        If signals have more axes than two, or there are none to train on.
    """
    if n_axes not in _CONVOLUTIONS:
        raise ValueError(f"n_axes must be 1 or 2, got {n_axes}")
    if len(train) == 0:
        raise ValueError("train must hold at least one signal, got none")
    end = time.perf_counter() + seconds
    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    shape = train.shape[1 : 1 + n_axes]
    columns = train.reshape(len(train), math.prod(shape), -1)
    sample = columns[random.permutation(len(train))[:256]]
    centre, spread = sample.mean(axis=(0, 1)), max(float(sample.std()), 1e-6)
    n_channels = columns.shape[-1]
    model = ConvAutoencoder(n_axes, n_channels, *grid_of_codes(shape, latent_dim))
    _train(model, train.reshape(len(train), *shape, n_channels), centre, spread, end, random)
    errors = []
    with torch.no_grad():
        for signal in held_out.reshape(len(held_out), *shape, n_channels):
            wanted = _tensors(signal[None], centre, spread)
            errors.append(float((model(wanted) - wanted).square().mean()) * spread**2)
    return float(np.mean(-10 * np.log10(np.maximum(errors, 1e-12))))


def _train(
    model: ConvAutoencoder,
    signals: np.ndarray,
    centre: np.ndarray,
    spread: float,
    end: float,
    random: np.random.Generator,
) -> None:
    n_axes = signals.ndim - 2
    sizes = [min(n, _CROP[n_axes]) for n in signals.shape[1:-1]]
    optimizer = torch.optim.Adam(model.parameters(), lr=_RATE)
    began = time.perf_counter()
    while (now := time.perf_counter()) < end:
        done = (now - began) / (end - began)
        for group in optimizer.param_groups:
            group["lr"] = _RATE * 0.5 * (1 + math.cos(math.pi * done))
        crops = []
        for i in random.integers(len(signals), size=_BATCH):
            at = [
                random.integers(n - m + 1) for n, m in zip(signals.shape[1:], sizes, strict=False)
            ]
            place = tuple(slice(a, a + m) for a, m in zip(at, sizes, strict=True))
            crops.append(signals[i][place])
        wanted = _tensors(np.stack(crops), centre, spread)
        optimizer.zero_grad(set_to_none=True)
        functional.mse_loss(model(wanted), wanted).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()


def _tensors(signals: np.ndarray, centre: np.ndarray, spread: float) -> Tensor:
    scaled = ((signals - centre) / spread).astype(np.float32)
    return torch.from_numpy(scaled).movedim(-1, 1).contiguous()


def main() -> None:
    """Train on the signals asked for, and print the PSNR."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, metavar="DATA_FOLDER")
    parser.add_argument("--signals", nargs="+", default=["smears-64-1024"])
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from scale import ROWS
    from tables import print_table

    if unknown := set(args.signals) - set(ROWS):
        parser.error(f"--signals must be among {sorted(ROWS)}, got {sorted(unknown)}")
    table = []
    for name in args.signals:
        data = ROWS[name].data(args.folder)
        train, held_out = data.train, data.held_out
        n_axes = len([d for d in train.dims if d not in ("sample", "channel")])
        n_halvings, n_numbers = grid_of_codes(train.shape[1 : 1 + n_axes], ROWS[name].latent_dim)
        found = fit_and_score(
            train.values, held_out.values, ROWS[name].latent_dim, n_axes, args.seconds, args.seed
        )
        row = {"signals": name, "halvings": n_halvings, "numbers a place": n_numbers}
        table.append(row | {"seconds": args.seconds, "PSNR": round(found, 2)})
    print_table(table)


if __name__ == "__main__":
    main()
