"""What every spec of a field offers: its options, and the field that they make."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, ClassVar

import torch

from neurfield.fields.base import Field
from neurfield.fields.schedule import check_omega
from neurfield.spec import Spec


class FieldSpec(Spec):
    """Options of a family of fields; a field of one's own is a module and a spec that names it.

    The options have the names of the module's arguments. An argument that the spec does not have,
    or leaves at None, is the encoder's (``latent_dim``, ``hidden_dim``, ``n_layers``, ``omega``) or
    the learner's (``n_layers``, ``residual_scale``, ``output_scale``).

    Attributes
    ----------
    name : str
        What ``FunctaEncoder(field=...)`` takes.
    module : type of Field
        Called with ``in_dim``, ``out_dim``, the options, and ``generator`` if it takes one.
    usual_learner : str or None
        Name of the only learner that trains it; None = any.
    """

    kind: ClassVar[str] = "field"
    usual_learner: ClassVar[str | None] = None
    module: ClassVar[type[Field]]

    @classmethod
    def family_of(cls, field: Field) -> str:
        """Return the name under which the class of a field is known.

        Parameters
        ----------
        field : Field
            Of the very class that a spec makes; classes derived from it do not count.

        Raises
        ------
        ValueError
            If no spec makes fields of that class.
        """
        for name, spec in cls.known().items():
            if getattr(spec, "module", None) is type(field):  # none is chosen yet of "auto"
                return name
        raise ValueError(f"no FieldSpec makes a {type(field).__name__}: define one that names it")

    @classmethod
    def arguments(cls) -> list[str]:
        """Return the names of what the module takes besides the numbers of axes and channels."""
        return [name for name in cls.module.arguments() if name not in ("in_dim", "out_dim")]

    def chosen(self) -> dict[str, Any]:
        """Return the options that are set, by the names of the module's arguments."""
        options = self.get_params(deep=False)
        return {name: value for name, value in options.items() if value is not None}

    def configuration(self, in_dim: int, shared: Mapping[str, Any]) -> dict[str, Any]:
        """Return all arguments of the module, checked.

        Parameters
        ----------
        in_dim : int
            Number of coordinate axes d.
        shared : mapping
            What stands for options that are not set, by name.

        Raises
        ------
        ValueError
            If arguments do not go together, or the module takes no argument of an option's name.
        """
        values = {**shared, **self.chosen()}
        names = self.arguments()
        if unknown := sorted(set(self.chosen()) - set(names)):
            raise ValueError(
                f"{type(self).__name__} has the options {unknown}, which {self.module.__name__} "
                f"does not take: it takes {names}"
            )
        arguments = {name: values[name] for name in names if name in values}
        if "omega" in arguments:
            check_omega(arguments["omega"])
        self.module.check(in_dim, arguments)
        return arguments

    def make(
        self, in_dim: int, out_dim: int, shared: Mapping[str, Any], generator: torch.Generator
    ) -> Field:
        """Return a field with fresh weights.

        Parameters
        ----------
        in_dim, out_dim : int
            Number of coordinate axes d and of channels c.
        shared : mapping
            As in :meth:`configuration`.
        generator : torch.Generator
            Source of the initial weights. A module that takes none draws from torch's own source,
            which is seeded from this one and put back afterwards.
        """
        arguments = self.configuration(in_dim, shared)
        if "generator" in inspect.signature(self.module.__init__).parameters:
            return self.module(in_dim, out_dim, **arguments, generator=generator)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(torch.randint(2**31 - 1, (), generator=generator)))
            return self.module(in_dim, out_dim, **arguments)
