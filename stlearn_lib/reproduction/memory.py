"""How much memory a task needed at its peak."""

import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import torch

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@dataclass
class Memory:
    """The peak, filled in when the task has ended."""

    gigabytes: float = float("nan")
    gpu_gigabytes: float = 0.0


@contextmanager
def peak_memory() -> Iterator[Memory]:
    """Measure the peak of what a block holds in memory, and on the GPU.

    On Linux the process's high-water mark is reset first; elsewhere it is that of the whole process so far.

    Example:
        >>> with peak_memory() as memory:
        ...     held = bytearray(10**8)
        >>> memory.gigabytes > 0.1
        True
    """
    memory = Memory()
    with suppress(OSError):  # not on Linux, or not allowed
        _RESET.write_text("5")
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    try:
        yield memory
    finally:
        memory.gigabytes = _high_water_mark()
        if torch.cuda.is_available():
            memory.gpu_gigabytes = torch.cuda.max_memory_allocated() / 1e9


def _high_water_mark() -> float:
    if _STATUS.exists():
        (line,) = (line for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024 / 1e9
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9
