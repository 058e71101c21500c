"""What is found of signals beside their latents."""

from __future__ import annotations

from typing import Any

from sklearn.utils.validation import check_is_fitted

from neurfield.measuring import Details, encode_measured

__all__ = ["Details", "EncodesDetailsMixin"]


class EncodesDetailsMixin:
    """Encodes signals, and returns what was found beside their latents."""

    def encode_details(
        self: Any, X: Any, *, operator: Any, likelihood: Any = "gaussian", solve_for: Any = ()
    ) -> Details:
        """Fit latents as ``transform`` does, and return unknown parameters of measurements too.

        Parameters
        ----------
        X : array of shape (n, ...), real or complex
            What was measured of each signal; NaN where nothing was.
        operator : neurfield.operators.Operator or sequence of n of them
            What measurements are of the field's values: one for all, or one for each signal.
        likelihood : str or neurfield.likelihoods.Likelihood, default="gaussian"
            How measurements scatter around that.
        solve_for : str, neurfield.nuisances.Nuisance or sequence of these, default=()
            What is unknown of each signal's measurement beside its latent: "gain", "offset",
            "drift", "affine", "phase".

        Returns
        -------
        Details
            Latents, parameters and their standard errors.

        Raises
        ------
        ValueError
            If measurements, operator or a parameter is not usable; before any work is done.

        Examples
        --------
        >>> import numpy as np
        >>> from sklearn.datasets import load_digits
        >>> from neurfield import FunctaEncoder
        >>> from neurfield.operators import Blur
        >>> images = load_digits().images[:100]
        >>> encoder = FunctaEncoder(8, hidden_dim=16, field="siren", max_iter=5, random_state=0)
        >>> encoder = encoder.fit(images)
        >>> blur = Blur((8, 8), fwhm=2.0)
        >>> measured = 1.2 * blur.apply(images[:3].reshape(3, 64, 1))
        >>> details = encoder.encode_details(measured, operator=blur, solve_for="gain")
        >>> details.names, details.parameters.shape
        (['gain'], (3, 1))
        """
        check_is_fitted(self)
        codec = self.codec_.with_steps(self.transform_steps)
        how = operator, likelihood, self.memory_budget, solve_for
        return encode_measured(codec, X, *how)
