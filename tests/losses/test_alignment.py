import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kendalltau, pearsonr

from stlearn_lib.errors import LossError
from stlearn_lib.losses import similarity_rows
from stlearn_lib.losses.alignment import order_accuracy, row_correlation


def embeddings(seed, n):
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(n, 3, generator=generator, dtype=torch.float64) for _ in range(2))


def rows(a, b):
    """Similarities of each spot to the others, on both sides."""
    x, y = (similarity_rows(side).numpy() for side in (a, b))
    for i in range(len(x)):
        others = np.arange(len(x)) != i
        yield x[i, others], y[i, others]


@given(seed=st.integers(0, 10**6), n=st.integers(3, 9))
def test_they_are_scipys(seed, n):
    a, b = embeddings(seed, n)
    expected = np.mean([pearsonr(x, y)[0] for x, y in rows(a, b)])
    np.testing.assert_allclose(row_correlation(a, b), expected, rtol=1e-6)
    concordant = np.mean([(kendalltau(x, y)[0] + 1) / 2 for x, y in rows(a, b)])  # without ties
    np.testing.assert_allclose(order_accuracy(a, b), concordant, rtol=1e-6)


def test_embeddings_that_are_all_alike_agree_with_nothing():
    a, _ = embeddings(0, 5)
    alike = torch.ones(5, 2, dtype=torch.float64)
    assert row_correlation(a, alike).item() == 0 and order_accuracy(a, alike).item() == 0


def test_two_spots_have_no_order():
    with pytest.raises(LossError, match="needs at least 3 spots, not 2: choose a larger batch"):
        order_accuracy(torch.ones(2, 3), torch.ones(2, 3))
