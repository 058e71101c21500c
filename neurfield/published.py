"""Encoders as they were published: configurations by name, and weights."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from typing import Any

import numpy as np
import torch

from neurfield._compat import validate_parameters
from neurfield.codec import Codec
from neurfield.device import resolve_device, resolve_dtype
from neurfield.fields import FieldSpec, ModulatedSiren, Siren
from neurfield.fields.schedule import check_omega
from neurfield.learning import Cavia, ContextStore, Learner
from neurfield.medfuncta import read_medfuncta
from neurfield.planning import check_parameters, check_shape_of_field, field_of, make_learner
from neurfield.presets import preset_parameters
from neurfield.signals import Layout, SignalGroup, Signals, Units
from neurfield.signals.arrays import default_axis_names

_UNKNOWN_GRID = 32  # points per axis on which a checkpoint without a grid is looked at


class PublishedMixin:
    """Makes estimators of published configurations, and of published weights."""

    @classmethod
    def from_preset(cls: Any, name: str, **parameters: Any) -> Any:
        """Return an unfitted estimator with a published configuration.

        Parameters
        ----------
        name : str
            One of :func:`neurfield.list_presets`: "medfuncta-1d", "medfuncta-2d-64",
            "medfuncta-2d-128", "medfuncta-2d-224", "medfuncta-3d-32", "functa", "coin++",
            "coin++-patched", "spatial-functa-nearest", "spatial-functa-linear" or "lrm-functa".
        **parameters
            Constructor arguments to use instead of the preset's, or options of its specs as
            ``learner__inner_steps``.

        Raises
        ------
        ValueError
            If there is no such preset, or a spec has no such option.
        TypeError
            If the constructor has no such argument.

        Examples
        --------
        >>> from neurfield import FunctaEncoder
        >>> FunctaEncoder.from_preset("medfuncta-1d", max_iter=100).omega
        (10.0, 80.0)
        """
        return _made(cls, {**preset_parameters(name), **parameters})

    @classmethod
    def from_medfuncta(
        cls: Any,
        weights: str | PathLike[str] | Mapping[str, torch.Tensor],
        omega: float | tuple[float, float] | None = None,
        **parameters: Any,
    ) -> Any:
        """Return a fitted estimator with published MedFuncta weights.

        It lives in coordinates [-1, 1]^d, so array input of any size spans that square or cube, and
        leaves values unscaled.

        Parameters
        ----------
        weights : path or state dict
            A training checkpoint such as ``best.model``, or the network of a MedNF latent set,
            ``model.pt`` or ``model.safetensors``. No code in the file is run; one that asks for it
            is refused.
        omega : float or (float, float), default=None
            ω_1 → ω_K, for example ``(10, 80)``. Checkpoints do not hold it and need it; networks
            of latent sets hold it, and must not be contradicted.
        **parameters
            Constructor arguments, such as ``transform_steps`` (20), ``channel_axis`` (last when the
            weights have several channels) or ``device``, or options of specs, such as
            ``learner__inner_lr`` (1e-2), ``learner__context_ratio`` (that of the training; 1 along
            one axis, else 0.25) or ``learner__gradient_scaling`` (True, as published latents were
            made).

        Returns
        -------
        FunctaEncoder
            Fitted, with ``learner=Cavia(gradient_scaling=True)`` by default, no meta-steps and
            empty curves.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If the file is of another kind, truncated, or asks for code to be run, or if parameters
            are not usable or contradict the weights.
        """
        if omega is not None:
            check_omega(omega)
        source = weights if isinstance(weights, Mapping) else str(weights)
        learner = Cavia(gradient_scaling=True)
        asked = cls(field=Siren(), learner=learner).set_params(**parameters)
        of_field = any(name.partition("__")[0] == "field" for name in parameters)
        skips = getattr(FieldSpec.of(asked.field), "skip_connections", None)
        field, axes = read_medfuncta(source, omega, skips if of_field else None)
        fixed = {
            "latent_dim": field.latent_dim,
            "hidden_dim": field.hidden_dim,
            "n_layers": field.n_layers,
            "omega": field.omega,
            "field": Siren(skip_connections=field.skip_connections),
            "learner": learner,
            "channel_axis": -1 if field.out_dim > 1 else None,
        }
        estimator = _made(cls, {**fixed, **parameters})
        validate_parameters(estimator)
        if estimator.patch_size is not None:
            raise ValueError(
                "published weights describe whole signals, on any grid: patch_size must be None, "
                f"got {estimator.patch_size!r}"
            )
        check_parameters(estimator)
        estimator.layout_ = Layout(
            container="array",
            is_list=False,
            axis_names=default_axis_names(field.in_dim),
            axes=axes,
            n_channels=field.out_dim,
            channel_axis=estimator.channel_axis,
            unit_axes=True,
        )
        device = resolve_device(estimator.device)
        field.to(device, resolve_dtype(estimator.precision, device))
        estimator._accept(*_in_unit_coordinates(estimator, field))
        check_shape_of_field(estimator, "published weights make")
        estimator.loss_curve_, estimator.psnr_curve_, estimator.validation_curve_ = [], [], []
        estimator.n_iter_ = 0
        return estimator


def _made(cls: type, parameters: Mapping[str, Any]) -> Any:
    """Return an estimator with parameters, of which some may be options of specs."""
    own = {name: value for name, value in parameters.items() if "__" not in name}
    nested = {name: value for name, value in parameters.items() if "__" in name}
    return cls(**own).set_params(**nested)


def _in_unit_coordinates(estimator: Any, field: ModulatedSiren) -> tuple[Codec, Learner]:
    """Return a codec in unit coordinates and values; solvers see the checkpoint's grid."""
    layout = estimator.layout_
    axes = layout.axes or layout.resized([_UNKNOWN_GRID] * layout.n_axes)
    blank = np.zeros((1, *(len(axis) for axis in axes), layout.n_channels))
    signals = Signals((SignalGroup(axes, blank, np.arange(1)),), layout)
    units = Units.identity(field.in_dim, field.out_dim)
    like = next(field.parameters())
    store = ContextStore(signals, units, like.dtype, like.device)
    learner = make_learner(estimator, field_of(estimator, field), signals)
    estimator.n_features_in_ = blank.size
    return Codec(field, learner.solver(learner.meta_step(field), store), units), learner
