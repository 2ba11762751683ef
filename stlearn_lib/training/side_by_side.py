"""Several trainings at a time, in processes of their own."""

import warnings
from collections.abc import Callable, Mapping
from typing import Any

from joblib import Parallel, delayed, parallel_config


def side_by_side(
    train: Callable[..., Any], wanted: Mapping[Any, Mapping[str, Any]], *, n_processes: int = 2
) -> dict[Any, Any]:
    """Train several models at a time, each in a process of its own on one core.

    The results are those of one training after the other: no process sees another's random numbers, and one thread adds
    in one order. A process takes some seconds to start and is used again, so that only longer work gains.

    Args:
        train: What trains one model; defined in a notebook or in a module.
        wanted: For each training a key and the keyword arguments of `train`.
        n_processes: Trainings at a time; each process needs its own copy of the data.

    Returns:
        What `train` returned, by key, in the order of `wanted`.

    Raises:
        Exception: What `train` raises, of its own type.

    Example:
        >>> side_by_side(pow, {"square": {"base": 3, "exp": 2}, "cube": {"base": 3, "exp": 3}})
        {'square': 9, 'cube': 27}
    """
    with warnings.catch_warnings(), parallel_config("loky", n_jobs=n_processes, inner_max_num_threads=1):
        warnings.filterwarnings("ignore", "A worker stopped")  # joblib renews a process that has grown, and goes on
        results = Parallel()(delayed(train)(**arguments) for arguments in wanted.values())
    return dict(zip(wanted, results, strict=True))
