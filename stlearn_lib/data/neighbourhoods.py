"""Which spots lie around a spot: the nearest, those of the array's 3x3 grid, or all within a radius.

A neighbourhood is a row of K spot numbers, its own spot first. Where there are fewer spots than K, at the border of the
tissue or in a small section, the own spot fills the rest: it is its own neighbour there, as it is in any average.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from anndata import AnnData
from scipy.spatial import cKDTree
from torch import Tensor

from stlearn_lib.data.sections import um_per_px_of
from stlearn_lib.data.spots import SpotTable
from stlearn_lib.errors import SectionError

_MORTON_BITS = 10


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


class NeighbourhoodTable(SpotTable):
    """A table of spots from which whole neighbourhoods are read, each of their spots once.

    Args:
        columns: As of a `SpotTable`.
        neighbours: For each section its spots' neighbourhoods, (N_s, K), the own spot first.
        centres: For each section its spots' centres, (N_s, 2). If given, the spots of a batch are neighbours too, so
            that their neighbourhoods share most spots; if None, batches are drawn at random.

    Raises:
        SectionError: As of a `SpotTable`, or if neighbourhoods do not fit the spots.
    """

    def __init__(
        self,
        columns: Mapping[str, Sequence[np.ndarray]],
        neighbours: Sequence[np.ndarray],
        centres: Sequence[np.ndarray] | None = None,
    ) -> None:
        super().__init__(columns)
        if [len(block) for block in neighbours] != self.n_spots or len({b.shape[1] for b in neighbours}) > 1:
            found = [block.shape for block in neighbours]
            raise SectionError(f"neighbourhoods {found} do not fit sections of {self.n_spots} spots: (N, K), one K.")
        self.neighbours = np.concatenate([b + start for b, start in zip(neighbours, self._starts, strict=False)])
        """Rows of the table in each spot's neighbourhood, (N, K)."""
        self.centres = centres

    def rows(self, index: Sequence[int] | np.ndarray) -> dict[str, Tensor]:
        """Read the neighbourhoods of spots.

        Args:
            index: Rows of the table, (B,).

        Returns:
            For each column a tensor (S, ...) of the S spots that the neighbourhoods have together; ``neighbours``
            (B, K) are their rows in it, those of the B spots themselves in the first column.
        """
        spots, inverse = np.unique(self.neighbours[np.asarray(index)], return_inverse=True)
        neighbours = torch.from_numpy(inverse.reshape(len(index), -1))
        return {**super().rows(spots), "neighbours": neighbours}

    def shuffled(self, rng: np.random.Generator, batch_size: int) -> np.ndarray:
        """Return the order of an epoch's rows, (N,); with centres, batches are random patches of tissue.

        The spots of a section follow a Z-order curve over the section, turned by a random angle; it is cut into
        batches, and these are shuffled.
        """
        if self.centres is None:
            return super().shuffled(rng, batch_size)
        sections = rng.permutation(len(self.n_spots))
        along = np.concatenate([self._starts[s] + _along_curve(self.centres[s], rng) for s in sections])
        along = np.roll(along, rng.integers(batch_size))  # otherwise the same spots would be left out of every epoch
        whole = len(along) // batch_size * batch_size
        batches = rng.permutation(along[:whole].reshape(-1, batch_size))
        return np.concatenate([batches.ravel(), along[whole:]])

    def fingerprint(self) -> str:
        """Hash what is in the table, neighbourhoods and the kind of batches included."""
        kind = "random" if self.centres is None else "adjacent"
        return SpotTable({**self.columns, kind: np.split(self.neighbours, self._starts[1:-1])}).fingerprint()


def _along_curve(centres: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Order points (N, 2) along a Z-order (Morton) curve over the plane, turned by a random angle."""
    angle = rng.uniform(0, 2 * np.pi)
    turned = centres @ np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    low, spread = turned.min(axis=0), max(np.ptp(turned, axis=0).max(), 1e-9)
    cell = ((turned - low) / spread * (2**_MORTON_BITS - 1)).astype(np.int64)
    bits = [((cell[:, axis] >> bit) & 1) << (2 * bit + axis) for bit in range(_MORTON_BITS) for axis in (0, 1)]
    return np.argsort(np.sum(bits, axis=0), kind="stable")
