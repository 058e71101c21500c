"""Where and in which precision to compute."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

PRECISIONS = ("auto", "float32", "float64", "tf32", "bf16")
_MATMUL = {"tf32": "high", "bf16": "medium"}  # torch's names


def named_device(device: str) -> torch.device:
    """Return the device of a name, whether or not this machine has it.

    Parameters
    ----------
    device : str
        "auto" takes a GPU where there is one, or any name torch knows ("cpu", "cuda", "cuda:1").

    Raises
    ------
    ValueError
        If the name means nothing.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.device(device)
    except RuntimeError as error:
        raise ValueError(
            f"device={device!r} names no device; it must be 'auto' or a name that torch knows, "
            "such as 'cpu', 'cuda' or 'cuda:1'"
        ) from error


def resolve_device(device: str) -> torch.device:
    """Return the device named by the ``device`` parameter.

    Parameters
    ----------
    device : str
        "auto" takes a GPU where there is one, or any name torch knows ("cpu", "cuda", "cuda:1").

    Raises
    ------
    ValueError
        If the name means nothing or the device is not to be had.
    """
    found = named_device(device)
    try:
        torch.zeros(1, device=found).cpu()  # where "meta" fails, which holds no values
    except (RuntimeError, AssertionError, NotImplementedError, ImportError) as error:
        available = ["cpu"] + [f"cuda:{i}" for i in range(torch.cuda.device_count())]
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"device={device!r} is not available; this machine has {available} ({reason})"
        ) from error
    return found


def resolve_dtype(precision: str, device: torch.device) -> torch.dtype:
    """Return the dtype named by the ``precision`` parameter.

    Parameters
    ----------
    precision : {"auto", "float32", "float64", "tf32", "bf16"}
        "auto" is float32; so is the storage with "tf32" and "bf16".
    device : torch.device
        Where the products are to be computed.

    Raises
    ------
    ValueError
        If the device has no such matrix products.

    Examples
    --------
    >>> resolve_dtype("auto", torch.device("cpu"))
    torch.float32
    """
    if precision == "tf32" and not _has_tf32(device):
        raise ValueError(
            "precision='tf32' needs a CUDA device of compute capability 8.0 or higher, "
            f"got device {str(device)!r}"
        )
    if precision == "bf16" and not _has_bf16(device):
        raise ValueError(
            "precision='bf16' needs a CPU on which torch rounds matrix products to bfloat16 (with "
            f"AMX), got device {str(device)!r}; on a GPU use 'tf32'"
        )
    return torch.float64 if precision == "float64" else torch.float32


@contextmanager
def matrix_products(precision: str) -> Iterator[None]:
    """Round the factors of float32 matrix products as ``precision`` says, inside a ``with``.

    Sums, results and everything else stay in float32. torch keeps this setting for the whole
    process; it is put back afterwards.

    Parameters
    ----------
    precision : {"auto", "float32", "float64", "tf32", "bf16"}
        As checked by :func:`resolve_dtype`; only the last two change anything.
    """
    if precision not in _MATMUL:
        yield
        return
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(_MATMUL[precision])
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def _has_tf32(device: torch.device) -> bool:
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)


def _has_bf16(device: torch.device) -> bool:
    """Tell by what comes out: not every CPU that has bfloat16 instructions gets to use them."""
    if device.type != "cpu":
        return False
    finer = torch.full((64, 64), 1.0 + 2.0**-10)  # than bfloat16, which has 8 bits
    with matrix_products("bf16"):
        return float((finer @ torch.eye(64))[0, 0]) == 1.0
