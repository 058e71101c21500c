"""What is private in other libraries stands in one file, and does there what it promises."""

import ast
import importlib.util
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import version
from numbers import Integral, Real
from pathlib import Path

import numpy as np
import pytest
import sklearn
import xarray as xr
from packaging.requirements import Requirement
from packaging.version import Version
from sklearn.base import BaseEstimator

import neurfield
from neurfield import _compat
from neurfield._compat import (
    Interval,
    StrOptions,
    fit_context,
    is_in_memory,
    validate_parameters,
)

PACKAGE = Path(neurfield.__file__).parent
PYPROJECT = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text("utf-8"))


class Scaled(BaseEstimator):
    """An estimator with a constraint of each kind that the package uses."""

    _parameter_constraints = {  # noqa: RUF012 - as scikit-learn's own estimators have it
        "size": [Interval(Integral, 1, None, closed="left")],
        "rate": [Interval(Real, 0, 1, closed="right"), None],
        "kind": [StrOptions({"linear", "nearest"})],
        "part": [BaseEstimator, str],
        "loud": ["boolean"],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        size=1,
        rate=None,
        kind="linear",
        part="none",
        loud=False,
        random_state=None,
        verbose=0,
        free=None,
    ):
        self.size = size
        self.rate = rate
        self.kind = kind
        self.part = part
        self.loud = loud
        self.random_state = random_state
        self.verbose = verbose
        self.free = free

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, seen):
        """Note what a nested estimator would find."""
        self.skips_ = sklearn.get_config()["skip_parameter_validation"]
        seen.append("fit")
        return self

    @fit_context(prefer_skip_nested_validation=False)
    def partial_fit(self, seen):
        """Note the same, of a fit whose nested estimators look for themselves."""
        self.skips_ = sklearn.get_config()["skip_parameter_validation"]
        seen.append("partial_fit")
        return self


@pytest.mark.parametrize("size", [1, 7, np.int64(3)])
def test_whole_numbers_in_an_interval_are_taken(size):
    validate_parameters(Scaled(size=size))


@pytest.mark.parametrize("size", [0, -1, 1.0, "1", None])
def test_what_is_no_whole_number_in_the_interval_is_refused(size):
    with pytest.raises(ValueError, match="'size'"):
        validate_parameters(Scaled(size=size))


@pytest.mark.parametrize("rate", [1, 0.5, np.float32(1e-6), None])
def test_real_numbers_in_a_half_open_interval_are_taken(rate):
    validate_parameters(Scaled(rate=rate))


@pytest.mark.parametrize("rate", [0, 0.0, 1.5, float("nan"), "0.5"])
def test_real_numbers_outside_a_half_open_interval_are_refused(rate):
    with pytest.raises(ValueError, match="'rate'"):
        validate_parameters(Scaled(rate=rate))


def test_an_error_names_parameter_estimator_choices_and_value():
    with pytest.raises(ValueError, match="kind") as caught:
        validate_parameters(Scaled(kind="cubic"))
    assert type(caught.value).__name__ == "InvalidParameterError"
    assert isinstance(caught.value, TypeError)
    for said in ("'kind'", "Scaled", "'linear'", "'nearest'", "'cubic'"):
        assert said in str(caught.value)


@pytest.mark.parametrize(
    "wrong", [{"loud": "yes"}, {"random_state": -1}, {"verbose": -1}, {"part": 3}]
)
def test_constraints_given_as_words_and_as_types_hold(wrong):
    (name,) = wrong
    with pytest.raises(ValueError, match=f"'{name}'"):
        validate_parameters(Scaled(**wrong))


def test_parameters_without_a_constraint_and_those_of_nested_estimators_are_not_looked_at():
    validate_parameters(Scaled(free=object(), part=Scaled(size=0)))


def test_a_fit_is_not_begun_with_wrong_parameters():
    seen = []
    for method in (Scaled(size=0).fit, Scaled(size=0).partial_fit):
        with pytest.raises(ValueError, match="'size'"):
            method(seen)
    assert seen == []


def test_validation_is_skipped_inside_a_fit_that_asks_for_it_and_comes_back():
    assert Scaled().fit([]).skips_ is True
    assert Scaled().partial_fit([]).skips_ is False
    assert sklearn.get_config()["skip_parameter_validation"] is False


