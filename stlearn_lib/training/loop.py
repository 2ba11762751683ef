"""The training loop: epochs of shuffled batches, a validation after each, the best or the last weights at the end.

Everything random is a function of the seed and of how far training has come: the order of an epoch's spots of the
epoch, augmentation and dropout of the step and the process. So is the learning rate. A run that was stopped anywhere
therefore goes on from its last whole epoch exactly as if nothing had happened.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from lightning_fabric import Fabric
from lightning_fabric.wrappers import _FabricModule, _FabricOptimizer
from torch import Tensor, nn
from tqdm import tqdm

from stlearn_lib.data.spots import SpotTable
from stlearn_lib.errors import TrainingError
from stlearn_lib.losses.gather import PartByPart
from stlearn_lib.training.run import Run, alone_in
from stlearn_lib.training.settings import Compute, TrainingSettings

Batch = dict[str, Tensor]


class Task(nn.Module, ABC):
    """What a method trains: its model and its loss, from a batch to the terms of the loss."""

    @abstractmethod
    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Return the scalar ``"loss"``, which is minimised, and any terms of it that are worth a look.

        Augmentation belongs here too, where the batch is on its device already; only if ``self.training``.
        """

    def learning_rates(self) -> list[tuple[list[nn.Parameter], float]]:
        """Return groups of parameters, and by what the learning rate of each is multiplied; all alike by default."""
        return [([parameter for parameter in self.parameters() if parameter.requires_grad], 1.0)]

    def after_step(self, epoch: int, step: int, n_steps: int) -> None:
        """Do what follows a step of the optimiser; `epoch` and `step`, of `n_steps` an epoch, are counted from 0."""

    def judge(self, means: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return what is written of a validation, and ``"loss"`` that an epoch is judged by.

        Args:
            means: The mean of each term over the validation's batches: scalars, or tensors of any shape if the task
                makes a measure of them here that is no mean itself.

        Returns:
            Scalars; the means themselves unless a task does otherwise.
        """
        return means

    def facts(self) -> dict[str, Any]:
        """Return what else the run depends on, in plain values: a run goes on with the same only."""
        return {}


def fit(
    task: Task,
    spots: SpotTable,
    settings: TrainingSettings,
    *,
    validation: SpotTable | None = None,
    compute: Compute | None = None,
    folder: Path | str | None = None,
    progress: bool = True,
) -> pd.DataFrame:
    """Train a task, in place.

    Args:
        task: The model and its loss. It ends with the weights of the best epoch if there are validation spots, else
            with those of the last.
        spots: What to train on.
        settings: How.
        validation: What to judge an epoch by, without augmentation: see `Task.judge`.
        compute: On what; a single device if None.
        folder: Where ``last.ckpt``, ``best.ckpt``, ``history.csv`` and ``tensorboard`` go. A run that is found there
            unfinished goes on from its last epoch; a finished one is loaded. Nothing is written if None.
        progress: Whether to show a bar, on a terminal.

    Returns:
        The history, one row for each epoch: ``epoch`` from 1, ``learning_rate`` of its last step, ``train_`` and
        ``validation_`` each term, ``seconds``.

    Raises:
        TrainingError: If the settings do not fit the spots or the processes, the folder holds another run, another
            process trains in it, or the loss is not finite.
        WriteError: If the folder cannot be written.
    """
    if settings.patience is not None and validation is None:
        raise TrainingError(
            "patience needs validation spots: fit(sections, validation=...), with sections taken from the training "
            "patients (see `splits.validation_from_training`)."
        )
    fabric = (compute or Compute()).fabric()
    fabric.launch()
    devices = [fabric.device] if fabric.device.type == "cuda" else []
    with torch.random.fork_rng(devices), alone_in(folder, fabric):
        return _fit(fabric, task, spots, settings, validation, folder, progress)


def _fit(
    fabric: Fabric,
    task: Task,
    spots: SpotTable,
    settings: TrainingSettings,
    validation: SpotTable | None,
    folder: Path | str | None,
    progress: bool,
) -> pd.DataFrame:
    train_loader = _Loader(fabric, spots, settings)
    validation_loader = _Loader(fabric, validation, settings) if validation is not None else None
    model, optimizer = fabric.setup(task, _optimizer(task, settings))
    facts = {
        "task": type(task).__name__,
        **task.facts(),
        "spots": spots.fingerprint(),
        "validation spots": None if validation is None else validation.fingerprint(),
    }
    run = Run(fabric, task, optimizer, settings, facts, folder)
    bar = tqdm(
        total=settings.epochs * len(train_loader),
        initial=len(run.history) * len(train_loader),
        unit="step",
        disable=None if progress and fabric.is_global_zero else True,
    )
    with closing(run), bar:
        while not run.finished:
            start, epoch = time.perf_counter(), len(run.history)
            terms = _train_epoch(fabric, model, task, optimizer, train_loader, settings, epoch, bar.update)
            row = {"epoch": epoch + 1, "learning_rate": optimizer.param_groups[0]["lr"], **terms}
            if validation_loader is not None:
                row |= _validate(fabric, model, task, validation_loader, settings)
            row["seconds"] = time.perf_counter() - start
            run.end_epoch(row)
            bar.set_postfix({name: f"{value:.3f}" for name, value in row.items() if name.endswith("loss")})
    run.load_result()
    task.eval()
    return pd.DataFrame(run.history)


def _optimizer(task: Task, settings: TrainingSettings) -> torch.optim.Optimizer:
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[settings.optimizer]
    groups = [{"params": parameters, "factor": factor} for parameters, factor in task.learning_rates()]
    return kind(groups, lr=settings.learning_rate, weight_decay=settings.weight_decay)


def _train_epoch(
    fabric: Fabric,
    model: _FabricModule,
    task: Task,
    optimizer: _FabricOptimizer,
    loader: "_Loader",
    settings: TrainingSettings,
    epoch: int,
    step_done: Callable[[], object],
) -> dict[str, float]:
    """Take one step for each batch; return the mean of each term."""
    model.train()
    terms = _Means(fabric)
    for step, parts in enumerate(loader.batches(epoch)):
        for group in optimizer.param_groups:
            factor = group["factor"] * settings.learning_rate_factor(epoch + step / len(loader))
            group["lr"] = settings.learning_rate * factor
        seeds = _seeds(fabric, settings, epoch, step, len(parts))
        for i, look in enumerate(_looks(model, parts, settings, seeds)):
            with fabric.no_backward_sync(model, enabled=i < len(parts) - 1):
                losses = look()
                fabric.backward(losses["loss"] / len(parts))
            terms.add(losses)
        if settings.clip_norm is not None:
            # In half precision a first step may overflow; its scaler then leaves the step out by itself.
            fabric.clip_gradients(model, optimizer, max_norm=settings.clip_norm, error_if_nonfinite=False)
        optimizer.step()
        optimizer.zero_grad()
        task.after_step(epoch, step, len(loader))
        step_done()
    return {f"train_{name}": float(value) for name, value in terms.compute().items()}


@torch.no_grad()
def _validate(
    fabric: Fabric, model: _FabricModule, task: Task, loader: "_Loader", settings: TrainingSettings
) -> dict[str, float]:
    model.eval()
    terms = _Means(fabric)
    for parts in loader.batches(epoch=None):
        seeds = _seeds(fabric, settings, settings.epochs, 0, len(parts))  # of an epoch that training does not have
        for look in _looks(model, parts, settings, seeds):
            terms.add(look())
    return {f"validation_{name}": float(value) for name, value in task.judge(terms.compute()).items()}


def _looks(
    model: _FabricModule, parts: list[Batch], settings: TrainingSettings, seeds: list[int]
) -> list[Callable[[], dict[str, Tensor]]]:
    """Return what looks at each part of a batch: alone, or with the embeddings of all parts before its eyes."""

    def look(i: int) -> dict[str, Tensor]:
        _set_seed(model.device, seeds[i])
        losses: dict[str, Tensor] = model(parts[i])
        return losses

    def look_among_others(i: int) -> dict[str, Tensor]:
        with batch.among_others(i):
            return look(i)

    if settings.compare == "parts" or len(parts) == 1:
        return [partial(look, i) for i in range(len(parts))]
    batch = PartByPart(len(parts))
    for i in range(len(parts)):
        with batch.kept(i):
            look(i)
    return [partial(look_among_others, i) for i in range(len(parts))]


def _set_seed(device: torch.device, seed: int) -> None:
    if device.type == "cpu":  # `torch.manual_seed` also keeps a note for each kind of GPU, which costs a millisecond
        torch.default_generator.manual_seed(seed)
    else:
        torch.manual_seed(seed)


def _seeds(fabric: Fabric, settings: TrainingSettings, epoch: int, step: int, n_parts: int) -> list[int]:
    """Mix a seed for each part of this process, so that neighbouring steps, processes and parts have unrelated ones."""
    first = fabric.global_rank * n_parts
    return [
        int(np.random.SeedSequence([settings.seed, epoch, step, first + i]).generate_state(1)[0])
        for i in range(n_parts)
    ]


class _Means:
    """Running means of the terms of a loss; they stay on their device until the end, so that no step has to wait."""

    def __init__(self, fabric: Fabric) -> None:
        self.fabric = fabric
        self.sums: dict[str, Tensor] = {}
        self.n = 0

    def add(self, terms: Mapping[str, Tensor]) -> None:
        for name, value in terms.items():
            self.sums[name] = self.sums.get(name, 0) + value.detach()
        self.n += 1

    def compute(self) -> dict[str, Tensor]:
        """Return the means over all processes."""
        means: dict[str, Any] = {name: self.fabric.all_reduce(total / self.n) for name, total in self.sums.items()}
        return means


class _Loader:
    """Reads batches from a table of spots: each process its share, divided into parts, one batch ahead."""

    def __init__(self, fabric: Fabric, spots: SpotTable, settings: TrainingSettings) -> None:
        self.fabric, self.spots, self.seed, self.n_parts = fabric, spots, settings.seed, settings.accumulate
        shares = fabric.world_size * settings.accumulate
        if settings.batch_size % shares:
            raise TrainingError(
                f"a batch of {settings.batch_size} spots cannot be divided among {fabric.world_size} processes and "
                f"{settings.accumulate} parts each: choose a multiple of {shares}."
            )
        self.batch_size = min(settings.batch_size, len(spots) // shares * shares)
        if self.batch_size < 2 * shares:
            raise TrainingError(
                f"{len(spots)} spots leave less than 2 to each of {shares} parts of a batch: a spot alone has nothing "
                "to be compared with. Give more sections, or choose fewer parts."
            )

    def __len__(self) -> int:
        return len(self.spots) // self.batch_size

    def batches(self, epoch: int | None) -> Iterator[list[Batch]]:
        """Yield the parts of each batch; shuffled by the epoch, or in order if None."""
        order = np.arange(len(self.spots))
        if epoch is not None:
            order = self.spots.shuffled(np.random.default_rng([self.seed, epoch]), self.batch_size)
        batches = order[: len(self) * self.batch_size].reshape(len(self), self.n_parts, self.fabric.world_size, -1)
        with ThreadPoolExecutor(max_workers=1) as reader:
            upcoming = reader.submit(self._read, batches[0])
            for following in [*batches[1:], None]:
                parts = upcoming.result()
                if following is not None:
                    upcoming = reader.submit(self._read, following)
                yield [self.fabric.to_device(part) for part in parts]

    def _read(self, batch: np.ndarray) -> list[Batch]:
        parts = [self.spots.rows(part[self.fabric.global_rank]) for part in batch]  # (parts, processes, spots)
        if self.fabric.device.type != "cuda":
            return parts
        return [{name: values.pin_memory() for name, values in part.items()} for part in parts]
