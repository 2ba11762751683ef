import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stlearn_lib.errors import ModelError
from stlearn_lib.models.hypergraph import HypergraphConvolution, nearest_hyperedges

with warnings.catch_warnings():
    warnings.simplefilter("ignore", FutureWarning)  # it scripts classes when it is imported, which torch deprecates
    from torch_geometric.nn import HypergraphConv


def similarities(seed, n):
    points = torch.randn(n, 5, generator=torch.Generator().manual_seed(seed))
    unit = torch.nn.functional.normalize(points, dim=1)
    return unit @ unit.T


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(2, 12), m=st.integers(1, 5))
def test_a_hyperedge_holds_its_node_and_the_most_similar(seed, n, m):
    similarity = similarities(seed, n)
    incidence = nearest_hyperedges(similarity, m).numpy()
    for edge in range(n):
        others = sorted((node for node in range(n) if node != edge), key=lambda node: -float(similarity[edge, node]))
        assert set(np.flatnonzero(incidence[:, edge])) == {edge, *others[:m]}


def test_neighbourhoods_do_not_see_one_another():
    both = torch.stack([similarities(0, 9), similarities(1, 9)])
    torch.testing.assert_close(nearest_hyperedges(both)[1], nearest_hyperedges(both[1]))
    with pytest.raises(ModelError, match=r"not \(9, 3\)"):
        nearest_hyperedges(torch.zeros(9, 3))


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(2, 12))
def test_convolution_equals_torch_geometric(seed, n):
    generator = torch.Generator().manual_seed(seed)
    nodes, incidence = torch.randn(n, 6, generator=generator), nearest_hyperedges(similarities(seed, n))
    theirs, ours = HypergraphConv(6, 4), HypergraphConvolution(6, 4)
    with torch.no_grad():
        ours.linear.weight.copy_(theirs.lin.weight)
        ours.bias.copy_(torch.randn(4, generator=generator))
        theirs.bias.copy_(ours.bias)
        torch.testing.assert_close(ours(nodes, incidence), theirs(nodes, incidence.nonzero().T), rtol=1e-5, atol=1e-5)


def test_a_node_without_a_hyperedge_keeps_the_bias_only():
    layer = HypergraphConvolution(3, 2)
    torch.testing.assert_close(layer(torch.rand(4, 3), torch.zeros(4, 4)), layer.bias.expand(4, 2))
