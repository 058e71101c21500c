"""Published configurations by name."""

from __future__ import annotations

from typing import Any

_MEDFUNCTA: dict[str, Any] = {
    "learner": "cavia",
    "skip_connections": True,
    "residual_scale": 1.0,
    "output_scale": 1.0,
    "inner_steps": 10,
    "inner_lr": 1e-2,
    "transform_steps": 20,
    "meta_lr": 3e-6,
    "lr_schedule": "cosine",
    "max_iter": 1_000_000,
    "omega": (10.0, 80.0),
}


def _medfuncta(n_layers: int, width: int, latents: int, gamma: float, batch: int) -> dict[str, Any]:
    return {
        **_MEDFUNCTA,
        "n_layers": n_layers,
        "hidden_dim": width,
        "latent_dim": latents,
        "context_ratio": gamma,
        "batch_size": batch,
    }


# Dupont et al., "COIN++: Neural Compression Across Modalities", TMLR 2022, and its repository.
_COINPP: dict[str, Any] = {
    "learner": "cavia",
    "n_layers": 10,
    "hidden_dim": 512,
    "omega": 50.0,
    "skip_connections": False,
    "residual_scale": 1.0,
    "output_scale": 1.0,
    "context_ratio": 1.0,
    "inner_steps": 3,
    "inner_lr": 1e-2,
    "transform_steps": 10,
    "lr_schedule": "constant",
    "max_iter": 1_000_000,
}

# Friedrich et al., "MedFuncta", arXiv 2502.14401, experimental settings.
PRESETS: dict[str, dict[str, Any]] = {
    # As configured for Vimeo-90k and Kodak.
    "coin++-patched": {
        **_COINPP,
        "latent_dim": 64,
        "patch_size": (32, 32),
        "batch_size": 64,
        "meta_lr": 1e-6,
    },
    "medfuncta-1d": _medfuncta(8, 64, 64, 1.0, 64),
    "medfuncta-2d-64": _medfuncta(15, 256, 2048, 0.25, 24),
    "medfuncta-2d-128": _medfuncta(15, 256, 8192, 0.25, 8),
    "medfuncta-2d-224": _medfuncta(15, 256, 16384, 0.1, 4),
    "medfuncta-3d-32": _medfuncta(15, 256, 8192, 0.25, 4),
}


def list_presets() -> list[str]:
    """Return the names that ``FunctaEncoder.from_preset`` takes.

    Examples
    --------
    >>> "medfuncta-2d-64" in list_presets()
    True
    """
    return sorted(PRESETS)


def preset_parameters(name: str) -> dict[str, Any]:
    """Return the constructor arguments of a preset.

    Raises
    ------
    ValueError
        If there is no preset of that name.
    """
    if name not in PRESETS:
        raise ValueError(f"name must be one of {list_presets()}, got {name!r}")
    return dict(PRESETS[name])
