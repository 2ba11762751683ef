"""Two plain tables and an image, for data of any other source: counts, and where each spot lies."""

from pathlib import Path
from typing import Any

import pandas as pd
from anndata import AnnData

from stlearn_lib.data.readers.lattice import fit_lattice
from stlearn_lib.data.readers.tables import check_columns, read_counts, read_table
from stlearn_lib.data.sections import make_section
from stlearn_lib.errors import SectionError

PIXEL_COLUMNS = ("pixel_x", "pixel_y")
ARRAY_COLUMNS = ("array_x", "array_y")


def read_plain(
    counts: Path | str,
    spots: Path | str,
    image: Path | str | None = None,
    *,
    name: str,
    patient: str,
    um_per_px: float,
    spot_diameter_um: float = 100.0,
    metadata: dict[str, Any] | None = None,
) -> AnnData:
    r"""Read a section from a table of counts and a table of spots; commas in ``.csv``, tabs in all else, gzip or plain.

    The count table has a row for each spot and a column for each gene; its first column names the spots. The spot table
    has the columns

    - ``spot``: the name, as in the count table
    - ``pixel_x``, ``pixel_y``: its centre in pixels of the image, from the top left corner
    - ``array_x``, ``array_y``: its column and row on the array. Without them they are found from the pixels
      (`lattice.fit_lattice`): an error where spots lie on no square or hexagonal array
    - ``label``: what a pathologist saw there, if anyone did; empty is ``"unlabelled"``

    and may have others. Rows may come in any order. Spots without a row of counts are left out.

    Args:
        counts: Count table, raw counts.
        spots: Spot table.
        image: H&E image; none for a section without one.
        name: The section's name.
        patient: The patient's name.
        um_per_px: Micrometres per pixel of the image.
        spot_diameter_um: Diameter of a spot in micrometres.
        metadata: More facts to keep in the section, see `sections.make_section`.

    Returns:
        The section, in the order of the count table.

    Raises:
        SectionError: If a file is missing or malformed, a column is missing, a name is doubled or unknown, or a spot
            lies outside the image. The message names the file and the place.
        ImageError: If the image is missing or unreadable.

    Example:
        >>> from tempfile import mkdtemp
        >>> folder = Path(mkdtemp())
        >>> _ = (folder / "counts.csv").write_text("spot,ERBB2,GNAS\na,0,2\nb,1,5\n")
        >>> _ = (folder / "spots.csv").write_text("spot,pixel_x,pixel_y,array_x,array_y\nb,30,10,2,1\na,10,10,1,1\n")
        >>> section = read_plain(folder / "counts.csv", folder / "spots.csv", name="S", patient="P", um_per_px=10)
        >>> section.obs_names.tolist(), section.obsm["spatial"].tolist()
        (['a', 'b'], [[10.0, 10.0], [30.0, 10.0]])
    """
    values, names, genes = read_counts(Path(counts))
    table = _read_spots(Path(spots))
    unknown = names.difference(table.index)
    if len(unknown):
        raise SectionError(f"{counts}: {len(unknown)} spots are not in {spots}, first {unknown[0]!r}.")
    return make_section(
        values,
        genes,
        table.loc[names],
        name=name,
        patient=patient,
        image_path=None if image is None else Path(image),
        um_per_px=um_per_px,
        spot_diameter_um=spot_diameter_um,
        metadata=metadata,
    )


def _read_spots(path: Path) -> pd.DataFrame:
    table = read_table(
        path, dtype={"spot": str, "label": str}, keep_default_na=False, na_values=[""], float_precision="round_trip"
    )
    known = [column for column in ARRAY_COLUMNS if column in table]
    check_columns(path, table, ("spot", *PIXEL_COLUMNS, *known), numeric=(*PIXEL_COLUMNS, *known))
    if table["spot"].isna().any():
        raise SectionError(f"{path}: row {int(table.index[table['spot'].isna()][0]) + 2} names no spot.")
    if table["spot"].duplicated().any():
        raise SectionError(
            f"{path}: the spot {table['spot'][table['spot'].duplicated()].iloc[0]!r} occurs more than once."
        )
    if len(known) == 1:
        raise SectionError(f"{path}: {known[0]} needs its companion: give both array coordinates, or none.")
    if not known:
        lattice = fit_lattice(table[list(PIXEL_COLUMNS)].to_numpy(), str(path))
        table = table.assign(array_x=lattice.array_x, array_y=lattice.array_y)
    if "label" in table:
        table["label"] = table["label"].fillna("unlabelled").astype("category")
    return table.set_index(pd.Index(table["spot"].to_numpy(dtype=object)))
