"""Retrieval against the bare similarity product with top-k.

    python benchmarks/retrieval.py

10,000 queries, 100,000 keys of width 256, k = 200, 785 genes. Promise: at most 1.5 times, within 2 GB.
"""

import resource
import statistics
import time

import torch

from stlearn_lib.retrieval import retrieve

N_QUERIES, N_KEYS, WIDTH, K, N_GENES = 10_000, 100_000, 256, 200, 785
CHUNK = 500
ROUNDS = 3


def bare(query: torch.Tensor, keys: torch.Tensor) -> None:
    """Cosine similarity and top-k, nothing else."""
    query, keys = (torch.nn.functional.normalize(values, dim=1) for values in (query, keys))
    for part in query.split(CHUNK):
        (part @ keys.T).topk(K, dim=1)


def main() -> None:
    """Print the median ratio and the peak memory."""
    generator = torch.Generator().manual_seed(0)
    query = torch.randn(N_QUERIES, WIDTH, generator=generator)
    keys = torch.randn(N_KEYS, WIDTH, generator=generator)
    values = torch.rand(N_KEYS, N_GENES, generator=generator)
    ratios = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        bare(query, keys)
        middle = time.perf_counter()
        retrieve(query, keys, values, k=K, distance="l2")
        ratios.append((time.perf_counter() - middle) / (middle - start))
    peak_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"retrieve / bare product with top-k: {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
    )
    print(f"peak memory, inputs included: {peak_gb:.2f} GB")


if __name__ == "__main__":
    main()
