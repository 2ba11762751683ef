"""How well a prediction fits: correlation per gene and per spot, its published summaries, and errors.

Every function takes the truth (N, G) and a prediction (N, G) of the same spots and genes, as arrays, and computes in
float64. Three summaries of the same per-gene correlations go by the name of "Pearson" in the literature: `acg` (all
considered genes), `heg` (the 50 most highly expressed) and `best` (the 50 best predicted). The last one chooses its
genes by looking at the answer, and is the highest of the three by construction.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.stats import rankdata

from stlearn_lib.errors import EvaluationError, UndefinedGeneWarning
from stlearn_lib.evaluation import weighted

_TOP = 50


def pearson_per_gene(truth: ArrayLike, prediction: ArrayLike) -> np.ndarray:
    r"""Pearson correlation over the spots, for each gene.

    .. math:: r_g = \frac{\sum_n (t_{ng} - \bar t_g)(p_{ng} - \bar p_g)}
        {\sqrt{\sum_n (t_{ng} - \bar t_g)^2}\sqrt{\sum_n (p_{ng} - \bar p_g)^2}}

    A gene that is constant in the truth or in the prediction has no correlation: NaN, and a warning that counts such
    genes. Constant means equal up to rounding: a range of at most 1e-12 of the largest absolute value.

    Args:
        truth: (N, G) measured expression.
        prediction: (N, G) predicted expression, same spots and genes.

    Returns:
        (G,) correlations in [-1, 1] or NaN.

    Raises:
        EvaluationError: Shapes differ, a number is NaN or infinite, or there are fewer than two spots.

    Warns:
        UndefinedGeneWarning: Some genes are NaN.

    Example:
        >>> pearson_per_gene([[0, 1], [1, 2], [2, 0]], [[1, 5], [2, 6], [3, 4]])
        array([1., 1.])
    """
    truth, prediction = checked_pair(truth, prediction)
    return _warned(weighted.pearson(truth, prediction, weighted.uniform(len(truth)))[0])


def spearman_per_gene(truth: ArrayLike, prediction: ArrayLike) -> np.ndarray:
    """Spearman rank correlation over the spots, for each gene: Pearson's r of the ranks, ties at their mean rank.

    Counts are full of tied zeros; ties are what keeps this from reaching 1 even for a perfect order of the rest.

    Args:
        truth: (N, G) measured expression.
        prediction: (N, G) predicted expression.

    Returns:
        (G,) correlations in [-1, 1]; NaN for constant genes.

    Raises:
        EvaluationError: As `pearson_per_gene`.

    Warns:
        UndefinedGeneWarning: Some genes are NaN.

    Example:
        >>> spearman_per_gene([[0.0], [1.0], [2.0]], [[1.0], [10.0], [1000.0]])
        array([1.])
    """
    truth, prediction = checked_pair(truth, prediction)
    return _warned(weighted.pearson(_ranks(truth), _ranks(prediction), weighted.uniform(len(truth)))[0])


def pearson_per_spot(truth: ArrayLike, prediction: ArrayLike) -> np.ndarray:
    """Pearson correlation over the genes, for each spot.

    Mostly high and mostly uninformative: some genes are always higher than others, and the training mean knows that.

    Args:
        truth: (N, G) measured expression.
        prediction: (N, G) predicted expression.

    Returns:
        (N,) correlations in [-1, 1]; NaN for a spot whose genes are all equal, such as an empty one.

    Raises:
        EvaluationError: As `pearson_per_gene`.

    Example:
        >>> pearson_per_spot([[0, 1, 2], [3, 0, 1]], [[1, 2, 3], [0, 3, 2]])
        array([ 1., -1.])
    """
    truth, prediction = checked_pair(truth, prediction)
    return weighted.pearson(truth.T, prediction.T, weighted.uniform(truth.shape[1]))[0]


def acg(truth: ArrayLike, prediction: ArrayLike) -> float:
    """Mean of `pearson_per_gene` over *all considered genes* for which it is defined.

    Args:
        truth: (N, G) measured expression.
        prediction: (N, G) predicted expression.

    Returns:
        Mean correlation; NaN if no gene is defined.

    Raises:
        EvaluationError: As `pearson_per_gene`.

    Warns:
        UndefinedGeneWarning: Some genes were left out.

    Example:
        >>> round(acg([[0, 1], [1, 2], [2, 0]], [[1, 4], [2, 5], [3, 6]]), 3)  # r = 1 and -0.5
        0.25

    Reference:
        mclSTExp, arXiv:2407.08216, "PCC (ACG)".
    """
    return float(weighted.mean_of_defined(pearson_per_gene(truth, prediction)))


def heg(
    truth: ArrayLike, prediction: ArrayLike, *, k: int = _TOP, expression_for_ranking: ArrayLike | None = None
) -> float:
    """Mean of `pearson_per_gene` over the k most *highly expressed genes*.

    Genes are ranked by their mean in the truth being scored, as the papers do, which ties the choice of genes to the
    test data; pass the means of the training sections to fix it beforehand. Equal means keep the genes' order.
    Genes without a correlation are not replaced by the next ones, so that every method is scored on the same genes.

    Args:
        truth: (N, G) measured expression.
        prediction: (N, G) predicted expression.
        k: Number of genes; all of them where there are fewer.
        expression_for_ranking: (G,) mean expression to rank by.

    Returns:
        Mean correlation; NaN if none of the k genes is defined.

    Raises:
        EvaluationError: As `pearson_per_gene`; k is below 1, or the ranking has another length.

    Warns:
        UndefinedGeneWarning: Some genes are NaN.

    Example:
        >>> truth, prediction = [[0, 5], [1, 6], [2, 4]], [[1, 4], [2, 5], [3, 6]]
        >>> heg(truth, prediction, k=1)
        -0.5
        >>> heg(truth, prediction, k=1, expression_for_ranking=[3.0, 2.0])
        1.0

    Reference:
        mclSTExp, arXiv:2407.08216, "PCC (HEG)".
    """
    truth, prediction = checked_pair(truth, prediction)
    expression = _ranking(truth, expression_for_ranking)
    return float(weighted.mean_of_expressed(pearson_per_gene(truth, prediction), expression, _checked_k(k)))


def best(truth: ArrayLike, prediction: ArrayLike, *, k: int = _TOP) -> float:
    """Mean of the k largest values of `pearson_per_gene`, which NH2ST calls R.

    The genes are chosen by their score on the test data: noise alone makes this positive, and more so the more genes
    there are. Compare it only with other methods' `best` over the same genes.

    Args:
        truth: (N, G) measured expression.
        prediction: (N, G) predicted expression.
        k: Number of genes; all defined ones where there are fewer.

    Returns:
        Mean correlation; NaN if no gene is defined.

    Raises:
        EvaluationError: As `pearson_per_gene`; k is below 1.

    Warns:
        UndefinedGeneWarning: Some genes are NaN.

    Example:
        >>> best([[0, 1], [1, 2], [2, 0]], [[1, 4], [2, 5], [3, 6]], k=1)
        1.0

    Reference:
        NH2ST, arXiv:2506.23827.
    """
    return float(weighted.mean_of_best(pearson_per_gene(truth, prediction), _checked_k(k)))


def mse_per_gene(truth: ArrayLike, prediction: ArrayLike) -> np.ndarray:
    r"""Mean squared error over the spots, for each gene, in squared units of the expression space.

    .. math:: \mathrm{MSE}_g = \frac{1}{N} \sum_n (p_{ng} - t_{ng})^2

    Args:
        truth: (N, G) measured expression.
        prediction: (N, G) predicted expression.

    Returns:
        (G,) errors; their mean is the MSE over all spots and genes.

    Raises:
        EvaluationError: As `pearson_per_gene`.

    Example:
        >>> mse_per_gene([[0.0, 1.0], [2.0, 1.0]], [[1.0, 1.0], [0.0, 1.0]])
        array([2.5, 0. ])
    """
    truth, prediction = checked_pair(truth, prediction)
    return weighted.mse(truth, prediction, weighted.uniform(len(truth)))[0]


def mae_per_gene(truth: ArrayLike, prediction: ArrayLike) -> np.ndarray:
    r"""Mean absolute error over the spots, for each gene, in units of the expression space.

    .. math:: \mathrm{MAE}_g = \frac{1}{N} \sum_n |p_{ng} - t_{ng}|

    Args:
        truth: (N, G) measured expression.
        prediction: (N, G) predicted expression.

    Returns:
        (G,) errors; their mean is the MAE over all spots and genes.

    Raises:
        EvaluationError: As `pearson_per_gene`.

    Example:
        >>> mae_per_gene([[0.0, 1.0], [2.0, 1.0]], [[1.0, 1.0], [0.0, 1.0]])
        array([1.5, 0. ])
    """
    truth, prediction = checked_pair(truth, prediction)
    return weighted.mae(truth, prediction, weighted.uniform(len(truth)))[0]


def r2_per_gene(truth: ArrayLike, prediction: ArrayLike) -> np.ndarray:
    r"""Explained share of each gene's variance over the spots: 0 is as good as the mean of the truth, less is worse.

    .. math:: R^2_g = 1 - \frac{\sum_n (t_{ng} - p_{ng})^2}{\sum_n (t_{ng} - \bar t_g)^2}

    Unlike r, it sees errors of offset and scale. A gene that is constant in the truth has none: NaN, where scikit-learn
    says 0 or 1.

    Args:
        truth: (N, G) measured expression.
        prediction: (N, G) predicted expression.

    Returns:
        (G,) values in (-inf, 1] or NaN.

    Raises:
        EvaluationError: As `pearson_per_gene`.

    Warns:
        UndefinedGeneWarning: Some genes are NaN.

    Example:
        >>> r2_per_gene([[0.0], [2.0]], [[0.5], [2.0]])
        array([0.875])
    """
    truth, prediction = checked_pair(truth, prediction)
    return _warned(weighted.r2(truth, prediction, weighted.uniform(len(truth)))[0])


def mse(truth: ArrayLike, prediction: ArrayLike) -> float:
    """Mean of `mse_per_gene`, the mean squared error over all spots and genes.

    Args:
        truth: (N, G) measured expression.
        prediction: (N, G) predicted expression.

    Returns:
        The error, in squared units of the expression space.

    Raises:
        EvaluationError: As `pearson_per_gene`.

    Example:
        >>> mse([[0.0, 1.0], [2.0, 1.0]], [[1.0, 1.0], [0.0, 1.0]])
        1.25
    """
    return float(mse_per_gene(truth, prediction).mean())


def mae(truth: ArrayLike, prediction: ArrayLike) -> float:
    """Mean of `mae_per_gene`, the mean absolute error over all spots and genes.

    Args:
        truth: (N, G) measured expression.
        prediction: (N, G) predicted expression.

    Returns:
        The error, in units of the expression space.

    Raises:
        EvaluationError: As `pearson_per_gene`.

    Example:
        >>> mae([[0.0, 1.0], [2.0, 1.0]], [[1.0, 1.0], [0.0, 1.0]])
        0.75
    """
    return float(mae_per_gene(truth, prediction).mean())


def r2(truth: ArrayLike, prediction: ArrayLike) -> float:
    """Mean of `r2_per_gene` over the genes for which it is defined, whatever their variance.

    Args:
        truth: (N, G) measured expression.
        prediction: (N, G) predicted expression.

    Returns:
        The mean, 1 at best; NaN if no gene is defined.

    Raises:
        EvaluationError: As `pearson_per_gene`.

    Example:
        >>> r2([[0.0, 1.0], [2.0, 3.0]], [[0.5, 2.0], [2.0, 2.0]])  # mean of 0.875 and 0
        0.4375
    """
    return float(weighted.mean_of_defined(r2_per_gene(truth, prediction)))


@dataclass(frozen=True)
class Scores:
    """All measures of one prediction, pooled over its spots, and the same for each of its sections.

    Pooled and per section answer different questions: pooling adds the differences *between* sections, which one number
    per section can predict, to the pattern *within* them. Published predictions have scored 0.38 pooled and 0.12 per
    section, so both are kept.
    """

    acg: float
    """Mean r over all genes."""
    heg: float
    """Mean r over the 50 most highly expressed genes."""
    best: float
    """Mean of the 50 largest r."""
    spearman: float
    """Mean rank correlation over all genes."""
    per_spot: float
    """Mean over the spots of the correlation over the genes; NaN for a single gene."""
    mse: float
    """Mean squared error over spots and genes."""
    mae: float
    """Mean absolute error over spots and genes."""
    r2: float
    """Mean over the genes of the explained share of variance."""
    n_spots: int
    n_genes: int
    n_undefined_genes: int
    """Genes left out of the mean correlations because truth or prediction is constant."""
    sections: Mapping[str, "Scores"] = field(default_factory=dict)
    """The scores of each section on its own, where sections were given."""

    @property
    def section_mean(self) -> dict[str, float]:
        """Mean of each measure over the sections in which it is defined, each section counting once."""
        return {
            f.name: float(weighted.mean_of_defined(np.array([getattr(s, f.name) for s in self.sections.values()])))
            for f in fields(self)
            if f.type is float
        }

    def table(self) -> pd.DataFrame:
        """One row per section and a last one, "pooled"; the columns are the measures and the counts."""
        columns = [f.name for f in fields(self) if f.name != "sections"]
        rows = [[getattr(scores, column) for column in columns] for scores in (*self.sections.values(), self)]
        return pd.DataFrame(rows, index=[*self.sections, "pooled"], columns=columns)


def score(
    truth: ArrayLike,
    prediction: ArrayLike,
    *,
    sections: Sequence[str] | None = None,
    expression_for_ranking: ArrayLike | None = None,
) -> Scores:
    """Compute every measure at once, pooled over all spots and, where sections are given, for each section.

    Args:
        truth: (N, G) measured expression.
        prediction: (N, G) predicted expression.
        sections: (N,) the section of each spot.
        expression_for_ranking: (G,) mean expression that chooses the genes of `heg`, everywhere. Without it, pooled
            spots and each section rank the genes by their own truth.

    Returns:
        The `Scores`.

    Raises:
        EvaluationError: As `pearson_per_gene`, for all spots or for the spots of a section, which is named.

    Warns:
        UndefinedGeneWarning: Some genes have no pooled correlation. Sections are not warned about, only counted.

    Example:
        >>> import numpy as np
        >>> truth = np.random.default_rng(0).normal(size=(40, 6))
        >>> scores = score(truth, truth + 1, sections=["A"] * 20 + ["B"] * 20)
        >>> round(scores.acg, 3), round(scores.mse, 3), round(scores.section_mean["acg"], 3)
        (1.0, 1.0, 1.0)
        >>> scores.table().index.tolist()
        ['A', 'B', 'pooled']
    """
    truth, prediction = checked_pair(truth, prediction)
    ranking = None if expression_for_ranking is None else _ranking(truth, expression_for_ranking)
    per_section = {
        name: _score(*checked_pair(truth[rows], prediction[rows], where=f"section {name}: "), ranking, sections={})
        for name, rows in rows_of_sections(sections, len(truth)).items()
    }
    pooled = _score(truth, prediction, ranking, sections=per_section)
    _warn_of_undefined(pooled.n_undefined_genes, pooled.n_genes, stacklevel=3)
    return pooled


def _score(
    truth: np.ndarray, prediction: np.ndarray, ranking: np.ndarray | None, *, sections: Mapping[str, Scores]
) -> Scores:
    """The scores of one set of spots."""
    n_spots, n_genes = truth.shape
    weights = weighted.uniform(n_spots)
    r = weighted.pearson(truth, prediction, weights)[0]
    rank_r = weighted.pearson(_ranks(truth), _ranks(prediction), weights)[0]
    return Scores(
        acg=float(weighted.mean_of_defined(r)),
        heg=float(weighted.mean_of_expressed(r, _ranking(truth, ranking), _TOP)),
        best=float(weighted.mean_of_best(r, _TOP)),
        spearman=float(weighted.mean_of_defined(rank_r)),
        per_spot=float(weighted.mean_of_defined(pearson_per_spot(truth, prediction))),
        mse=float(weighted.mse(truth, prediction, weights).mean()),
        mae=float(weighted.mae(truth, prediction, weights).mean()),
        r2=float(weighted.mean_of_defined(weighted.r2(truth, prediction, weights)[0])),
        n_spots=n_spots,
        n_genes=n_genes,
        n_undefined_genes=int(np.isnan(r).sum()),
        sections=sections,
    )


def checked_pair(truth: ArrayLike, prediction: ArrayLike, *, where: str = "") -> tuple[np.ndarray, np.ndarray]:
    """Truth and prediction as float64 arrays that can be scored; ``where`` opens the message if they cannot."""
    arrays = []
    for name, values in (("truth", truth), ("prediction", prediction)):
        array = np.asarray(values)
        if array.ndim != 2 or not (np.issubdtype(array.dtype, np.number) or array.dtype == bool):
            raise EvaluationError(
                f"{where}{name} is {type(values).__name__} of shape {array.shape}: "
                "expected a dense array of numbers, (spots, genes)"
            )
        array = array.astype(np.float64, copy=False)
        if not (finite := np.isfinite(array)).all():
            n_bad, n_genes = (~finite).sum(), (~finite).any(0).sum()
            raise EvaluationError(f"{where}{name} holds {n_bad} NaN or infinite numbers, in {n_genes} genes")
        arrays.append(array)
    if arrays[0].shape != arrays[1].shape:
        raise EvaluationError(f"{where}truth is {arrays[0].shape} and prediction is {arrays[1].shape}, (spots, genes)")
    n_spots, n_genes = arrays[0].shape
    if n_spots < 2 or n_genes < 1:
        raise EvaluationError(f"{where}{n_spots} spots and {n_genes} genes: at least two spots and a gene are needed")
    return arrays[0], arrays[1]


def rows_of_sections(sections: Sequence[str] | None, n_spots: int) -> dict[str, np.ndarray]:
    """Indices of each section's spots, sections in their first order; none without sections."""
    if sections is None:
        return {}
    if len(sections) != n_spots:
        raise EvaluationError(f"sections names {len(sections)} spots and there are {n_spots}: one name per spot")
    codes, names = pd.factorize(np.asarray(sections))
    if (codes < 0).any():
        raise EvaluationError(f"sections has no name for {(codes < 0).sum()} spots")
    return {str(name): np.flatnonzero(codes == code) for code, name in enumerate(names)}


