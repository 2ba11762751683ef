"""Do the spots lie where the tissue is? Swapped axes, wrong scales and shifts, found before anything is trained."""

from dataclasses import dataclass

import numpy as np
from anndata import AnnData
from scipy.ndimage import gaussian_filter
from scipy.spatial import ConvexHull, QhullError
from skimage.color import rgb2hsv
from skimage.filters import threshold_otsu

from stlearn_lib.data.arrays import CELL_UM2, fit_array
from stlearn_lib.data.sections import (
    image_path_of,
    image_size,
    metadata_of,
    read_image,
    section_name,
    um_per_px_of,
)
from stlearn_lib.errors import ImageError, SectionError

MAX_PX = 400
SMOOTHING_UM = 50.0  # a spot on fat or between glands lies on tissue
MAX_SATURATION = 0.2  # where tissue fills the image, Otsu's threshold parts tissue from tissue
MIN_ON_TISSUE = 0.5  # published sections have 0.85 or more
SCALE_TOLERANCE = 0.1
CLEARLY, BARELY = 0.2, 0.05  # differences of the fit


@dataclass(frozen=True)
class Placement:
    """How well spots and tissue fit, all shares from 0 to 1.

    Args:
        on_tissue: Share of the spots that lie on tissue.
        covered: Share of the tissue that lies within the spots' convex hull.
        cell_ratio: Step of the array by pixels and ``um_per_px``, divided by the platform's; NaN if it is unknown.
    """

    on_tissue: float
    covered: float
    cell_ratio: float

    @property
    def fit(self) -> float:
        """Harmonic mean of both shares."""
        return 2 * self.on_tissue * self.covered / max(self.on_tissue + self.covered, 1e-12)


def check_placement(section: AnnData) -> Placement:
    r"""Check that a section's spots lie on its tissue, at the right scale and with x and y in order.

    Tissue is where the reduced, smoothed image is more saturated than Otsu's threshold: glass is white or grey. Spots
    fit it by the harmonic mean of two shares, $a$ of the spots that lie on tissue and $b$ of the tissue that lies
    within the spots' hull,

    $$F = \frac{2ab}{a + b}.$$

    Three things are errors. *Scale*: the array's step in micrometres is not the platform's, or spots fit clearly better
    after one of the section's own scale factors or its inverse. *Swap*: spots fit clearly better with x and y
    exchanged; if the array's columns also run along the image's y in a way that only an exchange explains, it is
    enough that they do not fit worse. *Off the tissue*: less than half of the spots lie on tissue.

    Args:
        section: The section. Without an image only the scale is checked.

    Returns:
        The measured placement; the shares are NaN without an image.

    Raises:
        SectionError: Naming the section, what is wrong, the numbers, and what to do.
        ImageError: If the image cannot be read, or shows no tissue at all.

    Example:
        >>> from pathlib import Path
        >>> from tempfile import mkdtemp
        >>> from stlearn_lib.data.synthetic import simulate_section
        >>> section = simulate_section("S1", Path(mkdtemp()))
        >>> round(check_placement(section).cell_ratio, 3)
        1.0
        >>> section.obsm["spatial"] /= 5
        >>> check_placement(section)
        Traceback (most recent call last):
        stlearn_lib.errors.SectionError: section S1: scale mismatch: ...
    """
    ratio = _cell_ratio(section)
    if abs(ratio - 1) > SCALE_TOLERANCE:
        raise SectionError(
            f"section {section_name(section)}: scale mismatch: at {um_per_px_of(section):.4g} µm per px the array's "
            f"step is {ratio:.3g} times the platform's. Multiply the spots' pixels, or um_per_px, by {1 / ratio:.4g}: "
            "whichever is wrong."
        )
    if "image_path" not in metadata_of(section):
        return Placement(np.nan, np.nan, ratio)
    tissue, reduction = _tissue(section)
    spots = section.obsm["spatial"] * reduction
    placed = Placement(*_shares(spots, tissue), ratio)
    _check_swap(section, placed, Placement(*_shares(spots[:, ::-1], tissue), ratio))
    for factor in _known_factors(section):
        scaled = Placement(*_shares(spots * factor, tissue), ratio)
        if scaled.on_tissue >= MIN_ON_TISSUE and scaled.fit > placed.fit + CLEARLY:
            raise SectionError(
                f"section {section_name(section)}: scale mismatch: {placed.on_tissue:.0%} of the spots lie on tissue, "
                f"but {scaled.on_tissue:.0%} after multiplying their pixels by {factor:.4g}. Were they made for "
                f"another copy of {image_path_of(section)}?"
            )
    if placed.on_tissue < MIN_ON_TISSUE:
        raise SectionError(
            f"section {section_name(section)}: only {placed.on_tissue:.0%} of {section.n_obs} spots lie on the tissue "
            f"of {image_path_of(section)}; at least {MIN_ON_TISSUE:.0%} should. Is it this section's image, neither "
            "shifted, cropped nor turned?"
        )
    return placed


