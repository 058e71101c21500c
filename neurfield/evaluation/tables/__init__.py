"""Tables of measurements that one command computes, resumes and writes."""

from neurfield.evaluation.tables.ablations import Components, ContextRatios, Omegas, Schedules
from neurfield.evaluation.tables.base import Budget, CellStore, Table, run_table
from neurfield.evaluation.tables.classifiers import Classifiers
from neurfield.evaluation.tables.convergence import Convergence
from neurfield.evaluation.tables.data import TableData, make_data
from neurfield.evaluation.tables.methods import Methods

#: Every table by its name on the command line.
TABLES: dict[str, type[Table]] = {
    table.name: table
    for table in (Methods, Classifiers, ContextRatios, Omegas, Schedules, Components, Convergence)
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
