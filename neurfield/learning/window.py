"""Random batches of signals that are read block by block."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from neurfield.learning.context import random_points


class BlockWindow:
    """A few blocks at a time, drawn at random, from which batches are drawn in turn.

    Reading 512 signals from 512 places would read as many blocks for each batch. Instead the
    window holds as many blocks as fit into memory; when about as many signals were drawn as its
    oldest block holds, another takes that block's place, so that the blocks are passed through in
    random order. Where all blocks fit, batches are drawn as from values in memory.

    Parameters
    ----------
    block_of : int array of shape (n,)
        The block that each signal is in.
    block_bytes : int array of shape (n_blocks,)
        Bytes that each block takes in memory.
    capacity : int
        Bytes that the window may hold; two blocks, and a batch, are held in any case.
    """

    def __init__(self, block_of: np.ndarray, block_bytes: np.ndarray, capacity: int) -> None:
        self.block_of, self.block_bytes, self.capacity = block_of, block_bytes, capacity
        self.sizes = np.bincount(block_of, minlength=len(block_bytes))
        self.used = np.flatnonzero(self.sizes).tolist()
        self.window: list[int] = []
        self.queue: list[int] = []
        self.n_drawn = 0

    @property
    def holds_all(self) -> bool:
        """Whether every signal is in the window at all times."""
        return len(self.used) <= 2 or int(self.block_bytes[self.used].sum()) <= self.capacity

    def draw(self, n_signals: int, generator: torch.Generator) -> np.ndarray:
        """Return which signals make up the next batch."""
        if self.holds_all:
            return random_points(len(self.block_of), n_signals, generator).numpy()
        while self.window and self.n_drawn >= self.sizes[self.window[0]]:
            self.n_drawn -= int(self.sizes[self.window.pop(0)])
        while not self._is_full(self.window, n_signals):
            if not self.queue:
                self.queue = self._shuffled(set(self.used) - set(self.window), generator)
            self.window.append(self.queue.pop(0))
        self.n_drawn += n_signals
        return self._among(self.window, n_signals, generator)

    def sample(self, n_signals: int, generator: torch.Generator) -> np.ndarray:
        """Return some signals from blocks of their own, leaving the window as it is."""
        if self.holds_all:
            return random_points(len(self.block_of), n_signals, generator).numpy()
        blocks: list[int] = []
        for block in self._shuffled(set(self.used), generator):
            if self._is_full(blocks, 2 * n_signals):
                break
            blocks.append(block)
        return self._among(blocks, n_signals, generator)

    @property
    def state(self) -> dict[str, Any]:
        """Plain numbers that say where the window stands; may be set."""
        return {"window": self.window, "queue": self.queue, "n_drawn": self.n_drawn}

    @state.setter
    def state(self, state: dict[str, Any]) -> None:
        self.window, self.queue = list(state["window"]), list(state["queue"])
        self.n_drawn = state["n_drawn"]

    def _is_full(self, blocks: list[int], n_signals: int) -> bool:
        if len(blocks) == len(self.used):
            return True
        if len(blocks) < 2 or self.sizes[blocks].sum() < n_signals:
            return False
        held = self.block_bytes[blocks].sum()
        return bool(held + self.block_bytes[self.used].max() > self.capacity)

    @staticmethod
    def _shuffled(blocks: set[int], generator: torch.Generator) -> list[int]:
        ordered = sorted(blocks)
        return [ordered[i] for i in torch.randperm(len(ordered), generator=generator).tolist()]

    def _among(self, blocks: list[int], n_signals: int, generator: torch.Generator) -> np.ndarray:
        inside = np.flatnonzero(np.isin(self.block_of, blocks))
        return inside[random_points(len(inside), n_signals, generator).numpy()]
