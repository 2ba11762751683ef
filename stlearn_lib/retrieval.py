"""Prediction by retrieval: the expression of the most similar keys, averaged with inverse-square weights.

Exact search in chunks of queries: one matrix product and one top-k per chunk, then distances to the k chosen keys
only. The matrix of all similarities never exists, so 10,000 queries against 100,000 keys fit in a laptop's memory.
"""

from typing import Literal, NamedTuple, TypeVar

import numpy as np
import torch
from torch.nn import functional

from stlearn_lib.errors import RetrievalError

Array = TypeVar("Array", np.ndarray, torch.Tensor)
Distance = Literal["l1", "l2"]
Weighting = Literal["inverse_square", "uniform"]

_ORDER = {"l1": 1.0, "l2": 2.0}
_MAX_BYTES = 256 * 2**20


class Neighbours(NamedTuple):
    """The keys behind each prediction, most similar first: ``indices`` and ``weights`` (Q, k); weights sum to 1."""

    indices: np.ndarray | torch.Tensor
    weights: np.ndarray | torch.Tensor


def retrieve(
    query: Array,
    keys: Array,
    values: Array,
    *,
    k: int,
    distance: Distance,
    weighting: Weighting = "inverse_square",
    max_bytes: int = _MAX_BYTES,
) -> Array:
    r"""Predict a query's values as the weighted mean of the values of its k most cosine-similar keys.

    .. math::
        \hat y_q = \sum_{m \in N_k(q)} w_{qm}\, v_m, \qquad
        w_{qm} = \frac{d_{qm}^{-2}}{\sum_{m' \in N_k(q)} d_{qm'}^{-2}}

    where :math:`N_k(q)` holds the k keys of largest cosine similarity and :math:`d` is the L1 or L2 distance between
    the *unnormalised* embeddings. See `nearest_keys` for exact hits, zero vectors and ties.

    The paper takes d Euclidean and k = 200, 200 and 2400 (HER2+, cSCC, Alex+10x); the released code L1 for HER2+, L2
    elsewhere, and k = 200, 600 and 200. Neither is a default here: name both.

    Args:
        query: (Q, D) embeddings to predict for. Its kind (array or tensor) and device are those of the result.
        keys: (M, D) embeddings of the spots with known values.
        values: (M, G) what is known of them, such as expression in a target's space.
        k: Number of keys per query, 1 to M.
        distance: ``"l1"`` or ``"l2"``, the distance behind the weights.
        weighting: ``"inverse_square"``, as above, or ``"uniform"``, the plain mean of the k keys' values.
        max_bytes: Working memory of a chunk of queries, at least one query at a time. The inputs, one normalised
            copy of the keys and the (Q, G) result come on top.

    Returns:
        (Q, G) prediction, float32 or (where ``values`` is) float64, without a gradient.

    Raises:
        RetrievalError: Shapes do not fit, a number is NaN or infinite, k is not in 1 to M, or the distance
            or weighting is unknown.

    Example:
        >>> import numpy as np
        >>> keys = np.array([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0]])
        >>> values = np.array([[10.0], [20.0], [99.0]])
        >>> retrieve(np.array([[4.0, 0.0]]), keys, values, k=2, distance="l2").round(3)  # d = 3 and 2
        array([[16.923]])

    Reference:
        Min et al., "Multimodal contrastive learning for spatial gene expression prediction using histology images",
        Briefings in Bioinformatics 2024, arXiv:2407.08216, after Xie et al. (BLEEP), NeurIPS 2023, arXiv:2306.01859.
    """
    device = _device(query)
    table = _as_tensor(values, "values", device)
    if len(table) != len(keys):
        raise RetrievalError(f"values has {len(table)} rows and keys has {len(keys)}: give one row of values per key")
    found = nearest_keys(query, keys, k=k, distance=distance, weighting=weighting, max_bytes=max_bytes)
    indices, weights = (torch.as_tensor(part, device=device) for part in found)
    with torch.no_grad():
        # One bag per query gathers and sums in one pass, so no (Q, k, G) tensor is made.
        prediction = functional.embedding_bag(indices, table, mode="sum", per_sample_weights=weights.to(table.dtype))
    return _like(prediction, query)


