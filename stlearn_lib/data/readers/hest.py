"""Samples of HEST-1k: counts with spots, a whole slide, and facts.

::

    FOLDER/st/INT1.h5ad          X counts; obs array_row, array_col; obsm["spatial"] (x, y) in pixels of the slide
    FOLDER/wsis/INT1.tif         the slide, a pyramid
    FOLDER/metadata/INT1.json    patient, st_technology, pixel_size_um_estimated, spot_diameter, ...
    FOLDER/patches/INT1.h5       optional: patches by barcode, with the slide's pixels of their top left corners
"""

import math
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse

from stlearn_lib.data.h5ad import read_h5ad
from stlearn_lib.data.readers.facts import read_facts
from stlearn_lib.data.readers.feature_matrix import check_matrix, checked_counts
from stlearn_lib.data.readers.lattice import fit_lattice
from stlearn_lib.data.readers.tables import MAX_POSITION
from stlearn_lib.data.sections import make_section
from stlearn_lib.errors import SectionError

_SPATIAL_TRANSCRIPTOMICS = "Spatial Transcriptomics"
_POOLED = ("Xenium", "Visium HD")
_MIN_UM, _MAX_UM = 0.001, 10_000  # of a pixel or a spot; whatever is beyond is damage
_UNREADABLE = (OSError, KeyError, ValueError, TypeError, AttributeError)


def read_hest(folder: Path | str, sample_id: str, *, patient: str | None = None) -> AnnData:
    """Read one sample of HEST-1k.

    Two things of HEST are put right. For Spatial Transcriptomics it writes a spot's first array coordinate, the x of
    ``10x13``, as ``array_row``. For Xenium and Visium HD, which it pools into larger squares, ``spot_diameter`` is
    empty or the original bin's, and Visium HD's array coordinates count the squares that are not empty: both are taken
    from the pixels instead (`lattice.fit_lattice`), with the diameter of the circle that is as large as a square.

    Patients are numbered within a study, so the section's patient is named with the study.

    Args:
        folder: The data set, or as much of it as has been downloaded.
        sample_id: The sample's name, for example ``"INT1"``.
        patient: The patient's name, if the metadata leave it empty or you know better.

    Returns:
        The section; spots have HEST's barcodes.

    Raises:
        SectionError: If a file is missing or malformed, no patient is known, or ``patches`` are those of another
            sample. The message names the file and the place.
        ImageError: If the slide is missing or unreadable.

    Reference:
        Jaume et al., HEST-1k, NeurIPS 2024, arXiv:2406.16192; code mahmoodlab/HEST, readers.py and HESTData.py.
    """
    folder = Path(folder)
    facts_file = folder / f"metadata/{sample_id}.json"
    facts = _stated_facts(facts_file)
    um_per_px = _positive(facts_file, facts, "pixel_size_um_estimated", "pixel_size_um_embedded")
    table_file = folder / f"st/{sample_id}.h5ad"
    table = _read_h5ad(table_file)
    spots, diameter_um = _spots(table_file, table, facts_file, facts, um_per_px)
    patches = folder / f"patches/{sample_id}.h5"
    if patches.exists():
        _check_patches(patches, spots)
    return make_section(
        checked_counts(table_file, sparse.csr_matrix(table.X), table.obs_names, table.var_names),
        table.var_names.tolist(),
        spots,
        name=sample_id,
        patient=patient or _patient(facts_file, facts),
        image_path=folder / f"wsis/{sample_id}.tif",
        um_per_px=um_per_px,
        spot_diameter_um=diameter_um,
        metadata={"source": "HEST-1k", "platform": _text(facts_file, facts, "st_technology")},
    )


def _stated_facts(path: Path) -> dict[str, Any]:
    """Read the metadata; HEST leaves facts empty as null, as NaN or as an empty text."""
    return {name: value for name, value in read_facts(path).items() if value not in (None, "") and value == value}


def _positive(path: Path, facts: dict[str, Any], *names: str) -> float:
    """The first of the named facts that there is."""
    for name in names:
        if name in facts:
            value = facts[name]
            if type(value) not in (int, float) or not _MIN_UM <= value <= _MAX_UM:
                raise SectionError(
                    f"{path}: {name} must be a number of micrometres from {_MIN_UM} to {_MAX_UM}, not {value!r}."
                )
            return float(value)
    raise SectionError(f"{path}: there is no {' or '.join(names)}.")


