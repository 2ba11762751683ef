"""NH2ST's training with each spot of a batch encoded once, against ten patches encoded for every spot as released.

    python benchmarks/neighbourhoods.py

Both are timed in turn in one process, forward and backward, at equal target spots and with the same batch; a batch of
the released way is too large for the memory of a laptop, so its targets are taken a few at a time, and of these the
first quarter is timed and counted four times: they share nothing, so all cost the same. The ratio is that of
the fastest rounds, since whatever else the machine does only adds to a time. Promise: at least 5 times as fast on CPU.
"""

import resource
import time

import numpy as np
import torch

from stlearn_lib.data.expression import Target, expression
from stlearn_lib.data.neighbourhoods import NeighbourhoodTable, nearest_spots
from stlearn_lib.data.patches import cut_patches
from stlearn_lib.datasets import load_gene_list, load_sections
from stlearn_lib.methods.nh2st import DualScaleTask, NH2STSettings
from stlearn_lib.models import nh2st

N_TARGETS, AT_ONCE, ROUNDS = 64, 8, 3


def main() -> None:
    """Print the ratio and the peak memory of both ways."""
    (section,) = load_sections(["C2"], allow_simulated=False)
    target = Target(load_gene_list("mclstexp_her2st"))
    columns = {"image": [cut_patches(section)], "expression": [expression(section, target).astype(np.float32)]}
    spots = NeighbourhoodTable(columns, [nearest_spots(section)], [section.obsm["spatial"]])
    model = nh2st.NH2ST(n_genes=len(target.genes), weights=None)
    task = DualScaleTask(model, NH2STSettings(augment=False)).train()
    index = spots.shuffled(np.random.default_rng(0), N_TARGETS)[:N_TARGETS]
    shared, released = [], []
    seconds(task, spots, [index], shared=True)  # to warm up
    shared_gb = peak_gb()
    for _ in range(ROUNDS):
        shared.append(seconds(task, spots, [index], shared=True))
        quarter = np.split(index[: N_TARGETS // 4], N_TARGETS // 4 // AT_ONCE)
        released.append(4 * seconds(task, spots, quarter, shared=False))
    ratios = [slow / fast for slow, fast in zip(released, shared, strict=True)]
    n_encoded = len(spots.rows(index)["image"])
    print(f"{N_TARGETS} adjacent spots: {n_encoded} patches encoded once, or {10 * N_TARGETS} as released")
    print(f"released / once: {min(released) / min(shared):.1f} (rounds: {min(ratios):.1f} to {max(ratios):.1f})")
    print(f"peak memory: {shared_gb:.1f} GB once, {peak_gb():.1f} GB released, {AT_ONCE} targets at a time")


def seconds(task: DualScaleTask, spots: NeighbourhoodTable, batches: list[np.ndarray], *, shared: bool) -> float:
    """Time forward and backward over the batches."""
    embed = task.embed_each_once if shared else task.embed_each_anew
    start = time.perf_counter()
    for index in batches:
        batch = spots.rows(index)
        output = embed(batch["image"].permute(0, 3, 1, 2), batch["expression"], batch["neighbours"])
        sum(torch.sum(values) for values in output).backward()
        task.zero_grad()
    return time.perf_counter() - start


def peak_gb() -> float:
    """The largest memory that this process has had so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


if __name__ == "__main__":
    main()
