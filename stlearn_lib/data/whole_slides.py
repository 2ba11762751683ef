"""A whole slide as a section without counts: spots on a grid over its tissue, or where they are asked for."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData

from stlearn_lib.data.images import open_image, resolution_of
from stlearn_lib.data.patches import PATCH_PX
from stlearn_lib.data.section_files import SUFFIX, read_section
from stlearn_lib.data.sections import make_section, section_name, spot_ids, um_per_px_of
from stlearn_lib.data.tissue import find_tissue
from stlearn_lib.errors import SectionError

MAX_SPOTS = 5_000_000
NOT_COUNTED = "not counted"
CENTRES = ["pixel_x", "pixel_y"]


@dataclass(frozen=True)
class Grid:
    """The spots of an array.

    Args:
        pitch_um: From a spot's centre to that of its nearest neighbour.
        diameter_um: Of a spot.
        hexagonal: Whether every other row is shifted by half the pitch, so that a spot has six nearest neighbours.
    """

    pitch_um: float
    diameter_um: float
    hexagonal: bool = False

    def spots(self, size: tuple[int, int], um_per_px: float) -> pd.DataFrame:
        """Lay the spots over an image, row by row.

        Args:
            size: Width and height of the image in pixels.
            um_per_px: Its resolution.

        Returns:
            A row for each spot: ``array_x`` and ``array_y``, and its centre ``pixel_x`` and ``pixel_y``. Along the rows
            of a hexagonal grid ``array_x`` goes in steps of 2, as Visium's does, and starts with 1 in every other row.

        Raises:
            SectionError: If the spots are too many.

        Example:
            >>> Grid(100, 55, hexagonal=True).spots((250, 200), um_per_px=1.0).round(1)
               array_x  array_y  pixel_x  pixel_y
            0        0        0     50.0     50.0
            1        2        0    150.0     50.0
            2        1        1    100.0    136.6
            3        3        1    200.0    136.6
        """
        pitch = self.pitch_um / um_per_px
        row_pitch = pitch * (np.sqrt(0.75) if self.hexagonal else 1.0)
        n_columns, n_rows = int(size[0] / pitch) + 1, int(size[1] / row_pitch) + 1
        if n_columns * n_rows > MAX_SPOTS:
            raise SectionError(
                f"{n_columns} x {n_rows} spots of {self.pitch_um:g} µm are too many: take a larger pitch."
            )
        row, column = (axis.ravel() for axis in np.indices((n_rows, n_columns)))
        steps = 2 if self.hexagonal else 1
        array_x = steps * column + (row % 2 if self.hexagonal else 0)
        x, y = (array_x / steps + 0.5) * pitch, row * row_pitch + 0.5 * pitch
        table = pd.DataFrame({"array_x": array_x, "array_y": row, "pixel_x": x, "pixel_y": y})
        return table[(x < size[0]) & (y < size[1])].reset_index(drop=True)


GRIDS = {"st": Grid(200.0, 100.0), "visium": Grid(100.0, 55.0, hexagonal=True)}
"""The arrays of Spatial Transcriptomics and of Visium."""


def slide_section(
    path: Path | str,
    *,
    grid: str = "st",
    pitch_um: float | None = None,
    spots: Path | str | None = None,
    um_per_px: float | None = None,
    scan_um_per_px: float | None = None,
    name: str | None = None,
    patient: str | None = None,
    tissue: bool = True,
) -> AnnData:
    r"""Read a whole slide, or any image, as a section whose counts nobody knows.

    A model sees tissue at the resolution that it was trained at: for a patch of $p$ pixels of a scan of $r_0$ µm per
    pixel, `cut_patches` cuts $p\,r_0/r$ pixels of a slide of $r$ µm per pixel, and resamples them to $p$.

    Args:
        path: The slide or image.
        grid: ``"st"`` (a square of 200 µm, spots of 100 µm), ``"visium"`` (a hexagon of 100 µm, spots of 55 µm), or
            ``"dense"`` (a square of `pitch_um`).
        pitch_um: Of a dense grid; without it, patches of 224 px touch each other.
        spots: Instead of a grid: a CSV with ``pixel_x`` and ``pixel_y``, centres in pixels of the image, or a section
            (``.h5ad``) of the same image. They stay as they are, wherever the tissue is.
        um_per_px: The image's resolution, if the file does not say.
        scan_um_per_px: The resolution that a patch's pixels stand for; without it, the image's own.
        name: The section's name; without it, the file's.
        patient: Whose slide it is; without it, the section's name.
        tissue: Whether to keep only those spots of the grid whose centres lie in tissue, see `data.tissue.find_tissue`.

    Returns:
        The section, with one gene that nobody counted.

    Raises:
        ImageError: If the image cannot be read, its resolution is unknown or contradicts the file's, or there is no
            tissue.
        SectionError: If grid, pitch or table of spots make no sense, no spot is left, or one lies outside the image.
        StlearnError: If tissue is to be found and LazySlide is not installed.

    Example:
        >>> from tempfile import mkdtemp
        >>> from PIL import Image
        >>> file = Path(mkdtemp()) / "slide.png"
        >>> Image.new("RGB", (300, 200)).save(file)
        >>> slide = slide_section(file, um_per_px=4.0, tissue=False)
        >>> slide.n_obs, slide.obs_names[-1], slide.obsm["spatial"][-1].tolist()
        (24, '5x3', [275.0, 175.0])
    """
    path = Path(path)
    image = open_image(path)
    if spots is not None:
        table, stated, diameter_um = _read_spots(Path(spots))
        resolution = resolution_of(image, stated if um_per_px is None else um_per_px)
    else:
        resolution = resolution_of(image, um_per_px)
        layout = _grid(grid, pitch_um, resolution if scan_um_per_px is None else scan_um_per_px)
        table, diameter_um = layout.spots(image.size, resolution), layout.diameter_um
        if tissue:
            table = table[find_tissue(path, resolution).contains(table[CENTRES].to_numpy())]
    if table.empty:
        raise SectionError(f"{path}: no spot is left; is um_per_px={resolution:g} right, or the pitch too large?")
    name = name or path.stem
    ids = spot_ids(table["array_x"].to_numpy(), table["array_y"].to_numpy())
    metadata: dict[str, Any] = {"source": f"{grid} grid" if spots is None else Path(spots).name}
    if scan_um_per_px is not None:
        metadata["pixel_scale"] = _positive("scan_um_per_px", scan_um_per_px) / resolution
    return make_section(
        np.zeros((len(table), 1)),
        [NOT_COUNTED],
        table.set_axis(ids, axis=0),
        name=name,
        patient=patient or name,
        image_path=path,
        um_per_px=resolution,
        spot_diameter_um=diameter_um,
        metadata=metadata,
    )


def _grid(name: str, pitch_um: float | None, scan_um_per_px: float) -> Grid:
    if name == "dense":
        pitch_um = PATCH_PX * scan_um_per_px if pitch_um is None else pitch_um
        return Grid(_positive("pitch_um", pitch_um), pitch_um)
    if name not in GRIDS:
        raise SectionError(f"unknown grid {name!r}; known: {', '.join(GRIDS)}, dense.")
    if pitch_um is not None:
        raise SectionError(
            f"the grid {name} has a pitch of {GRIDS[name].pitch_um:g} µm: a pitch is for the grid dense."
        )
    return GRIDS[name]


def _positive(name: str, value: float) -> float:
    if not 0 < value < np.inf:
        raise SectionError(f"{name} must be positive, not {value}.")
    return value


def _read_spots(path: Path) -> tuple[pd.DataFrame, float | None, float]:
    """Spots, the resolution that goes with them where it is known, and their diameter in micrometres."""
    if path.suffix == SUFFIX:
        section = read_section(path)
        centres = pd.DataFrame(section.obsm["spatial"], columns=CENTRES, index=section.obs_names)
        diameter_px = section.uns["spatial"][section_name(section)]["scalefactors"]["spot_diameter_fullres"]
        um_per_px = um_per_px_of(section)
        return section.obs[["array_x", "array_y"]].join(centres), um_per_px, diameter_px * um_per_px
    try:
        centres = pd.read_csv(path)[CENTRES].astype(float).reset_index(drop=True)
    except (OSError, ValueError, KeyError) as error:
        raise SectionError(f"{path} is no table with the numbers pixel_x and pixel_y ({error}).") from error
    return centres.assign(array_x=np.arange(len(centres)), array_y=0), None, GRIDS["st"].diameter_um
