"""Signals of which a part is missing: what each method puts in its place."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer
from sklearn.linear_model import BayesianRidge

from neurfield.evaluation.peers import (
    GaussianProcessFiller,
    LinearInterpolator,
    ProbabilisticPCA,
)
from neurfield.evaluation.reconstruction import Arrays, values_of
from neurfield.evaluation.tables.base import Budget, Cell, Figures, Row, Table
from neurfield.evaluation.tables.data import TableData, in_range
from neurfield.evaluation.tables.drawing import points
from neurfield.evaluation.tables.fits import (
    REDUCED_SECONDS,
    check_methods,
    default_parameters,
    latent_dim_of,
    make_encoder,
    measured,
    reconstructed,
)
from neurfield.evaluation.tables.hiding import GAPS, hidden_psnr, with_gaps

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_NEIGHBORS = 10  # values that the imputer predicts another from

# What takes about two minutes on two processors, or a gigabyte.
_MOST_TRIANGULATED = 2 * 10**7  # points of all signals
_MOST_CUBES = 4 * 10**9  # of observed points of a signal, over all signals and channels
_MOST_REGRESSED = 4 * 10**6  # values of all signals
_MOST_PRODUCTS = 2**27  # of latents of all signals, and of weights of all values

Outcome = tuple[Arrays, Figures]


class Gaps(Table):
    """The default encoder and what else fills gaps, by the PSNR of what was hidden and of all.

    Half of the points of each signal are hidden at random, or a box of a quarter of the extent
    along each axis: of signals to measure on, and of those to learn from. Encoder and probabilistic
    PCA have the latent size P, and describe observed values too; interpolation, the Gaussian
    process and the imputer keep these as they are.
    """

    name = "gaps"
    title = "Signals with gaps"
    row_keys = ("gap", "method")

    def cells(self, data: TableData, budget: Budget) -> list[Cell]:
        latent_dim = latent_dim_of(budget)
        check_methods(budget.methods, list(_METHODS))
        seconds = budget.max_time or (None if budget.full else REDUCED_SECONDS)
        own: dict[str, Cell] = {
            "ppca": {"latent_dim": latent_dim, "max_time": seconds},
            "default": {"parameters": default_parameters("default", budget, latent_dim)},
        }
        return [
            {"gap": gap, "method": method, **own.get(method, {}), "seed": seed}
            for gap in GAPS
            for method in _METHODS
            if budget.methods is None or method in budget.methods
            for seed in budget.seeds
        ]

    def compute(self, settings: Cell, data: TableData) -> Figures:
        gappy = with_gaps(data, settings["gap"], settings["seed"])
        found, figures = _METHODS[settings["method"]](gappy, settings)
        found = in_range(found)
        hidden = {"psnr_hidden": hidden_psnr(data, gappy, found)}
        return {
            "signals": len(data.test),
            **hidden,
            **measured(data, found).means(),
            **figures,
        }

    def draw(self, rows: Sequence[Row], figure: Figure) -> None:
        labels = [f"{row['method']}, {row['gap']}" for row in rows]
        measures = {"psnr_hidden": "PSNR of hidden points (dB)", "psnr": "PSNR of all (dB)"}
        points(figure, rows, labels, measures)


def _mean(gappy: TableData, settings: Cell) -> Outcome:
    train, test = gappy.stacked()
    is_known = ~np.isnan(train)
    sums, counts = np.where(is_known, train, 0.0).sum(axis=0), is_known.sum(axis=0)
    # A value that no signal has is the mean of all.
    mean = np.where(counts > 0, sums / np.maximum(counts, 1), sums.sum() / counts.sum())
    return np.broadcast_to(mean, test.shape), {"latent_dim": 0}


def _linear(gappy: TableData, settings: Cell) -> Outcome:
    signals = values_of(gappy.test)
    if gappy.n_axes > 1:
        count = sum(one[..., 0].size for one in signals)
        _judge("points of all signals", count, _MOST_TRIANGULATED)
    return _filled(LinearInterpolator(channel_axis=-1), signals)


def _gaussian_process(gappy: TableData, settings: Cell) -> Outcome:
    signals = values_of(gappy.test)
    cubes = sum(
        int(count) ** 3
        for one in signals
        for count in (~np.isnan(one)).sum(axis=tuple(range(one.ndim - 1)))
    )
    _judge("cubes of the numbers of points that were observed, in all", cubes, _MOST_CUBES)
    return _filled(GaussianProcessFiller(channel_axis=-1), signals)


def _filled(filler: Any, signals: Arrays) -> Outcome:
    start = time.perf_counter()
    found = [filler.fit_transform(one[None])[0] for one in signals]
    seconds = time.perf_counter() - start
    return found if isinstance(signals, list) else np.stack(found), {
        "encode_ms": 1000 * seconds / len(found)
    }


def _ppca(gappy: TableData, settings: Cell) -> Outcome:
    train, test = gappy.flat()
    n_components = max(1, min(settings["latent_dim"], *(n - 1 for n in train.shape)))
    products = (max(len(train), len(test)) + train.shape[1]) * n_components**2
    _judge("products of latents and of weights", products, _MOST_PRODUCTS)
    model = ProbabilisticPCA(n_components, max_time=settings["max_time"])
    found, figures = _learnt(model, lambda: model.inverse_transform(model.transform(test)), gappy)
    return found, {
        **figures,
        "latent_dim": n_components,
        "parameters": int(model.components_.size + model.mean_.size) + 1,
    }


def _iterative(gappy: TableData, settings: Cell) -> Outcome:
    train, test = gappy.flat()
    _judge("values of all signals", train.size + test.size, _MOST_REGRESSED)
    model = IterativeImputer(
        BayesianRidge(),
        n_nearest_features=_NEIGHBORS,
        keep_empty_features=True,
        min_value=0.0,
        max_value=1.0,
        random_state=settings["seed"],
    )
    return _learnt(model, lambda: model.transform(test), gappy)


def _learnt(model: Any, fill: Callable[[], NDArray[np.float64]], gappy: TableData) -> Outcome:
    """Fit a model of rows of values; return what it fills, and how long both take."""
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", ConvergenceWarning
        )  # the imputer's number of rounds ends it
        model.fit(gappy.flat()[0])
    seconds = time.perf_counter() - start
    start = time.perf_counter()
    found = fill()
    encoding = time.perf_counter() - start
    return found.reshape(np.shape(values_of(gappy.test))), {
        "fit_seconds": seconds,
        "encode_ms": 1000 * encoding / len(found),
    }


def _default(gappy: TableData, settings: Cell) -> Outcome:
    encoder = make_encoder("default", settings["parameters"], settings["seed"])
    found, _, figures = reconstructed(encoder, gappy)
    return found, figures


def _judge(what: str, count: int, most: int) -> None:
    """Refuse work that takes too long, before it begins."""
    if count > most:
        raise ValueError(
            f"it would take too long: {count:.3g} {what}, and at most {most:.3g} are tried"
        )


_METHODS: dict[str, Callable[[TableData, Cell], Outcome]] = {
    "mean": _mean,
    "linear": _linear,
    "gp": _gaussian_process,
    "iterative": _iterative,
    "ppca": _ppca,
    "default": _default,
}
