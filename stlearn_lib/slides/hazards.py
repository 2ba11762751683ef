"""Survival in numbers: two losses, the concordance index, and intervals of time.

torchsurv is imported when it is first used, since it takes seconds, and in one place, `_torchsurv`, since its import
meets a deprecation in the newest torch.
"""

import importlib
import warnings
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy.stats import rankdata
from torch import Tensor
from torch.nn import functional as F

from stlearn_lib.errors import EvaluationError, LossError


def cox_loss(log_hazard: Tensor, time: Tensor, event: Tensor) -> Tensor:
    r"""Negative partial log-likelihood of Cox's model, averaged over the events; tied times as Efron has them.

    $$L = -\frac{1}{n} \sum_{i:\, \delta_i = 1} \Bigl( r_i - \ln \sum_{j:\, t_j \ge t_i} e^{r_j} \Bigr)$$

    A patient is compared with those of the same batch that are still at risk, so batches should be large. A batch
    without events says nothing: its loss is 0. Where several die at one time, theirs is one term of the average.

    Args:
        log_hazard: r, relative to a baseline that is never named, (B,).
        time: t, to the event or to the end of follow-up, (B,).
        event: δ, true where the event was seen, (B,).

    Returns:
        A scalar.

    Raises:
        LossError: If the three do not have the same length.

    Example:
        >>> loss = cox_loss(torch.zeros(4), torch.tensor([1.0, 2, 3, 4]), torch.tensor([1, 1, 0, 1]))
        >>> torch.allclose(loss, torch.tensor([4.0, 3, 1]).log().mean())  # 4, 3 and 1 were at risk
        True

    Reference:
        Cox, JRSS B 34 (1972) 187; torchsurv, arXiv 2404.10761.
    """
    _check(log_hazard.shape, time, event)
    if not event.any():
        return log_hazard.sum() * 0  # a zero that still belongs to the graph
    cox = _torchsurv("loss.cox")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Ties in `time` detected")
        loss: Tensor = cox.neg_partial_log_likelihood(log_hazard, event.bool(), time, ties_method="efron")
    return loss


def discrete_hazard_loss(logits: Tensor, interval: Tensor, event: Tensor) -> Tensor:
    r"""Negative log-likelihood of a discrete-time model: one hazard for each interval of time.

    $$h_k = \sigma(z_k), \qquad L = -\sum_{j < k} \ln(1 - h_j) - \delta \ln h_k - (1 - \delta) \ln(1 - h_k)$$

    with k the interval of the event or of the last follow-up, which counts as survived, as in MCAT. It needs no one to
    be compared with: a batch may be as small as memory wants.

    Args:
        logits: z, (B, K).
        interval: k, from 0, (B,) integers; see `intervals_of`.
        event: δ, (B,).

    Returns:
        A scalar, the mean over the batch.

    Raises:
        LossError: If the shapes do not fit, or an interval is not in 0..K-1.

    Example:
        >>> loss = discrete_hazard_loss(torch.zeros(1, 4), torch.tensor([1]), torch.tensor([1]))
        >>> round(float(loss / np.log(2)), 4)  # one interval survived, and death in the next: two throws of a coin
        2.0

    Reference:
        Gensheimer and Narasimhan, PeerJ 7 (2019) e6257; Chen et al. (MCAT), ICCV 2021.
    """
    _check(logits.shape[:1], interval, event)
    if logits.ndim != 2 or interval.min() < 0 or interval.max() >= logits.shape[1]:
        raise LossError(f"intervals {interval.min()} to {interval.max()} do not fit logits {tuple(logits.shape)}.")
    intervals = torch.arange(logits.shape[1], device=logits.device)
    reached = (intervals <= interval[:, None]).to(logits.dtype)
    died = (intervals == interval[:, None]) & event.bool()[:, None]
    terms = F.binary_cross_entropy_with_logits(logits, died.to(logits.dtype), weight=reached, reduction="none")
    return terms.sum(dim=1).mean()


def intervals_of(time: ArrayLike, edges: ArrayLike) -> np.ndarray:
    """Find the interval of each time.

    Args:
        time: (N,).
        edges: The K-1 inner edges of K intervals, ascending; an edge belongs to the interval after it.

    Returns:
        Intervals from 0 to K-1, (N,).

    Example:
        >>> intervals_of([1, 5, 20], edges=[5, 10])
        array([0, 1, 2])
    """
    return np.searchsorted(np.asarray(edges, dtype=float), np.asarray(time, dtype=float), side="right")


def concordance_index(risk: ArrayLike, time: ArrayLike, event: ArrayLike) -> float:
    r"""Harrell's concordance index: how often, of two patients, the one with the higher risk dies first.

    $$C = \frac{\sum_{i,j} \delta_i\, 1[t_i < t_j]\,(1[r_i > r_j] + \tfrac12 1[r_i = r_j])}
                {\sum_{i,j} \delta_i\, 1[t_i < t_j]}$$

    Of two with equal times the one whose follow-up ended counts as living longer. Risks and times enter as ranks, which
    change nothing, and escape torchsurv's single precision.

    Args:
        risk: Higher is worse, (N,).
        time: To the event or the end of follow-up, (N,).
        event: True where the event was seen, (N,).

    Returns:
        0.5 for guessing, 1 for the right order.

    Raises:
        EvaluationError: If the lengths differ, a number is not finite, or no two patients can be compared.

    Example:
        >>> round(concordance_index([3, 1, 2], time=[1, 2, 3], event=[1, 1, 0]), 4)
        0.6667

    Reference:
        Harrell et al., Statistics in Medicine 15 (1996) 361; torchsurv, arXiv 2404.10761.
    """
    risks, times, events = (np.asarray(values, dtype=float) for values in (risk, time, event))
    if risks.ndim != 1 or not risks.shape == times.shape == events.shape:
        raise EvaluationError(f"risk {risks.shape}, time {times.shape} and event {events.shape} are of one length.")
    if not (np.isfinite(risks).all() and np.isfinite(times).all() and np.isfinite(events).all()):
        raise EvaluationError("a risk, time or event is not finite: no order can be made of it.")
    seen = events.astype(bool)
    first = times[seen].min(initial=np.inf)
    if not ((times > first) | (times == first) & ~seen).any():
        raise EvaluationError(f"{int(seen.sum())} events and nobody who lived longer: no two patients can be compared.")
    index = _torchsurv("metrics.cindex").ConcordanceIndex()
    ranks = (torch.from_numpy(rankdata(values, method="dense").astype(np.float32)) for values in (risks, times))
    estimate, order = ranks
    return float(index(estimate, torch.from_numpy(seen), order))


def _check(shape: torch.Size, time: Tensor, event: Tensor) -> None:
    if len(shape) != 1 or not shape == time.shape == event.shape:
        raise LossError(f"hazards {tuple(shape)}, times {tuple(time.shape)} and events {tuple(event.shape)} differ.")


def _torchsurv(module: str) -> Any:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*torch.jit.script.* is deprecated", category=FutureWarning)
        return importlib.import_module(f"torchsurv.{module}")
