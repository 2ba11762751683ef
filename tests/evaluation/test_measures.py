"""Measures equal SciPy, scikit-learn and the authors' values, and say what is undefined."""

import warnings
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import sparse, stats
from sklearn.metrics import mean_absolute_error, mean_squared_error, r2_score

from stlearn_lib import evaluation
from stlearn_lib.errors import EvaluationError, UndefinedGeneWarning
from stlearn_lib.evaluation import (
    acg,
    best,
    heg,
    mae,
    mae_per_gene,
    mse,
    mse_per_gene,
    pearson_per_gene,
    pearson_per_spot,
    r2,
    r2_per_gene,
    score,
    spearman_per_gene,
)

ALL_MEASURES = [
    pearson_per_gene,
    spearman_per_gene,
    pearson_per_spot,
    acg,
    heg,
    best,
    mse_per_gene,
    mae_per_gene,
    r2_per_gene,
    mse,
    mae,
    r2,
    score,
]


@pytest.fixture
def pair():
    """Counts with many ties and a prediction that knows something about them: (40, 60) each."""
    rng = np.random.default_rng(0)
    truth = rng.poisson(rng.gamma(1.0, 2.0, 60), (40, 60)).astype(float)
    truth[0] += 1  # no gene is empty
    return truth, np.round(0.3 * truth + rng.normal(size=truth.shape), 1)


def recipe(tag, shape):
    return np.random.RandomState(zlib.crc32(tag.encode())).standard_normal(shape).astype(np.float32)


def test_equals_the_released_evaluation(reference_folder):
    truth = np.abs(recipe("metrics/true", (60, 30)))
    prediction = truth + 0.8 * recipe("metrics/noise", (60, 30))
    truth[:, 4] = 0
    with np.load(reference_folder / "retrieval_and_metrics.npz") as reference:
        with pytest.warns(UndefinedGeneWarning, match="1 of 30 genes"):
            r = pearson_per_gene(truth, prediction)
        np.testing.assert_allclose(r, reference["pearson_per_gene"], rtol=2e-6)
        assert np.isnan(r[4])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UndefinedGeneWarning)
            assert acg(truth, prediction) == pytest.approx(reference["mean_pcc_all_nan_dropped"], rel=1e-6)
            assert heg(truth, prediction, k=10) == pytest.approx(reference["mean_pcc_top10_highly_expressed"], rel=1e-6)
            assert best(truth, prediction, k=10) == pytest.approx(reference["mean_of_10_best_predicted"], rel=1e-6)
        assert mse(truth, prediction) == pytest.approx(reference["mse"], rel=1e-6)
        assert mae(truth, prediction) == pytest.approx(reference["mae"], rel=1e-6)


def test_correlations_equal_scipy(pair):
    truth, prediction = pair
    columns = list(zip(truth.T, prediction.T, strict=True))
    np.testing.assert_allclose(pearson_per_gene(*pair), [stats.pearsonr(t, p).statistic for t, p in columns])
    np.testing.assert_allclose(spearman_per_gene(*pair), [stats.spearmanr(t, p).statistic for t, p in columns])
    rows = zip(truth, prediction, strict=True)
    np.testing.assert_allclose(pearson_per_spot(*pair), [stats.pearsonr(t, p).statistic for t, p in rows])


def test_errors_equal_scikit_learn(pair):
    raw = {"multioutput": "raw_values"}
    np.testing.assert_allclose(mse_per_gene(*pair), mean_squared_error(*pair, **raw))
    np.testing.assert_allclose(mae_per_gene(*pair), mean_absolute_error(*pair, **raw))
    np.testing.assert_allclose(r2_per_gene(*pair), r2_score(*pair, **raw))
    assert mse(*pair) == pytest.approx(mean_squared_error(*pair))
    assert mae(*pair) == pytest.approx(mean_absolute_error(*pair))
    assert r2(*pair) == pytest.approx(r2_score(*pair))


def test_summaries_are_means_over_their_genes(pair):
    truth, _ = pair
    r = [stats.pearsonr(t, p).statistic for t, p in zip(*(part.T for part in pair), strict=True)]
    by_expression = sorted(range(60), key=lambda gene: -truth[:, gene].mean())
    assert acg(*pair) == pytest.approx(np.mean(r))
    assert heg(*pair) == pytest.approx(np.mean([r[gene] for gene in by_expression[:50]]))
    assert best(*pair, k=7) == pytest.approx(np.mean(sorted(r)[-7:]))
    assert best(*pair) >= max(acg(*pair), heg(*pair))
    assert [heg(*pair, k=999), best(*pair, k=999)] == pytest.approx([acg(*pair)] * 2), "all genes where there are fewer"


