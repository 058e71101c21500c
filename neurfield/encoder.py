"""FunctaEncoder: neural fields behind scikit-learn's transformer interface."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from neurfield._compat import fit_context
from neurfield.any_size import decode_of_any_size, validated_latents_of_any_size
from neurfield.blockwise import encode_lazily, is_dask_backed
from neurfield.codec import encoding_room
from neurfield.details import EncodesDetailsMixin
from neurfield.display import NamedLatentsMixin, SummaryMixin, labelled
from neurfield.fields import FieldSpec
from neurfield.learning import EarlyStopping, Learner
from neurfield.measuring import encode_measured
from neurfield.passes import one_pass, whole_fit
from neurfield.persistence import StoredMixin
from neurfield.planning import CONSTRAINTS
from neurfield.provenance import provenance
from neurfield.published import PublishedMixin
from neurfield.results import ResultsMixin
from neurfield.signals.lazy import LazyValues
from neurfield.spec import Spec, SpecParameters
from neurfield.validation import TakesSignalsMixin, validated_origin, validated_signals, weighted


class FunctaEncoder(
    SummaryMixin,
    NamedLatentsMixin,
    ResultsMixin,
    EncodesDetailsMixin,
    StoredMixin,
    PublishedMixin,
    SpecParameters,
    TakesSignalsMixin,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    BaseEstimator,
):
    """Turn 1-D, 2-D and 3-D signals into latent vectors through a meta-learned neural field.

    ``fit`` learns the shared weights θ of a modulated SIREN over a data set, ``transform`` fits one
    latent vector φ per signal, ``inverse_transform`` decodes latents on any grid or at any point.

    Parameters
    ----------
    latent_dim : int, default=256
        Length P of the latent vector; of a field with cells, their vectors together.
    hidden_dim : int, default=128
        Width L of the field.
    n_layers : int, default=None
        Number of layers K, the output layer included. None takes the learner's default, as for
        every other parameter below whose default is None.
    omega : float or (float, float), default=(30.0, 60.0)
        ω_1 → ω_K, rising linearly over the layers; one float is a constant ω.
    field : {"auto", "siren", "lapped", "spatial", "low-rank"} or FieldSpec, default="auto"
        Family of the field, with its options: :class:`~neurfield.fields.Siren`, one vector that
        shifts all sine layers alike at each point, :class:`~neurfield.fields.Lapped`, vectors of
        cells that overlap, :class:`~neurfield.fields.Spatial`, a grid of vectors,
        :class:`~neurfield.fields.LowRank`, one short vector that moves the shifts in a learnt
        subspace, or one of one's own. A name stands for the spec with its defaults. "auto" chooses
        "siren" or "lapped", from the data where signals are large; ``field_`` tells.
    learner : {"varpro", "cavia"} or Learner, default="varpro"
        How θ is learnt, with its options: :class:`~neurfield.learning.VarPro`, closed-form inner
        step and variable projection, :class:`~neurfield.learning.Cavia`, the published second-order
        CAVIA, or one of one's own. A name stands for the learner with its defaults.
    transform_steps : int, default=None
        H, steps that ``transform`` takes; with "varpro", 1 is the closed form alone;
        at most 10 000.
    meta_lr : float, default=None
        β, learning rate of the meta-steps.
    batch_size : int, default=None
        B, signals per meta-step.
    max_iter : int, default=None
        Meta-steps of ``fit``.
    max_time : float, default=None
        Seconds that all of ``fit`` or ``partial_fit`` may take, to about a tenth; the learning-rate
        schedule follows. Results then depend on the machine's speed.
    memory_budget : int or float, default=None
        Most bytes that work may take, or, in (0, 1), which part of what is free; None is half. Work
        is done in smaller blocks where it takes more, with the same results to rounding.
    lr_schedule : {"constant", "cosine"}, default=None
        Course of the learning rate in ``fit``.
    weight_decay : float, default=None
        Decoupled weight decay of the meta-steps; with 0, the AdamW of "cavia" is Adam.
    channel_axis : int, default=None
        Which axis of array input (the sample axis counted) holds channels; None = one channel.
        Items of a list are counted as if they had a sample axis too.
    isotropic : bool, default=False
        Scale coordinate axes of one unit by the same number, instead of each to [-1, 1].
    patch_size : int or tuple of d int, default=None
        Grid points of a patch, along all axes or each. The field then describes patches instead of
        whole signals, and the latents of a signal are those of its patches, in C order: n_patches
        times ``latent_dim`` numbers. Signals must share one evenly spaced grid.
    early_stopping : bool or EarlyStopping, default=False
        Hold out signals, stop when they improve no more, and keep the best weights; an
        :class:`~neurfield.learning.EarlyStopping` says how many, and when.
    checkpoint : path, default=None
        File the training state is written to. When it exists, ``fit`` on the same data with the
        same parameters resumes from it and arrives at the same weights as an uninterrupted run;
        so does a pass of ``partial_fit``, which replaces the file of an earlier pass.
    checkpoint_every : int, default=100
        Meta-steps between two checkpoints.
    callbacks : sequence of callables, default=None
        Each gets a :class:`neurfield.learning.Progress` after every meta-step; true ends the fit.
    device : str, default="auto"
        "auto" takes a GPU where there is one; or any name torch knows.
    precision : {"auto", "float32", "float64", "tf32", "bf16"}, default="auto"
        Arithmetic of the field; "auto" is float32. "tf32" (on a GPU) and "bf16" (on a CPU) round
        the factors of the matrix products in ``fit``, and nothing else.
    compile : bool, default=None
        Compile the meta-step with ``torch.compile``, on CUDA with its graphs; the first take long.
    random_state : int, RandomState instance or None, default=None
        Source of the initial weights and of all draws; an int makes fits repeatable on one device.
    verbose : int, default=0
        1 shows what memory work takes, before it begins, and a progress bar with the current PSNR.
    warm_start : bool, default=False
        Continue ``fit`` from the weights, coordinates and scaling of the previous fit.

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
    learner_ : neurfield.learning.Learner
        The learner with all options filled in that were None.
    settings_ : neurfield.learning.Settings
        What the learner used where parameters of the encoder were None.
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

    spec_kinds: ClassVar[Mapping[str, type[Spec]]] = {
        "field": FieldSpec,
        "learner": Learner,
        "early_stopping": EarlyStopping,
    }

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = CONSTRAINTS

    def __init__(
        self,
        latent_dim: int = 256,
        *,
        hidden_dim: int = 128,
        n_layers: int | None = None,
        omega: float | tuple[float, float] = (30.0, 60.0),
        field: str | FieldSpec = "auto",
        learner: str | Learner = "varpro",
        transform_steps: int | None = None,
        meta_lr: float | None = None,
        batch_size: int | None = None,
        max_iter: int | None = None,
        max_time: float | None = None,
        memory_budget: float | None = None,
        lr_schedule: str | None = None,
        weight_decay: float | None = None,
        channel_axis: int | None = None,
        isotropic: bool = False,
        patch_size: int | tuple[int, ...] | None = None,
        early_stopping: bool | EarlyStopping = False,
        checkpoint: str | PathLike[str] | None = None,
        checkpoint_every: int = 100,
        callbacks: Sequence[Any] | None = None,
        device: str = "auto",
        precision: str = "auto",
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
        self.learner = learner
        self.transform_steps = transform_steps
        self.meta_lr = meta_lr
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.max_time = max_time
        self.memory_budget = memory_budget
        self.lr_schedule = lr_schedule
        self.weight_decay = weight_decay
        self.channel_axis = channel_axis
        self.isotropic = isotropic
        self.patch_size = patch_size
        self.early_stopping = early_stopping
        self.checkpoint = checkpoint
        self.checkpoint_every = checkpoint_every
        self.callbacks = callbacks
        self.device = device
        self.precision = precision
        self.compile = compile
        self.random_state = random_state
        self.verbose = verbose
        self.warm_start = warm_start

    @fit_context(prefer_skip_nested_validation=True)
    def fit(
        self,
        X: Any,
        y: Any = None,
        sample_weight: npt.ArrayLike | None = None,
        *,
        operator: Any = None,
        likelihood: Any = "gaussian",
    ) -> Self:
        """Meta-learn the shared weights θ.

        Parameters
        ----------
        X : ndarray of shape (n, length), (n, H, W), (n, D, H, W), ..., DataArray, Dataset or list
            Signals: arrays (with an axis more when ``channel_axis`` is given), xarray objects with
            a "sample" dimension and an optional "channel" dimension, or a list of arrays or
            DataArrays, each of its own shape and coordinates. NaN marks a value not observed. With
            ``operator``, an array of what was measured of two signals or more.
        y : ignored
        sample_weight : array-like of shape (n,), default=None
            As how many signals each counts: in the meta-loss of each batch, in the start from the
            data, in the prior and its calibration, and in the score of those held out. Batches are
            drawn without regard to it. A signal of weight zero is as if it were not there. Extent
            and range are those of all others, and defaults go by their number, as it is.
        operator : neurfield.operators.Operator or sequence of n of them, optional
            What measurements are of signals' values: one for all, or one for each signal, all on
            the grid that the signals then have. They have one channel; with ``channel_axis``, as
            many as the operator measures the shape of X of. A Gaussian of whole signals is learnt
            from the measurements, and θ from signals drawn by it, given what was measured of each.
        likelihood : str or neurfield.likelihoods.Likelihood, default="gaussian"
            How measurements scatter around that; a level not given is one for all signals.

        Returns
        -------
        self : FunctaEncoder
            Fitted.

        Raises
        ------
        ValueError
            If the data or a parameter is not usable; before any work is done.
        """
        return whole_fit(self, X, sample_weight, operator, likelihood)

    def fit_transform(
        self, X: Any, y: Any = None, sample_weight: npt.ArrayLike | None = None, **how: Any
    ) -> Any:
        """Fit to signals and transform the same.

        Parameters
        ----------
        X, y, sample_weight
            As in :meth:`fit`.
        **how
            Its operator and likelihood, for both.
        """
        return self.fit(X, y, sample_weight, **how).transform(X, **how)

    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(
        self, X: Any, y: Any = None, sample_weight: npt.ArrayLike | None = None
    ) -> Self:
        """Pass once over some signals in mini-batches, continuing from where the last call left θ.

        The first call fixes coordinates and scaling, from the extent and range of its signals, and
        what the learner takes where parameters are None. The learning rate stays constant. The
        optimiser goes on from call to call, unless parameters of the training have changed. All
        else is as in :meth:`fit`: a call ends like a fit, with the latents in their canonical
        coordinates and the prior of the signals that it has passed over.

        Parameters
        ----------
        X, y, sample_weight
            As in :meth:`fit`; signals of this pass.

        Returns
        -------
        self : FunctaEncoder
            Fitted.
        """
        return one_pass(self, X, sample_weight)

    def transform(
        self, X: Any, *, operator: Any = None, likelihood: Any = "gaussian", solve_for: Any = ()
    ) -> Any:
        """Fit one latent vector per signal.

        Parameters
        ----------
        X : as in :meth:`fit`
            Signals on the axes seen in fit. xarray objects and lists may stand on other grids; with
            field="lapped", arrays too. With ``operator``, an array of what was measured.
        operator : neurfield.operators.Operator or sequence of n of them, optional
            What measurements are of the field's values: one for all, or one for each signal.
        likelihood : str or neurfield.likelihoods.Likelihood, default="gaussian"
            How measurements scatter around that.
        solve_for : str, neurfield.nuisances.Nuisance or sequence of these, default=()
            What is unknown of each measurement beside the latent, as in :meth:`encode_details`.

        Returns
        -------
        float32 array of shape (n, latent_dim), or (n, n_patches * latent_dim) with ``patch_size``
            For xarray objects made of dask blocks, a DataArray over "sample", with its coordinates,
            and "latent", computed by dask, block by block, when asked for. With field="lapped", a
            list of n arrays where signals of unequal size have unequally long latents.
        """
        check_is_fitted(self)
        codec = self.codec_.with_steps(self.transform_steps)
        if operator is not None or solve_for:
            how = operator, likelihood, self.memory_budget, solve_for
            return labelled(self, encode_measured(codec, X, *how).latents, X)
        signals = validated_signals(self, X, reset=False)
        if is_dask_backed(X) and isinstance(signals.groups[0].values, LazyValues):
            return encode_lazily(codec, signals, X, provenance(self, X.attrs), self.memory_budget)
        with encoding_room(codec, signals, self.memory_budget, "transform", self.verbose):
            return labelled(self, codec.encode(signals), X)

    def inverse_transform(
        self,
        X: npt.ArrayLike,
        *,
        grid: Sequence[int] | None = None,
        coords: Any = None,
        points: npt.ArrayLike | None = None,
        derivative: str | Sequence[str] | None = None,
        return_std: bool = False,
        observed: Any = None,
        operator: Any = None,
        likelihood: Any = "gaussian",
        dtype: npt.DTypeLike | None = None,
    ) -> Any:
        """Decode latents on a grid or at points.

        At most one of ``grid``, ``coords`` and ``points`` may be given; without any, signals are
        decoded on the grid seen in fit (for lists of different grids: on one that covers all).

        Parameters
        ----------
        X : array-like of shape (n, latent_dim), or (n, n_patches * latent_dim) with ``patch_size``
            Latents, one row or item per signal, as :meth:`transform` returns them. A DataFrame or
            DataArray whose ``attrs`` say that another field made them is refused.
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
            Also return the standard deviation of each value, given the ``observed`` ones. It
            includes noise and model error: ±1.645 standard deviations hold about 90 % of values
            that were not observed. For estimators fitted with ``learner="varpro"``.
        observed : as X in :meth:`transform`, optional
            The signals that the latents are of, in their order: what ``return_std`` takes as
            observed, instead of the whole grid of fit with a warning. Results take the mask of
            masked arrays on the grid of fit, and the labels of xarray objects along "sample".
        operator, likelihood : optional
            How ``observed`` was measured; values then have what it says beyond their latents.
        dtype : dtype, optional
            Type of the result, by default float32, or float64 where values need it; integer types
            are rounded and clipped. Standard deviations stay as they are.

        Returns
        -------
        ndarray, DataArray, Dataset or list
            The container seen in fit; with ``coords``, an xarray object (a list of them for a
            sequence); with ``points``, an array of shape (n, n_points) or (n, n_points, c). With
            ``return_std``, a tuple of two of these.
        """
        check_is_fitted(self)
        latents = validated_latents_of_any_size(self, X)
        return decode_of_any_size(
            self.codec_,
            self.layout_,
            latents,
            memory_budget=self.memory_budget,
            derivative=derivative,
            return_std=return_std,
            grid=grid,
            coords=coords,
            points=points,
            dtype=dtype,
            **validated_origin(self, X, observed, return_std, operator, likelihood),
        )

    def score(self, X: Any, y: Any = None, sample_weight: npt.ArrayLike | None = None) -> float:
        """Return the mean PSNR in dB of encoding and decoding the given signals.

        Only observed values count; the peak is each channel's range in fit.

        Parameters
        ----------
        X : as in :meth:`fit`
            Signals as :meth:`transform` takes them.
        y : ignored
        sample_weight : array-like of shape (n,), default=None
            As how many signals each counts in the mean.

        Returns
        -------
        float
            Higher is better.
        """
        check_is_fitted(self)
        signals = weighted(validated_signals(self, X, reset=False), sample_weight)
        codec = self.codec_.with_steps(self.transform_steps)
        with encoding_room(codec, signals, self.memory_budget, "score"):
            psnr = codec.reconstruction_psnr(signals)
        return float(np.average(psnr, weights=signals.sample_weight))
