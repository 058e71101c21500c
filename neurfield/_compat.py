"""Private API of the libraries this package builds on, all of it in one place."""

from __future__ import annotations

from sklearn.base import BaseEstimator
from sklearn.base import _fit_context as fit_context
from sklearn.utils._param_validation import Interval, StrOptions, validate_parameter_constraints

__all__ = ["Interval", "StrOptions", "fit_context", "validate_parameters"]


def validate_parameters(estimator: BaseEstimator) -> None:
    """Check parameters against ``_parameter_constraints``, each by itself."""
    validate_parameter_constraints(
        estimator._parameter_constraints,
        estimator.get_params(deep=False),
        caller_name=type(estimator).__name__,
    )
