"""Exports features, again and again: a process is killed at a chosen moment, and another one goes on.

`test_export.py` runs it as a script: ``python killed_export.py FOLDER``. Each moment's export is in
``FOLDER/<moment>``.
"""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from anndata import AnnData

from stlearn_lib.data.statistics import colour_texture_statistics
from stlearn_lib.data.synthetic import simulate_section
from stlearn_lib.slides import export

CHUNKS = 5  # of 4 spots


def die() -> None:
    """End as a process does whose machine is switched off: nothing is closed, nothing is written."""
    os.kill(os.getpid(), signal.SIGKILL)


def in_chunk(n: int) -> Callable[[], None]:
    """While the n-th chunk of this process is seen."""

    def inject() -> None:
        before = iter(range(1, n))

        def dying(patches: np.ndarray) -> np.ndarray:
            return colour_texture_statistics(patches) if next(before, None) else die()

        export.colour_texture_statistics = dying

    return inject


def in_place(suffix: str, *, half: bool) -> Callable[[], None]:
    """When a file of this suffix is to get its final name, half of it written, or as soon as it has it."""

    def inject() -> None:
        replace = Path.replace

        def dying(self: Path, target: Path) -> None:
            if half and target.suffix == suffix:
                os.truncate(self, self.stat().st_size // 2)
                die()
            replace(self, target)
            if target.suffix == suffix and not target.parent.name.startswith("."):
                die()

        Path.replace = dying

    return inject


MOMENTS: dict[str, list[Callable[[], None]]] = {
    "never": [],
    "in the first chunk": [in_chunk(1)],
    "in the middle": [in_chunk(3)],
    "in every chunk": [in_chunk(2)] * (CHUNKS - 1),
    "while a chunk is written": [in_place(".npy", half=True)] * 2,
    "while the file is written": [in_place(".h5", half=True)],
    "before the chunks are removed": [in_place(".h5", half=False)],
}
"""Where each process in turn is killed; one more then comes to the end."""


def killed(section: AnnData, folder: Path, inject: Callable[[], None] | None) -> bool:
    """Export in a process of its own; return whether it was killed. All of them share what is imported by now."""
    process = os.fork()
    if not process:
        if inject:
            inject()
        export.export_features(section, "colour_texture", folder, chunk=4, progress=False)
        os._exit(0)
    status = os.waitpid(process, 0)[1]
    return os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL


def main(folder: Path) -> None:
    """Go through all moments."""
    with TemporaryDirectory() as images:
        section = simulate_section("S1", Path(images))[: 4 * CHUNKS].copy()
        for moment, kills in MOMENTS.items():
            deaths = [killed(section, folder / moment, inject) for inject in [*kills, None]]
            if deaths != [True] * len(kills) + [False]:
                sys.exit(f"{moment}: killed {deaths}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
