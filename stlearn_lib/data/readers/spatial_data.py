"""Sections stored with the library SpatialData: a zarr folder of tables, shapes and images."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse

from stlearn_lib.cache import cache_folder, written_whole
from stlearn_lib.data.arrays import CELL_UM2, fit_array
from stlearn_lib.data.placement import check_placement
from stlearn_lib.data.readers.feature_matrix import checked_counts
from stlearn_lib.data.sections import make_section
from stlearn_lib.errors import ImageError, SectionError

if TYPE_CHECKING:
    from spatialdata import SpatialData
    from xarray import DataArray

TILE_PX = 512
_UNREADABLE = (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, IndexError, MemoryError)


def read_spatialdata(
    path: Path | str,
    *,
    name: str,
    patient: str,
    table: str = "table",
    region: str | None = None,
    image: str | None = None,
    spot_diameter_um: float = 55.0,
    metadata: dict[str, Any] | None = None,
) -> AnnData:
    r"""Read one section from a SpatialData folder.

    Spots are the circles that the table's rows name. Their centres come to the image's pixels through the coordinate
    system that both share: with the circles' transformation $T_s$ and the image's $T_i$ to it,

    $$\text{pixel} = T_i^{-1}\, T_s\, \text{centre}.$$

    The resolution follows from the array (``obs["array_col"]`` and ``obs["array_row"]``, as spatialdata-io keeps
    them) of a known platform, else from the circles' diameter.

    Args:
        path: The zarr folder.
        name: The section's name.
        patient: The patient's name.
        table: The table that holds raw counts.
        region: The shapes element to read, where the table annotates several.
        image: The image element, where several share a coordinate system with the circles.
        spot_diameter_um: Diameter of a spot in micrometres, which tells the platform: Visium 55, Visium HD its bins'
            side, Spatial Transcriptomics 100.
        metadata: More facts to keep in the section, see `sections.make_section`.

    Returns:
        The section; its image is written once to the cache, as tiled TIFF. Without an image element it has none.

    Raises:
        SectionError: If the library is missing, the folder is unreadable, an element is missing or to be chosen, the
            counts are none, scales disagree, or spots and image do not fit (`placement.check_placement`).
        ImageError: If the image is no RGB image of 8 bits.

    Reference:
        Marconato et al., Nature Methods 22 (2025) 58.
    """
    path = Path(path)
    data = _read(path)
    if table not in data.tables:
        raise SectionError(f"{path}: there is no table {table!r}; there is {', '.join(data.tables) or 'none'}.")
    rows, circles = _rows_and_circles(path, data, table, region)
    picture = _choose_image(path, data, circles, image)
    centres, radius_px = _in_pixels(path, circles, None if picture is None else data.images[picture])
    array = _array(path, rows)
    um_per_px = _um_per_px(path, fit_array(array, centres).cell_px2, radius_px, spot_diameter_um)
    section = make_section(
        checked_counts(path, sparse.csr_matrix(rows.X), rows.obs_names, rows.var_names),
        list(rows.var_names),
        pd.DataFrame(np.hstack([array, centres]), rows.obs_names, ["array_x", "array_y", "pixel_x", "pixel_y"]),
        name=name,
        patient=patient,
        image_path=None if picture is None else _written(path, picture, _full_resolution(data.images[picture])),
        um_per_px=um_per_px,
        spot_diameter_um=spot_diameter_um,
        metadata={"source": path.name} | (metadata or {}),
    )
    if "gene_ids" in rows.var:
        section.var["gene_ids"] = rows.var["gene_ids"].astype(str)
    check_placement(section)
    return section


def _read(path: Path) -> "SpatialData":
    try:
        import spatialdata  # optional, and seconds to import
    except ImportError as error:
        raise SectionError(f"{path}: reading it needs SpatialData: pip install 'stlearn-lib[spatialdata]'.") from error
    if not path.is_dir():
        raise SectionError(f"{path} does not exist, or is no folder.")
    try:
        return spatialdata.read_zarr(path, selection=("images", "shapes", "tables"))
    except _UNREADABLE as error:
        raise SectionError(f"{path} is no readable SpatialData folder ({_first_line(error)}).") from error


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _rows_and_circles(path: Path, data: "SpatialData", table: str, region: str | None) -> tuple[AnnData, Any]:
    """The table's rows of one region, and their circles in the same order."""
    rows = data.tables[table]
    keys = rows.uns.get("spatialdata_attrs")
    if not isinstance(keys, dict) or not {"region", "region_key", "instance_key"} <= keys.keys():
        raise SectionError(f"{path}: the table {table!r} does not say which shapes it annotates.")
    regions = [keys["region"]] if isinstance(keys["region"], str) else list(keys["region"])
    if region is None and len(regions) > 1:
        raise SectionError(f"{path}: the table {table!r} holds {', '.join(regions)}; choose one with region=.")
    region = regions[0] if region is None else region
    if region not in regions or region not in data.shapes:
        raise SectionError(f"{path}: the region {region!r} is not among {', '.join(regions)} or has no shapes.")
    rows = rows[(rows.obs[keys["region_key"]] == region).to_numpy()].copy()
    circles = data.shapes[region]
    if "radius" not in circles:
        raise SectionError(f"{path}: the shapes {region!r} are no circles with a radius.")
    instances = pd.Index(rows.obs[keys["instance_key"]])
    for what, index in (("table", instances), ("shapes", circles.index)):
        if index.has_duplicates:
            raise SectionError(
                f"{path}: {index[index.duplicated()][0]!r} occurs more than once in the {what} of {region!r}."
            )
    missing = instances.difference(circles.index)
    if len(missing) or not len(instances):
        raise SectionError(
            f"{path}: of {len(instances)} rows for {region!r} {len(missing)} have no circle"
            + (f", first {missing[0]!r}." if len(missing) else ".")
        )
    return rows, circles.loc[instances]


