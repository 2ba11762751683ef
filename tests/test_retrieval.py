"""Retrieval equals the released code's numbers, a plain loop, and itself in any chunking."""

import zlib

import numpy as np
import pytest
import torch

from stlearn_lib.errors import RetrievalError
from stlearn_lib.retrieval import nearest_keys, retrieve


def recipe(tag, shape):
    return np.random.RandomState(zlib.crc32(tag.encode())).standard_normal(shape).astype(np.float32)


@pytest.fixture(scope="module")
def embeddings():
    query, keys = recipe("retrieval/image_query", (7, 16)), recipe("retrieval/spot_key", (500, 16))
    return query, keys, np.abs(recipe("retrieval/expression_key", (500, 9)))


def loop(query, keys, values, k, order):
    """The formula, one query at a time, in double precision."""
    predictions = []
    for q in query.astype(np.float64):
        cosine = np.array([q @ key / np.linalg.norm(q) / np.linalg.norm(key) for key in keys.astype(np.float64)])
        chosen = np.argsort(-cosine)[:k]
        d = np.array([np.linalg.norm(q - keys[i], ord=order) for i in chosen])
        predictions.append(np.average(values[chosen], axis=0, weights=1 / d**2))
    return np.array(predictions)


@pytest.mark.parametrize("distance", ["l1", "l2"])
def test_equals_the_released_code(embeddings, reference_folder, distance):
    with np.load(reference_folder / "retrieval_and_metrics.npz") as reference:
        expected, indices = reference[f"prediction_{distance}_k50"], reference["indices_k50"]
    query, keys, values = embeddings
    np.testing.assert_allclose(retrieve(query, keys, values, k=50, distance=distance), expected, rtol=1e-5)
    np.testing.assert_array_equal(nearest_keys(query, keys, k=50, distance=distance).indices, indices)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("distance", "order"), [("l1", 1), ("l2", 2)])
@pytest.mark.parametrize("k", [1, 7, 500])
def test_equals_a_loop(embeddings, distance, order, k, dtype):
    query, keys, values = (part.astype(dtype) for part in embeddings)
    prediction = retrieve(query, keys, values, k=k, distance=distance)
    assert prediction.dtype == dtype
    np.testing.assert_allclose(prediction, loop(query, keys, values, k, order), rtol=1e-5)


@pytest.mark.parametrize("max_bytes", [1, 5_000, 20_000])
def test_any_memory_bound_gives_the_same(embeddings, max_bytes):
    query, keys, values = embeddings
    whole = retrieve(query, keys, values, k=20, distance="l1")
    np.testing.assert_allclose(
        retrieve(query, keys, values, k=20, distance="l1", max_bytes=max_bytes), whole, rtol=1e-6
    )


def test_the_memory_bound_decides_how_many_queries_are_compared_at_once(monkeypatch):
    seen = []
    cdist = torch.cdist
    monkeypatch.setattr(torch, "cdist", lambda a, b, **how: seen.append(len(a)) or cdist(a, b, **how))
    query, keys = recipe("q", (10, 4)), recipe("k", (100, 4))
    bytes_per_query = 4 * (100 + 5 * (4 + 3)) + 8 * 5
    nearest_keys(query, keys, k=5, distance="l2", max_bytes=4 * bytes_per_query + 1)
    assert seen == [4, 4, 2]


def test_kind_follows_the_query(embeddings):
    query, keys, values = embeddings
    as_array = retrieve(query, keys, values, k=5, distance="l2")
    tensors = [torch.tensor(part, requires_grad=True) for part in embeddings]
    as_tensor = retrieve(*tensors, k=5, distance="l2")
    assert isinstance(as_array, np.ndarray) and isinstance(as_tensor, torch.Tensor)
    assert not as_tensor.requires_grad
    np.testing.assert_array_equal(as_tensor.numpy(), as_array)
    found = nearest_keys(tensors[0], tensors[1], k=5, distance="l2")
    assert isinstance(found.indices, torch.Tensor) and isinstance(found.weights, torch.Tensor)


