"""One row for each gene: how well it is predicted, how that ranks, and how much of it there is to predict."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from anndata import AnnData

from stlearn_lib.data.expression import Target, chosen_counts, expression
from stlearn_lib.data.sections import section_name
from stlearn_lib.errors import EvaluationError, GeneError
from stlearn_lib.evaluation import weighted
from stlearn_lib.evaluation.intervals import resamples
from stlearn_lib.evaluation.measures import checked_pair

MCLSTEXP_GENES = ("GNAS", "FN1", "FASN", "HLA-B")
"""Genes of cancer and immunity that mclSTExp shows. Its notebook (ZhicengShi/mclSTExp @ 31ed2de) takes those of largest
mean -log10 p over the 32 test sections, and draws each in the section in which its own p is smallest: a choice made on
the test data, as `best` is. Hence a column for every section here, and the rank among all genes."""

_N_RESAMPLES = 1000
_TAILS = (0.025, 0.975)


def gene_table(
    sections: Sequence[AnnData],
    predictions: Sequence[np.ndarray],
    target: Target,
    genes: Sequence[str] | None = None,
    *,
    seed: int = 0,
) -> pd.DataFrame:
    r"""Tabulate how well each gene is predicted.

    .. math:: \bar r_g = \frac{1}{S} \sum_s r_{gs}

    with :math:`r_{gs}` the `pearson_per_gene` of section s; a section in which it is undefined is left out. The
    interval is that of `intervals`, over spots drawn within their sections. Neighbouring spots resemble each other, so
    it is too narrow, and a p-value over spots would be far too small; how r differs between sections says more.

    Args:
        sections: S test sections, with their counts.
        predictions: What was predicted for each, (N, G) in the target's space: ``method.predict(section).X``.
        target: Genes, space and smoothing.
        genes: The genes to show, in this order; without them, all G.
        seed: Seed of the interval's resamples.

    Returns:
        One row for each gene, with the columns ``gene``; ``r``, the mean over the sections; ``low`` and ``high``, its
        95% interval; ``rank``, 1 for the highest r of all G genes; ``expression``, the mean over the spots in the
        target's space; ``present``, the share of spots in which the gene was counted, both averaged over the sections;
        and ``r_NAME`` for each section. What is undefined is missing.

    Raises:
        GeneError: The target lacks some of ``genes``, or a section some of the target's.
        EvaluationError: No section, two of one name, or predictions that do not fit them.

    Example:
        >>> from pathlib import Path
        >>> from tempfile import mkdtemp
        >>> from stlearn_lib.data.synthetic import simulate_section
        >>> section, target = simulate_section("S1", Path(mkdtemp())), Target(("ERBB2", "GNAS", "FASN"))
        >>> guess = expression(section, target)
        >>> guess[:, 0] *= -1
        >>> gene_table([section], [guess], target, ["FASN", "ERBB2"])[["gene", "r", "rank"]].to_dict("list")
        {'gene': ['FASN', 'ERBB2'], 'r': [1.0, -1.0], 'rank': [1, 3]}

    Reference:
        mclSTExp, arXiv:2407.08216.
    """
    shown = target.genes if genes is None else tuple(genes)
    if lacking := [gene for gene in shown if gene not in target.genes]:
        raise GeneError(f"gene list {target.gene_list!r} has no {', '.join(lacking)}: nothing predicts them.")
    names = [section_name(section) for section in sections]
    if not names or len(names) != len(predictions) or len(names) != len(set(names)):
        raise EvaluationError(f"{len(predictions)} predictions for the sections {', '.join(names)}: one for each name.")
    pairs = [
        checked_pair(expression(section, target), prediction, where=f"section {name}: ")
        for name, section, prediction in zip(names, sections, predictions, strict=True)
    ]
    columns = [target.genes.index(gene) for gene in shown]
    n_spots = [len(truth) for truth, _ in pairs]
    r = _r(pairs, weighted.uniform(sum(n_spots)))[:, 0]
    mean_r = pd.Series(_mean_over_sections(r))
    of_shown = [(truth[:, columns], prediction[:, columns]) for truth, prediction in pairs]
    drawn = resamples(sum(n_spots), list(np.repeat(names, n_spots)), "spot", _N_RESAMPLES, seed)
    low, high = _interval(np.concatenate([_mean_over_sections(_r(of_shown, weights)) for weights in drawn]))
    table = {
        "gene": shown,
        "r": mean_r[columns].to_numpy(),
        "low": low,
        "high": high,
        "rank": mean_r.rank(ascending=False, method="min").astype("Int64")[columns].array,
        "expression": np.mean([truth.mean(axis=0) for truth, _ in of_shown], axis=0),
        "present": np.mean([(chosen_counts(section, shown) > 0).mean(axis=0) for section in sections], axis=0),
    }
    return pd.DataFrame(table | {f"r_{name}": own[columns] for name, own in zip(names, r, strict=True)})


def _r(pairs: Sequence[tuple[np.ndarray, np.ndarray]], weights: np.ndarray) -> np.ndarray:
    """Correlation of each gene in each section, (S, R, G), of resamples (R, N) of all sections' spots in turn."""
    of_sections = np.split(weights, np.cumsum([len(truth) for truth, _ in pairs])[:-1], axis=1)
    return np.stack([weighted.pearson(*pair, own) for pair, own in zip(pairs, of_sections, strict=True)])


def _mean_over_sections(r: np.ndarray) -> np.ndarray:
    """Mean over the first axis, of the sections in which r is defined."""
    return weighted.mean_of_defined(np.moveaxis(r, 0, -1))


def _interval(draws: np.ndarray) -> np.ndarray:
    """Lower and upper end, (2, G), of resampled values (R, G); NaN for a gene that is never defined."""
    defined = np.isfinite(draws).any(axis=0)
    interval = np.full((2, draws.shape[1]), np.nan)
    interval[:, defined] = np.nanquantile(draws[:, defined], _TAILS, axis=0)
    return interval
