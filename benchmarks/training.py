"""An epoch of a method's training against the bare encoder's forward and backward on the same batches.

    python benchmarks/training.py [mclstexp | rankbygene [ENCODER [BATCH]]]

The epoch is `training.fit`'s own: patches read from their memory-mapped files, augmentation, all towers, the loss,
backward, the optimiser. RankByGene has two encoders, of which the teacher goes forward only. Both are timed in turn in
one process, so that the ratio holds when the machine's speed drifts. Promise: the bare encoders need at least 0.9 of
the epoch's time. On a GPU half precision is set beside single, too.
"""

import statistics
import sys
import time

import numpy as np
import torch

from stlearn_lib.data.expression import Target, expression
from stlearn_lib.data.patches import cut_patches
from stlearn_lib.data.spots import SpotTable
from stlearn_lib.datasets import load_gene_list, load_sections
from stlearn_lib.methods.mclstexp import ContrastTask, MclSTExpSettings
from stlearn_lib.methods.rankbygene import RankByGeneSettings, RankingTask
from stlearn_lib.models.encoders import Encoder
from stlearn_lib.models.mclstexp import MclSTExp
from stlearn_lib.models.rankbygene import RankByGene
from stlearn_lib.training import Compute, Task, TrainingSettings, fit

SECTIONS = ("C2", "C3", "C4", "C5")
ON_GPU = torch.cuda.is_available()
TASKS = {
    "mclstexp": lambda n_genes, encoder: ContrastTask(
        MclSTExp(n_genes=n_genes, encoder=encoder, weights=None), MclSTExpSettings()
    ),
    "rankbygene": lambda n_genes, encoder: RankingTask(
        RankByGene(n_genes=n_genes, encoder=encoder, weights=None), RankByGeneSettings()
    ),
}
N_STEPS, ROUNDS = (5, 5) if ON_GPU else (2, 3)


def main(method: str = "mclstexp", encoder: str = "densenet121", batch_size: str = "128" if ON_GPU else "32") -> None:
    """Print the median ratios."""
    spots = read_spots(N_STEPS * int(batch_size))
    settings = TrainingSettings(epochs=2, batch_size=int(batch_size), learning_rate=1e-4, weight_decay=1e-3)
    n_genes = spots.columns["expression"][0].shape[1]
    task = TASKS[method](n_genes, encoder)
    for precision in ("32-true", "bf16-mixed") if ON_GPU else ("32-true",):
        rounds = [(epoch(task, spots, settings, precision), bare(task, spots, settings, precision))]  # to warm up
        rounds += [
            (epoch(task, spots, settings, precision), bare(task, spots, settings, precision)) for _ in range(ROUNDS)
        ]
        ratios = [encoder_s / epoch_s for epoch_s, encoder_s in rounds[1:]]
        step_s = statistics.median(epoch_s for epoch_s, _ in rounds[1:]) / N_STEPS
        print(
            f"{method}, {encoder}, batches of {batch_size}, {precision}: "
            f"bare / epoch {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}), "
            f"{step_s:.2f} s a step"
        )


def read_spots(n: int) -> SpotTable:
    """The first spots of real sections, as many of each: patches in their files, expression, position."""
    own = n // len(SECTIONS)
    sections = [section[:own].copy() for section in load_sections(SECTIONS, allow_simulated=False)]
    target = Target(load_gene_list("mclstexp_her2st"))
    return SpotTable(
        {
            "image": [cut_patches(section) for section in sections],
            "expression": [expression(section, target).astype(np.float32) for section in sections],
            "position": [section.obs[["array_x", "array_y"]].to_numpy().round().astype(int) for section in sections],
        }
    )


def epoch(task: Task, spots: SpotTable, settings: TrainingSettings, precision: str) -> float:
    """Seconds of the second epoch, as the history has them; in the first the optimiser makes its state."""
    history = fit(task, spots, settings, compute=Compute(precision=precision), progress=False)
    return float(history["seconds"].iloc[1])


def bare(task: Task, spots: SpotTable, settings: TrainingSettings, precision: str) -> float:
    """Seconds that the encoders alone need for as many batches, which lie ready on their device."""
    encoder, teacher = encoders_of(task)
    device = next(encoder.parameters()).device
    patches = spots.rows(range(N_STEPS * settings.batch_size))["image"].to(device)
    images = (patches / 255).permute(0, 3, 1, 2)
    start = clock(device)
    for batch in images.split(settings.batch_size):
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16-mixed"):
            features = encoder.backbone(batch)
            if teacher is not None:
                with torch.no_grad():
                    teacher.backbone(batch)
        features.float().sum().backward()
        encoder.zero_grad()
    return clock(device) - start


def encoders_of(task: Task) -> tuple[Encoder, Encoder | None]:
    """The encoder that is trained, and the teacher where there is one."""
    task.train()
    if isinstance(task, RankingTask):
        return task.model.student_backbone, task.model.teacher_backbone
    return task.model.image_encoder, None


def clock(device: torch.device) -> float:
    """The time in seconds, when a GPU has done what it was asked."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


if __name__ == "__main__":
    main(*sys.argv[1:])
