"""Options that are passed on to a reader or writer by their names."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence


def check_options(
    path: str | os.PathLike[str], owner: str, given: Iterable[str], offered: Sequence[str]
) -> None:
    """Refuse options that a reader or writer does not have.

    Parameters
    ----------
    path : path-like
        The file, for the message.
    owner : str
        What has the options, in words.
    given : iterable of str
        Names of those that were given.
    offered : sequence of str
        Names of those that there are.

    Raises
    ------
    ValueError
        If there is no option of that name.
    """
    for name in given:
        if name not in offered:
            raise ValueError(
                f"{path}: {owner} has no option {name!r}; "
                + (f"it has {', '.join(offered)}" if offered else "it has none")
            )
