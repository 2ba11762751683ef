"""One training loop for every method: what to train, how, on which devices, and how to go on after a stop."""

from stlearn_lib.training.loop import Task, fit
from stlearn_lib.training.settings import Compute, TrainingSettings, is_first_process
from stlearn_lib.training.side_by_side import side_by_side

__all__ = ["Compute", "Task", "TrainingSettings", "fit", "is_first_process", "side_by_side"]
