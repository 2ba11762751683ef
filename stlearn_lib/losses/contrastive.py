"""Contrastive losses between the embeddings of a spot's image and of its expression."""

import torch
from torch import Tensor
from torch.nn import functional as F

from stlearn_lib.errors import LossError


def clip_loss(
    a: Tensor, b: Tensor, *, temperature: float = 1.0, normalize: bool = False, weight: float = 0.5
) -> Tensor:
    r"""Symmetric contrastive loss: each row of `a` has to find its own row among those of `b`, and the reverse.

    $$L = \lambda \, \mathrm{CE}(S, I) + (1 - \lambda) \, \mathrm{CE}(S^\top, I), \qquad S_{ij} = a_i \cdot b_j / \tau$$

    where $\mathrm{CE}(S, I)$ is the mean over $i$ of $-\log \mathrm{softmax}(S_i)_i$. Guessing costs $\ln B$.

    The released mclSTExp uses $\tau = 1$ on embeddings that are not normalised; then their length acts as a second
    temperature, and it starts far above $\ln B$. With ``normalize=True`` the rows are scaled to unit length first, as
    in CLIP.

    Args:
        a: Embeddings, (B, D).
        b: Embeddings of the same B spots, (B, D).
        temperature: $\tau$, positive.
        normalize: Whether to scale rows to unit length.
        weight: $\lambda$, between 0 and 1: how much it counts to find `b` from `a`.

    Returns:
        The loss, a scalar.

    Raises:
        LossError: If the shapes differ or are no (B, D), or a setting is out of its range.

    Example:
        >>> spots = torch.eye(4)
        >>> round(clip_loss(spots, spots, temperature=0.01).item(), 6)
        0.0
        >>> round(clip_loss(torch.ones(4, 3), torch.ones(4, 3)).item(), 4)  # no way to tell: ln 4
        1.3863

    Reference:
        Radford et al., arXiv 2103.00020; mclSTExp, arXiv 2407.08216, code shizhiceng/mclSTExp @ fdd3ab1.
    """
    _check_pair(a, b, temperature)
    if not 0 <= weight <= 1:
        raise LossError(f"weight must lie between 0 and 1, not {weight}.")
    if normalize:
        a, b = F.normalize(a, dim=1), F.normalize(b, dim=1)
    logits = a @ b.T / temperature  # (B, B)
    own = torch.arange(len(a), device=a.device)
    return weight * F.cross_entropy(logits, own) + (1 - weight) * F.cross_entropy(logits.T, own)


def weighted_info_nce(
    a: Tensor, b: Tensor, *, temperature: float = 0.05, negative_weight: float = 0.1, symmetric: bool = False
) -> Tensor:
    r"""Contrastive loss in which the logits of negatives are scaled.

    $$L = -\frac{1}{B} \sum_i \log \frac{e^{s_{ii}}}{e^{s_{ii}} + \sum_{j \ne i} e^{w s_{ij}}}, \qquad
    s_{ij} = \frac{a_i \cdot b_j}{\tau \, \lVert a_i \rVert \lVert b_j \rVert}$$

    As released by NH2ST, $w = 0.1$ multiplies the negatives' *logits*: at $\tau = 0.05$ a negative of cosine 1 counts
    $e^2$, and not $e^{20}$ as a positive does, so that negatives are hardly pushed away; one of cosine -1 counts
    $e^{-2}$ rather than nothing. With ``negative_weight=1`` this is the textbook InfoNCE.

    Args:
        a: Embeddings that look for their own among `b`, (B, D).
        b: Embeddings of the same B spots, (B, D).
        temperature: $\tau$, positive.
        negative_weight: $w$, not negative.
        symmetric: Whether to average with the loss of finding `a` from `b`; the released code does not.

    Returns:
        The loss, a scalar.

    Raises:
        LossError: If the shapes differ or are no (B, D), or a setting is out of its range.

    Example:
        >>> spots = torch.eye(4)
        >>> round(weighted_info_nce(spots, spots).item(), 6)
        0.0
        >>> round(weighted_info_nce(torch.ones(4, 3), torch.ones(4, 3), negative_weight=1).item(), 4)  # guessing: ln 4
        1.3863

    Reference:
        NH2ST, arXiv 2506.23827, code MCPathology/NH2ST @ e385a1c; InfoNCE: van den Oord et al., arXiv 1807.03748.
    """
    _check_pair(a, b, temperature)
    if not negative_weight >= 0:
        raise LossError(f"negative_weight must be 0 or more, not {negative_weight}.")
    logits = F.normalize(a, dim=1) @ F.normalize(b, dim=1).T / temperature  # (B, B)
    own = torch.arange(len(a), device=a.device)
    positive = torch.eye(len(a), dtype=torch.bool, device=a.device)
    logits = torch.where(positive, logits, negative_weight * logits)
    loss = F.cross_entropy(logits, own)
    return (loss + F.cross_entropy(logits.T, own)) / 2 if symmetric else loss


def info_nce(query: Tensor, key: Tensor, *, temperature: float = 0.1) -> Tensor:
    r"""Contrastive loss: each query has to find its own key among those of the batch.

    $$L = -\frac{1}{B} \sum_i \log \frac{e^{s_{ii}}}{\sum_j e^{s_{ij}}}, \qquad
    s_{ij} = \frac{q_i \cdot k_j}{\tau \, \lVert q_i \rVert \lVert k_j \rVert}$$

    Args:
        query: Embeddings that look, (B, D).
        key: Embeddings of the same B spots, (B, D).
        temperature: $\tau$, positive.

    Returns:
        The loss, a scalar.

    Raises:
        LossError: If the shapes differ or are no (B, D), or the temperature is not positive.

    Example:
        >>> round(info_nce(torch.ones(4, 3), torch.ones(4, 3)).item(), 4)  # guessing: ln 4
        1.3863

    Reference:
        van den Oord et al., arXiv 1807.03748; RankByGene, arXiv 2411.15076, code winston52/RankByGene @ 96a1549.
    """
    return weighted_info_nce(query, key, temperature=temperature, negative_weight=1.0)


def _check_pair(a: Tensor, b: Tensor, temperature: float) -> None:
    if a.ndim != 2 or a.shape != b.shape or not len(a):
        raise LossError(f"two embeddings of one shape (B, D) are needed, not {tuple(a.shape)} and {tuple(b.shape)}.")
    if not temperature > 0:
        raise LossError(f"temperature must be positive, not {temperature}.")