def test_a_fit_without_validation_is_the_users_choice():
    with sklearn.config_context(skip_parameter_validation=True):
        assert Scaled(size=0).fit([]).skips_ is True


def test_a_fitted_estimator_is_continued_without_another_look():
    estimator = Scaled().fit([])
    assert estimator.set_params(size=0).partial_fit([]) is estimator


def opened(folder: Path) -> xr.Dataset:
    """Return variables in a file."""
    values = xr.DataArray(np.arange(12.0).reshape(3, 4), {"x": np.arange(4.0)}, ("sample", "x"))
    path = folder / "values.nc"
    values.to_dataset(name="values").to_netcdf(path, engine="scipy")
    return xr.open_dataset(path, engine="scipy")


def test_arrays_and_their_coordinates_are_in_memory():
    values = xr.DataArray(np.zeros((3, 4)), {"x": np.arange(4.0)}, ("sample", "x"))
    assert is_in_memory(values.variable)
    assert is_in_memory(values["x"].variable)
    assert is_in_memory(values[1:, ::2].variable)


def test_values_in_a_file_are_not_in_memory_until_they_are_loaded(tmp_path):
    with opened(tmp_path) as data:
        assert not is_in_memory(data["values"].variable)
        assert not is_in_memory(data["values"][1:].variable)
        assert is_in_memory(data["values"].load().variable)


def test_a_graph_of_tasks_is_not_in_memory():
    pytest.importorskip("dask")
    values = xr.DataArray(np.zeros((3, 4)), dims=("sample", "x")).chunk({"sample": 1})
    assert not is_in_memory(values.variable)
    assert is_in_memory(values.compute().variable)


def test_values_count_as_in_a_file_where_xarray_does_not_tell(tmp_path, monkeypatch):
    array = xr.Variable(("sample",), np.zeros(3))
    with opened(tmp_path) as data:
        monkeypatch.delattr(xr.Variable, "_in_memory")
        assert is_in_memory(array)
        assert not is_in_memory(data["values"].variable)
        if importlib.util.find_spec("dask"):
            assert not is_in_memory(array.chunk(1))


def test_a_scikit_learn_without_these_functions_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.utils._param_validation", None)
    spec = importlib.util.spec_from_file_location("compat_of_later", _compat.__file__)
    with pytest.raises(ImportError, match=re.escape(version("scikit-learn"))) as caught:
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
    assert _compat.NEWEST_TESTED["scikit-learn"] in str(caught.value)
    assert "_param_validation" in str(caught.value)


@pytest.mark.parametrize("library", sorted(_compat.NEWEST_TESTED))
def test_this_version_is_between_the_oldest_and_the_newest_that_are_supported(library):
    pytest.importorskip({"scikit-learn": "sklearn"}.get(library, library))
    project = PYPROJECT["project"]
    extras = [line for lines in project["optional-dependencies"].values() for line in lines]
    requirements = map(Requirement, [*project["dependencies"], *extras])
    supported = [each.specifier for each in requirements if each.name == library]
    # An extra may ask for a later one than neurfield alone does.
    assert any(each.contains(version(library)) for each in supported)
    newest = Version(_compat.NEWEST_TESTED[library]).release
    assert Version(version(library)).release[: len(newest)] <= newest


# --- Outside that file nothing private is imported or looked up --------------------------------


def is_private(name: str) -> bool:
    """Tell ``_name`` from public names, Python's ``__name__`` and notebooks' ``_repr_*_``."""
    dunder = name.startswith("__") and name.endswith("__")
    return name.startswith("_") and not dunder and not re.fullmatch(r"_repr_\w+_", name)


def is_foreign(module: str) -> bool:
    """Tell modules of other libraries from this package and Python's own."""
    first = module.partition(".")[0]
    return first != "neurfield" and first not in sys.stdlib_module_names


def names_given(tree: ast.AST) -> set[str]:
    """Return each name that a module gives to a function, class, variable or attribute."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            found.add(node.attr)
    return found


def private_imports(tree: ast.AST) -> Iterator[str]:
    """Yield what a module imports of other libraries' private modules and names."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            paths = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            paths = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from (
            path for path in paths if is_foreign(path) and any(map(is_private, path.split(".")))
        )


