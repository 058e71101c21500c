"""Everything that encoding and decoding need, apart from the estimator."""

from __future__ import annotations

import copy
import hashlib
import inspect
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from neurfield.decibels import psnr_of
from neurfield.fields import Field
from neurfield.learning import Context, ContextStore, encode_store
from neurfield.learning.footprint import encoding
from neurfield.learning.lanes import each_in_lanes, lane_count
from neurfield.learning.lapped.posterior import LappedPosterior
from neurfield.learning.posterior import Posterior
from neurfield.learning.solvers import InnerSolver
from neurfield.memory import at_once, libraries, room
from neurfield.signals import CoordinateFrame, Signals, Units, grid_points
from neurfield.signals.patches import Decoder
from neurfield.spec import plain


@dataclass
class Codec:
    """A trained field with the maps to and from the caller's units.

    Small and picklable, so that it can be sent to workers that encode or decode.

    Parameters
    ----------
    field : Field
        The trained network; its device and dtype are the codec's.
    solver : InnerSolver
        Finds the latents of signals, with θ fixed.
    units : Units
        Coordinates and scaling of what the field describes.
    posterior : Posterior or LappedPosterior, optional
        How sure decoded values are; None where fit could not tell.
    """

    #: Whether signals may have another size than those of fit.
    any_size: ClassVar[bool] = False

    field: Field
    solver: InnerSolver
    units: Units
    posterior: Posterior | LappedPosterior | None = None

    @property
    def device(self) -> torch.device:
        """Where the field lives."""
        return next(self.field.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the field."""
        return next(self.field.parameters()).dtype

    @property
    def value_dtype(self) -> type[np.floating]:
        """Type of decoded values: float32 unless that would lose what the field knows."""
        wide = self.dtype == torch.float64 or self.units.needs_double
        return np.float64 if wide else np.float32

    @property
    def latent_size(self) -> int:
        """Length of what describes one signal."""
        return self.field.latent_dim

    @property
    def whole_frame(self) -> CoordinateFrame:
        """Frame of whole signals, which is not that of the field where it describes patches."""
        return self.units.frame

    @property
    def fitter(self) -> InnerSolver:
        """What fits latents of signals, with gaps or without: by default the solver."""
        return self.solver

    @property
    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits that tell fields apart by what they decode latents to.

        The weights and options of the field and its units take part; how latents are found, where
        the field lives and in which precision do not.
        """
        facts = json.dumps(self._decoding_facts(), sort_keys=True, default=str)
        digest = hashlib.sha256(facts.encode())
        for name, tensor in sorted(self.field.state_dict().items()):
            digest.update(f"{name}{tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().float().contiguous().numpy().tobytes())
        return digest.hexdigest()[:16]

    def _decoding_facts(self) -> dict[str, Any]:
        """Return what decoding depends on besides weights, as plain values."""
        field, units = self.field, self.units
        usual = {
            name: plain(parameter.default)
            for name, parameter in inspect.signature(type(field)).parameters.items()
        }
        ends = np.array([[-1.0], [1.0]])
        return {
            # Without defaults, so that options that later versions add do not change it.
            "options": {
                name: plain(value)
                for name, value in field.config().items()
                if name not in usual or plain(value) != usual[name]
            },
            "coordinates": _in_words(units.invert_coordinates(ends * np.ones(field.in_dim))),
            "values": _in_words(units.invert_values(ends * np.ones(field.out_dim))),
        }

    def pieces(self, signals: Signals) -> Signals:
        """Return what the field describes, given whole signals: by default, the signals themselves.

        Parameters
        ----------
        signals : Signals
            Whole ones, in the caller's units.
        """
        return signals

    def codes(self, latents: np.ndarray) -> np.ndarray:
        """Return the latents of what the field describes, one a row, given those of whole signals.

        Parameters
        ----------
        latents : array of shape (n, latent_size)
            As :meth:`encode` returns them; a row holds the P numbers of each patch, where the field
            describes patches.
        """
        return latents.reshape(-1, self.field.latent_dim)

    def across(self, decoder: Decoder) -> Decoder:
        """Return what evaluates whole signals, given what evaluates what the field describes.

        Parameters
        ----------
        decoder : callable
            Takes which rows of :meth:`codes`, an int array of shape (n,), and points as
            :meth:`values` does; returns a sequence of arrays of shape (n, M, c).
        """
        return decoder

    def latents_on(self, axes: Sequence[np.ndarray]) -> int:
        """Return how many numbers describe a signal on a grid.

        Parameters
        ----------
        axes : sequence of d arrays
            Coordinates along each axis, in the caller's units.
        """
        return self.latent_size

    def for_latents(self, length: int, axes: Sequence[np.ndarray] | None, what: str) -> Codec:
        """Return the codec that decodes latents of some length: this one where all have one.

        Parameters
        ----------
        length : int
            Of the latents.
        axes : sequence of d arrays, or None
            Grid of the signals that they describe; None = that of fit.
        what : str
            Name of what the caller gave the grid by, for messages.

        Raises
        ------
        ValueError
            If signals on that grid have latents of another length.
        """
        return self

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
            Whole ones, in the caller's units; their values are not copied.
        """
        pieces = self.pieces(signals)
        return ContextStore(pieces, self.units, self.dtype, self.device)

    def stores(self, signals: Signals) -> list[tuple[Codec, ContextStore]]:
        """Return what is encoded together, each with its codec: here, all signals with this one.

        Parameters
        ----------
        signals : Signals
            As :meth:`store` takes them.
        """
        return [(self, self.store(signals))]

    def encode(self, signals: Signals) -> np.ndarray:
        """Fit one latent per signal: float32 array of shape (n, latent_size).

        Parameters
        ----------
        signals : Signals
            Whole ones, in the caller's units, on one grid or several; NaN marks a value not
            observed.
        """
        found = encode_store(self.field, self.fitter, self.store(signals))
        return found.cpu().numpy().astype(np.float32, copy=False).reshape(len(signals), -1)

    def decode(self, latents: np.ndarray, points: np.ndarray) -> np.ndarray:
        """Evaluate the field.

        Parameters
        ----------
        latents : array of shape (n, latent_size)
            As :meth:`encode` returns them, a row for each signal.
        points : array of shape (M, d)
            In the caller's units, shared by all signals.

        Returns
        -------
        array of shape (n, M, c), of :attr:`value_dtype`
            Values of each signal at each point, in the caller's units.
        """
        codes = self.codes(latents)
        decoder = self.across(lambda rows, where: [self.values(codes[rows], where)])
        return decoder(np.arange(len(latents)), points)[0]

    def values(self, codes: np.ndarray, points: np.ndarray) -> np.ndarray:
        """Evaluate what the field itself describes.

        Parameters
        ----------
        codes : array of shape (n, P)
            As :meth:`codes` returns them.
        points : array of shape (M, d)
            In the caller's units; of a patch, from its first grid point on.

        Returns
        -------
        array of shape (n, M, c), of :attr:`value_dtype`
            Values in the caller's units; on a CPU, no row depends on the others.
        """
        coords = torch.as_tensor(
            self.units.coordinates(points), dtype=self.dtype, device=self.device
        )
        latents = torch.as_tensor(codes, dtype=self.dtype, device=self.device)
        most = max(1, at_once("signals", self.device) // self.field.modulation_size)
        shape = len(latents), len(coords), self.field.out_dim
        decoded = np.empty(shape, dtype=self.value_dtype)
        if self.device.type != "cpu":
            n_points = min(len(coords), most)
            n_signals = max(1, most // n_points)
            with torch.no_grad():
                for i in range(0, len(latents), n_signals):
                    for j in range(0, len(coords), n_points):
                        block = self.field(coords[j : j + n_points], latents[i : i + n_signals])
                        values = self.units.invert_values(block.cpu().double().numpy())
                        decoded[i : i + n_signals, j : j + n_points] = values
            return decoded
        # One signal after another: what is decoded with it must not change its rounding.
        starts = range(0, len(coords), most)

        def of_block(item: int, lane: int) -> None:
            i, j = divmod(item, len(starts))
            where = slice(starts[j], starts[j] + most)
            block = self.field(coords[where], latents[i : i + 1].clone())[0]
            decoded[i, where] = self.units.invert_values(block.double().numpy())

        each_in_lanes(of_block, len(latents) * len(starts))
        return decoded

    def decode_grid(self, latents: np.ndarray, axes: Sequence[np.ndarray]) -> np.ndarray:
        """Evaluate the field on a grid: array of shape (n, *shape, c).

        Parameters
        ----------
        latents : array of shape (n, latent_size)
            As :meth:`encode` returns them, a row for each signal.
        axes : sequence of d arrays
            Coordinates along each axis, in the caller's units.
        """
        shape = tuple(len(axis) for axis in axes)
        return self.decode(latents, grid_points(axes)).reshape(len(latents), *shape, -1)

    def std(
        self,
        codes: np.ndarray,
        rows: np.ndarray,
        points: np.ndarray,
        observed: ContextStore | None,
    ) -> np.ndarray:
        """Return the standard deviation of values at points, as :class:`Posterior` has it.

        Parameters
        ----------
        codes : array of shape (n, P)
            Latents of what the field describes, as :meth:`codes` returns them.
        rows : int array of shape (m,)
            Which of them to take.
        points : array of shape (M, d)
            As in :meth:`values`.
        observed : ContextStore or None
            What was observed of the signals of `codes`, in their order; None = all of the grid of
            fit.

        Returns
        -------
        array of shape (m, M, c), of :attr:`value_dtype`
            Standard deviation in the caller's units, noise included.
        """
        assert self.posterior is not None
        contexts: list[Context | None] = [None] * len(rows)
        if observed is not None:
            contexts = [observed.batch(rows[i : i + 1]) for i in range(len(rows))]
        scaled = self.posterior.std(self.field, self.units, codes[rows], points, contexts)
        return (scaled * self.units.value_scale).astype(self.value_dtype)

    def reconstruction_psnr(self, signals: Signals) -> np.ndarray:
        """Encode and decode each signal where it was observed: PSNR in dB, of shape (n,).

        The peak is the range of the training values, channel by channel.

        Parameters
        ----------
        signals : Signals
            Whole ones, in the caller's units; values that are NaN do not count.
        """
        store = self.store(signals)
        data_range = self.units.scaled_range
        weight = torch.as_tensor(1.0 / data_range, dtype=self.dtype, device=self.device)
        psnr = np.empty(len(store))

        def measure(positions: np.ndarray, context: Context, latents: Tensor) -> None:
            residual = context.residual(self.field(context.coords, latents)) * weight
            mse = residual.double().square().sum(dim=(1, 2)) / context.counts()
            psnr[positions] = psnr_of(mse.cpu())

        def visit(positions: np.ndarray, context: Context, latents: Tensor) -> None:
            if self.device.type != "cpu":
                measure(positions, context, latents)
                return
            sizes = store.points_per_signal[positions]

            def of_signal(i: int, lane: int) -> None:
                here = slice(i, i + 1)
                measure(positions[here], context.alone(i, int(sizes[i])), latents[here].clone())

            each_in_lanes(of_signal, len(positions))

        encode_store(self.field, self.fitter, store, visit=visit)
        return psnr

    def decoding_bytes(self, derivatives: bool = False) -> float:
        """Return about how many bytes are in use while values are decoded, beside these.

        Parameters
        ----------
        derivatives : bool, default=False
            Whether they are also differentiated, by coordinates or by latents.
        """
        numbers = at_once("signals", self.device)
        if derivatives:
            numbers = max(numbers, at_once("derivatives"))
        of_lane = 2 * max(numbers, self.field.modulation_size) * self.dtype.itemsize
        return lane_count(self.device) * of_lane

    def with_steps(self, steps: int | None) -> Self:
        """Return the same codec with another number of solver steps.

        Parameters
        ----------
        steps : int or None
            H, steps that fit a latent; None = as many as it has.
        """
        if steps is None:
            return self
        solver = copy.copy(self.solver)
        solver.steps = steps
        return replace(self, solver=solver)

    def to(self, device: torch.device) -> Codec:
        """Move the field and its solver to a device, in place.

        Parameters
        ----------
        device : torch.device
            Where the codec is to encode and decode from then on.
        """
        self.field.to(device)
        for name, value in vars(self.solver).items():
            if isinstance(value, Tensor):
                setattr(self.solver, name, value.to(device))
        return self


def _in_words(numbers: np.ndarray) -> list[str]:
    """Write numbers with nine digits, which the last bit of a sum does not change."""
    return [f"{number:.9g}" for number in numbers.ravel()]


@contextmanager
def encoding_room(
    codec: Codec, signals: Signals, budget: float | None, what: str, verbose: int = 0
) -> Iterator[None]:
    """Make blocks so small, inside a ``with``, that encoding takes no more memory than it may.

    Parameters
    ----------
    codec : Codec
        What is to encode.
    signals : Signals
        Whole signals that are to be encoded.
    budget : int, float or None
        Most memory that it may take, as :func:`neurfield.memory.room` has it.
    what : str
        Name of the work in messages, such as "transform".
    verbose : int, default=0
        Whether to print what it takes.

    Raises
    ------
    ValueError
        If a budget that was asked for is too small for the smallest blocks.
    """
    stores = codec.stores(signals)

    def need() -> float:
        loaded = libraries(codec.device, compiled=codec.field.has_sweeps, trains=False)
        of_signals = max(encoding(own.field, own.fitter, store) for own, store in stores)
        return loaded + max(of_signals, codec.decoding_bytes())

    with room(budget, need, codec.device, what, verbose):
        yield
