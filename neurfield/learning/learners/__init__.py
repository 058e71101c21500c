"""Learners, found by looking: each module here defines one."""

from __future__ import annotations

import importlib
import pkgutil

from neurfield.learning.base import Learner


def available_learners() -> dict[str, type[Learner]]:
    """Return the learner classes by name.

    Examples
    --------
    >>> sorted(available_learners())
    ['cavia', 'varpro']
    """
    found = {}
    for module_info in pkgutil.iter_modules(__path__):
        module = importlib.import_module(f"{__name__}.{module_info.name}")
        for member in vars(module).values():
            if isinstance(member, type) and issubclass(member, Learner) and member is not Learner:
                found[member.name] = member
    return found
