"""The output folder of 10x's Space Ranger: Visium (versions 1 to 3) and Visium HD."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow
from anndata import AnnData

from stlearn_lib.data.arrays import CELL_UM2, fit_array
from stlearn_lib.data.placement import check_placement
from stlearn_lib.data.readers.facts import read_facts
from stlearn_lib.data.readers.feature_matrix import FeatureMatrix, read_feature_matrix
from stlearn_lib.data.readers.tables import check_columns, first_line, read_table
from stlearn_lib.data.sections import make_section
from stlearn_lib.errors import SectionError

POSITION_COLUMNS = ("barcode", "in_tissue", "array_row", "array_col", "pxl_row_in_fullres", "pxl_col_in_fullres")
POSITION_FILES = ("tissue_positions.parquet", "tissue_positions.csv", "tissue_positions_list.csv")
SPOT_DIAMETER_UM = 55.0
HIRES_IMAGE = "tissue_hires_image.png"


def read_visium(
    folder: Path | str,
    *,
    name: str,
    patient: str,
    image: Path | str | None = None,
    metadata: dict[str, Any] | None = None,
) -> AnnData:
    r"""Read a Visium section from the ``outs`` folder of Space Ranger 1, 2 or 3.

    Spots are those under the tissue that have counts, named by their barcodes; genes are unique, see
    `feature_matrix.read_feature_matrix`, and ``var["gene_ids"]`` holds their Ensembl ids. The resolution follows from
    the hexagonal array, whose columns are 50 µm and whose rows are 86.6 µm apart:

    $$\text{µm per px} = \sqrt{\frac{50 \cdot 86.6}{|\det A|}}$$

    with $A$ the array's steps in pixels. Space Ranger's own ``spot_diameter_fullres`` is only compared with it: the
    spots are 55 µm wide, but versions 1 and 2 write the width of "a theoretical 65 µm spot" there.

    Args:
        folder: Holds ``filtered_feature_bc_matrix.h5`` (or the folder of that name) and ``spatial``.
        name: The section's name.
        patient: The patient's name.
        image: The full-resolution image that Space Ranger was given. Without it the section has Space Ranger's
            reduced one, ``tissue_hires_image.png``, and says so in ``metadata["pixel_scale"]``.
        metadata: More facts to keep in the section, see `sections.make_section`.

    Returns:
        The section.

    Raises:
        SectionError: If a file is missing or malformed, scales disagree, or spots and image do not fit
            (`placement.check_placement`). The message names the file.
        ImageError: If the image is missing or unreadable.

    Reference:
        10x Genomics, Space Ranger: spatial outputs; https://www.10xgenomics.com/support/software/space-ranger.
    """
    folder = Path(folder)
    positions_file = _positions_file(folder / "spatial")
    positions = _read_positions(positions_file)
    factors_file = folder / "spatial/scalefactors_json.json"
    factors = _read_factors(factors_file, ("spot_diameter_fullres", "tissue_hires_scalef"))
    um_per_px = _fitted_um_per_px(positions_file, positions, CELL_UM2[SPOT_DIAMETER_UM])
    check_spot_diameter(factors_file, factors["spot_diameter_fullres"] * um_per_px)
    return _section(
        folder,
        positions,
        factors,
        um_per_px,
        SPOT_DIAMETER_UM,
        name=name,
        patient=patient,
        image=image,
        metadata={"source": "Space Ranger", "platform": "Visium"} | (metadata or {}),
    )


def read_visium_hd(
    folder: Path | str,
    *,
    name: str,
    patient: str,
    bin_um: int = 8,
    image: Path | str | None = None,
    metadata: dict[str, Any] | None = None,
) -> AnnData:
    """Read a Visium HD section, binned, from the ``outs`` folder of Space Ranger 3 or later.

    A spot is a square bin. Its ``spot_diameter_fullres`` is the bin's side, as Space Ranger itself has it.

    Args:
        folder: Holds ``binned_outputs``.
        name: The section's name.
        patient: The patient's name.
        bin_um: The bins' side in micrometres: 2, 8, 16, or what Space Ranger was asked for.
        image: The full-resolution image, see `read_visium`.
        metadata: More facts to keep in the section.

    Returns:
        The section. All stays sparse: a section has some 400,000 bins of 8 µm.

    Raises:
        SectionError: As `read_visium`, and if there are no bins of that size.
        ImageError: If the image is missing or unreadable.
    """
    bins = Path(folder) / "binned_outputs"
    folder = bins / f"square_{bin_um:03d}um"
    if not folder.is_dir():
        there = ", ".join(sorted(path.name for path in bins.glob("square_*um"))) or "nothing"
        raise SectionError(f"{folder} does not exist; in {bins} there is {there}.")
    positions_file = _positions_file(folder / "spatial")
    positions = _read_positions(positions_file)
    factors_file = folder / "spatial/scalefactors_json.json"
    factors = _read_factors(
        factors_file, ("bin_size_um", "microns_per_pixel", "spot_diameter_fullres", "tissue_hires_scalef")
    )
    um_per_px = factors["microns_per_pixel"]
    for side, what in (
        (factors["bin_size_um"], "bin_size_um"),
        (factors["spot_diameter_fullres"] * um_per_px, "spot_diameter_fullres x microns_per_pixel"),
        (bin_um * um_per_px / _fitted_um_per_px(positions_file, positions, bin_um**2), "the array's step"),
    ):
        if not np.isclose(side, bin_um, rtol=0.05):
            raise SectionError(f"{factors_file}: scale mismatch: {what} is {side:.3g} µm for bins of {bin_um} µm.")
    return _section(
        folder,
        positions,
        factors,
        um_per_px,
        float(bin_um),
        name=name,
        patient=patient,
        image=image,
        metadata={"source": "Space Ranger", "platform": "Visium HD", "bin_um": bin_um} | (metadata or {}),
    )


def check_spot_diameter(path: Path | str, diameter_um: float) -> None:
    """Check that a file's spot diameter, measured with the array's scale, is one that is written for Visium.

    Raises:
        SectionError: If it is not 55 to 65 µm, give or take a tenth.
    """
    if not 0.9 * SPOT_DIAMETER_UM <= diameter_um <= 1.1 * 65:
        raise SectionError(
            f"{path}: scale mismatch: by the array's pitch of 100 µm its spots are {diameter_um:.1f} µm wide, not 55 "
            "(or the 65 that Space Ranger writes). Were positions and scale factors made for different images?"
        )


def _section(
    folder: Path,
    positions: pd.DataFrame,
    factors: dict[str, float],
    um_per_px: float,
    spot_diameter_um: float,
    *,
    name: str,
    patient: str,
    image: Path | str | None,
    metadata: dict[str, Any],
) -> AnnData:
    matrix = _under_tissue(_positions_file(folder / "spatial"), read_feature_matrix(folder), positions)
    hires = folder / "spatial" / HIRES_IMAGE
    scale = 1.0
    if image is None and hires.exists():
        image, scale = hires, factors["tissue_hires_scalef"]
        metadata = metadata | {"pixel_scale": scale, "reduced_by": "Space Ranger"}
    spots = positions.loc[matrix.barcodes].rename(columns={"array_col": "array_x", "array_row": "array_y"})
    section = make_section(
        matrix.counts,
        list(matrix.genes.index),
        spots.assign(pixel_x=spots["pxl_col_in_fullres"] * scale, pixel_y=spots["pxl_row_in_fullres"] * scale),
        name=name,
        patient=patient,
        image_path=None if image is None else Path(image),
        um_per_px=um_per_px / scale,
        spot_diameter_um=spot_diameter_um,
        metadata=metadata,
    )
    section.var["gene_ids"] = matrix.genes["gene_ids"]
    check_placement(section)
    return section


def _under_tissue(path: Path, matrix: FeatureMatrix, positions: pd.DataFrame) -> FeatureMatrix:
    unknown = matrix.barcodes.difference(positions.index)
    if len(unknown):
        raise SectionError(
            f"{path}: {len(unknown)} barcodes have counts but no position, first {unknown[0]!r}. Do matrix and "
            "positions belong to the same section?"
        )
    inside = positions["in_tissue"].reindex(matrix.barcodes).to_numpy() == 1
    if not inside.any():
        raise SectionError(f"{path}: no barcode with counts is in_tissue.")
    if inside.all():
        return matrix  # as Space Ranger writes it; a copy of a whole HD matrix would take gigabytes
    return FeatureMatrix(matrix.counts[inside], matrix.barcodes[inside], matrix.genes)


def _positions_file(folder: Path) -> Path:
    for file in POSITION_FILES:
        if (folder / file).exists():
            return folder / file
    raise SectionError(f"{folder} holds none of {', '.join(POSITION_FILES)}.")


def _read_positions(path: Path) -> pd.DataFrame:
    """Read the spots' positions, indexed by barcode; version 1 writes no header, later ones do."""
    if path.suffix == ".parquet":
        table = _read_parquet(path)
    elif first_line(path).startswith("barcode"):
        table = read_table(path)
    else:
        table = read_table(path, header=None)
        if table.shape[1] != len(POSITION_COLUMNS):
            raise SectionError(f"{path}: {table.shape[1]} columns; expected {', '.join(POSITION_COLUMNS)}.")
        table.columns = pd.Index(POSITION_COLUMNS)
        table.index -= 1  # rows are counted as if there were a header
    check_columns(path, table, POSITION_COLUMNS, numeric=POSITION_COLUMNS[1:])
    numbers = table[list(POSITION_COLUMNS[1:])].apply(pd.to_numeric)
    wrong = ~numbers["in_tissue"].isin((0, 1))
    if wrong.any():
        raise SectionError(f"{path}: row {table.index[wrong][0] + 2}, in_tissue is neither 0 nor 1.")
    numbers.index = pd.Index(table["barcode"].astype(str))
    if numbers.index.has_duplicates:
        doubled = numbers.index[numbers.index.duplicated()][0]
        raise SectionError(f"{path}: the barcode {doubled!r} occurs more than once.")
    return numbers


