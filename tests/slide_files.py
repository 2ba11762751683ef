"""Whole slides for tests: pyramids of tiles as scanners write them."""

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

TILE_PX = 256
JPEG, YCBCR = 7, 6  # a TIFF's words for them


def write_slide(
    path: Path, image: Image.Image, um_per_px: float, *, levels: int = 3, quality: int | None = None
) -> Path:
    """Write a pyramid of which each level has half the side of the one below.

    Args:
        path: ``.tif`` for a TIFF whose tags say the resolution; ``.svs`` for one that names it as Aperio's scanners do.
        image: The highest level.
        um_per_px: Its resolution.
        levels: How many levels.
        quality: Of JPEG tiles; without it, tiles are compressed without loss.

    Returns:
        The path.
    """
    aperio = f"Aperio Image Library v12.0.15\n{image.width}x{image.height}|AppMag = 20|MPP = {um_per_px}"
    with tifffile.TiffWriter(path) as file:
        for level in range(levels):
            pixels = np.asarray(image.reduce(2**level))
            file.write(
                pixels if quality is None else jpeg_tiles(pixels, quality),
                shape=pixels.shape,
                dtype=np.uint8,
                tile=(TILE_PX, TILE_PX),
                photometric="rgb",
                compression="adobe_deflate",
                resolution=(10_000 / (um_per_px * 2**level),) * 2,
                resolutionunit="CENTIMETER",
                subfiletype=int(level > 0),
                description=aperio if path.suffix == ".svs" else None,
                metadata=None,
            )
    if quality is not None:
        call_it_jpeg(path)
    return path


def jpeg_tiles(pixels: np.ndarray, quality: int) -> Iterator[bytes]:
    """Compress tile by tile; tifffile alone cannot."""
    height, width = pixels.shape[:2]
    padded = np.pad(pixels, ((0, -height % TILE_PX), (0, -width % TILE_PX), (0, 0)), mode="edge")
    for top in range(0, height, TILE_PX):
        for left in range(0, width, TILE_PX):
            buffer = io.BytesIO()
            Image.fromarray(padded[top : top + TILE_PX, left : left + TILE_PX]).save(buffer, "JPEG", quality=quality)
            yield buffer.getvalue()


def call_it_jpeg(path: Path) -> None:
    """Say in the tags what the tiles are: tifffile wrote them as they came."""
    with tifffile.TiffFile(path, mode="r+b") as file:
        for page in file.pages:
            page.tags["Compression"].overwrite(JPEG)
            page.tags["PhotometricInterpretation"].overwrite(YCBCR)
