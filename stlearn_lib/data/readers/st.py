"""The tables of the Spatial Transcriptomics pipeline, as almaan/her2st and others publish them.

A count table (spots x genes, first column the spot's id ``"XxY"``), a spot file (array and pixel coordinates of each
spot under the tissue), an image, and sometimes a pathologist's label for each spot.
"""

from pathlib import Path
from typing import Any

import pandas as pd
from anndata import AnnData

from stlearn_lib.data.readers.tables import check_columns, read_counts, read_table
from stlearn_lib.data.sections import make_section, spot_ids
from stlearn_lib.errors import SectionError

SPOT_COLUMNS = ("x", "y", "new_x", "new_y", "pixel_x", "pixel_y")
LABEL_COLUMNS = ("x", "y", "label")


def read_st(
    counts: Path | str,
    spots: Path | str,
    image: Path | str | None = None,
    labels: Path | str | None = None,
    *,
    name: str,
    patient: str,
    pixel_scale: float = 1.0,
    spot_pitch_um: float = 200.0,
    spot_diameter_um: float = 100.0,
    whole_array: bool = False,
    metadata: dict[str, Any] | None = None,
) -> AnnData:
    r"""Read one Spatial Transcriptomics section from its tables.

    Spots that are in the spot file but not in the count table had no reads and are left out; a spot that has counts
    but no position is an error, unless counts are of the whole array. The image's resolution follows from the array:
    spots lie 200 µm apart, so

    $$\text{µm per px} = \frac{200}{\text{pitch in px}},$$

    with the pitch fitted by least squares over all spots of the section.

    Args:
        counts: Count table, spots x genes, tab-separated, gzip or plain.
        spots: Spot file with the columns ``x y new_x new_y pixel_x pixel_y``.
        image: H&E image.
        labels: Table with the columns ``x y label``, joined by rounded array coordinates. Rows that leave both
            coordinates empty, as nine of F1's and G2's do, cannot be placed and are left out.
        name: The section's name.
        patient: The patient's name.
        pixel_scale: Pixels of the image for each pixel of the spot file: below 1 when the image is a reduced copy.
        spot_pitch_um: Distance between neighbouring spots in micrometres.
        spot_diameter_um: Diameter of a spot in micrometres.
        whole_array: Whether the count table may hold spots beside the tissue, which the spot file does not: they are
            left out.
        metadata: More facts to keep in the section, see `sections.make_section`.

    Returns:
        The section; a spot that the pathologist did not label has the label ``"unlabelled"``.

    Raises:
        SectionError: If a file is missing, empty or malformed, a column is missing, an id is doubled or unknown, or a
            spot lies outside the image. The message names the file.

    Reference:
        Ståhl et al., Science 353 (2016) 78; Andersson et al., Nature Communications 12 (2021) 6012.
    """
    values, names, genes = read_counts(Path(counts))
    spot_table = _read_spots(Path(spots))
    placed = names.isin(spot_table.index)
    if not (placed.any() if whole_array else placed.all()):
        raise SectionError(
            f"{counts}: {int((~placed).sum())} spots have counts but no position in {spots}, first "
            f"{names[~placed][0]!r}."
        )
    spot_table = spot_table.loc[names[placed]]
    um_per_px = spot_pitch_um / (_pitch_px(spot_table, Path(spots)) * pixel_scale)
    spot_table[["pixel_x", "pixel_y"]] *= pixel_scale
    if labels is not None:
        spot_table["label"] = _read_labels(Path(labels)).reindex(spot_table.index).fillna("unlabelled")
        spot_table["label"] = spot_table["label"].astype("category")
    if image is not None and not Path(image).is_file():
        raise SectionError(f"section {name}: the image {image} does not exist.")
    return make_section(
        values[placed],
        genes,
        spot_table,
        name=name,
        patient=patient,
        image_path=None if image is None else Path(image),
        um_per_px=um_per_px,
        spot_diameter_um=spot_diameter_um,
        metadata=metadata,
    )


def _read_spots(path: Path) -> pd.DataFrame:
    table = read_table(path)
    check_columns(path, table, SPOT_COLUMNS)
    table.index = pd.Index(spot_ids(table["x"].to_numpy(), table["y"].to_numpy()))
    if table.index.has_duplicates:
        raise SectionError(f"{path}: the spot {table.index[table.index.duplicated()][0]!r} occurs more than once.")
    return table.rename(columns={"x": "array_x", "y": "array_y"})


def _read_labels(path: Path) -> pd.Series:
    table = read_table(path)
    check_columns(path, table, LABEL_COLUMNS, numeric=())
    table = table.dropna(subset=["x", "y"], how="all")
    check_columns(path, table, LABEL_COLUMNS[:2])
    series = pd.Series(
        table["label"].astype(str).to_numpy(), index=spot_ids(table["x"].to_numpy(), table["y"].to_numpy())
    )
    if series.index.has_duplicates:
        raise SectionError(f"{path}: the spot {series.index[series.index.duplicated()][0]!r} is labelled twice.")
    return series


def _pitch_px(spots: pd.DataFrame, path: Path) -> float:
    """Fit pixels per array step, over both axes at once."""
    array = spots[["new_x", "new_y"]].to_numpy()
    pixels = spots[["pixel_x", "pixel_y"]].to_numpy()
    array = array - array.mean(axis=0)
    spread = float((array**2).sum())
    pitch = float((array * (pixels - pixels.mean(axis=0))).sum()) / spread if spread else 0.0
    if not pitch > 0:
        raise SectionError(f"{path}: array and pixel coordinates do not grow together, so the spot pitch is unknown.")
    return pitch
