"""Kills a work at random moments, fifty times: what is on the disk then is whole, and the work ends as if undisturbed.

`test_kills.py` runs it as a script: ``python kills.py WORK FOLDER``, and reads what it prints: where the kills hit.
"""

import json
import os
import re
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tests.robustness.works import WORKS, ended, start

KILLS = 50


def slowly(replace: Callable[[Path, Path], Path]) -> Callable[[Path, Path], Path]:
    """Leave a while in which a file is written, and has not its final name."""

    def slow(self: Path, target: Path) -> Path:
        time.sleep(0.01)
        return replace(self, target)

    return slow


def look(folder: Path) -> tuple[str, int, int]:
    """Return what is on the disk, in words without random parts, its size, and how many files nobody will use again."""
    files = [path for path in folder.rglob("*") if path.is_file() and "tensorboard" not in path.parts]
    kinds = sorted({re.sub("[0-9a-f]{16,}|[0-9]+", "*", str(path.relative_to(folder))) for path in files})
    size = sum(path.stat().st_size for path in files)
    hidden = [path for path in files if path.name.startswith(".") and path.name != ".lock"]
    return " ".join(kinds) or "nothing", size, len(hidden)


def main(name: str, folder: Path) -> None:
    """Kill one work, and print what was seen."""
    tempfile.tempdir = str(folder / "tmp")  # where libraries put files of their own
    Path.replace = slowly(Path.replace)
    (folder / "scratch").mkdir()
    (folder / "tmp").mkdir()
    work, rng = WORKS[name](folder / "scratch"), np.random.default_rng(20)
    seconds = []
    for i in range(3):  # the first is slower than all that follow
        began = time.perf_counter()
        assert not ended(start(work, folder / f"undisturbed{i}"))
        seconds.append(time.perf_counter() - began)
    expected, finished, most = work.result(folder / "undisturbed0"), 0, 0
    states, sizes = Counter[str](), set()
    while states.total() < KILLS:
        current = folder / f"killed{finished}"
        process = start(work, current)
        time.sleep(rng.random() * min(seconds))
        os.kill(process, signal.SIGKILL)
        if ended(process):
            work.check(current)
            state, size, hidden = look(current)
            states[state] += 1
            sizes.add(size)
            most = max(most, hidden)
        else:  # it was done before: the next kills meet another one
            assert work.result(current) == expected, f"{current} ended otherwise"
            finished += 1
    assert not ended(start(work, folder / f"killed{finished}"))
    assert work.result(folder / f"killed{finished}") == expected, "the last one ended otherwise"
    work.end()
    elsewhere = [path.name for path in (folder / "tmp").iterdir() if path.is_file()]
    seen = {"kills": states.total(), "states": states, "sizes": len(sizes), "hidden": most, "elsewhere": elsewhere}
    sys.stdout.write(json.dumps(seen | {"finished": finished, "seconds": min(seconds)}))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
