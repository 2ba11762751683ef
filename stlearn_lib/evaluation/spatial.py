"""Spatial autocorrelation of a gene over the spots of one section: does the tissue's pattern show in the numbers?"""

import warnings

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse
from scipy.spatial import KDTree

from stlearn_lib.errors import EvaluationError, UndefinedGeneWarning
from stlearn_lib.evaluation import weighted


def spatial_weights(array_xy: ArrayLike) -> sparse.csr_matrix:
    r"""Connect every spot of a section with its neighbours on the array grid.

    .. math:: w_{ij} = 1 \text{ if } 0 < \max(|x_i - x_j|, |y_i - y_j|) \le 1, \text{ else } 0

    on rounded array coordinates: up to eight neighbours ("queen"), fewer at the edge of the tissue and around missing
    spots. For Visium's hexagonal array, take the ``connectivities`` of ``squidpy.gr.spatial_neighbors`` instead.

    Args:
        array_xy: (N, 2) ``obs[["array_x", "array_y"]]`` of the spots of *one* section, in grid steps.

    Returns:
        (N, N) symmetric sparse matrix of zeros and ones with an empty diagonal. A spot without neighbours has an empty
        row.

    Raises:
        EvaluationError: Coordinates are not (N, 2) finite numbers, or two spots share a grid place (as the spots of
            several sections do).

    Example:
        >>> spatial_weights([[1.0, 1.0], [2.04, 1.98], [3.0, 1.0]]).toarray()
        array([[0., 1., 0.],
               [1., 0., 1.],
               [0., 1., 0.]])
    """
    grid = np.asarray(array_xy, dtype=np.float64)
    if grid.ndim != 2 or grid.shape[1] != 2 or not np.isfinite(grid).all():
        raise EvaluationError(f"array_xy has shape {grid.shape}: expected finite array coordinates, (spots, 2)")
    grid = np.rint(grid)
    if n_shared := len(grid) - len(np.unique(grid, axis=0)):
        raise EvaluationError(f"{n_shared} spots share a grid place with another: pass the spots of one section")
    a, b = KDTree(grid).query_pairs(1.5, p=np.inf, output_type="ndarray").T
    one_way = sparse.csr_matrix((np.ones(len(a)), (a, b)), shape=(len(grid), len(grid)))
    return one_way + one_way.T


def morans_i(values: ArrayLike, weights: sparse.spmatrix | sparse.sparray) -> np.ndarray:
    r"""Moran's I of each gene: the correlation of a spot with its neighbours.

    .. math:: I_g = \frac{N}{\sum_{ij} w_{ij}} \frac{\sum_{ij} w_{ij} z_{ig} z_{jg}}{\sum_i z_{ig}^2}, \qquad
        z_{ig} = v_{ig} - \bar v_g

    Near 1 for smooth patterns, :math:`-1/(N-1)` on average without any, negative for chequered ones. A spot without
    neighbours counts in N, the mean and the variance, and adds nothing to the products: many of them pull I towards 0.
    The same number as ``scanpy.metrics.morans_i``, as one sparse product instead of seconds of compilation.

    Args:
        values: (N, G) measured or predicted expression of one section.
        weights: (N, N) neighbour weights, from `spatial_weights` or any graph.

    Returns:
        (G,) values; NaN for constant genes.

    Raises:
        EvaluationError: Shapes do not fit, a number is NaN or infinite, or no spot has a neighbour.

    Warns:
        UndefinedGeneWarning: Some genes are constant.

    Example:
        >>> row = spatial_weights([[x, 0] for x in range(4)])
        >>> morans_i([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]], row).round(3)  # smooth, chequered
        array([ 0.333, -1.   ])

    Reference:
        Moran, "Notes on continuous stochastic phenomena", Biometrika 37, 1950.
    """
    expression = np.asarray(values, dtype=np.float64)
    if expression.ndim != 2 or not np.isfinite(expression).all():
        raise EvaluationError(f"values has shape {expression.shape}: expected finite numbers, (spots, genes)")
    if weights.shape != (len(expression), len(expression)):
        raise EvaluationError(f"weights is {weights.shape} and there are {len(expression)} spots: one row for each")
    total = weights.sum()
    if total == 0:
        raise EvaluationError("no spot has a neighbour: are the coordinates in grid steps?")
    z = expression - expression.mean(0)
    products, squares = (z * (weights @ z)).sum(0), (z**2).sum(0)
    constant = weighted.constant(expression)
    if constant.any():
        warnings.warn(
            f"{constant.sum()} of {len(constant)} genes are constant: NaN", UndefinedGeneWarning, stacklevel=2
        )
    scale = len(expression) / total
    return scale * np.divide(products, squares, out=np.full(squares.shape, np.nan), where=~constant)
