"""What a method was trained on, as far as a stranger's slide has to be like it."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
from anndata import AnnData
from scipy.spatial import cKDTree

from stlearn_lib.data.patches import PATCH_PX
from stlearn_lib.data.sections import metadata_of, patient_of, section_name, um_per_px_of


@dataclass(frozen=True, kw_only=True)
class Training:
    r"""The training sections, and what one of their patches shows.

    A patch is `patch_px` pixels of the *scan*: the image on disk may be a reduced copy of it
    (``metadata["pixel_scale"]``). Its side in tissue is

    $$\mathrm{field\ of\ view} = \mathrm{patch\ px} \cdot \mathrm{scan\ um\ per\ px}$$

    and a slide that is scanned at another resolution shows another field of view in as many pixels.

    Args:
        sections: Names of the S training sections.
        validation: Names of the sections by which training was stopped, or epochs chosen; none for most methods.
        patients: The patient of each training section, (S,).
        n_spots: Spots of each, (S,).
        simulated: Whether one of them is simulated.
        sources: Where they come from, as far as their metadata say.
        scan_um_per_px: Median resolution of the scans in µm per pixel.
        scan_um_per_px_range: Lowest and highest.
        spot_diameter_um: Median diameter of a spot.
        spot_pitch_um: Median distance from a spot to its nearest; None where each section has one spot.
        patch_px: Side of a patch in pixels of the scan.
        field_of_view_um: Side of the tissue that a patch shows at the median resolution.

    Example:
        >>> from pathlib import Path
        >>> from tempfile import mkdtemp
        >>> from stlearn_lib.data.synthetic import simulate_section
        >>> training = Training.of([simulate_section("S1", Path(mkdtemp()))])
        >>> training.patients, training.n_spots, training.simulated, round(training.spot_pitch_um)
        (('S',), (168,), True, 200)
    """

    sections: tuple[str, ...]
    validation: tuple[str, ...]
    patients: tuple[str, ...]
    n_spots: tuple[int, ...]
    simulated: bool
    sources: tuple[str, ...]
    scan_um_per_px: float
    scan_um_per_px_range: tuple[float, float]
    spot_diameter_um: float
    spot_pitch_um: float | None
    patch_px: int
    field_of_view_um: float

    @classmethod
    def of(cls, sections: Sequence[AnnData], validation: Sequence[AnnData] = ()) -> Self:
        """Describe sections.

        Args:
            sections: The training sections.
            validation: Those by which it was stopped.

        Returns:
            What they are.
        """
        resolutions = [scan_um_per_px(section) for section in sections]
        pitches = [pitch for section in sections if (pitch := spot_pitch_um(section)) is not None]
        resolution = float(np.median(resolutions))
        return cls(
            sections=tuple(section_name(section) for section in sections),
            validation=tuple(section_name(section) for section in validation),
            patients=tuple(patient_of(section) for section in sections),
            n_spots=tuple(section.n_obs for section in sections),
            simulated=any(bool(metadata_of(section).get("simulated")) for section in sections),
            sources=tuple(sorted({str(metadata_of(section).get("source", "unknown")) for section in sections})),
            scan_um_per_px=resolution,
            scan_um_per_px_range=(min(resolutions), max(resolutions)),
            spot_diameter_um=float(np.median([spot_diameter_um(section) for section in sections])),
            spot_pitch_um=float(np.median(pitches)) if pitches else None,
            patch_px=PATCH_PX,
            field_of_view_um=PATCH_PX * resolution,
        )

    @classmethod
    def from_plain(cls, facts: dict[str, Any]) -> Self:
        """Return what `plain` described, read from a JSON file."""
        fields: dict[str, Any] = {n: tuple(value) if isinstance(value, list) else value for n, value in facts.items()}
        return cls(**fields)

    def plain(self) -> dict[str, Any]:
        """Return everything in plain JSON values."""
        return asdict(self)


def scan_um_per_px(section: AnnData) -> float:
    """Return the resolution of the scan behind a section's image in µm per pixel, whatever copy of it is on disk."""
    return um_per_px_of(section) * float(metadata_of(section).get("pixel_scale", 1.0))


def spot_diameter_um(section: AnnData) -> float:
    """Return the diameter of a section's spots in µm."""
    scalefactors = section.uns["spatial"][section_name(section)]["scalefactors"]
    return float(scalefactors["spot_diameter_fullres"]) * um_per_px_of(section)


def spot_pitch_um(section: AnnData) -> float | None:
    """Return the median distance from a spot to its nearest in µm; None of a single spot."""
    if section.n_obs < 2:
        return None
    centres = np.asarray(section.obsm["spatial"], dtype=float)
    distances = cKDTree(centres).query(centres, k=2)[0][:, 1]
    return float(np.median(distances)) * um_per_px_of(section)
