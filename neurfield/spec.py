"""Specs: small estimators that hold the options of one choice, such as the field or the learner."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import BaseEstimator

from neurfield._compat import validate_parameters
from neurfield.registry import Registered


class Spec(Registered, BaseEstimator):
    """Options of one choice, as parameters of a scikit-learn estimator.

    A string in a spec's place is the spec of that name with its defaults.
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {}

    @classmethod
    def of(cls, choice: str | Self) -> Self:
        """Return the spec that a parameter of an estimator stands for.

        Parameters
        ----------
        choice : str or Spec
            A name, or the spec itself.

        Raises
        ------
        ValueError
            If there is no spec of that name, or the choice is one of another kind.
        """
        if isinstance(choice, str):
            return cls.named(choice)()
        if not isinstance(choice, cls):
            raise ValueError(
                f"{cls.kind} must be one of {sorted(cls.known())} or a {cls.__name__}, "
                f"got {choice!r}"
            )
        return choice

    def check(self) -> None:
        """Refuse values that no fit could use.

        Raises
        ------
        ValueError
            If a parameter is out of its range.
        """
        validate_parameters(self)

    def to_plain(self) -> dict[str, Any]:
        """Return the spec's name and its options as plain Python values."""
        options = {name: plain(value) for name, value in self.get_params(deep=False).items()}
        return {"name": self.name, **options}

    @classmethod
    def from_plain(cls, values: Mapping[str, Any]) -> Self:
        """Rebuild a spec from :meth:`to_plain`.

        Parameters
        ----------
        values : mapping
            The name, and options by name; lists stand for tuples.
        """
        options = {name: _tuple(value) for name, value in values.items() if name != "name"}
        return cls.named(values["name"])(**options)


class SpecParameters:
    """Mixin for an estimator some of whose parameters are specs, or strings in their place.

    Options of a spec are set and read as ``parameter__option``, also where a string stands there.

    Attributes
    ----------
    spec_kinds : mapping of str to type
        Kind of spec by the parameter that holds it.
    """

    spec_kinds: ClassVar[Mapping[str, type[Spec]]]

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return parameters by name; with ``deep``, the options of their specs too.

        Parameters
        ----------
        deep : bool, default=True
            Whether to include the options of specs, as ``parameter__option``.
        """
        found: dict[str, Any] = super().get_params(deep=deep)  # type: ignore[misc]
        if deep:
            for parameter, kind in self.spec_kinds.items():
                if isinstance(choice := found[parameter], str) and choice in kind.known():
                    options = kind.named(choice)().get_params()
                    found |= {f"{parameter}__{name}": value for name, value in options.items()}
        return found

    def set_params(self, **parameters: Any) -> Self:
        """Set parameters, and options of specs as ``parameter__option``.

        Parameters
        ----------
        **parameters
            Values by name.
        """
        for parameter, kind in self.spec_kinds.items():
            choice = parameters.get(parameter, getattr(self, parameter))
            prefix = f"{parameter}__"
            nested = [name for name in parameters if name.startswith(prefix)]
            if nested and not isinstance(choice, Spec):
                spec = kind.of(choice)  # stands in for it once it has taken its options
                spec.set_params(**{n.removeprefix(prefix): parameters.pop(n) for n in nested})
                parameters[parameter] = spec
        return super().set_params(**parameters)  # type: ignore[misc]


def plain(value: Any) -> Any:
    """Turn specs, NumPy's numbers and tuples into what a file can hold and compare."""
    if isinstance(value, Spec):
        return value.to_plain()
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    return value.item() if isinstance(value, np.generic) else value


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
