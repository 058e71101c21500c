"""Learning: inner solvers find the latents, learners find the shared weights."""

from neurfield.learning.base import Finished, Learner, MetaBatch, MetaStep, Problem, Settings
from neurfield.learning.callbacks import Progress
from neurfield.learning.clock import Clock
from neurfield.learning.context import Context
from neurfield.learning.early_stopping import EarlyStopping
from neurfield.learning.encoding import encode_store
from neurfield.learning.learners import Cavia, LappedVarPro, VarPro
from neurfield.learning.outer_loop import OuterLoop, Pass, TrainingState
from neurfield.learning.patch_store import store_of
from neurfield.learning.store import ContextStore
from neurfield.learning.training import Trainer

__all__ = [
    "Cavia",
    "Clock",
    "Context",
    "ContextStore",
    "EarlyStopping",
    "Finished",
    "LappedVarPro",
    "Learner",
    "MetaBatch",
    "MetaStep",
    "OuterLoop",
    "Pass",
    "Problem",
    "Progress",
    "Settings",
    "Trainer",
    "TrainingState",
    "VarPro",
    "encode_store",
    "store_of",
]
