"""The memory that a whole slide takes: its tissue found, a grid laid, patches cut.

    python benchmarks/whole_slide_memory.py [SIDE_PX]

Writes a pyramid of JPEG tiles (mostly glass, which makes it small) and reads it in a process of its own, as a scan of
40x, 0.25 µm per pixel. Promise: 100,000 x 100,000 pixels, 30 GB when decoded, within 2 GB.
"""

import io
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

TILE_PX, UM_PER_PX, LIMIT_GB = 1024, 0.25, 2.0
JPEG, YCBCR = 7, 6  # a TIFF's words for them


def main(side: int = 100_000) -> None:
    """Print time and peak memory, and fail above the promise."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        slide = write_slide(Path(folder) / "slide.tif", side)
        print(f"written in {time.perf_counter() - start:.0f} s, {slide.stat().st_size / 2**20:.0f} MB on disk")
        subprocess.run([sys.executable, __file__, "--read", slide], check=True)


def read(path: str) -> None:
    """Read the slide as `stlearn-lib predict` and `stlearn-lib features` do."""
    from stlearn_lib.cache import cache_in
    from stlearn_lib.data.patches import cut_patches
    from stlearn_lib.data.whole_slides import slide_section

    imported_gb, start = peak_gb(), time.perf_counter()
    section = slide_section(path, grid="st", scan_um_per_px=0.5)
    laid = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder, cache_in(Path(folder)):
        patches = cut_patches(section[:500].copy())
        cut_ms = 1000 * (time.perf_counter() - laid) / len(patches)
    print(f"{section.n_obs} spots in tissue found in {laid - start:.0f} s; {cut_ms:.1f} ms a patch of {len(patches)}")
    print(f"peak memory: {peak_gb():.2f} GB, of them {imported_gb:.2f} GB by imports")
    if peak_gb() > LIMIT_GB:
        sys.exit(f"more than {LIMIT_GB:g} GB")


def peak_gb() -> float:
    """Return the most memory that this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def write_slide(path: Path, side: int) -> Path:
    """Write a pyramid down to one tile; a disk of tissue in the middle, glass around it."""
    glass = encoded(np.full((TILE_PX, TILE_PX, 3), 243, np.uint8))
    rng = np.random.default_rng(0)
    with tifffile.TiffWriter(path, bigtiff=True) as file:
        for level in range(12):
            cells = rng.integers(0, 256, (TILE_PX // 8, TILE_PX // 8), dtype=np.uint8)
            density = np.asarray(Image.fromarray(cells).resize((TILE_PX, TILE_PX)))[..., None] / 255
            tissue = encoded((243 * np.exp(-density * (0.9, 1.4, 0.4))).astype(np.uint8))
            now = side >> level
            file.write(
                tiles(now, tissue, glass),
                shape=(now, now, 3),
                dtype=np.uint8,
                tile=(TILE_PX, TILE_PX),
                photometric="rgb",
                compression="adobe_deflate",
                resolution=(10_000 / (UM_PER_PX * 2**level),) * 2,
                resolutionunit="CENTIMETER",
                subfiletype=int(level > 0),
                metadata=None,
            )
            if now <= TILE_PX:
                break
    with tifffile.TiffFile(path, mode="r+b") as file:  # tifffile wrote the tiles as they came; say what they are
        for page in file.pages:
            page.tags["Compression"].overwrite(JPEG)
            page.tags["PhotometricInterpretation"].overwrite(YCBCR)
    return path


def tiles(side: int, tissue: bytes, glass: bytes) -> Iterator[bytes]:
    """Yield the tiles of a level, row by row."""
    n = -(-side // TILE_PX)
    for row, column in np.ndindex(n, n):
        yield tissue if np.hypot(row + 0.5 - n / 2, column + 0.5 - n / 2) < n / 5 else glass


def encoded(pixels: np.ndarray) -> bytes:
    """Compress a tile."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=80)
    return buffer.getvalue()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--read"]:
        read(sys.argv[2])
    else:
        main(*map(int, sys.argv[1:]))
