"""Rigid registration of adjacent sections by their tissue's darkness."""

import itertools
from dataclasses import dataclass

import numpy as np
from anndata import AnnData
from PIL import Image
from scipy.ndimage import affine_transform, gaussian_filter

from stlearn_lib.data.sections import read_image, section_name, um_per_px_of
from stlearn_lib.errors import SectionError

GRID_UM = 50.0
CANVAS = 256  # 12.8 mm: an ST array is 6.6 mm wide and may be turned
STEP_DEG = 3


@dataclass(frozen=True)
class Alignment:
    """Where the spots of one section come to lie on another.

    Args:
        positions_um: Positions of the moving section's spots in the fixed section, (N, 2) in micrometres.
        similarity: Normalised correlation of the two tissues after alignment, 0 to 1.
        angle_deg: The turn, in steps of 3°.
        flipped: Whether the section had to be turned over.
    """

    positions_um: np.ndarray
    similarity: float
    angle_deg: int
    flipped: bool


def align(moving: AnnData, fixed: AnnData) -> Alignment:
    r"""Find the turn, flip and shift that lay one section's tissue on another's.

    Both images are reduced to optical density on a 50 µm grid, with everything far from a spot set to zero. Every
    turn in steps of 3° and both sides are tried; for each, the best shift follows from the cross-correlation

    $$(A \star B)(s) = \sum_x A(x)\, B(x + s),$$

    computed with the fast Fourier transform. Only images are compared: no expression is looked at.

    Args:
        moving: The section to move.
        fixed: The section to move it to.

    Returns:
        The alignment.

    Raises:
        ImageError: If a section has no image.
        SectionError: If a section is larger than the canvas of 12.8 mm.
    """
    tissue, centre = _tissue(moving)
    fixed_tissue, fixed_centre = _tissue(fixed)
    target = _place(fixed_tissue, fixed_centre, np.eye(2))
    spectrum = np.fft.rfft2(target)
    candidates = []
    for flipped, angle in itertools.product((False, True), range(0, 360, STEP_DEG)):
        placed = _place(tissue, centre, _turn(angle, flipped))
        overlap = np.fft.irfft2(spectrum * np.conj(np.fft.rfft2(placed)), target.shape)
        peak = np.unravel_index(int(overlap.argmax()), overlap.shape)
        similarity = float(overlap[peak] / np.sqrt((placed**2).sum() * (target**2).sum()))
        shift = (np.array(peak) + CANVAS // 2) % CANVAS - CANVAS // 2
        candidates.append((similarity, angle, flipped, shift))
    similarity, angle, flipped, shift = max(candidates, key=lambda candidate: candidate[0])
    moved = (_on_grid(moving) - centre) @ _turn(angle, flipped) + shift + fixed_centre
    return Alignment(moved[:, ::-1] * GRID_UM, similarity, angle, flipped)


def _on_grid(section: AnnData) -> np.ndarray:
    """Spot positions (row, column) in cells of the grid."""
    return section.obsm["spatial"][:, ::-1] * um_per_px_of(section) / GRID_UM


def _tissue(section: AnnData) -> tuple[np.ndarray, np.ndarray]:
    """Optical density on the grid, zero far from every spot, and the spots' centre (row, column)."""
    image = read_image(section)
    scale = um_per_px_of(section) / GRID_UM
    image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BOX)
    density = -np.log10((np.asarray(image, dtype=float) + 1) / 256).mean(axis=-1)
    spots = _on_grid(section)
    if np.ptp(spots, axis=0).max() >= CANVAS:
        raise SectionError(f"section {section_name(section)} spans more than {CANVAS * GRID_UM / 1000} mm.")
    near = np.zeros_like(density)
    near[tuple(np.minimum(spots.astype(int), np.array(density.shape) - 1).T)] = 1
    return np.where(gaussian_filter(near, 2.5) > 0.01, density, 0), spots.mean(axis=0)


def _turn(angle_deg: float, flipped: bool) -> np.ndarray:
    angle = np.deg2rad(angle_deg)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return turn @ np.diag([1, -1 if flipped else 1])


def _place(tissue: np.ndarray, centre: np.ndarray, turn: np.ndarray) -> np.ndarray:
    """Turn the tissue about its centre and put it in the middle of the canvas."""
    middle = np.full(2, CANVAS / 2)
    return affine_transform(tissue, turn, centre - turn @ middle, (CANVAS, CANVAS), order=1)
