import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stlearn_lib.errors import LossError
from stlearn_lib.losses import clip_loss


def embeddings(seed, b=5, d=4):
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(b, d, generator=generator, dtype=torch.float64) for _ in range(2))


def loop(a, b, temperature, normalize, weight):
    """The definition, term by term."""
    if normalize:
        a, b = (x / x.norm(dim=1, keepdim=True) for x in (a, b))
    n, total = len(a), 0.0
    for i in range(n):
        there = [math.exp(float(a[i] @ b[j]) / temperature) for j in range(n)]
        back = [math.exp(float(a[j] @ b[i]) / temperature) for j in range(n)]
        total -= weight * math.log(there[i] / sum(there)) + (1 - weight) * math.log(back[i] / sum(back))
    return total / n


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    temperature=st.floats(0.3, 5),
    normalize=st.booleans(),
    weight=st.floats(0, 1),
)
def test_equals_the_loop(seed, temperature, normalize, weight):
    a, b = embeddings(seed)
    expected = loop(a, b, temperature, normalize, weight)
    assert clip_loss(a, b, temperature=temperature, normalize=normalize, weight=weight).item() == pytest.approx(
        expected
    )


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_symmetric_and_blind_to_the_order_of_pairs(seed):
    a, b = embeddings(seed)
    order = torch.randperm(5, generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(clip_loss(a, b), clip_loss(b, a))
    torch.testing.assert_close(clip_loss(a, b), clip_loss(a[order], b[order]))


@pytest.mark.parametrize("batch", [1, 2, 128])
def test_guessing_costs_ln_b(batch):
    same = torch.ones(batch, 8)
    assert clip_loss(same, same).item() == pytest.approx(math.log(batch), abs=1e-6)


def test_right_pairs_cost_nothing_and_length_is_a_temperature():
    eye = torch.eye(6)
    assert clip_loss(eye, eye, temperature=0.01).item() < 1e-6
    torch.testing.assert_close(clip_loss(3 * eye, eye), clip_loss(eye, eye, temperature=1 / 3))
    torch.testing.assert_close(clip_loss(3 * eye, eye, normalize=True), clip_loss(eye, eye, normalize=True))


@pytest.mark.parametrize("normalize", [False, True])
def test_gradient(normalize):
    a, b = embeddings(0)
    inputs = (a.requires_grad_(), b.requires_grad_())
    assert torch.autograd.gradcheck(lambda a, b: clip_loss(a, b, temperature=0.7, normalize=normalize), inputs)


@pytest.mark.parametrize(
    ("a", "b", "setting", "message"),
    [
        (torch.ones(3, 2), torch.ones(4, 2), {}, r"\(3, 2\) and \(4, 2\)"),
        (torch.ones(3), torch.ones(3), {}, "one shape"),
        (torch.ones(0, 2), torch.ones(0, 2), {}, "one shape"),
        (torch.ones(3, 2), torch.ones(3, 2), {"temperature": 0.0}, "temperature must be positive, not 0.0"),
        (torch.ones(3, 2), torch.ones(3, 2), {"weight": 1.5}, "weight must lie between 0 and 1, not 1.5"),
    ],
)
def test_errors(a, b, setting, message):
    with pytest.raises(LossError, match=message):
        clip_loss(a, b, **setting)
