"""The spec that leaves the field to the data."""

from __future__ import annotations

from typing import Any, ClassVar, Self

from neurfield.fields.spec import FieldSpec


class Auto(FieldSpec):
    """A field of whole signals or one of lapped cells, whichever suits the signals of a fit.

    What ``field="auto"`` stands for. It has no options: those of a field are given with its name.

    Examples
    --------
    >>> Auto().get_params()
    {}
    """

    name: ClassVar[str] = "auto"

    def set_params(self, **parameters: Any) -> Self:
        """Refuse options.

        Parameters
        ----------
        **parameters
            None is taken.

        Raises
        ------
        ValueError
            If there is one.
        """
        if parameters:
            raise ValueError(
                f"field='auto' has no options, got {sorted(parameters)}: give the field by name "
                "too, such as field='siren' or field='lapped', or as a spec"
            )
        return self
