"""On which machine figures were measured, in words."""

from __future__ import annotations

import platform
from pathlib import Path

import torch

from neurfield.device import resolve_device

_CPUS = Path("/proc/cpuinfo")  # where Linux says more than ``platform.processor``


def machine() -> str:
    """Return processor, threads, GPU if there is one, and the version of torch.

    Examples
    --------
    >>> "torch" in machine()
    True
    """
    n_threads = torch.get_num_threads()
    parts = [_processor(), f"{n_threads} thread{'s' if n_threads > 1 else ''}"]
    device = resolve_device("auto")
    if device.type == "cuda":
        parts.append(torch.cuda.get_device_name(device))
    return ", ".join([*parts, f"torch {torch.__version__}"])


def _processor() -> str:
    if _CPUS.exists():
        for line in _CPUS.read_text().splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name" and value.strip():
                return value.strip()
    return platform.processor() or platform.machine()
