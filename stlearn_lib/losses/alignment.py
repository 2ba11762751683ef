"""How well two sets of embeddings agree on which spots are alike: measures, not losses, to look at while training."""

import torch
from torch import Tensor

from stlearn_lib.errors import LossError
from stlearn_lib.losses.ranking import similarity_rows


def row_correlation(a: Tensor, b: Tensor) -> Tensor:
    r"""Return the mean Pearson correlation of the rows of two similarity matrices.

    $$\frac{1}{B} \sum_i r(S_{i\cdot}, S'_{i\cdot})$$

    with the similarities of `losses.ranking.similarity_rows`. A spot's similarity to itself is left out: it is the
    largest of either row whatever was learnt.

    Args:
        a: Embeddings, (B, D).
        b: Embeddings of the same spots, (B, E).

    Returns:
        The mean correlation, a scalar; a row that is constant counts as 0.

    Raises:
        LossError: If there are fewer than 3 spots.

    Example:
        >>> a = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
        >>> round(row_correlation(a, a).item(), 4)
        1.0

    Reference:
        After RankByGene, arXiv 2411.15076, which keeps a spot's similarity to itself.
    """
    x, y = (_others(similarity_rows(embeddings)) for embeddings in (a, b))
    x, y = x - x.mean(dim=1, keepdim=True), y - y.mean(dim=1, keepdim=True)
    norms = x.norm(dim=1) * y.norm(dim=1)
    return ((x * y).sum(dim=1) / norms.clamp(min=torch.finfo(x.dtype).tiny)).mean()


def order_accuracy(a: Tensor, b: Tensor) -> Tensor:
    r"""Return the share of pairs of other spots that two sets of embeddings order alike, seen from each spot.

    Guessing gives 1/2; a pair that is tied on one side counts as wrong.

    Args:
        a: Embeddings, (B, D).
        b: Embeddings of the same spots, (B, E).

    Returns:
        The share, a scalar.

    Raises:
        LossError: If there are fewer than 3 spots.

    Example:
        >>> a = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
        >>> order_accuracy(a, a).item()
        1.0

    Reference:
        After RankByGene, arXiv 2411.15076.
    """
    x, y = (_others(similarity_rows(embeddings)) for embeddings in (a, b))
    n = x.shape[1]
    alike = [(x - x.roll(shift, dims=1)).sign() == (y - y.roll(shift, dims=1)).sign() for shift in range(1, n)]
    return torch.stack(alike).float().mean()


def _others(similarity: Tensor) -> Tensor:
    """A matrix (B, B) without its diagonal, (B, B - 1)."""
    n = len(similarity)
    if n < 3:
        raise LossError(f"an order of other spots needs at least 3 spots, not {n}: choose a larger batch.")
    return similarity.flatten()[1:].view(n - 1, n + 1)[:, :-1].reshape(n, n - 1)