def _choose_image(path: Path, data: "SpatialData", circles: Any, image: str | None) -> str | None:
    """The image element that was asked for, or the only one that shares a coordinate system with the circles."""
    if image is not None:
        if image not in data.images:
            raise SectionError(f"{path}: there is no image {image!r}; there is {', '.join(data.images) or 'none'}.")
        return image
    sharing = [key for key in data.images if _transformations(circles).keys() & _transformations(data.images[key])]
    if len(sharing) > 1:
        raise SectionError(f"{path} holds the images {', '.join(sharing)}; choose one with image=.")
    return sharing[0] if sharing else None


def _transformations(element: Any) -> dict[str, Any]:
    from spatialdata.transformations import get_transformation

    transformations: dict[str, Any] = get_transformation(element, get_all=True)
    return transformations


def _in_pixels(path: Path, circles: Any, image: Any | None) -> tuple[np.ndarray, float]:
    """Centres (x, y), (N, 2), and the median radius, in pixels of the image; in their own units without one."""
    centres = np.column_stack([circles.geometry.x, circles.geometry.y])
    radius = float(circles["radius"].median())
    if image is not None:
        shared = sorted(_transformations(circles).keys() & _transformations(image))
        if not shared:
            raise SectionError(f"{path}: the circles and the image share no coordinate system.")
        system = "global" if "global" in shared else shared[0]
        to_system = _matrix(_transformations(circles)[system])
        try:
            matrix = np.linalg.inv(_matrix(_transformations(image)[system])) @ to_system
        except np.linalg.LinAlgError as error:
            raise SectionError(f"{path}: the image's transformation to {system!r} cannot be inverted.") from error
        centres = centres @ matrix[:2, :2].T + matrix[:2, 2]
        radius *= float(np.sqrt(abs(np.linalg.det(matrix[:2, :2]))))
    if not np.isfinite(centres).all() or not 0 < radius < np.inf:
        raise SectionError(f"{path}: a circle has no finite centre, or no positive radius.")
    return centres, radius


def _matrix(transformation: Any) -> np.ndarray:
    return np.asarray(transformation.to_affine_matrix(input_axes=("x", "y"), output_axes=("x", "y")))


def _array(path: Path, rows: AnnData) -> np.ndarray:
    missing = [column for column in ("array_col", "array_row") if column not in rows.obs]
    if missing:
        raise SectionError(f"{path}: the table lacks the column(s) {', '.join(missing)}.")
    array = rows.obs[["array_col", "array_row"]].apply(pd.to_numeric, errors="coerce").to_numpy(float)
    if not np.isfinite(array).all():
        raise SectionError(f"{path}: the columns array_col and array_row must be numbers.")
    return array


def _um_per_px(path: Path, cell_px2: float, radius_px: float, spot_diameter_um: float) -> float:
    by_circles = spot_diameter_um / (2 * radius_px)
    cell_um2 = CELL_UM2.get(float(spot_diameter_um))
    if not (cell_um2 and cell_px2):
        return by_circles
    by_array = float(np.sqrt(cell_um2 / cell_px2))
    # Space Ranger writes the diameter of "a theoretical 65 µm spot", and spatialdata-io makes circles of it.
    if not 0.75 < by_circles / by_array < 1.1:
        raise SectionError(
            f"{path}: scale mismatch: {by_array:.4g} µm per px by the array, {by_circles:.4g} by circles of "
            f"{spot_diameter_um:g} µm. Is spot_diameter_um that of the platform?"
        )
    return by_array


def _full_resolution(image: Any) -> "DataArray":
    """The image itself, or the first level of a pyramid."""
    from spatialdata import get_pyramid_levels
    from xarray import DataTree

    return get_pyramid_levels(image, n=0) if isinstance(image, DataTree) else image


def _written(path: Path, name: str, image: "DataArray") -> Path:
    """Write an image element once into the cache; only a band of tiles is in memory at a time."""
    import tifffile

    image = image.transpose("y", "x", "c")
    height, width, channels = image.shape
    if image.dtype != np.uint8 or channels not in (3, 4):
        raise ImageError(f"{path}: the image {name!r} is {image.dtype} with {channels} channels, not RGB of 8 bits.")
    file = cache_folder("images") / f"{_fingerprint(path / 'images' / name)}.tiff"
    if not file.is_file():
        try:
            with written_whole(file) as temporary:
                tifffile.imwrite(
                    temporary,
                    _tiles(image[..., :3]),
                    shape=(height, width, 3),
                    dtype=np.uint8,
                    tile=(TILE_PX, TILE_PX),
                    photometric="rgb",
                    compression="adobe_deflate",
                )
        except _UNREADABLE as error:
            raise ImageError(f"{path}: the image {name!r} cannot be read ({_first_line(error)}).") from error
    return file


def _tiles(image: "DataArray") -> Iterator[np.ndarray]:
    for top in range(0, image.shape[0], TILE_PX):
        band = image[top : top + TILE_PX].to_numpy()
        for left in range(0, band.shape[1], TILE_PX):
            yield np.ascontiguousarray(band[:, left : left + TILE_PX])


def _fingerprint(element: Path) -> str:
    """Hash the stored image's files: recognised by content, without decoding it."""
    digest = hashlib.blake2b(digest_size=12)
    for file in sorted(element.rglob("*")):
        if file.is_file():
            digest.update(str(file.relative_to(element)).encode())
            digest.update(file.read_bytes())
    return digest.hexdigest()