def _cell_ratio(section: AnnData) -> float:
    """Step of the array in µm, divided by what the platform, known by its spots' diameter, has."""
    scalefactors = section.uns["spatial"][section_name(section)]["scalefactors"]
    cell_um2 = CELL_UM2.get(round(scalefactors["spot_diameter_fullres"] * um_per_px_of(section), 3))
    area = fit_array(section.obs[["array_x", "array_y"]].to_numpy(), section.obsm["spatial"]).cell_px2
    return float(um_per_px_of(section) * np.sqrt(area / cell_um2)) if cell_um2 and area else np.nan


def _tissue(section: AnnData) -> tuple[np.ndarray, float]:
    """Tissue in the reduced image, (H, W) bool, and by how much it is reduced."""
    image = read_image(section, MAX_PX)
    reduction = image.width / image_size(section)[0]
    sigma = SMOOTHING_UM / um_per_px_of(section) * reduction
    saturation = gaussian_filter(rgb2hsv(np.asarray(image))[..., 1], sigma)
    tissue = saturation > min(threshold_otsu(saturation), MAX_SATURATION)
    if not tissue.any():
        raise ImageError(f"section {section_name(section)}: {image_path_of(section)} shows no tissue, it is blank.")
    return tissue, reduction


def _shares(spots: np.ndarray, tissue: np.ndarray) -> tuple[float, float]:
    """Share of the spots on tissue, and of the tissue in the spots' hull; beside the image there is none."""
    columns, rows = np.floor(spots).astype(int).T
    inside = (columns >= 0) & (rows >= 0) & (columns < tissue.shape[1]) & (rows < tissue.shape[0])
    on_tissue = tissue[rows[inside], columns[inside]].sum() / len(spots)
    try:
        hull = ConvexHull(spots).equations
    except (QhullError, ValueError):  # on one line, or too few
        return float(on_tissue), 0.0
    points = np.argwhere(tissue)[:, ::-1] + 0.5
    within = np.ones(len(points), bool)
    for *normal, offset in hull:
        within &= points @ np.array(normal) + offset <= 0
    return float(on_tissue), float(within.mean())


def _check_swap(section: AnnData, placed: Placement, swapped: Placement) -> None:
    margin = -BARELY if _axes_look_swapped(section) else CLEARLY
    if swapped.on_tissue >= MIN_ON_TISSUE and swapped.fit > placed.fit + margin:
        raise SectionError(
            f"section {section_name(section)}: x and y of the spots seem to be swapped: {placed.on_tissue:.0%} of the "
            f"spots lie on tissue and cover {placed.covered:.0%} of it, with x and y exchanged "
            f"{swapped.on_tissue:.0%} and {swapped.covered:.0%}. Pixel coordinates are (x, y), from the image's top "
            "left corner."
        )


def _axes_look_swapped(section: AnnData) -> bool:
    """Whether array columns run along the image's y, and rows along its x; a slide that was turned mirrors one."""
    axes = fit_array(section.obs[["array_x", "array_y"]].to_numpy(), section.obsm["spatial"]).axes_px
    crosswise = abs(axes[0, 1] * axes[1, 0]) > abs(axes[0, 0] * axes[1, 1])
    return bool(crosswise and np.linalg.det(axes) < 0)


def _known_factors(section: AnnData) -> list[float]:
    """The section's own scale factors, by which its spots may have been multiplied once too often, or not at all."""
    scalefactors = section.uns["spatial"][section_name(section)]["scalefactors"]
    factors = {metadata_of(section).get("pixel_scale", 1.0)}
    factors |= {scalefactors[key] for key in ("tissue_hires_scalef", "tissue_lowres_scalef") if key in scalefactors}
    return [power for factor in factors if factor != 1 for power in (factor, 1 / factor)]
