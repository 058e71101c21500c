"""What a notebook shows of a fitted encoder below scikit-learn's diagram."""

from __future__ import annotations

import html
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import ClassNamePrefixFeaturesOutMixin

from neurfield._compat import output_config
from neurfield.fields import FieldSpec
from neurfield.patched import patches_of
from neurfield.provenance import TracedMixin
from neurfield.signals.beside import index_of_samples

_RECENT = 25  # meta-steps that the quality at the end of a fit is averaged over


class SummaryMixin:
    """Adds a table of facts to the HTML that an estimator shows of itself once it is fitted."""

    @property
    def _repr_html_(self) -> Callable[[], str]:
        diagram = super()._repr_html_  # type: ignore[misc] # not there where text is asked for
        return lambda: _extended(diagram(), self)

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, str]:
        bundle = dict(super()._repr_mimebundle_(**kwargs))  # type: ignore[misc]
        if "text/html" in bundle:
            bundle["text/html"] = _extended(bundle["text/html"], self)
        return bundle


class NamedLatentsMixin(TracedMixin):
    """Names latents after the cells or the patches that they describe, and their field."""

    def get_feature_names_out(self: Any, input_features: npt.ArrayLike | None = None) -> np.ndarray:
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
        numbered = ClassNamePrefixFeaturesOutMixin.get_feature_names_out(self, input_features)
        names = self.codec_.latent_names(self.layout_.axis_names)
        if names is None:
            return numbered
        prefix = type(self).__name__.lower()
        return np.array([f"{prefix}_{name}" for name in names], dtype=object)


def labelled(encoder: Any, latents: np.ndarray | list[np.ndarray], X: Any) -> Any:
    """Return latents with the labels of the samples, where pandas is to be the output.

    Parameters
    ----------
    encoder : FunctaEncoder
        Fitted; its ``set_output``, or scikit-learn's configuration, tells.
    latents : array of shape (n, P), or list of n arrays of shape (P_i,)
        What ``transform`` found.
    X : container of signals
        Of an xarray object with a coordinate ``sample``, that becomes the index. scikit-learn
        itself takes over the index of a DataFrame.
    """
    if output_config("transform", encoder).get("dense") != "pandas":
        return latents
    length = encoder.codec_.latent_size
    if isinstance(latents, list) or latents.shape[1] != length:
        raise ValueError(
            f"output as pandas needs signals of the size of fit, whose {length} latents have "
            'names: take set_output(transform="default"), or pool="mean" of the field'
        )
    index = index_of_samples(X)
    if index is None:
        return latents
    import pandas as pd

    return pd.DataFrame(latents, index=index)


def summary(encoder: Any) -> dict[str, str]:
    """Return what is worth knowing of a fitted encoder at a glance, as names and values.

    Parameters
    ----------
    encoder : FunctaEncoder
        Fitted.
    """
    field, layout = encoder.field_, encoder.layout_
    facts = {
        "latents": _latents(encoder.codec_),
        "field": FieldSpec.family_of(field),
        "parameters": f"{field.n_parameters:,} shared by all signals",
        "grid": _grid(layout),
        "learner": f"{encoder.learner_.name}, {encoder.n_iter_:,} meta-steps",
    }
    recent = np.asarray(encoder.psnr_curve_[-_RECENT:], dtype=float)
    if np.isfinite(recent).any():
        facts["PSNR in training"] = f"{np.nanmean(recent[np.isfinite(recent)]):.1f} dB"
    if len(encoder.validation_curve_):
        facts["PSNR held out"] = f"{max(encoder.validation_curve_):.1f} dB"
    facts["device"] = f"{encoder.device_}, {str(encoder.codec_.dtype).removeprefix('torch.')}"
    return facts


def _latents(codec: Any) -> str:
    text, patches = f"{codec.latent_size} numbers per signal", patches_of(codec)
    if patches is None:
        return text
    return f"{text}: {patches.n_patches} patches × {codec.field.latent_dim}"


def _grid(layout: Any) -> str:
    if layout.axes is None:
        return f"any, {layout.n_axes} axes"
    sizes = " × ".join(str(len(axis)) for axis in layout.axes)
    names = ", ".join(
        f"{name} ({unit})" if unit else name
        for name, unit in zip(layout.axis_names, layout.units, strict=True)
    )
    channels = f", {layout.n_channels} channels" if layout.n_channels > 1 else ""
    common = " (signals on grids of their own)" if layout.is_list else ""
    return f"{sizes}: {names}{channels}{common}"


def _extended(diagram: str, encoder: Any) -> str:
    if not hasattr(encoder, "codec_"):
        return diagram
    rows = "".join(
        f'<tr><th scope="row" style="text-align: left; padding-right: 1em">{html.escape(name)}</th>'
        f'<td style="text-align: left">{html.escape(value)}</td></tr>'
        for name, value in summary(encoder).items()
    )
    return (
        f'{diagram}<table class="neurfield-summary" style="margin: 0.5em 0; font-size: 0.9em">'
        f"<tbody>{rows}</tbody></table>"
    )
