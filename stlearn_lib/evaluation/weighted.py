"""Measures of weighted spots, so that a score and its thousand resamples are one and the same formula.

A resample of N spots is a row of N weights: how often each spot was drawn. R resamples are then a matrix (R, N), and
every measure below is a handful of matrix products with it; a single row of ones gives the plain measure. Arguments
are checked float64 arrays: truth (N, G), prediction (N, G), weights (R, N). Results are (R, G) per gene, and (R,) for
the entries of `MEASURES`.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np

ROUNDING = 1e-12
"""Relative differences up to this are taken for rounding: float64 keeps 16 digits, sums over spots lose a few."""


def uniform(n: int) -> np.ndarray:
    """The (1, N) weights that make a weighted measure the plain one: every spot once."""
    return np.ones((1, n))


def mean(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted mean of each gene over the spots, (R, G); sums of counts are exact, so equal genes stay equal."""
    return weights @ values / weights.sum(1, keepdims=True)


def pearson(truth: np.ndarray, prediction: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Correlation of each gene over the spots, (R, G); NaN where either side is constant."""
    t, p = truth - truth.mean(0), prediction - prediction.mean(0)
    covariance = mean(t * p, weights) - mean(t, weights) * mean(p, weights)
    t_variance, t_defined = variance(truth, weights)
    p_variance, p_defined = variance(prediction, weights)
    spread = np.sqrt(t_variance) * np.sqrt(p_variance)
    r = np.divide(covariance, spread, out=np.full(spread.shape, np.nan), where=t_defined & p_defined)
    return np.clip(r, -1.0, 1.0)


def variance(values: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Variance of each gene over the spots, (R, G), and whether it is more than rounding."""
    centred = values - values.mean(0)  # sums of squares around the overall mean do not cancel, raw ones would
    second_moment = mean(centred**2, weights)
    about_own_mean = np.maximum(second_moment - mean(centred, weights) ** 2, 0.0)
    # A gene can also be constant among just those spots that a resample drew; its variance is then what rounding left.
    return about_own_mean, ~constant(values) & (about_own_mean > ROUNDING * second_moment)


def constant(values: np.ndarray) -> np.ndarray:
    """Genes whose values are all equal, up to rounding, (G,)."""
    return np.ptp(values, axis=0) <= ROUNDING * np.abs(values).max(0)


def mse(truth: np.ndarray, prediction: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mean squared error of each gene, (R, G)."""
    return mean((prediction - truth) ** 2, weights)


def mae(truth: np.ndarray, prediction: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mean absolute error of each gene, (R, G)."""
    return mean(np.abs(prediction - truth), weights)


def r2(truth: np.ndarray, prediction: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Explained share of each gene's variance, (R, G); NaN where the truth is constant."""
    total, defined = variance(truth, weights)
    return 1.0 - np.divide(mse(truth, prediction, weights), total, out=np.full(total.shape, np.nan), where=defined)


def mean_of_defined(values: np.ndarray) -> np.ndarray:
    """Mean over the last axis without its NaN; NaN where nothing is left."""
    defined = ~np.isnan(values)
    total, count = np.where(defined, values, 0.0).sum(-1), defined.sum(-1)
    return np.divide(total, count, out=np.full(np.shape(total), np.nan), where=count > 0)


def mean_of_expressed(r: np.ndarray, expression: np.ndarray, k: int) -> np.ndarray:
    """Mean of r over the k genes of highest expression; equal expression keeps the genes' order."""
    genes = np.argsort(-expression, axis=-1, kind="stable")[..., :k]
    return mean_of_defined(np.take_along_axis(r, genes, axis=-1))


def mean_of_best(r: np.ndarray, k: int) -> np.ndarray:
    """Mean of the k largest r."""
    return mean_of_defined(-np.sort(-r, axis=-1)[..., :k])  # NaN sorts last


def _per_spot(truth: np.ndarray, prediction: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mean over the defined spots of the correlation over the genes, (R,)."""
    r = pearson(truth.T, prediction.T, uniform(truth.shape[1]))[0]
    defined = ~np.isnan(r)
    total, share = weights @ np.where(defined, r, 0.0), weights @ defined
    return np.divide(total, share, out=np.full(total.shape, np.nan), where=share > 0)


MEASURES: Mapping[str, Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]] = MappingProxyType(
    {
        "acg": lambda t, p, w: mean_of_defined(pearson(t, p, w)),
        "heg": lambda t, p, w: mean_of_expressed(pearson(t, p, w), mean(t, w), k=50),
        "best": lambda t, p, w: mean_of_best(pearson(t, p, w), k=50),
        "per_spot": _per_spot,
        "mse": lambda t, p, w: mse(t, p, w).mean(-1),
        "mae": lambda t, p, w: mae(t, p, w).mean(-1),
        "r2": lambda t, p, w: mean_of_defined(r2(t, p, w)),
    }
)
"""The measures that can be resampled, under their names in `Scores`. Rank correlation is not one: ranks change with
every resample."""
