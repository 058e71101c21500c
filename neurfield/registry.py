"""Classes found by name: what a string stands for, and what a file was saved with."""

from __future__ import annotations

from typing import Any, ClassVar, Self


class Registered:
    """Base of a kind of classes, each of which is entered under its ``name`` where it is defined.

    A direct subclass opens a kind, such as fields or learners, with names of its own; a class of
    that kind that defines ``name`` can be found by it from then on, wherever it was written.

    Attributes
    ----------
    kind : str
        What the classes are, such as "learner", for messages.
    name : str
        What the class is called, by users and in saved files; no two of a kind share one.
    """

    kind: ClassVar[str]
    name: ClassVar[str]
    _known: ClassVar[dict[str, type[Any]]]

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "kind" in vars(cls):
            cls._known = {}
        if "name" in vars(cls):
            cls._enter()

    @classmethod
    def _enter(cls) -> None:
        there = cls._known.get(cls.name)
        # A cell of a notebook that is run again defines the same class anew.
        if there is not None and _place(there) != _place(cls):
            raise TypeError(
                f"{cls.kind} {cls.name!r} is {_place(there)} already; {_place(cls)} needs a name "
                "of its own"
            )
        cls._known[cls.name] = cls

    @classmethod
    def known(cls) -> dict[str, type[Self]]:
        """Return the classes of this kind by name."""
        return dict(cls._known)

    @classmethod
    def named(cls, name: str) -> type[Self]:
        """Return the class of a name.

        Parameters
        ----------
        name : str
            A key of :meth:`known`.

        Raises
        ------
        ValueError
            If there is none; one that is defined elsewhere is known once its module is imported.
        """
        if name not in cls._known:
            raise ValueError(
                f"{cls.kind} must be one of {sorted(cls._known)}, got {name!r}; a class of your "
                "own is known once its module has been imported"
            )
        return cls._known[name]


def _place(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"