@torch.no_grad()
def nearest_keys(
    query: Array,
    keys: Array,
    *,
    k: int,
    distance: Distance,
    weighting: Weighting = "inverse_square",
    max_bytes: int = _MAX_BYTES,
) -> Neighbours:
    """Find which keys a retrieval uses and with what weight, to look at the evidence behind a prediction.

    - *Exact hit* (d = 0): that key takes all the weight, so the prediction is its value; several exact hits share
      the weight equally.
    - *Zero vector*: its cosine with anything counts as 0, as in the released code. A zero key ranks between similar
      and opposite keys; for a zero query all keys tie.
    - *Ties* in similarity at the k-th place (parallel keys) are settled by ``torch.topk``, in no promised order.

    Args:
        query: (Q, D) embeddings; its kind (array or tensor) and device are those of the result.
        keys: (M, D) embeddings.
        k: Number of keys per query, 1 to M.
        distance: ``"l1"`` or ``"l2"``, the distance of the unnormalised embeddings behind the weights 1/d².
        weighting: ``"inverse_square"``, or ``"uniform"`` for weights 1/k.
        max_bytes: Working memory of a chunk of queries, as in `retrieve`.

    Returns:
        ``indices`` (Q, k) rows of ``keys`` by falling cosine similarity, and their ``weights`` (Q, k).

    Raises:
        RetrievalError: Shapes do not fit, a number is NaN or infinite, k is not in 1 to M, or the distance
            or weighting is unknown.

    Example:
        >>> import numpy as np
        >>> keys = np.array([[1.0, 0.0], [0.0, 2.0], [3.0, 1.0]])
        >>> found = nearest_keys(np.array([[2.0, 0.0]]), keys, k=2, distance="l1")
        >>> found.indices, found.weights
        (array([[0, 2]]), array([[0.8, 0.2]]))
    """
    device = _device(query)
    query_rows, key_rows = _as_tensor(query, "query", device), _as_tensor(keys, "keys", device)
    dtype = torch.promote_types(query_rows.dtype, key_rows.dtype)
    query_rows, key_rows = query_rows.to(dtype), key_rows.to(dtype)
    n_query, n_keys, width = len(query_rows), len(key_rows), key_rows.shape[1]
    if query_rows.shape[1] != width:
        raise RetrievalError(f"query has {query_rows.shape[1]} dimensions and keys has {width}: they must be the same")
    if not 1 <= k <= n_keys:
        raise RetrievalError(f"k = {k} neighbours of {n_keys} keys: choose k from 1 to {n_keys}")
    if distance not in _ORDER:
        raise RetrievalError(f"unknown distance {distance!r}: choose one of {sorted(_ORDER)}")
    if weighting not in ("inverse_square", "uniform"):
        raise RetrievalError(f"unknown weighting {weighting!r}: choose 'inverse_square' or 'uniform'")

    # Per query: a row of similarities; k gathered keys with their distance, similarity and weight; k int64 indices.
    bytes_per_query = dtype.itemsize * (n_keys + k * (width + 3)) + 8 * k
    chunk = max(1, max_bytes // bytes_per_query)
    unit_keys = functional.normalize(key_rows)
    indices = torch.empty((n_query, k), dtype=torch.long, device=device)
    weights = torch.empty((n_query, k), dtype=dtype, device=device)
    for start in range(0, n_query, chunk):
        rows = query_rows[start : start + chunk]
        chosen = (functional.normalize(rows) @ unit_keys.T).topk(k).indices
        indices[start : start + chunk] = chosen
        if weighting == "uniform":
            weights[start : start + chunk] = 1 / k
            continue
        # Subtracting beats |q|² + |k|² − 2qk, which loses the small distances that carry the large weights.
        d = torch.cdist(
            rows[:, None], key_rows[chosen], p=_ORDER[distance], compute_mode="donot_use_mm_for_euclid_dist"
        )
        weights[start : start + chunk] = _inverse_square(d.squeeze(1))
    return Neighbours(_like(indices, query), _like(weights, query))


def _inverse_square(d: torch.Tensor) -> torch.Tensor:
    """Weights 1/d² over the last axis that sum to 1; zero distances share everything."""
    smallest = d.amin(-1, keepdim=True)
    # (smallest / d)² is 1/d² up to a factor that cancels, and neither overflows nor underflows as 1/d² does.
    weights = torch.where(smallest == 0, (d == 0).to(d.dtype), (smallest / d).square())
    return weights / weights.sum(-1, keepdim=True)


def _device(query: np.ndarray | torch.Tensor) -> torch.device:
    """Where a search runs: where its queries are."""
    return query.device if isinstance(query, torch.Tensor) else torch.device("cpu")


def _as_tensor(array: np.ndarray | torch.Tensor, name: str, device: torch.device) -> torch.Tensor:
    """A finite matrix of at least single precision on the device, sharing memory where it can."""
    if isinstance(array, np.ndarray):
        array = np.require(array, requirements=["C", "W"])  # torch takes neither negative strides nor read-only memory
    tensor = torch.as_tensor(array, device=device)
    tensor = tensor.to(torch.promote_types(tensor.dtype, torch.float32))
    if tensor.ndim != 2:
        raise RetrievalError(f"{name} has shape {tuple(tensor.shape)}: expected two axes, (rows, columns)")
    if not (finite := tensor.isfinite().all(1)).all():
        raise RetrievalError(f"{name} holds NaN or infinity in {int((~finite).sum())} of its {len(tensor)} rows")
    return tensor


def _like(tensor: torch.Tensor, query: Array) -> Array:
    """The result in the query's kind."""
    return tensor.numpy() if isinstance(query, np.ndarray) else tensor
