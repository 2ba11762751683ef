"""How unsure a prediction is: among what it was borrowed, how it moves with the training spots, or with the seed."""

from collections.abc import Iterable, Sequence

import numpy as np

from stlearn_lib.retrieval import Neighbours

_MAX_BYTES = 256 * 2**20


def borrowed_spread(found: Neighbours, values: np.ndarray, *, max_bytes: int = _MAX_BYTES) -> np.ndarray:
    r"""Weighted standard deviation of the values that a retrieval averages.

    $$s_{qg} = \sqrt{\textstyle\sum_k w_{qk} (y_{kg} - \hat y_{qg})^2}, \qquad
    \hat y_{qg} = \textstyle\sum_k w_{qk}\, y_{kg}, \quad \textstyle\sum_k w_{qk} = 1$$

    Args:
        found: The keys behind each of N predictions, see `retrieval.nearest_keys`.
        values: What is known of the keys, (M, G).
        max_bytes: Working memory of a chunk of predictions, at least one at a time.

    Returns:
        The spread, (N, G).

    Example:
        >>> found = Neighbours(np.array([[0, 1]]), np.array([[0.5, 0.5]]))
        >>> borrowed_spread(found, np.array([[1.0], [5.0]]))
        array([[2.]])
    """
    indices, weights = (np.asarray(part) for part in found)
    spread = np.empty((len(indices), values.shape[1]), dtype=values.dtype)
    chunk = max(1, max_bytes // (indices.shape[1] * values.shape[1] * values.itemsize))
    for start in range(0, len(indices), chunk):
        rows = slice(start, start + chunk)
        borrowed = values[indices[rows]]  # (chunk, k, G)
        borrowed -= np.einsum("qk,qkg->qg", weights[rows], borrowed)[:, None]
        np.square(borrowed, out=borrowed)
        spread[rows] = np.sqrt(np.einsum("qk,qkg->qg", weights[rows], borrowed))
    return spread


def mean_and_spread(predictions: Iterable[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation (of one degree of freedom less) of two or more predictions, one in memory at a time.

    Args:
        predictions: Arrays of one shape.

    Returns:
        Their mean and their standard deviation, float64.

    Example:
        >>> mean_and_spread(iter([np.array([1.0]), np.array([2.0]), np.array([3.0])]))
        (array([2.]), array([1.]))

    Reference:
        Welford, Technometrics 4 (1962) 419.
    """
    mean, squares, n = np.zeros(()), np.zeros(()), 0
    for n, prediction in enumerate(predictions, start=1):
        difference = prediction - mean
        mean = mean + difference / n
        squares = squares + difference * (prediction - mean)
    return mean, np.sqrt(squares / (n - 1))


def hierarchical_resample(n_spots: Sequence[int], rng: np.random.Generator) -> np.ndarray:
    """Draw as many sections as there are with replacement, then within each of them as many spots as it has.

    Sections differ more than spots of one section do: a resample of spots alone would make a fit look too sure. Of a
    single section nothing but its spots can be drawn.

    Args:
        n_spots: Spots of each section.
        rng: Where the draws come from.

    Returns:
        How often each spot is drawn, (N,) whole numbers.

    Example:
        >>> counts = hierarchical_resample([3, 3], np.random.default_rng(0))
        >>> counts.shape, int(counts.sum())
        ((6,), 6)
    """
    counts = [np.zeros(n, dtype=np.int64) for n in n_spots]
    for s in rng.integers(len(n_spots), size=len(n_spots)):
        counts[s] += np.bincount(rng.integers(n_spots[s], size=n_spots[s]), minlength=n_spots[s])
    return np.concatenate(counts)


def weighted_ridge(
    inputs: np.ndarray, values: np.ndarray, counts: np.ndarray, alpha: float
) -> tuple[np.ndarray, np.ndarray]:
    r"""Ridge regression in which row n stands for $c_n$ rows alike; the intercept is not penalised.

    $$W = \big(X^\top C X - c\, \bar x \bar x^\top + \alpha I\big)^{-1} \big(X^\top C Y - c\, \bar x \bar y^\top\big),
    \qquad c = \textstyle\sum_n c_n$$

    with $C$ the diagonal matrix of the counts and $\bar x$, $\bar y$ the means over all rows.

    Args:
        inputs: X, (N, D).
        values: Y, (N, G).
        counts: $c_n$, (N,), 0 or more.
        alpha: Strength of the penalty, above 0.

    Returns:
        Weights (D, G) and intercept (G,).
    """
    total = counts.sum()
    weighted = inputs * counts[:, None]
    x_mean, y_mean = weighted.sum(axis=0) / total, counts @ values / total
    gram = weighted.T @ inputs - total * np.outer(x_mean, x_mean) + alpha * np.eye(inputs.shape[1])
    weights = np.linalg.solve(gram, weighted.T @ values - total * np.outer(x_mean, y_mean))
    return weights, y_mean - x_mean @ weights
