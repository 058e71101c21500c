"""Where and in which precision to compute."""

from __future__ import annotations

import torch

PRECISIONS = ("auto", "float32", "float64", "tf32")


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
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(device)
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        available = ["cpu"] + [f"cuda:{i}" for i in range(torch.cuda.device_count())]
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"device={device!r} is not available; this machine has {available} ({reason})"
        ) from error
    return found


def resolve_dtype(precision: str, device: torch.device) -> torch.dtype:
    """Return the dtype named by the ``precision`` parameter, and allow TF32 where it is meant.

    Parameters
    ----------
    precision : {"auto", "float32", "float64", "tf32"}
        "auto" is float32. "tf32" is float32 storage with TF32 matrix products on GPUs that have
        them, set for the process as torch does.
    device : torch.device
    """
    if precision == "tf32" and device.type == "cuda":
        torch.set_float32_matmul_precision("high")
    return torch.float64 if precision == "float64" else torch.float32
