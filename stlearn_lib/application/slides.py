"""What a model is asked to predict, as a section without counts: a whole slide, another image, a measured section."""

from pathlib import Path
from typing import Any

import numpy as np
from anndata import AnnData

from stlearn_lib.data.section_files import SUFFIX, read_section
from stlearn_lib.data.sections import metadata_of, um_per_px_of, without_counts
from stlearn_lib.data.whole_slides import GRIDS, slide_section
from stlearn_lib.errors import SectionError
from stlearn_lib.methods.provenance import Training


def open_slide(
    path: Path | str,
    training: Training | None,
    *,
    spots: Path | str | None = None,
    grid: str | None = None,
    pitch_um: float | None = None,
    um_per_px: float | None = None,
    name: str | None = None,
) -> AnnData:
    """Open a slide as a model that was trained on sections wants to see it.

    A patch shows as much tissue as in training, whatever the slide's resolution. Of a section, ``NAME.h5ad``, the spots
    are its own; of a slide they lie on a grid over the tissue, or where `spots` says.

    Args:
        path: A whole-slide file, another image, or a section that `data.section_files.write_section` wrote.
        training: The model's ``training``; without it patches are cut at the slide's own resolution.
        spots: A table of spots, see `data.whole_slides.slide_section`.
        grid: ``"st"``, ``"visium"`` or ``"dense"``; without it, the one whose spots are nearest in size to training's.
        pitch_um: Distance of the grid's spots, in µm.
        um_per_px: The image's resolution, if the file does not say.
        name: The slide's name; without it, the file's.

    Returns:
        A section without counts.

    Raises:
        SectionError: If the file holds no section, or a section is given a grid.
        ImageError: If the file is no image, or its resolution is unknown.
    """
    path = Path(path)
    scan = None if training is None else training.scan_um_per_px
    asked: dict[str, Any] = {"spots": spots, "grid": grid, "pitch_um": pitch_um, "um_per_px": um_per_px, "name": name}
    given = {option: value for option, value in asked.items() if value is not None}
    if path.suffix == SUFFIX:
        if given:
            raise SectionError(f"{path} is a section with spots of its own: leave out {', '.join(given)}.")
        return _seen_as_in_training(without_counts(read_section(path)), scan)
    grid = nearest_grid(training)
    return slide_section(path, scan_um_per_px=scan, **{"grid": grid, **given})


def nearest_grid(training: Training | None) -> str:
    """Return the name of the grid whose spots are nearest in size to those of training."""
    if training is None:
        return next(iter(GRIDS))
    return min(GRIDS, key=lambda name: abs(np.log(GRIDS[name].diameter_um / training.spot_diameter_um)))


def _seen_as_in_training(section: AnnData, scan_um_per_px: float | None) -> AnnData:
    if scan_um_per_px is not None:
        metadata_of(section)["pixel_scale"] = scan_um_per_px / um_per_px_of(section)
    return section
