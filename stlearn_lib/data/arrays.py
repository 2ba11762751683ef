"""The regular arrays on which the platforms lay their spots, and what they say of an image's resolution."""

from dataclasses import dataclass

import numpy as np

CELL_UM2 = {100.0: 200.0**2, 55.0: 50.0 * 50.0 * np.sqrt(3), 2.0: 2.0**2, 8.0: 8.0**2, 16.0: 16.0**2}
"""Area that one step of both array axes spans, in µm², by the spots' diameter in µm, which tells the platform.

Spatial Transcriptomics (100 µm) has spots every 200 µm. Visium (55 µm) is hexagonal: a column is half a pitch of
100 µm, a row √3/2 of it. Visium HD's square bins (2, 8, 16 µm) touch each other.
"""


@dataclass(frozen=True)
class ArrayFit:
    """How an array lies on an image.

    Args:
        axes_px: The array's unit steps in pixels, (2, 2): row 0 is one step of ``array_x``, row 1 one of ``array_y``.
        residual_px: Distance of each spot from where the fit expects it, (N,) in pixels.
    """

    axes_px: np.ndarray
    residual_px: np.ndarray

    @property
    def cell_px2(self) -> float:
        """Area that one step of both axes spans, in pixels²; 0 if the spots lie on one line."""
        return float(abs(np.linalg.det(self.axes_px)))


def fit_array(array: np.ndarray, pixels: np.ndarray) -> ArrayFit:
    r"""Fit the affine map from array to pixel coordinates, by least squares over all spots.

    $$\text{pixel} = \text{array}\,A + b, \qquad \text{µm per px} = \sqrt{\frac{\text{cell in µm}^2}{|\det A|}}$$

    Args:
        array: Array coordinates (x, y), (N, 2).
        pixels: Pixel coordinates (x, y), (N, 2).

    Returns:
        The fit; of spots on one line, or of fewer than three, its area is 0.

    Example:
        >>> array = np.array([[0, 0], [2, 0], [1, 1], [3, 1]])  # Visium: 50 µm a column, 86.6 µm a row
        >>> fit = fit_array(array, array * [100.0, 173.2])
        >>> round(float(np.sqrt(CELL_UM2[55.0] / fit.cell_px2)), 3)
        0.5
    """
    array, pixels = np.asarray(array, float), np.asarray(pixels, float)
    array = array - array.mean(axis=0)
    residual = pixels - pixels.mean(axis=0)
    axes = np.linalg.lstsq(array, residual, rcond=None)[0] if np.linalg.matrix_rank(array) == 2 else np.zeros((2, 2))
    return ArrayFit(axes, np.linalg.norm(residual - array @ axes, axis=1))
