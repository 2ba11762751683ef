"""Ranking consistency: what is more alike in expression should be more alike in the image, too."""

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from stlearn_lib.errors import LossError

Variant = Literal["released", "ordered"]
VARIANTS = ("released", "ordered")


def ranking_consistency(
    gene: Tensor,
    image: Tensor,
    *,
    variant: Variant = "released",
    permutation: Tensor | None = None,
    shifts: int | None = 1,
) -> Tensor:
    r"""Compare, spot by spot, the order of the others by their expression with that by their images.

    $$L = \mathrm{order\_loss}(\mathrm{softmax}(\hat v \hat v^\top), \mathrm{softmax}(\hat t \hat t^\top))$$

    with $\hat t, \hat v$ the rows of `gene` and `image` at unit length, and each row of similarities through a softmax.

    Args:
        gene: Embeddings of expression, (B, D).
        image: Embeddings of the images of the same B spots, (B, E).
        variant: See `order_loss`.
        permutation: See `order_loss`.
        shifts: See `order_loss`.

    Returns:
        The loss, a scalar.

    Raises:
        LossError: If the embeddings are not of B spots each, or a setting is out of its range.

    Example:
        >>> gene = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
        >>> ranking_consistency(gene, gene, variant="ordered").item()
        0.0

    Reference:
        RankByGene, arXiv 2411.15076, code winston52/RankByGene @ 96a1549.
    """
    if gene.ndim != 2 or image.ndim != 2 or len(gene) != len(image):
        raise LossError(
            f"embeddings (B, D) of the same spots are needed, not {tuple(gene.shape)} and {tuple(image.shape)}."
        )
    values, targets = similarity_rows(image), similarity_rows(gene)
    return order_loss(values, targets, variant=variant, permutation=permutation, shifts=shifts)


def similarity_rows(embeddings: Tensor) -> Tensor:
    """Return the cosine similarities of embeddings (B, D) with one another, each row through a softmax, (B, B)."""
    unit = F.normalize(embeddings, dim=1)
    return (unit @ unit.T).softmax(dim=1)


def order_loss(
    values: Tensor,
    targets: Tensor,
    *,
    variant: Variant = "released",
    permutation: Tensor | None = None,
    shifts: int | None = 1,
) -> Tensor:
    r"""Punish differences among `values` that disagree with the same differences among `targets`.

    With $\Delta_s$ the difference between an entry and the one $s$ places on,

    $$L = \frac{1}{B S} \sum_{s=1}^{S} \sum
    \begin{cases}
    \max(0, |\Delta_s V| - |\Delta_s T|) & \text{released} \\
    \max(0, -\mathrm{sign}(\Delta_s T)\, \Delta_s V + |\Delta_s T|) & \text{ordered}
    \end{cases}$$

    *Released* is what the authors' code computes. It has no term for the order: the reverse of the right order costs
    nothing, nor do values that are all alike; the right order costs something where its differences are larger than
    those of the targets. Its rows are permuted and its entries shifted in the *flattened* matrix, so that the last
    entries of a row are compared with the first of another.

    *Ordered* is what the paper's figure shows, as far as can be inferred: a pair costs nothing if and only if its
    values are ordered as its targets are, and differ at least as much. Spots, rows and columns alike, are permuted, and
    entries are shifted within their row. All $B - 1$ shifts together compare every pair of a row.

    Args:
        values: What should be ordered, (B, B).
        targets: What it should be ordered like, (B, B).
        variant: ``"released"`` or ``"ordered"``.
        permutation: The order of the spots, (B,); drawn if None.
        shifts: S, from 1 to B - 1; all of them if None.

    Returns:
        The loss, a scalar.

    Raises:
        LossError: If the matrices are not square and alike, or a setting is out of its range.

    Example:
        >>> targets = torch.tensor([[3.0, 2.0, 1.0]] * 3)
        >>> reverse = targets.flip(1)
        >>> [order_loss(reverse, targets, variant=v, shifts=None).item() for v in ("released", "ordered")]
        [0.0, 8.0]

    Reference:
        RankByGene, arXiv 2411.15076, code winston52/RankByGene @ 96a1549; ordered after the correctness ranking loss of
        Moon et al., arXiv 2007.01458.
    """
    n = len(values)
    if values.shape != (n, n) or targets.shape != (n, n) or n < 2:
        raise LossError(
            f"two matrices (B, B), B > 1, are needed, not {tuple(values.shape)} and {tuple(targets.shape)}."
        )
    if variant not in VARIANTS:
        raise LossError(f"variant must be one of {', '.join(VARIANTS)}, not {variant!r}.")
    if shifts is None:
        shifts = n - 1
    if not 1 <= shifts < n:
        raise LossError(f"shifts must lie between 1 and B - 1 = {n - 1}, not {shifts}.")
    if permutation is None:
        permutation = torch.randperm(n, device=values.device)
    elif permutation.shape != (n,) or sorted(permutation.tolist()) != list(range(n)):
        raise LossError(f"permutation must hold each of 0 to {n - 1} once, not {permutation.tolist()}.")
    values, targets = values[permutation], targets[permutation]
    if variant == "ordered":
        values, targets = values[:, permutation], targets[:, permutation]
    return torch.stack([_cost(values, targets, variant, shift) for shift in range(1, shifts + 1)]).sum() / (n * shifts)


def _cost(values: Tensor, targets: Tensor, variant: Variant, shift: int) -> Tensor:
    if variant == "released":
        dv, dt = (x - x.flatten().roll(shift).view_as(x) for x in (values, targets))
        return (dv.abs() - dt.abs()).relu().sum()
    dv, dt = (x - x.roll(shift, dims=1) for x in (values, targets))
    return (dt.abs() - dt.sign() * dv).relu().sum()
