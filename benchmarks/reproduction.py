"""The engines side by side on the same tasks: one after the other, or on a local Ray cluster of two workers.

    python benchmarks/reproduction.py [EXPERIMENT]

Both run the folds of an experiment in turn, in one session, so that the ratio holds when the machine's speed drifts.
The first round on Ray is told apart: in it each worker imports what a task needs. Beside them stands what the store
costs: naming the tasks, looking for their results, writing each down. With two idle cores the engines' ratio would be
near 0.5; where cores are busy otherwise, a second worker gains little. Promise: the store needs less than 0.02 of the
time that the tasks take.
"""

import logging
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before anything counts cores; workers inherit it

import ray

from stlearn_lib.reproduction.catalogue import EXPERIMENTS
from stlearn_lib.reproduction.engines import Outcome, run_here, run_on_ray
from stlearn_lib.reproduction.store import Store
from stlearn_lib.reproduction.tasks import Task, plan

N_WORKERS, ROUNDS = 2, 3


def main(experiment: str = "within-C/ridge-colour") -> None:
    """Print the ratios."""
    tasks = plan(EXPERIMENTS[experiment])
    seconds(run_here, tasks)  # patches and features are cut and kept here
    logging.getLogger("ray").setLevel(logging.ERROR)
    start = time.perf_counter()
    ray.init("local", num_cpus=N_WORKERS, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    init_s = time.perf_counter() - start
    first_s, _ = seconds(run_on_ray, tasks)
    ratios, here, stored = [], [], []
    for _ in range(ROUNDS):
        here_s, outcomes = seconds(run_here, tasks)
        ratios.append(seconds(run_on_ray, tasks)[0] / here_s)
        here.append(here_s)
        stored.append(store_s(tasks, outcomes) / here_s)
    ray.shutdown()
    once = statistics.median(here)
    print(f"{experiment}: {len(tasks)} tasks, {once / len(tasks):.2f} s each")
    ratio, low, high = statistics.median(ratios), min(ratios), max(ratios)
    print(f"ray, {N_WORKERS} warm workers / here: {ratio:.2f} ({low:.2f} to {high:.2f})")
    print(f"ray's start: {init_s:.1f} s, and {first_s - once * ratio:.1f} s more in its first round")
    print(f"store / tasks: {statistics.median(stored):.4f} ({min(stored):.4f} to {max(stored):.4f})")


def seconds(engine: Callable[[Sequence[Task]], Iterator[Outcome]], tasks: list[Task]) -> tuple[float, list[Outcome]]:
    """Time an engine over the tasks."""
    start = time.perf_counter()
    outcomes = list(engine(tasks))
    spent = time.perf_counter() - start
    if failed := [outcome.error for outcome in outcomes if outcome.result is None]:
        sys.exit(failed[0])
    return spent, outcomes


def store_s(tasks: list[Task], outcomes: list[Outcome]) -> float:
    """Time what a run asks of the store: what is there, before and after, and every result written."""
    with tempfile.TemporaryDirectory() as folder:
        store, start = Store(folder), time.perf_counter()
        done = store.done(tasks)
        for outcome in outcomes:
            if outcome.task not in done and outcome.result is not None:
                store.write(outcome.result)
        store.done(tasks)
        return time.perf_counter() - start


if __name__ == "__main__":
    main(*sys.argv[1:])
