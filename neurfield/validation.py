"""What callers hand to an encoder, checked as scikit-learn checks it, and read into signals."""

from __future__ import annotations

import warnings
from dataclasses import replace
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from pandas.api.types import is_complex_dtype, is_numeric_dtype
from sklearn.utils.validation import check_array, validate_data

from neurfield._compat import check_sample_weight
from neurfield.codec import Codec
from neurfield.measuring import read_measurements
from neurfield.patched import patches_of
from neurfield.provenance import check_origin, fingerprint_of
from neurfield.signals import Layout, Signals, read_signals
from neurfield.signals.accepted import as_container, real
from neurfield.signals.arrays import numbered_columns
from neurfield.signals.attributes import warn_of_text
from neurfield.signals.beside import index_of_samples, sample_coordinates
from neurfield.signals.labelled import is_xarray
from neurfield.signals.layout import SAMPLE
from neurfield.signals.lists import is_list_of_signals
from neurfield.signals.missing import filled, holds_masks, unobserved

_MOST_WEIGHT = 1e30

if TYPE_CHECKING:
    from neurfield.encoder import FunctaEncoder


class TakesSignalsMixin:
    """Tells scikit-learn what an estimator of signals takes and returns."""

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()  # type: ignore[misc]
        tags.input_tags.allow_nan = True
        tags.input_tags.three_d_array = True
        tags.transformer_tags.preserves_dtype = ["float32"]
        tags.non_deterministic = False
        return tags


def validated_signals(encoder: FunctaEncoder, X: Any, reset: bool) -> Signals:
    """Validate the input and read it into signals.

    Parameters
    ----------
    encoder : FunctaEncoder
        Takes note of the number of features, and of their names, on a reset.
    X : any container that ``fit`` takes
        Signals, NaN where a value was not observed. Infinities are refused later, by
        ``Signals.check`` or where values are read.
    reset : bool
        Whether this is the data that the encoder is fitted to, or must agree with that.

    Raises
    ------
    ValueError
        If the input is not usable.
    """
    if isinstance(X, list | tuple) and len(X) == 0:
        raise ValueError(f"X needs at least one signal, got none: {X!r}")
    layout = None if reset else encoder.layout_
    X = given = as_container(X)
    columns = None
    if not is_xarray(X) and not is_list_of_signals(X):
        X, columns = _checked_array(encoder, filled(X), layout), numbered_columns(X)
    signals = read_signals(X, encoder.channel_axis, layout, columns)
    if reset:
        axes = signals.layout.axes
        n_points = signals.groups[0].n_points
        if axes is not None:
            n_points = int(np.prod([len(axis) for axis in axes]))
        encoder.n_features_in_ = n_points * signals.layout.n_channels
        if holds_masks(given):
            nowhere = np.asarray(np.atleast_1d(unobserved(signals, signals.layout)).all(axis=0))
            signals = replace(signals, layout=replace(signals.layout, masked=nowhere))
        _warn_of_labels(signals.layout)
    else:
        _check_extent(encoder.codec_, signals)
    return signals


def weighted(signals: Signals, sample_weight: Any) -> Signals:
    """Return signals with their weights; those of weight zero are left out.

    Parameters
    ----------
    signals : Signals
        Of a fit.
    sample_weight : array-like of shape (n,), or None
        As how many signals each counts; None = all once.

    Raises
    ------
    ValueError
        If it is no finite number for each signal, one is negative or beyond what single precision
        can sum, or none is positive.
    """
    kept, weight = checked_weight(sample_weight, len(signals))
    if len(kept) < len(signals):
        signals = signals.subset(kept)
    once = weight is None or bool((weight == 1.0).all())  # then not even rounding should differ
    return signals if once else replace(signals, sample_weight=weight)


