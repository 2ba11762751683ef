"""Bootstrap intervals: nominal coverage, SciPy's percentiles, the right unit, and fast enough to be used."""

import numpy as np
import pytest
from scipy import stats

from stlearn_lib import evaluation
from stlearn_lib.errors import EvaluationError
from stlearn_lib.evaluation import bootstrap_interval, paired_difference, score
from stlearn_lib.evaluation.weighted import MEASURES


@pytest.fixture
def pair():
    rng = np.random.default_rng(0)
    truth = rng.poisson(rng.gamma(1.0, 2.0, 60), (70, 60)).astype(float)
    truth[0] += 1  # no gene is empty
    return truth, 0.3 * truth + rng.normal(size=truth.shape)


def gaussian_pair(rng, n, rho, n_genes=1):
    truth, noise = rng.normal(size=(2, n, n_genes))
    return truth, rho * truth + np.sqrt(1 - rho**2) * noise


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.filterwarnings("ignore::stlearn_lib.errors.UndefinedGeneWarning")
def test_weights_are_repeated_spots(pair, measure):
    """A weighted measure equals the plain one on the spots that were drawn, constant genes among them included."""
    truth, prediction = pair
    truth[:, :5] = 0
    truth[:3, :5] = 0.1  # constant in many resamples
    truth[5], prediction[5] = 0, 1  # an empty spot
    rng = np.random.default_rng(1)
    draws = rng.integers(70, size=(30, 70))
    weights = np.array([np.bincount(draw, minlength=70) for draw in draws], dtype=float)
    expected = [getattr(score(truth[draw], prediction[draw]), measure) for draw in draws]
    np.testing.assert_allclose(MEASURES[measure](truth, prediction, weights), expected, rtol=1e-9)


@pytest.mark.parametrize("measure", MEASURES)
def test_the_estimate_is_the_score(pair, measure):
    interval = bootstrap_interval(*pair, measure, n_resamples=200, seed=0)
    assert interval.estimate == pytest.approx(getattr(score(*pair), measure))
    assert interval.low < interval.high
    assert (interval.level, interval.n_resamples, interval.unit) == (0.95, 200, "spot")
    if measure != "best":  # maxima of resamples lie above the maxima of the spots
        assert interval.low < interval.estimate < interval.high


def test_equals_scipy_for_a_mean(pair):
    truth, prediction = (part[:, :1] for part in pair)
    ours = bootstrap_interval(truth, prediction, "mse", n_resamples=20_000, seed=0)
    squared = ((truth - prediction) ** 2).ravel()
    how = {"n_resamples": 20_000, "method": "percentile", "rng": np.random.default_rng(1)}
    scipys = stats.bootstrap((squared,), np.mean, **how).confidence_interval
    np.testing.assert_allclose((ours.low, ours.high), scipys, rtol=0.02)


def test_equals_scipy_for_a_correlation():
    truth, prediction = gaussian_pair(np.random.default_rng(0), n=60, rho=0.5)
    ours = bootstrap_interval(truth, prediction, "acg", n_resamples=20_000, level=0.8, seed=0)
    scipys = stats.bootstrap(
        (truth[:, 0], prediction[:, 0]),
        lambda t, p, axis: stats.pearsonr(t, p, axis=axis).statistic,
        paired=True,
        n_resamples=20_000,
        confidence_level=0.8,
        method="percentile",
        rng=np.random.default_rng(1),
    ).confidence_interval
    np.testing.assert_allclose((ours.low, ours.high), scipys, atol=0.005)


@pytest.mark.parametrize(("measure", "true_value"), [("acg", 0.6), ("mse", 2 - 2 * 0.6)])
def test_covers_the_truth_as_often_as_it_says(measure, true_value):
    rng = np.random.default_rng(0)
    trials = 300
    intervals = [
        bootstrap_interval(*gaussian_pair(rng, 150, 0.6), measure, n_resamples=300, level=0.9, seed=trial)
        for trial in range(trials)
    ]
    covered = sum(interval.low <= true_value <= interval.high for interval in intervals)
    assert abs(covered / trials - 0.9) < 3 * np.sqrt(0.9 * 0.1 / trials)


def test_a_seed_gives_one_interval(pair):
    names = list("ABCDEFG") * 10
    for how in ({}, {"sections": names}, {"sections": names, "unit": "section"}):
        first = bootstrap_interval(*pair, "acg", n_resamples=150, seed=3, **how)
        assert first == bootstrap_interval(*pair, "acg", n_resamples=150, seed=3, **how)
        assert first != bootstrap_interval(*pair, "acg", n_resamples=150, seed=4, **how)


def sections_that_differ():
    rng = np.random.default_rng(0)
    names = np.repeat([f"S{i}" for i in range(12)], 30)
    truth = rng.normal(size=(360, 2))
    error = np.repeat(rng.uniform(0.2, 2.0, 12), 30)[:, None]
    return truth, truth + error * rng.normal(size=truth.shape), names


