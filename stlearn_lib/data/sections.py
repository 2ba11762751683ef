"""The section: one slice of tissue with its spots, counts and image, as an `AnnData`.

The layout is the one that scanpy and squidpy plot:

- ``X`` raw counts, CSR float32 (N spots, G genes)
- ``obs[["array_x", "array_y", "section", "patient"]]``, and ``label`` where a pathologist gave one
- ``obsm["spatial"]`` (N, 2) pixel centres (x, y) in the image file
- ``uns["spatial"][name]`` with ``images``, ``scalefactors`` and ``metadata``
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from PIL import Image
from scipy import sparse

from stlearn_lib.data.images import TissueImage, open_image
from stlearn_lib.errors import ImageError, SectionError

OBS_COLUMNS = ("array_x", "array_y", "section", "patient")


def make_section(
    counts: sparse.spmatrix | np.ndarray,
    genes: Sequence[str],
    spots: pd.DataFrame,
    *,
    name: str,
    patient: str,
    image_path: Path | None,
    um_per_px: float,
    spot_diameter_um: float = 100.0,
    metadata: dict[str, Any] | None = None,
) -> AnnData:
    """Put counts, spots and image together as a checked section.

    Args:
        counts: Raw counts, (N, G).
        genes: G unique gene names.
        spots: One row for each spot, indexed by the spot's id, with ``array_x``, ``array_y``, ``pixel_x``,
            ``pixel_y`` and, where there is one, ``label``.
        name: The section's name, for example ``"C2"``.
        patient: The patient's name, for example ``"C"``: splits rely on it.
        image_path: The H&E image, or None for a section without one.
        um_per_px: Micrometres per pixel of that image.
        spot_diameter_um: Diameter of a spot in micrometres (Spatial Transcriptomics 100, Visium 55).
        metadata: More facts to keep beside ``image_path`` and ``um_per_px``.

    Returns:
        The section.

    Raises:
        SectionError: If sizes disagree, a column is missing, an id is doubled, counts are not counts, or a spot lies
            outside the image. The message names the section.

    Example:
        >>> import numpy as np, pandas as pd
        >>> spots = pd.DataFrame(
        ...     {"array_x": [1, 2], "array_y": [1, 1], "pixel_x": [10.0, 30.0], "pixel_y": [10.0, 10.0]},
        ...     index=["1x1", "2x1"],
        ... )
        >>> section = make_section(np.array([[0, 2], [1, 5]]), ["ERBB2", "GNAS"], spots, name="demo", patient="P",
        ...                        image_path=None, um_per_px=10.0)
        >>> section.shape, section_name(section), um_per_px_of(section)
        ((2, 2), 'demo', 10.0)
    """
    missing = [c for c in ("array_x", "array_y", "pixel_x", "pixel_y") if c not in spots]
    if missing:
        raise SectionError(f"section {name}: the spot table lacks the column(s) {', '.join(missing)}.")
    matrix = sparse.csr_matrix(counts, dtype=np.float32)
    if matrix.shape != (len(spots), len(genes)):
        raise SectionError(
            f"section {name}: counts have shape {matrix.shape}, but there are {len(spots)} spots and "
            f"{len(genes)} genes."
        )
    _check_unique(name, "spot", spots.index)
    _check_unique(name, "gene", pd.Index(list(genes)))
    obs = spots[["array_x", "array_y", *(["label"] if "label" in spots else [])]].assign(section=name, patient=patient)
    section = AnnData(X=matrix, obs=obs, var=pd.DataFrame(index=pd.Index(list(genes), dtype=object)))
    section.obsm["spatial"] = spots[["pixel_x", "pixel_y"]].to_numpy(np.float64)
    facts = {"um_per_px": float(um_per_px), "simulated": False} | (metadata or {})
    if image_path is not None:
        facts["image_path"] = str(image_path)
    section.uns["spatial"] = {
        name: {
            "images": {},
            "scalefactors": {"spot_diameter_fullres": spot_diameter_um / um_per_px},
            "metadata": facts,
        }
    }
    check_section(section)
    return section


def check_section(section: AnnData) -> None:
    """Check that an `AnnData` keeps the section contract.

    Args:
        section: What should be a section.

    Raises:
        SectionError: Naming the section and the first thing that is wrong with it.
    """
    missing = [c for c in OBS_COLUMNS if c not in section.obs]
    if missing or "spatial" not in section.obsm or len(section.uns.get("spatial", {})) != 1:
        absent = ", ".join(missing) or "obsm['spatial'] or its one entry in uns['spatial']"
        raise SectionError(f"not a section: {absent} is missing. Use a reader of stlearn_lib.data.readers.")
    name = section_name(section)
    if section.n_obs == 0 or section.n_vars == 0:
        raise SectionError(f"section {name} is empty: {section.n_obs} spots x {section.n_vars} genes.")
    _check_unique(name, "spot", section.obs_names)
    _check_unique(name, "gene", section.var_names)
    values = section.X.data if sparse.issparse(section.X) else np.asarray(section.X)
    if not np.isfinite(values).all() or (values < 0).any():
        table = section.X.tocoo() if sparse.issparse(section.X) else sparse.coo_matrix(section.X)
        first = int(np.flatnonzero(~(table.data >= 0) | np.isinf(table.data))[0])
        spot, gene = section.obs_names[table.row[first]], section.var_names[table.col[first]]
        raise SectionError(
            f"section {name}: counts must be finite and not negative; {gene} in spot {spot} is {table.data[first]}."
        )
    if not np.isfinite(section.obsm["spatial"]).all():
        raise SectionError(f"section {name}: a spot has no pixel coordinates.")
    if not metadata_of(section).get("um_per_px", 0) > 0:
        raise SectionError(f"section {name}: the image's resolution `um_per_px` must be positive.")
    if "image_path" in metadata_of(section):
        _check_spots_on_image(section)


def _check_unique(name: str, what: str, labels: pd.Index) -> None:
    if not labels.is_unique:
        raise SectionError(f"section {name}: the {what} {labels[labels.duplicated()][0]!r} occurs more than once.")


def _check_spots_on_image(section: AnnData) -> None:
    width, height = image_size(section)
    centres = section.obsm["spatial"]
    outside = ((centres < 0) | (centres >= (width, height))).any(axis=1)
    if outside.any():
        i = int(np.argmax(outside))
        raise SectionError(
            f"section {section_name(section)}: {int(outside.sum())} of {section.n_obs} spots lie outside the image "
            f"({width} x {height} px), first {section.obs_names[i]} at x={centres[i, 0]:.0f}, y={centres[i, 1]:.0f}. "
            "Are x and y swapped, or is the image a reduced copy?"
        )


def section_name(section: AnnData) -> str:
    """Return the section's name."""
    return next(iter(section.uns["spatial"]))


