import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import pearsonr
from sklearn.linear_model import LinearRegression

from stlearn_lib.errors import EvaluationError
from stlearn_lib.evaluation import pearson_per_batch, predict_held_out


@settings(deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(2, 40), batch_size=st.integers(2, 16))
def test_the_correlation_of_a_batch_is_scipys(seed, n, batch_size):
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=(n, 3))
    prediction = rng.permuted(np.tile(np.linspace(-2, 2, n), (3, 1)), axis=1).T  # no two are equal in half precision
    rounded = prediction.astype(np.float16).astype(float)
    starts = [start for start in range(0, n, batch_size) if n - start > 1]
    batches = [slice(start, start + batch_size) for start in starts]
    r = [pearsonr(truth[batch, g], rounded[batch, g])[0] for batch in batches for g in range(3)]
    expected = np.mean(r)
    assert pearson_per_batch(truth, prediction, batch_size=batch_size) == pytest.approx(expected, abs=1e-9)


def test_batches_hide_what_differs_between_them():
    """A prediction that knows the section and nothing else: r is high over all, and nothing within a batch."""
    rng = np.random.default_rng(0)
    section = np.repeat([0.0, 3.0], 64)[:, None]
    truth = section + rng.normal(size=(128, 20))
    prediction = section + 0.1 * rng.normal(size=(128, 20))
    assert np.mean([pearsonr(t, p)[0] for t, p in zip(truth.T, prediction.T, strict=True)]) > 0.7
    assert abs(pearson_per_batch(truth, prediction)) < 0.1


def fit_predict(x, y, other):
    return LinearRegression().fit(x, y).predict(other)


def test_spots_that_are_held_out_have_neighbours_in_training_and_sections_have_not():
    """Each section has a level of its own that features name: it can be learnt from its own spots only."""
    rng = np.random.default_rng(0)
    names = np.eye(6)
    features = [np.repeat(names[s : s + 1], 30, axis=0) for s in range(6)]
    truths = [np.full((30, 4), rng.normal()) + 0.1 * rng.normal(size=(30, 4)) for _ in range(6)]
    by_spot, by_section = (
        predict_held_out(features, truths, fit_predict, held_out=held_out, n_splits=3)
        for held_out in ("spots", "sections")
    )
    assert by_spot["r"].min() > 0.9 and not (by_section["r"] > 0.5).any()
    assert by_spot["n_spots"].sum() == by_section["n_spots"].sum() == 180


def test_no_fold_is_trained_on_what_it_predicts():
    features = [np.arange(10.0 * s, 10 * s + 10)[:, None] for s in range(4)]
    seen = []

    def spy(x, y, other):
        seen.append((set(x.ravel()), set(other.ravel())))
        return np.repeat(other, 2, axis=1)

    for held_out in ("spots", "sections"):
        predict_held_out(features, [np.repeat(x, 2, axis=1) for x in features], spy, held_out=held_out, n_splits=4)
    assert all(not train & test and len(train | test) == 40 for train, test in seen)
    assert {len({value // 10 for value in test}) for _, test in seen[4:]} == {1}, "whole sections"


def test_the_top_genes_are_those_of_training():
    rng = np.random.default_rng(0)
    mean = np.linspace(0, 5, 300)
    truths = [mean + rng.normal(size=(20, 300)) for _ in range(3)]
    quality = np.where(mean > mean[49], 1.0, -1.0)  # the 250 highest are predicted right, the others reversed
    features = [np.hstack([truth * quality]) for truth in truths]
    table = predict_held_out(features, truths, lambda x, y, other: other, n_splits=3).set_index("genes")["r"]
    assert table["top 250"].min() > 0.8 > table["all"].max()


def test_bad_input_is_named():
    features = [np.zeros((3, 2))] * 3
    with pytest.raises(EvaluationError, match=r"not \[3, 3, 3\] and \[3, 3\]"):
        predict_held_out(features, features[:2], fit_predict)
    with pytest.raises(EvaluationError, match="3 sections cannot be divided into 5 folds"):
        predict_held_out(features, features, fit_predict)
    with pytest.raises(EvaluationError, match="held_out must be one of spots, sections, not 'slides'"):
        predict_held_out(features, features, fit_predict, held_out="slides")
    with pytest.raises(EvaluationError, match="batch_size must be at least 2, not 1"):
        pearson_per_batch(np.zeros((3, 2)), np.zeros((3, 2)), batch_size=1)