def private_attributes(tree: ast.AST, own: set[str]) -> Iterator[str]:
    """Yield private attributes that are read or set on other objects than this package's.

    Parameters
    ----------
    tree : syntax tree
    own : set of str
        Names that this package gives to things of its own; what is private and none of these is
        somebody else's. On a module of another library each private name is, and none on a module
        of Python's own.
    """
    foreign, of_python = set(), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            home = getattr(node, "module", None)
            for alias in node.names:
                name = alias.asname or alias.name.partition(".")[0]
                (foreign if is_foreign(home or alias.name) else of_python).add(name)
    for node in ast.walk(tree):
        root: ast.AST | None = None
        name = ""
        if isinstance(node, ast.Attribute):
            root, name = node.value, node.attr
        elif (
            isinstance(node, ast.Call)
            and getattr(node.func, "id", None) in {"getattr", "setattr", "hasattr", "delattr"}
            and isinstance(node.args[1], ast.Constant)
        ):
            root, name = node.args[0], str(node.args[1].value)
        while isinstance(root, ast.Attribute):
            root = root.value
        holder = getattr(root, "id", None)
        elsewhere = name not in own and holder not in of_python
        if is_private(name) and (holder in foreign or elsewhere):
            yield name


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("import numpy._core", ["numpy._core"]),
        ("import numpy._core.multiarray as m", ["numpy._core.multiarray"]),
        ("from sklearn.base import BaseEstimator, _fit_context", ["sklearn.base._fit_context"]),
        ("from torch._dynamo import reset", ["torch._dynamo.reset"]),
        ("from torch import __version__", []),
        ("from neurfield.datasets._files import replacing", []),
        ("from os import _exit", []),
    ],
)
def test_private_imports_are_seen(code, found):
    assert list(private_imports(ast.parse(code))) == found


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("own._in_memory", ["_in_memory"]),
        ("getattr(variable, '_in_memory', None)", ["_in_memory"]),
        ("self._validate_params()", ["_validate_params"]),
        ("import numpy as np\nnp.linalg._umath", ["_umath"]),
        ("import torch.nn\ntorch._own", ["_own"]),
        ("from xarray import core\ncore._own", ["_own"]),
        ("import argparse\nargparse._ActionsContainer", []),
        ("self._own = other._own", []),
        ("super().__init__()", []),
        ("super()._repr_html_()", []),
    ],
)
def test_private_attributes_are_seen(code, found):
    assert list(private_attributes(ast.parse(code), own={"own", "_own"})) == found


TREES = {
    str(path.relative_to(PACKAGE)): ast.parse(path.read_text("utf-8"))
    for path in sorted(PACKAGE.rglob("*.py"))
    if path.name != "_compat.py"
}


def test_private_names_of_other_libraries_are_imported_in_one_file():
    found = {path: list(private_imports(tree)) for path, tree in TREES.items()}
    assert {path: names for path, names in found.items() if names} == {}


def test_private_attributes_of_other_libraries_are_looked_up_in_one_file():
    own = set().union(*map(names_given, TREES.values()))
    found = {path: list(private_attributes(tree, own)) for path, tree in TREES.items()}
    assert {path: names for path, names in found.items() if names} == {}


def overrides(path: str, tree: ast.AST) -> Iterator[str]:
    """Yield what a module's classes define though another library's base class has it private."""
    module = ".".join(("neurfield", *Path(path).with_suffix("").parts)).removesuffix(".__init__")
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    try:
        home = importlib.import_module(module) if classes else None
    except ModuleNotFoundError:  # of an optional library
        return
    for node in classes:
        defined = {name for part in node.body for name in names_given(part) if is_private(name)}
        bases = getattr(home, node.name).__mro__
        yield from (
            f"{node.name}.{name} of {base.__module__}"
            for base in bases
            for name in sorted(defined & {*vars(base)})
            if is_foreign(base.__module__)
        )


def test_no_class_overrides_what_is_private_in_a_base_class_of_another_library():
    found = {path: list(overrides(path, tree)) for path, tree in TREES.items()}
    assert {path: names for path, names in found.items() if names} == {}
