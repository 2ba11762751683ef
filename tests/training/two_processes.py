"""Trains in two processes, as a user's script would: ``python two_processes.py FOLDER``, run by `test_processes.py`.

What each process ends with is left in ``FOLDER/<rank>.pt``.
"""

import dataclasses
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from stlearn_lib.data.neighbourhoods import NeighbourhoodTable
from stlearn_lib.data.spots import SpotTable
from stlearn_lib.errors import TrainingError
from stlearn_lib.losses import clip_loss, gather_embeddings
from stlearn_lib.methods.nh2st import DualScaleTask, NH2STSettings
from stlearn_lib.models import nh2st
from stlearn_lib.training import Compute, Task, TrainingSettings, fit

SETTINGS = {
    "clipped": TrainingSettings(
        epochs=3, batch_size=8, learning_rate=0.02, weight_decay=0.1, schedule="cosine", clip_norm=0.5
    ),
    "in parts": TrainingSettings(epochs=2, batch_size=8, learning_rate=0.02, optimizer="adamw", accumulate=2),
    "in parts, together": TrainingSettings(
        epochs=2, batch_size=8, learning_rate=0.02, optimizer="adamw", accumulate=2, compare="batch"
    ),
}


class Contrast(Task):
    """Every process sees the embeddings of all."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b = nn.Linear(4, 3), nn.Linear(5, 3)
        self.read: list[list[int]] = []  # rows of each part, for training and validation
        self.drawn: list[float] = []

    def forward(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        self.read.append(batch["row"].tolist())
        self.drawn.append(torch.rand(1).item())
        a, b = gather_embeddings(self.a(batch["a"])), gather_embeddings(self.b(batch["b"]))
        return {"loss": clip_loss(a, b), "mean": batch["a"].mean()}


def spots(seed: int, n: int) -> SpotTable:
    """Spots that know their row."""
    rng = np.random.default_rng(seed)
    a, b = (rng.normal(size=(n, d)).astype(np.float32) for d in (4, 5))
    return SpotTable({"a": [a], "b": [b], "row": [np.arange(n)]})


def train(compute: Compute, folder: Path) -> dict[str, Any]:
    """Train with each of the settings; then go on with what is finished."""
    results: dict[str, Any] = {}
    for name in [*SETTINGS, "clipped"]:
        task = Contrast()
        history = fit(
            task,
            spots(0, 26),
            SETTINGS[name],
            validation=spots(1, 18),
            compute=compute,
            folder=folder / name,
        )
        again = "again: " if name in results else ""
        results[again + name] = {
            "weights": task.state_dict(),
            "history": history.drop(columns="seconds").to_dict("list"),
            "read": task.read,
            "drawn": task.drawn,
        }
    return results


def neighbourhoods(seed: int) -> NeighbourhoodTable:
    """32 spots on a line, each with its two neighbours."""
    rng = np.random.default_rng(seed)
    columns = {"image": [rng.normal(size=(32, 4)).astype(np.float32)], "expression": [rng.random((32, 3), np.float32)]}
    line = np.arange(32)[:, None]
    return NeighbourhoodTable(columns, [np.clip(line + np.array([0, -1, 1]), 0, 31)], [np.hstack([line, line])])


def train_nh2st(compute: Compute) -> dict[str, Any]:
    """Train NH2ST without dropout, of which each process draws its own."""
    torch.manual_seed(0)
    model = nh2st.NH2ST(n_genes=3, encoder=4, width=8, dropout=0.0)
    training = TrainingSettings(epochs=4, batch_size=8, learning_rate=0.01, patience=4)
    options = NH2STSettings(features=["colour_texture"], batches="adjacent", sharing=True, training=training)
    task = DualScaleTask(model, options)
    history = fit(task, neighbourhoods(0), training, validation=neighbourhoods(1), compute=compute)
    return {"weights": task.state_dict(), "history": history.drop(columns="seconds").to_dict("list")}


def main(folder: Path) -> None:
    """Train in two processes; this script is started once more for the second."""
    compute = Compute(accelerator="cpu", devices=2, strategy="ddp")
    results = {**train(compute, folder), "NH2ST": train_nh2st(compute)}
    try:
        fit(Contrast(), spots(0, 26), dataclasses.replace(SETTINGS["in parts"], batch_size=10), compute=compute)
    except TrainingError as error:
        results["error"] = str(error)
    torch.save(results, folder / f"{os.environ['LOCAL_RANK']}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
