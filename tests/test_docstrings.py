"""Docstrings say in words what each entry of their tables is.

Read with numpydoc: every public class, function, method and property of the package, whether
the API page lists it or not. That what the page lists has a table of its parameters is held in
``test_documented.py``. Here, a table that is written is whole, says something in each line, and
names the defaults that the signature has.
"""

import ast
import inspect
import pkgutil
import re
from collections.abc import Iterator
from functools import cached_property
from importlib import import_module
from typing import Any

import pytest
from numpydoc.docscrape import NumpyDocString, get_doc_object
from numpydoc.validate import ERROR_MSGS, validate

import neurfield

# Rules of numpydoc that do not hold here, each with the reason. All its others hold.
_NOT_HELD = {
    "GL01": "up to its version 1.10, numpydoc wants the summary on a line of its own",
    "ES01": "a summary may be enough",
    "SA01": "the text names what is related, and how",
    "EX01": "examples are written where they teach something",
    "RT01": "the summary of a small function says what it returns",
    "YD01": "as RT01, for generators and contexts",
    "RT02": "`self : Estimator` is how scikit-learn writes what `fit` returns",
    "PR04": "arguments that are handed on stand in one entry, which names where they are described",
    "PR08": "a description may start with a name or a formula, as these are written",
    "PR01": "held below for tables that are written: one line is enough for a small function",
    "PR07": "held below: `y : ignored` needs no more, and numpydoc passes over types with braces",
    "RT03": "held below, together with PR07",
}
_HELD = frozenset(ERROR_MSGS) - _NOT_HELD.keys()

_TABLES = ("Parameters", "Other Parameters", "Attributes", "Returns", "Yields", "Raises", "Warns")

# Written by scikit-learn, which documents them in its own way.
_GENERATED = re.compile(r"get_metadata_routing|set_\w+_request")


def modules() -> Iterator[str]:
    """Yield the package and its modules whose names have no leading underscore."""
    yield neurfield.__name__
    for found in pkgutil.walk_packages(neurfield.__path__, "neurfield."):
        if "._" not in found.name:
            yield found.name


def public_items() -> Iterator[tuple[str, Any]]:
    """Yield path and object of what a module defines, and of what its classes define."""
    for module in modules():
        for name, item in vars(import_module(module)).items():
            if name.startswith("_") or getattr(item, "__module__", None) != module:
                continue
            if inspect.isclass(item) or inspect.isroutine(item):
                yield f"{module}.{name}", item
            if inspect.isclass(item):
                for member, raw in vars(item).items():
                    if is_documented(member, raw):
                        yield f"{module}.{name}.{member}", getattr(item, member)


def is_documented(name: str, member: Any) -> bool:
    if name.startswith("_") or _GENERATED.fullmatch(name):
        return False
    return isinstance(member, property | cached_property) or inspect.isroutine(member)


def faults(item: Any) -> list[str]:
    """Return what is wrong with an item's docstring, a line each."""
    if not item.__doc__:  # an override says what its base says, which is read there
        return [] if inspect.getdoc(item) else ["no docstring"]
    doc = NumpyDocString(inspect.cleandoc(item.__doc__))
    return [*broken_rules(item), *without_words(doc), *unlike_signature(item, doc)]


def broken_rules(item: Any) -> Iterator[str]:
    read = get_doc_object(item, config={"show_class_members": False})
    for code, message in validate(read)["errors"]:
        if code in _HELD:
            yield f"{code}: {message}"


def without_words(doc: NumpyDocString) -> Iterator[str]:
    for table in _TABLES:
        for entry in doc[table]:
            if entry.type != "ignored" and not "".join(entry.desc).strip():
                yield f"{table}: nothing is said of {entry.name or entry.type!r}"


def unlike_signature(item: Any, doc: NumpyDocString) -> Iterator[str]:
    listed = {
        name.lstrip("*"): entry.type
        for table in ("Parameters", "Other Parameters")
        for entry in doc[table]
        for name in entry.name.split(", ")
    }
    parameters = own_parameters(item)
    if not listed or parameters is None:
        return
    if absent := parameters.keys() - listed.keys():
        yield f"Parameters: without {sorted(absent)}"
    for name in parameters.keys() & listed.keys():
        if wrong := wrong_default(parameters[name], listed[name]):
            yield f"Parameters: {name} {wrong}"


def own_parameters(item: Any) -> dict[str, inspect.Parameter] | None:
    """Return what an item takes, or None for properties and for constructors of other packages."""
    if isinstance(item, property | cached_property):
        return None
    home = getattr(item.__init__, "__module__", "") if inspect.isclass(item) else "neurfield"
    if not (home or "").startswith("neurfield") and "__dataclass_fields__" not in vars(item):
        return None
    found = inspect.signature(item).parameters
    return {name: found[name] for name in found if name not in ("self", "cls")}


def wrong_default(parameter: inspect.Parameter, line: str) -> str | None:
    """Return how the type line of a parameter and its default disagree, or None."""
    variadic = parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    if variadic or line == "ignored":
        return None
    has_default = parameter.default is not parameter.empty
    if has_default != bool(re.search(r"\b(default|optional)\b", line)) and line:
        return f"has {'a' if has_default else 'no'} default, and its type line is {line!r}"
    written = re.search(r"default=(.+)$", line)
    if written and has_default:
        try:
            said = ast.literal_eval(written[1])
        except (SyntaxError, ValueError):
            return None  # said in words or as a call
        if said != parameter.default:
            return f"has the default {parameter.default!r}, and its type line says {said!r}"
    return None


ITEMS = dict(public_items())


@pytest.mark.parametrize("path", ITEMS)
def test_docstrings_say_something_of_everything(path):
    assert faults(ITEMS[path]) == []


def wordless(x, y=None, size=3):
    """Do nothing.

    Parameters
    ----------
    x : int
    size : {2, 3}
        How many.
    z : int
        Not there.

    Returns
    -------
    int
    """


def test_faults_are_found():
    found = "\n".join(faults(wordless))
    assert "PR02: Unknown parameters {'z'}" in found
    assert "Parameters: nothing is said of 'x'" in found
    assert "Returns: nothing is said of 'int'" in found
    assert "Parameters: without ['y']" in found
    assert "size has a default, and its type line is '{2, 3}'" in found


@pytest.mark.parametrize(
    ("line", "wrong"),
    [("int, default=3", False), ("int, default=4", True), ("int, optional", False), ("int", True)],
)
def test_defaults_are_compared(line, wrong):
    parameter = inspect.signature(wordless).parameters["size"]
    assert bool(wrong_default(parameter, line)) is wrong
