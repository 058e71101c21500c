"""The network of the convolutional autoencoder."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

_CHANNELS, _LEAST_NUMBERS = 64, 8
_CONVOLUTIONS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
_TRANSPOSED = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}


class _Residual(nn.Module):
    def __init__(self, n_axes: int) -> None:
        super().__init__()
        convolution = _CONVOLUTIONS[n_axes]
        self.first = convolution(_CHANNELS, _CHANNELS, 3, padding=1)
        self.second = convolution(_CHANNELS, _CHANNELS, 3, padding=1)
        nn.init.zeros_(self.second.weight)  # each block is the identity at first
        assert self.second.bias is not None
        nn.init.zeros_(self.second.bias)

    def forward(self, features: Tensor) -> Tensor:
        inner = self.first(functional.gelu(features))
        return features + self.second(functional.gelu(inner))


class ConvCoder(nn.Module):
    """Signals to a grid of codes and back.

    Parameters
    ----------
    n_axes, n_channels : int
        Of a signal.
    n_halvings : int
        How often each axis is halved.
    n_numbers : int
        Of the code, at each place of the grid that is left.
    variational : bool
        Whether the code has a variance.
    """

    def __init__(
        self, n_axes: int, n_channels: int, n_halvings: int, n_numbers: int, variational: bool
    ) -> None:
        super().__init__()
        convolution, transposed = _CONVOLUTIONS[n_axes], _TRANSPOSED[n_axes]
        down: list[nn.Module] = []
        up: list[nn.Module] = [convolution(n_numbers, _CHANNELS, 1)]
        for i in range(n_halvings):
            n_in = n_channels if i == 0 else _CHANNELS
            down += [convolution(n_in, _CHANNELS, 3, stride=2, padding=1), _Residual(n_axes)]
            n_out = n_channels if i == n_halvings - 1 else _CHANNELS
            up += [_Residual(n_axes), transposed(_CHANNELS, n_out, 4, stride=2, padding=1)]
        self.variational = variational
        n_found = 2 * n_numbers if variational else n_numbers
        self.encoder = nn.Sequential(*down, convolution(_CHANNELS, n_found, 1))
        self.decoder = nn.Sequential(*up)

    def encode(self, signals: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return codes, or their means, and the logarithm of their variances, where they have any.

        Parameters
        ----------
        signals : tensor of shape (B, c, *shape)
            Signals.
        """
        found = self.encoder(signals)
        if not self.variational:
            return found, None
        mean, log_variance = found.chunk(2, dim=1)
        return mean, log_variance

    def decode(self, codes: Tensor, shape: Sequence[int]) -> Tensor:
        """Return signals of shape (B, c, *shape).

        Parameters
        ----------
        codes : tensor of shape (B, n_numbers, *grid)
            Codes.
        shape : sequence of int
            Points along each axis; odd sizes were halved upwards.
        """
        decoded: Tensor = self.decoder(codes)
        for axis, size in enumerate(shape, start=2):
            decoded = decoded.narrow(axis, 0, size)
        return decoded


def grid_of_codes(shape: Sequence[int], latent_dim: int) -> tuple[int, int]:
    """Return how often axes are halved, and the numbers of the code at each place that is left.

    Parameters
    ----------
    shape : sequence of int
        Of a signal, channels left out.
    latent_dim : int
        P, the most numbers that a code may have.
    """
    n_halvings = 1
    while True:
        n_places = math.prod(code_grid(shape, n_halvings))
        n_numbers = latent_dim // n_places
        if n_numbers >= _LEAST_NUMBERS or n_places == 1:
            return n_halvings, max(1, n_numbers)
        n_halvings += 1


def code_grid(shape: Sequence[int], n_halvings: int) -> tuple[int, ...]:
    """Return the places along each axis that are left after some halvings, each upwards.

    Parameters
    ----------
    shape : sequence of int
        Of a signal, channels left out.
    n_halvings : int
        How often each axis is halved.
    """
    return tuple(-(-n // 2**n_halvings) for n in shape)
