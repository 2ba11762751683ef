"""Embeddings of all processes side by side, so that a contrastive loss sees every spot of a batch."""

from typing import Any

import torch
from torch import Tensor, distributed


def gather_embeddings(embeddings: Tensor) -> Tensor:
    r"""Gather the embeddings of all processes, in the order of their ranks, and let gradients flow back to each.

    A contrastive loss has no meaning for half a batch: every spot is a negative for every other. With P processes,
    each computes the loss $L$ of all $B = P b$ spots. The gradient that comes back to a process is the sum of what
    all P processes ask of its b rows, $P\, \partial L / \partial a$; distributed training averages the gradients
    of parameters over processes, and what remains is the gradient of $L$ in a single process.

    Args:
        embeddings: Embeddings of this process's spots, (b, D); every process has as many.

    Returns:
        Embeddings of all spots, (B, D); in a single process the embeddings themselves.

    Example:
        >>> gather_embeddings(torch.ones(2, 3)).shape  # no process group: nothing to gather
        torch.Size([2, 3])

    Reference:
        Radford et al. (CLIP), arXiv 2103.00020, whose batches are spread over processes in the same way.
    """
    if not (distributed.is_available() and distributed.is_initialized()) or distributed.get_world_size() == 1:
        return embeddings
    return _Gather.apply(embeddings)


class _Gather(torch.autograd.Function):
    """Gathers rows; PyTorch's own, of `torch.distributed.nn`, is deprecated and has no successor in older versions."""

    @staticmethod
    def forward(ctx: Any, embeddings: Tensor) -> Tensor:
        embeddings = embeddings.contiguous()
        shares = [torch.empty_like(embeddings) for _ in range(distributed.get_world_size())]
        distributed.all_gather(shares, embeddings)
        return torch.cat(shares)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        gradient = gradient.clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(gradient)  # the sum over processes
        return gradient.chunk(distributed.get_world_size())[distributed.get_rank()]
