"""Everything that encoding and decoding need, apart from the estimator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from neurfield.fields import Field
from neurfield.learning import Context, ContextStore, encode_store
from neurfield.learning.encoding import numbers_at_once
from neurfield.learning.solvers import InnerSolver
from neurfield.posterior import Posterior, Recorder
from neurfield.signals import CoordinateFrame, Signals, ValueScaler, grid_points
from neurfield.signals.patches import Reader


@dataclass
class Codec:
    """A trained field with the maps to and from the caller's units.

    Small and picklable, so that it can be sent to workers that encode or decode.

    Parameters
    ----------
    field : Field
    solver : InnerSolver
        Finds latents.
    frame : CoordinateFrame
    scaler : ValueScaler
    posterior : Posterior, optional
        How sure decoded values are, where fit could tell.
    """

    field: Field
    solver: InnerSolver
    frame: CoordinateFrame
    scaler: ValueScaler
    posterior: Posterior | None = None

    @property
    def device(self) -> torch.device:
        """Where the field lives."""
        return next(self.field.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the field."""
        return next(self.field.parameters()).dtype

    @property
    def latent_size(self) -> int:
        """Length of what describes one signal."""
        return self.field.latent_dim

    @property
    def extent(self) -> CoordinateFrame:
        """Extent of the signals in fit."""
        return self.frame

    def across(self, read: Reader) -> Reader:
        """Return what evaluates whole signals, given what evaluates what the field describes.

        Parameters
        ----------
        read : callable
            Takes latents and points in the frame's units.
        """
        return read

    def latent_names(self, axis_names: Sequence[str]) -> list[str] | None:
        """Return what each latent is called; None if by its number.

        Parameters
        ----------
        axis_names : sequence of d str
            Names of the coordinate axes.
        """
        return self.field.latent_names(axis_names)

    def store(self, signals: Signals) -> ContextStore:
        """Return the signals in this codec's units, ready to be read in batches.

        Parameters
        ----------
        signals : Signals
        """
        return ContextStore(signals, self.frame, self.scaler, self.dtype, self.device)

    def encode(self, signals: Signals) -> np.ndarray:
        """Fit one latent per signal: float32 array of shape (n, P).

        Parameters
        ----------
        signals : Signals
        """
        notes = None if self.posterior is None else Recorder(self.posterior, self, signals)
        visit = None if notes is None else notes.visit
        found = encode_store(self.field, self.solver, self.store(signals), visit=visit)
        latents = found.cpu().numpy().astype(np.float32)
        if notes is not None:
            notes.finish(latents)
        return latents

    def decode(self, latents: np.ndarray, points: np.ndarray) -> np.ndarray:
        """Evaluate the field.

        Parameters
        ----------
        latents : array of shape (n, P)
        points : array of shape (M, d)
            In the caller's units, shared by all signals.

        Returns
        -------
        float32 array of shape (n, M, c), in the caller's units
        """
        coords = torch.as_tensor(self.frame.normalise(points), dtype=self.dtype, device=self.device)
        codes = torch.as_tensor(latents, dtype=self.dtype, device=self.device)
        most = max(1, numbers_at_once(self.device) // self.field.modulation_size)
        decoded = np.empty((len(codes), len(coords), self.field.out_dim), dtype=np.float32)
        n_points = min(len(coords), most)
        n_signals = max(1, most // n_points)
        with torch.no_grad():
            for i in range(0, len(codes), n_signals):
                for j in range(0, len(coords), n_points):
                    block = self.field(coords[j : j + n_points], codes[i : i + n_signals])
                    values = self.scaler.invert(block.cpu().double().numpy())
                    decoded[i : i + n_signals, j : j + n_points] = values
        return decoded

    def decode_grid(self, latents: np.ndarray, axes: Sequence[np.ndarray]) -> np.ndarray:
        """Evaluate the field on a grid: float32 array of shape (n, *shape, c).

        Parameters
        ----------
        latents : array of shape (n, P)
        axes : sequence of d arrays
            Coordinates along each axis, in the caller's units.
        """
        points = grid_points(axes)
        shape = tuple(len(axis) for axis in axes)
        return self.decode(latents, points).reshape(len(latents), *shape, -1)

    def reconstruction_psnr(self, signals: Signals) -> np.ndarray:
        """Encode and decode each signal where it was observed: PSNR in dB, of shape (n,).

        The peak is the range of the training values, channel by channel.

        Parameters
        ----------
        signals : Signals
        """
        store = self.store(signals)
        data_range = self.scaler.data_range / self.scaler.scale
        weight = torch.as_tensor(1.0 / data_range, dtype=self.dtype, device=self.device)
        psnr = np.empty(len(store))

        def visit(positions: np.ndarray, context: Context, latents: Tensor) -> None:
            residual = context.residual(self.field(context.coords, latents)) * weight
            mse = residual.double().square().sum(dim=(1, 2)) / context.counts()
            psnr[positions] = (-10.0 * torch.log10(mse.clamp_min(1e-20))).cpu().numpy()

        encode_store(self.field, self.solver, store, visit=visit)
        return psnr

    def to(self, device: torch.device) -> Codec:
        """Move the field and its solver to a device, in place.

        Parameters
        ----------
        device : torch.device
        """
        self.field.to(device)
        for name, value in vars(self.solver).items():
            if isinstance(value, Tensor):
                setattr(self.solver, name, value.to(device))
        return self
