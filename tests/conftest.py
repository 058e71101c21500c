"""Fixtures and markers shared by all tests."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from hypothesis import settings

if TYPE_CHECKING:
    from neurfield import FunctaEncoder

os.environ.setdefault("MPLBACKEND", "Agg")
# Read when SciPy is first imported; without it scikit-learn skips some of its estimator checks.
os.environ.setdefault("SCIPY_ARRAY_API", "1")

IN_CI = os.environ.get("CI") == "true"
REPOSITORY = Path(__file__).resolve().parents[1]
SHARED_DATA = REPOSITORY.parent / "shared" / "data"
THREADS = torch.get_num_threads()
MOST_WORKERS = 4  # of the whole suite; each takes about half a gigabyte

settings.register_profile("neurfield", deadline=None, derandomize=IN_CI)
settings.load_profile("neurfield")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests marked ``gpu`` where torch sees no CUDA device."""
    if torch.cuda.is_available():
        return
    skip = pytest.mark.skip(reason="needs a CUDA device, and torch sees none")
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(skip)


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Divide the whole suite between processors, but no tests that measure or that were named."""
    is_named = config.args_source is pytest.Config.ArgsSource.ARGS
    is_whole = not is_named and config.option.markexpr == "not slow"
    return min(MOST_WORKERS, os.cpu_count() or 1) if is_whole else 0


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Use one thread for nets so small that threads would mostly wait for each other."""
    torch.set_num_threads(THREADS if item.get_closest_marker("slow") else 1)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the real recordings, images and volumes beside the repository.

    Without it a test is skipped; in CI, where it always is, its absence is a failure.
    """
    if not SHARED_DATA.is_dir():
        reason = f"needs the real data in {SHARED_DATA}, which is not there"
        pytest.fail(reason) if IN_CI else pytest.skip(reason)
    return SHARED_DATA


@pytest.fixture
def rng() -> np.random.Generator:
    """Random numbers that are the same in every run."""
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def small_encoder() -> "Callable[..., FunctaEncoder]":
    """Make an encoder so small that fitting it takes a fraction of a second."""
    from neurfield import FunctaEncoder

    def make(**parameters: object) -> FunctaEncoder:
        small = {
            "latent_dim": 4,
            "hidden_dim": 8,
            "n_layers": 3,
            "max_iter": 4,
            "batch_size": 8,
            "device": "cpu",
            "random_state": 0,
        }
        own = {name: value for name, value in parameters.items() if "__" not in name}
        nested = {name: value for name, value in parameters.items() if "__" in name}
        if any(name.startswith("field__") for name in nested):  # whose options they are
            small["field"] = "siren"
        return FunctaEncoder(**(small | own)).set_params(**nested)

    return make
