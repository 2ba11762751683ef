"""Slides of STimage-1K4M: a table of counts, a table of spots with their radius, and a PNG.

::

    FOLDER/ST/gene_exp/SLIDE_count.csv     spots x genes; the first column is SLIDE_10x13, or SLIDE_ and a barcode
    FOLDER/ST/coord/SLIDE_coord.csv        the same names, then yaxis,xaxis,r in pixels of the image
    FOLDER/ST/image/SLIDE.png

and likewise ``Visium`` and ``VisiumHD``. Despite the order of its columns, ``xaxis`` is the image's x.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from anndata import AnnData

from stlearn_lib.data.readers.lattice import Lattice, fit_lattice
from stlearn_lib.data.readers.tables import check_columns, read_counts, read_table
from stlearn_lib.data.sections import make_section
from stlearn_lib.errors import SectionError

COLUMNS = ("yaxis", "xaxis", "r")


class _Array(NamedTuple):
    pitch_um: float
    diameter_um: float


_ARRAYS: dict[str, _Array | None] = {"ST": _Array(200.0, 100.0), "Visium": _Array(100.0, 55.0), "VisiumHD": None}
_RADIUS_OF_PITCH = (0.22, 0.35)  # ST 0.25; Visium 0.275, or 0.325 with the 65 µm that Space Ranger writes


def read_stimage(folder: Path | str, slide: str, *, patient: str, um_per_px: float | None = None) -> AnnData:
    r"""Read one slide of STimage-1K4M.

    The data set does not tell the resolution of its images. It follows from the array, whose spots lie 200 µm (ST) or
    100 µm (Visium) apart,

    $$\text{µm per px} = \frac{\text{pitch in µm}}{\text{pitch in px}},$$

    with the array fitted to the spots by `lattice.fit_lattice`. The radius ``r`` has to fit: finer arrays that are
    filed under ST as well (GSE144239: 110 µm wide, 150 µm apart) are refused unless their resolution is passed.
    Visium's names are barcodes, so its array coordinates come from the fit, too.

    Args:
        folder: The data set, or as much of it as has been downloaded.
        slide: The slide's name, ``slide`` in ``meta/meta_all_gene.csv``.
        patient: The patient's name, which the data set does not tell: see the study.
        um_per_px: Micrometres per pixel of the image, if you know better. Visium HD needs it.

    Returns:
        The section; spots are named without the slide.

    Raises:
        SectionError: If a file is missing or malformed, spots of the two tables differ, or the resolution cannot be
            told. The message names the file and the place.
        ImageError: If the image is missing or unreadable.

    Reference:
        Chen et al., STimage-1K4M, arXiv:2406.06393; code JiawenChenn/STimage-1K4M, 01-crop-image.py, crops at
        (xaxis - r, yaxis - r).
    """
    platform, home = _find(Path(folder), slide)
    counts_file, spots_file = home / f"gene_exp/{slide}_count.csv", home / f"coord/{slide}_coord.csv"
    values, names, genes = read_counts(counts_file)
    table = _read_spots(spots_file)
    for one, other, file in ((names, table.index, spots_file), (table.index, names, counts_file)):
        if len(missing := one.difference(other)):
            raise SectionError(f"{file}: {len(missing)} spots are missing, first {missing[0]!r}.")
    table = table.loc[names]
    table.index = pd.Index([spot.removeprefix(f"{slide}_") for spot in names])
    lattice = fit_lattice(table[["pixel_x", "pixel_y"]].to_numpy(), str(spots_file))
    array = _array_of_names(table.index)
    radius_px = float(table["r"].iloc[0])
    if um_per_px is None:
        nominal = _nominal(spots_file, platform, radius_px, lattice)
        um_per_px, diameter_um = nominal.pitch_um / lattice.pitch_px, nominal.diameter_um
    else:
        diameter_um = 2 * radius_px * um_per_px
    columns = [lattice.array_x, lattice.array_y] if array is None else array.T
    return make_section(
        values,
        genes,
        table.assign(array_x=columns[0], array_y=columns[1]),
        name=slide,
        patient=patient,
        image_path=home / f"image/{slide}.png",
        um_per_px=um_per_px,
        spot_diameter_um=diameter_um,
        metadata={"source": "STimage-1K4M", "platform": platform},
    )


def _find(folder: Path, slide: str) -> tuple[str, Path]:
    for platform in _ARRAYS:
        if (folder / platform / f"gene_exp/{slide}_count.csv").is_file():
            return platform, folder / platform
    places = ", ".join(f"{platform}/gene_exp" for platform in _ARRAYS)
    raise SectionError(f"{folder}: there is no {slide}_count.csv in {places}.")


def _read_spots(path: Path) -> pd.DataFrame:
    table = read_table(path)
    check_columns(path, table, COLUMNS)
    if table["r"].nunique() != 1 or not table["r"].iloc[0] > 0:
        raise SectionError(f"{path}: the radius r must be the same positive number in every row.")
    names = table[table.columns[0]].astype(str)
    if names.duplicated().any():
        raise SectionError(f"{path}: the spot {names[names.duplicated()].iloc[0]!r} occurs more than once.")
    return table.set_index(pd.Index(names)).rename(columns={"xaxis": "pixel_x", "yaxis": "pixel_y"})


def _array_of_names(names: pd.Index) -> np.ndarray | None:
    """Array coordinates (N, 2) of names such as 10x13; None of barcodes."""
    parts = names.str.extract(r"^(\d+(?:\.\d+)?)x(\d+(?:\.\d+)?)$")
    return None if parts.isna().any(axis=None) else parts.to_numpy(float)


def _nominal(path: Path, platform: str, radius_px: float, lattice: Lattice) -> _Array:
    array = _ARRAYS[platform]
    if array is None:
        raise SectionError(f"{path}: the size of {platform} bins is not told, so um_per_px (--um-per-px) is needed.")
    share = radius_px / lattice.pitch_px
    if not _RADIUS_OF_PITCH[0] <= share <= _RADIUS_OF_PITCH[1]:
        raise SectionError(
            f"{path}: spots of radius {radius_px:.1f} px that lie {lattice.pitch_px:.1f} px apart are not those of "
            f"{platform} ({array.diameter_um:g} µm wide, {array.pitch_um:g} µm apart): pass um_per_px (--um-per-px)."
        )
    return array
