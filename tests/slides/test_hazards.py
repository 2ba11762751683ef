import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lifelines import CoxPHFitter
from lifelines.utils import concordance_index as of_lifelines

from stlearn_lib.errors import EvaluationError, LossError
from stlearn_lib.slides.hazards import concordance_index, cox_loss, discrete_hazard_loss, intervals_of

PATIENTS = st.lists(st.tuples(st.integers(0, 5), st.integers(1, 6), st.booleans()), min_size=2, max_size=25)


@settings(deadline=None, max_examples=80)
@given(PATIENTS)
def test_concordance_is_that_of_lifelines(patients):
    """Ties in risk and in time, censored and not."""
    risk, time, event = (np.array(values, dtype=float) for values in zip(*patients, strict=True))
    try:
        expected = of_lifelines(time, -risk, event)
    except ZeroDivisionError:
        with pytest.raises(EvaluationError, match="no two patients can be compared"):
            concordance_index(risk, time, event)
    else:
        assert concordance_index(risk, time, event) == pytest.approx(expected, abs=1e-6)


def test_concordance_sees_differences_below_single_precision():
    assert concordance_index([1 + 2e-12, 1 + 1e-12, 1], time=[1, 1 + 1e-12, 1 + 2e-12], event=[1, 1, 1]) == 1.0


@pytest.mark.parametrize(
    ("risk", "event", "message"),
    [
        ([1, 2], [1, 1, 1], "of one length"),
        ([1, np.nan, 2], [1, 1, 1], "not finite"),
        ([1, 2, 3], [0, 0, 0], "0 events and nobody"),
        ([1, 2, 3], [0, 0, 1], "1 events and nobody"),
    ],
)
def test_what_has_no_concordance(risk, event, message):
    with pytest.raises(EvaluationError, match=message):
        concordance_index(risk, [1, 2, 3], event)


def by_hand(risk, time, event):
    """Breslow's sum, one patient after the other; equal to Efron's where no two die at one time."""
    terms = [risk[i] - np.log(np.exp(risk[time >= time[i]]).sum()) for i in np.flatnonzero(event)]
    return -np.mean(terms)


def test_cox_loss_by_hand():
    rng = np.random.default_rng(0)
    risk, time, event = rng.normal(size=30), rng.permutation(30) + 1.0, rng.random(30) < 0.6
    loss = cox_loss(torch.tensor(risk), torch.tensor(time), torch.tensor(event))
    np.testing.assert_allclose(loss, by_hand(risk, time, event), rtol=1e-6)


def test_cox_loss_with_ties_is_the_likelihood_of_lifelines():
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"x": rng.normal(size=60), "time": rng.integers(1, 9, 60), "event": rng.random(60) < 0.7})
    fitted = CoxPHFitter().fit(table, "time", "event")
    risk = torch.tensor(((table["x"] - table["x"].mean()) * fitted.params_["x"]).to_numpy(np.float32))
    loss = cox_loss(risk, torch.tensor(table["time"].to_numpy(np.float32)), torch.tensor(table["event"].to_numpy()))
    n_terms = table.loc[table["event"], "time"].nunique()
    np.testing.assert_allclose(-loss * n_terms, fitted.log_likelihood_, rtol=1e-5)


def test_a_batch_without_events_teaches_nothing():
    risk = torch.randn(5, requires_grad=True)
    cox_loss(risk, torch.arange(1.0, 6), torch.zeros(5)).backward()
    assert torch.equal(risk.grad, torch.zeros(5))


def test_discrete_loss_by_hand():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(6, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    interval, event = torch.tensor([0, 1, 2, 3, 3, 0]), torch.tensor([1, 0, 1, 0, 1, 0])
    hazard = logits.detach().sigmoid().numpy()
    total = 0.0
    for h, k, seen in zip(hazard, interval.tolist(), event.tolist(), strict=True):
        survived = np.prod(1 - h[:k])
        total -= np.log(survived * (h[k] if seen else 1 - h[k]))
    np.testing.assert_allclose(discrete_hazard_loss(logits, interval, event).item(), total / 6)
    assert torch.autograd.gradcheck(lambda z: discrete_hazard_loss(z, interval, event), logits)


def test_the_best_discrete_hazards_are_those_of_the_life_table():
    """The likelihood is highest at deaths / at risk, interval by interval."""
    interval, event = torch.tensor([0, 0, 1, 1, 1, 2]), torch.tensor([1, 0, 1, 1, 0, 1])
    best = torch.tensor([1 / 6, 2 / 4, 1 - 1e-9], dtype=torch.float64)
    losses = [
        discrete_hazard_loss(torch.logit(hazard).expand(6, 3), interval, event)
        for hazard in (best, best * torch.tensor([1.1, 1, 1]), best * torch.tensor([1, 0.9, 1]))
    ]
    assert losses[0] < min(losses[1:])


def test_intervals():
    np.testing.assert_array_equal(intervals_of([0.5, 1, 1.5, 2, 9], edges=[1, 2]), [0, 1, 1, 2, 2])


def test_shapes_and_ranges_are_checked():
    with pytest.raises(LossError, match=r"hazards \(3,\), times \(2,\)"):
        cox_loss(torch.zeros(3), torch.ones(2), torch.ones(3))
    with pytest.raises(LossError, match=r"intervals 0 to 4 do not fit logits \(2, 4\)"):
        discrete_hazard_loss(torch.zeros(2, 4), torch.tensor([0, 4]), torch.ones(2))
