"""A training run's memory: history, best and last weights, and the folder in which it can be taken up again."""

import pickle
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from lightning_fabric import Fabric
from lightning_fabric.wrappers import _FabricOptimizer
from torch import nn
from torch.utils.tensorboard import SummaryWriter

from stlearn_lib.cache import remove_leftovers, written_whole
from stlearn_lib.errors import TrainingError
from stlearn_lib.storage import locked, writing_in
from stlearn_lib.training.settings import TrainingSettings

LAST, BEST, HISTORY, TENSORBOARD, LOCK = "last.ckpt", "best.ckpt", "history.csv", "tensorboard", ".lock"
MONITOR = "validation_loss"


@contextmanager
def alone_in(folder: Path | str | None, fabric: Fabric) -> Iterator[None]:
    """Keep other trainings out of a run's folder; the processes of this one are let in together.

    Args:
        folder: The folder, made if need be; or None, which is shared with nobody.
        fabric: The processes.

    Raises:
        TrainingError: If another training is there.
        WriteError: If the folder cannot be written.
    """
    if folder is None:
        yield
        return
    folder = Path(folder)
    with ExitStack() as lock:
        free = True
        if fabric.is_global_zero:
            with writing_in(folder):
                folder.mkdir(parents=True, exist_ok=True)
                try:
                    lock.enter_context(locked(folder / LOCK))
                except BlockingIOError:
                    free = False
        if not fabric.broadcast(free):
            raise TrainingError(f"another process trains in {folder}: wait for it, or choose another folder.")
        remove_leftovers(folder)
        yield


class Run:
    """Keeps what a run needs to go on, to stop, and to end with the right weights.

    Args:
        fabric: The processes.
        task: What is trained.
        optimizer: By what.
        settings: How; a run goes on with its own settings only.
        facts: What else the run depends on, such as its spots; it goes on with the same only.
        folder: Where it is kept, or None. All processes have to see it.

    Raises:
        TrainingError: If the folder holds another run, or a checkpoint that cannot be read.
    """

    def __init__(
        self,
        fabric: Fabric,
        task: nn.Module,
        optimizer: _FabricOptimizer,
        settings: TrainingSettings,
        facts: Mapping[str, Any],
        folder: Path | str | None,
    ) -> None:
        self.fabric, self.task, self.optimizer, self.settings = fabric, task, optimizer, settings
        self.folder = None if folder is None else Path(folder)
        self.identity = asdict(settings) | dict(facts)
        self.history: list[dict[str, float]] = []
        self.best: dict[str, torch.Tensor] = {}
        self.writer: SummaryWriter | None = None
        if self.folder is not None and (self.folder / LAST).is_file():
            self._resume(self.folder)

    @property
    def finished(self) -> bool:
        """Whether all epochs are done, or patience is at its end."""
        if len(self.history) >= self.settings.epochs:
            return True
        if self.settings.patience is None or not self.history:
            return False
        return len(self.history) - 1 - self._best_epoch() >= self.settings.patience

    def end_epoch(self, row: dict[str, float]) -> None:
        """Add an epoch to the history, and write everything down.

        The last checkpoint comes last. Killed before it, a run does its epoch again and writes the same once more;
        were it first, the epoch would count as done and be missing elsewhere.
        """
        wrong = [name for name, value in row.items() if not np.isfinite(value)]
        if wrong:
            raise TrainingError(
                f"{', '.join(wrong)} of epoch {row['epoch']} is not finite: the training diverged. Lower the learning "
                "rate, set clip_norm, or look for NaN in the data."
            )
        self.history.append(row)
        if MONITOR in row and self._best_epoch() == len(self.history) - 1:
            self.best = {name: tensor.detach().cpu().clone() for name, tensor in self.task.state_dict().items()}
            self._write(BEST, {"task": self.best})
        self._log(row)
        self._write(LAST, self._state() | {"identity": self.identity, "history": self.history})

    def load_result(self) -> None:
        """Give the task the weights that the run ends with: of the best epoch if it was validated, else of the last."""
        if MONITOR in self.history[-1]:
            self.task.load_state_dict(self.best)

    def close(self) -> None:
        """Close what is open for writing."""
        if self.folder is not None and self.writer is not None:
            with writing_in(self.folder):
                self.writer.close()

    def _best_epoch(self) -> int:
        return int(np.argmin([row[MONITOR] for row in self.history]))

    def _resume(self, folder: Path) -> None:
        last = self._read(folder / LAST)
        theirs, ours = last.get("identity", {}), self.identity
        other = [f"{key} {theirs.get(key)!r}, not {ours[key]!r}" for key in ours if theirs.get(key) != ours[key]]
        if other:
            raise TrainingError(f"{folder} holds another run ({'; '.join(other)}): go on with its own, or elsewhere.")
        try:
            self.task.load_state_dict(last["task"])
            self.optimizer.load_state_dict(last["optimizer"])
            self.fabric.strategy.precision.load_state_dict(last["precision"])
        except (RuntimeError, ValueError) as error:
            raise TrainingError(
                f"{folder} holds a run of another model: go on with its own, or elsewhere. {error}"
            ) from error
        self.history = last["history"]
        if MONITOR in self.history[-1]:
            self.best = self._read(folder / BEST)["task"]

    def _state(self) -> dict[str, Any]:
        return {
            "task": self.task.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "precision": self.fabric.strategy.precision.state_dict(),  # the scaler of half precision
        }

    def _write(self, name: str, state: dict[str, Any]) -> None:
        if self.folder is None:
            return
        if self.fabric.is_global_zero:
            with written_whole(self.folder / name) as temporary:  # Fabric's save leaves files in /tmp when it is killed
                torch.save(state, temporary)
        self.fabric.barrier()  # whatever a process reads next, it finds the new file

    def _read(self, path: Path) -> dict[str, Any]:
        try:
            return torch.load(path, map_location="cpu", weights_only=True)
        except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
            raise TrainingError(f"{path} is no checkpoint that can be read ({error}): remove its folder.") from error

    def _log(self, row: dict[str, float]) -> None:
        if self.folder is None or not self.fabric.is_global_zero:
            return
        with written_whole(self.folder / HISTORY) as path:
            pd.DataFrame(self.history).to_csv(path, index=False)
        epoch = int(row["epoch"])
        with writing_in(self.folder):
            if self.writer is None:  # an epoch that was begun before and is done again replaces what is there of it
                self.writer = SummaryWriter(self.folder / TENSORBOARD, purge_step=epoch)
            for name, value in row.items():
                if name != "epoch":
                    self.writer.add_scalar(name, value, epoch)
            self.writer.flush()
