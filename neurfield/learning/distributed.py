"""Processes that fit one field together, each with its share of every batch."""

from __future__ import annotations

import inspect
import multiprocessing
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

T = TypeVar("T")


@dataclass(frozen=True)
class World:
    """The processes of a fit. All draw the same batches; what they disagree on, the first decides.

    Every method but :meth:`share` waits for the other processes, so that all have to call it. Of
    one process alone, each does nothing.

    Parameters
    ----------
    rank : int, default=0
        Which of the processes this is.
    size : int, default=1
        How many there are.

    Examples
    --------
    >>> World().share(5), World(rank=1, size=2).share(5)
    (slice(None, None, None), tensor([1, 3]))
    """

    rank: int = 0
    size: int = 1

    @classmethod
    def here(cls) -> Self:
        """Return the processes that torch.distributed knows of, or one alone.

        In a process that ``torchrun`` has started, the default group is made where the caller has
        not done so, with a GPU for each process where there are any.
        """
        if not dist.is_available():
            return cls()
        if not dist.is_initialized():
            # Workers that such a process starts in turn have its environment and are none of them.
            if not dist.is_torchelastic_launched() or multiprocessing.parent_process() is not None:
                return cls()
            if torch.cuda.is_available():
                torch.cuda.set_device(int(os.environ["LOCAL_RANK"]) % torch.cuda.device_count())
            dist.init_process_group()
        return cls(dist.get_rank(), dist.get_world_size())

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes and prints."""
        return self.rank == 0

    def share(self, n: int) -> slice | Tensor:
        """Return which signals of a batch are this process's own.

        Every k-th of them, so that of the first signals of a batch each process has as many, too.
        Of fewer signals than processes, all are everyone's.

        Parameters
        ----------
        n : int
            Signals of the batch.
        """
        if self.size == 1 or n < self.size:
            return slice(None)
        return torch.arange(self.rank, n, self.size)

    def joined(self, numbers: Tensor, n: int) -> Tensor:
        """Return the numbers of all signals of a batch, from those of each process's share.

        Parameters
        ----------
        numbers : Tensor of shape (m,)
            One for each signal of the share.
        n : int
            Signals of the batch.

        Returns
        -------
        Tensor of shape (n,)
            The same in every process. Its gradient is that of :meth:`total`.
        """
        share = self.share(n)
        if isinstance(share, slice):
            return numbers
        return self.total(numbers.new_zeros(n).index_copy(0, share.to(numbers.device), numbers))

    def total(self, numbers: Tensor) -> Tensor:
        """Add up what each process has.

        Parameters
        ----------
        numbers : Tensor
            Of one shape in all processes.

        Returns
        -------
        Tensor
            The sum, the same in every process. Gradients of parameters are those of a function of
            it once they have been averaged over processes, as DistributedDataParallel does.
        """
        if self.size == 1:
            return numbers
        summed: Tensor = _Total.apply(numbers, self.size)
        return summed

    def wrapped(self, step: nn.Module) -> nn.Module:
        """Return a module whose gradients are averaged over processes.

        Parameters
        ----------
        step : Module
            Its parameters and buffers become those of the first process.
        """
        if self.size == 1:
            return step
        wrapper = nn.parallel.DistributedDataParallel
        arguments = inspect.signature(wrapper).parameters
        # Buffers follow from parameters and batches, so they need not be sent in each step. Since
        # torch 2.13 the argument has this name.
        new, old = "forward_sync_buffers", "broadcast_buffers"
        own: dict[str, Any] = {new if new in arguments else old: False}
        # The graph is the same in each step and says which parameters have no part in the loss.
        return wrapper(step, static_graph=True, **own)

    def decided(self, number: float) -> float:
        """Return the number that the first process has.

        Parameters
        ----------
        number : float
            Such as a time, which differs between processes.
        """
        if self.size == 1:
            return number
        flag = _flag(number)
        dist.broadcast(flag, src=0)
        return float(flag)

    def any(self, flag: bool) -> bool:
        """Tell whether a flag is set in any process.

        Parameters
        ----------
        flag : bool
            That of this process.
        """
        return -self.smallest(-float(flag)) > 0

    def smallest(self, number: float) -> float:
        """Return the smallest of all processes' numbers.

        Parameters
        ----------
        number : float
            That of this process.
        """
        if self.size == 1:
            return number
        flag = _flag(number)
        dist.all_reduce(flag, op=dist.ReduceOp.MIN)
        return float(flag)

    def from_first(self, work: Callable[[], T]) -> T:
        """Return what some work gives in the first process, which alone does it.

        Parameters
        ----------
        work : callable
            Takes nothing and returns what can be pickled. Its errors are raised everywhere.
        """
        if self.size == 1:
            return work()
        sent: list[Any] = [None, None]  # what is found, and the error
        if self.is_first:
            try:
                sent[0] = work()
            except Exception as error:
                sent[1] = error
        dist.broadcast_object_list(sent, src=0)
        if sent[1] is not None:
            raise sent[1]
        found: T = sent[0]
        return found

    def check_same(self, facts: dict[str, Any]) -> None:
        """Refuse a fit that processes were not all asked for.

        Parameters
        ----------
        facts : dict
            Parameters and a digest of the data, by name.

        Raises
        ------
        ValueError
            In every process, if facts differ between processes.
        """
        if self.size == 1:
            return
        each: list[Any] = [None] * self.size
        dist.all_gather_object(each, facts)
        names = {name for other in each for name in other}
        unlike = sorted(n for n in names if any(o.get(n) != each[0].get(n) for o in each))
        if unlike:
            raise ValueError(
                f"the {self.size} processes of a fit must be given the same signals and "
                f"parameters, and theirs differ in {unlike}"
            )


class _Total(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, numbers: Tensor, size: int) -> Tensor:
        ctx.size = size
        summed = numbers.detach().clone()
        dist.all_reduce(summed)
        return summed

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        # Each process has the gradient by its own part; the mean over processes is to be the sum.
        return gradient * ctx.size, None


def _flag(number: float) -> Tensor:
    """Return a number where the default group can send it."""
    on_cpu = "cpu" in dist.get_backend_config()
    return torch.tensor(float(number), dtype=torch.float64, device=None if on_cpu else "cuda")