def test_genes_of_equal_expression_keep_their_order():
    truth = np.array([[0.0, 1.0, 0.5], [1.0, 0.0, 0.5], [0.0, 0.0, 0.1]])
    prediction = np.array([[0.0, 0.0, 1.0], [1.0, 1.0, 2.0], [0.0, 0.0, 3.0]])
    truth[:, 2] -= truth[:, 2].mean()
    assert heg(truth, prediction, k=1) == 1.0
    assert heg(truth, prediction, k=1, expression_for_ranking=[2.0, 2.0, 1.0]) == 1.0
    assert heg(truth, prediction, k=1, expression_for_ranking=[1.0, 2.0, 1.0]) == pytest.approx(-0.5)


@pytest.mark.filterwarnings("ignore::stlearn_lib.errors.UndefinedGeneWarning")
def test_undefined_genes_are_left_out_of_means_but_not_replaced(pair):
    truth, prediction = pair
    highest = int(np.argmax(truth.mean(0)))
    prediction[:, highest] = 0.1
    assert np.isnan(pearson_per_gene(truth, prediction)[highest])
    assert np.isnan(spearman_per_gene(truth, prediction)[highest])
    assert np.isfinite(r2_per_gene(truth, prediction)[highest]), "a constant prediction has an R², if a bad one"
    assert acg(truth, prediction) == pytest.approx(np.nanmean(pearson_per_gene(truth, prediction)))
    assert np.isnan(heg(truth, prediction, k=1)), "the next gene does not take its place"
    truth[:, highest] = 7.0
    assert np.isnan(r2_per_gene(truth, prediction)[highest])


@pytest.mark.parametrize("constant", [0.0, 0.1, 1e8 / 3])
@pytest.mark.parametrize("measure", [pearson_per_gene, spearman_per_gene])
def test_constant_up_to_rounding_is_undefined(constant, measure):
    truth = np.random.default_rng(0).normal(size=(50, 2))
    prediction = np.column_stack([truth[:, 0], np.full(50, constant)])
    prediction[::2, 1] *= 1 + 1e-15
    with pytest.warns(UndefinedGeneWarning, match="1 of 2 genes are undefined") as caught:
        r = measure(truth, prediction)
    np.testing.assert_allclose(r, [1, np.nan])
    assert caught[0].filename == __file__


def test_a_mean_that_is_constant_everywhere_has_no_correlation(pair):
    truth, _ = pair
    with pytest.warns(UndefinedGeneWarning, match="60 of 60"):
        assert np.isnan(acg(truth, np.broadcast_to(truth.mean(0), truth.shape)))


def test_an_empty_spot_is_nan(pair):
    truth, prediction = pair
    truth[3] = 0
    r = pearson_per_spot(truth, prediction)
    assert np.flatnonzero(np.isnan(r)).tolist() == [3]


def test_large_offsets_in_single_precision_are_summed_in_double(pair):
    truth, prediction = (part.astype(np.float32) + 4096 for part in pair)
    columns = zip(truth.T.astype(float), prediction.T.astype(float), strict=True)
    expected = [stats.pearsonr(t, p).statistic for t, p in columns]
    np.testing.assert_allclose(pearson_per_gene(truth, prediction), expected, rtol=1e-9)


values = arrays(float, (9, 3), elements=st.floats(-100, 100).map(lambda x: round(x, 3)))


@pytest.mark.filterwarnings("ignore::stlearn_lib.errors.UndefinedGeneWarning")
@given(values, values, st.floats(0.01, 100), st.floats(-100, 100))
def test_correlations_ignore_scale_and_offset_and_stay_in_range(truth, prediction, scale, offset):
    for measure in (pearson_per_gene, spearman_per_gene):
        r = measure(truth, prediction)
        assert ((np.abs(r) <= 1) | np.isnan(r)).all()
        np.testing.assert_allclose(measure(prediction, truth), r)
        np.testing.assert_allclose(measure(truth, -prediction), -r, atol=1e-9)
    r = pearson_per_gene(truth, prediction)
    np.testing.assert_allclose(pearson_per_gene(truth, scale * prediction + offset), r, atol=1e-6)


@pytest.mark.filterwarnings("ignore::stlearn_lib.errors.UndefinedGeneWarning")
@given(values, values)
def test_errors_bound_each_other(truth, prediction):
    assert mae(truth, prediction) ** 2 <= mse(truth, prediction) * (1 + 1e-9)
    explained = r2_per_gene(truth, prediction)
    r = pearson_per_gene(truth, prediction)
    defined = ~np.isnan(r)
    assert (explained[defined] <= r[defined] ** 2 + 1e-9).all(), "no offset or scale explains more than the best line"


