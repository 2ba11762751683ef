"""Hypergraphs over the few spots of a neighbourhood, many neighbourhoods at a time.

A hyperedge joins any number of nodes. With K nodes and K hyperedges a neighbourhood's incidence is a K x K matrix;
K is 9 here, so that a batch of dense matrices is both the simplest form and the fastest.
"""

import torch
from torch import Tensor, nn

from stlearn_lib.errors import ModelError


def nearest_hyperedges(similarity: Tensor, n_similar: int = 3) -> Tensor:
    r"""Give each node a hyperedge that joins it with the nodes most similar to it.

    $$H_{ne} = 1 \iff n = e \;\text{or}\; n \in \mathrm{top}_m \{\, s_{en'} : n' \ne e \,\}$$

    Args:
        similarity: Similarities of a neighbourhood's nodes, (..., K, K).
        n_similar: m, nodes that a hyperedge has besides its own; all others if there are fewer.

    Returns:
        The incidence matrices H, (..., K, K): rows are nodes, columns hyperedges; 0 or 1.

    Raises:
        ModelError: If the similarities are not square.

    Example:
        >>> nearest_hyperedges(torch.tensor([[1.0, 0.9, 0.1], [0.9, 1.0, 0.2], [0.1, 0.2, 1.0]]), n_similar=1)
        tensor([[1., 1., 0.],
                [1., 1., 1.],
                [0., 0., 1.]])

    Reference:
        NH2ST, arXiv 2506.23827; code MCPathology/NH2ST @ e385a1c.
    """
    n_nodes = similarity.shape[-1]
    if similarity.ndim < 2 or similarity.shape[-2] != n_nodes:
        raise ModelError(f"similarities of K nodes are (..., K, K), not {tuple(similarity.shape)}.")
    own = torch.eye(n_nodes, dtype=torch.bool, device=similarity.device)
    others = similarity.masked_fill(own, -torch.inf)
    chosen = others.topk(min(n_similar, n_nodes - 1), dim=-1).indices  # (..., K, m): the nodes of each hyperedge
    of_edge = torch.zeros_like(similarity).scatter(-1, chosen, 1.0)
    return (of_edge + own.to(of_edge.dtype)).transpose(-1, -2)


class HypergraphConvolution(nn.Module):
    r"""Averages nodes into hyperedges, and hyperedges into nodes.

    $$X' = D^{-1} H B^{-1} H^\top X \Theta + b$$

    with $D$ the number of hyperedges of each node and $B$ the number of nodes of each hyperedge.

    Args:
        n_in: Width of the nodes' features.
        n_out: Width of what comes out.

    Example:
        >>> incidence = torch.ones(3, 3)  # every hyperedge holds every node: all nodes become alike
        >>> HypergraphConvolution(5, 2)(torch.rand(3, 5), incidence).std(dim=0).max() < 1e-6
        tensor(True)

    Reference:
        Bai, Zhang, Torr, Hypergraph convolution and hypergraph attention, Pattern Recognition 110 (2021) 107637.
    """

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.linear = nn.Linear(n_in, n_out, bias=False)
        self.bias = nn.Parameter(torch.zeros(n_out))

    def forward(self, nodes: Tensor, incidence: Tensor) -> Tensor:
        """Map nodes (..., K, n_in) over incidences (..., K, E) to nodes (..., K, n_out)."""
        return self.propagate(self.linear(nodes), incidence)

    def propagate(self, mapped: Tensor, incidence: Tensor) -> Tensor:
        r"""Do what follows $X \Theta$: a node that many neighbourhoods share need be mapped only once.

        Args:
            mapped: Nodes after the linear map, (..., K, n_out).
            incidence: H, (..., K, E).

        Returns:
            Nodes, (..., K, n_out).
        """
        edges = incidence.transpose(-1, -2) @ mapped / _count(incidence.sum(dim=-2))
        nodes: Tensor = incidence @ edges / _count(incidence.sum(dim=-1)) + self.bias
        return nodes


def _count(counts: Tensor) -> Tensor:
    """Counts as a divisor; what belongs to nothing stays zero."""
    return counts.clamp(min=1).unsqueeze(-1)
