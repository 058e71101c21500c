"""The comparison of methods at equal latent size and equal time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from neurfield.evaluation.tables.base import Budget, Cell, Figures, Row, Table
from neurfield.evaluation.tables.data import TableData
from neurfield.evaluation.tables.drawing import MEASURES, points
from neurfield.evaluation.tables.fits import (
    LEFT_ALONE,
    check_methods,
    encoder_methods,
    latent_dim_of,
    make_encoder,
    measure_encoder,
    measure_mean,
    measure_pca,
    method_parameters,
)
from neurfield.evaluation.tables.peers import PEERS, make_peer, measure_peer, peer_settings
from neurfield.evaluation.tables.singles import SINGLES, measure_single, single_settings

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Methods(Table):
    """Every preset and learner, the defaults, other ways to few numbers, and the mean signal.

    Presets, learners, PCA, PCA of blocks and autoencoders have the latent size P. In the reduced
    form encoders and autoencoders also have equal seconds of training, presets and learners one
    network size, and those trained by CAVIA one learning rate; in full, each has its published
    network, learning rate and number of steps. Of ``default`` and ``lapped`` nothing is set but
    latent size and time. Networks of single signals have no latent: ``latent_dim`` is the number of
    their weights.
    """

    name = "methods"
    title = "Reconstruction"
    row_keys = ("method",)

    def cells(self, data: TableData, budget: Budget) -> list[Cell]:
        latent_dim = latent_dim_of(budget)
        encoders = encoder_methods(data.n_axes)
        check_methods(budget.methods, ["mean", "pca", *PEERS, *SINGLES, *LEFT_ALONE, *encoders])
        cells: list[Cell] = [{"method": "mean", "seed": 0}]
        cells += [{"method": "pca", "latent_dim": latent_dim, "seed": 0}]
        for method in PEERS:
            settings = peer_settings(method, budget, latent_dim)
            cells += [{"method": method, **settings, "seed": seed} for seed in budget.seeds]
        for method in SINGLES:
            settings = single_settings(method, budget, data)
            cells += [{"method": method, **settings, "seed": seed} for seed in budget.seeds]
        for method in (*LEFT_ALONE, *encoders):
            if budget.methods is not None and method not in budget.methods:
                continue  # it need not have the caller's parameters
            parameters = method_parameters(method, budget, latent_dim, data)
            cells += [
                {"method": method, "parameters": parameters, "seed": seed} for seed in budget.seeds
            ]
        return [
            cell for cell in cells if budget.methods is None or cell["method"] in budget.methods
        ]

    def compute(self, settings: Cell, data: TableData) -> Figures:
        return {"signals": len(data.test), **_measure(settings, data)}

    def draw(self, rows: Sequence[Row], figure: Figure) -> None:
        points(figure, rows, [_label(row) for row in rows], MEASURES)


def _measure(settings: Cell, data: TableData) -> Figures:
    method, seed = settings["method"], settings["seed"]
    if method == "mean":
        return measure_mean(data)
    if method == "pca":
        return measure_pca(settings["latent_dim"], data, seed)
    if method in PEERS:
        peer = make_peer(method, settings["latent_dim"], settings["parameters"], seed)
        return measure_peer(peer, data)
    if method in SINGLES:
        return measure_single(method, settings["signals"], settings["parameters"], data, seed)
    return measure_encoder(make_encoder(method, settings["parameters"], seed), data)


def _label(row: Row) -> str:
    """Return the name of a method; with the weights that are the code of each signal, if any."""
    if row["method"] in SINGLES:
        return f"{row['method']}: {row['latent_dim']:.0f} weights a signal"
    return str(row["method"])