def checked_weight(sample_weight: Any, n_signals: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Return which signals have a weight above zero, and their weights.

    Parameters
    ----------
    sample_weight : array-like of shape (n,), or None
        As how many signals each counts; None = all once.
    n_signals : int
        n.

    Raises
    ------
    ValueError
        As :func:`weighted`.
    """
    if sample_weight is None:
        return np.arange(n_signals), None
    weight = check_sample_weight(filled(sample_weight), n_signals)
    kept = np.flatnonzero(weight > 0)
    if not len(kept):
        raise ValueError("sample_weight must be positive for one signal or more, got only zeros")
    least, most = weight[kept].min(), weight[kept].max()
    if not 1 / _MOST_WEIGHT <= least <= most <= _MOST_WEIGHT:
        raise ValueError(
            f"sample_weight must be zero or within {1 / _MOST_WEIGHT:g} to {_MOST_WEIGHT:g}, got "
            f"{least:g} to {most:g}: single precision cannot sum others; it says as how many "
            "signals each counts"
        )
    return kept, weight[kept]


def validated_origin(
    encoder: FunctaEncoder,
    X: Any,
    observed: Any,
    return_std: bool,
    operator: Any = None,
    likelihood: Any = "gaussian",
) -> dict[str, Any]:
    """Read what is known of the signals that latents are of, as :func:`decode_latents` takes it.

    Parameters
    ----------
    encoder : FunctaEncoder
        Fitted.
    X : array-like of shape (n, P)
        The latents; of a DataFrame, the index labels the samples.
    observed : any container that ``transform`` takes, or None
        The signals, in the order of the latents; with `return_std`, lazy values are read once, to
        check them.
    return_std : bool
        Whether deviations are asked for.
    operator, likelihood : optional
        How `observed` was measured, as ``transform`` takes them.

    Returns
    -------
    dict
        The signals, or measurements, as "observed", where deviations need them, labels as
        "samples", and what is masked of each signal on the grid of fit as "masked"; None where
        nothing is known. Without the signals there is a warning if deviations are asked for.

    Raises
    ------
    ValueError
        If they are not as many as the latents, have other labels, or are not usable, or there would
        be no use for them.
    """
    samples = sample_coordinates(X)
    if operator is not None and observed is None:
        raise ValueError("operator= says how observed was measured: give observed= with it")
    if observed is None:
        if return_std:
            warnings.warn(
                "return_std=True takes each signal as observed on the whole grid of fit: give "
                "observed=X, the signals that the latents are of",
                UserWarning,
                stacklevel=3,
            )
        return {"observed": None, "samples": samples, "masked": None}
    if operator is not None:
        codec = encoder.codec_.with_steps(encoder.transform_steps)
        measured = read_measurements(codec, observed, operator, likelihood, "observed")
        _check_as_many(len(measured), len(X))
        return {"observed": measured, "samples": samples, "masked": None}
    labels, is_masked = sample_coordinates(observed), holds_masks(observed)
    if not return_std and labels is None and not is_masked:
        raise ValueError(
            "observed= changes nothing but standard deviations where it has neither a mask nor "
            "labels of samples: give return_std=True with it"
        )
    signals, n_latents = validated_signals(encoder, observed, reset=False), len(X)
    if return_std:
        signals.check()
    _check_as_many(len(signals), n_latents)
    _check_same_samples(index_of_samples(X), index_of_samples(observed))
    return {
        "observed": signals if return_std else None,
        "samples": samples if labels is None else labels,
        "masked": unobserved(signals, encoder.layout_) if is_masked else None,
    }


def _check_as_many(n_signals: int, n_latents: int) -> None:
    if n_signals != n_latents:
        raise ValueError(
            f"observed must hold the signal of each latent, got {n_signals} signals for "
            f"{n_latents} latents"
        )


def _check_same_samples(ours: pd.Index | None, theirs: pd.Index | None) -> None:
    """Refuse latents and signals whose labels say that they are not each other's."""
    if any(index is None or isinstance(index, pd.RangeIndex) for index in (ours, theirs)):
        return
    assert ours is not None
    assert theirs is not None
    if not ours.equals(theirs):
        raise ValueError(
            "observed must hold the signals of the latents in their order, got the labels "
            f"{theirs[:3].tolist()}... for latents of {ours[:3].tolist()}..."
        )


def validated_latents(encoder: FunctaEncoder, X: npt.ArrayLike) -> np.ndarray:
    """Validate latents of signals of the size of fit: float64 array of shape (n, P).

    Parameters
    ----------
    encoder : FunctaEncoder
        Fitted; with ``patch_size``, P are the numbers of all patches together.
    X : array-like of shape (n, P)
        Latents, one row per signal; of a DataFrame or DataArray, ``attrs`` may tell which field
        they are of.

    Raises
    ------
    ValueError
        If the shape or the field is another, or a latent is not finite.
    """
    latents = check_array(X, dtype=np.float64, input_name="X")
    length = encoder.codec_.latent_size
    if latents.shape[1] != length:
        patched = "" if patches_of(encoder.codec_) is None else "n_patches * "
        raise ValueError(
            f"X must hold latents of length {length} ({patched}latent_dim), "
            f"got shape {latents.shape}"
        )
    check_field(encoder, X, "X")
    return latents


def check_field(encoder: FunctaEncoder, latents: Any, name: str) -> None:
    """Refuse latents whose ``attrs`` say that they are of another field.

    Parameters
    ----------
    encoder : FunctaEncoder
        Fitted.
    latents : any
        In any container.
    name : str
        What they are called in the message.

    Raises
    ------
    ValueError
        If they are.
    """
    check_origin(
        fingerprint_of(latents),
        encoder.codec_,
        name,
        "pass a plain array, which says nothing of a field",
    )


def _checked_array(encoder: FunctaEncoder, X: Any, layout: Layout | None) -> np.ndarray:
    unit_axes = layout is not None and layout.unit_axes
    # Arrays of any shape then say what their size is; tables have the columns of fit, as
    # scikit-learn has it.
    any_shape = layout is not None and (unit_axes or encoder.codec_.any_size)
    # Infinities are refused with the signals they are in when the signals are read.
    options = {"dtype": "numeric", "ensure_all_finite": False}
    if not hasattr(X, "ndim"):
        X = np.asarray(X)
    if hasattr(X, "dtype") and X.dtype.kind in "cmM":
        real(X, "values of X")
    try:
        if X.ndim <= 2 and not unit_axes:
            return real(validate_data(encoder, X, reset=layout is None, **options), "values of X")
        array = check_array(X, allow_nd=True, estimator=encoder, input_name="X", **options)
    except (TypeError, ValueError) as error:
        _check_columns(X, error)
        raise
    if layout is not None and not any_shape and layout.container == "array":
        _check_shape(type(encoder).__name__, array, layout)
    return real(array, "values of X")


def _check_columns(X: Any, error: Exception) -> None:
    """Name the columns of a DataFrame that hold no numbers."""
    if not isinstance(X, pd.DataFrame):
        return
    others = X.loc[:, [not (is_numeric_dtype(t) and not is_complex_dtype(t)) for t in X.dtypes]]
    if others.empty:
        return
    first, names = others.iloc[:, 0], others.columns[:5].tolist()
    if is_complex_dtype(first.dtype):
        real(first, f"columns {names} of X")
    strange = next((value for value in first if not isinstance(value, Real)), first.iloc[0])
    raise ValueError(
        f"columns {names} of X must hold real numbers, got {first.dtype}, such as {strange!r}; "
        'drop them, make them the index if they are labels, or use .astype("Float64") if they are '
        "numbers with gaps"
    ) from error


def _warn_of_labels(layout: Layout) -> None:
    """Warn, before any work, of what saving will change, and of what splitting would mix up."""
    warn_of_text(layout.attrs, "X")
    for name, attrs in {**layout.variable_attrs, **layout.axis_attrs}.items():
        warn_of_text(attrs, f'"{name}" of X')
    if layout.dims and layout.dims[0] != SAMPLE and not layout.is_list:
        warnings.warn(
            f'"{SAMPLE}" is not the first of the dimensions {layout.dims} of X: functions of '
            "scikit-learn that split data, such as cross_val_score, would divide "
            f'"{layout.dims[0]}"; X.transpose("{SAMPLE}", ...) is safe',
            UserWarning,
            stacklevel=3,
        )


def _check_extent(codec: Codec, signals: Signals) -> None:
    """Warn of signals that reach beyond the extent seen in fit, and refuse those mostly outside."""
    frame = codec.whole_frame
    groups = [group for group in signals.groups if group.is_scattered or not codec.any_size]
    lower, upper = np.full((2, len(frame.lower)), [[np.inf], [-np.inf]])
    for group in groups:
        inside = frame.share_inside(group.axes, group.is_scattered)
        if inside < 0.5:
            raise ValueError(
                f"X[{group.positions[0]}] lies outside the extent seen in fit, "
                f"{frame.lower.tolist()} to {frame.upper.tolist()}, with {1 - inside:.0%} of its "
                "points: the field knows nothing there; give coordinates in the units of fit, "
                "or fit on signals of that extent"
            )
        lower = np.minimum(lower, [axis.min() for axis in group.axes])
        upper = np.maximum(upper, [axis.max() for axis in group.axes])
    frame.warn_outside(lower, upper, "encoding")


def _check_shape(who: str, array: np.ndarray, layout: Layout) -> None:
    """Refuse arrays of another shape than in fit, which say nothing of where they lie."""
    assert layout.axes is not None
    shape = list(array.shape[1:])
    if layout.channel_axis is not None and array.ndim == layout.n_axes + 2:
        del shape[layout.channel_axis - (1 if layout.channel_axis > 0 else 0)]
    seen = [len(axis) for axis in layout.axes]
    if len(shape) == len(seen) and shape != seen and not layout.is_list:
        raise ValueError(
            f"X has signals of shape {tuple(shape)}, but {who} was fitted on "
            f"{tuple(seen)}; pass a list of arrays (index coordinates) or xarray objects to "
            "encode signals on other grids"
        )
