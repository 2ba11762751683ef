"""Is one method better than another, or only luckier? A paired bootstrap over sections, genes and seeds."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd

from stlearn_lib.errors import ReproductionError

N_RESAMPLES = 2000
LEVEL = 0.95
N_HEG = 50

Measure = Literal["acg", "heg"]


class Difference(NamedTuple):
    """How much better the first is than the second, with its interval."""

    estimate: float
    low: float
    high: float
    n_sections: int
    n_genes: int
    n_seeds: tuple[int, int]

    @property
    def clear(self) -> bool:
        """Whether the interval leaves out 0."""
        return not self.low <= 0 <= self.high


def paired_difference(
    genes: pd.DataFrame, first: Sequence[str], second: Sequence[str], measure: Measure = "acg", *, seed: int = 0
) -> Difference:
    r"""Compare two methods by the correlation of each gene in each test section.

    .. math:: \Delta = \frac{1}{S} \sum_s \frac{1}{|G_s|} \sum_{g \in G_s}
        \bigl(\bar r^{(1)}_{sg} - \bar r^{(2)}_{sg}\bigr)

    with :math:`\bar r` the mean over seeds and :math:`G_s` the genes for which both are defined: all, or for ``"heg"``
    the 50 of highest mean in section s. Each resample draws sections and genes with replacement, the same for both
    methods, and seeds for each method on its own: 2,000 times, percentiles of 95 %. Where there is a single section,
    the interval is about other genes of that section, and says nothing of other tissue. Genes go together in programmes
    and are drawn one by one, so the interval is too narrow: a difference within it is noise, one outside may be.

    Args:
        genes: What `ledger.read_genes` returns.
        first: Keys of one method's results, as ``key`` has them.
        second: Keys of the other's, on the same sections.
        measure: ``"acg"`` or ``"heg"``.
        seed: Of the draws.

    Returns:
        The `Difference`, first minus second.

    Raises:
        ReproductionError: If results are missing or undefined, or are of other sections or genes.

    Example:
        >>> rows = [(key, 0, "S1", f"G{i}", r, i) for key, r in (("a", 0.5), ("b", 0.4)) for i in range(9)]
        >>> table = pd.DataFrame(rows, columns=["key", "seed", "test", "gene", "r", "mean"])
        >>> difference = paired_difference(table, ["a"], ["b"])
        >>> round(difference.estimate, 3), difference.clear
        (0.1, True)

    Reference:
        Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapters 8 and 16.
    """
    r_first, r_second = _correlations(genes, first), _correlations(genes, second)
    if not r_first.tests == r_second.tests or not r_first.genes == r_second.genes:
        raise ReproductionError("two results can be compared on the same sections and genes only.")
    counted = r_first.highest if measure == "heg" else np.ones_like(r_first.highest)
    rng = np.random.default_rng(seed)
    n_sections, n_genes = counted.shape
    draws = np.empty(N_RESAMPLES)
    for i in range(N_RESAMPLES):
        sections = np.bincount(rng.integers(n_sections, size=n_sections), minlength=n_sections)
        genes_drawn = np.bincount(rng.integers(n_genes, size=n_genes), minlength=n_genes)
        means = [r.values[rng.integers(len(r.values), size=len(r.values))].mean(axis=0) for r in (r_first, r_second)]
        draws[i] = _mean(means[0] - means[1], counted * genes_drawn, sections)
    whole = _mean(
        r_first.values.mean(axis=0) - r_second.values.mean(axis=0), counted.astype(float), np.ones(n_sections)
    )
    if np.isnan(whole):
        raise ReproductionError("no gene has a correlation in both: a constant prediction has none.")
    low, high = np.nanquantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    n_seeds = len(r_first.values), len(r_second.values)
    return Difference(whole, float(low), float(high), n_sections, n_genes, n_seeds)


class _Correlations(NamedTuple):
    values: np.ndarray
    """(seeds, S, G); NaN where undefined."""
    highest: np.ndarray
    """(S, G) True for the genes of highest mean in a section."""
    tests: list[str]
    genes: list[str]


def _correlations(genes: pd.DataFrame, keys: Sequence[str]) -> _Correlations:
    own = genes[genes["key"].isin(list(keys))]
    if missing := set(keys) - set(own["key"]):
        raise ReproductionError(f"there are no genes of {', '.join(sorted(missing))}.")
    if own.duplicated(["seed", "test", "gene"]).any():
        raise ReproductionError("several results of one seed and section: hand over the newest, see ledger.keys_of.")
    tests, genes_of = sorted(set(own["test"])), sorted(set(own["gene"]))
    r = own.set_index(["seed", "test", "gene"])["r"].unstack("gene")[genes_of]
    whole = [part.droplevel("seed") for _, part in r.groupby(level="seed") if len(part) == len(tests)]
    if not whole:
        raise ReproductionError("no seed has all test sections: run the folds that are missing.")
    mean = own.drop_duplicates(["test", "gene"]).set_index(["test", "gene"])["mean"].unstack("gene")[genes_of]
    ranks = mean.loc[tests].rank(axis=1, ascending=False, method="first").to_numpy()
    values = np.stack([part.loc[tests].to_numpy(float) for part in whole])
    return _Correlations(values, ranks <= N_HEG, tests, genes_of)


def _mean(r: np.ndarray, weights: np.ndarray, of_sections: np.ndarray) -> float:
    """Mean over the genes of each section, (S, G) weighted, then over sections."""
    defined = np.isfinite(r)
    total = (weights * defined).sum(axis=1)
    with np.errstate(invalid="ignore"):
        by_section = np.where(total > 0, (np.where(defined, r, 0) * weights).sum(axis=1) / total, np.nan)
    used = np.isfinite(by_section) & (of_sections > 0)
    return float(np.average(by_section[used], weights=of_sections[used])) if used.any() else float("nan")