def test_sections_that_differ_make_the_section_interval_wider():
    truth, prediction, names = sections_that_differ()
    by_spot = bootstrap_interval(truth, prediction, "mse", sections=names, seed=0)
    by_section = bootstrap_interval(truth, prediction, "mse", sections=names, unit="section", seed=0)
    assert by_section.high - by_section.low > 2 * (by_spot.high - by_spot.low)
    assert by_section.estimate == by_spot.estimate


def test_drawing_sections_equals_scipy_for_the_mean_of_section_errors():
    truth, prediction, names = sections_that_differ()
    ours = bootstrap_interval(truth, prediction, "mse", sections=names, unit="section", n_resamples=20_000, seed=0)
    errors = ((truth - prediction) ** 2).mean(1).reshape(12, 30).mean(1)  # sections of one size
    how = {"n_resamples": 20_000, "method": "percentile", "rng": np.random.default_rng(1)}
    scipys = stats.bootstrap((errors,), np.mean, **how).confidence_interval
    np.testing.assert_allclose((ours.low, ours.high), scipys, rtol=0.02)


def test_spots_are_drawn_within_their_section():
    """Errors constant within a section: keeping the sections' sizes leaves nothing to vary."""
    names = ["A"] * 10 + ["B"] * 30
    truth = np.random.default_rng(0).normal(size=(40, 1))
    prediction = truth + np.repeat([1.0, 3.0], [10, 30])[:, None]
    within = bootstrap_interval(truth, prediction, "mae", sections=names, seed=0)
    assert (within.low, within.high) == pytest.approx((2.5, 2.5))
    across = bootstrap_interval(truth, prediction, "mae", seed=0)
    assert across.high - across.low > 0.3


def test_a_paired_difference_is_narrower_than_two_intervals():
    rng = np.random.default_rng(0)
    truth, first = gaussian_pair(rng, 200, 0.6, n_genes=3)
    second = first + 0.3 * rng.normal(size=first.shape)
    difference = paired_difference(truth, first, second, "acg", seed=0)
    alone = [bootstrap_interval(truth, prediction, "acg", seed=0) for prediction in (first, second)]
    assert difference.estimate == pytest.approx(alone[0].estimate - alone[1].estimate)
    assert 0 < difference.low < difference.estimate < difference.high
    assert difference.high - difference.low < 0.6 * (alone[0].high - alone[0].low)
    turned = paired_difference(truth, second, first, "acg", seed=0)
    assert (turned.low, turned.high) == pytest.approx((-difference.high, -difference.low))


def test_a_prediction_does_not_differ_from_itself(pair):
    truth, prediction = pair
    nothing = paired_difference(truth, prediction, prediction, "best", n_resamples=50, seed=0)
    assert (nothing.estimate, nothing.low, nothing.high) == (0, 0, 0)


def test_resamples_without_the_measure_are_left_out_and_counted():
    truth = np.array([[0.0], [1.0]])  # half of the resamples draw one spot twice
    interval = bootstrap_interval(truth, truth, "acg", n_resamples=1000, seed=0)
    assert 430 < interval.n_resamples < 570
    assert (interval.low, interval.high) == pytest.approx((1, 1))
    nothing = bootstrap_interval(truth, np.ones((2, 1)), "acg", n_resamples=10, seed=0)
    assert nothing.n_resamples == 0 and np.isnan([nothing.estimate, nothing.low, nothing.high]).all()


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"measure": "pcc"}, "unknown measure 'pcc': choose one of acg, heg, best"),
        ({"unit": "patient"}, "unknown unit 'patient': choose spot or section"),
        ({"unit": "section"}, "0 sections cannot be resampled"),
        ({"unit": "section", "sections": ["A"] * 70}, "1 sections cannot be resampled"),
        ({"sections": ["A"] * 69}, "sections names 69 spots"),
        ({"level": 95}, "level 95"),
        ({"n_resamples": 0}, "0 resamples"),
        ({"truth": np.ones((70, 3))}, r"truth is \(70, 3\) and prediction is \(70, 60\)"),
    ],
)
def test_what_does_not_fit_is_named(pair, how, message):
    truth, prediction = pair
    arguments = {"truth": truth, "prediction": prediction, "measure": "acg", "seed": 0} | how
    with pytest.raises(EvaluationError, match=message):
        bootstrap_interval(**arguments)
    arguments["first"] = arguments["second"] = arguments.pop("prediction")
    with pytest.raises(EvaluationError, match=message):
        paired_difference(**arguments)


def test_names_are_those_of_scores():
    assert set(MEASURES) < set(evaluation.Scores.__dataclass_fields__)
