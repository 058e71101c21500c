"""Every parameter on the API page is documented, and nothing else is."""

import inspect
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

API_PAGE = Path(__file__).resolve().parents[1] / "docs" / "api.md"

# Written by scikit-learn, which documents them in its own way.
GENERATED = re.compile(r"get_metadata_routing|set_\w+_request")


def on_the_api_page() -> Iterator[tuple[str, Any]]:
    """Yield name and object of what docs/api.md lists; a module stands for its ``__all__``."""
    for path in re.findall(r"^::: ([\w.]+)$", API_PAGE.read_text("utf-8"), re.M):
        try:
            item: Any = import_module(path)
        except ModuleNotFoundError:
            home, _, name = path.rpartition(".")
            item = getattr(import_module(home), name)
        if isinstance(item, ModuleType):
            yield from ((f"{path}.{public}", getattr(item, public)) for public in item.__all__)
        else:
            yield path, item


def public_callables() -> dict[str, Any]:
    """Return functions, classes, and the methods that classes define themselves, by name."""
    found = {}
    for name, item in on_the_api_page():
        if inspect.isclass(item):
            found[name] = item
            for method, raw in vars(item).items():
                is_method = inspect.isfunction(raw) or isinstance(raw, classmethod | staticmethod)
                if is_method and not method.startswith("_") and not GENERATED.fullmatch(method):
                    found[f"{name}.{method}"] = getattr(item, method)
        elif inspect.isroutine(item):
            found[name] = item
    return found


def parameters(item: Any) -> list[str]:
    home = getattr(item.__init__, "__module__", "") if inspect.isclass(item) else "neurfield"
    if not home.startswith("neurfield"):
        return []  # it takes what a base class outside this package takes
    names = inspect.signature(item).parameters
    return [name for name in names if name != "self"]


def documented(docstring: str) -> list[str]:
    """Return the names under the heading "Parameters" of a numpydoc docstring, in order."""
    section = r"^Parameters\n-+\n(.*?)(?=^\S[^\n]*\n-+\n|\Z)"
    found = re.search(section, inspect.cleandoc(docstring) + "\n", re.MULTILINE | re.DOTALL)
    entries = re.findall(r"^(\S[^:\n]*?)(?: : .*)?$", found[1] if found else "", re.MULTILINE)
    return [name.strip().lstrip("*") for entry in entries for name in entry.split(",")]


ITEMS = public_callables()


@pytest.mark.parametrize("name", ITEMS)
def test_parameters_are_documented(name):
    docstring = inspect.getdoc(ITEMS[name])
    assert docstring, f"{name} has no docstring"
    assert documented(docstring) == parameters(ITEMS[name])


@pytest.mark.parametrize("package", ["neurfield", "neurfield.datasets", "neurfield.plotting"])
def test_every_public_name_is_on_the_api_page(package):
    module = import_module(package)
    listed = dict(on_the_api_page())
    public = {name for name in module.__all__ if callable(getattr(module, name))}
    assert public <= {name.removeprefix(f"{package}.") for name in listed}


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
