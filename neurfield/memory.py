"""How much memory work may take, and how much of it is done at once to keep to that."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

MIB = 2**20

# How much of each kind of work is quickest at once, on a CPU and on other devices, in numbers where
# nothing else is said. All blocks follow from this table, and shrink together where it is too much.
AT_ONCE = {
    # One layer's activations in sweeps derived by hand: on a CPU few enough for its caches and
    # enough to outweigh the start of an operation; a GPU wants many at once.
    "activations": (2**18, 2**24),
    # Signals that are encoded or decoded; near a CPU's caches, twice to four times as fast.
    "signals": (2**22, 2**25),
    # Signals of one shape that a thread solves together, in the larger matrix of each: its Jacobian
    # or its normal equations. More would gain nothing beside the work on each.
    "together": (2**18, 2**24),
    # Points at which derivatives or errors of a field are taken, all that they need together.
    "derivatives": (2**24, 2**24),
    # Points of one signal, not numbers, that are linearized.
    "points": (2**12, 2**12),
    # A Jacobian at φ = 0 that all signals share; a larger one is computed signal by signal.
    "shared": (2**25, 2**25),
    # Values read together: small chunks of a file are joined, files without any are cut.
    "read": (2**20, 2**20),
    # Values of the signals that the choice of a field is tried on.
    "tried": (2**25, 2**25),
    # Bytes, of blocks that were read and are kept for the next batches.
    "cached": (2**27, 2**27),
}

_PART = 0.5  # of what is free, where nothing is asked for
_MOST_HALVINGS = 16
# What is loaded or compiled on first use in a process, by the module that shows it was.
_LIBRARIES = {"torch._dynamo": 70 * MIB, "neurfield.fields.fused.first_order": 105 * MIB}

_share: ContextVar[float] = ContextVar("share", default=1.0)


def at_once(kind: str, device: torch.device | None = None) -> int:
    """Return how much of a kind of work is done at once.

    Parameters
    ----------
    kind : str
        A key of the table above.
    device : torch.device, optional
        Where it is done; by default a CPU.

    Examples
    --------
    >>> at_once("points")
    4096
    """
    on_cpu, elsewhere = AT_ONCE[kind]
    size = on_cpu if device is None or device.type == "cpu" else elsewhere
    return max(1, int(size * _share.get()))


@contextmanager
def room(
    budget: float | None,
    need: Callable[[], float],
    device: torch.device,
    what: str,
    verbose: int = 0,
    smallest: Callable[[float], float] = float,
) -> Iterator[None]:
    """Make blocks so small, inside a ``with``, that work takes no more memory than it may.

    They are halved until all fits, so that about as much memory gives the same blocks.

    Parameters
    ----------
    budget : int, float or None
        Most bytes that the work may take beside what the process holds; a float in (0, 1) is that
        part of what is free on the device, and None half of it.
    need : callable
        Returns how many bytes the work takes with the blocks that :func:`at_once` then gives.
    device : torch.device
        Where the work is done.
    what : str
        Name of the work, such as "fit".
    verbose : int, default=0
        Whether to print what it takes.
    smallest : callable, default=float
        Returns the least of the numbers that all processes have which work together, so that their
        blocks are the same; by default there is one process.

    Raises
    ------
    ValueError
        If a budget that was asked for is too small for the smallest blocks.
    """
    free, most = available(device), None
    if isinstance(budget, Integral):
        most = float(budget)
    elif free is not None:
        most = (_PART if budget is None else budget) * free
    token = _share.set(_share.get())
    try:
        for halvings in range(_MOST_HALVINGS + 1):
            _share.set(0.5**halvings)
            needed = need()
            if most is None or needed <= most:
                break
        _share.set(smallest(_share.get()))
        if budget is not None and most is not None and needed > most:
            raise ValueError(
                f"memory_budget={budget!r} allows {_amount(most)}, and {what} takes about "
                f"{_amount(needed)} with the smallest blocks; {_amount(free)} are free"
            )
        if verbose:
            now = held(device)
            print(
                f"{what}: about {_amount(now + needed)} at its peak, {_amount(now)} now; "
                f"{_amount(free)} are free",
                file=sys.stderr,
                flush=True,
            )
        yield
    finally:
        _share.reset(token)


def carried(work: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return work that does as much at once in another thread as it would here.

    Parameters
    ----------
    work : callable
        Takes one argument.
    """
    share = _share.get()

    def with_share(argument: Any) -> Any:
        token = _share.set(share)
        try:
            return work(argument)
        finally:
            _share.reset(token)

    return with_share


def available(device: torch.device) -> int | None:
    """Return how many bytes are free on a device; None where that cannot be told.

    Parameters
    ----------
    device : torch.device
        Where the work is done.
    """
    if device.type == "cuda":
        import torch

        free, _ = torch.cuda.mem_get_info(device)
        return int(free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device))
    found = [size for size in (_free_of_machine(), _free_of_group()) if size is not None]
    return min(found, default=None)


def held(device: torch.device) -> int:
    """Return how many bytes the process holds on a device; 0 where that cannot be told.

    Parameters
    ----------
    device : torch.device
        Where the work is done.
    """
    if device.type == "cuda":
        import torch

        return torch.cuda.memory_allocated(device)
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, ValueError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def libraries(device: torch.device, *, compiled: bool, trains: bool) -> int:
    """Return what libraries take that are loaded on first use and are not there yet.

    Parameters
    ----------
    device : torch.device
        Where the work is done.
    compiled : bool
        Whether the work uses sweeps that Numba compiles, where it is installed.
    trains : bool
        Whether optimisers are used.
    """
    compiled = compiled and device.type == "cpu" and importlib.util.find_spec("numba") is not None
    wanted = {"torch._dynamo": trains, "neurfield.fields.fused.first_order": compiled}
    missing = (name for name, used in wanted.items() if used and name not in sys.modules)
    return sum(_LIBRARIES[name] for name in missing)


def _free_of_machine() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        fields = dict(line.split(":", 1) for line in lines)
        return int(fields["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        pass
    try:  # Free pages without those that the system would give up, or half of all pages.
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        pass
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    except (AttributeError, OSError, ValueError):
        return None


def _free_of_group() -> int | None:
    """Return what a container's limit leaves; None where there is no limit."""
    for limit, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        folder = Path("/sys/fs/cgroup")
        try:
            most, now = (int((folder / name).read_text()) for name in (limit, used))
        except (OSError, ValueError):
            continue
        return max(0, most - now)
    return None


def _amount(n_bytes: float | None) -> str:
    if n_bytes is None:
        return "an unknown amount"
    mib = n_bytes / MIB
    return f"{mib:.0f} MiB" if mib < 1024 else f"{mib / 1024:.1f} GiB"
