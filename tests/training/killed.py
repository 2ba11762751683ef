"""Trains a small model, again and again: a process is killed at a chosen moment, and another one goes on.

`test_resume.py` runs it as a script: ``python killed.py FOLDER``. What each training ends with is left in
``FOLDER/<moment>.pt``, beside its run's folder.
"""

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn

from stlearn_lib.data.augmentation import mclstexp_training
from stlearn_lib.data.spots import SpotTable
from stlearn_lib.losses import clip_loss
from stlearn_lib.training import Compute, Task, TrainingSettings, fit

STEPS = 3  # of an epoch
SETTINGS = TrainingSettings(
    epochs=9, batch_size=8, learning_rate=0.15, schedule="cosine", warmup_epochs=0.5, patience=3, seed=13
)
"""The second of these epochs is the best, and patience ends with the fifth."""


class Contrast(Task):
    """Everything that has a state or is random: batch norm, dropout, augmentation."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.augment = mclstexp_training()
        self.image = nn.Sequential(nn.Flatten(), nn.Linear(192, 8), nn.BatchNorm1d(8), nn.Dropout(0.3), nn.Linear(8, 4))
        self.expression = nn.Linear(5, 4)

    def forward(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        image = batch["image"].permute(0, 3, 1, 2)
        image = self.augment(image) if self.training else image / 255
        return {"loss": clip_loss(self.image(image), self.expression(batch["expression"]))}


def spots(seed: int, n: int) -> SpotTable:
    """Patches whose brightness is in their expression."""
    rng = np.random.default_rng(seed)
    brightness = rng.integers(0, 200, size=(n, 1, 1, 3))
    image = (brightness + rng.integers(0, 50, size=(n, 8, 8, 3))).astype(np.uint8)
    expression = np.hstack([brightness[:, 0, 0] / 200, rng.random((n, 2))]).astype(np.float32)
    return SpotTable({"image": [image], "expression": [expression]})


def die() -> None:
    """End as a process does whose machine is switched off: nothing is closed, nothing is written."""
    os.kill(os.getpid(), signal.SIGKILL)


def at_step(n: int) -> Callable[[Task], None]:
    """In the n-th training step, between the forward and the backward pass."""

    def inject(task: Task) -> None:
        before = iter(range(1, n))

        def dying(*_: object) -> None:
            if task.training and next(before, None) is None:
                die()

        task.register_forward_hook(dying)

    return inject


def half_written(name: str, n: int) -> Callable[[Task], None]:
    """While the n-th checkpoint of a name is written."""

    def inject(task: Task) -> None:
        save, before = torch.save, iter(range(1, n))

        def dying(state: dict, path: Path) -> None:
            save(state, path)
            if path.name.startswith(f".{Path(name).stem}-") and next(before, None) is None:
                os.truncate(path, path.stat().st_size // 2)
                die()

        torch.save = dying

    return inject


def in_place(name: str, n: int) -> Callable[[Task], None]:
    """As soon as the n-th file of a name is there, and before anything else is."""

    def inject(task: Task) -> None:
        replace, before = Path.replace, iter(range(1, n))

        def dying(self: Path, target: Path) -> None:
            replace(self, target)
            if target.name == name and next(before, None) is None:
                die()

        Path.replace = dying

    return inject


MOMENTS: dict[str, list[Callable[[Task], None]]] = {
    "never": [],
    "in the first epoch": [at_step(2)],
    "in the middle of an epoch": [at_step(2 * STEPS + 2)],
    "at the first step of an epoch": [at_step(2 * STEPS + 1)],
    "while the best weights are written": [half_written("best.ckpt", 2)],
    "between the best and the last weights": [in_place("best.ckpt", 2)],
    "between the history and the last weights": [in_place("history.csv", 3)],
    "while the last weights are written": [half_written("last.ckpt", 3)],
    "after the last weights of the last epoch": [in_place("last.ckpt", 5)],
    "after the epoch that ends it, before its last weights": [half_written("last.ckpt", 5)],
    "once in every epoch": [at_step(STEPS + 1)] * 4,
}
"""Where each process in turn is killed; one more then comes to the end."""


def train(folder: Path, inject: Callable[[Task], None] | None) -> None:
    """Train, or go on training, and leave the result beside the folder."""
    task = Contrast()
    if inject:
        inject(task)
    history = fit(
        task,
        spots(0, 8 * STEPS + 2),
        SETTINGS,
        validation=spots(1, 16),
        compute=Compute(accelerator="cpu"),
        folder=folder,
    )
    torch.save({"weights": task.state_dict(), "history": history.to_dict("list")}, folder.with_suffix(".pt"))


def killed(folder: Path, life: int, inject: Callable[[Task], None] | None) -> bool:
    """Train in a process of its own; return whether it was killed. All of them share what is imported by now."""
    process = os.fork()
    if not process:
        clock = time.time  # TensorBoard sorts its files by the second, and real processes take seconds to start
        time.time = lambda: clock() + life
        train(folder, inject)
        os._exit(0)
    return os.WTERMSIG(os.waitpid(process, 0)[1]) == signal.SIGKILL


def main(folder: Path) -> None:
    """Go through all moments."""
    for moment, kills in MOMENTS.items():
        deaths = [killed(folder / moment, life, inject) for life, inject in enumerate([*kills, None])]
        if deaths != [True] * len(kills) + [False]:
            sys.exit(f"{moment}: killed {deaths}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
