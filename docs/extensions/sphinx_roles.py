"""Show roles of reStructuredText in docstrings as code: :func:`load_npz` becomes `load_npz`."""

import re
from typing import Any

import griffe

_ROLE = re.compile(r":(?:py:)?(?:attr|class|exc|func|meth|mod|obj):`(~?)([^`<>]+)`")


def _as_code(match: re.Match[str]) -> str:
    shortened, target = match.groups()
    return f"`{target.rpartition('.')[2] if shortened else target}`"


class SphinxRoles(griffe.Extension):
    """Rewrite the docstring of every object that is loaded."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        if obj.docstring:
            obj.docstring.value = _ROLE.sub(_as_code, obj.docstring.value)