def _ranking(truth: np.ndarray, expression: ArrayLike | None) -> np.ndarray:
    """The (G,) expression that `heg` ranks by."""
    if expression is None:
        return weighted.mean(truth, weighted.uniform(len(truth)))[0]
    ranking = np.asarray(expression, dtype=np.float64)
    if ranking.shape != truth.shape[1:] or not np.isfinite(ranking).all():
        raise EvaluationError(
            f"expression_for_ranking has shape {ranking.shape}: expected one finite number for each of "
            f"{truth.shape[1]} genes"
        )
    return ranking


def _ranks(values: np.ndarray) -> np.ndarray:
    """Ranks of the spots for each gene, ties at their mean rank; rounding in a constant gene is no order."""
    return rankdata(np.where(weighted.constant(values), 0.0, values), axis=0)


def _checked_k(k: int) -> int:
    if k < 1:
        raise EvaluationError(f"k = {k} genes: choose at least one")
    return k


def _warned(per_gene: np.ndarray) -> np.ndarray:
    """The values themselves, after a warning if some are undefined."""
    _warn_of_undefined(int(np.isnan(per_gene).sum()), len(per_gene), stacklevel=4)
    return per_gene


def _warn_of_undefined(n_undefined: int, n_genes: int, *, stacklevel: int) -> None:
    if n_undefined:
        warnings.warn(
            f"{n_undefined} of {n_genes} genes are undefined (NaN): constant in the truth or in the prediction; "
            "means leave them out",
            UndefinedGeneWarning,
            stacklevel=stacklevel,
        )
