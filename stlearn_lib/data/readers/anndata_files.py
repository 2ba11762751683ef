"""Visium sections that scanpy or squidpy stored as ``.h5ad``."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from PIL import Image
from scipy import sparse

from stlearn_lib.cache import cache_folder, written_whole
from stlearn_lib.data.arrays import CELL_UM2, fit_array
from stlearn_lib.data.h5ad import read_h5ad
from stlearn_lib.data.placement import check_placement
from stlearn_lib.data.readers.feature_matrix import check_matrix, checked_counts, unique_genes
from stlearn_lib.data.readers.lattice import fit_lattice
from stlearn_lib.data.readers.space_ranger import SPOT_DIAMETER_UM, check_spot_diameter
from stlearn_lib.data.sections import make_section
from stlearn_lib.errors import ImageError, SectionError


def read_visium_h5ad(
    path: Path | str,
    *,
    name: str,
    patient: str,
    image: Path | str | None = None,
    layer: str | None = None,
    undo_log1p: bool = False,
    metadata: dict[str, Any] | None = None,
) -> AnnData:
    r"""Read a Visium section in the layout of scanpy and squidpy: ``obsm["spatial"]`` and ``uns["spatial"][library]``.

    Array coordinates are those of the columns ``array_row`` and ``array_col``; where these were dropped they follow
    from the pixels (`lattice.fit_lattice`). The resolution follows from the array, as in `space_ranger.read_visium`.

    Doubled gene symbols become unique by ``var["gene_ids"]``, see `feature_matrix.read_feature_matrix`.

    Files often hold $x = \ln(1 + s c)$ in place of counts $c$, with a factor $s$ for each spot. With ``undo_log1p`` the
    counts are found again: the smallest value of a spot is taken for one count,

    $$c = \frac{e^x - 1}{\min_{x > 0} (e^x - 1)},$$

    and whatever is then no whole number is an error. A spot none of whose genes was counted just once comes out too
    low.

    Args:
        path: The ``.h5ad`` file.
        name: The section's name.
        patient: The patient's name.
        image: The image in whose pixels ``obsm["spatial"]`` is given. Without it the section has the reduced one that
            is stored in the file, written to the cache as PNG, and says so in ``metadata["pixel_scale"]``.
        layer: The layer that holds the counts; without one, ``X``.
        undo_log1p: Whether the values are log1p of scaled counts.
        metadata: More facts to keep in the section, see `sections.make_section`.

    Returns:
        The section, with the spots under the tissue where the file has the column ``in_tissue``.

    Raises:
        SectionError: If the file is unreadable, lacks a piece, holds several sections or no counts, scales disagree, or
            spots and image do not fit (`placement.check_placement`).
        ImageError: If the image is missing or unreadable.

    Reference:
        Wolf et al., Genome Biology 19 (2018) 15; Palla et al., Nature Methods 19 (2022) 171.
    """
    path = Path(path)
    table = _read(path, layer)
    library = _library(path, table)
    counts = _counts(path, table, layer, undo_log1p)
    pixels = _pixels(path, table)
    factors = library["scalefactors"]
    array = _array(path, table, pixels)
    fit = fit_array(array, pixels)
    if not fit.cell_px2 > 0:
        raise SectionError(f"{path}: the spots span no array, so the image's resolution is unknown.")
    um_per_px = float(np.sqrt(CELL_UM2[SPOT_DIAMETER_UM] / fit.cell_px2))
    check_spot_diameter(path, _factor(path, factors, "spot_diameter_fullres") * um_per_px)
    facts: dict[str, Any] = {"source": path.name, "platform": "Visium"}
    scale = 1.0
    if image is None and "hires" in library.get("images", {}):
        scale = _factor(path, factors, "tissue_hires_scalef")
        image = _written(path, library["images"]["hires"])
        facts |= {"pixel_scale": scale, "reduced_by": "Space Ranger"}
    section = make_section(
        counts,
        list(table.var_names),
        pd.DataFrame(np.hstack([array, pixels * scale]), table.obs_names, ["array_x", "array_y", "pixel_x", "pixel_y"]),
        name=name,
        patient=patient,
        image_path=None if image is None else Path(image),
        um_per_px=um_per_px / scale,
        spot_diameter_um=SPOT_DIAMETER_UM,
        metadata=facts | (metadata or {}),
    )
    if "gene_ids" in table.var:
        section.var["gene_ids"] = table.var["gene_ids"].astype(str)
    check_placement(section)
    return section


def _read(path: Path, layer: str | None) -> AnnData:
    table = read_h5ad(path)
    if layer is not None and layer not in table.layers:
        raise SectionError(f"{path}: there is no layer {layer!r}; there is {', '.join(table.layers) or 'none'}.")
    matrix = table.X if layer is None else table.layers[layer]
    if matrix is None:
        raise SectionError(f"{path} has no X. Name the layer of raw counts with layer=.")
    check_matrix(path, matrix)
    if "gene_ids" in table.var:
        table.var_names = unique_genes(
            pd.Series(table.var_names), table.var["gene_ids"].astype(str).reset_index(drop=True)
        )
    for what, names in (("spot", table.obs_names), ("gene", table.var_names)):
        if names.has_duplicates:
            raise SectionError(f"{path}: the {what} {names[names.duplicated()][0]!r} occurs more than once.")
    if "in_tissue" in table.obs:
        table = table[table.obs["in_tissue"].astype(str).isin(("1", "True", "1.0"))].copy()
    if table.n_obs == 0:
        raise SectionError(f"{path} holds no spot under the tissue.")
    return table


def _library(path: Path, table: AnnData) -> dict[str, Any]:
    libraries = table.uns.get("spatial")
    if not isinstance(libraries, dict) or not libraries:
        raise SectionError(
            f"{path}: uns['spatial'] with scale factors is missing: it was not stored as a Visium section."
        )
    if len(libraries) > 1:
        raise SectionError(
            f"{path} holds the sections {', '.join(libraries)}: cut it into files of one, in obs as well as in "
            "uns['spatial']."
        )
    library = next(iter(libraries.values()))
    if not isinstance(library, dict) or not isinstance(library.get("scalefactors"), dict):
        raise SectionError(f"{path}: uns['spatial'] has no scalefactors.")
    return library


def _factor(path: Path, factors: dict[str, Any], key: str) -> float:
    value = factors.get(key)
    if not isinstance(value, int | float | np.number) or not 0 < value < np.inf:
        raise SectionError(f"{path}: the scale factor {key} must be a positive number, not {value!r}.")
    return float(value)


def _counts(path: Path, table: AnnData, layer: str | None, undo_log1p: bool) -> sparse.csr_matrix:
    values = sparse.csr_matrix(table.X if layer is None else table.layers[layer])
    if undo_log1p:
        values = _without_log1p(values)
    try:
        return checked_counts(path, values, table.obs_names, table.var_names)
    except SectionError as error:
        raise SectionError(
            f"{error} Name the layer of raw counts with layer=, one of: {', '.join(table.layers) or 'none'}; or try "
            "undo_log1p=True if these are normalised counts."
        ) from error


def _without_log1p(values: sparse.csr_matrix) -> sparse.csr_matrix:
    values = values.astype(float)
    values.eliminate_zeros()
    values.data = np.expm1(np.clip(values.data, None, 700))  # e^700 is finite, and no count
    rows = np.diff(values.indptr) > 0
    smallest = np.minimum.reduceat(values.data, values.indptr[:-1][rows]) if rows.any() else np.ones(0)
    scaled = values.data / np.repeat(smallest, np.diff(values.indptr)[rows])
    whole = np.rint(scaled)
    values.data = np.where(np.abs(scaled - whole) <= 1e-4 * np.maximum(whole, 1), whole, scaled)
    return values


def _pixels(path: Path, table: AnnData) -> np.ndarray:
    pixels = np.asarray(table.obsm.get("spatial", ()))
    if pixels.shape != (table.n_obs, 2) or pixels.dtype.kind not in "iuf":
        raise SectionError(
            f"{path}: obsm['spatial'] must hold x and y of every spot, not {pixels.dtype} {pixels.shape}."
        )
    wrong = ~(np.abs(pixels) < 1e7).all(axis=1)
    if wrong.any():
        raise SectionError(f"{path}: the spot {table.obs_names[int(np.argmax(wrong))]} has no position on any image.")
    return pixels.astype(float)


def _array(path: Path, table: AnnData, pixels: np.ndarray) -> np.ndarray:
    columns = ["array_col", "array_row"]
    if set(columns) <= set(table.obs):
        array = table.obs[columns].apply(pd.to_numeric, errors="coerce").to_numpy(float)
        if not np.isfinite(array).all():
            raise SectionError(f"{path}: obs['array_col'] and obs['array_row'] must be numbers.")
        return array
    lattice = fit_lattice(pixels, str(path))
    return np.column_stack([lattice.array_x, lattice.array_y])


def _written(path: Path, image: Any) -> Path:
    """Write the stored image into the cache as PNG, named by its content."""
    pixels = np.asarray(image)
    if pixels.ndim != 3 or pixels.shape[2] not in (3, 4) or pixels.dtype.kind not in "uf":
        raise ImageError(f"{path}: the stored image is {pixels.dtype} {pixels.shape}; RGB of (H, W, 3) is needed.")
    if pixels.dtype.kind == "f":
        if not (pixels.min() >= 0 and pixels.max() <= 1):
            raise ImageError(f"{path}: the stored image has values from {pixels.min()} to {pixels.max()}, not 0 to 1.")
        pixels = np.rint(pixels * 255)
    pixels = np.ascontiguousarray(pixels[..., :3], dtype=np.uint8)
    digest = hashlib.blake2b(pixels.tobytes(), digest_size=12).hexdigest()
    file = cache_folder("images") / f"{digest}.png"
    if not file.is_file():
        with written_whole(file) as temporary:
            Image.fromarray(pixels).save(temporary)
    return file
