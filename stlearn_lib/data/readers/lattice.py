"""The array that spots lie on, found again from their places in the image, for data that does not tell it."""

from typing import NamedTuple

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import breadth_first_order, connected_components
from scipy.spatial import cKDTree

from stlearn_lib.errors import SectionError

_REACH = 1.3  # pitches: direct neighbours only, as the next spots of a square array are 1.41 away
_ALIGNED = 0.8  # of 1, how well the directions to neighbours agree; 0 for spots at random
_OFF = 0.45  # pitches that a spot may lie beside its place; printed arrays have spots that are 0.4 off

_REMEDY = "Give array coordinates, or check the pixel coordinates."


class Lattice(NamedTuple):
    """An array and where spots lie on it."""

    array_x: np.ndarray
    """Array column of each spot, (N,), counted from 0; in hexagonal arrays neighbours of a row are 2 columns apart."""
    array_y: np.ndarray
    """Array row of each spot, (N,)."""
    pitch_px: float
    """Distance between neighbouring spots in pixels."""


def fit_lattice(pixels: np.ndarray, where: str) -> Lattice:
    """Find the square or hexagonal array of spots.

    Neighbours differ by one step of the array, so steps are counted from spot to spot over the largest connected piece
    of tissue; the array that fits this piece best by least squares counts all others. Columns run along the direction
    of the array that lies nearest to the image's x axis: true up to where the count starts, and in hexagonal arrays up
    to which of its three directions was called a row.

    Args:
        pixels: Pixel centres (x, y) of the spots, (N, 2).
        where: What the error shall name, for example the file.

    Returns:
        The array.

    Raises:
        SectionError: If there is no such array: fewer than four connected spots, places at random, or two in one.

    Example:
        >>> x, y = np.meshgrid([10.0, 30.0, 50.0], [5.0, 25.0])
        >>> found = fit_lattice(np.column_stack([x.ravel(), y.ravel()]), "demo")
        >>> found.array_x.tolist(), found.array_y.tolist(), round(found.pitch_px, 6)
        ([0, 1, 2, 0, 1, 2], [0, 0, 0, 1, 1, 1], 20.0)
    """
    pixels = np.asarray(pixels, dtype=float)
    if len(pixels) < 4:
        raise SectionError(f"{where}: {len(pixels)} spots are too few to see their array. {_REMEDY}")
    tree = cKDTree(pixels)
    pitch = float(np.median(tree.query(pixels, k=[2])[0]))
    pairs = tree.query_pairs(_REACH * pitch, output_type="ndarray") if pitch > 0 else np.empty((0, 2), int)
    if not len(pairs):
        raise SectionError(f"{where}: spots lie on one another. {_REMEDY}")
    fold, angle = _directions(pixels[pairs[:, 1]] - pixels[pairs[:, 0]], where)
    turn = 2 * np.pi / fold
    basis = pitch * np.array([[np.cos(angle + i * turn), np.sin(angle + i * turn)] for i in (0, 1)])
    piece, steps = _count_steps(pixels, pairs, basis)
    fitted, origin = _fit(pixels[piece], steps, where)
    exact = (pixels - origin) @ np.linalg.inv(fitted)
    steps = np.rint(exact).astype(int)
    off = np.linalg.norm((exact - steps) @ fitted, axis=1) / pitch
    if off.max() > _OFF or len(np.unique(steps, axis=0)) < len(steps):
        raise SectionError(f"{where}: spot {int(off.argmax()) + 1} does not lie on the array of the others. {_REMEDY}")
    columns = 2 * steps[:, 0] + steps[:, 1] if fold == 6 else steps[:, 0]
    lengths = np.linalg.norm(fitted, axis=1)
    return Lattice(columns - columns.min(), steps[:, 1] - steps[:, 1].min(), float(lengths.mean()))


def _directions(offsets: np.ndarray, where: str) -> tuple[int, float]:
    """Four or six directions to neighbours, and the angle of the one that is nearest to the x axis."""
    angles = np.arctan2(offsets[:, 1], offsets[:, 0])
    means = {fold: np.exp(1j * fold * angles).mean() for fold in (4, 6)}
    fold = max(means, key=lambda fold: abs(means[fold]))
    if abs(means[fold]) < _ALIGNED:
        raise SectionError(f"{where}: spots lie on no regular array. {_REMEDY}")
    return fold, float(np.angle(means[fold])) / fold


def _count_steps(pixels: np.ndarray, pairs: np.ndarray, basis: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The spots of the largest connected piece, and their steps along the basis from the first of them."""
    graph = sparse.coo_matrix((np.ones(len(pairs)), pairs.T), shape=(len(pixels),) * 2).tocsr()
    labels = connected_components(graph, directed=False)[1]
    start = int(np.argmax(labels == np.bincount(labels).argmax()))
    order, before = breadth_first_order(graph, start, directed=False)
    steps = np.zeros((len(pixels), 2), dtype=int)
    inverse = np.linalg.inv(basis)
    for spot in order[1:]:
        steps[spot] = steps[before[spot]] + np.rint((pixels[spot] - pixels[before[spot]]) @ inverse).astype(int)
    return order, steps[order]


def _fit(pixels: np.ndarray, steps: np.ndarray, where: str) -> tuple[np.ndarray, np.ndarray]:
    """The basis (2, 2) and the origin (2,) that place spots best, in pixels."""
    design = np.column_stack([steps, np.ones(len(steps))])
    if np.linalg.matrix_rank(design) < 3:
        raise SectionError(f"{where}: spots lie on one line, so their array cannot be seen. {_REMEDY}")
    solution = np.linalg.lstsq(design, pixels, rcond=None)[0]
    return solution[:2], solution[2]
