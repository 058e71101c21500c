"""Optional libraries, which are imported on use: there, or one error that says why they are not."""

from __future__ import annotations

import importlib
import sys
from importlib.metadata import packages_distributions
from traceback import walk_tb
from types import ModuleType

_MOST_REASON = 300  # characters that an error quotes of a library's own


def require(module: str, extra: str) -> ModuleType:
    """Import an optional library, or say which extra brings it.

    Parameters
    ----------
    module : str
        Name the library, or a module of it, is imported by.
    extra : str
        Extra of this package that installs it.

    Returns
    -------
    module
        The one of that name.

    Raises
    ------
    ImportError
        If the library is not installed, or is and cannot be imported, whatever it raised.

    Examples
    --------
    >>> require("json.decoder", "plots").__name__
    'json.decoder'
    >>> require("no_such_library", "plots")
    Traceback (most recent call last):
    ImportError: this needs the package no_such_library; install it with: pip install
    "neurfield[plots]"
    """
    return require_from(module, f'"neurfield[{extra}]"')


def require_from(module: str, distributions: str) -> ModuleType:
    """Import an optional library that no extra brings, or say what to install.

    Parameters
    ----------
    module : str
        Name the library, or a module of it, is imported by.
    distributions : str
        What pip is to install, as on its command line.

    Returns
    -------
    module
        The one of that name.

    Raises
    ------
    ImportError
        As :func:`require`.
    """
    package = module.partition(".")[0]
    try:
        importlib.import_module(package)
        return importlib.import_module(module)
    except Exception as error:  # compiled parts that do not fit another library raise anything
        if isinstance(error, ModuleNotFoundError) and error.name == package:
            raise missing(package, distributions) from error
        raise broken(package, distributions, error) from error


def missing(package: str, distributions: str) -> ImportError:
    """Return the error that says what to install for a library that is not there."""
    return ImportError(
        f"this needs the package {package}; install it with: pip install {distributions}"
    )


def broken(package: str, distributions: str, error: Exception) -> ImportError:
    """Return the error that says why a library that is there cannot be imported."""
    reason = " ".join(str(error).split())[:_MOST_REASON] or "no further reason given"
    cause = _where_it_failed(error)
    what = "which is installed and cannot be imported"
    if cause is not None and cause != package:
        what = f"which cannot be imported because {cause} cannot"
        distributions += "".join(
            f" {name}" for name in dict.fromkeys(packages_distributions().get(cause, [cause]))
        )
    return ImportError(
        f"this needs the package {package}, {what} ({type(error).__name__}: {reason}); "
        f"install versions that fit together with: pip install --upgrade {distributions}"
    )


def _where_it_failed(error: Exception) -> str | None:
    """Return the package whose own import raised an error, if it was any."""
    importing = [
        str(frame.f_globals.get("__name__", "")).partition(".")[0]
        for frame, _ in walk_tb(error.__traceback__)
        if frame.f_code.co_name == "<module>"
    ]
    packages = [name for name in importing if name not in sys.stdlib_module_names]
    return packages[-1] if packages else None
