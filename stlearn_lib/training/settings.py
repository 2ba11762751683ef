"""How a model is trained, and on what: plain values that can be written into a JSON file."""

import math
import os
from dataclasses import dataclass
from typing import Literal

import numpy as np
from lightning_fabric import Fabric
from lightning_fabric.utilities.exceptions import MisconfigurationException

from stlearn_lib.errors import TrainingError

OPTIMIZERS = ("adam", "adamw")
COMPARE = ("parts", "batch")
SCHEDULES = ("constant", "cosine", "step")


@dataclass(frozen=True)
class TrainingSettings:
    r"""How long, how fast, and from which seed a model learns.

    A batch is what one step of the optimiser sees, over all processes and all its parts: the same settings mean the
    same steps on one GPU and on eight, but for batch norm, whose statistics are those of a part.

    Args:
        epochs: Passes over the spots.
        batch_size: Spots of one step. Where there are fewer spots than this, the batch is all of them. Of an epoch's
            shuffled spots those that fill no batch are left out: a smaller batch has another contrastive loss.
        learning_rate: Of the optimiser, before the schedule.
        weight_decay: Added to the gradient by ``"adam"``, taken from the weights by ``"adamw"``.
        optimizer: ``"adam"`` or ``"adamw"``.
        schedule: ``"constant"``; ``"cosine"`` falls from 1 to 0 over the run; ``"step"`` is multiplied by `decay`
            every `decay_epochs`.
        warmup_epochs: Epochs in which the learning rate rises from 0 in a straight line, before any schedule.
        decay: Of ``"step"``.
        decay_epochs: Of ``"step"``.
        accumulate: Parts that a batch is divided into, one after the other, to fit into memory.
        compare: Whether contrastive losses compare the spots of each of the ``"parts"``, or those of the whole
            ``"batch"``, for which every part is embedded twice, see `losses.gather.PartByPart`.
        clip_norm: Gradients are scaled down to this norm if theirs is larger; never if None.
        patience: Stop after so many epochs without a lower validation loss, and keep the best epoch; if None, train
            to the end. Needs validation spots.
        seed: Of the initial weights, the order of spots, augmentation and dropout.

    Raises:
        TrainingError: If a value is out of its range.

    Example:
        >>> settings = TrainingSettings(epochs=4, batch_size=128, learning_rate=1e-4, schedule="cosine")
        >>> [round(settings.learning_rate_factor(epoch), 3) for epoch in (0, 2, 4)]
        [1.0, 0.5, 0.0]
    """

    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float = 0.0
    optimizer: Literal["adam", "adamw"] = "adam"
    schedule: Literal["constant", "cosine", "step"] = "constant"
    warmup_epochs: float = 0.0
    decay: float = 0.9
    decay_epochs: int = 50
    accumulate: int = 1
    compare: Literal["parts", "batch"] = "parts"
    clip_norm: float | None = None
    patience: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if isinstance(value, np.generic):  # of a grid, say; a checkpoint is read back with plain values only
                object.__setattr__(self, name, value.item())
        rules = {
            "epochs": (self.epochs >= 1, "at least 1"),
            "batch_size": (self.batch_size >= 2, "at least 2, since a contrastive loss compares spots"),
            "learning_rate": (self.learning_rate > 0, "positive"),
            "weight_decay": (self.weight_decay >= 0, "0 or more"),
            "optimizer": (self.optimizer in OPTIMIZERS, f"one of {', '.join(OPTIMIZERS)}"),
            "schedule": (self.schedule in SCHEDULES, f"one of {', '.join(SCHEDULES)}"),
            "warmup_epochs": (0 <= self.warmup_epochs < self.epochs, "0 or more, and less than epochs"),
            "decay": (0 < self.decay <= 1, "above 0 and at most 1"),
            "decay_epochs": (self.decay_epochs >= 1, "at least 1"),
            "accumulate": (self.accumulate >= 1, "at least 1"),
            "compare": (self.compare in COMPARE, f"one of {', '.join(COMPARE)}"),
            "clip_norm": (self.clip_norm is None or self.clip_norm > 0, "positive or None"),
            "patience": (self.patience is None or self.patience >= 1, "at least 1 or None"),
            "seed": (self.seed >= 0, "0 or more"),
        }
        for name, (holds, rule) in rules.items():
            if not holds:
                raise TrainingError(f"{name} must be {rule}, not {getattr(self, name)!r}.")

    def learning_rate_factor(self, epoch: float) -> float:
        """Return the factor of the learning rate at a time, in epochs, whole or not, since the start."""
        if epoch < self.warmup_epochs:
            return epoch / self.warmup_epochs
        if self.schedule == "cosine":
            done = (epoch - self.warmup_epochs) / (self.epochs - self.warmup_epochs)
            return 0.5 * (1 + math.cos(math.pi * done))
        if self.schedule == "step":
            return self.decay ** (int(epoch) // self.decay_epochs)
        return 1.0


@dataclass(frozen=True)
class Compute:
    """What a model is trained on, in the words of Lightning Fabric.

    On several devices or nodes, start the script with ``torchrun`` or ``fabric run``, or as it is: then Fabric starts
    it once more for each further device.

    Args:
        accelerator: ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"mps"``.
        devices: How many, on each node.
        nodes: How many machines.
        strategy: ``"auto"``, which is one process a device, or another of Fabric's.
        precision: ``"32-true"``; ``"bf16-mixed"`` and ``"16-mixed"`` on a GPU. Fabric rounds a batch's columns of
            floating-point numbers to half precision, too, before a task sees them.

    Reference:
        Lightning Fabric, https://lightning.ai/docs/fabric.
    """

    accelerator: str = "auto"
    devices: int = 1
    nodes: int = 1
    strategy: str = "auto"
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"

    def fabric(self) -> Fabric:
        """Make the Fabric.

        Raises:
            TrainingError: If there is no such accelerator or strategy, or not as many devices.
        """
        try:
            return Fabric(
                accelerator=self.accelerator,
                devices=self.devices,
                num_nodes=self.nodes,
                strategy=self.strategy,
                precision=self.precision,
            )
        except (MisconfigurationException, ImportError, RuntimeError, ValueError) as error:
            raise TrainingError(f"cannot compute on {self}: {error}") from error


def is_first_process() -> bool:
    """Return whether this is the process that prints and writes, where a script runs in several."""
    return os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0")) == "0"
