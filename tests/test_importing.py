"""The package is imported without what is optional, and without what takes long to load."""

import subprocess
import sys

import pytest

# Brought by extras, or needed by some functions alone, which import them when they are called.
LATER = (
    "dask",
    "distributed",
    "finufft",
    "matplotlib",
    "medmnist",
    "monai",
    "netCDF4",
    "nibabel",
    "numba",
    "pydicom",
    "safetensors",
    "skimage",
    "torchmetrics",
    "tqdm",
    "wfdb",
    "zarr",
)

IMPORT = "from neurfield import FunctaEncoder, NeuralField, list_presets"

# An import of None fails in Python as one of a library that is not installed does.
WITHOUT = f"import sys; sys.modules.update(dict.fromkeys({LATER}))"


def run(code: str) -> str:
    """Return what a new interpreter prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_package_alone_imports_no_other_library():
    code = "import sys, neurfield; print(*{name.partition('.')[0] for name in sys.modules})"
    assert not {"torch", "numpy", "sklearn", "scipy", "xarray", *LATER} & set(run(code).split())


def test_public_names_are_there_without_optional_libraries():
    assert run(f"{WITHOUT}; {IMPORT}; print(FunctaEncoder())").startswith("FunctaEncoder(")


@pytest.mark.parametrize("optional", LATER)
def test_public_names_do_not_import(optional, loaded):
    assert optional not in loaded


@pytest.fixture(scope="module")
def loaded() -> set[str]:
    """Return the libraries that the package imports beyond those that its requirements import."""
    code = (
        "import sys, joblib, numpy, sklearn.base, torch, xarray; before = set(sys.modules); "
        f"{IMPORT}; print(*{{name.partition('.')[0] for name in set(sys.modules) - before}})"
    )
    return set(run(code).split())
