"""What runs tasks: one after the other here, or on a Ray cluster. Either gives the same results.

A task returns its result to the process that asked for it, which alone writes: no folder is shared between machines,
and a worker that dies leaves nothing behind.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import data_registry
from stlearn_lib.errors import ReproductionError, StlearnError
from stlearn_lib.reproduction.tasks import Result, Task, run_task


class Outcome(NamedTuple):
    """A task that has ended."""

    task: Task
    result: Result | None
    error: str
    """What went wrong; empty if nothing did."""


def run_here(tasks: Sequence[Task]) -> Iterator[Outcome]:
    """Run tasks one after the other in this process.

    A task that fails for a reason that its user can mend is an outcome, and the others go on; anything else is raised.

    Args:
        tasks: The tasks.

    Yields:
        Their outcomes, in order.
    """
    for task in tasks:
        yield _attempt(task)


def run_on_ray(
    tasks: Sequence[Task], *, address: str | None = None, cpus: float = 1, gpus: float = 0, retries: int = 3
) -> Iterator[Outcome]:
    """Run tasks on a Ray cluster, as many at a time as there is room for.

    Args:
        tasks: The tasks.
        address: The cluster's, such as ``"auto"`` on one of its machines; a cluster of this machine alone if None.
        cpus: Cores that a task takes.
        gpus: GPUs that a task takes; a fraction lets several share one.
        retries: How often a task is begun again whose worker died, killed or out of memory.

    Yields:
        Outcomes, as they come.

    Raises:
        ReproductionError: If Ray is not installed, or the cluster cannot be reached or has no machine with room for a
            task.

    Reference:
        Moritz et al., Ray: a distributed framework for emerging AI applications, OSDI 2018.
    """
    try:
        import ray
    except ImportError as error:
        raise ReproductionError("the engine ray needs Ray: pip install 'stlearn-lib[ray]'.") from error
    if not (cpus >= 0 and gpus >= 0) or (gpus > 1 and gpus % 1):
        raise ReproductionError(
            f"a task takes no {cpus:g} cores and {gpus:g} GPUs: shares are 0 or more, and more than one GPU are whole."
        )
    if not tasks:
        return
    own = {name: value for name, value in os.environ.items() if name.startswith(("STLEARN_", "OMP_", "OPENBLAS_"))}
    started = not ray.is_initialized()
    if started:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is reported to anyone
        try:
            ray.init(
                address=address or "local", log_to_driver=False, include_dashboard=False, runtime_env={"env_vars": own}
            )
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise ReproductionError(f"no Ray cluster at {address}: {error}") from error
    try:
        rooms = [(node["Resources"].get("CPU", 0), node["Resources"].get("GPU", 0)) for node in ray.nodes()]
        if not any(cpus <= cores and gpus <= cards for cores, cards in rooms):
            cores, cards = (max(room) for room in zip(*rooms, strict=True))
            raise ReproductionError(
                f"a task takes {cpus:g} cores and {gpus:g} GPUs, but no machine of the cluster has more than {cores:g} "
                f"and {cards:g}, or not both: lower --cpus-per-task or --gpus-per-task."
            )
        attempt = ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=retries)(_attempt)
        waiting = {attempt.remote(task): task for task in tasks}
        while waiting:
            (ended,), _ = ray.wait(list(waiting), num_returns=1)
            task = waiting.pop(ended)
            try:
                yield ray.get(ended)
            except ray.exceptions.RayTaskError:  # raised by the task, as it would be here
                raise
            except ray.exceptions.RayError as error:
                yield Outcome(task, None, f"its worker died {retries + 1} times: {str(error).splitlines()[0]}")
    finally:
        if started:
            ray.shutdown()


def _attempt(task: Task, run: Callable[[Task], Result] = run_task) -> Outcome:
    try:
        return Outcome(task, run(task), "")
    except (StlearnError, data_registry.DataError, OSError) as error:
        return Outcome(task, None, str(error))
