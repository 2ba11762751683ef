"""How far a score would move with other spots, or other sections: percentile bootstrap intervals.

Spots of one section resemble their neighbours, and sections of one patient resemble each other, so resampling spots
answers a narrow question (other spots of *these* sections) with a narrow interval. What a paper claims is about other
tissue: resample sections, or pass patients as ``sections`` where there are several of each.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from stlearn_lib.errors import EvaluationError
from stlearn_lib.evaluation.measures import checked_pair, rows_of_sections
from stlearn_lib.evaluation.weighted import MEASURES, uniform

Unit = Literal["spot", "section"]

_BATCH = 100  # resamples at a time: large enough for matrix products, small enough for any section


@dataclass(frozen=True)
class Interval:
    """A value and its bootstrap interval."""

    estimate: float
    """The measure on the spots as they are."""
    low: float
    high: float
    level: float
    """Nominal coverage, such as 0.95."""
    n_resamples: int
    """Resamples in which the measure was defined."""
    unit: Unit
    """What was drawn with replacement."""


def bootstrap_interval(
    truth: ArrayLike,
    prediction: ArrayLike,
    measure: str,
    *,
    sections: Sequence[str] | None = None,
    unit: Unit = "spot",
    n_resamples: int = 1000,
    level: float = 0.95,
    seed: int,
) -> Interval:
    r"""Percentile bootstrap interval of a measure.

    .. math:: [\,Q_{\alpha/2}(\hat\theta^*),\; Q_{1-\alpha/2}(\hat\theta^*)\,], \qquad \alpha = 1 - \text{level}

    over resamples drawn with replacement: ``unit="spot"`` draws spots, within each section where sections are given, so
    that every section keeps its size; ``unit="section"`` draws whole sections. The measure is computed on the pooled
    spots of each resample, `heg` and `best` choosing their 50 genes anew. The prediction is fixed: an interval says
    nothing about training again. With few sections (below ten or so) the section interval is too narrow, as there are
    few ways to draw them. `best` picks maxima, so its resamples sit above its estimate.

    Args:
        truth: (N, G) measured expression.
        prediction: (N, G) predicted expression.
        measure: ``"acg"``, ``"heg"``, ``"best"``, ``"per_spot"``, ``"mse"``, ``"mae"`` or ``"r2"``, as in `Scores`.
        sections: (N,) the section (or patient) of each spot.
        unit: What is drawn with replacement, ``"spot"`` or ``"section"``.
        n_resamples: Number of resamples.
        level: Nominal coverage, between 0 and 1.
        seed: Seed of the draws; the same seed and sections give the same resamples.

    Returns:
        The `Interval`; NaN where the measure is undefined in every resample.

    Raises:
        EvaluationError: Truth and prediction do not fit, the measure or unit is unknown, fewer than two sections for
            ``unit="section"``, or level or n_resamples are out of range.

    Example:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> truth = rng.normal(size=(200, 3))
        >>> interval = bootstrap_interval(truth, truth + rng.normal(size=(200, 3)), "acg", seed=1)
        >>> round(interval.low, 2), round(interval.estimate, 2), round(interval.high, 2)  # true value: 0.71
        (0.7, 0.74, 0.78)

    Reference:
        Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13.
    """
    truth, prediction = checked_pair(truth, prediction)
    compute = _measure(measure)
    return _interval(lambda w: compute(truth, prediction, w), len(truth), sections, unit, n_resamples, level, seed)


def paired_difference(
    truth: ArrayLike,
    first: ArrayLike,
    second: ArrayLike,
    measure: str,
    *,
    sections: Sequence[str] | None = None,
    unit: Unit = "spot",
    n_resamples: int = 1000,
    level: float = 0.95,
    seed: int,
) -> Interval:
    """Percentile bootstrap interval of ``measure(first) - measure(second)``, both on the same resamples.

    What is hard for one prediction is hard for the other: on the same resamples that cancels, and the interval is much
    narrower than two separate ones suggest. An interval that leaves out 0 says that the two differ.

    Args:
        truth: (N, G) measured expression.
        first: (N, G) prediction.
        second: (N, G) the prediction to compare it with.
        measure: As in `bootstrap_interval`. For errors, a negative difference favours ``first``.
        sections: (N,) the section (or patient) of each spot.
        unit: What is drawn with replacement, ``"spot"`` or ``"section"``.
        n_resamples: Number of resamples.
        level: Nominal coverage, between 0 and 1.
        seed: Seed of the draws.

    Returns:
        The `Interval` of the difference.

    Raises:
        EvaluationError: As `bootstrap_interval`.

    Example:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> truth, noise = rng.normal(size=(2, 200, 3))
        >>> difference = paired_difference(truth, truth + noise, truth + 1.1 * noise, "mse", seed=1)
        >>> difference.high < 0
        True
    """
    compute = _measure(measure)
    truth, first = checked_pair(truth, first)
    truth, second = checked_pair(truth, second)
    return _interval(
        lambda w: compute(truth, first, w) - compute(truth, second, w),
        len(truth),
        sections,
        unit,
        n_resamples,
        level,
        seed,
    )


def _measure(name: str) -> Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]:
    if name not in MEASURES:
        raise EvaluationError(f"unknown measure {name!r}: choose one of {', '.join(MEASURES)}")
    return MEASURES[name]


def _interval(
    statistic: Callable[[np.ndarray], np.ndarray],
    n_spots: int,
    sections: Sequence[str] | None,
    unit: Unit,
    n_resamples: int,
    level: float,
    seed: int,
) -> Interval:
    """The interval of a statistic that maps weights (R, N) to values (R,)."""
    if not 0 < level < 1 or n_resamples < 1:
        raise EvaluationError(f"level {level} and {n_resamples} resamples: level is between 0 and 1, resamples from 1")
    draws = np.concatenate([statistic(w) for w in resamples(n_spots, sections, unit, n_resamples, seed)])
    draws = draws[~np.isnan(draws)]
    tail = (1 - level) / 2
    low, high = np.quantile(draws, [tail, 1 - tail]) if len(draws) else (np.nan, np.nan)
    return Interval(float(statistic(uniform(n_spots))[0]), float(low), float(high), level, len(draws), unit)


def resamples(
    n_spots: int, sections: Sequence[str] | None, unit: Unit, n_resamples: int, seed: int
) -> Iterator[np.ndarray]:
    """How often each spot is in each resample, (R, N), in batches."""
    rng = np.random.default_rng(seed)
    strata = list(rows_of_sections(sections, n_spots).values())
    if unit not in ("spot", "section"):
        raise EvaluationError(f"unknown unit {unit!r}: choose spot or section")
    if unit == "section" and len(strata) < 2:
        raise EvaluationError(f"{len(strata)} sections cannot be resampled: give the names of two or more")
    for start in range(0, n_resamples, _BATCH):
        size = min(_BATCH, n_resamples - start)
        counts = np.empty((size, n_spots))
        if unit == "section":
            for rows, times in zip(strata, _counts(rng, size, len(strata)).T, strict=True):
                counts[:, rows] = times[:, None]
        else:
            for rows in strata or [np.arange(n_spots)]:
                counts[:, rows] = _counts(rng, size, len(rows))
        yield counts


def _counts(rng: np.random.Generator, size: int, n: int) -> np.ndarray:
    """How often each of n things comes up in n draws with replacement, for ``size`` resamples: (size, n)."""
    draws = rng.integers(n, size=(size, n)) + n * np.arange(size)[:, None]  # one bincount for all resamples
    return np.bincount(draws.ravel(), minlength=size * n).reshape(size, n)
