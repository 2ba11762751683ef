"""Predicts a slide, again and again: a process is killed at a chosen moment or at any, and another one goes on.

`test_prediction.py` runs it as a script: ``python killed_prediction.py FOLDER``. Each moment's prediction is in
``FOLDER/<moment>``.
"""

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from anndata import AnnData
from PIL import Image

from stlearn_lib.application.prediction import predict_slide
from stlearn_lib.data.expression import Target
from stlearn_lib.data.sections import image_path_of
from stlearn_lib.data.synthetic import gene_names, simulate_section
from stlearn_lib.methods.base import Method
from stlearn_lib.methods.baselines import Ridge

BLOCKS = 4  # of 4 spots


def die() -> None:
    """End as a process does whose machine is switched off: nothing is closed, nothing is written."""
    os.kill(os.getpid(), signal.SIGKILL)


def in_block(n: int) -> Callable[[], None]:
    """While the n-th block of this process is predicted; its patches are cut."""

    def inject() -> None:
        spread, before = Ridge.spread, iter(range(1, n))
        Ridge.spread = lambda self, section: spread(self, section) if next(before, None) else die()

    return inject


def in_place(name: str, *, half: bool) -> Callable[[], None]:
    """When a file is to get its final name, half of it written, or as soon as it has it."""

    def inject() -> None:
        replace = Path.replace

        def dying(self: Path, target: Path) -> None:
            if half and target.match(name):
                os.truncate(self, self.stat().st_size // 2)
                die()
            replace(self, target)
            if target.match(name):
                die()

        Path.replace = dying

    return inject


MOMENTS: dict[str, list[Callable[[], None]]] = {
    "never": [],
    "in the first block": [in_block(1)],
    "in every block": [in_block(2)] * (BLOCKS - 1),
    "while a block is written": [in_place("*.safetensors", half=True)],
    "after each block": [in_place("*.safetensors", half=False)] * BLOCKS,
    "while the file is written": [in_place(".slide-*/slide.h5ad", half=True)],
    "before the file gets its place": [in_place(".slide-*/slide.h5ad", half=False)],
    "before the blocks are removed": [in_place("*removed/slide.h5ad", half=False)],
}
"""Where each process in turn is killed; one more then comes to the end."""


def killed(
    model: Method, section: AnnData, folder: Path, inject: Callable[[], None] | None, after_s: float | None = None
) -> bool:
    """Predict in a process of its own; return whether it was killed. All of them share what is imported by now."""
    process = os.fork()
    if not process:
        if inject:
            inject()
        predict_slide(model, section, folder / "slide.h5ad", block=4, preview=False, progress=False)
        os._exit(0)
    if after_s is not None:
        time.sleep(after_s)
        os.kill(process, signal.SIGKILL)
    status = os.waitpid(process, 0)[1]
    return os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL


def main(folder: Path) -> None:
    """Go through all moments, then kill at any."""
    with TemporaryDirectory() as images:
        train, slide = (simulate_section(name, Path(images)) for name in ("S1", "T1"))
        model = Ridge(target=Target(gene_names()[:8]), n_bootstrap=2).fit([train])
        slide = slide[: 4 * BLOCKS].copy()
        with Image.open(image_path_of(slide)) as image:  # of which the file would keep a large picture
            image.crop((0, 0, image.width, 450)).save(image_path_of(slide))
        start = time.monotonic()
        for moment, kills in MOMENTS.items():
            deaths = [killed(model, slide, folder / moment, inject) for inject in [*kills, None]]
            if deaths != [True] * len(kills) + [False]:
                sys.exit(f"{moment}: killed {deaths}")
            if moment == "never":
                needed_s = time.monotonic() - start
        for after_s in np.random.default_rng(0).uniform(0, needed_s, 6):
            killed(model, slide, folder / "at any moment", None, after_s)
        killed(model, slide, folder / "at any moment", None)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