def patient_of(section: AnnData) -> str:
    """Return the patient from whom the section was taken."""
    return str(section.obs["patient"].iloc[0])


def metadata_of(section: AnnData) -> dict[str, Any]:
    """Return the section's metadata: ``image_path``, ``um_per_px``, ``simulated``, and where it came from."""
    return section.uns["spatial"][section_name(section)].get("metadata", {})


def um_per_px_of(section: AnnData) -> float:
    """Return the resolution of the section's image in micrometres per pixel."""
    return float(metadata_of(section)["um_per_px"])


def image_path_of(section: AnnData) -> Path:
    """Return the path of the section's image.

    Raises:
        ImageError: If the section has no image, or the file is gone.
    """
    path = metadata_of(section).get("image_path")
    if path is None:
        raise ImageError(f"section {section_name(section)} has no image.")
    if not Path(path).is_file():
        raise ImageError(f"section {section_name(section)}: the image {path} does not exist.")
    return Path(path)


def image_size(section: AnnData) -> tuple[int, int]:
    """Return width and height of the section's image in pixels, reading the file's header only.

    Raises:
        ImageError: If there is no image or it cannot be read.
    """
    return open_section_image(section).size


def read_image(section: AnnData, max_px: int | None = None) -> Image.Image:
    """Read the section's image as a whole, with its masked areas turned white; of a whole slide, reduced.

    An image may have been masked by those who published it: a black background, an inset. ``metadata["white_boxes"]``
    lists boxes (left, top, right, bottom) in pixels, and ``metadata["black_background"]`` says that pure black is no
    tissue. Both become white, the colour of an empty slide, so that models do not see a colour that no tissue has.

    Args:
        section: The section.
        max_px: Reduce the image so that its longer side has at most so many pixels; JPEGs are decoded reduced.

    Returns:
        The image, RGB.

    Raises:
        ImageError: If there is no image, it cannot be read, or it is too large to be read as a whole.
    """
    return open_section_image(section).thumbnail(max_px)


def open_section_image(section: AnnData) -> TissueImage:
    """Open the section's image, of which any part can then be read, with its masked areas turned white.

    Raises:
        ImageError: If there is no image or it cannot be read.
    """
    facts = metadata_of(section)
    return open_image(
        image_path_of(section),
        white_boxes=facts.get("white_boxes", ()),
        black_background=bool(facts.get("black_background")),
    )


def attach_image(section: AnnData, max_px: int = 1500) -> AnnData:
    """Attach a reduced image, so that scanpy and squidpy can draw the section over its tissue.

    Args:
        section: The section; changed in place.
        max_px: The longer side of the reduced image in pixels.

    Returns:
        The same section, with ``images["hires"]`` (H, W, 3) uint8 and ``tissue_hires_scalef``.

    Raises:
        ImageError: If there is no image or it cannot be read.
    """
    entry = section.uns["spatial"][section_name(section)]
    image = np.asarray(read_image(section, max_px))
    entry["images"]["hires"] = image
    entry["scalefactors"]["tissue_hires_scalef"] = image.shape[1] / image_size(section)[0]
    return section


def spot_ids(array_x: np.ndarray, array_y: np.ndarray) -> list[str]:
    """Name spots by their rounded array coordinates, as the published tables do.

    Args:
        array_x: Array column of each spot, (N,).
        array_y: Array row of each spot, (N,).

    Returns:
        N ids.

    Example:
        >>> spot_ids(np.array([9.02, 10.0]), np.array([20.994, 13.0]))
        ['9x21', '10x13']
    """
    return [f"{x}x{y}" for x, y in zip(np.rint(array_x).astype(int), np.rint(array_y).astype(int), strict=True)]


def without_counts(section: AnnData) -> AnnData:
    """Return the section as a new slide would come: image and spots, with every count set to zero.

    Cross-validation hands this to ``predict``, so that no method can look at the answer.

    Args:
        section: The section; left as it is.

    Returns:
        The same spots, genes and image without counts.
    """
    return AnnData(
        X=sparse.csr_matrix(section.shape, dtype=np.float32),
        obs=section.obs[list(OBS_COLUMNS)].copy(),
        var=section.var[[]].copy(),
        uns={"spatial": section.uns["spatial"]},
        obsm={"spatial": section.obsm["spatial"].copy()},
    )
