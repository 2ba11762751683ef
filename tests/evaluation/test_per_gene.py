"""The table of genes equals SciPy gene by gene, and its interval that of `bootstrap_interval`."""

import numpy as np
import pytest
from scipy import sparse, stats

from stlearn_lib.data.expression import Target, chosen_counts, expression
from stlearn_lib.errors import EvaluationError, GeneError
from stlearn_lib.evaluation import MCLSTEXP_GENES, bootstrap_interval, gene_table
from stlearn_lib.evaluation.per_gene import _r

TARGET = Target((*MCLSTEXP_GENES, "ERBB2", "SIM020", "SIM100"), gene_list="seven")


@pytest.fixture
def guesses(cohort):
    """What a method that knows something might predict for the first two sections."""
    rng = np.random.default_rng(0)
    truths = [expression(section, TARGET) for section in cohort[:2]]
    return [0.5 * truth + rng.normal(0, np.linspace(0.1, 2, 7), truth.shape) for truth in truths]


def test_equals_scipy(cohort, guesses):
    table = gene_table(cohort[:2], guesses, TARGET)
    truths = [expression(section, TARGET) for section in cohort[:2]]
    r = np.array([stats.pearsonr(*pair, axis=0).statistic for pair in zip(truths, guesses, strict=True)])
    assert tuple(table["gene"]) == TARGET.genes
    np.testing.assert_allclose(table[["r_S1", "r_S2"]].to_numpy().T, r)
    np.testing.assert_allclose(table["r"], r.mean(0))
    assert table["rank"].tolist() == stats.rankdata(-r.mean(0)).tolist()
    np.testing.assert_allclose(table["expression"], (truths[0].mean(0) + truths[1].mean(0)) / 2)
    np.testing.assert_allclose(
        table["present"], np.mean([(chosen_counts(s, TARGET.genes) > 0).mean(0) for s in cohort[:2]], axis=0)
    )


def test_chosen_genes_keep_their_rank_among_all(cohort, guesses):
    whole = gene_table(cohort[:2], guesses, TARGET).set_index("gene")
    chosen = gene_table(cohort[:2], guesses, TARGET, MCLSTEXP_GENES[::-1]).set_index("gene")
    assert tuple(chosen.index) == MCLSTEXP_GENES[::-1]
    assert chosen.equals(whole.loc[list(chosen.index)])


def test_the_interval_of_one_section_is_that_of_bootstrap_interval(cohort, guesses):
    table = gene_table(cohort[:1], guesses[:1], TARGET, seed=3)
    truth = expression(cohort[0], TARGET)
    names = ["S1"] * len(truth)
    for i, row in enumerate(table.itertuples()):
        one = bootstrap_interval(truth[:, [i]], guesses[0][:, [i]], "acg", sections=names, seed=3)
        assert (row.low, row.r, row.high) == pytest.approx((one.low, one.estimate, one.high))


def test_the_interval_of_several_sections_is_that_of_their_mean(cohort, guesses):
    """For two sections with one correlation, the mean of two independent draws: narrower by the square root of two."""
    rng = np.random.default_rng(1)
    truths = [expression(section, TARGET) for section in cohort[:2]]
    alike = [(truth - truth.mean(0)) / truth.std(0) + rng.normal(size=truth.shape) for truth in truths]
    both = gene_table(cohort[:2], alike, TARGET)
    one, other = (gene_table([cohort[i]], [alike[i]], TARGET) for i in range(2))
    width = [(table["high"] - table["low"]).mean() for table in (both, one, other)]
    assert width[0] == pytest.approx(np.hypot(*width[1:]) / 2, rel=0.1)
    assert (both["low"] < both["r"]).all() and (both["r"] < both["high"]).all()


def test_resamples_weigh_the_spots_of_their_own_section():
    rng = np.random.default_rng(0)
    pairs = [(rng.normal(size=(n, 3)), rng.normal(size=(n, 3))) for n in (20, 30)]
    draws = rng.integers(20, size=20), rng.integers(30, size=30)
    weights = np.concatenate([np.bincount(draw, minlength=len(draw)) for draw in draws]).astype(float)[None]
    expected = [stats.pearsonr(t[draw], p[draw], axis=0).statistic for (t, p), draw in zip(pairs, draws, strict=True)]
    np.testing.assert_allclose(_r(pairs, weights)[:, 0], expected)


def test_undefined_genes_are_missing_not_zero(cohort, guesses):
    guesses[0][:, 0] = guesses[1][:, 0] = 0.1  # constant everywhere
    guesses[1][:, 1] = 0.1  # constant in the second section
    table = gene_table(cohort[:2], guesses, TARGET)
    assert table.loc[0, ["r", "low", "high", "rank", "r_S1", "r_S2"]].isna().all()
    assert table.loc[1, "r"] == table.loc[1, "r_S1"] and np.isnan(table.loc[1, "r_S2"])
    assert sorted(table["rank"].dropna()) == [1, 2, 3, 4, 5, 6]


def test_presence_is_of_counts_even_where_the_truth_is_smoothed(section):
    counts = section.X.toarray()
    counts[:, section.var_names.get_loc("GNAS")] = np.arange(section.n_obs) % 4 == 0
    section.X = sparse.csr_matrix(counts)
    target = Target(TARGET.genes, smooth=True)
    table = gene_table([section], [expression(section, target)], target, ["GNAS"])
    assert table["present"].tolist() == [0.25] and table["r"].tolist() == [pytest.approx(1)]


def test_genes_that_nothing_predicts_are_named(cohort, guesses):
    with pytest.raises(GeneError, match=r"'seven' has no MKI67, ESR1: nothing predicts them"):
        gene_table(cohort[:2], guesses, TARGET, ["GNAS", "MKI67", "ESR1"])


def test_what_does_not_fit_is_named(cohort, guesses):
    with pytest.raises(EvaluationError, match="1 predictions for the sections S1, S2"):
        gene_table(cohort[:2], guesses[:1], TARGET)
    with pytest.raises(EvaluationError, match="2 predictions for the sections S1, S1"):
        gene_table([cohort[0], cohort[0]], guesses, TARGET)
    with pytest.raises(EvaluationError, match="0 predictions"):
        gene_table([], [], TARGET)
    with pytest.raises(EvaluationError, match=r"section S2: truth is \(168, 7\) and prediction is \(168, 6\)"):
        gene_table(cohort[:2], [guesses[0], guesses[1][:, :6]], TARGET)
