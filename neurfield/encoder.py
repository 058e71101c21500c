"""FunctaEncoder: neural fields behind scikit-learn's transformer interface."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from dataclasses import fields as dataclass_fields
from functools import partial
from numbers import Integral, Real
from os import PathLike
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
import torch
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    _fit_context,
)
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_array, check_is_fitted, validate_data

from neurfield.blockwise import encode_lazily, is_dask_backed
from neurfield.codec import Codec
from neurfield.decoding import checked_axes, decode, label_derivatives
from neurfield.derivatives import gradient
from neurfield.device import PRECISIONS, matrix_products, resolve_device, resolve_dtype
from neurfield.display import SummaryMixin
from neurfield.fields import Field, ModulatedSiren, available_fields
from neurfield.fields.schedule import check_omega
from neurfield.fitting import FitPlan, fit_codec, make_learner, partial_fit_codec, problem_of
from neurfield.learning import (
    ContextStore,
    Learner,
    Schedule,
    Settings,
    available_learners,
)
from neurfield.medfuncta import read_medfuncta
from neurfield.patched import PatchedCodec, patches_of
from neurfield.persistence import available_device, load_fitted, save_fitted
from neurfield.presets import preset_parameters
from neurfield.provenance import provenance
from neurfield.signals import CoordinateFrame, Layout, Signals, ValueScaler, read_signals
from neurfield.signals.containers import (
    SignalGroup,
    default_axis_names,
    is_list_of_signals,
    is_xarray,
)
from neurfield.signals.lazy import LazyValues
from neurfield.signals.patches import PatchGrid, Reader
from neurfield.sizes import along_axes

_CURVES = ("loss_curve_", "psnr_curve_", "validation_curve_")
_UNKNOWN_GRID = 32  # points per axis on which a checkpoint without a grid is looked at

# What neither decides the weights that a fit arrives at nor may keep a checkpoint from resuming.
_NOT_IN_FINGERPRINT = {
    "callbacks",
    "checkpoint",
    "checkpoint_every",
    "checkpointing",
    "compile",
    "device",
    "max_time",
    "random_state",
    "transform_steps",
    "verbose",
    "warm_start",
}


class FunctaEncoder(SummaryMixin, ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Turn 1-D, 2-D and 3-D signals into latent vectors through a meta-learned neural field.

    ``fit`` learns the shared weights θ of a modulated SIREN over a data set, ``transform`` fits one
    latent vector φ per signal, ``inverse_transform`` decodes latents on any grid or at any point.

    Parameters
    ----------
    latent_dim : int, default=256
        Length P of the latent vector; with field="spatial", the vectors of all cells together.
    hidden_dim : int, default=128
        Width L of the field.
    n_layers : int, default=None
        Number of layers K, the output layer included. None takes the learner's default, as for
        every other parameter below whose default is None.
    omega : float or (float, float), default=(30.0, 60.0)
        ω_1 → ω_K, rising linearly over the layers; one float is a constant ω.
    field : {"siren", "spatial", "low-rank"}, default="siren"
        Family of the field. "siren": one vector shifts all sine layers alike at each point.
        "spatial": a grid of vectors, read where the field is evaluated. "low-rank": one short
        vector that moves the shifts in a learnt subspace.
    latent_grid : int or tuple of int, default=4
        Cells along each axis; one number serves all axes ("spatial"). ``latent_dim`` must be
        divisible by the number of cells.
    interpolation : {"linear", "nearest"}, default="linear"
        How the grid of vectors is read between the centres of its cells ("spatial").
    intermediate_dim : int, default=256
        Length of the vector that the subspace is of ("low-rank"); ``latent_dim`` is its rank.
    learner : {"varpro", "cavia"}, default="varpro"
        How θ is learnt. "varpro": closed-form inner step, variable projection and
        Levenberg–Marquardt. "cavia": the published second-order CAVIA with gradient descent inside.
    inner_steps : int, default=None
        G, inner steps in training. With "varpro", 1 is the closed form and each further one a
        damped Gauss–Newton step, at whose end θ is updated with the latents held fixed.
    inner_lr : float, default=None
        α, step size of gradient descent in the inner loop ("cavia").
    learn_inner_lr : bool, default=False
        Learn α together with θ, one step size for each entry of the latent, as Meta-SGD does
        ("cavia"). They start at random in [0.005, 0.1], whatever ``inner_lr`` is, or where a fit
        that is continued has left them, and stay in [0, 1].
    second_order : bool, default=True
        Take the meta-gradient through the gradients of the inner loop ("cavia"). False, its
        first-order approximation, takes less time and memory; the authors of MedFuncta found it
        unstable.
    context_ratio : float in (0, 1], default=None
        γ, fraction of a signal's points that a reduced context keeps.
    context_selection : {"random", "gradient"}, default="random"
        Which points a reduced context keeps ("cavia"): random ones, the same for the whole batch,
        or those of each signal at which the output layer's gradient is largest, as GradNCP does.
        The latter sees all points before each inner step; the authors of MedFuncta found it no
        better.
    transform_steps : int, default=None
        H, steps that ``transform`` takes; with "varpro", 1 is the closed form alone.
    meta_lr : float, default=None
        β, learning rate of the meta-steps.
    batch_size : int, default=None
        B, signals per meta-step.
    max_iter : int, default=None
        Meta-steps.
    max_time : float, default=None
        Seconds of training after which fit ends early; the learning-rate schedule follows. Results
        then depend on the machine's speed.
    lr_schedule : {"constant", "cosine"}, default=None
        Course of the learning rate.
    weight_decay : float, default=None
        Decoupled weight decay of the meta-steps; with 0, the AdamW of "cavia" is Adam.
    skip_connections : bool, default=True
        Whether layers 2..K-1 add to their input.
    residual_scale, output_scale : float, default=None
        Factor on the sine branch of each skip connection, and on the output layer's initial
        weights; 1 is the published network. "varpro" takes the direction of the output weights from
        the data, and ``output_scale`` as their norm: the larger, the closer the field stays to its
        tangent.
    modulation : {"shift", "shift_scale"}, default="shift"
        What the latent modulates: the shifts of each sine layer, or also their scales, which the
        authors of MedFuncta do not recommend (field="siren").
    damping : float, default=None
        λ, precision of the latents' Gaussian prior relative to the field's mean squared
        sensitivity to them ("varpro").
    augmentation : float, default=None
        Strength of the random affine deformations under which "varpro" sees the training signals:
        at 1, stretched and turned by about 5 % and shifted by about half a sample; 0 = none. By
        default 0.5 where signals are few for the latent, down to 0.1 where they are many.
    channel_axis : int, default=None
        Which axis of array input (the sample axis counted) holds channels; None = one channel.
        Items of a list are counted as if they had a sample axis too.
    isotropic : bool, default=False
        Scale coordinate axes of one unit by the same number, instead of each to [-1, 1].
    patch_size : int or tuple of d int, default=None
        Grid points of a patch, along all axes or each. The field then describes patches instead of
        whole signals, and the latents of a signal are those of its patches, in C order: n_patches
        times ``latent_dim`` numbers. Signals must share one evenly spaced grid.
    early_stopping : bool, default=False
        Hold out signals, stop when they improve no more, and keep the best weights.
    validation_fraction : float in (0, 1), default=0.1
        Fraction of the signals held out for early stopping.
    n_iter_no_change : int, default=10
        Evaluations (one every 25 meta-steps) without improvement before an early stop.
    tol : float, default=0.01
        Least improvement of the held-out PSNR, in dB, that counts.
    checkpoint : path, default=None
        File the training state is written to. When it exists, ``fit`` on the same data with the
        same parameters resumes from it and arrives at the same weights as an uninterrupted run.
    checkpoint_every : int, default=100
        Meta-steps between two checkpoints.
    callbacks : sequence of callables, default=None
        Each is called with a :class:`neurfield.learning.Progress` after every meta-step; a true
        return value stops the fit.
    device : str, default="auto"
        "auto" takes a GPU where there is one; or any name torch knows.
    precision : {"auto", "float32", "float64", "tf32", "bf16"}, default="auto"
        Arithmetic of the field; "auto" is float32. "tf32" (on a GPU) and "bf16" (on a CPU) round
        the factors of the matrix products in ``fit``, and nothing else; encoding and decoding are
        in float32.
    checkpointing : bool, default=None
        Compute activations of the inner loop again on the way back instead of keeping them, which
        takes less memory and more time ("cavia").
    compile : bool, default=None
        Compile the meta-step with ``torch.compile``, on a CUDA device with CUDA graphs. The first
        meta-steps then take long.
    random_state : int, RandomState instance or None, default=None
        Source of the initial weights and of all draws; an int makes fits repeatable on one device.
    verbose : int, default=0
        1 shows a progress bar with the current PSNR.
    warm_start : bool, default=False
        Continue from the weights, coordinates and scaling of the previous fit.

    Attributes
    ----------
    field_ : neurfield.fields.Field
        The trained field, in normalised coordinates and scaled values.
    codec_ : neurfield.codec.Codec
        Field, solver and units: all that encoding and decoding need.
    loss_curve_ : list of float
        Meta-loss of each meta-step.
    psnr_curve_ : list of float
        PSNR in dB of the field on the batch of each meta-step.
    validation_curve_ : list of float
        Mean held-out PSNR in dB at each evaluation; empty without early stopping.
    n_iter_ : int
        Meta-steps taken.
    settings_ : neurfield.learning.Settings
        What the learner used where parameters were None.
    layout_ : neurfield.signals.Layout
        Container, axes and labels seen in fit.
    device_ : str
        Where the field lives.
    n_features_in_ : int
        Values of one signal on the grid seen in fit.

    References
    ----------
    Friedrich et al., "MedFuncta: A Unified Framework for Learning Efficient Medical Neural Fields",
    arXiv 2502.14401, 2025.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from neurfield import FunctaEncoder
    >>> images = load_digits().images[:100]
    >>> enc = FunctaEncoder(latent_dim=8, hidden_dim=16, max_iter=5, random_state=0)
    >>> Z = enc.fit_transform(images)
    >>> Z.shape
    (100, 8)
    >>> enc.inverse_transform(Z, grid=(24, 24)).shape
    (100, 24, 24)
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "latent_dim": [Interval(Integral, 1, None, closed="left")],
        "hidden_dim": [Interval(Integral, 1, None, closed="left")],
        "n_layers": [Interval(Integral, 2, None, closed="left"), None],
        "omega": [Interval(Real, 0, None, closed="neither"), tuple, list],
        "field": [StrOptions(set(available_fields()))],
        "latent_grid": [Interval(Integral, 1, None, closed="left"), tuple, list],
        "interpolation": [StrOptions({"linear", "nearest"})],
        "intermediate_dim": [Interval(Integral, 1, None, closed="left")],
        "learner": [StrOptions(set(available_learners()))],
        "inner_steps": [Interval(Integral, 1, None, closed="left"), None],
        "inner_lr": [Interval(Real, 0, None, closed="neither"), None],
        "learn_inner_lr": ["boolean"],
        "second_order": ["boolean"],
        "context_ratio": [Interval(Real, 0, 1, closed="right"), None],
        "context_selection": [StrOptions({"random", "gradient"})],
        "transform_steps": [Interval(Integral, 1, None, closed="left"), None],
        "meta_lr": [Interval(Real, 0, None, closed="neither"), None],
        "batch_size": [Interval(Integral, 1, None, closed="left"), None],
        "max_iter": [Interval(Integral, 1, None, closed="left"), None],
        "max_time": [Interval(Real, 0, None, closed="neither"), None],
        "lr_schedule": [StrOptions({"constant", "cosine"}), None],
        "weight_decay": [Interval(Real, 0, None, closed="left"), None],
        "skip_connections": ["boolean"],
        "residual_scale": [Interval(Real, 0, None, closed="neither"), None],
        "output_scale": [Interval(Real, 0, None, closed="neither"), None],
        "modulation": [StrOptions({"shift", "shift_scale"})],
        "damping": [Interval(Real, 0, None, closed="neither"), None],
        "augmentation": [Interval(Real, 0, None, closed="left"), None],
        "channel_axis": [Integral, None],
        "isotropic": ["boolean"],
        "patch_size": [Interval(Integral, 1, None, closed="left"), tuple, list, None],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "checkpoint": [str, PathLike, None],
        "checkpoint_every": [Interval(Integral, 1, None, closed="left")],
        "callbacks": [list, tuple, None],
        "device": [str],
        "precision": [StrOptions(set(PRECISIONS))],
        "checkpointing": ["boolean", None],
        "compile": ["boolean", None],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
        "warm_start": ["boolean"],
    }

    def __init__(
        self,
        latent_dim: int = 256,
        *,
        hidden_dim: int = 128,
        n_layers: int | None = None,
        omega: float | tuple[float, float] = (30.0, 60.0),
        field: str = "siren",
        latent_grid: int | tuple[int, ...] = 4,
        interpolation: str = "linear",
        intermediate_dim: int = 256,
        learner: str = "varpro",
        inner_steps: int | None = None,
        inner_lr: float | None = None,
        learn_inner_lr: bool = False,
        second_order: bool = True,
        context_ratio: float | None = None,
        context_selection: str = "random",
        transform_steps: int | None = None,
        meta_lr: float | None = None,
        batch_size: int | None = None,
        max_iter: int | None = None,
        max_time: float | None = None,
        lr_schedule: str | None = None,
        weight_decay: float | None = None,
        skip_connections: bool = True,
        residual_scale: float | None = None,
        output_scale: float | None = None,
        modulation: str = "shift",
        damping: float | None = None,
        augmentation: float | None = None,
        channel_axis: int | None = None,
        isotropic: bool = False,
        patch_size: int | tuple[int, ...] | None = None,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        tol: float = 0.01,
        checkpoint: str | PathLike[str] | None = None,
        checkpoint_every: int = 100,
        callbacks: Sequence[Any] | None = None,
        device: str = "auto",
        precision: str = "auto",
        checkpointing: bool | None = None,
        compile: bool | None = None,
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 0,
        warm_start: bool = False,
    ) -> None:
        self.latent_dim = latent_dim
        self.hidden_dim = hidden_dim
        self.n_layers = n_layers
        self.omega = omega
        self.field = field
        self.latent_grid = latent_grid
        self.interpolation = interpolation
        self.intermediate_dim = intermediate_dim
        self.learner = learner
        self.inner_steps = inner_steps
        self.inner_lr = inner_lr
        self.learn_inner_lr = learn_inner_lr
        self.second_order = second_order
        self.context_ratio = context_ratio
        self.context_selection = context_selection
        self.transform_steps = transform_steps
        self.meta_lr = meta_lr
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.max_time = max_time
        self.lr_schedule = lr_schedule
        self.weight_decay = weight_decay
        self.skip_connections = skip_connections
        self.residual_scale = residual_scale
        self.output_scale = output_scale
        self.modulation = modulation
        self.damping = damping
        self.augmentation = augmentation
        self.channel_axis = channel_axis
        self.isotropic = isotropic
        self.patch_size = patch_size
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.checkpoint = checkpoint
        self.checkpoint_every = checkpoint_every
        self.callbacks = callbacks
        self.device = device
        self.precision = precision
        self.checkpointing = checkpointing
        self.compile = compile
        self.random_state = random_state
        self.verbose = verbose
        self.warm_start = warm_start

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any = None) -> Self:
        """Meta-learn the shared weights θ.

        Parameters
        ----------
        X : ndarray of shape (n, length), (n, H, W), (n, D, H, W), ..., DataArray, Dataset or list
            Signals: arrays (with an axis more when ``channel_axis`` is given), xarray objects with
            a "sample" dimension and an optional "channel" dimension, or a list of arrays or
            DataArrays, each of its own shape and coordinates. NaN marks a value not observed.
        y : ignored
            Not used, present for API consistency by convention.

        Returns
        -------
        self : FunctaEncoder

        Raises
        ------
        ValueError
            If the data or a parameter is not usable; before any work is done.
        """
        self._check_parameters()
        device = resolve_device(self.device)
        previous = None
        if self.warm_start and hasattr(self, "codec_"):
            self._check_shape_of_field("warm_start=True continues")
            previous = copy.deepcopy(self.codec_)
        signals = self._read(X, reset=previous is None)
        patches = self._patches(signals, previous)
        learner = self._learner(signals, patches, previous)
        plan = self._plan(signals, learner, device, patches)
        with matrix_products(self.precision):
            codec, state = fit_codec(signals, plan, self.isotropic, previous)
        self._accept(codec, learner, signals.layout if previous is None else self.layout_)
        self.__dict__.pop("_trainer", None)  # it is of the field before
        self.loss_curve_ = state.loss_curve
        self.psnr_curve_ = state.psnr_curve
        self.validation_curve_ = state.validation_curve
        self.n_iter_ = state.iteration
        return self

    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X: Any, y: Any = None) -> Self:
        """Pass once over some signals in mini-batches, continuing from where the last call left θ.

        The first call fixes coordinates and scaling, from the extent and range of its signals, and
        what the learner takes where parameters are None. The learning rate stays constant. The
        optimiser goes on from call to call, unless parameters of the training have changed.

        Parameters
        ----------
        X : as in :meth:`fit`
        y : ignored
            Not used, present for API consistency by convention.

        Returns
        -------
        self : FunctaEncoder
        """
        self._check_parameters()
        device = resolve_device(self.device)
        previous = getattr(self, "codec_", None)
        if previous is not None:
            self._check_shape_of_field("partial_fit continues")
        signals = self._read(X, reset=previous is None)
        signals.check()
        patches = self._patches(signals, previous)
        trainer = getattr(self, "_trainer", None)
        before = None if trainer is None else trainer.learner
        learner = self._learner(signals, patches, previous, before)
        plan = self._plan(signals, learner, device, patches)
        with matrix_products(self.precision):
            codec, self._trainer, losses, levels = partial_fit_codec(
                signals, plan, self.isotropic, previous, trainer
            )
        self._accept(codec, learner, signals.layout if previous is None else self.layout_)
        self.loss_curve_ = [*getattr(self, "loss_curve_", []), *losses]
        self.psnr_curve_ = [*getattr(self, "psnr_curve_", []), *levels]
        self.validation_curve_ = getattr(self, "validation_curve_", [])
        self.n_iter_ = len(self.loss_curve_)
        return self

    def transform(self, X: Any) -> Any:
        """Fit one latent vector per signal.

        Parameters
        ----------
        X : as in :meth:`fit`
            Signals on the axes seen in fit. xarray objects and lists may stand on other grids.

        Returns
        -------
        float32 array of shape (n, latent_dim), or (n, n_patches * latent_dim) with ``patch_size``
            For a DataArray or Dataset made of dask blocks, a DataArray with dimensions "sample"
            and "latent" and the coordinates of ``X`` along "sample", computed block by block when
            it is asked for, on whatever scheduler dask then uses.
        """
        check_is_fitted(self)
        signals, codec = self._read(X, reset=False), self._encoding_codec()
        if is_dask_backed(X) and isinstance(signals.groups[0].values, LazyValues):
            return encode_lazily(codec, signals, X, provenance(self, X.attrs))
        return codec.encode(signals)

    def inverse_transform(
        self,
        X: npt.ArrayLike,
        *,
        grid: Sequence[int] | None = None,
        coords: Any = None,
        points: npt.ArrayLike | None = None,
        derivative: str | Sequence[str] | None = None,
        return_std: bool = False,
        dtype: npt.DTypeLike | None = None,
    ) -> Any:
        """Decode latents on a grid or at points.

        At most one of ``grid``, ``coords`` and ``points`` may be given; without any, signals are
        decoded on the grid seen in fit (for lists of different grids: on one that covers all).

        Parameters
        ----------
        X : array-like of shape (n, latent_dim), or (n, n_patches * latent_dim) with ``patch_size``
            Latents.
        grid : sequence of d int, optional
            Number of points along each axis, over the same extent.
        coords : mapping of axis name to 1-D array, or sequence of n of them, optional
            Coordinates in the data's own units; a DataArray's coordinates serve as well. Array
            input has axes named x; y, x; or z, y, x. A sequence gives each signal its own grid.
        points : array-like of shape (n_points, d), optional
            Scattered points in the data's own units.
        derivative : str or sequence of str, optional
            Decode the exact derivative of the field by the coordinate axis of this name, per unit
            of the axis; by several axes, the partial derivatives stand along a last axis (a
            dimension "derivative" of xarray objects).
        return_std : bool, default=False
            Also return the standard deviation of each value, given the observed ones: of the latest
            ``transform`` where a row of ``X`` is one of its latents; otherwise of a signal observed
            on the whole grid of fit. It includes noise and model error, so that ±1.645 standard
            deviations hold about 90 % of the values that were not observed. For estimators fitted
            with ``learner="varpro"``.
        dtype : dtype, optional
            Type of the result, float32 by default; integer types are rounded and clipped. Standard
            deviations stay float32.

        Returns
        -------
        ndarray, DataArray, Dataset or list
            The container seen in fit; with ``coords``, an xarray object (a list of them for a
            sequence); with ``points``, an array of shape (n, n_points) or (n, n_points, c). With
            ``return_std``, a tuple of two of these.
        """
        check_is_fitted(self)
        latents = self._check_latents(X)
        codec, posterior = self.codec_, self.codec_.posterior
        index = getattr(X, "index", None)
        samples = None if callable(index) else index

        def read(reader: Reader, dtype: npt.DTypeLike | None) -> list[Any]:
            place = {"grid": grid, "coords": coords, "points": points, "samples": samples}
            return decode(reader, codec.extent, self.layout_, latents, dtype=dtype, **place)

        if derivative is not None:
            if return_std:
                raise ValueError("return_std=True gives the deviation of values, not of derivative")
            axes = checked_axes(derivative, self.layout_)
            partials = read(codec.across(partial(gradient, codec, axes=axes)), dtype)
            return label_derivatives(partials, derivative, self.layout_)
        (values,) = read(lambda z, x: [codec.decode(z, x)], dtype)
        if not return_std:
            return values
        if posterior is None:
            raise ValueError(
                "return_std=True needs what fit learns about latents with learner='varpro' from at "
                f"least two signals; this estimator (learner={self.learner!r}) has not learnt it"
            )
        (deviation,) = read(codec.across(lambda z, x: [posterior.std(codec, z, x)]), None)
        return values, deviation

    def score(self, X: Any, y: Any = None) -> float:
        """Return the mean PSNR in dB of encoding and decoding the given signals.

        The peak is the range of the values seen in fit, channel by channel; only observed values
        count.

        Parameters
        ----------
        X : as in :meth:`fit`
        y : ignored

        Returns
        -------
        float
            Higher is better.
        """
        check_is_fitted(self)
        signals = self._read(X, reset=False)
        return float(self._encoding_codec().reconstruction_psnr(signals).mean())

    def get_feature_names_out(self, input_features: npt.ArrayLike | None = None) -> np.ndarray:
        """Return the names of the latents; of spatial fields by cell, and of patches by patch.

        Parameters
        ----------
        input_features : array-like of str, default=None
            Only compared with the names seen in fit.

        Returns
        -------
        ndarray of str objects
            Such as "functaencoder3", "functaencoder_y0_x3_c12" or "functaencoder_p0_3_l12".
        """
        numbered = super().get_feature_names_out(input_features)
        names = self.codec_.latent_names(self.layout_.axis_names)
        if names is None:
            return numbered
        prefix = type(self).__name__.lower()
        return np.array([f"{prefix}_{name}" for name in names], dtype=object)

    def save(self, path: str | PathLike[str]) -> None:
        """Write the fitted estimator to a safetensors file, which holds no code.

        Parameters
        ----------
        path : path
            Written whole or not at all. ``callbacks`` and a RandomState instance are left out.
        """
        check_is_fitted(self)
        parameters = self.get_params(deep=False)
        parameters["callbacks"] = None
        if isinstance(self.random_state, np.random.RandomState):
            parameters["random_state"] = None
        description = {
            "parameters": parameters,
            "layout": self.layout_.to_dict(),
            "settings": asdict(self.settings_),
            "n_features_in": int(self.n_features_in_),
            "feature_names_in": getattr(self, "feature_names_in_", None),
            "curves": {name: getattr(self, name, None) for name in _CURVES},
            "n_iter": self.n_iter_,
        }
        save_fitted(str(path), self.codec_, description)

    @classmethod
    def load(cls, path: str | PathLike[str], device: str | None = None) -> Self:
        """Read an estimator that :meth:`save` wrote.

        Parameters
        ----------
        path : path
        device : str, optional
            Where to put the field; by default what the estimator was made with, or the CPU (with a
            warning) when that is not here.

        Returns
        -------
        FunctaEncoder

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If the file is truncated, not ours, or written by a newer version.
        """
        codec, document = load_fitted(str(path), device or "auto")
        parameters = document["parameters"]
        for name, value in parameters.items():
            if isinstance(value, list):  # JSON knows no tuples
                parameters[name] = tuple(value)
        estimator = cls(**parameters)
        if device is None and estimator.device != "auto":
            codec.to(available_device(estimator.device))
        elif device is not None:
            estimator.device = device
        learner = available_learners()[estimator.learner]
        estimator._accept(codec, learner(Settings(**document["settings"])), document["layout"])
        estimator.n_features_in_ = document["n_features_in"]
        if document["feature_names_in"] is not None:
            estimator.feature_names_in_ = np.array(document["feature_names_in"], dtype=object)
        estimator.n_iter_ = document["n_iter"]
        for name, curve in document["curves"].items():
            if curve is not None:
                setattr(estimator, name, curve)
        return estimator

    @classmethod
    def from_preset(cls, name: str, **parameters: Any) -> Self:
        """Return an unfitted estimator with a published configuration.

        Parameters
        ----------
        name : str
            One of :func:`neurfield.list_presets`: "medfuncta-1d", "medfuncta-2d-64",
            "medfuncta-2d-128", "medfuncta-2d-224", "medfuncta-3d-32", "functa", "coin++",
            "coin++-patched", "spatial-functa-nearest", "spatial-functa-linear" or "lrm-functa".
        **parameters
            Constructor arguments to use instead of the preset's.

        Examples
        --------
        >>> FunctaEncoder.from_preset("medfuncta-1d", max_iter=100).omega
        (10.0, 80.0)
        """
        return cls(**{**preset_parameters(name), **parameters})

    @classmethod
    def from_medfuncta(
        cls,
        weights: str | PathLike[str] | Mapping[str, torch.Tensor],
        omega: float | tuple[float, float] | None = None,
        **parameters: Any,
    ) -> Self:
        """Return a fitted estimator with published MedFuncta weights.

        It lives in coordinates [-1, 1]^d, so array input of any size spans that square or cube, and
        leaves values unscaled.

        Parameters
        ----------
        weights : path or state dict
            A training checkpoint such as ``best.model``, or the pickled network ``model.pt`` of a
            MedNF latent set. No code in the file is run; one that asks for it is refused.
        omega : float or (float, float), default=None
            ω_1 → ω_K, for example ``(10, 80)``. Checkpoints do not hold it and need it; a
            ``model.pt`` holds it, and must not be contradicted.
        **parameters
            Constructor arguments, such as ``transform_steps`` (20), ``inner_lr`` (1e-2),
            ``channel_axis`` (last when the weights have several channels) or ``device``.

        Returns
        -------
        FunctaEncoder
        """
        if omega is not None:
            check_omega(omega)
        source = weights if isinstance(weights, Mapping) else str(weights)
        field, axes = read_medfuncta(source, omega, parameters.get("skip_connections"))
        fixed = {
            "latent_dim": field.latent_dim,
            "hidden_dim": field.hidden_dim,
            "n_layers": field.n_layers,
            "omega": field.omega,
            "skip_connections": field.skip_connections,
            "learner": "cavia",
            "channel_axis": -1 if field.out_dim > 1 else None,
        }
        estimator = cls(**{**fixed, **parameters})
        estimator._validate_params()
        if estimator.patch_size is not None:
            raise ValueError(
                "published weights describe whole signals, on any grid: patch_size must be None, "
                f"got {estimator.patch_size!r}"
            )
        estimator._check_parameters()
        layout = Layout(
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
        codec, learner = estimator._published_codec(field, layout)
        estimator._accept(codec, learner, layout)
        estimator._check_shape_of_field("published weights make")
        estimator.loss_curve_, estimator.psnr_curve_, estimator.validation_curve_ = [], [], []
        estimator.n_iter_ = 0
        return estimator

    @property
    def field_(self) -> Field:
        """The trained field."""
        return self.codec_.field

    @property
    def _n_features_out(self) -> int:
        return self.codec_.latent_size

    def _check_parameters(self) -> None:
        """Check what one parameter's constraint alone cannot tell."""
        check_omega(self.omega)
        family = available_fields()[self.field]
        if self.modulation != "shift" and "modulation" not in family.options:
            raise ValueError(
                f"modulation={self.modulation!r} needs field='siren', got field={self.field!r}"
            )
        for callback in self.callbacks or ():
            if not callable(callback):
                raise ValueError(f"callbacks must be callable, got {callback!r}")
        if self.checkpoint is not None:
            path = Path(self.checkpoint)
            if path.is_dir() or not path.absolute().parent.is_dir():
                raise ValueError(
                    f"checkpoint must name a file in a folder that exists, got {str(path)!r}"
                )

    def _check_shape_of_field(self, what: str) -> None:
        """Refuse a field of another shape than the parameters ask for."""
        field = self.codec_.field
        if self.field == field.family:
            field.check(field.in_dim, self.get_params(deep=False))
        there = {"field": field.family, **field.config()}
        del there["in_dim"], there["out_dim"]
        del there["output_scale"]  # matters to initial weights only
        for name, value in there.items():
            asked = getattr(self, name)
            if name == "omega":
                asked, value = _as_pair(asked), _as_pair(value)
            elif name == "latent_grid":
                asked = along_axes(asked, field.in_dim)
            if asked is not None and asked != value:
                raise ValueError(f"{what} a field with {name}={value}, got {name}={asked}")
        patches = patches_of(self.codec_)
        seen = None if patches is None else patches.size
        asked = self.patch_size
        if asked is not None:
            asked = along_axes(asked, self.layout_.n_axes)
        if asked != seen:
            raise ValueError(
                f"{what} a field with patch_size={seen}, got patch_size={self.patch_size}"
            )

    def _read(self, X: Any, reset: bool) -> Signals:
        """Validate the input and read it into signals."""
        if isinstance(X, list | tuple) and len(X) == 0:
            raise ValueError(f"X needs at least one signal, got none: {X!r}")
        if not is_xarray(X) and not is_list_of_signals(X):
            X = self._check_array(X, reset)
        signals = read_signals(X, self.channel_axis, None if reset else self.layout_)
        if reset:
            axes = signals.layout.axes
            n_points = signals.groups[0].n_points
            if axes is not None:
                n_points = int(np.prod([len(axis) for axis in axes]))
            self.n_features_in_ = n_points * signals.layout.n_channels
        return signals

    def _check_array(self, X: Any, reset: bool) -> np.ndarray:
        unit_axes = not reset and self.layout_.unit_axes
        # Infinities are refused with the signals they are in when the signals are read.
        options = {"dtype": "numeric", "ensure_all_finite": False}
        if not hasattr(X, "ndim"):
            X = np.asarray(X)
        if X.ndim <= 2 and not unit_axes:
            return validate_data(self, X, reset=reset, **options)
        array = check_array(X, allow_nd=True, estimator=self, input_name="X", **options)
        if not reset and not unit_axes and self.layout_.container == "array":
            self._check_shape(array)
        return array

    def _check_shape(self, array: np.ndarray) -> None:
        """Refuse arrays of another shape than in fit, which say nothing of where they lie."""
        layout = self.layout_
        assert layout.axes is not None
        shape = list(array.shape[1:])
        if layout.channel_axis is not None and array.ndim == layout.n_axes + 2:
            del shape[layout.channel_axis - (1 if layout.channel_axis > 0 else 0)]
        seen = [len(axis) for axis in layout.axes]
        if len(shape) == len(seen) and shape != seen and not layout.is_list:
            raise ValueError(
                f"X has signals of shape {tuple(shape)}, but {type(self).__name__} was fitted on "
                f"{tuple(seen)}; pass a list of arrays (index coordinates) or xarray objects to "
                "encode signals on other grids"
            )

    def _check_latents(self, X: npt.ArrayLike) -> np.ndarray:
        latents = check_array(X, dtype=np.float64, input_name="X")
        if latents.shape[1] != self._n_features_out:
            raise ValueError(
                f"X must hold latents of length {self._n_features_out} "
                f"({'n_patches * ' * isinstance(self.codec_, PatchedCodec)}latent_dim), "
                f"got shape {latents.shape}"
            )
        return latents

    def _seed(self) -> int:
        return int(check_random_state(self.random_state).randint(2**31 - 1))

    def _chosen(self) -> dict[str, Any]:
        """Return what the caller set of what learners have defaults for."""
        return {f.name: _plain(getattr(self, f.name)) for f in dataclass_fields(Settings)}

    def _patches(self, signals: Signals, previous: Codec | None) -> PatchGrid | None:
        """Return what to cut signals into: as in the previous fit, where there was one."""
        if previous is not None:
            return patches_of(previous)
        return None if self.patch_size is None else PatchGrid.of_signals(signals, self.patch_size)

    def _learner(
        self,
        signals: Signals,
        patches: PatchGrid | None = None,
        previous: Codec | None = None,
        before: Learner | None = None,
    ) -> Learner:
        pieces = signals if patches is None else patches.split(signals)
        problem = problem_of(pieces, self.latent_dim)
        chosen = self._chosen()
        if previous is not None:  # A field that is there has its shape, whatever defaults are now.
            shape = previous.field.config()
            chosen |= {name: shape[name] for name in chosen if name in shape}
        return make_learner(self.learner, problem, chosen, before)

    def _field_maker(self, layout: Layout, learner: Learner) -> Callable[..., Field]:
        family = available_fields()[self.field]
        omega = tuple(self.omega) if isinstance(self.omega, tuple | list) else float(self.omega)
        chosen = {**self.get_params(deep=False), **asdict(learner.settings), "omega": omega}
        options = {name: chosen[name] for name in family.options}
        family.check(layout.n_axes, options)
        return partial(family, layout.n_axes, layout.n_channels, **options)

    def _schedule(self, learner: Learner) -> Schedule:
        return Schedule(
            max_iter=learner.settings.max_iter,
            max_time=self.max_time,
            patience=self.n_iter_no_change if self.early_stopping else None,
            tol=self.tol,
            checkpoint=None if self.checkpoint is None else Path(self.checkpoint),
            checkpoint_every=self.checkpoint_every,
            verbose=self.verbose,
        )

    def _plan(
        self, signals: Signals, learner: Learner, device: torch.device, patches: PatchGrid | None
    ) -> FitPlan:
        parameters = self.get_params(deep=False)
        return FitPlan(
            learner=learner,
            schedule=self._schedule(learner),
            make_field=self._field_maker(signals.layout, learner),
            validation_fraction=self.validation_fraction if self.early_stopping else 0.0,
            seed=self._seed(),
            device=device,
            dtype=resolve_dtype(self.precision, device),
            callbacks=list(self.callbacks or ()),
            fingerprint={
                name: _plain(value)
                for name, value in parameters.items()
                if name not in _NOT_IN_FINGERPRINT
            },
            patches=patches,
        )

    def _published_codec(self, field: ModulatedSiren, layout: Layout) -> tuple[Codec, Learner]:
        """Return a codec in unit coordinates and values; solvers see the checkpoint's grid."""
        axes = layout.axes or layout.resized([_UNKNOWN_GRID] * layout.n_axes)
        blank = np.zeros((1, *(len(axis) for axis in axes), layout.n_channels))
        signals = Signals((SignalGroup(axes, blank, np.arange(1)),), layout)
        frame, scaler = CoordinateFrame.identity(field.in_dim), ValueScaler.identity(field.out_dim)
        device = next(field.parameters()).device
        store = ContextStore(signals, frame, scaler, next(field.parameters()).dtype, device)
        learner = self._learner(signals)
        self.n_features_in_ = blank.size
        solver = learner.solver(learner.meta_step(field), store)
        return Codec(field, solver, frame, scaler), learner

    def _encoding_codec(self) -> Codec:
        """Return the codec with as many solver steps as ``transform_steps`` now asks for."""
        if self.transform_steps is None:
            return self.codec_
        solver = copy.copy(self.codec_.solver)
        solver.steps = self.transform_steps
        return replace(self.codec_, solver=solver)

    def _accept(self, codec: Codec, learner: Learner, layout: Layout) -> None:
        self.codec_ = codec
        self.layout_ = layout
        self.settings_ = learner.settings
        self.device_ = str(codec.device)

    def __getstate__(self) -> dict[str, Any]:
        state = dict(super().__getstate__())
        state.pop("_trainer", None)
        if "codec_" in state and state["codec_"].device.type != "cpu":
            state["codec_"] = copy.deepcopy(state["codec_"]).to(torch.device("cpu"))
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if "codec_" in state and self.device_ != "cpu":
            self.codec_.to(available_device(self.device_))
            self.device_ = str(self.codec_.device)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.three_d_array = True
        tags.transformer_tags.preserves_dtype = ["float32"]
        tags.non_deterministic = False
        return tags


def _as_pair(omega: float | Sequence[float]) -> tuple[float, float]:
    first, last = omega if isinstance(omega, Sequence) else (omega, omega)
    return float(first), float(last)


def _plain(value: Any) -> Any:
    """Turn numpy's numbers and tuples into what a checkpoint can hold and compare."""
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return value.item() if isinstance(value, np.generic) else value
