"""Spreads: closed forms, hand-written loops, and what a method says of its own."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge as SklearnRidge

from stlearn_lib.data.expression import Target, expression
from stlearn_lib.data.sections import without_counts
from stlearn_lib.errors import NotFittedError, StlearnError
from stlearn_lib.methods.baselines import NearestSpots, Ridge, TrainingMean
from stlearn_lib.methods.mclstexp import MclSTExp
from stlearn_lib.methods.registry import load_method
from stlearn_lib.methods.uncertainty import borrowed_spread, hierarchical_resample, mean_and_spread, weighted_ridge
from stlearn_lib.retrieval import Neighbours, nearest_keys

TARGET = Target(("ERBB2", "FASN", "COL1A1", "SIM020"))
FAST = settings(max_examples=30, deadline=None, derandomize=True)


# ------------------------------------------------------------------------------------------------------------ retrieval


@pytest.mark.parametrize("max_bytes", [1, 2**20])
def test_borrowed_spread_is_the_weighted_deviation(max_bytes):
    rng = np.random.default_rng(0)
    values, indices = rng.normal(size=(30, 4)), rng.integers(30, size=(7, 5))
    weights = rng.random((7, 5))
    weights /= weights.sum(axis=1, keepdims=True)
    expected = np.empty((7, 4))
    for q in range(7):
        for g in range(4):
            y = values[indices[q], g]
            mean = sum(weights[q] * y)
            expected[q, g] = sum(weights[q] * (y - mean) ** 2) ** 0.5
    np.testing.assert_allclose(borrowed_spread(Neighbours(indices, weights), values, max_bytes=max_bytes), expected)


def test_an_exact_hit_has_no_spread(cohort):
    method = NearestSpots(k=5, target=TARGET).fit(cohort[:2])
    np.testing.assert_array_equal(method.spread(cohort[0]), 0)


def test_all_spots_with_one_weight_spread_as_the_training_spots_do(sections, target, frozen_options):
    method = MclSTExp(target=target, k=48, weighting="uniform", **frozen_options).fit(sections[:2])
    truth = np.concatenate([expression(section, target) for section in sections[:2]])
    spread = method.spread(sections[2])
    np.testing.assert_allclose(spread, np.tile(truth.std(axis=0), (24, 1)), rtol=1e-5, atol=1e-6)
    assert spread.dtype == np.float32 and "48 training spots" in method.spread_kind


def test_nearest_spots_spread_around_their_prediction(cohort):
    method = NearestSpots(k=20, target=TARGET).fit(cohort[:2])
    inputs, values = method.inputs(cohort[2], method.state), method.state["values"]
    indices, weights = nearest_keys(inputs, method.state["keys"], k=20, distance="l2")
    prediction, spread = method.predict(cohort[2]).X, method.spread(without_counts(cohort[2]))
    for q in (0, 100):
        expected = np.sqrt(weights[q] @ (values[indices[q]] - prediction[q]) ** 2)
        np.testing.assert_allclose(spread[q], expected, rtol=1e-5)


# ---------------------------------------------------------------------------------------------------------------- ridge


@FAST
@given(st.integers(0, 2**32 - 1))
def test_counts_stand_for_rows(seed):
    rng = np.random.default_rng(seed)
    inputs, values = rng.normal(size=(20, 3)), rng.normal(size=(20, 2))
    counts = rng.integers(3, size=20)
    counts[0] = 1
    stacked = np.repeat(np.arange(20), counts)
    expected = SklearnRidge(alpha=0.7).fit(inputs[stacked], values[stacked])
    weights, intercept = weighted_ridge(inputs, values, counts, 0.7)
    np.testing.assert_allclose(weights, expected.coef_.T, atol=1e-10)
    np.testing.assert_allclose(intercept, expected.intercept_, atol=1e-10)


def test_ridge_spreads_over_its_refits(cohort):
    train, test = cohort[:3], cohort[3]
    method = Ridge(alpha=3.0, n_bootstrap=4, target=TARGET).fit(train)
    plain = Ridge(alpha=3.0, target=TARGET).fit(train)
    np.testing.assert_array_equal(method.predict(test).X, plain.predict(test).X)
    inputs = [plain.inputs(section, plain.state) for section in train]
    truths = [expression(section, TARGET) for section in train]
    rng, predictions = np.random.default_rng(0), []
    for _ in range(4):
        x, y = [], []
        for s in rng.integers(3, size=3):  # sections, then spots within each
            rows = rng.integers(168, size=168)
            x.append(inputs[s][rows])
            y.append(truths[s][rows])
        model = SklearnRidge(alpha=3.0).fit(np.concatenate(x), np.concatenate(y))
        predictions.append(model.predict(plain.inputs(test, plain.state)))
    np.testing.assert_allclose(method.spread(test), np.std(predictions, axis=0, ddof=1), rtol=1e-3, atol=1e-6)
    assert method.state["refitted_weights"].shape == (4, 26, 4)
    assert method.state["refitted_weights"].dtype == np.float32


def test_a_single_section_is_resampled_by_its_spots():
    counts = hierarchical_resample([5], np.random.default_rng(1))
    expected = np.random.default_rng(1)
    expected.integers(1, size=1)
    np.testing.assert_array_equal(counts, np.bincount(expected.integers(5, size=5), minlength=5))


@FAST
@given(st.lists(st.integers(1, 9), min_size=1, max_size=5), st.integers(0, 2**32 - 1))
def test_a_drawn_section_keeps_its_size(n_spots, seed):
    counts = np.split(hierarchical_resample(n_spots, np.random.default_rng(seed)), np.cumsum(n_spots)[:-1])
    times = [count.sum() / n for count, n in zip(counts, n_spots, strict=True)]
    assert all(time == int(time) for time in times) and sum(times) == len(n_spots)


@pytest.mark.parametrize("n_bootstrap", [1, -1])
def test_a_single_refit_is_refused(n_bootstrap):
    with pytest.raises(StlearnError, match="n_bootstrap is 0, for no spread, or 2 or more"):
        Ridge(n_bootstrap=n_bootstrap)


# --------------------------------------------------------------------------------------------------------- the contract


@FAST
@given(st.integers(2, 6), st.integers(0, 2**32 - 1))
def test_mean_and_spread_are_numpys(n, seed):
    predictions = np.random.default_rng(seed).normal(size=(n, 3, 2)) + 100
    mean, spread = mean_and_spread(iter(predictions))
    np.testing.assert_allclose(mean, predictions.mean(axis=0))
    np.testing.assert_allclose(spread, predictions.std(axis=0, ddof=1), rtol=1e-9)


@pytest.mark.parametrize("method", [TrainingMean(TARGET), Ridge(target=TARGET)], ids=lambda method: method.name)
def test_a_method_may_have_nothing_to_say(method, cohort):
    with pytest.raises(NotFittedError):
        method.spread(cohort[2])
    assert method.fit(cohort[:2]).spread(cohort[2]) is None and not method.spread_kind


@pytest.mark.parametrize("method", [NearestSpots(k=5, target=TARGET), Ridge(n_bootstrap=2, target=TARGET)])
def test_a_loaded_method_spreads_the_same(method, cohort, tmp_path):
    method.fit(cohort[:2]).save(tmp_path)
    np.testing.assert_array_equal(load_method(tmp_path).spread(cohort[2]), method.spread(cohort[2]))
    assert method.spread(cohort[2]).shape == (168, 4)
