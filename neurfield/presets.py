"""Published configurations by name, each with the place it was published in."""

from __future__ import annotations

from typing import Any

from sklearn.base import clone

from neurfield.fields import LowRank, Siren, Spatial
from neurfield.learning import Cavia

# What MedFuncta's configurations have in common.
_MEDFUNCTA: dict[str, Any] = {
    "field": Siren(residual_scale=1.0, output_scale=1.0),
    "transform_steps": 20,
    "meta_lr": 3e-6,
    "lr_schedule": "cosine",
    "max_iter": 1_000_000,
    "omega": (10.0, 80.0),
}

# What Functa and COIN++ have in common: the network, three steps on the whole context, and Adam.
_PLAIN_NETWORK: dict[str, Any] = {
    "skip_connections": False,
    "residual_scale": 1.0,
    "output_scale": 1.0,
}
_DUPONT: dict[str, Any] = {
    "hidden_dim": 512,
    "field": Siren(**_PLAIN_NETWORK),
    "meta_lr": 3e-6,
    "lr_schedule": "constant",
    "weight_decay": 0.0,
}
_THREE_LEARNT_STEPS = Cavia(inner_steps=3, learn_inner_lr=True, context_ratio=1.0)

# Dupont et al., "COIN++: Neural Compression Across Modalities", TMLR 2022, Section 3, and the
# authors' configurations.
_COINPP: dict[str, Any] = {
    **_DUPONT,
    "learner": Cavia(inner_steps=3, inner_lr=1e-2, context_ratio=1.0),
    "n_layers": 10,
    "omega": 50.0,
    "transform_steps": 10,
    "batch_size": 64,
}


def _medfuncta(n_layers: int, width: int, latents: int, gamma: float, batch: int) -> dict[str, Any]:
    return {
        **_MEDFUNCTA,
        "n_layers": n_layers,
        "hidden_dim": width,
        "latent_dim": latents,
        "learner": Cavia(inner_steps=10, inner_lr=1e-2, context_ratio=gamma, gradient_scaling=True),
        "batch_size": batch,
    }


def _spatial_functa(interpolation: str) -> dict[str, Any]:
    """Return Spatial Functa's configuration: 8 × 8 vectors of 64 numbers, and learnt step sizes.

    Bauer et al., "Spatial Functa: Scaling Functa to ImageNet Classification and Generation", arXiv
    2302.03130, section on spatial functa. Meta-steps are those of Functa, on which it builds.
    """
    return {
        **_DUPONT,
        "field": Spatial(grid=(8, 8), interpolation=interpolation, **_PLAIN_NETWORK),
        "learner": _THREE_LEARNT_STEPS,
        "latent_dim": 8 * 8 * 64,
        "n_layers": 10,
        "hidden_dim": 256,
        "omega": 30.0,
        "transform_steps": 3,
        "batch_size": 16,
        "max_iter": 500_000,
    }


# Wolleb et al., "Low-Rank-Modulated Functa", arXiv 2603.25951, method and experimental settings,
# with the authors' configuration for cardiac ultrasound: batches of 4 frames of a video.
_LRM_FUNCTA: dict[str, Any] = {
    "field": LowRank(intermediate_dim=256, **_PLAIN_NETWORK),
    "learner": Cavia(inner_steps=10, inner_lr=1e-2, context_ratio=0.2),
    "latent_dim": 2,
    "n_layers": 10,
    "hidden_dim": 256,
    "omega": (10.0, 200.0),
    "transform_steps": 20,
    "meta_lr": 3e-6,
    "lr_schedule": "cosine",
    "batch_size": 4,
    "max_iter": 50_000,
}

PRESETS: dict[str, dict[str, Any]] = {
    # Friedrich et al., "MedFuncta", arXiv 2502.14401, experimental settings.
    "medfuncta-1d": _medfuncta(8, 64, 64, 1.0, 64),
    "medfuncta-2d-64": _medfuncta(15, 256, 2048, 0.25, 24),
    "medfuncta-2d-128": _medfuncta(15, 256, 8192, 0.25, 8),
    "medfuncta-2d-224": _medfuncta(15, 256, 16384, 0.1, 4),
    "medfuncta-3d-32": _medfuncta(15, 256, 8192, 0.25, 4),
    # Dupont et al., "From data to functa", ICML 2022; P and the number of meta-steps are those of
    # the authors' code. They published latents of CelebA-HQ 64×64 with P from 64 to 1024.
    "functa": {
        **_DUPONT,
        "learner": _THREE_LEARNT_STEPS,
        "n_layers": 15,
        "latent_dim": 128,
        "omega": 30.0,
        "transform_steps": 3,
        "batch_size": 16,
        "max_iter": 500_000,
    },
    # P and 500 passes over the 50 000 images are those of the authors' configuration for CIFAR-10.
    "coin++": {**_COINPP, "latent_dim": 384, "max_iter": 390_500},
    # As configured for Vimeo-90k and Kodak.
    "coin++-patched": {
        **_COINPP,
        "latent_dim": 64,
        "patch_size": (32, 32),
        "meta_lr": 1e-6,
        "max_iter": 1_000_000,
    },
    "spatial-functa-nearest": _spatial_functa("nearest"),
    "spatial-functa-linear": _spatial_functa("linear"),
    "lrm-functa": _LRM_FUNCTA,
}


def list_presets() -> list[str]:
    """Return the names that ``FunctaEncoder.from_preset`` takes.

    "medfuncta-1d", "medfuncta-2d-64", "medfuncta-2d-128", "medfuncta-2d-224" and "medfuncta-3d-32"
    are MedFuncta's (Friedrich et al., arXiv 2502.14401) for ECG beats, images and volumes of those
    sizes; "functa" is that of Dupont et al., "From data to functa", ICML 2022, and "coin++" that of
    Dupont et al., "COIN++", TMLR 2022, Section 3, for signals of any dimension; "coin++-patched"
    fits patches of 32 × 32 points, as the same paper does with large images.
    "spatial-functa-nearest" and "spatial-functa-linear" are those of Bauer et al., "Spatial
    Functa", arXiv 2302.03130, section on spatial functa, for images; "lrm-functa" is that of Wolleb
    et al., "Low-Rank-Modulated Functa", arXiv 2603.25951, method and experimental settings, for the
    frames of a sequence.

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
    # Specs of their own, so that changing an estimator's leaves the preset as it is.
    return {key: clone(value, safe=False) for key, value in PRESETS[name].items()}
