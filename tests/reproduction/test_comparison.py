"""The paired bootstrap beside loops and closed forms."""

import warnings

import numpy as np
import pandas as pd
import pytest

from stlearn_lib.errors import ReproductionError
from stlearn_lib.reproduction import comparison
from stlearn_lib.reproduction.comparison import paired_difference

N_SEEDS, N_SECTIONS, N_GENES = 3, 4, 70


@pytest.fixture
def r():
    """Correlations of two methods, (methods, seeds, sections, genes); a few are undefined."""
    r = np.random.default_rng(0).uniform(-0.2, 0.6, (2, N_SEEDS, N_SECTIONS, N_GENES))
    r[0, 1, 2, 3] = r[1, 0, 1, :5] = np.nan
    return r


@pytest.fixture
def mean():
    """Mean expression of each gene in each section."""
    return np.random.default_rng(1).permutation(N_SECTIONS * N_GENES).reshape(N_SECTIONS, N_GENES) / 100


def table(r, mean, keys="ab"):
    """One key for each method, seed and section, as for folds of one section."""
    rows = [
        (f"{keys[m]}{seed}{section}", seed, f"S{section}", f"G{gene}", value, mean[section, gene])
        for (m, seed, section, gene), value in np.ndenumerate(r)
    ]
    return pd.DataFrame(rows, columns=["key", "seed", "test", "gene", "r", "mean"]).sample(frac=1, random_state=0)


def keys(method):
    return [f"{method}{seed}{section}" for seed in range(N_SEEDS) for section in range(N_SECTIONS)]


def loop(r, mean, n_top=None, sections=None, genes=None, seeds=None):
    """The equation of the docstring, gene by gene; everything may be drawn several times."""
    seeds = seeds or [range(N_SEEDS)] * 2
    by_section = []
    for s in range(N_SECTIONS) if sections is None else sections:
        top = set(np.argsort(-mean[s])[:n_top].tolist())
        differences = []
        for g in range(N_GENES) if genes is None else genes:
            first, second = (np.mean([r[m, seed, s, g] for seed in seeds[m]]) for m in (0, 1))
            if g in top and not np.isnan(first - second):
                differences.append(first - second)
        if differences:
            by_section.append(np.mean(differences))
    return np.mean(by_section)


@pytest.mark.parametrize(("measure", "n_top"), [("acg", None), ("heg", 50)])
def test_estimate_and_interval_are_those_of_a_loop(r, mean, monkeypatch, measure, n_top):
    monkeypatch.setattr(comparison, "N_RESAMPLES", 40)
    found = paired_difference(table(r, mean), keys("a"), keys("b"), measure, seed=5)
    assert found.estimate == pytest.approx(loop(r, mean, n_top))
    order = np.argsort([f"G{gene}" for gene in range(N_GENES)])  # genes are drawn by their sorted names
    rng, draws = np.random.default_rng(5), []
    for _ in range(40):
        sections = rng.integers(N_SECTIONS, size=N_SECTIONS)
        genes = order[rng.integers(N_GENES, size=N_GENES)]
        seeds = [rng.integers(N_SEEDS, size=N_SEEDS) for _ in range(2)]
        draws.append(loop(r, mean, n_top, sections, genes, seeds))
    np.testing.assert_allclose((found.low, found.high), np.quantile(draws, [0.025, 0.975]))
    assert (found.n_sections, found.n_genes, found.n_seeds) == (N_SECTIONS, N_GENES, (N_SEEDS, N_SEEDS))


def test_what_is_equal_does_not_differ(r, mean):
    r[1] = r[0] = r[0, :1]
    found = paired_difference(table(r, mean), keys("a"), keys("b"))
    assert found[:3] == (0, 0, 0) and not found.clear


@pytest.mark.parametrize("measure", ["acg", "heg"])
def test_a_shift_is_found_exactly(r, mean, measure):
    r[0] = r[0, :1]
    r[1] = r[0] - 0.07
    found = paired_difference(table(r, mean), keys("a"), keys("b"), measure)
    np.testing.assert_allclose(found[:3], 0.07, rtol=1e-12)
    assert found.clear


def test_the_other_way_round_it_is_negative(r, mean):
    r[:] = r[:, :1]  # the draws of seeds make no difference then
    there, back = (paired_difference(table(r, mean), keys(a), keys(b)) for a, b in ("ab", "ba"))
    np.testing.assert_allclose((back.estimate, back.low, back.high), (-there.estimate, -there.high, -there.low))


def test_the_interval_of_many_genes_is_that_of_their_mean():
    """Of one section and seed it is a plain bootstrap of a mean: 1.96 standard errors."""
    r = np.zeros((2, 1, 1, 2000))
    r[0] = np.random.default_rng(3).normal(0.1, 0.5, 2000)
    found = paired_difference(table(r, np.ones((1, 2000))), ["a00"], ["b00"])
    error = r[0].std() / np.sqrt(2000)
    assert found.estimate == pytest.approx(r[0].mean())
    np.testing.assert_allclose([found.estimate - found.low, found.high - found.estimate], 1.96 * error, rtol=0.08)


def test_a_seed_that_lacks_a_section_is_left_out(r, mean):
    rows = table(r, mean)
    part = rows[rows["key"] != "a10"]
    found = paired_difference(part, [key for key in keys("a") if key != "a10"], keys("b"))
    assert found.n_seeds == (2, 3)
    without = r.copy()
    without[0, 1] = without[0, [0, 2]].mean(axis=0)
    assert found.estimate == pytest.approx(loop(without, mean))


def test_errors(r, mean):
    rows = table(r, mean)
    with pytest.raises(ReproductionError, match="there are no genes of c1, c2"):
        paired_difference(rows, ["c2", "c1"], keys("b"))
    with pytest.raises(ReproductionError, match="same sections and genes only"):
        paired_difference(rows, keys("a")[::4], keys("b"))
    with pytest.raises(ReproductionError, match="same sections and genes only"):
        paired_difference(rows[(rows["gene"] != "G1") | rows["key"].str.startswith("b")], keys("a"), keys("b"))
    with pytest.raises(ReproductionError, match="several results of one seed and section"):
        paired_difference(rows, [*keys("a"), "b00"], keys("b"))
    for nobody in (["a00", "a11"], []):
        with pytest.raises(ReproductionError, match="no seed has all test sections"):
            paired_difference(rows, nobody, nobody)
    constant = rows.assign(r=rows["r"].where(rows["key"].str.startswith("b")))
    with warnings.catch_warnings(), pytest.raises(ReproductionError, match="no gene has a correlation in both"):
        warnings.simplefilter("error")
        paired_difference(constant, keys("a"), keys("b"))
