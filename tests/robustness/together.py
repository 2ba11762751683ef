"""Does a work in two processes at once, ten times; `test_together.py` runs it: ``python together.py WORK FOLDER``."""

import json
import sys
from pathlib import Path

from tests.robustness.works import REFUSED, WORKS, ended, start

TIMES = 10


def main(name: str, folder: Path) -> None:
    """Do one work, and print how often a process was turned away."""
    (folder / "scratch").mkdir()
    work = WORKS[name](folder / "scratch")
    ended(start(work, folder / "alone"))
    expected, refused = work.result(folder / "alone"), 0
    for i in range(TIMES):
        shared = folder / f"shared{i}"
        codes = [ended(process) for process in [start(work, shared) for _ in range(2)]]
        assert 0 in codes, "both were turned away"
        refused += codes.count(REFUSED)
        work.check(shared)
        assert work.result(shared) == expected, f"{shared} ended otherwise"
        hidden = [path for path in shared.rglob(".*") if path.name != ".lock"]
        assert not hidden, hidden
    work.end()
    sys.stdout.write(json.dumps({"refused": refused}))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
