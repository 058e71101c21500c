"""Learning: inner solvers find the latents, learners find the shared weights."""

from neurfield.learning.base import Learner, MetaBatch, MetaStep, Problem, Settings
from neurfield.learning.callbacks import Progress
from neurfield.learning.context import Context
from neurfield.learning.encoding import encode_store
from neurfield.learning.learners import available_learners
from neurfield.learning.patch_store import store_of
from neurfield.learning.store import ContextStore
from neurfield.learning.training import Schedule, Trainer, TrainingState

__all__ = [
    "Context",
    "ContextStore",
    "Learner",
    "MetaBatch",
    "MetaStep",
    "Problem",
    "Progress",
    "Schedule",
    "Settings",
    "Trainer",
    "TrainingState",
    "available_learners",
    "encode_store",
    "store_of",
]
