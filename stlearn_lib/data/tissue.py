"""Where on a slide the tissue is."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stlearn_lib.data.images import open_image, resolution_of
from stlearn_lib.errors import ImageError, StlearnError

UM_PER_PX = 8.0  # seen so, a disk of LazySlide's texture measure is 70 µm wide: some cells, and far less than a spot
MAX_PX = 2500  # longer side of what the tissue is found on: 0.4 GB of memory


@dataclass(frozen=True)
class Tissue:
    """The tissue of a slide.

    Args:
        outline: A shapely geometry in pixels of the image; holes are left out.
    """

    outline: Any

    def contains(self, points: np.ndarray) -> np.ndarray:
        """Return which points lie in tissue.

        Args:
            points: Pixels (x, y), (N, 2).

        Returns:
            Whether each does, (N,) bool.
        """
        import shapely

        shapely.prepare(self.outline)
        inside: np.ndarray = shapely.contains_xy(self.outline, points[:, 0], points[:, 1])
        return inside


def find_tissue(path: Path | str, um_per_px: float | None = None) -> Tissue:
    """Find the tissue on a slide with LazySlide, by its texture.

    The slide is looked at with 8 µm per pixel, coarser if it is large. Tissue is where the local entropy of
    haematoxylin and eosin exceeds Otsu's threshold; gaps of up to 150 µm are closed, and pieces below a thousandth of
    the image are dropped. Stain that ran out over the glass has no texture and is rightly left out, where LazySlide's
    default, a threshold on colour, takes it for tissue. The border lies some 30 µm outside the tissue's.

    Pen marks, dust, printed spots of an array on a slide without much tissue, and folds are taken for tissue as well.
    Pale, smooth tissue such as fat can be missed, and an image without any glass is cut where its texture is low.

    Args:
        path: A whole slide or another image.
        um_per_px: The image's resolution, if the file does not say.

    Returns:
        The tissue.

    Raises:
        ImageError: If the image cannot be read, its resolution is unknown, or there is no tissue.
        StlearnError: If LazySlide is not installed.

    Reference:
        Zheng et al., Nature Methods 23 (2026) 728.
    """
    image = open_image(path)
    resolution = resolution_of(image, um_per_px)
    thumbnail = image.thumbnail(min(MAX_PX, max(1, round(max(image.size) * resolution / UM_PER_PX))))
    pieces = _pieces(np.asarray(thumbnail))
    if not len(pieces):
        raise ImageError(f"{path}: no tissue was found. Name the spots, or take the whole image (tissue=False).")
    import shapely

    outline = shapely.union_all(shapely.make_valid(pieces))  # contours of pixels may touch themselves in a point
    scale = np.array(image.size) / thumbnail.size
    return Tissue(shapely.transform(outline, lambda points: (points + 0.5) * scale))


def _pieces(pixels: np.ndarray) -> np.ndarray:
    """The tissue on an image (H, W, 3) as shapely polygons in its pixels."""
    try:
        from lazyslide.preprocess import find_tissues
        from spatialdata import SpatialData
        from spatialdata.models import Image2DModel
        from wsidata import open_wsi
    except ImportError as error:
        raise StlearnError("tissue is found by LazySlide: pip install 'stlearn-lib[slides]'") from error
    logging.getLogger("lazyslide").setLevel(logging.ERROR)  # that there is no tissue is told by our error
    image = Image2DModel.parse(pixels.transpose(2, 0, 1), dims=("c", "y", "x"), c_coords=("r", "g", "b"))
    wsi = open_wsi(SpatialData(images={"image": image}), image_key="image")
    find_tissues(wsi, level=0, method="entropy")
    found: np.ndarray = wsi.shapes["tissues"].geometry.to_numpy() if "tissues" in wsi.shapes else np.empty(0)
    return found