def test_read_only_and_reversed_arrays_are_taken(embeddings):
    query, keys, values = (part.copy() for part in embeddings)
    expected = retrieve(query, keys, values, k=5, distance="l2")
    for part in (query, keys, values):
        part.flags.writeable = False  # as a memory-mapped file is
    np.testing.assert_allclose(retrieve(query, keys[::-1], values[::-1], k=5, distance="l2"), expected, rtol=1e-6)


def test_half_precision_and_integers_are_computed_in_single(embeddings):
    query, keys, values = embeddings
    prediction = retrieve(query.astype(np.float16), keys, (100 * values).astype(np.int64), k=5, distance="l2")
    assert prediction.dtype == np.float32


def test_neighbours_explain_the_prediction(embeddings):
    query, keys, values = embeddings
    indices, weights = nearest_keys(query, keys, k=12, distance="l2")
    assert indices.shape == weights.shape == (7, 12)
    np.testing.assert_allclose(weights.sum(1), 1, rtol=1e-6)
    prediction = np.einsum("qk,qkg->qg", weights, values[indices])
    np.testing.assert_allclose(retrieve(query, keys, values, k=12, distance="l2"), prediction, rtol=1e-5)
    cosine = (query @ keys.T) / np.linalg.norm(query, axis=1)[:, None] / np.linalg.norm(keys, axis=1)
    assert (np.diff(np.take_along_axis(cosine, indices, axis=1), axis=1) <= 1e-6).all(), "most similar first"


def test_an_exact_hit_predicts_its_own_value(embeddings):
    _, keys, values = embeddings
    np.testing.assert_array_equal(retrieve(keys[:40], keys, values, k=30, distance="l2"), values[:40])


def test_exact_hits_share():
    keys = np.array([[1.0, 0.0], [1.0, 0.0], [1.0, 1.0]])
    values = np.array([[2.0], [4.0], [100.0]])
    assert retrieve(keys[:1], keys, values, k=3, distance="l1") == 3.0


@pytest.mark.parametrize("scale", [1e-15, 1e15])
def test_weights_neither_overflow_nor_underflow(scale):
    keys = np.array([[1.0, 0.0], [0.0, 1.0]], dtype=np.float32) * np.float32(scale)
    query = np.array([[2.0, 0.0]], dtype=np.float32) * np.float32(scale)
    weights = nearest_keys(query, keys, k=2, distance="l1").weights
    np.testing.assert_allclose(weights, [[0.9, 0.1]], rtol=1e-6)


def test_zero_vectors_have_cosine_zero():
    keys = np.array([[-1.0, 0.0], [0.0, 0.0], [1.0, 0.0]])
    assert nearest_keys(np.array([[2.0, 0.0]]), keys, k=3, distance="l2").indices.tolist() == [[2, 1, 0]]
    prediction = retrieve(np.zeros((1, 2)), keys[[0, 2]], np.array([[1.0], [3.0]]), k=2, distance="l2")
    assert prediction == 2.0


def test_no_queries_give_no_predictions(embeddings):
    query, keys, values = embeddings
    assert retrieve(query[:0], keys, values, k=3, distance="l2").shape == (0, 9)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"k": 0}, "k = 0 neighbours of 500 keys"),
        ({"k": 501}, "choose k from 1 to 500"),
        ({"distance": "cosine"}, r"unknown distance 'cosine': choose one of \['l1', 'l2'\]"),
        ({"query": np.ones((2, 15))}, "query has 15 dimensions and keys has 16"),
        ({"query": np.ones(16)}, r"query has shape \(16,\)"),
        ({"values": np.ones((499, 9))}, "values has 499 rows and keys has 500"),
        ({"query": np.full((2, 16), np.nan)}, "query holds NaN or infinity in 2 of its 2 rows"),
        ({"keys": np.full((500, 16), np.inf)}, "keys holds NaN or infinity"),
        ({"values": np.full((500, 9), np.nan)}, "values holds NaN or infinity"),
    ],
)
def test_what_does_not_fit_is_named(embeddings, change, message):
    query, keys, values = embeddings
    arguments = {"query": query, "keys": keys, "values": values, "k": 5, "distance": "l1"} | change
    with pytest.raises(RetrievalError, match=message):
        retrieve(**arguments)
