"""Expression predicted from frozen features, as RankByGene evaluates it: who is held out, and over what r is taken.

Two choices of the released code raise its numbers or make them hard to compare. Its five folds divide *spots*, so that
a spot's neighbours in its section are trained on. Its correlation is taken within batches of 64 spots, of predictions
rounded to half precision, and averaged. Here either stands beside the plain choice.
"""

import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from sklearn.model_selection import GroupKFold, KFold

from stlearn_lib.errors import EvaluationError, UndefinedGeneWarning
from stlearn_lib.evaluation.measures import checked_pair, pearson_per_gene

FitPredict = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
"""From training features (N, D), training expression (N, G) and other features (M, D) to their expression (M, G)."""

HELD_OUT = ("spots", "sections")
N_TOP = 250


def pearson_per_batch(truth: ArrayLike, prediction: ArrayLike, *, batch_size: int = 64) -> float:
    """Return the mean Pearson correlation within batches of spots, as RankByGene's released code takes it.

    Spots are batched in their order, and predictions rounded to half precision. Genes that do not vary within a batch
    are left out of it; so is a last batch of a single spot.

    Args:
        truth: (N, G) measured expression.
        prediction: (N, G) predicted expression.
        batch_size: Spots of a batch.

    Returns:
        The mean over batches of the mean over genes; NaN if nothing varies.

    Raises:
        EvaluationError: As `pearson_per_gene`, or if a batch has fewer than two spots.

    Example:
        >>> truth = np.array([[0.0], [1.0], [10.0], [11.0]])
        >>> pearson_per_batch(truth, -truth + [[0], [0], [25], [25]], batch_size=2)  # within batches all is reversed
        -1.0

    Reference:
        Code winston52/RankByGene @ 96a1549.
    """
    truth, prediction = checked_pair(truth, prediction)
    if batch_size < 2:
        raise EvaluationError(f"batch_size must be at least 2, not {batch_size}: a spot alone has no correlation.")
    rounded = prediction.astype(np.float16).astype(np.float64)
    batches = [slice(start, start + batch_size) for start in range(0, len(truth) - 1, batch_size)]
    means = [_mean_r(truth[batch], rounded[batch]) for batch in batches]
    return float(np.nanmean(means)) if np.isfinite(means).any() else float("nan")


def predict_held_out(
    features: Sequence[np.ndarray],
    truths: Sequence[np.ndarray],
    fit_predict: FitPredict,
    *,
    held_out: Literal["spots", "sections"] = "sections",
    n_splits: int = 5,
    seed: int = 0,
) -> pd.DataFrame:
    """Predict every spot by a model that was not trained on it, and score each fold.

    Args:
        features: Frozen features of each section, (N_s, D).
        truths: Expression of each section, (N_s, G).
        fit_predict: What learns and predicts.
        held_out: ``"sections"``, whole; or ``"spots"``, as released: then the others of a section are trained on.
        n_splits: Folds.
        seed: By which spots are shuffled.

    Returns:
        One row for each fold and set of genes: ``held_out``, ``fold``, ``genes`` (``"all"``, or ``"top 250"`` by their
        mean in training), ``n_spots``, ``r``, the mean correlation over the whole fold, and ``r_per_batch``, see
        `pearson_per_batch`.

    Raises:
        EvaluationError: If features and expression do not fit, or there are fewer spots or sections than folds.

    Example:
        >>> features = [np.random.default_rng(s).normal(size=(9, 2)) for s in range(3)]
        >>> table = predict_held_out(features, features, lambda x, y, other: other, n_splits=3)
        >>> table["r"].round(6).unique(), table["genes"].unique()
        (array([1.]), array(['all'], dtype=object))

    Reference:
        RankByGene, arXiv 2411.15076, code winston52/RankByGene @ 96a1549, whose folds are of spots.
    """
    if [len(part) for part in features] != [len(part) for part in truths] or not features:
        sizes = [len(part) for part in features], [len(part) for part in truths]
        raise EvaluationError(f"sections with the same spots are needed, not {sizes[0]} and {sizes[1]} of them.")
    if held_out not in HELD_OUT:
        raise EvaluationError(f"held_out must be one of {', '.join(HELD_OUT)}, not {held_out!r}.")
    x, y = np.concatenate(features), np.concatenate(truths)
    n_units = len(x) if held_out == "spots" else len(features)
    if not 2 <= n_splits <= n_units:
        raise EvaluationError(f"{n_units} {held_out} cannot be divided into {n_splits} folds.")
    sections = np.repeat(np.arange(len(features)), [len(part) for part in features])
    rows = []
    for fold, (train, test) in enumerate(_folds(x, sections, held_out, n_splits, seed), start=1):
        prediction = fit_predict(x[train], y[train], x[test])
        by_mean = np.argsort(-y[train].mean(axis=0), kind="stable")
        for genes, chosen in {"all": by_mean, f"top {N_TOP}": by_mean[:N_TOP]}.items():
            if genes == "all" or len(by_mean) > N_TOP:
                scored = y[test][:, chosen], prediction[:, chosen]
                r = {"r": _mean_r(*scored), "r_per_batch": pearson_per_batch(*scored)}
                rows.append({"held_out": held_out, "fold": fold, "genes": genes, "n_spots": len(test), **r})
    return pd.DataFrame(rows)


def _folds(
    x: np.ndarray, sections: np.ndarray, held_out: str, n_splits: int, seed: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    if held_out == "spots":
        yield from KFold(n_splits, shuffle=True, random_state=seed).split(x)
    else:
        yield from GroupKFold(n_splits).split(x, groups=sections)


def _mean_r(truth: np.ndarray, prediction: np.ndarray) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UndefinedGeneWarning)  # within a batch many genes are constant
        r = pearson_per_gene(truth, prediction)
    return float(np.nanmean(r)) if np.isfinite(r).any() else float("nan")
