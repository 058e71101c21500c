"""Every public parameter is documented, and nothing else is."""

import inspect
import re
from collections.abc import Iterator
from typing import Any

import pytest

import neurfield
from neurfield import codec, datasets, fields, learning, plotting

MODULES = (neurfield, codec, datasets, fields, learning, plotting)
# scikit-learn writes these, or they say what the method they override says.
INHERITED = re.compile(r"^(get_metadata_routing|set_\w+_request|forward)$")


def public_names(module: Any) -> list[str]:
    return list(getattr(module, "__all__", None) or [module.__name__.rpartition(".")[2].title()])


def public_callables() -> Iterator[tuple[str, Any]]:
    """Yield name and object of all public functions, classes and their public methods."""
    for module in MODULES:
        for name in public_names(module):
            item = getattr(module, name)
            if inspect.isclass(item):
                yield f"{module.__name__}.{name}", item
                for method, raw in vars(item).items():
                    if method.startswith("_") or INHERITED.match(method):
                        continue
                    if isinstance(raw, classmethod | staticmethod) or inspect.isfunction(raw):
                        yield f"{module.__name__}.{name}.{method}", getattr(item, method)
            elif inspect.isroutine(item):
                yield f"{module.__name__}.{name}", item


def documented(docstring: str, section: str = "Parameters") -> list[str]:
    """Return the names under a heading of a numpydoc docstring, in order."""
    pattern = rf"^{section}\n-+\n(.*?)(?=^\S[^\n]*\n-+\n|\Z)"
    found = re.search(pattern, inspect.cleandoc(docstring) + "\n", re.MULTILINE | re.DOTALL)
    entries = re.findall(r"^(\S[^:\n]*?)(?: : .*)?$", found[1] if found else "", re.MULTILINE)
    return [name.strip().lstrip("*") for entry in entries for name in entry.split(",")]


def parameters(item: Any) -> list[str]:
    names = inspect.signature(item).parameters
    return [name for name in names if name not in ("self", "cls")]


ITEMS = dict(public_callables())


@pytest.mark.parametrize("name", ITEMS)
def test_parameters_are_documented(name):
    item = ITEMS[name]
    assert inspect.getdoc(item), f"{name} has no docstring"
    assert documented(inspect.getdoc(item)) == parameters(item)


def test_the_walk_finds_what_is_public():
    assert {
        "neurfield.FunctaEncoder",
        "neurfield.FunctaEncoder.from_medfuncta",
        "neurfield.list_presets",
        "neurfield.datasets.load_nifti",
        "neurfield.plotting.plot_latents",
        "neurfield.fields.ModulatedSiren",
        "neurfield.learning.Trainer.run",
    } <= set(ITEMS)


def test_the_parser_reads_numpydoc():
    docstring = """One line.

    Parameters
    ----------
    a : int
        First: not a name.
    b, c : float, default=1.0
    *args
        More.

    Returns
    -------
    d : int
    """
    assert documented(docstring) == ["a", "b", "c", "args"]
    assert documented("One line.") == []