def _read_parquet(path: Path) -> pd.DataFrame:
    try:
        return pd.read_parquet(path)
    except (pyarrow.ArrowException, OSError, ValueError, TypeError, KeyError) as error:
        raise SectionError(f"{path} is no readable table ({error}).") from error


def _read_factors(path: Path, keys: tuple[str, ...]) -> dict[str, float]:
    factors = read_facts(path)
    for key in keys:
        value: Any = factors.get(key)
        if type(value) not in (int, float) or not 0 < value < np.inf:
            raise SectionError(f"{path}: {key} must be a positive number, not {value!r}.")
    return {key: float(factors[key]) for key in keys}


def _fitted_um_per_px(path: Path, positions: pd.DataFrame, cell_um2: float) -> float:
    """Resolution by the array, on which every spot has to lie."""
    fit = fit_array(
        positions[["array_col", "array_row"]].to_numpy(),
        positions[["pxl_col_in_fullres", "pxl_row_in_fullres"]].to_numpy(),
    )
    if not fit.cell_px2 > 0:
        raise SectionError(f"{path}: the spots' positions span no array, so the image's resolution is unknown.")
    off = fit.residual_px / np.sqrt(fit.cell_px2)
    if off.max() > 1:
        worst = positions.index[int(off.argmax())]
        raise SectionError(
            f"{path}: the barcode {worst} lies {fit.residual_px.max():.0f} px from its place on the array, whose step "
            f"is {np.sqrt(fit.cell_px2):.0f} px. Are rows and columns, or two tables, mixed up?"
        )
    return float(np.sqrt(cell_um2 / fit.cell_px2))