def _text(path: Path, facts: dict[str, Any], name: str) -> str:
    value = facts.get(name, "")
    if type(value) not in (str, int, float):  # of patients, HEST has numbers as well
        raise SectionError(f"{path}: {name} must be a text, not {value!r}.")
    return str(value)


def _patient(path: Path, facts: dict[str, Any]) -> str:
    if "patient" not in facts:
        raise SectionError(f"{path} names no patient: pass patient=, from the study, as folds are built on patients.")
    return ", ".join(_text(path, facts, name) for name in ("dataset_title", "patient") if name in facts)


def _read_h5ad(path: Path) -> AnnData:
    table = read_h5ad(path)
    if table.X is None or "spatial" not in table.obsm:
        raise SectionError(f"{path} has no X or no obsm['spatial']: is it a file of HEST's folder st?")
    for what, names in (("spot", table.obs_names), ("gene", table.var_names)):
        if names.has_duplicates:
            raise SectionError(f"{path}: the {what} {names[names.duplicated()][0]!r} occurs more than once.")
    check_matrix(path, table.X)
    return table


def _spots(
    path: Path, table: AnnData, facts_file: Path, facts: dict[str, Any], um_per_px: float
) -> tuple[pd.DataFrame, float]:
    """The table of spots that a section is made of, and their diameter in micrometres."""
    pixels = np.asarray(table.obsm["spatial"])
    if pixels.ndim != 2 or pixels.shape[1] != 2 or pixels.dtype.kind not in "iuf":
        raise SectionError(
            f"{path}: obsm['spatial'] must be numbers (x, y), not {pixels.dtype} of shape {pixels.shape}."
        )
    placed = (np.abs(pixels.astype(float)) <= MAX_POSITION).all(axis=1)
    if not placed.all():
        raise SectionError(f"{path}: spot {table.obs_names[~placed][0]} has no position on any image.")
    if facts.get("st_technology") in _POOLED:
        lattice = fit_lattice(pixels, str(path))
        array, diameter_um = [lattice.array_x, lattice.array_y], 2 * lattice.pitch_px * um_per_px / math.sqrt(math.pi)
    else:
        array, diameter_um = _array(path, table.obs), _positive(facts_file, facts, "spot_diameter")
        if facts.get("st_technology") == _SPATIAL_TRANSCRIPTOMICS:
            array.reverse()
    names = ("array_x", "array_y", "pixel_x", "pixel_y")
    return pd.DataFrame(dict(zip(names, (*array, *pixels.T), strict=True)), index=table.obs_names), diameter_um


def _array(path: Path, obs: pd.DataFrame) -> list[np.ndarray]:
    columns = []
    for name in ("array_col", "array_row"):
        if name not in obs:
            raise SectionError(f"{path}: obs lacks the column {name}; found {', '.join(obs.columns)}.")
        values = pd.to_numeric(obs[name], errors="coerce").to_numpy(float)
        placed = np.abs(values) <= MAX_POSITION
        if not placed.all():
            raise SectionError(f"{path}: {name} of spot {obs.index[~placed][0]} is no position on an array.")
        columns.append(values)
    return columns


def _check_patches(path: Path, spots: pd.DataFrame) -> None:
    """Check that patches lie around the spots of the same barcodes: all by the same half of their side."""
    try:
        with h5py.File(path, "r") as file:
            barcodes = np.ravel(file["barcode"][()]).astype(str)
            corners = np.asarray(file["coords"][()], dtype=float)
    except (*_UNREADABLE, RuntimeError) as error:
        raise SectionError(f"{path} holds no patches with barcode and coords ({error}).") from error
    if not len(barcodes):
        raise SectionError(f"{path} holds no patches.")
    if corners.shape != (len(barcodes), 2):
        raise SectionError(f"{path}: {len(barcodes)} barcodes, but coords of shape {corners.shape}.")
    unknown = pd.Index(barcodes).difference(spots.index)
    if len(unknown):
        raise SectionError(f"{path}: the patch of {unknown[0]} belongs to none of the sample's spots.")
    offsets = spots.loc[barcodes, ["pixel_x", "pixel_y"]].to_numpy() - corners
    off = ~(np.abs(offsets - np.nanmedian(offsets)).max(axis=1) <= 2)  # corners were rounded to whole pixels
    if off.any():
        raise SectionError(
            f"{path}: the patch of {barcodes[off][0]} does not lie around its spot. Are patches and spots of one "
            "version of HEST?"
        )
