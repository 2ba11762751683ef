"""Images of tissue of any size: a window or a thumbnail of them, without the rest in memory.

A whole slide (a pyramid of tiles: SVS, NDPI, MRXS, tiled TIFF, ...) is read through OpenSlide where it is needed; any
other image is decoded once by Pillow.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from stlearn_lib.errors import ImageError

WHITE = (255, 255, 255)
MAX_DECODED_PX = 500_000_000  # 2 GB: Pillow keeps 4 bytes of a pixel
COARSEST_UM_PER_PX = 20.0  # what a file says above this is the resolution of a printer or a screen (300 dpi: 85 µm)
BLOCK_PX = 2048  # side of the region of a slide that is read at a time
INCH_UM, CM_UM = 25_400.0, 10_000.0


class TissueImage(ABC):
    """An image of which any part can be read; coordinates are pixels of its highest resolution.

    Args:
        path: The file.

    Attributes:
        path: The file.
        size: Width and height in pixels.
        um_per_px: Micrometres per pixel as the file states it, or None.
    """

    size: tuple[int, int]
    um_per_px: float | None

    def __init__(self, path: Path) -> None:
        self.path = path

    @abstractmethod
    def window(self, left: int, top: int, side: int, out_px: int) -> np.ndarray:
        """Return a square, resampled, and white where it leaves the image.

        Args:
            left: First column, may be negative.
            top: First row, may be negative.
            side: Side in pixels of the image.
            out_px: Side in pixels of what is returned.

        Returns:
            The square, (out_px, out_px, 3) uint8, RGB.

        Raises:
            ImageError: If the image is broken or too large to be decoded.
        """

    @abstractmethod
    def thumbnail(self, max_px: int | None = None) -> Image.Image:
        """Return the whole image, reduced so that its longer side has at most so many pixels.

        Raises:
            ImageError: If the image is broken or too large to be decoded.
        """


def open_image(
    path: Path | str, *, white_boxes: Sequence[Sequence[float]] = (), black_background: bool = False
) -> TissueImage:
    """Open an image by what is in it, reading its header only.

    Args:
        path: The file: a whole slide in a format of OpenSlide, or any image that Pillow reads.
        white_boxes: Boxes (left, top, right, bottom) in pixels to be turned white.
        black_background: Whether pure black is no tissue, and to be turned white.

    Returns:
        The image.

    Raises:
        ImageError: If the file cannot be read, its pixels are not square, or masked areas are named in a whole slide.

    Example:
        >>> from tempfile import mkdtemp
        >>> path = Path(mkdtemp()) / "grey.png"
        >>> Image.new("RGB", (40, 30), (128, 128, 128)).save(path)
        >>> image = open_image(path)
        >>> image.size, image.um_per_px, image.window(30, 0, 20, 10)[0, [0, 9], 0].tolist()
        ((40, 30), None, [128, 255])

    Reference:
        OpenSlide: Goode et al., Journal of Pathology Informatics 4 (2013) 27.
    """
    from openslide import OpenSlide  # loads a C library

    path = Path(path)
    if not path.is_file():
        raise ImageError(f"the image {path} does not exist.")
    if OpenSlide.detect_format(path) is None:
        return PlainImage(path, white_boxes, black_background)
    if len(white_boxes) or black_background:  # an array, once it has been in a file
        raise ImageError(f"{path} is a whole slide: areas can be masked in ordinary images only.")
    return Slide(path)


def resolution_of(image: TissueImage, um_per_px: float | None = None) -> float:
    """Return the resolution of an image: what the caller knows, what the file says, and only if they agree.

    Args:
        image: The image.
        um_per_px: What the caller knows.

    Returns:
        Micrometres per pixel.

    Raises:
        ImageError: If nobody knows, or the two differ by more than 5 %.
    """
    if um_per_px is None and image.um_per_px is None:
        raise ImageError(
            f"{image.path} does not say its resolution: pass um_per_px (--um-per-px), micrometres per pixel."
        )
    known = um_per_px if um_per_px is not None else image.um_per_px
    if known is None or not known > 0 or not math.isfinite(known):
        raise ImageError(f"{image.path}: a resolution is a positive number of micrometres per pixel, not {known}.")
    if image.um_per_px is not None and abs(known / image.um_per_px - 1) > 0.05:
        raise ImageError(
            f"{image.path} says {image.um_per_px:.4g} µm per pixel, but {known:.4g} was passed: which one is right? "
            "Leave the number out to take the file's."
        )
    return float(known)


class PlainImage(TissueImage):
    """An image that is decoded as a whole, with its masked areas turned white; see `open_image`."""

    def __init__(self, path: Path, white_boxes: Sequence[Sequence[float]] = (), black_background: bool = False) -> None:
        super().__init__(path)
        self.white_boxes, self.black_background = white_boxes, black_background
        with _pillow(path) as file:
            self.size = file.size
            self.um_per_px = _tiff_resolution(path, dict(getattr(file, "tag_v2", {})))

    def window(self, left: int, top: int, side: int, out_px: int) -> np.ndarray:
        """Return a square, see `TissueImage.window`."""
        right, bottom = min(left + side, self.size[0]), min(top + side, self.size[1])
        square = Image.new("RGB", (side, side), WHITE)
        if right > max(left, 0) and bottom > max(top, 0):
            square.paste(self._pixels.crop((max(left, 0), max(top, 0), right, bottom)), (max(-left, 0), max(-top, 0)))
        return np.asarray(square if side == out_px else square.resize((out_px, out_px)))

    def thumbnail(self, max_px: int | None = None) -> Image.Image:
        """Return the whole image reduced, see `TissueImage.thumbnail`; JPEGs are decoded reduced."""
        image = self._decoded(max_px)
        if max_px is not None:
            image.thumbnail((max_px, max_px))
        return image

    @cached_property
    def _pixels(self) -> Image.Image:
        return self._decoded(None)

    def _decoded(self, max_px: int | None) -> Image.Image:
        with _pillow(self.path) as file:
            if max_px is not None:
                file.draft("RGB", (max_px, max_px))
            _check_decodable(self.path, file.size)
            try:
                image = file.convert("RGB")
            except (OSError, ValueError, SyntaxError) as error:  # Pillow's words for damage
                raise ImageError(f"{self.path} is broken ({error}).") from error
        if self.black_background:
            pixels = np.array(image)
            pixels[(pixels == 0).all(axis=-1)] = 255
            image = Image.fromarray(pixels)
        scale = image.size[0] / self.size[0]
        for left, top, right, bottom in self.white_boxes:
            image.paste(WHITE, (round(left * scale), round(top * scale), round(right * scale), round(bottom * scale)))
        return image


class Slide(TissueImage):
    """A whole slide, read through OpenSlide from the level of its pyramid that has just enough pixels."""

    def __init__(self, path: Path) -> None:
        from openslide import OpenSlide, OpenSlideError

        super().__init__(path)
        try:
            self._slide = OpenSlide(path)
        except (OpenSlideError, OSError) as error:
            raise ImageError(f"{path} is no readable slide ({error}).") from error
        self.size = self._slide.dimensions
        stated = (self._slide.properties.get(f"openslide.mpp-{axis}") for axis in "xy")
        self.um_per_px = _square_resolution(path, *(float(value) if value else None for value in stated))

    def window(self, left: int, top: int, side: int, out_px: int) -> np.ndarray:
        """Return a square, see `TissueImage.window`."""
        return np.asarray(self._read((left, top, left + side, top + side), (out_px, out_px)))

    def thumbnail(self, max_px: int | None = None) -> Image.Image:
        """Return the whole slide reduced, see `TissueImage.thumbnail`; it is read in blocks."""
        width, height = self.size
        step = max(1.0, max(width, height) / max_px) if max_px is not None else 1.0
        columns, rows = max(1, round(width / step)), max(1, round(height / step))
        _check_decodable(self.path, (columns, rows))
        image = Image.new("RGB", (columns, rows), WHITE)
        block = max(1, int(BLOCK_PX * self._downsample(step)[1] / step))
        for top in range(0, rows, block):
            for left in range(0, columns, block):
                right, bottom = min(left + block, columns), min(top + block, rows)
                part = self._read(
                    (left / columns * width, top / rows * height, right / columns * width, bottom / rows * height),
                    (right - left, bottom - top),
                )
                image.paste(part, (left, top))
        return image

    def _downsample(self, step: float) -> tuple[int, float]:
        """The level, and how much it is reduced, from which every ``step``-th pixel is read."""
        level = self._slide.get_best_level_for_downsample(step * 1.01)  # a pyramid's 4.0003 is meant to be 4
        return level, self._slide.level_downsamples[level]

    def _read(self, box: tuple[float, float, float, float], size: tuple[int, int]) -> Image.Image:
        from openslide import OpenSlideError

        level, downsample = self._downsample((box[2] - box[0]) / size[0])
        left, top, right, bottom = (edge / downsample for edge in box)
        x, y = math.floor(left), math.floor(top)
        width, height = math.ceil(right) - x, math.ceil(bottom) - y
        try:
            region = self._slide.read_region((round(x * downsample), round(y * downsample)), level, (width, height))
        except OpenSlideError as error:
            raise ImageError(f"{self.path} is broken at x={box[0]:.0f}, y={box[1]:.0f} ({error}).") from error
        square = Image.new("RGB", region.size, WHITE)
        square.paste(region, mask=region.getchannel("A"))  # what was never scanned is transparent
        return square.resize(size, box=(left - x, top - y, min(right - x, width), min(bottom - y, height)))


def _pillow(path: Path) -> Image.Image:
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None  # slides are larger than Pillow's guard for web images
    try:
        return Image.open(path)
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as error:
        raise ImageError(f"{path} is no readable image ({error}).") from error
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def _check_decodable(path: Path, size: tuple[int, int]) -> None:
    if size[0] * size[1] > MAX_DECODED_PX:
        raise ImageError(
            f"{path}: {size[0]} x {size[1]} pixels do not fit into memory at once. Ask for less of it; if it is no "
            "pyramid of tiles yet, make it one: vips tiffsave IMAGE SLIDE.tif --tile --pyramid --bigtiff "
            "--compression jpeg --Q 90"
        )


def _tiff_resolution(path: Path, tags: dict[int, Any]) -> float | None:
    """Micrometres per pixel from the tags XResolution, YResolution and ResolutionUnit of a TIFF."""
    unit_um = {2: INCH_UM, 3: CM_UM}.get(tags.get(296, 2))
    x, y = (float(n) if isinstance(n := tags.get(tag), Real) else 0.0 for tag in (282, 283))
    return _square_resolution(path, unit_um / x, unit_um / y) if unit_um and x > 0 and y > 0 else None


def _square_resolution(path: Path, x: float | None, y: float | None) -> float | None:
    if x is None or y is None or not 0 < max(x, y) <= COARSEST_UM_PER_PX:
        return None
    if abs(x / y - 1) > 0.01:
        raise ImageError(f"{path}: a pixel is {x:.4g} µm wide and {y:.4g} µm high; images need square pixels.")
    return x
