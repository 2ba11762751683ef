"""Fills stores of results, again and again: a process is killed at a chosen moment, and another one goes on.

`test_store.py` runs it as a script: ``python killed.py PREPARED FOLDER``. The results are in ``FOLDER/<store>``:
``undisturbed``, ``killed`` by turns at each of the moments, and ``shared`` by two processes at a time.
"""

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from stlearn_lib.cli import app
from stlearn_lib.data.synthetic import gene_names
from stlearn_lib.reproduction import tasks
from stlearn_lib.reproduction.prepared import load_prepared, patients_of

FOLDS = "P2_ST_rep1,P2_ST_rep2,P5_ST_rep1,P9_ST_rep3,P10_ST_rep1"
COMMAND = ("reproduce", "run", "mclstexp/cscc", "--preset", "oracle", "--folds", FOLDS, "--seeds", "0,1")


def die() -> None:
    """End as a process does whose machine is switched off: nothing is closed, nothing is written."""
    os.kill(os.getpid(), signal.SIGKILL)


def in_task(n: int) -> Callable[[], None]:
    """While the n-th task of this process is computed."""

    def inject() -> None:
        before, predict = iter(range(1, n)), tasks._regions
        tasks._regions = lambda *some: predict(*some) if next(before, None) else die()

    return inject


def half_written(suffix: str, n: int) -> Callable[[], None]:
    """When the n-th file of this suffix is to get its final name, and half of it is on the disk."""

    def inject() -> None:
        replace, before = Path.replace, iter(range(1, n))

        def dying(self: Path, target: Path) -> None:
            if target.suffix == suffix and next(before, None) is None:
                os.truncate(self, self.stat().st_size // 2)
                die()
            replace(self, target)

        Path.replace = dying

    return inject


def in_place(name: str, n: int) -> Callable[[], None]:
    """As soon as the n-th file whose name begins so has its final name."""

    def inject() -> None:
        replace, before = Path.replace, iter(range(1, n))

        def dying(self: Path, target: Path) -> None:
            replace(self, target)
            if target.name.startswith(name) and next(before, None) is None:
                die()

        Path.replace = dying

    return inject


MOMENTS = {
    "in the first task": in_task(1),
    "while the third result is written": half_written(".json", 3),
    "when the fourth result is in its place": in_place("P", 4),
    "in the middle of the others": in_task(2),
    "while the ledger is written": half_written(".parquet", 1),
    "between the ledger and its copy": in_place("ledger.parquet", 1),
    "while the copy is written": half_written(".csv", 1),
    "while the genes are written": half_written(".parquet", 2),
}


def start(prepared: Path, store: Path, inject: Callable[[], None] | None = None) -> int:
    """Run the command in a process of its own. All of them share what is imported by now."""
    process = os.fork()
    if not process:
        if inject:
            inject()
        app([*COMMAND, "--prepared", str(prepared), "--results", str(store)], standalone_mode=False)
        os._exit(0)
    return process


def killed(process: int) -> bool:
    """Wait for a process to end; it was killed or all went well."""
    status = os.waitpid(process, 0)[1]
    if status and not os.WIFSIGNALED(status):
        sys.exit("a command failed")
    return os.WIFSIGNALED(status)


def main(prepared: Path, folder: Path) -> None:
    """Fill the three stores."""
    tasks.load_gene_list = lambda name, **_: gene_names()
    load_prepared("cscc", list(patients_of("cscc", prepared)), prepared)  # once for all
    if killed(start(prepared, folder / "undisturbed")):
        sys.exit("undisturbed: killed")
    for moment, inject in MOMENTS.items():
        if not killed(start(prepared, folder / "killed", inject)):
            sys.exit(f"{moment}: not killed")
        for path in (folder / "killed").glob("tasks/**/[!.]*"):
            if path.is_file():
                json.loads(path.read_text())
    if killed(start(prepared, folder / "killed")):
        sys.exit("at the end: killed")
    both = [start(prepared, folder / "shared") for _ in range(2)]
    if any([killed(process) for process in both]):
        sys.exit("shared: killed")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
