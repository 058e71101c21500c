"""Tables on several data sets, computed by one command and written as one page."""

from neurfield.evaluation.studies.plan import STUDIES, Study, select
from neurfield.evaluation.studies.run import run_studies

__all__ = ["STUDIES", "Study", "run_studies", "select"]
