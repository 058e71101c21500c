"""Encoding and decoding of signals patch by patch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from neurfield.codec import Codec
from neurfield.decibels import psnr_of
from neurfield.memory import at_once
from neurfield.signals import CoordinateFrame, Signals, grid_points
from neurfield.signals.patches import Decoder, PatchGrid


@dataclass
class PatchedCodec(Codec):
    """A codec of patches that takes and returns latents and points of whole signals.

    The latents of a signal are those of its patches, one after the other, in C order.

    Parameters
    ----------
    field : Field
        The trained network, which describes one patch by P numbers.
    solver : InnerSolver
        Finds the latents of patches, each on its own.
    units : Units
        Of a patch: coordinates count from its first grid point on; all share one scaling.
    posterior : Posterior, optional
        How sure the values of a patch are; None where fit could not tell.
    patches : PatchGrid
        Where the patches of a signal are.

    References
    ----------
    Dupont et al., "COIN++: Neural Compression Across Modalities", TMLR 2022 (patches).
    """

    patches: PatchGrid = field(kw_only=True)

    @property
    def latent_size(self) -> int:
        """Length of what describes one signal."""
        return self.patches.n_patches * self.field.latent_dim

    def latent_names(self, axis_names: Sequence[str]) -> list[str]:
        """Name each latent by its patch, along each axis, and its place there: "p0_3_l12"."""
        places = super().latent_names(axis_names)
        if places is None:
            places = [f"l{place}" for place in range(self.field.latent_dim)]
        return [f"{label}_{place}" for label in self.patches.labels for place in places]

    @property
    def whole_frame(self) -> CoordinateFrame:
        """Extent of whole signals in fit."""
        return self.patches.whole_frame

    def _decoding_facts(self) -> dict[str, Any]:
        return {**super()._decoding_facts(), "patches": self.patches.to_dict()}

    def across(self, decoder: Decoder) -> Decoder:
        return self.patches.across(decoder)

    def pieces(self, signals: Signals) -> Signals:
        return self.patches.split(signals)

    def reconstruction_psnr(self, signals: Signals) -> np.ndarray:
        latents = self.encode(signals)
        psnr = np.empty(len(signals))
        for group in signals.groups:
            points = grid_points(group.axes)
            n_rows = max(1, at_once("signals", self.device) // (len(points) * self.field.out_dim))
            for start in range(0, len(group.positions), n_rows):
                rows = np.arange(start, min(start + n_rows, len(group.positions)))
                positions = group.positions[rows]
                values = group.values[rows].reshape(len(rows), len(points), -1)
                error = (values - self.decode(latents[positions], points)) / self.units.value_range
                mse = np.nanmean(np.square(error.astype(np.float64)), axis=(1, 2))
                psnr[positions] = psnr_of(mse)
        return psnr


def patches_of(codec: Codec) -> PatchGrid | None:
    """Return the patches that a codec cuts signals into; None for whole signals."""
    return codec.patches if isinstance(codec, PatchedCodec) else None


def with_patches(codec: Codec, patches: PatchGrid | None) -> Codec:
    """Return a codec of whole signals, given one of patches; the same where there are none.

    Parameters
    ----------
    codec : Codec
        Its field, solver, units and posterior are shared, not copied.
    patches : PatchGrid or None
        What the codec's field describes; None where that is whole signals.
    """
    return codec if patches is None else PatchedCodec(**vars(codec), patches=patches)
