"""Cutting patches against decoding the images they are cut from.

    python benchmarks/patches.py

Both are timed in turn in one process, so that the ratio holds when the machine's speed drifts. Promise: at most 1.5
times the decoding, within 2 GB of memory.
"""

import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable

from stlearn_lib.data.patches import cut_patches
from stlearn_lib.data.sections import read_image
from stlearn_lib.datasets import load_sections

SECTIONS = ("B4", "C2", "C3", "C4", "C5", "C6")
ROUNDS = 5


def seconds(work: Callable[[], object]) -> float:
    """Time one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> None:
    """Print the median ratio and the peak memory."""
    sections = load_sections(SECTIONS, allow_simulated=False)

    def decode() -> None:
        for section in sections:
            read_image(section)

    def cut() -> None:
        for section in sections:
            cut_patches(section)

    def reuse_after_cut() -> None:
        cut_patches(sections[0])

    ratios, reused = [], []
    for _ in range(ROUNDS):
        decoding = seconds(decode)
        with tempfile.TemporaryDirectory() as folder:
            os.environ["STLEARN_CACHE"] = folder
            ratios.append(seconds(cut) / decoding)
            reused.append(seconds(reuse_after_cut))
    peak_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"cutting / decoding, six sections: {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
    cached_ms = 1000 * statistics.median(reused)
    print(f"decoding {decoding:.1f} s; patches found in the cache {cached_ms:.0f} ms a section")
    print(f"peak memory: {peak_gb:.2f} GB")


if __name__ == "__main__":
    main()