def test_score_is_every_measure_at_once(pair):
    scores = score(*pair)
    expected = {
        "acg": acg(*pair),
        "heg": heg(*pair),
        "best": best(*pair),
        "spearman": np.mean(spearman_per_gene(*pair)),
        "per_spot": np.mean(pearson_per_spot(*pair)),
        "mse": mse(*pair),
        "mae": mae(*pair),
        "r2": r2(*pair),
        "n_spots": 40,
        "n_genes": 60,
        "n_undefined_genes": 0,
    }
    assert scores.table().loc["pooled"].to_dict() == pytest.approx(expected)
    assert scores.sections == {}


def test_pooling_rewards_what_differs_between_sections():
    rng = np.random.default_rng(0)
    level = np.repeat([0.0, 5.0], 50)[:, None]
    truth, prediction = level + rng.normal(size=(100, 4)), level + rng.normal(size=(100, 4))
    names = ["A"] * 50 + ["B"] * 50
    scores = score(truth, prediction, sections=names)
    assert scores.acg > 0.8 and abs(scores.section_mean["acg"]) < 0.2
    assert scores.sections["B"] == score(truth[50:], prediction[50:])
    assert scores.section_mean["mse"] == pytest.approx(scores.mse), "sections of one size"
    assert scores.table().index.tolist() == ["A", "B", "pooled"]


def test_section_mean_leaves_out_sections_without_the_measure():
    truth = np.array([[0.0], [1.0], [0.0], [2.0]])
    prediction = np.array([[0.0], [1.0], [1.0], [1.0]])
    scores = score(truth, prediction, sections=list("AABB"))
    assert np.isnan(scores.sections["B"].acg) and scores.sections["B"].n_undefined_genes == 1
    assert scores.section_mean["acg"] == 1.0
    assert np.isnan(scores.per_spot), "one gene has no correlation over genes"


def test_score_warns_once_and_counts(pair):
    truth, prediction = pair
    truth[:, :3] = 0
    with pytest.warns(UndefinedGeneWarning, match="3 of 60 genes") as caught:
        scores = score(truth, prediction, sections=["A", "B"] * 20)
    assert len(caught) == 1 and caught[0].filename == __file__
    assert (scores.n_genes, scores.n_undefined_genes) == (60, 3)


def test_one_ranking_serves_all_sections(pair):
    truth, prediction = pair
    ranking = np.arange(60.0)
    names = ["A", "B"] * 20
    scores = score(truth, prediction, sections=names, expression_for_ranking=ranking)
    assert scores.heg == heg(truth, prediction, expression_for_ranking=ranking)
    assert scores.sections["A"].heg == pytest.approx(acg(truth[::2, 10:], prediction[::2, 10:]))


@pytest.mark.parametrize("measure", ALL_MEASURES)
@pytest.mark.parametrize(
    ("truth", "prediction", "message"),
    [
        (np.ones((5, 3)), np.ones((5, 4)), r"truth is \(5, 3\) and prediction is \(5, 4\)"),
        (np.ones((1, 3)), np.ones((1, 3)), "1 spots and 3 genes: at least two spots"),
        (np.ones((5, 0)), np.ones((5, 0)), "5 spots and 0 genes"),
        (np.ones(5), np.ones(5), r"truth is ndarray of shape \(5,\)"),
        (np.ones((5, 3)), sparse.csr_matrix(np.ones((5, 3))), "prediction is csr_matrix of shape"),
        (np.ones((5, 3)), np.full((5, 3), "x"), "expected a dense array of numbers"),
        (np.ones((5, 3)), np.diag([np.nan, np.inf, 1, 1, 1])[:, :3], "prediction holds 2 NaN or infinite.* in 2 genes"),
    ],
)
def test_what_cannot_be_scored_is_named(measure, truth, prediction, message):
    with pytest.raises(EvaluationError, match=message):
        measure(truth, prediction)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"sections": ["A"] * 39}, "sections names 39 spots and there are 40"),
        ({"sections": ["A"] * 39 + ["B"]}, "section B: 1 spots"),
        ({"sections": ["A"] * 39 + [None]}, "no name for 1 spots"),
        (
            {"expression_for_ranking": np.ones(59)},
            r"has shape \(59,\): expected one finite number for each of 60 genes",
        ),
    ],
)
def test_sections_and_rankings_must_fit(pair, how, message):
    with pytest.raises(EvaluationError, match=message):
        score(*pair, **how)


@pytest.mark.parametrize("measure", [heg, best])
def test_no_genes_have_no_mean(pair, measure):
    with pytest.raises(EvaluationError, match="k = 0 genes"):
        measure(*pair, k=0)


def test_the_package_offers_what_it_names():
    assert all(hasattr(evaluation, name) for name in evaluation.__all__)
