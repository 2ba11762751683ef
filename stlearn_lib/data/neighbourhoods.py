"""Which spots lie around a spot: the nearest, those of the array's 3x3 grid, or all within a radius.

A neighbourhood is a row of K spot numbers, its own spot first. Where there are fewer spots than K, at the border of the
tissue or in a small section, the own spot fills the rest: it is its own neighbour there, as it is in any average.
"""

import numpy as np
from anndata import AnnData
from scipy.spatial import cKDTree

from stlearn_lib.data.sections import um_per_px_of
from stlearn_lib.errors import SectionError


def nearest_spots(section: AnnData, k: int = 9) -> np.ndarray:
    """Find the k spots nearest to each spot, by the distance of their centres in the image.

    Args:
        section: The section.
        k: K, the own spot among them.

    Returns:
        Spot numbers, (N, K); the own spot first, then by distance, equal distances by number.

    Raises:
        SectionError: If k is not at least 1.

    Reference:
        NH2ST, arXiv 2506.23827; code MCPathology/NH2ST @ e385a1c, with k = 9.
    """
    if k < 1:
        raise SectionError(f"a neighbourhood has at least 1 spot, not {k}.")
    centres = np.asarray(section.obsm["spatial"], dtype=float)
    furthest = cKDTree(centres).query(centres, k=[min(k, len(centres))])[0][:, 0]
    return _rows(centres, furthest * (1 + 1e-9), k)


def grid_spots(section: AnnData) -> np.ndarray:
    """Find the spots on the 3x3 grid around each spot, by their rounded array coordinates.

    Args:
        section: The section.

    Returns:
        Spot numbers, (N, 9); the own spot first, then by distance on the grid.
    """
    grid = np.rint(section.obs[["array_x", "array_y"]].to_numpy())
    return _rows(grid, np.full(len(grid), np.sqrt(2) * (1 + 1e-9)), 9)


def spots_within(section: AnnData, radius_um: float) -> np.ndarray:
    """Find the spots within a radius of each spot.

    Args:
        section: The section.
        radius_um: The radius, in micrometres.

    Returns:
        Spot numbers, (N, K), with K the size of the largest neighbourhood; the own spot first, then by distance.

    Raises:
        SectionError: If the radius is not positive.
    """
    if not radius_um > 0:
        raise SectionError(f"a radius must be positive, not {radius_um} µm.")
    centres = np.asarray(section.obsm["spatial"], dtype=float) * um_per_px_of(section)
    return _rows(centres, np.full(len(centres), float(radius_um)), None)


def _rows(centres: np.ndarray, within: np.ndarray, k: int | None) -> np.ndarray:
    """The spots within each spot's own distance, nearest first, cut or filled to K."""
    rows = []
    for i, spots in enumerate(cKDTree(centres).query_ball_point(centres, within)):
        others = np.sort([j for j in spots if j != i]).astype(int)
        distances = np.linalg.norm(centres[others] - centres[i], axis=1)
        rows.append([i, *others[np.argsort(distances.round(6), kind="stable")]])
    size = max(map(len, rows)) if k is None else k
    return np.array([(row + [i] * size)[:size] for i, row in enumerate(rows)])
