"""Peers with a code of the latent's size, measured in the place of encoders."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from neurfield.evaluation.peers import BlockPCA, ConvAutoencoder
from neurfield.evaluation.tables.base import Budget, Figures
from neurfield.evaluation.tables.data import TableData
from neurfield.evaluation.tables.fits import OF_TRAINING, REDUCED_SECONDS, measure_coder

PEERS = ("block-pca", "autoencoder", "vae")
_FULL_SECONDS = 3600.0  # of training of what has no published number of steps
_BETA = 1e-3  # of the variational one; the code is for reconstruction, not for samples


def peer_settings(method: str, budget: Budget, latent_dim: int) -> dict[str, Any]:
    """Return a peer's latent size, and what it is made with.

    Of the caller's parameters those that mean the same for whatever is trained hold.
    """
    chosen: dict[str, Any] = {}
    if method != "block-pca":
        chosen["max_time"] = _FULL_SECONDS if budget.full else REDUCED_SECONDS
        if budget.max_time is not None:
            chosen["max_time"] = budget.max_time
        own = budget.parameters.items()
        chosen |= {name: value for name, value in own if name in OF_TRAINING}
    return {"latent_dim": latent_dim, "parameters": chosen}


def make_peer(
    method: str, latent_dim: int, parameters: Mapping[str, Any], seed: int
) -> BlockPCA | ConvAutoencoder:
    """Return an unfitted peer by name, for signals with channels along their last axis."""
    if method == "block-pca":
        return BlockPCA(latent_dim, **parameters, channel_axis=-1, random_state=seed)
    beta = _BETA if method == "vae" else 0.0
    return ConvAutoencoder(latent_dim, beta=beta, **parameters, channel_axis=-1, random_state=seed)


def measure_peer(peer: BlockPCA | ConvAutoencoder, data: TableData) -> Figures:
    """Fit a peer in place, and measure it on the signals it has not seen.

    Raises
    ------
    ValueError
        If the signals stand on grids of their own, or some of their values are missing.
    """
    return {
        **measure_coder(peer, *data.stacked(), data),
        "parameters": peer.n_parameters_,
    }
