"""Neighbours on the grid, and Moran's I as scanpy has it."""

import numpy as np
import pytest
from scanpy.metrics import morans_i as scanpy_morans_i
from scipy import sparse

from stlearn_lib.errors import EvaluationError, UndefinedGeneWarning
from stlearn_lib.evaluation import morans_i, spatial_weights


@pytest.fixture
def tissue():
    """Grid places of a 12 x 9 rectangle with holes, jittered as fractional array coordinates are, in random order."""
    rng = np.random.default_rng(0)
    places = np.array([(x, y) for x in range(12) for y in range(9)])
    kept = rng.permutation(len(places))[:80]
    return places[kept] + rng.uniform(-0.2, 0.2, (80, 2))


def test_neighbours_are_the_eight_places_around(tissue):
    rounded = np.rint(tissue)
    steps = np.abs(rounded[:, None] - rounded[None]).max(-1)
    np.testing.assert_array_equal(spatial_weights(tissue).toarray(), steps == 1)


def test_missing_neighbours_are_absent():
    full = spatial_weights([(x, y) for x in range(3) for y in range(3)])
    assert full.sum(1).A1.tolist() == [3, 5, 3, 5, 8, 5, 3, 5, 3]
    lonely = spatial_weights([(0, 0), (0, 1), (5, 5)])
    assert lonely.toarray().tolist() == [[0, 1, 0], [1, 0, 0], [0, 0, 0]]


@pytest.mark.parametrize(
    ("array_xy", "message"),
    [
        (np.ones((4, 3)), r"shape \(4, 3\)"),
        ([[0.0, np.nan]], "finite array coordinates"),
        ([(1, 1), (1.2, 0.9), (2, 1)], "1 spots share a grid place"),
    ],
)
def test_coordinates_that_are_no_grid(array_xy, message):
    with pytest.raises(EvaluationError, match=message):
        spatial_weights(array_xy)


def test_equals_scanpy(tissue):
    values = np.random.default_rng(1).poisson(1.0, (80, 25)) + tissue[:, :1]
    weights = spatial_weights(tissue)
    np.testing.assert_allclose(morans_i(values, weights), scanpy_morans_i(weights, values.T))
    row_standardised = sparse.csr_matrix(weights / np.maximum(weights.sum(1), 1))
    np.testing.assert_allclose(morans_i(values, row_standardised), scanpy_morans_i(row_standardised, values.T))


def test_equals_a_loop(tissue):
    values, weights = np.random.default_rng(2).normal(size=(80, 1)), spatial_weights(tissue).toarray()
    z = values[:, 0] - values.mean()
    products = sum(weights[i, j] * z[i] * z[j] for i in range(80) for j in range(80))
    expected = 80 / weights.sum() * products / sum(z**2)
    np.testing.assert_allclose(morans_i(values, sparse.csr_matrix(weights)), [expected])


def test_a_gradient_a_chequerboard_and_noise():
    places = np.array([(x, y) for x in range(20) for y in range(20)])
    rook = sparse.csr_matrix(np.abs(places[:, None] - places[None]).sum(-1) == 1, dtype=float)
    noise = np.random.default_rng(0).normal(size=(400, 300))
    patterns = np.column_stack([places[:, 0], places.sum(1) % 2, noise])
    smooth, chequered, *random = morans_i(patterns, rook)
    assert smooth > 0.9
    assert chequered == pytest.approx(-1)
    assert np.mean(random) == pytest.approx(-1 / 399, abs=0.01)


def test_spots_without_neighbours_pull_towards_zero(tissue):
    values = tissue[:, :1]
    far = np.array([[50.0, 50.0], [60.0, 60.0]])
    alone = morans_i(values, spatial_weights(tissue))
    extended = np.vstack([values, [[values.mean()]] * 2])
    joined = morans_i(extended, spatial_weights(np.vstack([tissue, far])))
    np.testing.assert_allclose(joined, alone * 82 / 80)  # only N has changed: they sit at the mean
    np.testing.assert_allclose(
        joined, scanpy_morans_i(spatial_weights(np.vstack([tissue, far])), extended.T), rtol=1e-12
    )


def test_constant_genes_are_nan(tissue):
    values = np.column_stack([tissue, np.full(80, 0.1)])
    with pytest.warns(UndefinedGeneWarning, match="1 of 3 genes are constant"):
        i = morans_i(values, spatial_weights(tissue))
    assert np.isnan(i).tolist() == [False, False, True]


@pytest.mark.parametrize(
    ("values", "weights", "message"),
    [
        (np.ones(3), np.eye(3), r"values has shape \(3,\)"),
        (np.full((3, 1), np.inf), np.eye(3), "finite numbers"),
        (np.ones((3, 1)), np.eye(4), r"weights is \(4, 4\) and there are 3 spots"),
        (np.ones((3, 1)), np.zeros((3, 3)), "no spot has a neighbour"),
    ],
)
def test_what_does_not_fit_is_named(values, weights, message):
    with pytest.raises(EvaluationError, match=message):
        morans_i(values, sparse.csr_matrix(weights))
