"""Which tables are computed on which data, and in how much time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from neurfield.evaluation.studies.sources import MEDMNIST


@dataclass(frozen=True)
class Study:
    """One table on one data set.

    Parameters
    ----------
    table : str
        A name of :data:`neurfield.evaluation.tables.TABLES`.
    source : str
        A name of :data:`neurfield.evaluation.studies.sources.SOURCES`.
    max_time : float, optional
        Seconds of training of each fit, with a small budget.
    latent_dim : int, optional
        P, with a small budget.
    methods : tuple of str, optional
        Rows to have, with a small budget; all by default.
    limits : (int, int), default=(4000, 1000)
        Most signals to learn from and to measure on, with a small budget.
    parameters : mapping, optional
        Of the encoder, in all rows, with a small budget.
    """

    table: str
    source: str
    max_time: float | None = None
    latent_dim: int | None = None
    methods: tuple[str, ...] | None = None
    limits: tuple[int, int] = (4000, 1000)
    parameters: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Name on the command line, and of the folder it is written to."""
        return f"{self.table}-{self.source}"


_FEW = (600, 150)
#: Rows where signals are too large for all methods to have a turn.
_MAIN = (
    "mean",
    "pca",
    "block-pca",
    "autoencoder",
    "vae",
    "functa",
    "coin++",
    "spatial-functa-linear",
    "default",
    "lapped",
)
_OF_PICTURES = (*_MAIN, "medfuncta-2d-64")
_OF_VOLUMES = (*_MAIN, "medfuncta-3d-32")
_OF_CURVES = ("mean", "pca", "block-pca", "autoencoder", "vae", "medfuncta-1d", "functa", "coin++")

STUDIES: tuple[Study, ...] = (
    Study("methods", "beats", max_time=8.0),
    Study("methods", "xrays", max_time=8.0),
    Study("methods", "volumes", 10.0, 256, _OF_VOLUMES),
    Study("methods", "smears", 12.0, 512, _OF_PICTURES, (1000, 100)),
    Study("methods", "slices", 15.0, 512, _OF_PICTURES, (1000, 60)),
    Study("methods", "leads", 12.0, 256, (*_OF_CURVES, "default", "lapped"), (900, 100)),
    *(Study("methods", name, 12.0, 512, _OF_PICTURES, (1000, 100)) for name in MEDMNIST),
    Study("gaps", "xrays", max_time=12.0, limits=_FEW),
    Study("curves", "xrays", max_time=16.0, limits=(4000, 200)),
    Study("panels", "smears", 15.0, 512),
    Study("panels", "beats", 10.0, 16),
    Study("panels", "volumes", 15.0, 256),
    Study("classification", "xrays", max_time=20.0, limits=(1500, 400)),
    Study("ladder", "xrays", limits=(4000, 200)),
    Study("gamma", "xrays", limits=(4000, 200)),
    Study("omega", "xrays", limits=(4000, 100), parameters={"max_iter": 60}),
    Study("equivalence", "xrays"),
    Study("schedule", "xrays", limits=(4000, 200)),
    Study("components", "xrays", limits=(4000, 200), parameters={"max_iter": 60}),
    Study("variants", "xrays", limits=_FEW),
    Study("convergence", "smears", max_time=10.0),
    Study("convergence", "volumes", max_time=10.0),
    Study("resolution", "pictures", max_time=30.0, limits=(300, 8)),
)


def select(studies: Sequence[Study], names: Sequence[str] | None) -> list[Study]:
    """Return the studies of some names, or all of them.

    Parameters
    ----------
    studies : sequence of Study
        To choose from.
    names : sequence of str or None
        None is all.

    Raises
    ------
    ValueError
        If there is no study of a name.
    """
    known = {study.name: study for study in studies}
    if unknown := [name for name in names or () if name not in known]:
        raise ValueError(f"there is no study {unknown[0]!r}; there are {', '.join(known)}")
    return [known[name] for name in names or known]
