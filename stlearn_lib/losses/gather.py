"""Embeddings of all processes and parts side by side, so that a contrastive loss sees every spot of a batch."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
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
        Embeddings of all spots, (B, D); in a single process the embeddings themselves. While a batch is taken
        `PartByPart`, those of its other parts are among them.

    Example:
        >>> gather_embeddings(torch.ones(2, 3)).shape  # no process group: nothing to gather
        torch.Size([2, 3])

    Reference:
        Radford et al. (CLIP), arXiv 2103.00020, whose batches are spread over processes in the same way.
    """
    if distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1:
        embeddings = _Gather.apply(embeddings)
    parts = _parts.get()
    return embeddings if parts is None else parts.put(embeddings)


class PartByPart:
    r"""Lets `gather_embeddings` see the whole of a batch that is divided, since it does not fit into memory.

    Each part is embedded twice: first without gradients, and what it gathers is kept; then, with gradients, among what
    the other parts have left. With $n$ parts, what comes back to a part is $n\, \partial L / \partial a$ of its rows;
    the mean over parts that accumulates is the gradient of $L$ over the undivided batch, as long as a part draws the
    same random numbers both times.

    Args:
        n_parts: Parts of the batch.

    Example:
        >>> a, batch = torch.rand(4, 3), PartByPart(2)
        >>> for i in range(2):
        ...     with batch.kept(i):
        ...         _ = gather_embeddings(a[2 * i : 2 * i + 2])
        >>> with batch.among_others(1):
        ...     torch.equal(gather_embeddings(a[2:]), a)
        True

    Reference:
        Gao et al. (GradCache), arXiv 2101.06983.
    """

    def __init__(self, n_parts: int) -> None:
        self._left: list[list[Tensor]] = [[] for _ in range(n_parts)]
        self._part, self._n_gathered, self._keeps = 0, 0, True

    @contextmanager
    def kept(self, part: int) -> Iterator[None]:
        """Keep what a part gathers."""
        with self._at(part, keeps=True), torch.no_grad():
            yield

    @contextmanager
    def among_others(self, part: int) -> Iterator[None]:
        """Put what a part gathers among what the others have left."""
        with self._at(part, keeps=False):
            yield

    @contextmanager
    def _at(self, part: int, *, keeps: bool) -> Iterator[None]:
        self._part, self._n_gathered, self._keeps = part, 0, keeps
        token = _parts.set(self)
        try:
            yield
        finally:
            _parts.reset(token)

    def put(self, embeddings: Tensor) -> Tensor:
        """Take what was gathered; return it, or what the whole batch has gathered at the same place."""
        if self._keeps:
            self._left[self._part].append(embeddings.detach())
            return embeddings
        everywhere = [left[self._n_gathered] for left in self._left]
        self._n_gathered += 1
        own = embeddings.view_as(embeddings)  # the same numbers; a gradient of their own
        if own.requires_grad:
            own.register_hook(lambda gradient: gradient * len(self._left))
        everywhere[self._part] = own
        return torch.cat(everywhere)


_parts: ContextVar[PartByPart | None] = ContextVar("parts", default=None)
"""The batch that is being taken part by part."""


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
