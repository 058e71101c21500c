"""Tables of measurements that one command computes, resumes and writes."""

from neurfield.evaluation.tables.ablations import Components, ContextRatios, Omegas, Schedules
from neurfield.evaluation.tables.base import Budget, CellStore, Table, run_table
from neurfield.evaluation.tables.classifiers import Classifiers
from neurfield.evaluation.tables.convergence import Convergence
from neurfield.evaluation.tables.curves import Curves
from neurfield.evaluation.tables.data import TableData, make_data
from neurfield.evaluation.tables.equivalence import Equivalence
from neurfield.evaluation.tables.gaps import Gaps
from neurfield.evaluation.tables.ladder import Ladder
from neurfield.evaluation.tables.methods import Methods
from neurfield.evaluation.tables.panels import Panels
from neurfield.evaluation.tables.resolution import Resolutions
from neurfield.evaluation.tables.variants import Variants

#: Every table by its name on the command line.
TABLES: dict[str, type[Table]] = {
    table.name: table
    for table in (
        Methods,
        Gaps,
        Curves,
        Panels,
        Classifiers,
        Ladder,
        ContextRatios,
        Omegas,
        Equivalence,
        Schedules,
        Components,
        Variants,
        Convergence,
        Resolutions,
    )
}

__all__ = [
    "TABLES",
    "Budget",
    "CellStore",
    "Table",
    "TableData",
    "make_data",
    "run_table",
]
